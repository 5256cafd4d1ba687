//! What a worker's shell does: carry messages, run verbs, keep tasks on disk.

use prost::Message as _;
use skep_dispatch::worker::{Effect, Input, Outcome, RunId, Verb, Worker};
use skep_model::pb::messages::AssignmentsMessage;
use skep_model::pb::messages::assignment::Item;
use skep_model::pb::messages::assignments_message::Type;
use skep_model::{Kept, TaskId, Time};

use super::calls::{Body, Call, Origin};
use super::{Happening, World};
use crate::host::Host;
use crate::network::HostId;
use crate::plant::Plant;

impl World {
    pub(crate) fn tell_worker(&mut self, host: HostId, life: u64, mut input: Input) {
        if !self.hosts[host].up || self.hosts[host].life != life || self.hosts[host].worker.is_none() {
            return;
        }
        if let Input::Assignments { attempt, opening, message } = &mut input {
            let assigned = &mut self.hosts[host].assigned;
            if self.plant == Some(Plant::StaleAssignment) {
                (*attempt, *opening) = (assigned.attempt, assigned.opening);
                message.applies_to.clone_from(&assigned.reference);
            } else if *attempt == assigned.attempt && *opening == assigned.opening {
                assigned.note(message);
            }
            if self.plant == Some(Plant::TaskLostOnSession) && message.r#type() == Type::Complete {
                lose_a_task(message);
            }
        }
        let now = self.now_at(host);
        let Host { worker: Some(worker), dice, .. } = &mut self.hosts[host] else { return };
        let effects = worker.step(now, dice.source(), input);
        self.perform_worker(host, effects);
    }

    pub(crate) fn worker_wakes(&mut self, host: HostId, life: u64) {
        let place = &mut self.hosts[host];
        // It may have asked for an earlier moment since, and had it.
        if place.life == life && place.worker_wake.is_some_and(|at| at <= self.time) {
            place.worker_wake = None;
            self.tell_worker(host, life, Input::Tick);
        }
    }

    fn perform_worker(&mut self, host: HostId, effects: Vec<Effect>) {
        for effect in effects {
            self.perform_one(host, effect);
        }
        let place = &mut self.hosts[host];
        let Some(at) = place.worker.as_ref().and_then(Worker::wake_at) else { return };
        let at = place.clock.world_time(at).max(Time(self.time.0 + 100));
        if place.worker_wake.is_none_or(|earlier| at < earlier || earlier < self.time) {
            place.worker_wake = Some(at);
            let life = place.life;
            self.queue.put(at, Happening::WorkerWake { host, life });
        }
    }

    fn perform_one(&mut self, host: HostId, effect: Effect) {
        let life = self.hosts[host].life;
        match effect {
            Effect::OpenSession { attempt, peer, request } => {
                self.hosts[host].assigned.attempt = attempt;
                self.hosts[host].assigned.opening = Default::default();
                let at = self.addresses.get(&peer.addr).copied();
                self.say(|| format!("h{host} opens session {} with {}", attempt.0, peer.addr));
                self.worker_call(host, attempt, at, Body::Session { request });
            }
            Effect::CloseSession { attempt } => self.close_session(host, life, attempt),
            Effect::OpenAssignments { attempt, opening, request } => {
                let assigned = &mut self.hosts[host].assigned;
                assigned.opening = opening;
                assigned.reference.clear();
                self.worker_call(host, attempt, None, Body::Assignments { opening, request });
            }
            Effect::Heartbeat { attempt, request } => {
                self.worker_call(host, attempt, None, Body::Heartbeat { request });
            }
            Effect::SendStatus { attempt, request } => self.worker_call(host, attempt, None, Body::Status { request }),
            Effect::SaveRemotes(remotes) => self.hosts[host].remotes = remotes,
            Effect::RootChanged(root) => self.root_arrives(host, root),
            Effect::NodeChanged(node) => self.node_changed(host, &node),
            Effect::NetworkKeys(_) => {}
            Effect::Run(run) => {
                let (task, number, verb) = (run.task.clone(), run.run, run.verb);
                self.say(|| format!("h{host} {verb:?} {task}"));
                let verdict = self.hosts[host].assigned.judge(host, &task, verb);
                self.check(verdict);
                let place = &mut self.hosts[host];
                if verb == Verb::Prepare && !place.engine.containers.contains_key(&task) {
                    let verdict = self.drivers.law.prepared(place.node(), &run);
                    self.check(verdict);
                }
                let place = &mut self.hosts[host];
                if let Some(takes) = place.engine.begin(run, &self.troubles, &mut self.dice.containers) {
                    self.after(takes, Happening::VerbEnds { host, life, task, run: number });
                }
            }
            Effect::Cancel { task, run } => {
                if self.hosts[host].engine.cancel(&task, run) {
                    let input = Box::new(Input::VerbDone { task, run, outcome: Outcome::Cancelled });
                    self.after_us(300, Happening::ToWorker { host, life, input });
                }
            }
            Effect::Persist(task) => {
                if self.plan.drivers {
                    let written = Kept::from(&*task).encode_to_vec();
                    let verdict =
                        self.drivers.law.rests(&written, || format!("task {} on the disk of h{host}", task.id));
                    self.check(verdict);
                }
                self.hosts[host].task_disk.insert(task.id.clone(), task);
            }
            Effect::Forget(task) => {
                self.say(|| format!("h{host} forgets {task}"));
                self.hosts[host].task_disk.remove(&task);
            }
        }
    }

    /// Everything of one session goes to the manager that it was opened with.
    fn worker_call(&mut self, host: HostId, attempt: skep_dispatch::worker::Attempt, at: Option<HostId>, body: Body) {
        let life = self.hosts[host].life;
        let peer = || {
            let (_, peer, _) = self.hosts[host].worker.as_ref()?.session()?;
            self.addresses.get(&peer.addr).copied()
        };
        let Some(at) = at.or_else(peer) else { return };
        self.call(Call { from: host, origin: Origin::Worker { life, attempt }, at, via: None, body });
    }

    pub(crate) fn verb_ends(&mut self, host: HostId, life: u64, task: &TaskId, run: RunId) {
        let place = &mut self.hosts[host];
        if !place.up || place.life != life {
            return;
        }
        let (troubles, plant) = (&self.troubles, self.plant);
        let Some(consequence) = place.engine.end(task, run, troubles, plant, &mut self.dice.containers) else { return };
        if let Some((after, start, code)) = consequence.exits {
            self.after(after, Happening::ContainerExits { host, task: task.clone(), start, code });
        }
        if let Some(outcome) = consequence.outcome {
            self.tell_worker(host, life, Input::VerbDone { task: task.clone(), run, outcome });
        }
    }

    pub(crate) fn container_exits(&mut self, host: HostId, task: &TaskId, start: u64, code: i32) {
        if !self.hosts[host].powered {
            return;
        }
        let waiting = self.hosts[host].engine.exit(task, start, code);
        let life = self.hosts[host].life;
        if let Some(run) = waiting {
            self.after_us(200, Happening::VerbEnds { host, life, task: task.clone(), run });
        }
    }
}

/// The planted bug.
fn lose_a_task(message: &mut AssignmentsMessage) {
    let is_task = |change: &skep_model::pb::messages::AssignmentChange| {
        matches!(change.assignment.as_ref().and_then(|assignment| assignment.item.as_ref()), Some(Item::Task(_)))
    };
    if let Some(position) = message.changes.iter().position(is_task) {
        message.changes.remove(position);
    }
}
