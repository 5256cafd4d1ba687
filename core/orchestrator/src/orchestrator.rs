//! What is dirty, and the turn that cleans it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand_core::RngCore;
use skep_model::pb::types::service_spec::Mode;
use skep_model::{Node, NodeId, Now, Refusal, Service, ServiceId, Task, TaskState, Time};
use skep_store::{Action, AnyObject, Event, Read, Tx};

use crate::deadline::earliest;
use crate::memory::Memory;
use crate::reaper::Reaper;
use crate::rest::Rest;
use crate::turn::Turn;
use crate::versions::Versions;
use crate::{enforce, facts, global, job, rebalance, replicated, rest};

/// What a turn leaves over is due so soon.
const NEXT_TURN: Duration = Duration::from_micros(1);

/// Rounds in which one service may be looked at again because it changed itself, in one turn.
const ROUNDS_MAX: usize = 4;

/// Keeps services' tasks as their specs say. One per leader.
#[derive(Debug, Default)]
pub struct Orchestrator {
    everything: bool,
    services: BTreeSet<ServiceId>,
    nodes: BTreeSet<NodeId>,
    memories: BTreeMap<ServiceId, Memory>,
    /// When which service is to be looked at again.
    wakes: BTreeSet<(Time, ServiceId)>,
    /// Services that every change of a node concerns.
    node_bound: BTreeSet<ServiceId>,
    /// Services whose tasks move when nodes change for the better.
    rebalanced: BTreeSet<ServiceId>,
    reaper: Reaper,
    versions: Versions,
    refusals: Vec<Refusal>,
    /// Services with something that is decided and not written yet.
    left_over: BTreeSet<ServiceId>,
    /// When a turn was full.
    full_at: Option<Time>,
    /// The first service that it did not come to, and that comes first next time.
    resume: Option<ServiceId>,
}

impl Orchestrator {
    /// An orchestrator that knows nothing: call [`Self::lead`] before its first turn.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new term: forgets everything, and will look at everything.
    pub fn lead(&mut self) {
        *self = Self { everything: true, ..Self::default() };
        self.reaper.lead();
        self.versions.lead();
    }

    /// Notes what a change concerns: a committed one, or one that another decider of this turn just made.
    pub fn observe(&mut self, event: &Event) {
        self.reaper.observe(event);
        self.versions.observe(event);
        match &event.object {
            AnyObject::Service(service) => {
                self.services.insert(service.id.clone());
            }
            AnyObject::Node(node) => {
                let old = event.old.as_ref().and_then(AnyObject::get::<Node>);
                if event.action != Action::Update || old.is_none_or(|old| facts::differs_for_tasks(old, node)) {
                    self.nodes.insert(node.id.clone());
                }
            }
            AnyObject::Task(task) => self.observe_task(event, task),
            _ => {}
        }
    }

    fn observe_task(&mut self, event: &Event, task: &Task) {
        let Some(service) = &task.service_id else { return };
        let old = event.old.as_ref().and_then(AnyObject::get::<Task>);
        let dirty = match (event.action, old) {
            // Made and placed by one entry: whether that is a better place is for us to say before a node hears of it.
            (Action::Create, _) => task.has_ended() || rebalance::is_move(task),
            (Action::Remove, _) => facts::is_wanted(task) || facts::may_be_alive(task),
            (Action::Update, old) => {
                let ended = task.has_ended() && old.is_none_or(|old| !old.has_ended());
                let began = task.state() == TaskState::Running && old.is_none_or(|old| old.state() < task.state());
                let memory = self.memories.get_mut(service);
                let watched = memory.as_ref().is_some_and(|memory| memory.takes_over || memory.rollout.is_some());
                let rollout = memory.and_then(|memory| memory.rollout.as_mut());
                if let (true, Some(rollout), Some(old)) = (ended, rollout, old) {
                    rollout.ended(old, task);
                }
                let placed = rebalance::is_move(task) && task.state() <= TaskState::Assigned;
                ended || began && watched || placed
            }
        };
        if dirty {
            self.services.insert(service.clone());
        }
    }

    /// Brings what is dirty, or due, in line with the facts; then takes out of the store what nobody needs any more.
    pub fn turn(&mut self, now: Now, rng: &mut dyn RngCore, tx: &mut Tx) {
        self.versions.turn(now, tx, &mut self.refusals);
        self.reconcile(now, rng, tx);
        self.reaper.turn(now, tx, &mut self.refusals);
    }

    fn reconcile(&mut self, now: Now, rng: &mut dyn RngCore, tx: &mut Tx) {
        // The deciders' further rounds at this instant work off what the first one made.
        if self.full_at == Some(now.monotonic) {
            return;
        }
        self.full_at = None;
        self.collect_due(now);
        if std::mem::take(&mut self.everything) {
            self.services.extend(tx.services().iter().map(|service| service.id.clone()));
            tx.each_task(|task| {
                // What a service that is gone left behind.
                if let Some(service) = task.service_id.as_ref().filter(|service| !self.services.contains(*service)) {
                    self.services.insert(service.clone());
                }
            });
            self.nodes.extend(tx.nodes().iter().map(|node| node.id.clone()));
        }
        if self.services.is_empty() && self.left_over.is_empty() && self.nodes.is_empty() {
            return;
        }
        let mut refusals = std::mem::take(&mut self.refusals);
        let mut turn = Turn::new(now, rng, tx, &mut refusals);
        self.look_at_nodes(&mut turn);
        self.look_at_services(&mut turn);
        self.full_at = turn.is_full().then_some(now.monotonic);
        self.refusals = refusals;
    }

    fn look_at_nodes(&mut self, turn: &mut Turn) {
        while !turn.is_full()
            && let Some(node) = self.nodes.pop_first()
        {
            self.look_at_node(turn, &node);
            if turn.is_full() {
                self.nodes.insert(node);
            }
        }
    }

    /// Those first that the last turn did not come to: a service that always has more to write holds up no other.
    fn look_at_services(&mut self, turn: &mut Turn) {
        let dirty = std::mem::take(&mut self.services);
        let left_over = std::mem::take(&mut self.left_over);
        let mut services: VecDeque<ServiceId> = dirty.union(&left_over).cloned().collect();
        if let Some(resume) = self.resume.take() {
            services.rotate_left(services.partition_point(|service| *service < resume));
        }
        while !turn.is_full()
            && let Some(service) = services.pop_front()
        {
            if dirty.contains(&service) {
                self.look_at_service(turn, &service);
            } else {
                self.go_on(turn, &service);
            }
            if turn.is_full() && !self.left_over.contains(&service) {
                self.services.insert(service);
            }
        }
        self.resume = services.front().cloned();
        let (dirty, left_over): (Vec<_>, Vec<_>) = services.into_iter().partition(|service| dirty.contains(service));
        self.services.extend(dirty);
        self.left_over.extend(left_over);
    }

    /// Writes more of what is decided. Once all of it is written, or something happened to the service, all of its tasks
    /// are looked at.
    fn go_on(&mut self, turn: &mut Turn, id: &ServiceId) {
        if let Some(memory) = self.memories.get_mut(id).filter(|memory| memory.rest.stands(turn, id)) {
            let before = memory.wake;
            rest::write(turn, memory, id);
            if memory.wake != before {
                before.map(|wake| self.wakes.remove(&(wake, id.clone())));
                self.wakes.extend(memory.wake.map(|wake| (wake, id.clone())));
            }
            if !memory.rest.is_empty() {
                self.left_over.insert(id.clone());
                return;
            }
        }
        if !turn.is_full() {
            self.look_at_service(turn, id);
        }
    }

    fn collect_due(&mut self, now: Now) {
        while let Some((time, service)) = self.wakes.first().cloned() {
            if time > now.monotonic {
                return;
            }
            self.wakes.remove(&(time, service.clone()));
            self.services.insert(service);
        }
    }

    /// Rejects what no longer fits on the node, and marks whatever its state concerns.
    fn look_at_node(&mut self, turn: &mut Turn, id: &NodeId) {
        let node = turn.node(id);
        if let Some(node) = node.as_deref().filter(|node| !facts::loses_tasks(Some(node))) {
            self.services.extend(enforce::enforce(turn, node));
        } else {
            let tasks = turn.tx.tasks_on_node(id);
            let open = tasks.iter().filter(|task| facts::is_wanted(task) || facts::may_be_alive(task));
            self.services.extend(open.filter_map(|task| task.service_id.clone()));
        }
        self.services.extend(self.node_bound.iter().cloned());
        let after = turn.now.monotonic.after(rebalance::SETTLE);
        for service in &self.rebalanced {
            let memory = self.memories.entry(service.clone()).or_default();
            memory.rebalance_after = memory.rebalance_after.max(Some(after));
        }
        self.services.extend(self.rebalanced.iter().cloned());
    }

    fn look_at_service(&mut self, turn: &mut Turn, id: &ServiceId) {
        let mut memory = self.memories.remove(id).unwrap_or_default();
        if let Some(wake) = memory.wake {
            self.wakes.remove(&(wake, id.clone()));
        }
        for _ in 0..ROUNDS_MAX {
            memory.begin();
            let Some(service) = turn.tx.service(id) else {
                self.node_bound.remove(id);
                self.rebalanced.remove(id);
                let tasks = turn.tx.tasks_of_service(id);
                memory = Memory { rest: Rest::new(tasks.into_iter(), std::iter::empty()), ..Memory::default() };
                break;
            };
            self.note_mode(&service);
            reconcile(turn, &mut memory, service);
            if !memory.again {
                break;
            }
        }
        rest::write(turn, &mut memory, id);
        if let Some(wake) = memory.wake {
            self.wakes.insert((wake, id.clone()));
        }
        if !memory.rest.is_empty() {
            self.left_over.insert(id.clone());
        } else if turn.tx.service(id).is_none() {
            return;
        }
        self.memories.insert(id.clone(), memory);
    }

    fn note_mode(&mut self, service: &Service) {
        if matches!(service.spec.mode, Some(Mode::Global(_) | Mode::GlobalJob(_))) {
            self.node_bound.insert(service.id.clone());
        } else {
            self.node_bound.remove(&service.id);
        }
        if rebalance::is_wanted(service) && matches!(service.spec.mode, Some(Mode::Replicated(_))) {
            self.rebalanced.insert(service.id.clone());
        } else {
            self.rebalanced.remove(&service.id);
        }
    }

    /// When the next turn is due though nothing happens.
    pub fn wake_at(&self) -> Option<Time> {
        let reaping = earliest(self.reaper.wake_at(), self.versions.wake_at());
        let left_over = self.full_at.map(|at| at.after(NEXT_TURN));
        earliest(earliest(self.wakes.first().map(|(time, _)| *time), left_over), reaping)
    }

    /// Writes that the store refused since the last call: broken laws, for the log.
    pub fn take_refusals(&mut self) -> Vec<Refusal> {
        std::mem::take(&mut self.refusals)
    }
}

fn reconcile(turn: &mut Turn, memory: &mut Memory, mut service: std::sync::Arc<Service>) {
    match service.spec.mode {
        Some(Mode::Replicated(replicated)) => {
            replicated::reconcile(turn, memory, &mut service, replicated.replicas);
        }
        Some(Mode::Global(_)) => global::reconcile(turn, memory, &mut service),
        Some(Mode::ReplicatedJob(job)) => job::reconcile_replicated(turn, memory, &service, job),
        Some(Mode::GlobalJob(_)) => job::reconcile_global(turn, memory, &service),
        None => {}
    }
    let id = service.id.clone();
    if memory.has_deadlines() {
        memory.retain(turn.tx.tasks_of_service(&id).iter().map(|task| &**task));
    }
}
