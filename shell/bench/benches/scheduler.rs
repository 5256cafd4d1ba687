//! The scheduler over the in-memory store: from nodes and pending tasks, each its own service, until every task is
//! assigned in the store and a watcher has seen it. Prints a curve; asserts that all were placed, not how fast.

mod support;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use skep_model::{Task, TaskState};
use skep_scheduler::Scheduler;
use skep_store::{Event, Ledger};
use support::{NOW, PLUGIN, fill, node, task};

/// Nodes and tasks, and the aim in seconds where there is one.
const CURVE: &[(u64, u64, Option<f64>)] = &[
    (1_000, 1_000, Some(0.002)),
    (1_000, 10_000, Some(0.015)),
    (1_000, 100_000, Some(0.15)),
    (100, 100_000, None),
    (10_000, 100_000, None),
    (100_000, 100_000, Some(0.4)),
    (100_000, 1_000_000, Some(4.0)),
];

/// The best of so many runs is shown, for runs of up to so many tasks.
const ROUNDS: &[(u64, u32)] = &[(10_000, 10), (100_000, 4), (u64::MAX, 1)];

fn main() {
    // `cargo bench -- 100000` leaves out what has more tasks.
    let most = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(u64::MAX);
    println!("{:>8} {:>9} {:>8}  {:>9} {:>8} {:>8}  aim", "nodes", "tasks", "plugin", "seconds", "us/task", "share");
    for plugin in [false, true] {
        for (nodes, tasks, aim) in CURVE.iter().filter(|(_, tasks, _)| *tasks <= most) {
            let rounds = ROUNDS.iter().find(|(up_to, _)| tasks <= up_to).map_or(1, |(_, rounds)| *rounds);
            let best = (0..rounds).map(|_| run(*nodes, *tasks, plugin)).min().unwrap_or_default();
            report(*nodes, *tasks, plugin, best, *aim);
        }
    }
}

fn report(nodes: u64, tasks: u64, plugin: bool, took: Duration, aim: Option<f64>) {
    let seconds = took.as_secs_f64();
    let micros = seconds * 1e6 / tasks as f64;
    let per_log = micros / (nodes as f64).log2();
    let plugin = if plugin { "third" } else { "-" };
    let aim = aim.map(|aim| format!("{aim} s: {}", if seconds <= aim { "met" } else { "missed" })).unwrap_or_default();
    println!("{nodes:>8} {tasks:>9} {plugin:>8}  {seconds:>9.4} {micros:>8.3} {per_log:>8.4}  {aim}");
}

fn run(nodes: u64, tasks: u64, plugin: bool) -> Duration {
    let mut ledger = Ledger::default();
    fill(&mut ledger, nodes, |tx, number| tx.create(node(number)));
    fill(&mut ledger, tasks, |tx, number| tx.create(task(number, number, plugin.then_some(PLUGIN))));
    let (sender, receiver) = mpsc::channel::<Vec<Event>>();
    let watcher = std::thread::spawn(move || {
        let assigned =
            |event: &Event| event.object.get::<Task>().is_some_and(|task| task.state() == TaskState::Assigned);
        let mut seen = 0;
        while seen < tasks {
            let Ok(events) = receiver.recv() else { break };
            seen += events.iter().filter(|event| assigned(event)).count() as u64;
        }
        seen
    });
    let mut scheduler = Scheduler::new();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut next = 1 << 40;
    let mut number = || {
        next += 1;
        next
    };
    let start = Instant::now();
    scheduler.lead();
    loop {
        let entries = ledger.turn(NOW, tasks, &mut number, |tx| scheduler.turn(NOW, &mut rng, tx));
        for entry in entries {
            let events = ledger.commit(&entry).expect("it commits");
            for event in &events {
                scheduler.observe(event);
            }
            sender.send(events).expect("the watcher listens");
        }
        if scheduler.wake_at().is_none() {
            break;
        }
    }
    let seen = watcher.join().expect("the watcher ends");
    let took = start.elapsed();
    assert_eq!(seen, tasks, "every task is placed");
    took
}
