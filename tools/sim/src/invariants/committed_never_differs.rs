//! What one manager applied at an index, every manager applies there. Source: Raft's state machine safety.

use std::collections::BTreeMap;

use skep_consensus::LogEntry;

use super::Violation;
use crate::network::HostId;

/// See the file's head.
#[derive(Default)]
pub struct CommittedNeverDiffers {
    truth: BTreeMap<u64, (LogEntry, HostId)>,
}

impl CommittedNeverDiffers {
    /// A manager has applied an entry; says whether it was the first to.
    pub fn applied(&mut self, host: HostId, entry: &LogEntry) -> Result<bool, Violation> {
        match self.truth.get(&entry.index) {
            None => {
                self.truth.insert(entry.index, (entry.clone(), host));
                Ok(true)
            }
            Some((known, _)) if known == entry => Ok(false),
            Some((known, first)) => {
                let detail = format!(
                    "index {}: h{first} applied term {} ({} bytes), h{host} term {} ({} bytes)",
                    entry.index,
                    known.term,
                    known.data.len(),
                    entry.term,
                    entry.data.len()
                );
                Err(Violation::new("committed_never_differs", detail))
            }
        }
    }
}
