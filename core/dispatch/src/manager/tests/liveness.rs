use std::time::Duration;

use skep_model::pb::messages::SessionRequest;
use skep_model::pb::skep::LeaveRequest;
use skep_model::pb::skep::leave_request::Reason;
use skep_model::pb::types::{NodeRole, TaskState, node_status::State};
use skep_store::Read;

use crate::manager::StreamId;
use crate::testing::{Leader, caller, cluster, node, node_id, task};

const PERIOD: Duration = Duration::from_secs(5);

fn leave(leader: &mut Leader, id: &str, reason: Reason, remove: bool, hold_ms: u64) {
    let request = LeaveRequest { reason: reason.into(), session_id: String::new(), remove, hold_ms };
    leader.dispatcher.leave(leader.now, &caller(id), &request).expect("a farewell");
    leader.turn();
}

fn reset(leader: &mut Leader, stream: u64, reset: bool, skep_peer: bool) {
    leader.dispatcher.stream_closed(leader.now, StreamId(stream), reset, skep_peer);
}

/// A manager that takes over a cluster with the nodes of `earlier`.
fn take_over(earlier: Leader) -> Leader {
    let mut leader = Leader::over(earlier.ledger);
    leader.now = earlier.now;
    leader.dispatcher.lead();
    leader.turn();
    leader
}

#[test]
fn heartbeats_keep_a_node_ready_and_their_absence_does_not() {
    let mut leader = Leader::new();
    let session = leader.register("a", 1);
    for _ in 0..10 {
        leader.pass(PERIOD * 2);
        let response = leader.heartbeat("a", &session).expect("a heartbeat");
        let period = skep_model::time::duration(&response.period.expect("a period"));
        assert!((PERIOD - Duration::from_millis(500)..=PERIOD + Duration::from_millis(500)).contains(&period));
    }
    assert_eq!(leader.state("a"), State::Ready);
    leader.pass(PERIOD * 4);
    assert_eq!(leader.state("a"), State::Down);
    assert_eq!(leader.node("a").status.message, "heartbeat failure");
    assert_eq!(leader.node("a").status.addr, "addr-a", "where it was stays known");
    assert_eq!(leader.heartbeat("a", &session).expect_err("no session").message, "node not registered");
    leader.register("a", 2);
    assert_eq!(leader.state("a"), State::Ready);
}

#[test]
fn the_clusters_own_period_counts() {
    let mut leader = Leader::new();
    let mut changed = cluster(&[]);
    let period = skep_model::time::proto_duration(Duration::from_secs(60));
    let dispatcher = skep_model::pb::types::DispatcherConfig { heartbeat_period: Some(period) };
    changed.spec = changed.spec.edit(|spec| spec.dispatcher = Some(dispatcher));
    leader.update(changed);
    leader.register("a", 1);
    leader.pass(Duration::from_secs(100));
    assert_eq!(leader.state("a"), State::Ready);
    leader.pass(Duration::from_secs(100));
    assert_eq!(leader.state("a"), State::Down);
}

#[test]
fn a_new_leader_doubts_everyone_for_six_periods() {
    let mut earlier = Leader::new();
    earlier.register("a", 1);
    earlier.register("b", 2);
    leave(&mut earlier, "b", Reason::Leave, false, 0);
    let mut leader = take_over(earlier);
    assert_eq!(leader.state("a"), State::Unknown);
    assert_eq!(leader.node("a").status.message, super::super::turn::UNKNOWN_MESSAGE);
    assert_eq!(leader.state("b"), State::Down, "who was down stays down");
    leader.pass(PERIOD * 5);
    assert_eq!(leader.state("a"), State::Unknown);
    leader.pass(PERIOD * 2);
    assert_eq!(leader.state("a"), State::Down);
    assert_eq!(leader.node("a").status.message, r#"heartbeat failure for node in "unknown" state"#);
}

#[test]
fn who_registers_before_the_first_turn_is_not_doubted() {
    let mut earlier = Leader::new();
    earlier.register("a", 1);
    let mut leader = Leader::over(earlier.ledger);
    leader.dispatcher.lead();
    leader.register("a", 2);
    assert_eq!(leader.state("a"), State::Ready);
    assert_eq!(leader.sessions(2).len(), 1);
}

#[test]
fn a_reset_connection_of_a_skep_worker_is_down_within_two_seconds() {
    let mut leader = Leader::new();
    leader.register("a", 1);
    reset(&mut leader, 1, true, true);
    assert_eq!(leader.state("a"), State::Ready);
    leader.pass(Duration::from_millis(1990));
    assert_eq!(leader.state("a"), State::Down);
}

#[test]
fn suspicion_ends_when_the_worker_comes_back() {
    let mut leader = Leader::new();
    let session = leader.register("a", 1);
    reset(&mut leader, 1, true, true);
    leader.pass(Duration::from_secs(1));
    let request = SessionRequest { session_id: session.clone(), ..SessionRequest::default() };
    assert_eq!(leader.try_register("a", request, 2), Ok(session));
    leader.pass(Duration::from_secs(3));
    assert_eq!(leader.state("a"), State::Ready);
}

#[test]
fn no_early_suspicion_without_reset_of_docker_or_soon_after_a_new_leader() {
    for (was_reset, skep_peer) in [(false, true), (true, false)] {
        let mut leader = Leader::new();
        leader.register("a", 1);
        reset(&mut leader, 1, was_reset, skep_peer);
        leader.pass(Duration::from_secs(4));
        assert_eq!(leader.state("a"), State::Ready, "reset {was_reset}, skep {skep_peer}");
        leader.pass(Duration::from_secs(14));
        assert_eq!(leader.state("a"), State::Down);
    }
    let mut earlier = Leader::new();
    earlier.register("a", 1);
    let mut leader = take_over(earlier);
    leader.register("a", 2);
    reset(&mut leader, 2, true, true);
    leader.pass(Duration::from_secs(4));
    assert_eq!(leader.state("a"), State::Ready);
}

#[test]
fn a_worker_that_leaves_is_down_at_once() {
    let mut leader = Leader::new();
    let session = leader.register("a", 1);
    leave(&mut leader, "a", Reason::Leave, false, 0);
    assert_eq!(leader.state("a"), State::Down);
    assert!(leader.heartbeat("a", &session).is_err());
    assert_eq!(leader.closed().len(), 1);
}

#[test]
fn a_worker_that_asks_for_it_is_removed_and_its_tasks_given_up() {
    let mut leader = Leader::new();
    leader.register("a", 1);
    leader.create(task("t", "a", TaskState::Running));
    leader.create(task("done", "a", TaskState::Complete));
    leave(&mut leader, "a", Reason::Leave, true, 0);
    assert!(leader.ledger.committed().node(&node_id("a")).is_none());
    assert_eq!(leader.task("t").state(), TaskState::Orphaned);
    assert_eq!(leader.task("done").state(), TaskState::Complete);
    let cluster = leader.ledger.committed().cluster().expect("a cluster");
    assert!(cluster.blacklisted_certificates.contains_key("a"), "its certificate is refused from now on");
}

#[test]
fn the_clusters_label_removes_workers_but_never_managers() {
    let mut leader = Leader::new();
    leader.update(cluster(&[("skep.leave", "remove")]));
    leader.create(node("m", NodeRole::Manager));
    leader.register("a", 1);
    leader.register("m", 2);
    leave(&mut leader, "a", Reason::Leave, false, 0);
    leave(&mut leader, "m", Reason::Leave, true, 0);
    assert!(leader.ledger.committed().node(&node_id("a")).is_none());
    assert_eq!(leader.state("m"), State::Down);
}

#[test]
fn a_restart_is_waited_for_as_long_as_asked() {
    let mut leader = Leader::new();
    leader.register("a", 1);
    leave(&mut leader, "a", Reason::Restart, false, 60_000);
    assert_eq!(leader.state("a"), State::Disconnected);
    leader.pass(Duration::from_secs(59));
    assert_eq!(leader.state("a"), State::Disconnected);
    leader.register("a", 2);
    assert_eq!(leader.state("a"), State::Ready);

    leave(&mut leader, "a", Reason::Restart, false, u64::MAX);
    leader.pass(Duration::from_secs(301));
    assert_eq!(leader.state("a"), State::Down, "the hold has a limit");
}

#[test]
fn a_farewell_of_an_earlier_session_is_refused() {
    let mut leader = Leader::new();
    leader.register("a", 1);
    let request = LeaveRequest { reason: Reason::Leave.into(), session_id: "earlier".to_owned(), ..Default::default() };
    assert!(leader.dispatcher.leave(leader.now, &caller("a"), &request).is_err());
}

#[test]
fn tasks_of_a_node_that_stays_down_for_a_day_are_given_up() {
    let mut leader = Leader::new();
    leader.register("a", 1);
    for (id, state) in [
        ("assigned", TaskState::Assigned),
        ("running", TaskState::Running),
        ("failed", TaskState::Failed),
        ("pending", TaskState::Pending),
    ] {
        leader.create(task(id, "a", state));
    }
    leave(&mut leader, "a", Reason::Leave, false, 0);
    leader.pass(Duration::from_secs(24 * 3600 - 60));
    assert_eq!(leader.task("running").state(), TaskState::Running);
    leader.pass(Duration::from_secs(120));
    let states = ["assigned", "running", "failed", "pending"].map(|id| leader.task(id).state());
    assert_eq!(states, [TaskState::Orphaned, TaskState::Orphaned, TaskState::Failed, TaskState::Pending]);
}

#[test]
fn our_own_standstill_is_not_the_workers_fault() {
    let mut leader = Leader::new();
    leader.register("a", 1);
    leader.now.monotonic = leader.now.monotonic.after(Duration::from_secs(600));
    leader.turn();
    assert_eq!(leader.state("a"), State::Ready);
    leader.pass(PERIOD * 2);
    assert_eq!(leader.state("a"), State::Down, "but it has to say something now");
}
