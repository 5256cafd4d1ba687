//! Placing one group: tasks of one service at one version, which all ask for the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use skep_model::{Task, constraint};

use crate::assign::{self, Turn};
use crate::candidates::Candidates;
use crate::explain;
use crate::filter::{self, Filter};
use crate::node::NodeNumber;
use crate::picture::Picture;
use crate::requirements::Requirements;
use crate::spread::Tree;

/// Said of a task whose node the scheduler chose.
const ASSIGNED: &str = "scheduler assigned task to node";
/// Said of a task that was made for its node.
const CONFIRMED: &str = "scheduler confirmed task can run on preassigned node";

/// Places as many of the tasks as fit, and explains the rest; gives back those.
pub(crate) fn place(turn: &mut Turn, picture: &mut Picture, tasks: Vec<Arc<Task>>) -> Vec<Arc<Task>> {
    let Some(sample) = tasks.first() else { return tasks };
    let wanted = Requirements::of(sample, picture, turn.tx);
    let failing = match wanted.service {
        Some(service) => picture.failing(turn.now, service, sample.spec_version),
        None => BTreeMap::new(),
    };
    let levels: Vec<String> = wanted.spread.iter().filter(|text| is_descriptor(text)).cloned().collect();
    let rest = if levels.is_empty() {
        flat(turn, picture, &wanted, failing, tasks)
    } else {
        spread(turn, picture, &wanted, failing, &levels, tasks)
    };
    if !rest.is_empty() {
        let reason = explain::no_suitable_node(&refusals(picture, &wanted));
        for task in &rest {
            assign::explain(turn, task, &reason);
        }
    }
    rest
}

fn flat(
    turn: &mut Turn,
    picture: &mut Picture,
    wanted: &Requirements,
    failing: BTreeMap<NodeNumber, u32>,
    tasks: Vec<Arc<Task>>,
) -> Vec<Arc<Task>> {
    let mut candidates = Candidates::new(picture, wanted, failing);
    let mut tasks = tasks.into_iter();
    while let Some(task) = tasks.next() {
        let Some(number) = candidates.take(picture, wanted) else {
            return std::iter::once(task).chain(tasks).collect();
        };
        assign::assign(turn, picture, wanted, &task, number, ASSIGNED);
        candidates.put(picture, wanted, number);
    }
    Vec::new()
}

fn is_descriptor(text: &str) -> bool {
    [constraint::NODE_LABEL_PREFIX, constraint::ENGINE_LABEL_PREFIX].iter().any(|prefix| {
        text.len() > prefix.len() && text.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
    })
}

fn spread(
    turn: &mut Turn,
    picture: &mut Picture,
    wanted: &Requirements,
    failing: BTreeMap<NodeNumber, u32>,
    levels: &[String],
    tasks: Vec<Arc<Task>>,
) -> Vec<Arc<Task>> {
    let mut tree = Tree::new();
    for (number, state) in picture.nodes() {
        let count = picture.count(wanted.service, number);
        let suits = filter::refuses(picture, wanted, number).is_none();
        let rank = suits.then(|| (failing.get(&number).copied().unwrap_or(0), count, state.total, number));
        let values = levels.iter().map(|level| constraint::spread_value(level, &state.node).unwrap_or_default());
        tree.add(values, count, rank);
    }
    let mut tasks = tasks.into_iter();
    while let Some(task) = tasks.next() {
        let taken = tree.take(&mut |number| filter::refuses(picture, wanted, number).is_none());
        let Some(number) = taken else { return std::iter::once(task).chain(tasks).collect() };
        assign::assign(turn, picture, wanted, &task, number, ASSIGNED);
    }
    Vec::new()
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
pub(crate) fn confirm(turn: &mut Turn, picture: &mut Picture, task: &Arc<Task>) -> bool {
    let Some(number) = task.node_id.as_ref().and_then(|id| picture.number_of(id)) else { return false };
    let wanted = Requirements::of(task, picture, turn.tx);
    match filter::refuses(picture, &wanted, number) {
        None => {
            assign::assign(turn, picture, &wanted, task, number, CONFIRMED);
            true
        }
        Some(filter) => {
            assign::explain(turn, task, &explain::refusal(filter));
            false
        }
    }
}
