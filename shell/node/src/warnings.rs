//! What `docker info` warns of: clocks that differ between this node and others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use skep_model::NodeId;

use crate::clock::wall;

/// A difference that is told. Less is normal without a time service.
pub const CLOCK_DIFFERENCE_MS: i64 = 2_000;
/// Nodes whose clocks are remembered.
const NODES_MAX: usize = 10_000;

/// Clocks of other nodes as last seen. Cheap to clone.
#[derive(Clone, Default)]
pub struct Warnings {
    differences: Arc<Mutex<BTreeMap<NodeId, i64>>>,
}

impl Warnings {
    /// Another node said what its clock shows; the answer took `round_trip`.
    pub fn clock(&self, node: &NodeId, their_ms: i64, round_trip: Duration) {
        let own_ms = wall().0 / 1_000_000;
        let middle = i64::try_from(round_trip.as_millis() / 2).unwrap_or(0);
        let mut differences = self.differences.lock().unwrap_or_else(PoisonError::into_inner);
        if differences.len() < NODES_MAX || differences.contains_key(node) {
            differences.insert(node.clone(), their_ms - (own_ms - middle));
        }
    }

    /// Sentences for `docker info`.
    pub fn sentences(&self) -> Vec<String> {
        let differences = self.differences.lock().unwrap_or_else(PoisonError::into_inner);
        let large = differences.iter().filter(|(_, difference)| difference.abs() > CLOCK_DIFFERENCE_MS);
        large
            .map(|(node, difference)| {
                let seconds = *difference as f64 / 1000.0;
                format!("WARNING: the clock of node {node} differs from this node's by {seconds:+.1} s; set up time synchronisation")
            })
            .collect()
    }
}
