//! The leader's half: which workers are alive, and what each of them shall run.
//!
//! It must never know how a stream travels. Calls of workers are methods that answer at once or refuse; committed
//! changes come through [`Dispatcher::observe`] and only mark what to look at; [`Dispatcher::turn`] writes node and
//! task statuses; [`Dispatcher::flush`] reads committed facts and says what to send. Order on the leader: `lead`,
//! then after each commit `observe`, `turn`, `flush`, and again at `wake_at`. `step_down` ends it.
//! Start reading at `register.rs`, then `turn.rs`, `flush.rs`, `assignments.rs`.

mod assignments;
mod driver;
mod effect;
mod flush;
mod leave;
pub mod limits;
mod presence;
mod register;
mod status;
mod turn;
mod values;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use rand_core::RngCore;
use skep_model::pb::types::{EncryptionKey, WeightedPeer};
use skep_model::refusal::Code;
use skep_model::{NodeId, Now, Refusal, Time, defaults};

pub use driver::{DriverFailure, FetchId, SecretRequest, SecretTrouble, SecretValue};
pub use effect::{Effect, StreamId};

use presence::{Presences, Registration};
use status::StatusQueue;
use values::Values;

/// What every session message carries besides the node itself.
#[derive(Clone, PartialEq, Debug, Default)]
struct Shared {
    managers: Vec<WeightedPeer>,
    network_keys: Vec<EncryptionKey>,
    root: Bytes,
}

/// The dispatcher; it answers only while it leads.
#[derive(Debug)]
pub struct Dispatcher {
    own: NodeId,
    leading: bool,
    /// The first turn of a term has not looked at all nodes yet.
    fresh: bool,
    /// No early suspicion before: workers are still finding the new leader.
    trust_until: Time,
    period: Duration,
    shared: Shared,
    presences: Presences,
    streams: BTreeMap<StreamId, NodeId>,
    /// Registered, not yet written.
    registrations: BTreeMap<NodeId, Registration>,
    leaves: BTreeMap<NodeId, leave::Departure>,
    statuses: StatusQueue,
    /// The cluster object was changed since it was read.
    cluster_changed: bool,
    /// Nodes whose session stream waits for a message.
    untold: BTreeSet<NodeId>,
    /// Nodes whose assignments may have changed.
    unassigned: BTreeSet<NodeId>,
    /// When `flush` has something to send that had to wait.
    flush_at: Option<Time>,
    /// Streams to be ended.
    closing: Vec<(StreamId, Refusal)>,
    /// To be told with the next `flush`.
    warnings: Vec<String>,
    /// What drivers are asked for.
    values: Values,
}

impl Dispatcher {
    /// A dispatcher that does not lead yet. `own` is the manager's node, stamped on statuses that it writes.
    pub fn new(own: NodeId) -> Self {
        Self {
            own,
            leading: false,
            fresh: false,
            trust_until: Time::default(),
            period: defaults::HEARTBEAT_PERIOD,
            shared: Shared::default(),
            presences: Presences::default(),
            streams: BTreeMap::new(),
            registrations: BTreeMap::new(),
            leaves: BTreeMap::new(),
            statuses: StatusQueue::default(),
            cluster_changed: false,
            untold: BTreeSet::new(),
            unassigned: BTreeSet::new(),
            flush_at: None,
            closing: Vec::new(),
            warnings: Vec::new(),
            values: Values::default(),
        }
    }

    /// A new term as leader: nothing is remembered, the next turn looks at all nodes.
    pub fn lead(&mut self) {
        self.forget();
        self.leading = true;
        self.fresh = true;
    }

    /// Leadership is lost, proposals came to nothing, or the daemon stops: every stream gets a last message and ends; what was not written is
    /// forgotten (workers report again to the next leader).
    pub fn step_down(&mut self) -> Vec<Effect> {
        let refusal = Refusal::new(Code::Aborted, "node must disconnect");
        let effects =
            self.streams.keys().map(|stream| Effect::Close { stream: *stream, refusal: refusal.clone() }).collect();
        self.forget();
        effects
    }

    /// As new, but for who the managers are and how far the numbers got.
    fn forget(&mut self) {
        self.values.forget_all();
        let (managers, values) = (std::mem::take(&mut self.shared.managers), std::mem::take(&mut self.values));
        *self = Self::new(self.own.clone());
        self.shared.managers = managers;
        self.values = values;
    }

    /// Proposals came to nothing though we still lead: what was written is not, so every worker has to register and
    /// report again.
    pub fn start_over(&mut self) -> Vec<Effect> {
        let effects = self.step_down();
        self.lead();
        effects
    }

    /// The managers that workers may talk to; Raft's members with their addresses.
    ///
    /// Our own entry gets more weight: a worker that talks to the leader directly is missed at once when it dies.
    pub fn set_managers(&mut self, mut managers: Vec<WeightedPeer>) {
        for manager in &mut managers {
            if manager.peer.as_ref().is_some_and(|peer| peer.node_id == self.own.as_str()) {
                manager.weight = limits::LEADER_WEIGHT;
            }
        }
        if self.shared.managers != managers {
            self.shared.managers = managers;
            self.tell_everyone();
        }
    }

    /// When `turn` and `flush` want to be called even if nothing happens.
    pub fn wake_at(&self) -> Option<Time> {
        if !self.leading {
            return None;
        }
        let is_due = self.fresh || !self.closing.is_empty() || !self.registrations.is_empty();
        if is_due || !self.leaves.is_empty() || self.values.has_unmet() {
            return Some(Time::default());
        }
        let due = [self.presences.next_deadline(), self.statuses.due(), self.flush_at, self.values.due()];
        due.into_iter().flatten().min()
    }

    fn check_leading(&self) -> Result<(), Refusal> {
        if self.leading { Ok(()) } else { Err(Refusal::new(Code::Aborted, "dispatcher is stopped")) }
    }

    fn tell_everyone(&mut self) {
        let nodes = self.presences.iter().filter(|(_, presence)| presence.session.is_some());
        self.untold.extend(nodes.map(|(node, _)| node.clone()));
    }

    /// Drops the session of `node` and ends its streams.
    fn end_session(&mut self, node: &NodeId, refusal: &Refusal) {
        self.values.forget_node(node);
        self.untold.remove(node);
        self.unassigned.remove(node);
        let Some(presence) = self.presences.get_mut(node) else { return };
        let Some(session) = presence.session.take() else { return };
        let streams = session.stream.into_iter().chain(session.assignments.map(|assignments| assignments.stream()));
        for stream in streams {
            self.streams.remove(&stream);
            self.closing.push((stream, refusal.clone()));
        }
    }

    /// The heartbeat period for one worker: the cluster's, a little earlier or later.
    fn choose_period(&self, rng: &mut dyn RngCore) -> Duration {
        let epsilon = limits::HEARTBEAT_EPSILON.min(self.period / 10);
        let span = u64::try_from(epsilon.as_micros()).unwrap_or(0) * 2;
        let offset = Duration::from_micros(if span == 0 { 0 } else { rng.next_u64() % span });
        self.period - epsilon + offset
    }

    /// A worker is alive: `Ok` with the period after which the next heartbeat is expected.
    fn beat(&mut self, now: Now, rng: &mut dyn RngCore, node: &NodeId) -> Duration {
        let period = self.choose_period(rng);
        self.presences.watch(node, presence::Watch::Registered, now.monotonic.after(period * limits::GRACE_PERIODS));
        period
    }
}
