//! Replicated services: slots from 1, as many as asked for (interop §7.2).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skep_model::{NodeId, Service, Task, TaskState};
use skep_store::Read;

use crate::memory::Memory;
use crate::rest::Rest;
use crate::slot::{Place, Slot, in_order};
use crate::supervise::supervise;
use crate::turn::Turn;
use crate::{facts, rebalance, update};

/// Brings the service's slots in line with its spec.
pub(crate) fn reconcile(turn: &mut Turn, memory: &mut Memory, service: &mut Arc<Service>, replicas: u64) {
    let tasks = turn.tx.tasks_by_slot(&service.id);
    if is_in_order(turn, memory, service, &tasks, replicas) {
        return;
    }
    turn.looked_at(tasks.len());
    let mut slots = in_order(tasks);
    for slot in &mut slots {
        if turn.is_full() {
            return;
        }
        if !is_as_it_shall_be(turn, slot) {
            supervise(turn, memory, service, slot, true);
        }
    }
    let rolls_back = update::rolls_back(service);
    let (mut live, dead): (Vec<Slot>, Vec<Slot>) =
        slots.into_iter().partition(|slot| slot.is_wanted() || !rolls_back && slot.is_finished(false));
    let replicas = usize::try_from(replicas).unwrap_or(usize::MAX);
    let surplus = if live.len() > replicas { shrink(&mut live, replicas) } else { Vec::new() };
    let missing = replicas.saturating_sub(live.len());
    update::roll(turn, memory, service, &mut live);
    let whole = missing == 0 && surplus.is_empty();
    rebalance::rebalance(turn, memory, service, &mut live, whole);
    if turn.is_full() {
        return;
    }
    let taken: BTreeSet<u64> = live.iter().map(number).collect();
    // Missing tasks come into the lowest free slots; the other dead slots stay empty.
    let free: BTreeSet<u64> = (1u64..).filter(|number| !taken.contains(number)).take(missing).collect();
    let dead = dead.into_iter().filter(|slot| !free.contains(&number(slot)));
    // The tasks to come share the spec of one that is there.
    if let Some(sibling) = live.first().and_then(Slot::newest).filter(|_| missing > 0) {
        memory.spec.get(service, Some(sibling));
    }
    let unwanted = surplus.into_iter().chain(dead).flat_map(|slot| slot.tasks);
    memory.rest = Rest::new(unwanted, free.iter().copied());
}

/// One task that lives and is to run: most slots are so.
fn is_as_it_shall_be(turn: &Turn, slot: &Slot) -> bool {
    let [task] = slot.tasks.as_slice() else { return false };
    task.desired_state == TaskState::Running && !task.has_ended() && !turn.is_lost(task)
}

/// Whether there is nothing to do, as far as that can be seen at a glance. Whoever begins to lead looks at all services,
/// and must not need long for those that are large.
fn is_in_order(turn: &Turn, memory: &Memory, service: &Service, tasks: &[Arc<Task>], replicas: u64) -> bool {
    let was_updated = memory.rollout.is_some() || service.update_status.is_some() || service.spec_version.is_none();
    if was_updated || rebalance::is_wanted(service) {
        return false;
    }
    let is_as_made = |task: &Task| {
        task.desired_state == TaskState::Running
            && task.spec_version == service.spec_version
            && !task.has_ended()
            && !turn.is_lost(task)
    };
    let (mut count, mut last) = (0, None);
    for task in tasks.iter().filter(|task| task.desired_state < TaskState::Remove) {
        // They are in the order of their slots.
        if !is_as_made(task) || last == Some(task.slot) {
            return false;
        }
        (count, last) = (count + 1, Some(task.slot));
    }
    count == replicas
}

/// Keeps `replicas` slots; gives back the others, those that are missed least first.
fn shrink(live: &mut Vec<Slot>, replicas: usize) -> Vec<Slot> {
    live.sort_by_cached_key(|slot| (!slot.is_running(), number(slot)));
    let mut copies: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut ranked: Vec<(usize, Slot)> = Vec::with_capacity(live.len());
    for slot in live.drain(..) {
        let mut wanted = slot.tasks.iter().filter(|task| facts::is_wanted(task));
        // A task without a node, and a slot with two tasks, go first.
        let node = match (wanted.next(), wanted.next()) {
            (Some(only), None) => only.node_id.clone(),
            _ => None,
        };
        let rank = node.map_or(usize::MAX, |node| {
            let copy = copies.entry(node).or_default();
            *copy += 1;
            *copy
        });
        ranked.push((rank, slot));
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    let surplus = ranked.split_off(replicas);
    live.extend(ranked.into_iter().map(|(_, slot)| slot));
    live.sort_by_key(number);
    surplus.into_iter().rev().map(|(_, slot)| slot).collect()
}

fn number(slot: &Slot) -> u64 {
    match slot.place {
        Place::Number(number) => number,
        Place::Node(_) => 0,
    }
}

/// Nobody wants the slots any more: their tasks stop, and leave the store.
pub(crate) fn remove(turn: &mut Turn, slots: impl Iterator<Item = Slot>) {
    remove_tasks(turn, slots.flat_map(|slot| slot.tasks));
}

/// Nobody wants the tasks any more.
pub(crate) fn remove_tasks(turn: &mut Turn, tasks: impl Iterator<Item = Arc<Task>>) {
    for mut task in tasks {
        if turn.is_full() {
            return;
        }
        turn.desire(&mut task, TaskState::Remove);
    }
}
