//! Managers that leave whether or not the quorum can spare them.

use std::collections::BTreeSet;

use skep_model::pb::skep::LeaveRequest;
use skep_model::pb::skep::leave_request::Reason;
use skep_model::pb::types::NodeRole;
use skep_store::Read as _;

use super::*;

fn members(group: &Group) -> BTreeSet<RaftId> {
    let leader = &group.managers[&group.leader().expect("a leader")];
    leader.membership().iter().map(|member| member.raft_id).collect()
}

/// Longer than an action of the role manager waits before it is tried again.
fn ticks(group: &mut Group) {
    for _ in 0..std::time::Duration::from_secs(12).as_micros() as u64 / TICK_MICROS {
        group.tick();
    }
}

fn demote(group: &mut Group, id: &NodeId) {
    let leader = group.leader().expect("a leader");
    let stored = group.managers[&leader].facts().node(id).expect("it joined").clone();
    let request = m::UpdateNodeRequest {
        node_id: id.to_string(),
        node_version: Some(skep_model::pb::types::Version { index: stored.meta.version }),
        spec: Some(stored.spec.edit(|spec| spec.set_desired_role(NodeRole::Worker))),
    };
    group.control(request).expect("a demotion");
}

/// Three managers of whom one is off and one leaves: the others cannot spare both.
#[test]
fn a_manager_that_leaves_is_not_counted_on_when_another_is_demoted() {
    let mut group = Group::found(31);
    group.join(2);
    group.join(3);
    let leader = group.leader().unwrap();
    assert_eq!(leader, RaftId(1));
    let number_of =
        |group: &Group, number| group.managers[&leader].membership().by_node(&node(number)).unwrap().raft_id;
    let (leaves, off) = (number_of(&group, 2), number_of(&group, 3));
    let away = group.managers.remove(&off).unwrap();
    group.until(|group| group.managers[&leader].reachable_members().len() == 2);

    let refused = group.request(|manager, request, _, rng| manager.leave_raft(request, node(2), rng)).unwrap_err();
    assert!(refused.message.contains("loss of quorum"), "{refused}");
    demote(&mut group, &node(3));
    ticks(&mut group);
    assert_eq!(members(&group), [leader, leaves, off].into(), "the one that leaves was half of what remained");

    // It has gone, and says so; then the one that was off comes back: all that was wished comes about.
    let caller = Caller { node: node(2), role: NodeRole::Manager, forwarded_by: None, address: "10.0.0.2".into() };
    let farewell = LeaveRequest { reason: Reason::Leave.into(), ..Default::default() };
    group.with_leader(|manager, now, _| manager.leave(&caller, &farewell, now)).unwrap();
    group.settle();
    group.managers.remove(&leaves);
    group.managers.insert(off, away);
    group.until(|group| group.leader().is_some_and(|leader| group.managers[&leader].membership().len() == 1));
}

/// Seed 310769: the one that leaves leads. It had asked to go while the quorum could not spare it, and counted itself when
/// another one, which was off, was demoted.
#[test]
fn a_leader_that_leaves_does_not_count_itself() {
    let mut group = Group::found(36);
    group.join(2);
    group.join(3);
    let leader = group.leader().unwrap();
    assert_eq!(leader, RaftId(1));
    let number_of =
        |group: &Group, number| group.managers[&leader].membership().by_node(&node(number)).unwrap().raft_id;
    let (stays, demoted) = (number_of(&group, 2), number_of(&group, 3));
    let reaches = |group: &Group, id| group.managers[&leader].reachable_members() == [leader, id].into();
    let away = group.managers.remove(&stays).unwrap();
    group.until(|group| reaches(group, demoted));
    let refused = group.request(|manager, request, _, rng| manager.leave_raft(request, node(1), rng)).unwrap_err();
    assert!(refused.message.contains("loss of quorum"), "{refused}");

    group.managers.insert(stays, away);
    group.until(|group| group.managers[&leader].reachable_members().len() == 3);
    let away = group.managers.remove(&demoted).unwrap();
    group.until(|group| reaches(group, stays));
    demote(&mut group, &node(3));
    ticks(&mut group);
    assert_eq!(members(&group), [leader, stays, demoted].into(), "the one that leaves was half of what remained");

    let caller = Caller { node: node(1), role: NodeRole::Manager, forwarded_by: None, address: "10.0.0.1".into() };
    let farewell = LeaveRequest { reason: Reason::Leave.into(), ..Default::default() };
    group.with_leader(|manager, now, _| manager.leave(&caller, &farewell, now)).unwrap();
    group.settle();
    group.managers.remove(&leader);
    group.managers.insert(demoted, away);
    group.until(|group| group.leader() == Some(stays) && group.managers[&stays].membership().len() == 1);
}

/// Five managers, of whom two have died so lately that the leader still counts them as heard.
fn five_and_two_dead(seed: u64) -> (Group, Vec<(RaftId, Manager)>) {
    let mut group = Group::found(seed);
    (2..=5).for_each(|number| group.join(number));
    let leader = &group.managers[&group.leader().unwrap()];
    let numbers = [4, 5].map(|number| leader.membership().by_node(&node(number)).unwrap().raft_id);
    let dead: Vec<_> = numbers.into_iter().map(|id| (id, group.managers.remove(&id).unwrap())).collect();
    let leader = &group.managers[&group.leader().unwrap()];
    assert_eq!(leader.reachable_members().len(), 5, "nobody has noticed");
    (group, dead)
}

#[test]
fn a_manager_that_was_heard_a_moment_ago_is_not_counted_on_for_a_removal() {
    let (mut group, dead) = five_and_two_dead(32);
    let before = members(&group);
    let refused = group.request(|manager, request, _, rng| manager.leave_raft(request, node(3), rng)).unwrap_err();
    assert!(refused.message.contains("loss of quorum"), "{refused}");
    assert_eq!(members(&group), before, "two of four would be left");

    group.managers.extend(dead);
    group.until(|group| group.managers[&group.leader().unwrap()].reachable_members().len() == 5);
    group.request(|manager, request, _, rng| manager.leave_raft(request, node(3), rng)).unwrap();
    assert_eq!(members(&group).len(), 4);
}

#[test]
fn a_demotion_waits_for_managers_that_are_there_and_then_comes_about() {
    let (mut group, dead) = five_and_two_dead(33);
    let before = members(&group);
    group.warned = Some(Vec::new());
    demote(&mut group, &node(3));
    ticks(&mut group);
    assert_eq!(members(&group), before);
    let warned = group.warned.take().unwrap();
    assert!(warned.iter().any(|text| text.contains("too few of the other managers answer")), "{warned:?}");
    group.managers.extend(dead);
    group.until(|group| group.leader().is_some() && members(group).len() == 4);
}

/// Who left drops its log when it hears that it may: then everybody who stays can do without it.
#[test]
fn who_left_is_answered_once_the_others_know() {
    let mut group = Group::found(34);
    (2..=4).for_each(|number| group.join(number));
    let leader = group.leader().unwrap();
    let leaves = group.managers[&leader].membership().by_node(&node(4)).unwrap().raft_id;
    group.requests += 1;
    let number = group.requests;
    group.with_leader(|manager, _, rng| manager.leave_raft(RequestId(number), node(4), rng));
    // The leader's mail to the others does not arrive any more once the removal is committed.
    loop {
        group.turn(leader);
        if group.managers[&leader].membership().is_removed(leaves) {
            break;
        }
        let mail = std::mem::take(&mut group.mail);
        for message in mail {
            group.managers.get_mut(&message.to).unwrap().peer_message(message).unwrap();
        }
        let ids: Vec<RaftId> = group.managers.keys().copied().filter(|id| *id != leader).collect();
        for id in ids {
            group.turn(id);
        }
    }
    group.turn(leader);
    assert!(!group.replies.contains_key(&number), "the others may not know it yet");
    group.until(|group| group.replies.contains_key(&number));
    assert_eq!(group.replies.remove(&number), Some(Ok(Answer::Left)));
    // Asked again, it is told again.
    assert_eq!(group.request(|manager, request, _, rng| manager.leave_raft(request, node(4), rng)), Ok(Answer::Left));
}
