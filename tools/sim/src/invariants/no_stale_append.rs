//! No entry is appended at a term older than the newest that its proposer has learned. Source: decision 2.

use std::collections::{BTreeMap, BTreeSet};

use skep_consensus::Persist;

use super::Violation;
use crate::network::HostId;

/// See the file's head.
#[derive(Default)]
pub struct NoStaleAppend {
    /// The newest term that each manager knew before its present turn.
    known: BTreeMap<HostId, u64>,
    /// What it learned in this turn, perhaps after it appended.
    learning: BTreeMap<HostId, u64>,
    seen: BTreeSet<(u64, u64)>,
}

impl NoStaleAppend {
    /// A manager tells of this term.
    pub fn learned(&mut self, host: HostId, term: u64) {
        let learning = self.learning.entry(host).or_default();
        *learning = term.max(*learning);
    }

    /// Its turn is over.
    pub fn settle(&mut self, host: HostId) {
        if let Some(term) = self.learning.remove(&host) {
            let known = self.known.entry(host).or_default();
            *known = term.max(*known);
        }
    }

    /// Its process is gone.
    pub fn forget(&mut self, host: HostId) {
        self.learning.remove(&host);
        self.known.remove(&host);
    }

    /// A manager writes; `leader` says who led in a term.
    pub fn persisting(
        &mut self,
        host: HostId,
        persist: &Persist,
        leader: impl Fn(u64) -> Option<HostId>,
    ) -> Result<(), Violation> {
        let known = self.known.get(&host).copied().unwrap_or(0);
        for entry in &persist.entries {
            let fresh = self.seen.insert((entry.index, entry.term));
            if fresh && leader(entry.term) == Some(host) && entry.term < known {
                let detail = format!("h{host} appends {} at term {}, knowing term {known}", entry.index, entry.term);
                return Err(Violation::new("no_stale_append", detail));
            }
        }
        if let Some(state) = persist.hard_state {
            self.learned(host, state.term);
        }
        Ok(())
    }
}
