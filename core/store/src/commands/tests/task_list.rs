//! Lists in parts, while everything changes.

use std::collections::VecDeque;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use skep_model::pb::messages::list_tasks_request::Filters;
use skep_model::{Refusal, Task, TaskId, TaskState};

use crate::commands::TaskList;
use crate::commands::task::matching;
use crate::fixture::{NOW, id, task};
use crate::{Entry, Event, Ledger, Store, Tx};

const SEEDS: u64 = 200;
/// So many that no index is narrow enough, and some that differ late.
const TASKS: u32 = 60;

fn some_task(rng: &mut ChaCha8Rng) -> Task {
    let number = rng.next_u32() % TASKS;
    let text = if number < TASKS / 2 { format!("{number}") } else { format!("{}{number:02}", "same".repeat(5)) };
    let mut task = task("t", ["web", "api"][rng.next_u32() as usize % 2], 1, Some("n1"));
    task.id = TaskId::new(&format!("{text:0<25}")).unwrap();
    task.desired_state = [TaskState::Running, TaskState::Shutdown][rng.next_u32() as usize % 2];
    task
}

fn change(tx: &mut Tx, rng: &mut ChaCha8Rng) -> Result<(), Refusal> {
    let task = some_task(rng);
    match rng.next_u32() % 3 {
        0 => tx.create(task),
        1 => tx.update(task),
        _ => tx.remove::<Task>(&task.id),
    }
}

/// A ledger in which something is always in flight.
#[derive(Default)]
struct Busy {
    ledger: Ledger,
    flights: VecDeque<Entry>,
    index: u64,
}

impl Busy {
    /// Some changes, refused ones left out, are in flight from now on; what was so before is committed, and did this.
    fn change(&mut self, rng: &mut ChaCha8Rng, count: u32) -> Vec<Event> {
        self.index += 1;
        let done = self.ledger.transact(NOW, self.index, self.index, |tx| {
            for _ in 0..count {
                drop(change(tx, rng));
            }
            Ok::<_, Refusal>(())
        });
        self.flights.extend(done.unwrap().1);
        let landing = if self.flights.len() > 1 { self.flights.pop_front() } else { None };
        landing.map(|entry| self.ledger.commit(&entry).unwrap()).unwrap_or_default()
    }

    fn facts(&self) -> &Store {
        self.ledger.committed()
    }
}

#[test]
fn a_list_in_parts_is_what_was_there_when_it_began() {
    let running = Filters { desired_states: vec![TaskState::Running.into()], ..Default::default() };
    let service = Filters { service_ids: vec![id("web")], ..Default::default() };
    let prefix = Filters { id_prefixes: vec!["same".to_owned(), "1".to_owned()], ..Default::default() };
    let fresh = Filters { up_to_date: true, ..Default::default() };
    let (mut in_parts, mut overtaken) = (0, 0);
    for seed in 0..SEEDS {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut busy = Busy::default();
        busy.change(&mut rng, TASKS * 2);
        for filters in [Filters::default(), running.clone(), service.clone(), prefix.clone(), fresh.clone()] {
            busy.change(&mut rng, 1);
            let expected = matching(busy.facts(), &filters);
            let mut list = TaskList::begin(busy.facts(), filters.clone());
            let mut listed: Vec<Arc<Task>> = Vec::new();
            let mut parts = 0;
            while !list.is_over() {
                listed.extend(list.part(busy.facts(), 1 + rng.next_u32() as usize % 20));
                parts += 1;
                let count = rng.next_u32() % 8;
                for event in busy.change(&mut rng, count) {
                    list.observe(&event);
                }
            }
            in_parts += usize::from(parts > 1);
            overtaken += usize::from(parts > 1 && matching(busy.facts(), &filters) != listed);
            assert_eq!(listed, expected, "seed {seed}");
            assert!(list.part(busy.facts(), 9).is_empty());
        }
    }
    assert!(in_parts > SEEDS as usize && overtaken > SEEDS as usize / 2, "{in_parts} {overtaken}");
}
