//! Secrets whose data drivers give.

use std::time::Duration;

use skep_model::pb::messages as m;
use skep_model::pb::messages::assignment::Item;
use skep_model::pb::types::TaskState as S;
use skep_model::{NodeId, SecretId, TaskId, Time};

use crate::manager::values::{Readiness, Values};
use crate::manager::{DriverFailure, FetchId, SecretRequest, SecretValue, limits};
use crate::testing::{Leader, changes, driven, secret, task, task_with};

fn open(leader: &mut Leader) -> String {
    let session = leader.register("a", 1);
    leader.open_assignments("a", &session, 2).expect("assignments");
    session
}

fn give(data: &'static str) -> Result<SecretValue, DriverFailure> {
    Ok(SecretValue { data: data.into(), do_not_reuse: false })
}

fn give_one(data: &'static str) -> Result<SecretValue, DriverFailure> {
    Ok(SecretValue { data: data.into(), do_not_reuse: true })
}

fn said(text: &str) -> Result<SecretValue, DriverFailure> {
    Err(DriverFailure::Said { text: text.to_owned() })
}

fn away() -> Result<SecretValue, DriverFailure> {
    Err(DriverFailure::Away { reason: "refused".to_owned() })
}

fn sent(leader: &mut Leader) -> Vec<Vec<String>> {
    leader.pass(Duration::from_millis(50));
    leader.assignments(2).iter().map(changes).collect()
}

/// The secrets in a message, with their data.
fn data(message: &m::AssignmentsMessage) -> Vec<(String, String)> {
    let secret = |change: &m::AssignmentChange| match change.assignment.as_ref()?.item.as_ref()? {
        Item::Secret(secret) => {
            let spec = secret.value.spec.as_ref()?;
            Some((secret.value.id.clone(), String::from_utf8(spec.data.to_vec()).expect("text")))
        }
        _ => None,
    };
    message.changes.iter().filter_map(secret).collect()
}

fn asked(leader: &mut Leader) -> Vec<(FetchId, SecretRequest)> {
    leader.pass(Duration::from_millis(50));
    leader.fetches()
}

fn one_task(leader: &mut Leader) -> String {
    let tasks: Vec<String> = asked(leader).into_iter().map(|(_, request)| request.task_id.to_string()).collect();
    tasks.join(" ")
}

fn one(leader: &mut Leader) -> FetchId {
    let asked = asked(leader);
    assert_eq!(asked.len(), 1, "{asked:?}");
    asked[0].0
}

/// A leader with worker `a`, whose whole set is sent.
fn ready(drivers: &[(&str, &str)]) -> Leader {
    let mut leader = Leader::new();
    drivers.iter().for_each(|(id, driver)| leader.create(driven(id, driver)));
    open(&mut leader);
    leader.assignments(2);
    leader
}

#[test]
fn a_task_is_sent_with_the_value_that_its_driver_gave() {
    let mut leader = ready(&[("key", "vault")]);
    leader.create(secret("plain"));
    leader.create(task_with("t", "a", S::Assigned, &["key", "plain"], &[]));
    assert!(sent(&mut leader).is_empty());
    let asked = leader.fetches();
    assert_eq!(asked.len(), 1);
    let (fetch, request) = &asked[0];
    assert_eq!((request.driver.as_str(), request.secret_name.as_str()), ("vault", "key"));
    assert_eq!((request.task_id.as_str(), request.task_image.as_str()), ("t", "web"));
    assert_eq!(request.node_id.as_ref().map(|node| node.as_str()), Some("a"));
    leader.fetched(*fetch, give("hidden"));
    leader.pass(Duration::from_millis(50));
    let messages = leader.assignments(2);
    assert_eq!(messages.iter().map(changes).collect::<Vec<_>>(), [["+secret key", "+secret plain", "+task t"]]);
    assert_eq!(data(&messages[0])[0], ("key".to_owned(), "hidden".to_owned()));
    let stored = skep_store::Read::secret_by_name(leader.ledger.committed(), "key").expect("a secret");
    assert!(stored.spec.data.is_empty(), "the value is not in the store");
    assert!(leader.fetches().is_empty());
    let mut ended = leader.task("t");
    ended.status.set_state(S::Failed);
    leader.update(ended);
    assert_eq!(sent(&mut leader), [["-secret key", "-secret plain"]]);
}

#[test]
fn every_task_asks_anew_and_one_that_is_for_one_task_has_its_own_id() {
    let mut leader = ready(&[("key", "vault")]);
    for (task, value) in [("t1", give("one")), ("t2", give_one("two")), ("t3", give_one("three"))] {
        leader.create(task_with(task, "a", S::Assigned, &["key"], &[]));
        let fetch = one(&mut leader);
        leader.fetched(fetch, value);
    }
    leader.pass(Duration::from_millis(50));
    let messages = leader.assignments(2);
    let values: Vec<_> = messages.iter().flat_map(data).collect();
    let pair = |id: &str, data: &str| (id.to_owned(), data.to_owned());
    assert_eq!(values, [pair("key", "one"), pair("key.t2", "two"), pair("key.t3", "three")]);
    for (task, gone) in [("t2", "-secret key.t2"), ("t1", "-secret key"), ("t3", "-secret key.t3")] {
        leader.remove::<skep_model::Task>(&crate::testing::task_id(task));
        assert_eq!(sent(&mut leader), [vec![gone.to_owned(), format!("-task {task}")]]);
    }
}

#[test]
fn a_task_waits_with_the_reason_and_is_tried_again() {
    let mut leader = ready(&[("key", "vault")]);
    leader.create(task_with("t", "a", S::Assigned, &["key"], &[]));
    let fetch = one(&mut leader);
    leader.fetched(fetch, said("sealed"));
    let reason = "secret key: driver vault on manager boss: the plugin said: sealed";
    assert_eq!(leader.task("t").status.err, reason);
    assert_eq!(leader.warnings(), [format!("task t waits: {reason}")]);
    assert!(sent(&mut leader).is_empty());
    assert!(leader.fetches().is_empty(), "not at once");
    leader.pass(limits::SECRET_RETRY_FIRST);
    let fetch = one(&mut leader);
    leader.fetched(fetch, said("sealed"));
    assert!(leader.warnings().is_empty(), "said once");
    leader.pass(limits::SECRET_RETRY_FIRST);
    assert!(leader.fetches().is_empty(), "the second pause is longer");
    leader.pass(limits::SECRET_RETRY_FIRST);
    let fetch = one(&mut leader);
    leader.fetched(fetch, give(""));
    assert!(
        leader
            .task("t")
            .status
            .err
            .ends_with("the plugin gave 0 bytes, and secret data must be larger than 0 and less than 512000 bytes")
    );
    leader.pass(limits::SECRET_RETRY_FIRST * 4);
    let fetch = one(&mut leader);
    leader.fetched(fetch, give("open"));
    assert_eq!(sent(&mut leader), [["+secret key", "+task t"]]);
    leader.pass(limits::SECRET_RETRY_FIRST * 4);
    assert!(leader.fetches().is_empty());
}

#[test]
fn a_task_that_is_not_to_run_any_more_waits_for_nothing() {
    let mut leader = ready(&[("key", "vault")]);
    leader.create(task_with("t1", "a", S::Assigned, &["key"], &[]));
    leader.create(task_with("t2", "a", S::Assigned, &["key"], &[]));
    let fetches: Vec<FetchId> = asked(&mut leader).into_iter().map(|(fetch, _)| fetch).collect();
    leader.fetched(fetches[0], away());
    let mut unwanted = leader.task("t1");
    unwanted.desired_state = S::Shutdown;
    leader.update(unwanted);
    assert_eq!(sent(&mut leader), [["+task t1"]], "the worker says that it has ended");
    leader.remove::<skep_model::Task>(&crate::testing::task_id("t2"));
    leader.fetched(fetches[1], give("late"));
    assert!(sent(&mut leader).is_empty());
    leader.pass(limits::SECRET_RETRY_FIRST * 4);
    assert!(leader.fetches().is_empty());
}

#[test]
fn a_driver_that_hangs_holds_up_no_other_and_is_asked_a_little_at_a_time() {
    let mut leader = ready(&[("slow", "tar"), ("quick", "mint")]);
    for number in 0..20 {
        leader.create(task_with(&format!("t{number:02}"), "a", S::Assigned, &["slow"], &[]));
    }
    let hanging = asked(&mut leader);
    assert_eq!(hanging.len(), limits::SECRET_FETCHES_PER_DRIVER_MAX);
    leader.create(task_with("u", "a", S::Assigned, &["quick"], &[]));
    let fetch = one(&mut leader);
    leader.fetched(fetch, give("mint"));
    assert_eq!(sent(&mut leader), [["+secret quick", "+task u"]]);
    // All time out; one answer later they need not wait for their pauses.
    for (fetch, _) in &hanging {
        leader.fetched(*fetch, Err(DriverFailure::Slow { limit: Duration::from_secs(10) }));
    }
    let mut given = 0;
    for _ in 0..10 {
        for (fetch, _) in leader.fetches() {
            leader.fetched(fetch, give("tar"));
            given += 1;
        }
    }
    assert_eq!(given, 20);
}

#[test]
fn a_whole_set_waits_for_values_but_not_for_ever() {
    let mut leader = Leader::new();
    leader.create(driven("key", "vault"));
    leader.create(task("other", "a", S::Running));
    leader.create(task_with("starts", "a", S::Preparing, &["key"], &[]));
    leader.create(task_with("waits", "a", S::Assigned, &["key"], &[]));
    leader.create(task_with("runs", "a", S::Running, &["key"], &[]));
    let session = open(&mut leader);
    let asked_first = asked(&mut leader);
    let tasks: Vec<&str> = asked_first.iter().map(|(_, request)| request.task_id.as_str()).collect();
    assert_eq!(tasks, ["starts", "waits"], "what runs has its value");
    assert!(leader.assignments(2).is_empty());
    leader.fetched(asked_first[0].0, give_one("mine"));
    assert!(sent(&mut leader).is_empty(), "one is still awaited");
    leader.fetched(asked_first[1].0, away());
    let messages = leader.assignments(2);
    assert_eq!(changes(&messages[0]), ["+secret key.starts", "+task other", "+task runs", "+task starts"]);
    // Another stream, and a driver that says nothing.
    leader.pass(limits::SECRET_RETRY_FIRST);
    leader.fetches();
    leader.open_assignments("a", &session, 3).expect("assignments");
    assert_eq!(one_task(&mut leader), "starts", "the other is being asked for still");
    leader.pass(limits::WHOLE_SET_PATIENCE);
    let messages = leader.assignments(3);
    assert_eq!(changes(&messages[0]), ["+task other", "+task runs", "+task starts"]);
}

#[test]
fn answers_to_an_earlier_term_are_to_nobody() {
    let mut leader = ready(&[("key", "vault")]);
    leader.create(task_with("t", "a", S::Assigned, &["key"], &[]));
    let early = one(&mut leader);
    leader.dispatcher.step_down();
    leader.dispatcher.lead();
    leader.turn();
    open(&mut leader);
    let fetch = one(&mut leader);
    assert_ne!(early, fetch);
    leader.fetched(early, give("old"));
    assert!(sent(&mut leader).is_empty());
    leader.fetched(fetch, give("new"));
    let messages = leader.assignments(2);
    assert_eq!(data(&messages[0]), [("key".to_owned(), "new".to_owned())]);
}

#[test]
fn a_question_that_is_not_asked_after_all_holds_nobodys_place() {
    let node = NodeId::new("a").expect("an id");
    let needed = [(SecretId::new("key").expect("an id"), "vault".to_owned())];
    let mut values = Values::default();
    for number in 0..2 * limits::SECRET_FETCHES_PER_DRIVER_MAX {
        let task = TaskId::new(&format!("t{number}")).expect("an id");
        assert_eq!(values.readiness(&node, &task, &needed), Readiness::Awaited);
    }
    let first = values.start(Time::default());
    assert_eq!(first.len(), limits::SECRET_FETCHES_PER_DRIVER_MAX);
    assert!(values.start(Time::default()).is_empty(), "the driver has enough to do");
    first.iter().for_each(|(fetch, ..)| values.withdraw(*fetch));
    assert_eq!(values.start(Time::default()).len(), limits::SECRET_FETCHES_PER_DRIVER_MAX);
    values.forget_node(&node);
    assert_eq!(values.due(), None, "nobody waits");
}
