//! Replicated services: slots from 1, as many as asked for (interop §7.2).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skep_model::{NodeId, Service, TaskState};
use skep_store::Read;

use crate::memory::Memory;
use crate::slot::{Place, Slot, by_number};
use crate::supervise::supervise;
use crate::turn::Turn;
use crate::{make, rebalance, update};

/// Brings the service's slots in line with its spec.
pub(crate) fn reconcile(turn: &mut Turn, memory: &mut Memory, service: &mut Arc<Service>, replicas: u64) {
    let mut slots = by_number(turn.tx.tasks_of_service(&service.id));
    for slot in slots.values_mut() {
        supervise(turn, memory, service, slot, true);
    }
    let rolls_back = update::rolls_back(service);
    let (mut live, dead): (Vec<Slot>, Vec<Slot>) =
        slots.into_values().partition(|slot| slot.is_wanted() || !rolls_back && slot.is_finished(false));
    let replicas = usize::try_from(replicas).unwrap_or(usize::MAX);
    let surplus = if live.len() > replicas { shrink(&mut live, replicas) } else { Vec::new() };
    let missing = replicas.saturating_sub(live.len());
    update::roll(turn, memory, service, &mut live);
    let whole = missing == 0 && surplus.is_empty();
    rebalance::rebalance(turn, memory, service, &mut live, whole);
    for slot in surplus {
        remove(turn, slot);
    }
    let dead = fill(turn, memory, service, &live, dead, missing);
    for slot in dead {
        remove(turn, slot);
    }
}

/// Keeps `replicas` slots; gives back the others.
fn shrink(live: &mut Vec<Slot>, replicas: usize) -> Vec<Slot> {
    live.sort_by_key(|slot| (!slot.is_running(), number(slot)));
    let mut copies: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut ranked: Vec<(usize, Slot)> = Vec::with_capacity(live.len());
    for slot in live.drain(..) {
        let wanted = slot.wanted();
        // A task without a node, and a slot with two tasks, go first.
        let node = match wanted.as_slice() {
            [only] => slot.tasks[*only].node_id.clone(),
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
    surplus.into_iter().map(|(_, slot)| slot).collect()
}

fn number(slot: &Slot) -> u64 {
    match slot.place {
        Place::Number(number) => number,
        Place::Node(_) => 0,
    }
}

/// Makes the missing tasks in the lowest free slots; gives back the dead slots that stay empty.
fn fill(
    turn: &mut Turn,
    memory: &mut Memory,
    service: &Service,
    live: &[Slot],
    dead: Vec<Slot>,
    missing: usize,
) -> Vec<Slot> {
    let taken: BTreeSet<u64> = live.iter().map(number).collect();
    let sibling = live.first().and_then(Slot::newest).cloned();
    let free: BTreeSet<u64> = (1u64..).filter(|number| !taken.contains(number)).take(missing).collect();
    for number in &free {
        let spec = memory.spec.get(service, sibling.as_deref());
        make::task(turn, service, spec, &Place::Number(*number), TaskState::Running);
    }
    dead.into_iter().filter(|slot| !free.contains(&number(slot))).collect()
}

/// Nobody wants the slot any more: its tasks stop, and leave the store.
pub(crate) fn remove(turn: &mut Turn, mut slot: Slot) {
    for task in &mut slot.tasks {
        turn.desire(task, TaskState::Remove);
    }
}
