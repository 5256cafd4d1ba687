//! Replaces tasks that ended or were lost, and lets held-back tasks start when their time has come.

use std::sync::Arc;
use std::time::Duration;

use skep_model::{Node, Service, Task, TaskState};
use skep_store::Read;

use crate::make::{self, desired_when_running, is_job};
use crate::memory::Memory;
use crate::slot::{Place, Slot};
use crate::turn::Turn;
use crate::{facts, restart};

/// Brings one slot in order: ends what is over, replaces it where the policy allows and `may_replace` agrees, and
/// starts what was held back.
pub(crate) fn supervise(turn: &mut Turn, memory: &mut Memory, service: &Service, slot: &mut Slot, may_replace: bool) {
    for index in slot.wanted() {
        if is_over(turn, memory, service, slot, index) {
            end(turn, memory, service, slot, index, may_replace);
        }
    }
    for index in slot.wanted() {
        if facts::is_held_back(&slot.tasks[index]) {
            start_when_due(turn, memory, service, slot, index);
        }
    }
}

/// Whether the task ended, or was lost with its node. One that fails while it is held back is left alone until it
/// would have started: an image that does not exist must not make a tight loop.
fn is_over(turn: &Turn, memory: &mut Memory, service: &Service, slot: &Slot, index: usize) -> bool {
    let task = &slot.tasks[index];
    if is_job(service) && task.state() == TaskState::Complete {
        return false;
    }
    if !task.has_ended() {
        return turn.is_lost(task);
    }
    if facts::is_held_back(task) {
        let start = memory.start_of(turn.now, task, || restart::delay(task));
        return memory.has_come(turn.now, start);
    }
    true
}

fn end(turn: &mut Turn, memory: &mut Memory, service: &Service, slot: &mut Slot, index: usize, may_replace: bool) {
    memory.forget(&slot.tasks[index].id);
    turn.desire(&mut slot.tasks[index], TaskState::Shutdown);
    let task = slot.tasks[index].clone();
    if !may_replace || !restart::may_replace(&task, is_job(service), &slot.tasks) || has_successor(service, slot) {
        return;
    }
    let node = turn.node_of(&task);
    let lost = task.node_id.is_some() && (!task.has_ended() || task.state() == TaskState::Orphaned);
    let delay = if lost || task.node_id.is_some() && facts::loses_tasks(node.as_deref()) {
        Duration::ZERO
    } else {
        restart::delay(&task)
    };
    take_over(turn, memory, service, slot, delay);
}

/// Puts a new task into the slot: held back for `delay`, and while something that nobody wants any more still runs there.
pub(crate) fn take_over(
    turn: &mut Turn,
    memory: &mut Memory,
    service: &Service,
    slot: &mut Slot,
    delay: Duration,
) -> Arc<Task> {
    let waits = !delay.is_zero() || holds_stopping(turn, service, slot);
    let desired = if waits { TaskState::Ready } else { desired_when_running(service) };
    let spec = memory.spec.get(service, slot.newest().map(|task| &**task));
    let task = make::task(turn, service, spec, &slot.place, desired);
    if waits {
        memory.starts.insert(task.id.clone(), turn.now.monotonic.after(delay));
        let look = if delay.is_zero() { restart::OLD_TASK_STOP_TIMEOUT } else { delay };
        memory.wake_at(turn.now.monotonic.after(look));
    }
    slot.push(Arc::clone(&task));
    task
}

/// During an update the slot's new task takes over anyway.
fn has_successor(service: &Service, slot: &Slot) -> bool {
    slot.tasks
        .iter()
        .any(|task| facts::is_wanted(task) && !task.has_ended() && task.spec_version == service.spec_version)
}

/// A held-back task starts after its delay, and once whatever ran in its place has stopped. Elsewhere than on a node of
/// its own it does so after a minute all the same; two tasks of a global service never run on one node.
fn start_when_due(turn: &mut Turn, memory: &mut Memory, service: &Service, slot: &mut Slot, index: usize) {
    let task = slot.tasks[index].clone();
    let predecessor = predecessor(slot, &task).cloned();
    let node = predecessor.as_ref().and_then(|predecessor| turn.node_of(predecessor));
    let pair = predecessor.as_deref().map(|predecessor| (predecessor, node.as_deref()));
    let start = memory.start_of(turn.now, &task, || restart::delay_after(&task, pair));
    if !memory.has_come(turn.now, start) {
        return;
    }
    if holds_stopping(turn, service, slot) {
        if matches!(slot.place, Place::Node(_)) {
            return;
        }
        let patience = memory.patience_of(turn.now, &task);
        if !memory.has_come(turn.now, patience) {
            return;
        }
    }
    memory.forget(&task.id);
    turn.desire(&mut slot.tasks[index], desired_when_running(service));
}

/// Whether something that nobody wants any more may still run in the slot. On a node of its own that is whatever the
/// service has there, what is to be removed too.
fn holds_stopping(turn: &Turn, service: &Service, slot: &Slot) -> bool {
    let is_stopping = |task: &Arc<Task>| is_stopping(turn.node_of(task).as_deref(), task);
    match &slot.place {
        Place::Number(_) => slot.tasks.iter().any(is_stopping),
        Place::Node(node) => {
            let there = turn.tx.tasks_on_node(node);
            there.iter().filter(|task| task.service_id.as_ref() == Some(&service.id)).any(is_stopping)
        }
    }
}

/// Nobody wants it any more, and it may still run on a node that would say when it has ended.
pub(crate) fn is_stopping(node: Option<&Node>, task: &Task) -> bool {
    !facts::is_wanted(task) && facts::may_be_alive(task) && !facts::is_gone(node)
}

/// What ran in the slot before `task` was made.
fn predecessor<'a>(slot: &'a Slot, task: &Task) -> Option<&'a Arc<Task>> {
    slot.tasks.iter().rev().find(|other| other.id != task.id && !facts::is_wanted(other))
}
