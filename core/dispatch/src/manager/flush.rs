//! What the dispatcher sends, read from committed facts alone.

use skep_model::pb::messages::SessionMessage;
use skep_model::pb::types::node_status;
use skep_model::refusal::Code;
use skep_model::{Kept, Node, NodeId, Now, Refusal, Time};
use skep_store::Read;

use super::driver::{DriverFailure, FetchId, SecretRequest, SecretValue};
use super::presence::{Registration, Session};
use super::{Dispatcher, Effect, limits};

impl Dispatcher {
    /// What is to be sent now. To be called after each commit, after calls of workers, and at `wake_at`.
    pub fn flush(&mut self, now: Now, facts: &impl Read) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.has_nothing_to_flush(now.monotonic) {
            return effects;
        }
        if self.leading {
            if std::mem::take(&mut self.cluster_changed) {
                self.read_cluster(facts);
            }
            for node in std::mem::take(&mut self.untold) {
                self.tell(&node, facts, &mut effects);
            }
            self.send_assignments(now.monotonic, facts, &mut effects);
            self.ask_drivers(now.monotonic, facts, &mut effects);
        }
        let closing = std::mem::take(&mut self.closing);
        effects.extend(closing.into_iter().map(|(stream, refusal)| Effect::Close { stream, refusal }));
        effects.extend(std::mem::take(&mut self.warnings).into_iter().map(Effect::Warn));
        effects
    }

    fn has_nothing_to_flush(&self, now: Time) -> bool {
        let quiet = !self.cluster_changed && self.flush_at.is_none();
        quiet
            && self.untold.is_empty()
            && self.unassigned.is_empty()
            && self.closing.is_empty()
            && self.values.due().is_none_or(|due| due > now)
            && self.warnings.is_empty()
    }

    /// The session message of one node, once the store shows what it registered.
    fn tell(&mut self, id: &NodeId, facts: &impl Read, effects: &mut Vec<Effect>) {
        let Some(node) = facts.node(id) else {
            self.end_session(id, &Refusal::new(Code::NotFound, "node not found"));
            self.presences.remove(id);
            return;
        };
        let shared = &self.shared;
        let Some(session) = self.presences.session_mut(id) else { return };
        if session.awaits.as_ref().is_some_and(|awaited| !shows(&node, awaited)) {
            return;
        }
        session.awaits = None;
        let Some(stream) = session.stream else { return };
        let message = SessionMessage {
            session_id: session.id.to_string(),
            node: Some(Kept::from(&*node)),
            managers: shared.managers.clone(),
            network_bootstrap_keys: shared.network_keys.clone(),
            root_ca: shared.root.clone(),
        };
        effects.push(Effect::Session { stream, message: Box::new(message) });
    }

    /// Whole sets for streams that just opened, changes for the others; a pause between two messages lets changes
    /// gather while much happens.
    fn send_assignments(&mut self, now: Time, facts: &impl Read, effects: &mut Vec<Effect>) {
        self.flush_at = None;
        for id in std::mem::take(&mut self.unassigned) {
            let Some(assignments) = self.presences.session_mut(&id).and_then(assignments_of) else { continue };
            let due = assignments.sent_at().map_or(now, |sent| sent.after(limits::ASSIGNMENT_SPACING));
            let due = due.max(assignments.hold_for_values(now, facts, &mut self.values).unwrap_or(due));
            if due > now {
                self.unassigned.insert(id);
                self.flush_at = Some(self.flush_at.map_or(due, |at| at.min(due)));
                continue;
            }
            let stream = assignments.stream();
            let messages = assignments.messages(now, facts, &mut self.values);
            effects.extend(messages.into_iter().map(|message| Effect::Assignments { stream, message }));
        }
    }

    /// Asks for the values that tasks wait for.
    fn ask_drivers(&mut self, now: Time, facts: &impl Read, effects: &mut Vec<Effect>) {
        for (fetch, driver, (task, secret)) in self.values.start(now) {
            match facts.task(&task).zip(facts.secret(&secret)) {
                Some((task, secret)) => {
                    let request = Box::new(SecretRequest::new(&driver, &secret.spec, &task));
                    effects.push(Effect::FetchSecret { fetch, request });
                }
                // Gone since: nobody waits.
                None => self.values.withdraw(fetch),
            }
        }
    }

    /// What a secret's driver answered to `Effect::FetchSecret`.
    pub fn secret_fetched(&mut self, now: Now, fetch: FetchId, result: Result<SecretValue, DriverFailure>) {
        let Some((node, task)) = self.values.answered(now.monotonic, fetch, result) else { return };
        if let Some(assignments) = self.presences.session_mut(&node).and_then(assignments_of) {
            assignments.mark(task);
            self.unassigned.insert(node);
        }
    }
}

fn assignments_of(session: &mut Session) -> Option<&mut super::assignments::Assignments> {
    session.assignments.as_mut()
}

/// Whether the stored node is READY as it registered.
fn shows(node: &Node, awaited: &Registration) -> bool {
    let ready = node.status.state() == node_status::State::Ready;
    let address = awaited.address.is_empty() || awaited.address == node.status.addr;
    ready && address && (awaited.description.is_none() || awaited.description == node.description)
}
