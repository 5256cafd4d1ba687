//! What `docker info` warns of: clocks that differ between this node and others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use skep_model::NodeId;

use crate::clock::wall;

/// A difference that is told. Less is normal without a time service.
pub const CLOCK_DIFFERENCE_MS: i64 = 2_000;
/// Nodes whose clocks are remembered.
const NODES_MAX: usize = 10_000;
/// An answer that took longer says too little about the other's clock.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(1);
/// What was seen of a clock is believed for so long; nodes say theirs more often.
const BELIEVED_FOR: Duration = Duration::from_secs(300);

/// How a node's clock stood, and when that was seen.
#[derive(Clone, Copy)]
struct Seen {
    difference_ms: i64,
    at: Instant,
}

/// Clocks of other nodes as last seen. Cheap to clone.
#[derive(Clone, Default)]
pub struct Warnings {
    differences: Arc<Mutex<BTreeMap<NodeId, Seen>>>,
}

impl Warnings {
    /// Another node said what its clock shows; the answer took `round_trip`.
    pub fn clock(&self, node: &NodeId, their_ms: i64, round_trip: Duration) {
        if round_trip > ROUND_TRIP_MAX {
            return;
        }
        let own_ms = wall().0 / 1_000_000;
        let middle = i64::try_from(round_trip.as_millis() / 2).unwrap_or(0);
        let seen = Seen { difference_ms: their_ms.saturating_sub(own_ms - middle), at: Instant::now() };
        let mut differences = self.differences.lock().unwrap_or_else(PoisonError::into_inner);
        if differences.len() >= NODES_MAX {
            differences.retain(|_, seen| seen.at.elapsed() < BELIEVED_FOR);
        }
        if differences.len() < NODES_MAX || differences.contains_key(node) {
            differences.insert(node.clone(), seen);
        }
    }

    /// Sentences for `docker info`.
    pub fn sentences(&self) -> Vec<String> {
        let differences = self.differences.lock().unwrap_or_else(PoisonError::into_inner);
        let large = differences.iter().filter(|(_, seen)| {
            seen.at.elapsed() < BELIEVED_FOR && seen.difference_ms.saturating_abs() > CLOCK_DIFFERENCE_MS
        });
        large
            .map(|(node, seen)| {
                let seconds = seen.difference_ms as f64 / 1000.0;
                format!("WARNING: the clock of node {node} differs from this node's by {seconds:+.1} s; set up time synchronisation")
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_differs_is_told_until_it_does_not() {
        let (warnings, node) = (Warnings::default(), NodeId::new("node").expect("an id"));
        let own_ms = || wall().0 / 1_000_000;
        warnings.clock(&node, own_ms() + 5_000, Duration::ZERO);
        assert!(warnings.sentences()[0].contains("clock of node node differs"), "{:?}", warnings.sentences());
        warnings.clock(&node, own_ms() - 60_000, Duration::from_secs(30));
        assert_eq!(warnings.sentences().len(), 1, "an answer that took half a minute says nothing");
        warnings.clock(&node, i64::MIN, Duration::ZERO);
        assert_eq!(warnings.sentences().len(), 1, "whatever a peer says does no harm");
        warnings.clock(&node, own_ms(), Duration::ZERO);
        assert!(warnings.sentences().is_empty());
    }
}
