//! The pretend runtime keeps the verbs' promises.

use std::collections::BTreeMap;
use std::sync::Arc;

use skep_model::pb::objects;
use skep_model::pb::types::{ContainerSpec, TaskSpec, task_spec};
use skep_model::{Kept, NodeId, Task, Verbatim};

use super::*;
use crate::controller::NodeFacts;

fn order(image: &str) -> TaskOrder {
    let container = ContainerSpec { image: image.to_owned(), ..Default::default() };
    let spec = TaskSpec { runtime: Some(task_spec::Runtime::Container(container)), ..Default::default() };
    let task = objects::Task { id: "task1".to_owned(), spec: Some(Verbatim::new(spec)), ..Default::default() };
    let node = NodeFacts {
        id: NodeId::new("node1").expect("an id"),
        hostname: "host".to_owned(),
        os: "linux".to_owned(),
        architecture: "x86_64".to_owned(),
    };
    TaskOrder {
        task: Arc::new(Task::try_from(Kept::new(task)).expect("a task")),
        node: Arc::new(node),
        secrets: BTreeMap::new(),
        configs: BTreeMap::new(),
        network_namespace: None,
    }
}

#[tokio::test]
async fn a_container_runs_until_it_is_shut_down() {
    let executor = FakeExecutor::new();
    let controller = executor.controller(order("web"));
    assert!(matches!(controller.start().await, Err(ControllerError::NotPrepared { .. })));
    controller.prepare().await.expect("prepared");
    controller.start().await.expect("started");
    let task = executor.known_tasks().remove(0);
    assert_eq!(executor.state(&task), Some(FakeState::Running));
    controller.shutdown().await.expect("shut down");
    let end = controller.wait().await.expect_err("a signal's exit code");
    assert_eq!(end.to_string(), "task: non-zero exit (143)");
    controller.remove().await.expect("removed");
    assert!(executor.known_tasks().is_empty());
}

#[tokio::test]
async fn scripts_decide_failures() {
    let executor = FakeExecutor::new();
    executor.script("gone", FakeScript { prepare_error: Some("not there".to_owned()), ..Default::default() });
    let controller = executor.controller(order("gone"));
    let refusal = controller.prepare().await.expect_err("no image");
    assert_eq!(refusal.to_string(), "No such image: gone: not there");
    executor.script("gone", FakeScript { exit_code: Some(3), ..Default::default() });
    controller.prepare().await.expect("prepared");
    controller.start().await.expect("started");
    assert_eq!(controller.wait().await.expect_err("exit code").exit_code(), Some(3));
}

#[tokio::test]
async fn a_crash_ends_the_wait() {
    let executor = FakeExecutor::new();
    let controller = executor.controller(order("web"));
    controller.prepare().await.expect("prepared");
    controller.start().await.expect("started");
    let task = executor.known_tasks().remove(0);
    assert!(executor.crash(&task, 1));
    assert!(!executor.crash(&task, 2), "it has ended already");
    assert_eq!(controller.wait().await.expect_err("exit code").exit_code(), Some(1));
}
