//! How far an update got: which new tasks it made, which of them failed, and until when it must wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skep_model::pb::types::update_config::FailureAction;
use skep_model::{Now, Service, Task, TaskId, TaskState, Time};
use skep_store::{Read, Tx};

use super::config::Config;
use super::status;
use super::step::{self, Plan};
use crate::deadline::deadline;
use crate::facts;
use crate::memory::Memory;
use crate::slot::Slot;

/// One update of one service towards one version of its spec.
#[derive(Clone, Debug)]
pub(crate) struct Rollout {
    version: Option<u64>,
    rolls_back: bool,
    /// Slots that were out of date when it began.
    total: usize,
    /// New tasks made so far, the first of each slot.
    made: usize,
    /// Those of them whose failure would count.
    watched: BTreeSet<TaskId>,
    failed: usize,
    /// How long tasks that ended had been running.
    ran: BTreeMap<TaskId, Duration>,
    /// New tasks that count against the parallelism, and until when once that is known.
    active: BTreeMap<TaskId, Option<Time>>,
    watched_until: Option<Time>,
}

/// What became of the new tasks so far.
pub(super) enum Verdict {
    Well,
    /// One too many failed: this one.
    Failed(TaskId),
}

impl Rollout {
    /// What the facts tell of an update that somebody else began (or that nobody has begun).
    pub(super) fn rebuild(service: &Service, slots: &[Slot], outdated: usize) -> Self {
        let mut rollout = Self {
            version: service.spec_version,
            rolls_back: super::rolls_back(service),
            total: outdated,
            made: 0,
            watched: BTreeSet::new(),
            failed: 0,
            ran: BTreeMap::new(),
            active: BTreeMap::new(),
            watched_until: None,
        };
        if status::is_under_way(service) {
            let firsts: Vec<&Arc<Task>> = slots.iter().filter_map(|slot| first_new(slot, service)).collect();
            rollout.total += firsts.len();
            rollout.begin(firsts.iter().map(|task| &***task));
        }
        rollout
    }

    pub(super) fn is_of(&self, service: &Service) -> bool {
        self.version == service.spec_version && self.rolls_back == super::rolls_back(service)
    }

    /// Whether there is anything to do, to watch or to say.
    pub(super) fn is_needed(&self, service: &Service, plan: &Plan) -> bool {
        status::is_under_way(service) || plan.is_open() || !self.active.is_empty()
    }

    /// Remembers tasks that the update made.
    pub(super) fn begin<'a>(&mut self, tasks: impl Iterator<Item = &'a Task>) {
        for task in tasks {
            self.made += 1;
            self.watched.insert(task.id.clone());
            self.active.insert(task.id.clone(), None);
            self.watched_until = None;
        }
        self.total = self.total.max(self.made);
    }

    /// Takes over tasks that the update found half way: it is not over before they run, and goes by what becomes of them.
    pub(super) fn adopt<'a>(&mut self, tasks: impl Iterator<Item = &'a Task>) {
        let found: Vec<&Task> = tasks.filter(|task| !self.active.contains_key(&task.id)).collect();
        self.begin(found.into_iter());
    }

    /// Notes for how long a task ran, from the event that tells of its end.
    pub(crate) fn ended(&mut self, old: &Task, new: &Task) {
        if !self.watched.contains(&new.id) {
            return;
        }
        let ran = match (old.state(), facts::state_since(old), facts::state_since(new)) {
            (TaskState::Running, Some(since), Some(until)) => {
                Duration::from_nanos(u64::try_from(until.0.saturating_sub(since.0)).unwrap_or(0))
            }
            _ => Duration::ZERO,
        };
        self.ran.insert(new.id.clone(), ran);
    }

    /// Counts failures; tells when there are too many.
    pub(super) fn judge(&mut self, now: Now, tx: &Tx, config: &Config) -> Verdict {
        let mut verdict = Verdict::Well;
        for id in std::mem::take(&mut self.watched) {
            let Some(task) = tx.task(&id) else { continue };
            if self.failed_early(&task, config) {
                self.failed += 1;
                if self.failed as f32 / self.total.max(1) as f32 > config.max_failure_ratio {
                    verdict = Verdict::Failed(id);
                }
            } else if !task.has_ended() && !outlived(now, &task, config) {
                self.watched.insert(id);
            }
        }
        if config.action == FailureAction::Continue { Verdict::Well } else { verdict }
    }

    /// Whether the task ended of itself before it ran, or while it was watched.
    fn failed_early(&self, task: &Task, config: &Config) -> bool {
        if !matches!(task.state(), TaskState::Complete | TaskState::Failed | TaskState::Rejected) {
            return false;
        }
        if let Some(ran) = self.ran.get(&task.id) {
            return *ran <= config.monitor;
        }
        // A new leader does not know when it began to run: surely not before it was made.
        let life = match (task.meta.created_at, facts::state_since(task)) {
            (Some(created), Some(ended)) => u64::try_from(ended.0.saturating_sub(created.0)).unwrap_or(0),
            _ => u64::MAX,
        };
        task.state() == TaskState::Rejected || Duration::from_nanos(life) <= config.monitor
    }

    /// How many slots the update is busy with: their new task does not run yet, or the pause after it is not over.
    pub(super) fn busy(&mut self, now: Now, tx: &Tx, config: &Config, memory: &mut Memory) -> usize {
        let mut left = BTreeMap::new();
        for (id, until) in std::mem::take(&mut self.active) {
            let Some(task) = tx.task(&id) else { continue };
            let until = until.or_else(|| {
                let reached = task.state() >= TaskState::Running;
                reached.then(|| deadline(now, facts::state_since(&task), config.delay))
            });
            let abandoned = !facts::is_wanted(&task) && !task.has_ended();
            let over = until.is_some_and(|until| memory.has_come(now, until));
            if !abandoned && !over {
                left.insert(id, until);
            }
        }
        self.active = left;
        self.active.len()
    }

    /// Whether nothing is left to wait for: no slot is busy, and the last one was watched long enough.
    pub(super) fn is_over(&mut self, now: Now, slots: &[Slot], config: &Config, memory: &mut Memory) -> bool {
        if !self.active.is_empty() {
            return false;
        }
        let until = *self.watched_until.get_or_insert_with(|| {
            let running = |task: &&Arc<Task>| {
                facts::is_wanted(task) && task.spec_version == self.version && task.state() == TaskState::Running
            };
            let tasks = slots.iter().flat_map(|slot| &slot.tasks).filter(running);
            match tasks.filter_map(|task| facts::state_since(task)).max() {
                Some(last) => deadline(now, Some(last), config.delay + config.last_watch()),
                None if self.made == 0 => now.monotonic,
                None => deadline(now, None, config.last_watch()),
            }
        });
        memory.has_come(now, until)
    }
}

/// The first task of the service's version that took over the slot from another version.
fn first_new<'a>(slot: &'a Slot, service: &Service) -> Option<&'a Arc<Task>> {
    let old = slot.tasks.iter().rposition(|task| task.spec_version != service.spec_version)?;
    slot.tasks.get(old + 1).filter(|first| !step::was_dropped(slot) || slot.newest().is_none_or(|it| it.id != first.id))
}

/// It has been running for longer than it is watched.
fn outlived(now: Now, task: &Task, config: &Config) -> bool {
    let Some(since) = facts::state_since(task) else { return false };
    let ran = u64::try_from(now.wall.0.saturating_sub(since.0)).unwrap_or(0);
    task.state() == TaskState::Running && Duration::from_nanos(ran) > config.monitor
}
