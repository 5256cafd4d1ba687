//! What the dispatcher remembers of each node: until when it waits for it, its session, how often it registered.
//!
//! Nothing of this is stored: a new leader starts with every node unknown.

use std::collections::{BTreeMap, BTreeSet};

use skep_model::pb::types::NodeDescription;
use skep_model::refusal::Code;
use skep_model::{NodeId, Refusal, SessionId, Time, Verbatim};

use super::assignments::Assignments;
use super::effect::StreamId;
use super::limits;

/// What we wait for, until a deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watch {
    /// Known to an earlier leader; has to register.
    Unknown,
    /// Registered; has to send heartbeats.
    Registered,
    /// Its connection was reset; has to register again, soon.
    Suspected,
    /// Its daemon restarts and said so; has to register again.
    Restarting,
    /// Down; its tasks are given up at the deadline.
    Down,
}

/// What a node said when it registered.
#[derive(Clone, PartialEq, Debug)]
pub struct Registration {
    /// Of itself.
    pub description: Option<Verbatim<NodeDescription>>,
    /// Where it connected from.
    pub address: String,
}

/// One registration.
#[derive(Debug)]
pub struct Session {
    /// What the worker quotes.
    pub id: SessionId,
    /// Where session messages go; absent after the stream broke.
    pub stream: Option<StreamId>,
    /// What the worker shall run, if it opened that stream.
    pub assignments: Option<Assignments>,
    /// What the store has to show before the worker gets its first message.
    pub awaits: Option<Registration>,
}

/// What is remembered of one node.
#[derive(Debug)]
pub struct Presence {
    /// What we wait for.
    pub watch: Watch,
    /// Until when.
    pub deadline: Time,
    /// The present registration.
    pub session: Option<Session>,
    /// When it registered last.
    registered_at: Option<Time>,
    /// Registrations in quick succession.
    attempts: u32,
}

/// All nodes that we wait for, with their deadlines in order.
#[derive(Debug, Default)]
pub struct Presences {
    nodes: BTreeMap<NodeId, Presence>,
    deadlines: BTreeSet<(Time, NodeId)>,
}

impl Presences {
    /// What is remembered of `node`.
    pub fn get(&self, node: &NodeId) -> Option<&Presence> {
        self.nodes.get(node)
    }

    /// What is remembered of `node`, to be changed; the deadline only through `watch`.
    pub fn get_mut(&mut self, node: &NodeId) -> Option<&mut Presence> {
        self.nodes.get_mut(node)
    }

    /// The session of `node`, to be changed.
    pub fn session_mut(&mut self, node: &NodeId) -> Option<&mut Session> {
        self.nodes.get_mut(node)?.session.as_mut()
    }

    /// The session that `node` quotes, if that is its present one.
    pub fn session(&mut self, node: &NodeId, quoted: &str) -> Result<&mut Session, Refusal> {
        let session = self.session_mut(node).ok_or_else(not_registered)?;
        if quoted.is_empty() || session.id.as_str() != quoted {
            return Err(Refusal::invalid("session invalid"));
        }
        Ok(session)
    }

    /// Waits for `node` as told, until `deadline`.
    pub fn watch(&mut self, node: &NodeId, watch: Watch, deadline: Time) -> &mut Presence {
        let presence = self.nodes.entry(node.clone()).or_insert_with(|| Presence {
            watch,
            deadline,
            session: None,
            registered_at: None,
            attempts: 0,
        });
        self.deadlines.remove(&(presence.deadline, node.clone()));
        self.deadlines.insert((deadline, node.clone()));
        presence.watch = watch;
        presence.deadline = deadline;
        presence
    }

    /// Forgets the node.
    pub fn remove(&mut self, node: &NodeId) -> Option<Presence> {
        let presence = self.nodes.remove(node)?;
        self.deadlines.remove(&(presence.deadline, node.clone()));
        Some(presence)
    }

    /// When the next wait ends.
    pub fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// A node whose deadline has come.
    pub fn expired(&self, now: Time) -> Option<NodeId> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, node)| node.clone())
    }

    /// Moves every deadline: we were asleep, not the workers.
    pub fn postpone(&mut self, by: std::time::Duration) {
        self.deadlines.clear();
        for (node, presence) in &mut self.nodes {
            presence.deadline = presence.deadline.after(by);
            self.deadlines.insert((presence.deadline, node.clone()));
        }
    }

    /// Every node that we wait for.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, &Presence)> {
        self.nodes.iter()
    }

    /// The same, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&NodeId, &mut Presence)> {
        self.nodes.iter_mut()
    }

    /// Counts a registration; refuses one too many in quick succession.
    pub fn count_registration(&mut self, now: Time, node: &NodeId) -> Result<(), Refusal> {
        let Some(presence) = self.nodes.get_mut(node) else { return Ok(()) };
        let recent = presence.registered_at.is_some_and(|at| now.since(at) <= limits::REGISTRATION_RATE_PERIOD);
        presence.attempts = if recent { presence.attempts + 1 } else { 1 };
        if presence.attempts > limits::REGISTRATION_RATE_COUNT {
            let message = format!("node {node} exceeded rate limit count of registrations");
            return Err(Refusal::new(Code::Unavailable, message));
        }
        presence.registered_at = Some(now);
        Ok(())
    }
}

fn not_registered() -> Refusal {
    Refusal::new(Code::NotFound, "node not registered")
}
