//! Placing one group: tasks of one service at one version, which all ask for the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use skep_model::{Task, constraint};
use skep_store::Handle;

use crate::assign::{self, Turn};
use crate::candidates::Candidates;
use crate::explain;
use crate::filter::{self, Filter};
use crate::node::NodeNumber;
use crate::picture::Picture;
use crate::queue::Waiting;
use crate::requirements::Requirements;
use crate::spread::Tree;

/// Said of a task whose node the scheduler chose.
const ASSIGNED: &str = "scheduler assigned task to node";
/// Said of a task that was made for its node.
const CONFIRMED: &str = "scheduler confirmed task can run on preassigned node";

/// Where a group stopped.
#[derive(Debug)]
pub(crate) struct Unplaced {
    /// How many were placed.
    pub(crate) from: usize,
    /// Why no more were; the rest say so.
    pub(crate) reason: String,
}

/// Places as many of the tasks as fit, the first ones first, and explains the rest.
pub(crate) fn place(
    turn: &mut Turn,
    picture: &mut Picture,
    wanted: &Requirements,
    tasks: &[Waiting],
) -> Option<Unplaced> {
    let failing = match wanted.service {
        Some(service) => picture.failing(turn.now, service, wanted.task.spec_version),
        None => BTreeMap::new(),
    };
    let placed = if wanted.spread.is_empty() {
        flat(turn, picture, wanted, failing, tasks)
    } else {
        spread(turn, picture, wanted, failing, tasks)
    };
    if placed == tasks.len() {
        return None;
    }
    let reason = explain::no_suitable_node(&refusals(picture, wanted));
    for waiting in &tasks[placed..] {
        assign::explain(turn, waiting.handle, &waiting.task, &reason);
    }
    Some(Unplaced { from: placed, reason })
}

fn flat(
    turn: &mut Turn,
    picture: &mut Picture,
    wanted: &Requirements,
    failing: BTreeMap<NodeNumber, u32>,
    tasks: &[Waiting],
) -> usize {
    let mut candidates = Candidates::new(picture, wanted, failing);
    for (placed, waiting) in tasks.iter().enumerate() {
        let Some(number) = candidates.take(picture, wanted) else { return placed };
        assign::assign(turn, picture, wanted, (waiting.handle, &waiting.task), number, ASSIGNED);
        if placed + 1 < tasks.len() {
            candidates.put(picture, wanted, number);
        }
    }
    tasks.len()
}

fn spread(
    turn: &mut Turn,
    picture: &mut Picture,
    wanted: &Requirements,
    failing: BTreeMap<NodeNumber, u32>,
    tasks: &[Waiting],
) -> usize {
    let mut tree = Tree::new();
    for (number, state) in picture.nodes() {
        let count = picture.count(wanted.service, number);
        let suits = filter::refuses(picture, wanted, number).is_none();
        let rank = suits.then(|| (failing.get(&number).copied().unwrap_or(0), count, state.total, number));
        let values = wanted.spread.iter().map(|level| constraint::spread_value(level, &state.node).unwrap_or_default());
        tree.add(values, count, rank);
    }
    for (placed, waiting) in tasks.iter().enumerate() {
        let taken = tree.take(&mut |number| filter::refuses(picture, wanted, number).is_none());
        let Some(number) = taken else { return placed };
        assign::assign(turn, picture, wanted, (waiting.handle, &waiting.task), number, ASSIGNED);
    }
    tasks.len()
}

fn refusals(picture: &Picture, wanted: &Requirements) -> BTreeMap<Filter, usize> {
    let mut counts = BTreeMap::new();
    for (number, _) in picture.nodes() {
        if let Some(filter) = filter::refuses(picture, wanted, number) {
            *counts.entry(filter).or_default() += 1;
        }
    }
    counts
}

/// Confirms a task on the node that it was made for, or says why it cannot run there. Tells whether it is placed.
pub(crate) fn confirm(turn: &mut Turn, picture: &mut Picture, handle: Handle, task: &Arc<Task>) -> bool {
    let Some(number) = task.node_id.as_ref().and_then(|id| picture.number_of(id)) else { return false };
    let service = task.service_id.as_ref().map(|id| picture.service_number(id));
    let wanted = Requirements::of(task, service, picture, turn.tx);
    match filter::refuses(picture, &wanted, number) {
        None => {
            assign::assign(turn, picture, &wanted, (handle, task), number, CONFIRMED);
            true
        }
        Some(filter) => {
            assign::explain(turn, handle, task, &explain::refusal(filter));
            false
        }
    }
}
