//! Jobs: tasks that run to their end, so many times in all or once on each node (interop §7.5).

use std::sync::Arc;
use std::time::Duration;

use skep_model::pb::types::ReplicatedJob;
use skep_model::{Service, Task, TaskState};
use skep_store::Read;

use crate::global::Suits;
use crate::memory::Memory;
use crate::slot::{Place, Slot, by_node, by_number};
use crate::supervise::{supervise, take_over};
use crate::turn::Turn;
use crate::{facts, global, make, replicated};

/// How far one slot of the job is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    Complete,
    Running,
    /// It failed, and may not be tried again.
    GivenUp,
    Free,
}

fn progress(slot: &Slot) -> Progress {
    if slot.tasks.iter().any(|task| task.state() == TaskState::Complete) {
        Progress::Complete
    } else if slot.is_wanted() {
        Progress::Running
    } else if slot.is_finished(true) {
        Progress::GivenUp
    } else {
        Progress::Free
    }
}

/// The tasks of this run. What still runs of earlier ones is removed; what has ended is history, which the reaper keeps
/// within its limit, unless its node is gone: nobody would look for it there.
fn of_this_run(turn: &mut Turn, service: &Service) -> Vec<Arc<Task>> {
    let tasks = turn.tx.tasks_of_service(&service.id);
    let (earlier, current): (Vec<_>, Vec<_>) =
        tasks.into_iter().partition(|task| make::is_of_earlier_run(service, task));
    for mut task in earlier {
        if turn.is_full() {
            break;
        }
        let has_node = task.node_id.as_ref().is_some_and(|node| turn.tx.node(node).is_some());
        let is_history = task.has_ended() && has_node;
        turn.desire(&mut task, if is_history { TaskState::Shutdown } else { TaskState::Remove });
    }
    current
}

/// Runs the job until it has completed as often as asked for, at most so many at once.
pub(crate) fn reconcile_replicated(turn: &mut Turn, memory: &mut Memory, service: &Arc<Service>, job: ReplicatedJob) {
    let mut slots = by_number(of_this_run(turn, service));
    for slot in slots.values_mut() {
        if turn.is_full() {
            return;
        }
        let open = progress(slot) != Progress::Complete;
        supervise(turn, memory, service, slot, open);
    }
    let count = |wanted: Progress| slots.values().filter(|slot| progress(slot) == wanted).count() as u64;
    let running = count(Progress::Running);
    let at_once = if job.max_concurrent == 0 { job.total_completions } else { job.max_concurrent };
    let open = job.total_completions.saturating_sub(count(Progress::Complete) + running + count(Progress::GivenUp));
    let missing = usize::try_from(at_once.saturating_sub(running).min(open)).unwrap_or(usize::MAX);
    let free = |number: &u64| slots.get(number).is_none_or(|slot| progress(slot) == Progress::Free);
    let numbers: Vec<u64> = (0..job.total_completions).filter(free).take(missing).collect();
    let sibling = slots.values().next().and_then(Slot::newest).cloned();
    for number in numbers {
        if turn.is_full() {
            return;
        }
        let spec = memory.spec.get(service, sibling.as_deref());
        make::task(turn, service, spec, &Place::Number(number), TaskState::Complete);
    }
}

/// Runs the job once on each node that suits.
pub(crate) fn reconcile_global(turn: &mut Turn, memory: &mut Memory, service: &Arc<Service>) {
    let suits = Suits::new(service);
    let (mut slots, unplaced) = by_node(of_this_run(turn, service));
    for node in turn.tx.nodes() {
        if turn.is_full() {
            return;
        }
        let mut slot = slots.remove(&node.id).unwrap_or_else(|| Slot::empty(Place::Node(node.id.clone())));
        if facts::loses_tasks(Some(&node)) {
            shut_down_unfinished(turn, &mut slot);
            continue;
        }
        let open = progress(&slot) != Progress::Complete;
        supervise(turn, memory, service, &mut slot, open && suits.new_task(&node));
        if progress(&slot) == Progress::Free && suits.new_task(&node) {
            take_over(turn, memory, service, &mut slot, Duration::ZERO);
        }
    }
    replicated::remove(turn, slots.into_values());
    replicated::remove_tasks(turn, unplaced.into_iter());
}

fn shut_down_unfinished(turn: &mut Turn, slot: &mut Slot) {
    if progress(slot) != Progress::Complete {
        global::shut_down(turn, slot);
    }
}
