//! Moves tasks of services that ask for it (label `skep.rebalance=true`) when there is a better place: one at a time,
//! the new task before the old one stops.
//!
//! A move is a second task in the slot, marked with the id of the one that it takes over from. Where it goes is the
//! scheduler's choice; when that is no better place, or there is none, the move is taken back before a node hears of
//! it. All of it is read off the tasks, so that a new leader goes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skep_model::constraint::spread_value;
use skep_model::labels::{MOVED_FROM, rebalances};
use skep_model::objects::TaskAnnotations;
use skep_model::pb::types::placement_preference::Preference;
use skep_model::pb::types::update_status::UpdateState;
use skep_model::{Node, NodeId, Service, Shared, Task, TaskState};
use skep_store::Read;

use crate::deadline::deadline;
use crate::global::Suits;
use crate::memory::Memory;
use crate::slot::Slot;
use crate::turn::Turn;
use crate::{facts, make};

/// Nodes are left alone for so long after one of them changed: one that flaps is given nothing.
pub(crate) const SETTLE: Duration = Duration::from_secs(5);
/// After a move that failed or led nowhere the next one waits so long.
const RETRY: Duration = Duration::from_secs(60);
/// A move evens out what differs by this much; less would only turn it round.
const DIFFERENCE_MIN: usize = 2;

/// Whether the service asks for it.
pub(crate) fn is_wanted(service: &Service) -> bool {
    service.spec.annotations.as_ref().is_some_and(|annotations| rebalances(&annotations.labels))
}

/// Whether the task was made to take over from another.
pub(crate) fn is_move(task: &Task) -> bool {
    moved_from(task).is_some()
}

fn moved_from(task: &Task) -> Option<&str> {
    match &task.annotations {
        TaskAnnotations::Written(written) => written.labels.get(MOVED_FROM).map(String::as_str),
        TaskAnnotations::Usual => None,
    }
}

/// Positions of a slot's task that takes over and of the one that it takes over from, while both are wanted.
pub(crate) fn pair(slot: &Slot) -> Option<(usize, usize)> {
    if slot.tasks.len() < 2 {
        return None;
    }
    let wanted = slot.wanted();
    // One that moved long ago is marked, too, but what it took over from is gone.
    wanted.iter().find_map(|&moving| {
        let from = moved_from(&slot.tasks[moving])?;
        let origin = wanted.iter().copied().find(|&index| slot.tasks[index].id.as_str() == from)?;
        Some((moving, origin))
    })
}

/// Ends moves that are decided, and begins the next one. `slots` are those that stay, `missing` those still to be made.
pub(crate) fn rebalance(turn: &mut Turn, memory: &mut Memory, service: &Arc<Service>, slots: &mut [Slot], whole: bool) {
    let mut under_way = false;
    for index in 0..slots.len() {
        if let Some((moving, origin)) = pair(&slots[index]) {
            under_way |= go_on(turn, memory, service, slots, (index, moving, origin));
        }
    }
    if under_way {
        memory.takes_over = true;
        return;
    }
    let calm = |slot: &Slot| matches!(slot.wanted().as_slice(), [only] if is_running(&slot.tasks[*only]));
    if !is_wanted(service) || !whole || updates(service, memory) || !slots.iter().all(calm) {
        return;
    }
    let board = Board::new(turn, service, slots);
    let Some(index) = board.source(slots) else { return };
    let after = [memory.rebalance_after, slots.iter().filter_map(|slot| failed_move(turn, slot)).max()];
    if let Some(after) = after.into_iter().flatten().max()
        && !memory.has_come(turn.now, after)
    {
        return;
    }
    begin(turn, memory, service, &mut slots[index]);
    memory.takes_over = true;
}

fn is_running(task: &Task) -> bool {
    task.state() == TaskState::Running && task.desired_state == TaskState::Running
}

fn updates(service: &Service, memory: &Memory) -> bool {
    let state = service.update_status.as_ref().map(|status| status.state());
    memory.rollout.is_some()
        || matches!(
            state,
            Some(
                UpdateState::Updating
                    | UpdateState::RollbackStarted
                    | UpdateState::Paused
                    | UpdateState::RollbackPaused
            )
        )
}

/// Until when a move that failed of itself holds back the next.
fn failed_move(turn: &Turn, slot: &Slot) -> Option<skep_model::Time> {
    let failed =
        slot.tasks.iter().filter(|task| is_move(task) && task.has_ended() && task.state() != TaskState::Shutdown);
    failed.map(|task| deadline(turn.now, facts::state_since(task), RETRY)).max()
}

fn begin(turn: &mut Turn, memory: &mut Memory, service: &Service, slot: &mut Slot) {
    let Some(origin) = slot.wanted().first().map(|&index| Arc::clone(&slot.tasks[index])) else { return };
    let spec = memory.spec.get(service, Some(&origin));
    let mut task = make::task(turn, service, spec, &slot.place, TaskState::Running);
    let mut marked = (*task).clone();
    let mut annotations = task.written_annotations();
    annotations.labels.insert(MOVED_FROM.to_owned(), origin.id.to_string());
    marked.annotations = TaskAnnotations::Written(Shared::new(annotations));
    turn.update_task(&mut task, marked);
    slot.push(task);
}

/// Takes one move as far as it may go now; says whether it is still under way.
fn go_on(
    turn: &mut Turn,
    memory: &mut Memory,
    service: &Arc<Service>,
    slots: &mut [Slot],
    (index, moving, origin): (usize, usize, usize),
) -> bool {
    if is_running(&slots[index].tasks[moving]) {
        turn.desire(&mut slots[index].tasks[origin], TaskState::Shutdown);
        return false;
    }
    let task = &slots[index].tasks[moving];
    let helps = match &task.node_id {
        Some(to) => {
            let board = Board::new(turn, service, slots);
            let from = slots[index].tasks[origin].node_id.as_ref();
            from.is_some_and(|from| board.evens_out(from, to))
        }
        None => task.status.err.is_empty(),
    };
    if helps || task.state() > TaskState::Assigned {
        return true;
    }
    turn.desire(&mut slots[index].tasks[moving], TaskState::Remove);
    let after = turn.now.monotonic.after(RETRY);
    memory.rebalance_after = Some(after);
    memory.wake_at(after);
    false
}

/// Where the service's tasks are, and where they might be.
struct Board {
    places: BTreeMap<NodeId, Place>,
}

struct Place {
    /// The value of each spread preference.
    branches: Vec<String>,
    tasks: usize,
    takes_more: bool,
}

impl Board {
    fn new(turn: &Turn, service: &Arc<Service>, slots: &[Slot]) -> Self {
        let suits = Suits::new(service);
        let placement = service.spec.task.as_ref().and_then(|task| task.placement.as_ref());
        let preferences = placement.map(|placement| placement.preferences.as_slice()).unwrap_or_default();
        let descriptors: Vec<&str> = preferences
            .iter()
            .filter_map(|preference| preference.preference.as_ref())
            .map(|Preference::Spread(spread)| spread.spread_descriptor.as_str())
            .collect();
        let place = |node: &Arc<Node>| {
            let value = |descriptor: &&str| spread_value(descriptor, node).unwrap_or_default().to_owned();
            let branches = descriptors.iter().map(value).collect();
            (node.id.clone(), Place { branches, tasks: 0, takes_more: suits.new_task(node) })
        };
        let mut places: BTreeMap<NodeId, Place> = turn.tx.nodes().iter().map(place).collect();
        let wanted = slots.iter().flat_map(|slot| &slot.tasks);
        for task in wanted.filter(|task| facts::is_wanted(task) && !is_move(task) || is_running(task)) {
            if let Some(place) = task.node_id.as_ref().and_then(|node| places.get_mut(node)) {
                place.tasks += 1;
            }
        }
        Self { places }
    }

    /// Whether a task from one node is better off on the other: at the first level at which they part, fewer are there.
    fn evens_out(&self, from: &NodeId, to: &NodeId) -> bool {
        let (Some(source), Some(target)) = (self.places.get(from), self.places.get(to)) else { return false };
        let levels = source.branches.len();
        let level = (0..levels).find(|&level| source.branches[level] != target.branches[level]);
        let (before, after) = match level {
            Some(level) => (self.count(&source.branches[..=level]), self.count(&target.branches[..=level])),
            None => (source.tasks, target.tasks),
        };
        before >= after + DIFFERENCE_MIN
    }

    fn count(&self, branch: &[String]) -> usize {
        self.places.values().filter(|place| place.branches.starts_with(branch)).map(|place| place.tasks).sum()
    }

    /// The slot whose task is to move, if any: from the fullest node that another one evens out, the highest slot.
    fn source(&self, slots: &[Slot]) -> Option<usize> {
        let counts = self.branch_counts();
        let total = |place: &Place| -> Vec<usize> {
            let mut key: Vec<usize> =
                (1..=place.branches.len()).map(|depth| counts[&place.branches[..depth]]).collect();
            key.push(place.tasks);
            key
        };
        let mut full: Vec<(&NodeId, &Place)> = self.places.iter().filter(|(_, place)| place.tasks > 0).collect();
        full.sort_by_key(|(_, place)| std::cmp::Reverse(total(place)));
        let mut open: Vec<(&NodeId, &Place)> = self.places.iter().filter(|(_, place)| place.takes_more).collect();
        open.sort_by_key(|(_, place)| total(place));
        // The emptiest branches and nodes come first: where those do not help, no other does.
        let (from, _) = full.into_iter().find(|(from, _)| open.iter().any(|(to, _)| self.evens_out(from, to)))?;
        let on = |slot: &Slot| slot.wanted().iter().any(|&index| slot.tasks[index].node_id.as_ref() == Some(from));
        slots.iter().rposition(on)
    }

    fn branch_counts(&self) -> BTreeMap<Vec<String>, usize> {
        let mut counts = BTreeMap::new();
        for place in self.places.values() {
            for depth in 1..=place.branches.len() {
                *counts.entry(place.branches[..depth].to_vec()).or_default() += place.tasks;
            }
        }
        counts
    }
}
