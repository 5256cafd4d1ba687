//! Which slots an update touches now, and how.

use std::sync::Arc;
use std::time::Duration;

use skep_model::{Service, Task, TaskState};

use super::config::Config;
use super::difference::Comparison;
use crate::make::{self, desired_when_running};
use crate::memory::Memory;
use crate::rest::Rest;
use crate::slot::Slot;
use crate::supervise::{self, take_over};
use crate::turn::Turn;
use crate::{facts, rebalance, restart};

/// What the slots need.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Slots whose tasks are all out of date, and that have not had a new one yet.
    pub(super) outdated: Vec<usize>,
    /// Tasks (slot, position) that a newer task of their slot replaces.
    superseded: Vec<(usize, usize)>,
    /// Slots whose old task runs and whose new one does not yet: an update that starts first was overtaken by one that
    /// stops first. The old tasks, and the position of the new one.
    pub(super) halfway: Vec<(usize, Vec<usize>, usize)>,
    /// Slots whose old task stays until their up-to-date one, at this position, runs: it was made to start first, by this
    /// update or by the one before.
    pub(super) pending: Vec<(usize, usize)>,
    /// An old task waits for a newer one to run.
    pub(super) takes_over: bool,
}

impl Plan {
    /// Something is left to be begun, or to take over.
    pub(super) fn is_open(&self) -> bool {
        !self.outdated.is_empty() || !self.halfway.is_empty() || !self.pending.is_empty()
    }
}

pub(super) fn plan(
    turn: &Turn,
    comparison: &mut Comparison,
    service: &Service,
    slots: &[Slot],
    config: &Config,
) -> Plan {
    let mut plan = Plan::default();
    for (index, slot) in slots.iter().enumerate() {
        // Most slots have one task. If it is out of date no other was tried.
        if let [task] = slot.tasks.as_slice()
            && facts::is_wanted(task)
        {
            if comparison.is_dirty(turn, task) {
                plan.outdated.push(index);
            }
            continue;
        }
        let wanted = slot.wanted();
        if wanted.is_empty() {
            if slot.newest().is_some_and(|newest| comparison.is_dirty(turn, newest)) {
                plan.outdated.push(index);
            }
            continue;
        }
        plan.takes_over |= wanted.len() > 1;
        let (dirty, clean): (Vec<usize>, Vec<usize>) =
            wanted.into_iter().partition(|&task| comparison.is_dirty(turn, &slot.tasks[task]));
        // A task that moves to a better place is no surplus.
        let moves = clean.len() == 2 && rebalance::pair(slot).is_some();
        if moves {
            plan.superseded.extend(dirty.iter().map(|task| (index, *task)));
        } else if let Some(keep) = best(slot, &clean) {
            plan.superseded.extend(clean.iter().filter(|task| **task != keep).map(|task| (index, *task)));
            let runs = |task: usize| slot.tasks[task].state() == TaskState::Running;
            if runs(keep) || !config.start_first && !dirty.iter().any(|task| runs(*task)) {
                plan.superseded.extend(dirty.iter().map(|task| (index, *task)));
            } else if !config.start_first {
                plan.halfway.push((index, dirty, keep));
            } else if !dirty.is_empty() && !tries_again(turn, comparison, slot, &dirty, keep) {
                plan.pending.push((index, keep));
            }
        } else if !was_tried(slot, service) {
            plan.outdated.push(index);
            // An update overtaken twice leaves two old tasks. While their slot waits its turn, one of them holds what
            // the slots before it may be waiting for.
            if let Some(keep) = best(slot, &dirty).filter(|&keep| slot.tasks[keep].state() == TaskState::Running) {
                plan.superseded.extend(dirty.iter().filter(|task| **task != keep).map(|task| (index, *task)));
            }
        } else if let Some((_, others)) = dirty.split_last() {
            plan.superseded.extend(others.iter().map(|task| (index, *task)));
        }
    }
    plan
}

/// Of several up-to-date tasks the one that is furthest.
fn best(slot: &Slot, clean: &[usize]) -> Option<usize> {
    clean.iter().copied().max_by_key(|&index| {
        let task = &slot.tasks[index];
        (task.state() == TaskState::Running, task.desired_state, task.state(), std::cmp::Reverse(index))
    })
}

/// The slot had its new task already; the old one still runs because the new one failed before it took over, and the
/// policy allows no other. (One that was stopped belonged to an update that was rolled back, and is now rolled back to.)
fn was_tried(slot: &Slot, service: &Service) -> bool {
    let mine = |task: &Task| task.spec_version.is_some() && task.spec_version == service.spec_version;
    slot.newest()
        .is_some_and(|newest| mine(newest) && (facts::is_wanted(newest) || has_failed(newest) && !was_dropped(slot)))
}

/// The newest task failed and was given no successor, though the policy allows one: it belonged to an update that another
/// one overtook, which wanted none.
pub(super) fn was_dropped(slot: &Slot) -> bool {
    let dropped = |task: &Arc<Task>| {
        !facts::is_wanted(task) && has_failed(task) && restart::may_replace(task, false, &slot.tasks)
    };
    slot.newest().is_some_and(dropped)
}

/// What the task at this position replaces is up to date, too, was made beside the old one, and failed: the slot had its
/// turn. (One that failed before there was anything out of date failed for itself.)
fn tries_again(turn: &Turn, comparison: &mut Comparison, slot: &Slot, dirty: &[usize], task: usize) -> bool {
    let Some(before) = task.checked_sub(1).filter(|before| dirty.first().is_some_and(|old| old < before)) else {
        return false;
    };
    let before = &slot.tasks[before];
    has_failed(before) && !comparison.is_dirty(turn, before)
}

/// Stops what a newer task replaces.
pub(super) fn tidy(turn: &mut Turn, slots: &mut [Slot], plan: &Plan) {
    for &(slot, task) in &plan.superseded {
        if turn.is_full() {
            return;
        }
        turn.desire(&mut slots[slot].tasks[task], TaskState::Shutdown);
    }
}

/// Stops old tasks before their successors run, in so many slots; gives back the successors.
pub(super) fn stop_halfway(
    turn: &mut Turn,
    memory: &mut Memory,
    service: &Service,
    slots: &mut [Slot],
    plan: &Plan,
    room: usize,
) -> Vec<Arc<Task>> {
    let mut successors = Vec::new();
    for (slot, old, new) in plan.halfway.iter().take(room) {
        if turn.is_full() {
            break;
        }
        let slot = &mut slots[*slot];
        for task in old {
            turn.desire(&mut slot.tasks[*task], TaskState::Shutdown);
        }
        let next = Arc::clone(&slot.tasks[*new]);
        // Nobody can hold back what a node may have begun with; of what none has, another one is made, which waits.
        let waits = facts::is_held_back(&next) || next.state() >= TaskState::Assigned;
        successors.push(if waits {
            next
        } else {
            turn.desire(&mut slot.tasks[*new], TaskState::Shutdown);
            take_over(turn, memory, service, slot, Duration::ZERO)
        });
    }
    successors
}

/// How many slots an update took down: a task that is up to date is to take them over, and none runs.
pub(super) fn down(turn: &Turn, comparison: &mut Comparison, service: &Service, slots: &[Slot]) -> usize {
    let mut waits = |slot: &&Slot| {
        !slot.is_running() && slot.is_wanted() && (was_tried(slot, service) || is_successor(turn, comparison, slot))
    };
    slots.iter().filter(&mut waits).count()
}

/// How many slots wait for an up-to-date task that took over without having failed, whichever update it is of.
pub(super) fn successors(turn: &Turn, comparison: &mut Comparison, slots: &[Slot]) -> usize {
    slots.iter().filter(|slot| !slot.is_running() && is_successor(turn, comparison, slot)).count()
}

/// The slot's task is up to date, though perhaps of an earlier update, and the one before it was stopped for it, or one
/// that was still there when it was made.
fn is_successor(turn: &Turn, comparison: &mut Comparison, slot: &Slot) -> bool {
    let [others @ .., newest] = slot.tasks.as_slice() else { return false };
    let stopped_for_it = |task: &Arc<Task>| {
        let after = facts::state_since(task) > newest.meta.created_at;
        supervise::is_stopping(turn.node_of(task).as_deref(), task) || task.state() == TaskState::Shutdown && after
    };
    let before = others.last().is_some_and(|before| !facts::is_wanted(before) && !has_failed(before));
    let taken_over = before || others.iter().any(stopped_for_it);
    taken_over && facts::is_wanted(newest) && !comparison.is_dirty(turn, newest)
}

fn has_failed(task: &Task) -> bool {
    matches!(task.state(), TaskState::Complete | TaskState::Failed | TaskState::Rejected)
}

/// Begins the next slots, as many as the parallelism leaves room for; gives back the tasks made. Those that the turn has
/// no more room for are kept for the next ones.
pub(super) fn advance(
    turn: &mut Turn,
    memory: &mut Memory,
    service: &Service,
    slots: &mut [Slot],
    plan: &Plan,
    config: &Config,
    busy: usize,
) -> Vec<Arc<Task>> {
    let mut begun = Vec::new();
    let room = config.parallelism.saturating_sub(busy);
    let mut next = plan.outdated.iter().take(room);
    // What was to come before did not find room either, and is looked at again.
    if turn.is_full() {
        return begun;
    }
    while !turn.is_full()
        && let Some(&index) = next.next()
    {
        begun.push(replace(turn, memory, service, &mut slots[index], config));
    }
    memory.rest = Rest::of_update(next.map(|&index| slots[index].place.clone()));
    begun
}

/// Whether the slot is as it was when its turn came: nothing of it is up to date.
pub(super) fn is_outdated(turn: &Turn, comparison: &mut Comparison, slot: &Slot) -> bool {
    let wanted = slot.wanted();
    match slot.newest() {
        Some(newest) if wanted.is_empty() => comparison.is_dirty(turn, newest),
        newest => newest.is_some() && wanted.iter().all(|&task| comparison.is_dirty(turn, &slot.tasks[task])),
    }
}

/// Gives the slot its new task.
pub(super) fn replace(
    turn: &mut Turn,
    memory: &mut Memory,
    service: &Service,
    slot: &mut Slot,
    config: &Config,
) -> Arc<Task> {
    let wanted = slot.wanted();
    // A slot that was overtaken by the next update may hold two old tasks: one is enough to go on with.
    let kept = if config.start_first { best(slot, &wanted) } else { None };
    for index in wanted.into_iter().filter(|index| Some(*index) != kept) {
        memory.forget(&slot.tasks[index].id);
        turn.desire(&mut slot.tasks[index], TaskState::Shutdown);
    }
    if !config.start_first {
        // No delay: the new task starts as soon as the old one has stopped.
        return take_over(turn, memory, service, slot, Duration::ZERO);
    }
    let spec = memory.spec.get(service, None);
    let task = make::task(turn, service, spec, &slot.place, desired_when_running(service));
    slot.push(Arc::clone(&task));
    task
}
