//! What the dispatcher writes: who is alive, and what became of tasks.

use rand_core::RngCore;
use skep_model::pb::types::{NodeStatus, TaskState, node_status};
use skep_model::time::duration;
use skep_model::{Config, NodeId, Now, Refusal, Secret, defaults};
use skep_store::{AnyObject, Event, Read, Tx};

use super::assignments::Dependency;
use super::driver::SecretTrouble;
use super::leave::{orphan_tasks, set_status};
use super::presence::Watch;
use super::values::Unmet;
use super::{Dispatcher, limits};

/// The message of nodes whose leader changed, as Docker words it.
pub const UNKNOWN_MESSAGE: &str = r#"Node moved to "unknown" state due to leadership change in cluster"#;

impl Dispatcher {
    /// A change was committed: marks whom it may concern.
    pub fn observe(&mut self, event: &Event) {
        if !self.leading {
            return;
        }
        match &event.object {
            AnyObject::Node(node) => {
                self.untold.insert(node.id.clone());
            }
            AnyObject::Task(task) => {
                let Some(node) = &task.node_id else { return };
                let Some(session) = self.presences.session_mut(node) else { return };
                if let Some(assignments) = &mut session.assignments {
                    assignments.mark(task.id.clone());
                    self.unassigned.insert(node.clone());
                }
            }
            AnyObject::Cluster(_) => self.cluster_changed = true,
            AnyObject::Secret(secret) => {
                let old = event.old.as_ref().and_then(AnyObject::get::<Secret>);
                if old.is_some_and(|old| old.spec.data != secret.spec.data) {
                    self.renew(&Dependency::Secret(secret.id.clone()));
                }
            }
            AnyObject::Config(config) => {
                let old = event.old.as_ref().and_then(AnyObject::get::<Config>);
                if old.is_some_and(|old| old.spec.data != config.spec.data) {
                    self.renew(&Dependency::Config(config.id.clone()));
                }
            }
            _ => {}
        }
    }

    /// Data changed in place: workers that have it get it anew.
    fn renew(&mut self, dependency: &Dependency) {
        for (node, presence) in self.presences.iter_mut() {
            let assignments = presence.session.as_mut().and_then(|session| session.assignments.as_mut());
            if assignments.is_some_and(|assignments| assignments.renew(dependency)) {
                self.unassigned.insert(node.clone());
            }
        }
    }

    /// Writes what is due: nodes that registered, left or fell silent, statuses of tasks. Should the store refuse a
    /// write, which only a broken law of ours can cause, the rest is written, and a warning goes out with `flush`.
    pub fn turn(&mut self, now: Now, rng: &mut dyn RngCore, tx: &mut Tx<'_>) {
        if !self.leading {
            return;
        }
        self.read_cluster(tx);
        if std::mem::take(&mut self.fresh) {
            self.doubt_everyone(now, rng, tx);
        }
        self.expire(now, tx);
        self.write_registrations(tx);
        self.write_leaves(now, tx);
        self.write_statuses(now, tx);
        self.write_unmet(tx);
    }

    /// What the cluster object says to all workers.
    pub(super) fn read_cluster(&mut self, read: &impl Read) {
        let Some(cluster) = read.cluster() else { return };
        let period = cluster.spec.dispatcher.as_ref().and_then(|config| config.heartbeat_period.as_ref()).map(duration);
        self.period = period.filter(|period| !period.is_zero()).unwrap_or(defaults::HEARTBEAT_PERIOD);
        if self.shared.root != cluster.root_ca.ca_cert || self.shared.network_keys != cluster.network_bootstrap_keys {
            self.shared.root = cluster.root_ca.ca_cert.clone();
            self.shared.network_keys = cluster.network_bootstrap_keys.clone();
            self.tell_everyone();
        }
    }

    /// A new leader knows nobody: each node has to register again within six periods (interop §4.2).
    fn doubt_everyone(&mut self, now: Now, rng: &mut dyn RngCore, tx: &mut Tx<'_>) {
        let mut others = false;
        for node in tx.nodes() {
            if self.presences.get(&node.id).is_some() {
                continue;
            }
            if node.status.state() == node_status::State::Down {
                let deadline = now.monotonic.after(limits::DOWN_UNTIL_ORPHANED);
                self.presences.watch(&node.id, Watch::Down, deadline);
                continue;
            }
            others |= node.id != self.own;
            let grace = self.choose_period(rng) * limits::GRACE_PERIODS_UNKNOWN;
            self.presences.watch(&node.id, Watch::Unknown, now.monotonic.after(grace));
            let written = set_status(tx, &node.id, node_status::State::Unknown, UNKNOWN_MESSAGE);
            self.warn_of(written);
        }
        if others {
            self.trust_until = now.monotonic.after(self.period * limits::GRACE_PERIODS_UNKNOWN);
        }
    }

    /// Nodes that let their deadline pass.
    fn expire(&mut self, now: Now, tx: &mut Tx<'_>) {
        if let Some(deadline) = self.presences.next_deadline() {
            let late = now.monotonic.since(deadline);
            if late > limits::STALL {
                self.presences.postpone(late.saturating_add(self.period));
            }
        }
        while let Some(node) = self.presences.expired(now.monotonic) {
            let written = self.expire_node(now, tx, &node);
            self.warn_of(written);
        }
    }

    fn expire_node(&mut self, now: Now, tx: &mut Tx<'_>, node: &NodeId) -> Result<(), Refusal> {
        let Some(watch) = self.presences.get(node).map(|presence| presence.watch) else { return Ok(()) };
        let message = match watch {
            Watch::Down => {
                self.presences.remove(node);
                return orphan_tasks(now, tx, node, TaskState::Assigned);
            }
            Watch::Unknown => r#"heartbeat failure for node in "unknown" state"#,
            Watch::Registered => "heartbeat failure",
            Watch::Suspected => "connection lost",
            Watch::Restarting => "node did not come back from its restart",
        };
        self.end_session(node, &Refusal::invalid("session invalid"));
        self.presences.watch(node, Watch::Down, now.monotonic.after(limits::DOWN_UNTIL_ORPHANED));
        // What it said of itself before it fell silent is still worth knowing.
        if let Some(registration) = self.registrations.remove(node) {
            write_registration(tx, node, &registration)?;
        }
        set_status(tx, node, node_status::State::Down, message)
    }

    /// Why tasks wait for secrets: it stands in their status until they start.
    fn write_unmet(&mut self, tx: &mut Tx<'_>) {
        let manager = tx.node(&self.own).and_then(|node| node.description.as_ref().map(|it| it.hostname.clone()));
        let manager = manager.unwrap_or_else(|| self.own.to_string());
        for (id, unmet) in self.values.take_unmet() {
            let Unmet { need: (_, secret), driver, failure } = unmet;
            let Some((task, secret)) = tx.task(&id).zip(tx.secret(&secret)) else { continue };
            let secret = secret.spec.annotations.as_ref().map(|annotations| annotations.name.clone());
            let trouble =
                SecretTrouble { secret: secret.unwrap_or_default(), driver, manager: manager.clone(), failure };
            let err = trouble.to_string();
            if task.state() != TaskState::Assigned || task.status.err == err {
                continue;
            }
            let mut task = (*task).clone();
            task.status.err.clone_from(&err);
            let written = tx.update(task);
            self.warn_of(written);
            self.warnings.push(format!("task {id} waits: {err}"));
        }
    }

    fn write_registrations(&mut self, tx: &mut Tx<'_>) {
        for (node, registration) in std::mem::take(&mut self.registrations) {
            let written = write_registration(tx, &node, &registration);
            self.warn_of(written);
        }
    }

    /// Keeps a refusal of the store for `flush` to tell.
    pub(super) fn warn_of(&mut self, written: Result<(), Refusal>) {
        self.warnings.extend(written.err().map(|refusal| format!("a status was not written: {refusal}")));
    }
}

fn write_registration(tx: &mut Tx<'_>, id: &NodeId, registration: &super::Registration) -> Result<(), Refusal> {
    let Some(stored) = tx.node(id) else { return Ok(()) };
    let mut node = (*stored).clone();
    if registration.description.is_some() {
        node.description = registration.description.clone();
    }
    let addr = if registration.address.is_empty() { node.status.addr } else { registration.address.clone() };
    node.status = NodeStatus { state: node_status::State::Ready.into(), message: String::new(), addr };
    if node == *stored { Ok(()) } else { tx.update(node) }
}
