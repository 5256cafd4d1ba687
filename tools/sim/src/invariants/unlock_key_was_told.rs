//! A manager is never locked with a key that the swarm did not have: the operator could not open it. Source: interop
//! §1.7 (autolock).

use std::collections::BTreeSet;

use bytes::Bytes;
use skep_model::{Cluster, Time};
use skep_store::{Event, Store};

use super::{Invariant, Verdict, Violation};
use crate::network::HostId;

/// Every key that was ever committed: what an operator may have written down.
#[derive(Default)]
pub struct UnlockKeyWasTold {
    told: BTreeSet<Bytes>,
}

impl Invariant for UnlockKeyWasTold {
    fn committed(&mut self, _: Time, _: &Store, events: &[Event]) -> Verdict {
        let clusters = events.iter().filter_map(|event| event.object.get::<Cluster>());
        for key in clusters.flat_map(|cluster| &cluster.unlock_keys) {
            if !self.told.contains(&key.key) {
                self.told.insert(key.key.clone());
            }
        }
        Ok(())
    }
}

impl UnlockKeyWasTold {
    /// A manager waits for its key.
    pub fn locked(&self, host: HostId, key: &Bytes) -> Verdict {
        if self.told.contains(key) {
            return Ok(());
        }
        Err(Violation::new("unlock_key_was_told", format!("h{host} is locked with a key that nobody was told")))
    }
}
