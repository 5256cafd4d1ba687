use std::time::Duration;

use skep_model::Task;
use skep_model::pb::messages::assignments_message::Type;
use skep_model::pb::types::TaskState as S;

use crate::testing::{Leader, changes, config, secret, task, task_id, task_with};

/// A leader with worker `a` registered, its assignments on stream 2.
fn open(leader: &mut Leader) -> String {
    let session = leader.register("a", 1);
    leader.open_assignments("a", &session, 2).expect("assignments");
    session
}

/// What was sent on stream 2 after a moment.
fn sent(leader: &mut Leader) -> Vec<Vec<String>> {
    leader.pass(Duration::from_millis(50));
    leader.assignments(2).iter().map(changes).collect()
}

fn set_state(leader: &mut Leader, id: &str, state: S) {
    let mut task = leader.task(id);
    task.status.set_state(state);
    leader.update(task);
}

#[test]
fn the_whole_set_comes_first_with_its_dependencies() {
    let mut leader = Leader::new();
    leader.create(secret("s1"));
    leader.create(config("c1"));
    leader.create(task_with("t1", "a", S::Assigned, &["s1"], &["c1"]));
    leader.create(task_with("t2", "a", S::Running, &["s1"], &[]));
    leader.create(task_with("ended", "a", S::Failed, &["s1"], &[]));
    leader.create(task("pending", "a", S::Pending));
    leader.create(task("theirs", "b", S::Assigned));
    open(&mut leader);
    let messages = leader.assignments(2);
    assert_eq!(messages.len(), 1);
    assert_eq!((messages[0].r#type(), messages[0].applies_to.as_str()), (Type::Complete, ""));
    assert_eq!(messages[0].results_in, "1");
    assert_eq!(changes(&messages[0]), ["+secret s1", "+config c1", "+task ended", "+task t1", "+task t2"]);
}

#[test]
fn changes_follow_numbered_and_statuses_are_not_echoed() {
    let mut leader = Leader::new();
    open(&mut leader);
    leader.assignments(2);
    leader.create(task("t", "a", S::Pending));
    assert!(sent(&mut leader).is_empty(), "not assigned yet");
    set_state(&mut leader, "t", S::Assigned);
    leader.pass(Duration::from_millis(50));
    let messages = leader.assignments(2);
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].r#type(), Type::Incremental);
    assert_eq!((messages[0].applies_to.as_str(), messages[0].results_in.as_str()), ("1", "2"));
    assert_eq!(changes(&messages[0]), ["+task t"]);
    set_state(&mut leader, "t", S::Running);
    assert!(sent(&mut leader).is_empty(), "the worker said so itself");
    let mut stopped = leader.task("t");
    stopped.desired_state = S::Shutdown;
    leader.update(stopped);
    assert_eq!(sent(&mut leader), [["+task t"]]);
    leader.remove::<Task>(&task_id("t"));
    assert_eq!(sent(&mut leader), [["-task t"]]);
}

#[test]
fn a_dependency_comes_with_its_first_task_and_goes_with_its_last() {
    let mut leader = Leader::new();
    leader.create(secret("s1"));
    open(&mut leader);
    leader.assignments(2);
    leader.create(task_with("t1", "a", S::Assigned, &["s1"], &[]));
    assert_eq!(sent(&mut leader), [["+secret s1", "+task t1"]]);
    leader.create(task_with("t2", "a", S::Assigned, &["s1"], &[]));
    assert_eq!(sent(&mut leader), [["+task t2"]]);
    set_state(&mut leader, "t1", S::Failed);
    assert!(sent(&mut leader).is_empty());
    set_state(&mut leader, "t2", S::Complete);
    assert_eq!(sent(&mut leader), [["-secret s1"]]);
    leader.remove::<Task>(&task_id("t2"));
    assert_eq!(sent(&mut leader), [["-task t2"]], "it was taken back before");
    leader.create(task_with("t3", "a", S::Assigned, &["s1"], &[]));
    assert_eq!(sent(&mut leader), [["+secret s1", "+task t3"]]);
}

#[test]
fn what_does_not_exist_is_not_sent() {
    let mut leader = Leader::new();
    leader.create(task_with("t", "a", S::Assigned, &["missing"], &["none"]));
    open(&mut leader);
    assert_eq!(changes(&leader.assignments(2)[0]), ["+task t"]);
}

#[test]
fn a_message_holds_a_hundred_tasks() {
    let mut leader = Leader::new();
    open(&mut leader);
    leader.assignments(2);
    // Many commits before anything is sent.
    let Leader { ledger, dispatcher, now, .. } = &mut leader;
    let (_, entry) = ledger
        .transact(*now, 5000, 5000, |tx| {
            (0..250).try_for_each(|number| tx.create(task(&format!("t{number}"), "a", S::Assigned)))
        })
        .expect("a transaction");
    for event in ledger.commit(&entry.expect("an entry")).expect("a commit") {
        dispatcher.observe(&event);
    }
    leader.pass(Duration::from_millis(10));
    let messages = leader.assignments(2);
    assert_eq!(messages.iter().map(|message| message.changes.len()).collect::<Vec<_>>(), [100, 100, 50]);
    let chain: Vec<(&str, &str)> =
        messages.iter().map(|message| (message.applies_to.as_str(), message.results_in.as_str())).collect();
    assert_eq!(chain, [("1", "2"), ("2", "3"), ("3", "4")]);
}

#[test]
fn a_second_stream_takes_over_with_a_whole_set() {
    let mut leader = Leader::new();
    let session = open(&mut leader);
    leader.assignments(2);
    leader.create(task("t", "a", S::Assigned));
    leader.open_assignments("a", &session, 3).expect("assignments");
    assert_eq!(leader.closed().len(), 1);
    let messages = leader.assignments(3);
    assert_eq!(messages[0].r#type(), Type::Complete);
    assert_eq!(changes(&messages[0]), ["+task t"]);
}

#[test]
fn quick_changes_gather() {
    let mut leader = Leader::new();
    open(&mut leader);
    leader.pass(Duration::from_millis(50));
    leader.assignments(2);
    leader.create(task("t1", "a", S::Assigned));
    leader.create(task("t2", "a", S::Assigned));
    leader.create(task("t3", "a", S::Assigned));
    assert_eq!(leader.assignments(2).len(), 1, "the first goes at once");
    assert_eq!(sent(&mut leader), [["+task t2", "+task t3"]]);
}

#[test]
fn data_that_changed_in_place_is_sent_to_those_who_have_it() {
    let mut leader = Leader::new();
    leader.create(secret("s1"));
    leader.create(config("c1"));
    leader.create(config("unused"));
    leader.create(task_with("t1", "a", S::Running, &["s1"], &["c1"]));
    leader.create(task_with("t2", "a", S::Running, &["s1"], &[]));
    open(&mut leader);
    leader.assignments(2);
    let changed = |mut secret: skep_model::Secret, data: &'static str| {
        secret.spec = secret.spec.edit(|spec| spec.data = data.into());
        secret
    };
    leader.update(changed(secret("s1"), "other"));
    assert_eq!(sent(&mut leader), [["+secret s1"]]);
    let config_with = |id: &str| {
        let mut config = config(id);
        config.spec = config.spec.edit(|spec| spec.data = "other".into());
        config
    };
    leader.update(config_with("c1"));
    leader.update(config_with("unused"));
    assert_eq!(sent(&mut leader), [["+config c1"]]);
    leader.update(config_with("c1"));
    assert!(sent(&mut leader).is_empty(), "the same data is nothing new");
    set_state(&mut leader, "t1", S::Failed);
    set_state(&mut leader, "t2", S::Failed);
    sent(&mut leader);
    leader.update(changed(secret("s1"), "third"));
    assert!(sent(&mut leader).is_empty(), "nobody needs it any more");
}
