//! Managers that join the quorum: first without a vote, then with one; and what becomes of those that do not get there.

use std::collections::BTreeSet;

use skep_model::pb::types::raft_member_status::Reachability;
use skep_store::Read as _;

use super::*;
use crate::learners::{LEARNER_PATIENCE, LEARNER_SILENCE_MAX};

fn voters(group: &Group) -> BTreeSet<RaftId> {
    group.managers[&group.leader().expect("a leader")].voters()
}

fn members(group: &Group) -> BTreeSet<RaftId> {
    let leader = &group.managers[&group.leader().expect("a leader")];
    leader.membership().iter().map(|member| member.raft_id).collect()
}

/// The number that a node would be given, and does nothing with.
fn begin_in_vain(group: &mut Group, number: u64) -> RaftId {
    match group.ask_to_join(number) {
        Ok(Answer::Joined(response)) => RaftId(response.raft_id),
        other => panic!("{other:?}"),
    }
}

fn ticks(group: &mut Group, time: std::time::Duration) {
    for _ in 0..time.as_micros() as u64 / TICK_MICROS {
        group.tick();
    }
}

#[test]
fn a_second_manager_that_dies_before_it_has_the_log_costs_nothing() {
    let mut group = Group::found(21);
    group.warned = Some(Vec::new());
    let id = begin_in_vain(&mut group, 2);
    assert_eq!(members(&group), BTreeSet::from([RaftId(1), id]));
    assert_eq!(voters(&group), BTreeSet::from([RaftId(1)]));
    group.create("meanwhile", 1);
    let view = |group: &Group| {
        let views = group.managers[&RaftId(1)].member_views();
        views.into_iter().find(|view| view.raft_id == id).map(|view| (view.votes, view.reachable))
    };
    assert_eq!(view(&group), Some((false, false)), "nobody can count on it yet");

    ticks(&mut group, LEARNER_SILENCE_MAX * 2);
    assert_eq!(members(&group), BTreeSet::from([RaftId(1)]));
    let warned = group.warned.take().unwrap();
    assert!(warned.iter().any(|text| text.contains("it is not heard any more")), "{warned:?}");
    group.create("afterwards", 1);
    // It comes again, as somebody new.
    group.join(2);
    assert!(!members(&group).contains(&id));
    assert_eq!(voters(&group).len(), 2);
}

#[test]
fn a_manager_counts_when_it_has_the_log_and_is_reachable_then() {
    let mut group = Group::found(22);
    for number in 0..50 {
        group.create(&format!("service{number}"), 1);
    }
    let id = group.begin_to_join(2);
    let mut counted = false;
    for _ in 0..100 {
        let leader = &group.managers[&RaftId(1)];
        let view = leader.member_views().into_iter().find(|view| view.raft_id == id).unwrap();
        assert!(!view.reachable || view.votes, "reachable and without a vote");
        if view.votes {
            assert_eq!(group.managers[&id].facts().services().len(), 50, "it counts and lacks something");
        }
        counted |= view.reachable;
        group.tick();
    }
    assert!(counted);
    assert_eq!(group.managers[&id].voters(), voters(&group));
    let request = m::ListNodesRequest::default();
    let Ok(ControlResponse::ListNodes(list)) = group.control(request) else { panic!("no list") };
    let status = list.nodes.iter().find_map(|node| node.value.manager_status.clone()).expect("a manager");
    assert_eq!(status.reachability(), Reachability::Reachable);
}

#[test]
fn a_new_leader_goes_on_with_a_manager_that_is_joining() {
    let mut group = Group::found(23);
    group.join(2);
    group.join(3);
    let old = group.leader().unwrap();
    let id = group.begin_to_join(4);
    group.cut = Some(old);
    group.until(|group| {
        group.leader().is_some_and(|leader| leader != old && group.managers[&leader].voters().contains(&id))
    });
    assert!(group.managers[&id].facts().cluster().is_some());
}

#[test]
fn a_manager_that_answers_and_never_gets_the_log_is_given_up_at_last() {
    let mut group = Group::found(24);
    group.warned = Some(Vec::new());
    let id = group.begin_to_join(2);
    // Its disk takes nothing: it can acknowledge nothing, and answers nothing that it would have to keep.
    group.stuck_disk = Some(id);
    ticks(&mut group, LEARNER_SILENCE_MAX / 2);
    assert!(members(&group).contains(&id));
    ticks(&mut group, LEARNER_PATIENCE + LEARNER_SILENCE_MAX);
    assert_eq!(members(&group), BTreeSet::from([RaftId(1)]));
    assert!(group.told_removed.contains(&id), "it does not know");
    group.create("afterwards", 1);
}

#[test]
fn a_manager_that_lost_its_log_gets_another_number() {
    let mut group = Group::found(25);
    group.join(2);
    group.join(3);
    let leader = group.leader().unwrap();
    let lost = group.managers[&leader].membership().by_node(&node(3)).unwrap().raft_id;
    group.managers.remove(&lost);
    group.join(3);
    let leader = &group.managers[&group.leader().unwrap()];
    let found = leader.membership().by_node(&node(3)).unwrap().raft_id;
    assert_ne!(found, lost);
    assert!(leader.membership().is_removed(lost));
    assert!(leader.voters().contains(&found));
    assert_eq!(leader.voters().len(), 3);
}

#[test]
fn a_manager_that_lost_its_log_waits_while_its_old_place_is_needed() {
    let mut group = Group::found(26);
    for number in 2..=5 {
        group.join(number);
    }
    let leader = group.leader().unwrap();
    let followers: Vec<RaftId> = group.managers.keys().copied().filter(|id| *id != leader).collect();
    // Two of five are off; of the four that remain without the one that lost its log only two would be there.
    let (off, lost) = (&followers[..2], followers[2]);
    let node_of = |group: &Group, id| group.managers[&leader].membership().get(id).unwrap().node_id.clone();
    let lost_node = node_of(&group, lost);
    let number = (1..=5).find(|number| node(*number) == lost_node).unwrap();
    let away: Vec<Manager> = off.iter().map(|id| group.managers.remove(id).unwrap()).collect();
    group.until(|group| group.managers[&leader].reachable_members().len() == 3);
    let refused = group.ask_to_join(number).unwrap_err();
    assert_eq!(refused.code, skep_model::Code::FailedPrecondition);
    assert!(refused.message.contains("has lost its log"), "{refused}");
    assert!(members(&group).contains(&lost));
    for manager in away {
        group.managers.insert(manager.member().raft_id, manager);
    }
    group.until(|group| group.managers[&leader].reachable_members().len() == 5);
    group.managers.remove(&lost);
    group.join(number);
    assert!(!members(&group).contains(&lost));
}

#[test]
fn one_identity_is_not_used_twice() {
    let mut group = Group::found(27);
    group.join(2);
    let elsewhere = |group: &mut Group, number: u64| {
        let address = "10.0.0.99:2377".to_owned();
        group.request(|manager, request, now, rng| manager.join_raft(request, node(number), address, now, rng))
    };
    let leader = group.leader().unwrap();
    assert_eq!(leader, RaftId(1));
    let refused = elsewhere(&mut group, 1).unwrap_err();
    assert!(refused.message.contains("two nodes cannot share one identity"), "{refused}");
    let refused = elsewhere(&mut group, 2).unwrap_err();
    assert!(refused.message.contains("which answers"), "{refused}");
    assert_eq!(voters(&group).len(), 2);
}
