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
