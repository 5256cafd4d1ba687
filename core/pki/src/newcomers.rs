//! Rows of nodes that were let in and never came: their join died half way. They go off the list again; should such a
//! node come after all, its certificate is still good, and it gets its row back (`take_back`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skep_model::pb::types::node_spec::Membership;
use skep_model::pb::types::node_status;
use skep_model::{Node, NodeId, Now, Refusal, Time};
use skep_store::{Event, Read, Tx};

/// A node that was let in may take so long to open its first session. SwarmKit keeps its row for ever.
pub const NEWCOMER_PATIENCE: Duration = Duration::from_secs(300);

/// Nodes that have not said anything of themselves yet, and since when this leader knows of them.
#[derive(Clone, Debug, Default)]
pub struct Newcomers {
    everything: bool,
    marked: BTreeSet<NodeId>,
    since: BTreeMap<NodeId, Time>,
}

impl Newcomers {
    /// Nobody waited for.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new term: look at every node once, and wait for each anew.
    pub fn lead(&mut self) {
        *self = Self { everything: true, ..Self::default() };
    }

    /// A committed change.
    pub fn observe(&mut self, event: &Event) {
        if let Some(node) = event.object.get::<Node>() {
            self.marked.insert(node.id.clone());
        }
    }

    /// When the next one is given up.
    pub fn wake_at(&self) -> Option<Time> {
        if self.since.is_empty() {
            return None;
        }
        self.since.values().min().map(|since| since.after(NEWCOMER_PATIENCE))
    }

    /// Takes those off the list that have not come in time; says who. `managers` stay: members of the quorum leave it
    /// first.
    pub fn turn(&mut self, now: Now, managers: &BTreeSet<NodeId>, tx: &mut Tx<'_>) -> Result<Vec<NodeId>, Refusal> {
        if std::mem::take(&mut self.everything) {
            self.marked.extend(tx.nodes().iter().map(|node| node.id.clone()));
        }
        for id in std::mem::take(&mut self.marked) {
            if tx.node(&id).is_some_and(|node| never_came(&node)) {
                self.since.entry(id).or_insert(now.monotonic);
            } else {
                self.since.remove(&id);
            }
        }
        let overdue = self.since.iter().filter(|(_, since)| now.monotonic.since(**since) >= NEWCOMER_PATIENCE);
        let overdue: Vec<NodeId> = overdue.map(|(id, _)| id.clone()).collect();
        let mut gone = Vec::new();
        for id in overdue {
            self.since.insert(id.clone(), now.monotonic);
            let stays = managers.contains(&id) || !tx.tasks_on_node(&id).is_empty();
            if !stays && tx.node(&id).is_some_and(|node| never_came(&node)) {
                tx.remove::<Node>(&id)?;
                self.since.remove(&id);
                gone.push(id);
            }
        }
        Ok(gone)
    }
}

/// Let in, and not heard of since. What an operator has changed stays: a row without its labels, or with the role that
/// was taken from it, must not come back.
fn never_came(node: &Node) -> bool {
    let untouched = node.spec.annotations.as_ref().is_none_or(|it| it.name.is_empty() && it.labels.is_empty());
    let role = node.role == node.spec.desired_role() && node.certificate.role() == node.role;
    let silent = matches!(node.status.state(), node_status::State::Unknown | node_status::State::Down);
    node.description.is_none() && silent && untouched && role && node.spec.membership() == Membership::Accepted
}
