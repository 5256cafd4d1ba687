//! The overlay against the plain truth: a store on which everything in flight was carried out.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use skep_model::{Node, Service, Task};

use super::*;
use crate::fixture::{NOW, node, node_id, service, service_id, task};
use crate::read::{Find, Read};

const SEEDS: u64 = 60;
const STEPS: u32 = 120;
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn pick(rng: &mut ChaCha8Rng) -> &'static str {
    NAMES[rng.next_u32() as usize % NAMES.len()]
}

/// Some change; refusals are part of the game.
fn change(tx: &mut Tx, rng: &mut ChaCha8Rng) -> Result<(), Refusal> {
    let object = task(pick(rng), pick(rng), u64::from(rng.next_u32() % 3), Some(pick(rng)));
    let named = Service { spec: service(pick(rng)).spec, ..service(pick(rng)) };
    match rng.next_u32() % 8 {
        0 => tx.create(named),
        1 => tx.update(named),
        2 => tx.remove::<Service>(&named.id),
        3 => tx.create(node(pick(rng), skep_model::pb::types::NodeRole::Worker)),
        4 => tx.remove::<Node>(&node_id(pick(rng))),
        5 => tx.create(object),
        6 => tx.update(object),
        _ => tx.remove::<Task>(&object.id),
    }
}

fn transaction(tx: &mut Tx, rng: &mut ChaCha8Rng, strict: bool) -> Result<(), Refusal> {
    for _ in 0..rng.next_u32() % 5 {
        let verdict = change(tx, rng);
        if strict {
            verdict?;
        }
    }
    Ok(())
}

/// The same facts, by every way of reading them.
fn assert_same(left: &impl Find, right: &impl Find, seed: u64) {
    assert_eq!(left.services(), right.services(), "seed {seed}");
    assert_eq!(left.nodes(), right.nodes(), "seed {seed}");
    assert_eq!(left.tasks(), right.tasks(), "seed {seed}");
    for name in NAMES {
        assert_eq!(left.service_by_name(name), right.service_by_name(name), "seed {seed}");
        assert_eq!(left.node(&node_id(name)), right.node(&node_id(name)), "seed {seed}");
        assert_eq!(left.tasks_on_node(&node_id(name)), right.tasks_on_node(&node_id(name)), "seed {seed}");
        let service = service_id(name);
        assert_eq!(left.tasks_of_service(&service), right.tasks_of_service(&service), "seed {seed}");
        let by_slot = |mut tasks: Vec<Arc<Task>>| {
            assert!(tasks.is_sorted_by_key(|task| task.slot), "seed {seed}");
            tasks.sort_by(|left, right| left.id.cmp(&right.id));
            tasks
        };
        assert_eq!(by_slot(left.tasks_by_slot(&service)), right.tasks_of_service(&service), "seed {seed}");
        assert_eq!(by_slot(right.tasks_by_slot(&service)), right.tasks_of_service(&service), "seed {seed}");
        for slot in 0..3 {
            assert_eq!(left.tasks_in_slot(&service, slot), right.tasks_in_slot(&service, slot), "seed {seed}");
        }
    }
}

#[test]
fn the_overlay_tells_what_the_store_will_say() {
    for seed in 0..SEEDS {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut ledger = Ledger::default();
        let mut flights: VecDeque<Entry> = VecDeque::new();
        for step in 0..STEPS {
            let id = u64::from(step) + 1;
            match rng.next_u32() % 10 {
                0..=4 => {
                    let strict = rng.next_u32() % 2 == 0;
                    let verdict = ledger.transact(NOW, id, id, |tx| transaction(tx, &mut rng, strict));
                    flights.extend(verdict.ok().and_then(|(_, entry)| entry));
                }
                5..=6 => {
                    let mut next = id * 1_000;
                    let mut next_id = || {
                        next += 1;
                        next
                    };
                    let turn = |tx: &mut Tx| transaction(tx, &mut rng, false).expect("lenient");
                    flights.extend(ledger.turn(NOW, id, &mut next_id, turn));
                }
                7..=8 => {
                    if let Some(entry) = flights.pop_front() {
                        ledger.commit_payload(entry.encode()).expect("what the leader checked fits");
                    }
                }
                _ => {
                    if rng.next_u32() % 6 == 0 {
                        ledger.abandon();
                        flights.clear();
                    }
                }
            }
            let mut truth = ledger.committed().clone();
            for entry in &flights {
                truth.apply(entry).expect("what the leader checked fits");
            }
            assert_same(&ledger.view(), &truth, seed);
            assert_eq!(ledger.in_flight(), flights.len());
        }
    }
}
