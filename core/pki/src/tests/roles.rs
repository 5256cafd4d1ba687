//! Promotion, demotion, and the quorum that they must not cost.

use std::collections::BTreeSet;
use std::time::Duration;

use skep_model::objects::NODE_LEFT;
use skep_model::pb::types::{NodeRole, node_status};
use skep_model::{Node, NodeId, RaftId};
use skep_store::Read;

use super::{Swarm, time};
use crate::{RaftFacts, RaftMemberFacts, RoleAction, RoleManager};

fn facts(nodes: &[&NodeId]) -> RaftFacts {
    let member = |(index, node): (usize, &&NodeId)| RaftMemberFacts {
        votes: true,
        id: RaftId(index as u64 + 1),
        node: (*node).clone(),
        staying: true,
        active_since: time(10 - index as u64),
    };
    RaftFacts {
        me: RaftId(1),
        members: nodes.iter().enumerate().map(member).collect(),
        takes_docker: true,
        skep_nodes: BTreeSet::new(),
    }
}

fn turn(swarm: &mut Swarm, roles: &mut RoleManager, facts: &RaftFacts) -> Vec<RoleAction> {
    let now = swarm.now;
    swarm.change(|tx, _| roles.turn(now, facts, tx))
}

/// Three managers whose roles are settled, the first of them the leader.
fn three() -> (Swarm, RoleManager, [NodeId; 3]) {
    let mut swarm = Swarm::new();
    let first = swarm.ledger.committed().nodes()[0].id.clone();
    let others = [swarm.join_manager(), swarm.join_manager()];
    let [second, third] = others;
    let nodes = [first, second, third];
    let mut roles = RoleManager::new();
    roles.lead();
    let facts = facts(&[&nodes[0], &nodes[1], &nodes[2]]);
    assert_eq!(turn(&mut swarm, &mut roles, &facts), []);
    (swarm, roles, nodes)
}

#[test]
fn a_promotion_is_a_change_of_role_at_once() {
    let (swarm, roles, nodes) = three();
    assert!(roles.is_idle());
    assert_eq!(swarm.role(&nodes[0]), NodeRole::Manager, "the first node was promoted by its desired role");
}

#[test]
fn a_demotion_leaves_raft_first_and_only_then_changes_the_role() {
    let (mut swarm, mut roles, nodes) = three();
    swarm.desire(&nodes[2], NodeRole::Worker);
    roles.lead();
    let all = facts(&[&nodes[0], &nodes[1], &nodes[2]]);
    assert_eq!(turn(&mut swarm, &mut roles, &all), [RoleAction::RemoveMember(RaftId(3))]);
    assert_eq!(swarm.role(&nodes[2]), NodeRole::Manager, "still a member");
    assert_eq!(turn(&mut swarm, &mut roles, &all), [], "asked already");
    assert!(!roles.is_idle(), "it has to be asked again");
    swarm.pass(Duration::from_secs(5));
    assert_eq!(turn(&mut swarm, &mut roles, &all), [RoleAction::RemoveMember(RaftId(3))], "asked again later");
    let rest = facts(&[&nodes[0], &nodes[1]]);
    assert_eq!(turn(&mut swarm, &mut roles, &rest), []);
    assert_eq!(swarm.role(&nodes[2]), NodeRole::Worker);
    assert_eq!(roles.wake_at(), None);
}

#[test]
fn a_leader_hands_over_before_it_is_demoted() {
    let (mut swarm, mut roles, nodes) = three();
    swarm.desire(&nodes[0], NodeRole::Worker);
    roles.lead();
    let mut all = facts(&[&nodes[0], &nodes[1], &nodes[2]]);
    // The third has been heard for longest.
    assert_eq!(turn(&mut swarm, &mut roles, &all), [RoleAction::TransferLeadership(RaftId(3))]);
    all.me = RaftId(3);
    roles.lead();
    assert_eq!(turn(&mut swarm, &mut roles, &all), [RoleAction::RemoveMember(RaftId(1))]);
}

#[test]
fn nothing_costs_the_quorum() {
    let (mut swarm, mut roles, nodes) = three();
    swarm.desire(&nodes[1], NodeRole::Worker);
    roles.lead();
    let mut all = facts(&[&nodes[0], &nodes[1], &nodes[2]]);
    all.members[2].staying = false;
    assert_eq!(turn(&mut swarm, &mut roles, &all), [], "the third is silent: the second must stay");
    all.members[2].staying = true;
    all.members[0].staying = false;
    swarm.pass(Duration::from_secs(5));
    assert_eq!(turn(&mut swarm, &mut roles, &all), [], "the leader leaves: the second must stay");
    all.members[0].staying = true;
    swarm.pass(Duration::from_secs(5));
    assert_eq!(turn(&mut swarm, &mut roles, &all), [RoleAction::RemoveMember(RaftId(2))]);
    let alone = facts(&[&nodes[0]]);
    assert!(!alone.can_remove(RaftId(1)), "the last manager stays");
}

#[test]
fn members_whose_nodes_are_gone_leave_one_at_a_time() {
    let (mut swarm, mut roles, nodes) = three();
    swarm.change(|tx, _| {
        tx.remove::<Node>(&nodes[1])?;
        tx.remove::<Node>(&nodes[2])
    });
    roles.lead();
    let all = facts(&[&nodes[0], &nodes[1], &nodes[2]]);
    let first = turn(&mut swarm, &mut roles, &all);
    assert_eq!(first.len(), 1);
    let RoleAction::RemoveMember(gone) = first[0] else { panic!("expected a removal, got {first:?}") };
    let left = if gone == RaftId(2) { &nodes[2] } else { &nodes[1] };
    let mut rest = facts(&[&nodes[0], left]);
    rest.members[1].id = if gone == RaftId(2) { RaftId(3) } else { RaftId(2) };
    assert_eq!(turn(&mut swarm, &mut roles, &rest), [RoleAction::RemoveMember(rest.members[1].id)]);
}

#[test]
fn a_manager_that_left_for_good_is_taken_out_when_the_quorum_can_spare_it() {
    let (mut swarm, mut roles, nodes) = three();
    swarm.change(|tx, _| {
        let mut node = (*tx.node(&nodes[1]).expect("there")).clone();
        node.status.set_state(node_status::State::Down);
        node.status.message = NODE_LEFT.to_owned();
        tx.update(node)
    });
    roles.lead();
    let mut all = facts(&[&nodes[0], &nodes[1], &nodes[2]]);
    all.members[1].staying = false;
    all.members[2].staying = false;
    assert_eq!(turn(&mut swarm, &mut roles, &all), [], "the third is silent");
    swarm.pass(Duration::from_secs(5));
    all.members[2].staying = true;
    assert_eq!(turn(&mut swarm, &mut roles, &all), [RoleAction::RemoveMember(RaftId(2))]);
    let rest = facts(&[&nodes[0], &nodes[2]]);
    assert_eq!(turn(&mut swarm, &mut roles, &rest), []);
    assert!(roles.is_idle());
    assert_eq!(swarm.role(&nodes[1]), NodeRole::Manager, "as Docker shows a manager that left");
}
