use std::time::Duration;

use skep_model::pb::messages::UpdateTaskStatusRequest;
use skep_model::pb::messages::update_task_status_request::TaskStatusUpdate;
use skep_model::pb::types::{TaskState, TaskStatus};
use skep_model::{Code, Refusal};

use crate::testing::{Leader, caller, task};

fn update(id: &str, state: TaskState, message: &str) -> TaskStatusUpdate {
    let status = TaskStatus { state: state.into(), message: message.to_owned(), ..TaskStatus::default() };
    TaskStatusUpdate { task_id: id.to_owned(), status: Some(status) }
}

fn report(leader: &mut Leader, node: &str, session: &str, updates: Vec<TaskStatusUpdate>) -> Result<(), Refusal> {
    let request = UpdateTaskStatusRequest { session_id: session.to_owned(), updates };
    let Leader { dispatcher, ledger, now, .. } = leader;
    dispatcher.update_task_status(*now, ledger.committed(), &caller(node), request).map(|_| ())
}

#[test]
fn states_only_go_forward_and_say_who_wrote_them() {
    use TaskState as S;
    for (stored, reported, expected) in [
        (S::Assigned, S::Running, S::Running),
        (S::Running, S::Starting, S::Running),
        (S::Running, S::Failed, S::Failed),
        (S::Failed, S::Complete, S::Failed),
        (S::Orphaned, S::Running, S::Orphaned),
        (S::Running, S::Orphaned, S::Running),
        (S::Pending, S::Running, S::Pending),
        (S::Assigned, S::Remove, S::Assigned),
    ] {
        let mut leader = Leader::new();
        let session = leader.register("a", 1);
        leader.create(task("t", "a", stored));
        report(&mut leader, "a", &session, vec![update("t", reported, "said")]).expect("a report");
        leader.turn();
        let task = leader.task("t");
        assert_eq!(task.state(), expected, "{stored:?} -> {reported:?}");
        let written = expected != stored;
        assert_eq!(task.status.applied_by, if written { "boss" } else { "" });
        assert_eq!(task.status.applied_at.is_some(), written);
    }
}

#[test]
fn the_same_state_with_other_details_is_written_once() {
    let mut leader = Leader::new();
    let session = leader.register("a", 1);
    leader.create(task("t", "a", TaskState::Running));
    let said = || vec![update("t", TaskState::Running, "new words")];
    report(&mut leader, "a", &session, said()).expect("a report");
    leader.turn();
    let first = leader.task("t");
    assert_eq!(first.status.message, "new words");
    leader.pass(Duration::from_secs(1));
    report(&mut leader, "a", &session, said()).expect("a report");
    leader.pass(Duration::from_secs(1));
    assert_eq!(leader.task("t"), first, "nothing new, nothing written");
}

#[test]
fn tasks_of_others_refuse_and_missing_ones_are_skipped() {
    let mut leader = Leader::new();
    let session = leader.register("a", 1);
    leader.create(task("mine", "a", TaskState::Assigned));
    leader.create(task("theirs", "b", TaskState::Assigned));
    let both = vec![update("mine", TaskState::Running, ""), update("theirs", TaskState::Running, "")];
    let refusal = report(&mut leader, "a", &session, both).expect_err("not its own");
    assert_eq!(refusal.code, Code::PermissionDenied);
    leader.turn();
    assert_eq!(leader.task("mine").state(), TaskState::Assigned, "all or nothing");
    let updates = vec![update("gone", TaskState::Running, ""), update("mine", TaskState::Running, "")];
    report(&mut leader, "a", &session, updates).expect("a report");
    leader.turn();
    assert_eq!(leader.task("mine").state(), TaskState::Running);
}

#[test]
fn few_are_written_at_once_and_many_together() {
    let mut leader = Leader::new();
    let session = leader.register("a", 1);
    let ids: Vec<String> = (0..1000).map(|number| format!("t{number}")).collect();
    for id in &ids {
        leader.create(task(id, "a", TaskState::Assigned));
    }
    leader.turn();
    let all = |state| ids.iter().map(|id| update(id, state, "")).collect();
    report(&mut leader, "a", &session, all(TaskState::Accepted)).expect("a report");
    leader.turn();
    assert_eq!(leader.task("t7").state(), TaskState::Accepted, "an idle dispatcher writes at once");
    report(&mut leader, "a", &session, all(TaskState::Preparing)).expect("a report");
    leader.turn();
    assert_eq!(leader.task("t7").state(), TaskState::Accepted, "after many, more are waited for");
    leader.pass(Duration::from_millis(100));
    assert_eq!(leader.task("t7").state(), TaskState::Preparing);
}

#[test]
fn a_later_report_of_a_task_wins_before_it_is_written() {
    let mut leader = Leader::new();
    let session = leader.register("a", 1);
    leader.create(task("t", "a", TaskState::Assigned));
    report(&mut leader, "a", &session, vec![update("t", TaskState::Running, "")]).expect("a report");
    report(&mut leader, "a", &session, vec![update("t", TaskState::Starting, "late")]).expect("a report");
    leader.turn();
    assert_eq!(leader.task("t").state(), TaskState::Running);
}
