//! The task machine: brings every assigned task as far as is wanted, and away when it is no longer assigned.
//!
//! It must never know containers: a controller behind the shell runs SwarmKit's verbs, at most one per task at a
//! time, any number of tasks side by side. Its own statuses win over the manager's. Start reading at `life.rs`, then
//! `managed.rs`.

mod dependencies;
mod life;
mod managed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skep_model::pb::messages::AssignmentChange;
use skep_model::pb::messages::assignment::Item;
use skep_model::pb::messages::assignment_change::AssignmentAction;
use skep_model::pb::types::TaskStatus;
use skep_model::{Now, Task, TaskId, TaskState, Time};

use self::dependencies::Shelf;
use self::life::Next;
use self::managed::{Farewell, Managed, Running};
use super::effect::{Effect, Run, Verb};
use super::input::{Fault, Observed, Outcome, RunId};
use crate::compare::{same_but_status, same_definition};

/// Pause before a verb is tried again after a temporary failure.
pub const RETRY_DELAY: Duration = Duration::from_secs(1);

/// All tasks of this node.
#[derive(Debug)]
pub struct TaskMachine {
    tasks: BTreeMap<TaskId, Managed>,
    shelf: Shelf,
    last_run: RunId,
    /// Tasks that may have something to do.
    dirty: BTreeSet<TaskId>,
    /// Tasks that are not started while another one of their place still stops.
    held: BTreeSet<TaskId>,
    reports: BTreeMap<TaskId, TaskStatus>,
}

impl TaskMachine {
    /// Takes up tasks as they were persisted, with their statuses.
    pub fn new(tasks: Vec<Task>) -> Self {
        let tasks: BTreeMap<_, _> =
            tasks.into_iter().map(|task| (task.id.clone(), Managed::new(Arc::new(task)))).collect();
        let dirty = tasks.keys().cloned().collect();
        Self {
            tasks,
            shelf: Shelf::default(),
            last_run: RunId(0),
            dirty,
            held: BTreeSet::new(),
            reports: BTreeMap::new(),
        }
    }

    /// Every task that this node answers for, in id order.
    pub fn tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks.values().map(|managed| &managed.task)
    }

    /// Managers have to hear every status again.
    pub fn report_all(&mut self) {
        for (id, managed) in &self.tasks {
            if managed.farewell.is_none() {
                self.reports.insert(id.clone(), managed.task.status.clone());
            }
        }
    }

    /// Statuses to be told, each task's latest.
    pub fn take_reports(&mut self) -> BTreeMap<TaskId, TaskStatus> {
        std::mem::take(&mut self.reports)
    }

    /// What the manager wants: dependencies first, then tasks. `whole`: nothing else shall be here.
    pub fn assign(&mut self, now: Now, changes: Vec<AssignmentChange>, whole: bool) {
        if whole {
            self.shelf.begin_whole();
            self.dirty.extend(self.tasks.keys().cloned());
        }
        let mut tasks = Vec::new();
        for change in changes {
            let removal = change.action() == AssignmentAction::Remove;
            match change.assignment.and_then(|assignment| assignment.item) {
                Some(Item::Task(task)) => tasks.push((task, removal)),
                Some(Item::Secret(secret)) => self.shelf.secret(secret, removal),
                Some(Item::Config(config)) => self.shelf.config(config, removal),
                // Cluster volumes need CSI plugins, which we do not announce.
                Some(Item::Volume(_)) | None => {}
            }
        }
        let mut listed = BTreeSet::new();
        for (kept, removal) in tasks {
            // What has no usable id cannot be run nor reported.
            let Ok(task) = Task::try_from(kept) else { continue };
            listed.insert(task.id.clone());
            if removal {
                self.unassign(&task.id.clone());
            } else {
                self.put(now, task);
            }
        }
        if whole {
            let gone: Vec<TaskId> = self.tasks.keys().filter(|id| !listed.contains(*id)).cloned().collect();
            for id in gone {
                self.unassign(&id);
            }
        }
        self.renew();
    }

    /// Data that tasks have changed in place: the runtime is to write it anew.
    fn renew(&mut self) {
        let tasks = if self.shelf.has_renewed() { self.tasks.iter_mut() } else { Default::default() };
        for (id, managed) in tasks {
            let made = (TaskState::Preparing..=TaskState::Running).contains(&managed.task.state());
            if made && self.shelf.is_renewed_for(&managed.task) {
                managed.updated = true;
                self.dirty.insert(id.clone());
            }
        }
        self.shelf.settle();
    }

    /// The node leaves: nothing shall be here.
    pub fn remove_all(&mut self) {
        let all: Vec<TaskId> = self.tasks.keys().cloned().collect();
        for id in all {
            self.unassign(&id);
        }
    }

    fn unassign(&mut self, id: &TaskId) {
        if let Some(managed) = self.tasks.get_mut(id) {
            managed.take_leave();
            managed.again = None;
            self.reports.remove(id);
            self.dirty.insert(id.clone());
        }
    }

    fn put(&mut self, now: Now, mut task: Task) {
        let id = task.id.clone();
        let Some(managed) = self.tasks.get_mut(&id) else {
            if task.status.timestamp.is_none() {
                task.status.timestamp = Some(now.wall.into());
            }
            let mut managed = Managed::new(Arc::new(task));
            managed.unsaved = true;
            self.tasks.insert(id.clone(), managed);
            self.dirty.insert(id);
            return;
        };
        if managed.farewell.is_some() {
            managed.again = Some(Arc::new(task));
            return;
        }
        // A desired state never goes back; such an update is an old one.
        if task.desired_state < managed.task.desired_state || same_but_status(&managed.task, &task) {
            return;
        }
        let made = managed.task.state() >= TaskState::Preparing;
        managed.updated |= made && !same_definition(&managed.task, &task);
        task.status = managed.task.status.clone();
        managed.task = Arc::new(task);
        managed.retry_at = None;
        managed.unsaved = true;
        self.dirty.insert(id);
    }

    /// A verb ended.
    pub fn verb_done(&mut self, now: Now, id: &TaskId, run: RunId, outcome: Outcome) {
        let Some(managed) = self.tasks.get_mut(id) else { return };
        let Some(running) = managed.running.filter(|running| running.run == run) else { return };
        managed.running = None;
        managed.finish(now, running.verb, outcome, now.monotonic.after(RETRY_DELAY));
        self.dirty.insert(id.clone());
        self.dirty.append(&mut self.held);
    }

    /// When a verb is to be tried again.
    pub fn wake_at(&self) -> Option<Time> {
        self.tasks.values().filter_map(|managed| managed.retry_at).min()
    }

    /// Moves every task that may move, as far as it goes without a verb.
    pub fn drive(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let due = |(id, managed): (&TaskId, &Managed)| {
            managed.retry_at.is_some_and(|at| at <= now.monotonic).then(|| id.clone())
        };
        self.dirty.extend(self.tasks.iter().filter_map(due));
        while let Some(id) = self.dirty.pop_first() {
            let Some(mut managed) = self.tasks.remove(&id) else { continue };
            if managed.retry_at.is_some_and(|at| at <= now.monotonic) {
                managed.retry_at = None;
            }
            let mut verb = self.next_verb(now, &mut managed, effects);
            if verb == Some(Verb::Start) && self.is_place_taken(&managed.task) {
                self.held.insert(id.clone());
                verb = None;
            }
            if managed.farewell == Some(Farewell::Done) {
                effects.push(Effect::Forget(id.clone()));
                if let Some(task) = managed.again {
                    let fresh = Managed { unsaved: true, ..Managed::new(task) };
                    self.tasks.insert(id.clone(), fresh);
                    self.dirty.insert(id);
                }
                continue;
            }
            if std::mem::take(&mut managed.unreported) && managed.farewell.is_none() {
                self.reports.insert(id.clone(), managed.task.status.clone());
            }
            if std::mem::take(&mut managed.unsaved) {
                effects.push(Effect::Persist(Arc::clone(&managed.task)));
            }
            if let Some(verb) = verb {
                effects.push(Effect::Run(self.run(&mut managed, verb)));
            }
            self.tasks.insert(id, managed);
        }
    }

    fn run(&mut self, managed: &mut Managed, verb: Verb) -> Run {
        self.last_run.0 += 1;
        let run = self.last_run;
        managed.running = Some(Running { run, verb, cancelled: false });
        // What changes from here on needs another one.
        managed.updated &= verb != Verb::Update;
        let snapshot = Arc::clone(&managed.task);
        Run { task: snapshot.id.clone(), run, verb, dependencies: self.shelf.of(&snapshot), snapshot }
    }

    /// A service's task without a slot has the node for its place. Whoever made it knows what stops there, but for what
    /// was given up: after 24 hours of silence the node's tasks count as ORPHANED, whatever still runs when it is back.
    fn is_place_taken(&self, task: &Task) -> bool {
        let is_same = |other: &Task| other.slot == 0 && other.service_id == task.service_id;
        let global = task.slot == 0 && task.service_id.is_some();
        global && self.tasks.values().any(|other| is_same(&other.task) && other.is_stopping())
    }

    /// The verb to run now, after all moves that need none.
    fn next_verb(&self, now: Now, managed: &mut Managed, effects: &mut Vec<Effect>) -> Option<Verb> {
        if let Some(running) = &mut managed.running {
            if !running.cancelled && superseded(running.verb, &managed.task, managed.farewell, managed.updated) {
                running.cancelled = true;
                effects.push(Effect::Cancel { task: managed.task.id.clone(), run: running.run });
            }
            return None;
        }
        if managed.retry_at.is_some() {
            return None;
        }
        if let Some(farewell) = managed.farewell {
            return match farewell {
                Farewell::Shutdown => Some(Verb::Shutdown),
                Farewell::Terminate => Some(Verb::Terminate),
                Farewell::Remove => Some(Verb::Remove),
                Farewell::Done => None,
            };
        }
        loop {
            match life::next(&managed.task) {
                Next::Move(state, message) => managed.move_to(now, state, message),
                Next::Rest => return None,
                Next::Run(verb @ (Verb::Prepare | Verb::Start)) => {
                    if !self.shelf.knows_all(&managed.task) {
                        return None;
                    }
                    if let Some(message) = self.shelf.missing(&managed.task) {
                        let fault = Fault { temporary: false, message, exit_code: None };
                        managed.fail(now, verb, fault, Observed::default(), now.monotonic);
                        continue;
                    }
                    return Some(if managed.updated && verb == Verb::Start { Verb::Update } else { verb });
                }
                Next::Run(Verb::Wait) if managed.updated => return Some(Verb::Update),
                Next::Run(verb) => return Some(verb),
            }
        }
    }
}

/// Whether a running verb is in the way of what is wanted now.
fn superseded(verb: Verb, task: &Task, farewell: Option<Farewell>, updated: bool) -> bool {
    match verb {
        Verb::Shutdown | Verb::Terminate | Verb::Remove => false,
        Verb::Wait if updated => true,
        Verb::Update | Verb::Prepare | Verb::Start | Verb::Wait => {
            farewell.is_some() || task.desired_state >= TaskState::Shutdown
        }
    }
}

#[cfg(test)]
mod tests;
