//! Long lists of tasks: written while they are sent, and the same as short ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use skep_docker_api::limits::TASKS_AT_ONCE;
use skep_model::pb::objects as pb;
use skep_model::pb::types::{self, task_spec, task_status};
use skep_model::{Kept, Task, Verbatim};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::client::{Response, get, parse};
use crate::fake_control::meta;
use crate::world::World;

/// Tasks of the list whose time is printed: as many as the figure is of, where that is quick.
const MANY: usize = if cfg!(debug_assertions) { 3_000 } else { 100_000 };

/// A running task with container, status and one network, as in a swarm that works.
fn task(number: usize) -> pb::Task {
    let container = types::ContainerSpec {
        image: "busybox:latest@sha256:0000".to_owned(),
        args: vec!["sleep".to_owned(), "1d".to_owned()],
        env: vec!["A=1".to_owned()],
        ..Default::default()
    };
    let spec = types::TaskSpec { runtime: Some(task_spec::Runtime::Container(container)), ..Default::default() };
    let status = types::ContainerStatus { container_id: format!("{number:064x}"), pid: 4711, exit_code: 0 };
    let network = pb::Network { id: "net1aaaaaaaaaaaaaaaaaaaaa".to_owned(), ..Default::default() };
    pb::Task {
        id: format!("task{number:021}"),
        meta: Some(meta(11)),
        spec: Some(Verbatim::new(spec)),
        service_id: format!("service{:018}", number / 1000),
        node_id: format!("node{:021}", number % 1000),
        slot: number as u64 + 1,
        networks: vec![pb::NetworkAttachment {
            network: Some(network.into()),
            addresses: vec!["10.0.1.5/24".to_owned()],
            ..Default::default()
        }],
        status: Some(types::TaskStatus {
            state: 512,
            message: "started".to_owned(),
            runtime_status: Some(task_status::RuntimeStatus::Container(status)),
            ..Default::default()
        }),
        desired_state: 512,
        ..Default::default()
    }
}

fn stored(count: usize) -> Vec<Arc<Task>> {
    (0..count).map(|number| Arc::new(Task::try_from(Kept::new(task(number))).unwrap())).collect()
}

#[tokio::test]
async fn a_list_is_the_same_however_long_it_is_and_wherever_it_comes_from() {
    let world = World::manager();
    for count in [0, 1, TASKS_AT_ONCE - 1, TASKS_AT_ONCE, TASKS_AT_ONCE + 1, 2 * TASKS_AT_ONCE, 3 * TASKS_AT_ONCE - 1] {
        {
            let mut state = world.control.0.lock().unwrap();
            state.tasks = (0..count).map(|number| Kept::new(task(number))).collect();
            state.stored.clear();
        }
        let sent = get(&world.socket, "/tasks").await;
        world.control.0.lock().unwrap().stored = stored(count);
        let own = get(&world.socket, "/tasks").await;
        let in_parts = |answer: &Response| answer.header("transfer-encoding") == "chunked";
        assert_eq!((in_parts(&sent), in_parts(&own)), (count > TASKS_AT_ONCE, count > TASKS_AT_ONCE), "{count}");
        for answer in [&sent, &own] {
            assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
            let list = answer.json();
            assert_eq!(list.as_array().unwrap().len(), count);
            for (number, listed) in list.as_array().unwrap().iter().enumerate() {
                assert_eq!(listed["ID"], format!("task{number:021}"));
            }
        }
        assert!(sent.body == own.body && sent.body.ends_with(b"]\n"), "{count}");
    }
}

#[tokio::test]
async fn a_list_that_is_broken_off_does_not_look_whole() {
    let world = World::manager();
    {
        let mut state = world.control.0.lock().unwrap();
        state.stored = stored(3 * TASKS_AT_ONCE);
        state.breaks_off = true;
    }
    let mut stream = UnixStream::connect(&world.socket).await.unwrap();
    stream.write_all(b"GET /tasks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    assert!(answer.starts_with(b"HTTP/1.1 200") && answer.len() > TASKS_AT_ONCE * 100);
    assert!(!answer.ends_with(b"0\r\n\r\n") && !String::from_utf8_lossy(&answer).contains("]\n"));
}

/// When the first and the last byte of the answer came, and the answer.
async fn timed(world: &World) -> (Duration, Duration, Response) {
    let mut stream = UnixStream::connect(&world.socket).await.unwrap();
    let begin = Instant::now();
    stream.write_all(b"GET /tasks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::with_capacity(2000 * MANY);
    stream.read_buf(&mut answer).await.unwrap();
    let first = begin.elapsed();
    stream.read_to_end(&mut answer).await.unwrap();
    (first, begin.elapsed(), parse(&answer))
}

/// The figures are printed, never judged: run it with an optimised build.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_are_listed_whole_and_others_are_served_meanwhile() {
    let world = World::manager();
    world.control.0.lock().unwrap().stored = stored(MANY);
    let (listed, ping) = tokio::join!(timed(&world), get(&world.socket, "/_ping"));
    assert_eq!(ping.status, 200);
    let (first, last, answer) = listed;
    let list = answer.json();
    assert_eq!(list.as_array().unwrap().len(), MANY);
    assert_eq!(list[MANY - 1]["Status"]["ContainerStatus"]["PID"], 4711);
    eprintln!("{MANY} tasks, {} bytes: first byte {first:?}, last {last:?}", answer.body.len());
}
