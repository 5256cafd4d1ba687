//! One leader per term. Source: Raft's election safety.

use std::collections::BTreeMap;

use super::Violation;
use crate::network::HostId;

/// See the file's head.
#[derive(Default)]
pub struct OneLeaderPerTerm {
    leaders: BTreeMap<u64, HostId>,
}

impl OneLeaderPerTerm {
    /// Somebody says that it leads.
    pub fn leads(&mut self, host: HostId, term: u64) -> Result<(), Violation> {
        let first = *self.leaders.entry(term).or_insert(host);
        if first == host {
            return Ok(());
        }
        Err(Violation::new("one_leader_per_term", format!("h{first} and h{host} both lead in term {term}")))
    }

    /// Who leads, or led.
    pub fn of(&self, term: u64) -> Option<HostId> {
        self.leaders.get(&term).copied()
    }
}
