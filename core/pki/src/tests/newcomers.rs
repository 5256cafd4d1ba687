//! Nodes that were let in and never came: they go off the list, and come back with a good certificate.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use skep_model::pb::messages::IssueNodeCertificateRequest;
use skep_model::pb::types::issuance_status::State;
use skep_model::pb::types::{BlacklistedCertificate, NodeDescription, NodeRole, node_status};
use skep_model::{Code, Node, NodeId, Verbatim};
use skep_store::Read;

use super::{Swarm, caller};
use crate::{NEWCOMER_PATIENCE, Newcomers, is_removed, issue, take_back};

fn first(swarm: &Swarm) -> BTreeSet<NodeId> {
    swarm.ledger.committed().nodes().iter().map(|node| node.id.clone()).collect()
}

fn turn(swarm: &mut Swarm, newcomers: &mut Newcomers, managers: &BTreeSet<NodeId>) -> Vec<NodeId> {
    let now = swarm.now;
    swarm.change(|tx, _| newcomers.turn(now, managers, tx))
}

fn change(swarm: &mut Swarm, id: &NodeId, change: impl FnOnce(&mut Node)) {
    swarm.change(|tx, _| {
        let mut node = (*tx.node(id).expect("there")).clone();
        change(&mut node);
        tx.update(node)
    });
}

/// A swarm with a newcomer that this leader has seen.
fn with_newcomer() -> (Swarm, Newcomers, BTreeSet<NodeId>, NodeId) {
    let mut swarm = Swarm::new();
    let managers = first(&swarm);
    let worker = swarm.tokens().worker;
    let id = swarm.join(&worker).expect("the token is right");
    let mut newcomers = Newcomers::new();
    newcomers.lead();
    assert!(turn(&mut swarm, &mut newcomers, &managers).is_empty());
    (swarm, newcomers, managers, id)
}

#[test]
fn who_never_came_is_off_the_list_after_a_while_and_no_sooner() {
    let (mut swarm, mut newcomers, managers, id) = with_newcomer();
    assert_eq!(newcomers.wake_at(), Some(swarm.now.monotonic.after(NEWCOMER_PATIENCE)));
    swarm.pass(NEWCOMER_PATIENCE - Duration::from_secs(1));
    assert!(turn(&mut swarm, &mut newcomers, &managers).is_empty());
    swarm.pass(Duration::from_secs(1));
    assert_eq!(turn(&mut swarm, &mut newcomers, &managers), std::slice::from_ref(&id));
    assert_eq!(first(&swarm), managers);
    assert!(!is_removed(swarm.ledger.committed(), &id), "it may still come");
}

#[test]
fn who_came_whom_an_operator_has_touched_and_members_of_the_quorum_stay() {
    let touches: [fn(&mut Node); 4] = [
        |node| node.description = Some(Verbatim::new(NodeDescription::default())),
        |node| node.status.set_state(node_status::State::Ready),
        |node| {
            node.spec = node.spec.edit(|spec| {
                spec.annotations.get_or_insert_default().labels.insert("zone".into(), "a".into());
            })
        },
        |node| node.spec = node.spec.edit(|spec| spec.set_desired_role(NodeRole::Manager)),
    ];
    for (number, touch) in touches.into_iter().enumerate() {
        let (mut swarm, mut newcomers, managers, id) = with_newcomer();
        change(&mut swarm, &id, touch);
        swarm.pass(NEWCOMER_PATIENCE * 2);
        assert!(turn(&mut swarm, &mut newcomers, &managers).is_empty(), "{number}");
    }
    let (mut swarm, mut newcomers, mut managers, id) = with_newcomer();
    managers.insert(id);
    swarm.pass(NEWCOMER_PATIENCE * 2);
    assert!(turn(&mut swarm, &mut newcomers, &managers).is_empty(), "a member of the quorum");
}

#[test]
fn a_good_certificate_gets_its_row_back_and_a_refused_one_does_not() {
    let (mut swarm, mut newcomers, managers, id) = with_newcomer();
    swarm.pass(NEWCOMER_PATIENCE);
    assert_eq!(turn(&mut swarm, &mut newcomers, &managers), std::slice::from_ref(&id));
    let late = caller(&id, NodeRole::Worker);
    swarm.change(|tx, _| take_back(tx, &late));
    let node = swarm.ledger.committed().node(&id).expect("back");
    assert_eq!((node.role, node.spec.desired_role()), (NodeRole::Worker, NodeRole::Worker));
    let state = node.certificate.status.as_ref().map(|status| status.state());
    assert_eq!(state, Some(State::Rotate), "the swarm gets to know its certificate by renewing it");

    let refused = |swarm: &mut Swarm| {
        swarm.change(|tx, _| {
            tx.remove::<Node>(&id)?;
            let mut cluster = (*tx.cluster().expect("there")).clone();
            cluster.blacklisted_certificates.insert(id.to_string(), BlacklistedCertificate::default());
            tx.update(cluster)
        });
        swarm.try_change(|tx, _| take_back(tx, &late)).expect_err("it was removed").code
    };
    assert_eq!(refused(&mut swarm), Code::NotFound);
}

#[test]
fn a_renewal_brings_the_row_back_too() {
    let (mut swarm, mut newcomers, managers, id) = with_newcomer();
    swarm.pass(NEWCOMER_PATIENCE);
    turn(&mut swarm, &mut newcomers, &managers);
    let request = IssueNodeCertificateRequest { csr: Bytes::from_static(b"next"), ..Default::default() };
    let late = caller(&id, NodeRole::Worker);
    swarm.change(|tx, rng| issue(tx, Some(&late), &request, rng));
    let node = swarm.ledger.committed().node(&id).expect("back");
    assert_eq!(node.certificate.csr, request.csr);
    assert_eq!(node.role, NodeRole::Worker);
}
