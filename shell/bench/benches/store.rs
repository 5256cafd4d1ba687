//! A million running tasks of a thousand services as a follower holds them: decoded from log entries, restored from
//! nothing else. Prints bytes per task, the highest memory of the process, and what filters cost.

mod support;

use std::time::Instant;

use skep_model::pb::types::{ContainerStatus, TaskState, task_status::RuntimeStatus};
use skep_model::{NodeId, ServiceId, Task};
use skep_store::{Action, Change, Entry, Ledger, Read, TURN_CHANGES_MAX};
use support::{NOW, fill, id, node, task};

const TASKS: u64 = 1_000_000;
const SERVICES: u64 = 1_000;
const NODES: u64 = 10_000;
/// Every so many tasks, one is to stop.
const STOPPING_EVERY: u64 = 1_000;

fn main() {
    let mut ledger = Ledger::default();
    fill(&mut ledger, NODES, |tx, number| tx.create(node(number)));
    let before = memory("VmRSS:");
    let start = Instant::now();
    for first in (0..TASKS).step_by(TURN_CHANGES_MAX) {
        let changes = (first..TASKS.min(first + TURN_CHANGES_MAX as u64))
            .map(|number| Change { action: Action::Create, object: running(number).into() });
        let entry = Entry { id: first + 1, changes: changes.collect() };
        ledger.commit_payload(entry.encode()).expect("it commits");
    }
    println!("{TASKS} tasks decoded from log entries and applied in {:.2} s", start.elapsed().as_secs_f64());
    let (now, most) = (memory("VmRSS:"), memory("VmHWM:"));
    println!(
        "{:.0} bytes per task; {:.0} MiB held, {:.0} MiB at most (aim: 1024)",
        (now - before) as f64 * 1024.0 / TASKS as f64,
        now as f64 / 1024.0,
        most as f64 / 1024.0
    );
    let facts = ledger.committed();
    let service = ServiceId::new(&id(3, 7)).expect("an id");
    let node = NodeId::new(&id(1, 7)).expect("an id");
    show("of a service", || facts.tasks_of_service(&service));
    show("in a slot", || facts.tasks_in_slot(&service, 8));
    show("on a node", || facts.tasks_on_node(&node));
    show("to be shut down", || facts.tasks_desiring(TaskState::Shutdown));
    show("all", || facts.tasks());
}

fn show(what: &str, read: impl Fn() -> Vec<std::sync::Arc<Task>>) {
    read();
    let start = Instant::now();
    let found = read();
    let took = start.elapsed();
    let kept: usize = found.iter().map(|task| std::hint::black_box(std::sync::Arc::strong_count(task))).sum();
    assert!(kept >= found.len());
    let each = took.as_secs_f64() * 1e9 / found.len().max(1) as f64;
    println!("{what}: {} tasks in {:.3} ms, {each:.0} ns each", found.len(), took.as_secs_f64() * 1e3);
}

fn running(number: u64) -> Task {
    let mut task = task(number, number % SERVICES, Some("overlay"));
    let node = NodeId::new(&id(1, number % NODES)).expect("an id");
    let container = ContainerStatus { container_id: format!("{number:064x}"), pid: 4000 + number as i32, exit_code: 0 };
    task.status.runtime_status = Some(RuntimeStatus::Container(container));
    task.status.set_state(TaskState::Running);
    task.status.message = "started".to_owned();
    task.status.timestamp = Some(NOW.wall.into());
    task.status.applied_at = Some(NOW.wall.into());
    task.status.applied_by = node.to_string();
    task.node_id = Some(node);
    task.meta = skep_model::Meta { version: number, created_at: Some(NOW.wall), updated_at: Some(NOW.wall) };
    if number.is_multiple_of(STOPPING_EVERY) {
        task.desired_state = TaskState::Shutdown;
    }
    task
}

/// A line of `/proc/self/status`, in KiB.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with(name)).expect("the line");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}
