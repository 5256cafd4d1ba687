//! More to look at than one turn does.

use super::*;
use crate::allocator::LOOKS_MAX;

/// Addresses that tasks of the small network may have, beside the gateway's.
const ROOM: usize = 5;

impl Bench {
    /// Makes tasks of the service, and gives the allocator no turn.
    fn make_tasks(&mut self, service: &str, count: usize) {
        let service = self.service(service);
        let spec = service.spec.task.clone().map(Verbatim::new).unwrap_or_default();
        self.index += 1;
        let made = self.ledger.turn(self.now, self.index, &mut numbers(self.index), |tx| {
            for number in 0..count {
                let mut task = task(&format!("t{number:05}"), spec.clone());
                task.service_id = Some(service.id.clone());
                tx.create(task).expect("a task");
            }
        });
        self.index += made.len() as u64;
        self.commit(made);
    }

    fn count(&self, holds: impl Fn(&Task) -> bool) -> usize {
        self.ledger.committed().tasks().iter().filter(|task| holds(task)).count()
    }

    fn pending(&self) -> usize {
        self.count(|task| task.state() == TaskState::Pending)
    }

    /// Turns as long as one is due at once; how many there were.
    fn finish(&mut self) -> usize {
        for turn in 1..40 {
            self.turn();
            let due = self.allocator.wake_at().is_some_and(|at| at.since(self.now.monotonic).as_millis() == 0);
            if !due {
                return turn;
            }
            self.now.monotonic = self.now.monotonic.after(Duration::from_millis(1));
        }
        panic!("it goes on for ever");
    }
}

fn numbers(first: u64) -> impl FnMut() -> u64 {
    let mut number = first * 1_000;
    move || {
        number += 1;
        number
    }
}

/// A network with few addresses, and a service whose tasks want one each.
fn crowded(tasks: usize) -> Bench {
    let mut bench = Bench::new();
    bench.create(with_subnet("net", "10.9.0.0/29 - -"));
    let mut endpoint = EndpointSpec::default();
    endpoint.set_mode(skep_model::pb::types::endpoint_spec::ResolutionMode::Dnsrr);
    bench.create(service_of("web", &["net"], Some(endpoint)));
    bench.make_tasks("web", tasks);
    bench
}

#[test]
fn a_turn_looks_at_so_many_and_the_next_ones_at_the_rest_at_once() {
    let mut bench = Bench::new();
    bench.create(service("web", &[]));
    bench.make_tasks("web", 2 * LOOKS_MAX + 10);
    bench.turn();
    assert_eq!(bench.pending(), LOOKS_MAX);
    bench.turn();
    assert_eq!(bench.pending(), LOOKS_MAX, "the other deciders come first");
    assert_eq!(bench.finish(), 3);
    assert_eq!(bench.pending(), 2 * LOOKS_MAX + 10);
    assert_eq!(bench.allocator.wake_at(), None);
}

#[test]
fn what_waits_for_room_is_told_so_and_tried_again_in_turns_when_there_is_some() {
    let many = LOOKS_MAX + 100;
    let mut bench = crowded(many);
    bench.finish();
    assert_eq!(bench.pending(), ROOM);
    let waits = |task: &Task| task.status.err.contains("net");
    assert_eq!(bench.count(waits), many - ROOM, "each says what it waits for");
    let retry = bench.allocator.wake_at().expect("it is tried again");
    assert!(retry.since(bench.now.monotonic) > Duration::from_secs(60), "but not at once: {retry:?}");

    // The first that waits and the last one: both get on, whichever turn they are looked at in.
    let mut ended = bench.task("t00000");
    ended.status.set_state(TaskState::Failed);
    bench.update(ended);
    bench.finish();
    assert_eq!((bench.pending(), bench.count(waits)), (ROOM, many - ROOM - 1));
    for number in ROOM + 1..many - 1 {
        let (_, entry) = bench
            .ledger
            .transact(bench.now, bench.index, bench.index, |tx| tx.remove::<Task>(&task_id(&format!("t{number:05}"))))
            .expect("removed");
        bench.index += 1;
        bench.commit(entry.into_iter().collect());
    }
    bench.remove::<Task>(&task_id("t00001"));
    bench.finish();
    assert_eq!(bench.task(&format!("t{:05}", many - 1)).state(), TaskState::Pending);
    assert_eq!(bench.count(waits), 0);
}

#[test]
fn who_leads_in_the_middle_of_it_gives_nothing_out_twice() {
    let mut bench = crowded(LOOKS_MAX + 100);
    bench.turn();
    assert_eq!(bench.pending(), ROOM);
    bench.allocator = Allocator::new();
    bench.allocator.lead();
    bench.finish();
    assert_eq!(bench.pending(), ROOM);
    let tasks = bench.ledger.committed().tasks();
    let addresses = tasks.iter().flat_map(|task| written(&task.networks)).filter(|text| text.contains("10.9."));
    let mut addresses: Vec<String> = addresses.collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), ROOM, "{addresses:?}");
}
