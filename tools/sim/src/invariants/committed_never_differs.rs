//! What one manager applied at an index, every manager applies there. Source: Raft's state machine safety.

use skep_consensus::{EntryKind, LogEntry};

use super::Violation;
use crate::network::HostId;

/// What is kept of an entry: the whole of all of them would be larger than the swarm.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kept {
    term: u64,
    digest: u64,
    first: HostId,
}

/// See the file's head.
#[derive(Default)]
pub struct CommittedNeverDiffers {
    /// By index, from 1.
    truth: Vec<Kept>,
}

impl CommittedNeverDiffers {
    /// A manager has applied an entry; says whether it was the first to.
    pub fn applied(&mut self, host: HostId, entry: &LogEntry) -> Result<bool, Violation> {
        let found = Kept { term: entry.term, digest: digest(entry), first: host };
        let position = usize::try_from(entry.index).unwrap_or(usize::MAX).saturating_sub(1);
        let Some(known) = self.truth.get(position) else {
            if position > self.truth.len() {
                let last = self.truth.len();
                let detail = format!("h{host} applied {} when nobody had applied {}", entry.index, last + 1);
                return Err(Violation::new("committed_never_differs", detail));
            }
            self.truth.push(found);
            return Ok(true);
        };
        if (known.term, known.digest) == (found.term, found.digest) {
            return Ok(false);
        }
        let detail = format!(
            "index {}: h{} applied one of term {}, h{host} one of term {} ({} bytes)",
            entry.index,
            known.first,
            known.term,
            entry.term,
            entry.data.len()
        );
        Err(Violation::new("committed_never_differs", detail))
    }
}

/// Nobody is out to deceive: a multiplication for every eight bytes tells entries apart.
fn digest(entry: &LogEntry) -> u64 {
    let mut digest = u64::from(entry.kind == EntryKind::Normal) ^ entry.data.len() as u64;
    let mut mix = |word: [u8; 8]| {
        digest = (digest.rotate_left(29) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    };
    let (words, rest) = entry.data.as_chunks::<8>();
    words.iter().for_each(|word| mix(*word));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(last);
    digest
}
