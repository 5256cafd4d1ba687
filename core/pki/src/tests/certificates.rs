//! Certificates from request to chain, and what else the first leader makes.

use bytes::Bytes;
use skep_model::pb::messages::{IssueNodeCertificateRequest, NodeCertificateStatusRequest};
use skep_model::pb::types::issuance_status::State;
use skep_model::pb::types::node_spec::Availability;
use skep_model::pb::types::{BlacklistedCertificate, NodeRole};
use skep_model::{Code, NodeId};
use skep_store::Read;

use super::{Swarm, caller};
use crate::{
    Issuance, NetworkKeys, ROTATION_PERIOD, Signing, certificate_status, create_missing_networks, is_removed, issue,
    sign_failed, signed, to_sign,
};

fn request(csr: &'static [u8]) -> IssueNodeCertificateRequest {
    IssueNodeCertificateRequest { csr: Bytes::from_static(csr), ..Default::default() }
}

fn status(swarm: &Swarm, node: &NodeId) -> Option<State> {
    let request = NodeCertificateStatusRequest { node_id: node.to_string() };
    let answer = certificate_status(swarm.ledger.committed(), &request).expect("the node exists");
    answer.map(|answer| answer.status.expect("a status").state())
}

fn root(swarm: &Swarm) -> Bytes {
    swarm.ledger.committed().cluster().expect("a cluster").root_ca.ca_cert.clone()
}

#[test]
fn a_newcomer_becomes_a_node_whose_certificate_waits_to_be_signed() {
    let mut swarm = Swarm::new();
    let mut asked = request(b"csr");
    asked.token = swarm.tokens().worker;
    asked.set_availability(Availability::Drain);
    let response = swarm.change(|tx, rng| issue(tx, None, &asked, rng));
    let id = NodeId::new(&response.node_id).expect("a node id");
    let node = swarm.ledger.committed().node(&id).expect("created");
    assert_eq!((node.role, node.spec.desired_role()), (NodeRole::Worker, NodeRole::Worker));
    assert_eq!((node.spec.availability(), node.vxlan_udp_port), (Availability::Drain, 4799));
    assert_eq!(status(&swarm, &id), None);
    let waiting = to_sign(swarm.ledger.committed());
    assert_eq!(
        waiting,
        [Signing { node: id.clone(), role: NodeRole::Worker, csr: asked.csr.clone(), root: root(&swarm) }]
    );
    swarm.change(|tx, _| signed(tx, &waiting[0], Bytes::from_static(b"chain")));
    assert_eq!(status(&swarm, &id), Some(State::Issued));
    let node = swarm.ledger.committed().node(&id).expect("there");
    assert_eq!((&node.certificate.certificate[..], &node.certificate.csr[..]), (&b"chain"[..], &b"csr"[..]));
    assert!(to_sign(swarm.ledger.committed()).is_empty());
}

#[test]
fn without_the_right_token_nobody_is_registered() {
    let mut swarm = Swarm::new();
    let before = swarm.ledger.committed().nodes().len();
    let refusal = swarm.join("SWMTKN-1-wrong").expect_err("a wrong token");
    assert_eq!(refusal.code, Code::InvalidArgument);
    assert_eq!(refusal.message, "A valid join token is necessary to join this cluster");
    assert_eq!(swarm.ledger.committed().nodes().len(), before);
}

#[test]
fn a_renewal_takes_the_role_of_the_store_not_of_the_caller() {
    let mut swarm = Swarm::new();
    let node = swarm.join_manager();
    swarm.change(|tx, _| {
        let mut node = (*tx.node(&node).expect("there")).clone();
        node.role = NodeRole::Worker;
        tx.update(node)
    });
    let who = caller(&node, NodeRole::Manager);
    swarm.change(|tx, rng| issue(tx, Some(&who), &request(b"next"), rng));
    let waiting = to_sign(swarm.ledger.committed());
    let root = root(&swarm);
    assert_eq!(waiting, [Signing { node, role: NodeRole::Worker, csr: Bytes::from_static(b"next"), root }]);
}

#[test]
fn an_answer_to_an_older_request_is_dropped() {
    let mut swarm = Swarm::new();
    let node = swarm.join_manager();
    let old = to_sign(swarm.ledger.committed()).remove(0);
    let who = caller(&node, NodeRole::Manager);
    swarm.change(|tx, rng| issue(tx, Some(&who), &request(b"newer"), rng));
    swarm.change(|tx, _| signed(tx, &old, Bytes::from_static(b"old chain")));
    assert_eq!(status(&swarm, &node), None);
    let newer = to_sign(swarm.ledger.committed()).remove(0);
    swarm.change(|tx, _| sign_failed(tx, &newer, "no key"));
    assert_eq!(status(&swarm, &node), Some(State::Failed));
}

#[test]
fn a_removed_node_must_come_with_a_token_again() {
    let mut swarm = Swarm::new();
    let node = swarm.join_manager();
    swarm.change(|tx, _| {
        let mut cluster = (*tx.cluster().expect("there")).clone();
        cluster.blacklisted_certificates.insert(node.to_string(), BlacklistedCertificate::default());
        tx.update(cluster)
    });
    assert!(is_removed(swarm.ledger.committed(), &node));
    let who = caller(&node, NodeRole::Manager);
    let refusal = swarm.try_change(|tx, rng| issue(tx, Some(&who), &request(b"csr"), rng)).expect_err("removed");
    assert_eq!(refusal.code, Code::InvalidArgument);
}

#[test]
fn marks_are_taken_once_and_a_new_term_looks_at_everything() {
    let mut swarm = Swarm::new();
    swarm.join_manager();
    let mut issuance = Issuance::new();
    assert!(issuance.take(swarm.ledger.committed()).is_empty(), "nothing marked");
    issuance.lead();
    let waiting = issuance.take(swarm.ledger.committed());
    assert_eq!(waiting.len(), 1);
    assert!(issuance.take(swarm.ledger.committed()).is_empty(), "taken already");
    issuance.retry(waiting[0].node.clone());
    assert_eq!(issuance.take(swarm.ledger.committed()), waiting);
}

#[test]
fn the_first_networks_are_made_once_and_ingress_only_with_the_swarm() {
    let mut swarm = Swarm::new();
    let names = |swarm: &Swarm| -> Vec<String> {
        let mut names: Vec<_> =
            swarm.ledger.committed().networks().iter().map(|network| network.name().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&swarm), ["bridge", "host", "ingress"]);
    let ingress = swarm.ledger.committed().network_by_name("ingress").expect("there");
    swarm.change(|tx, _| tx.remove::<skep_model::Network>(&ingress.id));
    swarm.change(|tx, rng| create_missing_networks(tx, rng, false));
    assert_eq!(names(&swarm), ["bridge", "host"], "a removed ingress network stays removed");
}

#[test]
fn network_keys_exist_from_the_start_and_the_oldest_of_each_kind_gives_way() {
    let mut swarm = Swarm::new();
    let mut keys = NetworkKeys::new();
    let now = swarm.now;
    swarm.change(|tx, rng| keys.turn(now, rng, tx));
    let made = swarm.ledger.committed().cluster().expect("there").network_bootstrap_keys.clone();
    assert_eq!(made.len(), 6);
    assert!(made.iter().all(|key| key.key.len() == 16));
    swarm.change(|tx, rng| keys.turn(now, rng, tx));
    assert_eq!(swarm.ledger.committed().cluster().expect("there").network_bootstrap_keys, made, "not yet");
    swarm.pass(ROTATION_PERIOD);
    let now = swarm.now;
    swarm.change(|tx, rng| keys.turn(now, rng, tx));
    let cluster = swarm.ledger.committed().cluster().expect("there");
    let rotated = &cluster.network_bootstrap_keys;
    assert_eq!(rotated.len(), 6);
    let kept = made.iter().filter(|key| rotated.contains(key)).count();
    assert_eq!(kept, 4, "one of each kind went");
    let newest = rotated.iter().map(|key| key.lamport_time).max();
    assert_eq!(newest, Some(cluster.encryption_key_lamport_clock));
    let lowest = made.iter().map(|key| key.lamport_time).min().expect("keys");
    assert!(rotated.iter().all(|key| key.lamport_time > lowest));
}
