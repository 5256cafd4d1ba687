//! A change of root, from the wish to the new tokens.

use skep_model::objects::NODE_LEFT;
use skep_model::pb::types::issuance_status::State;
use skep_model::pb::types::{NodeDescription, NodeTlsInfo, node_status};
use skep_model::{Node, Time, Verbatim};

use super::*;
use crate::{IssuerIdentity, NewRoot, RootChange, RootRequest, Signatory, signatory, token};

const NEW: &[u8] = b"-----BEGIN CERTIFICATE-----\nnew\n-----END CERTIFICATE-----\n";

/// What is read of a certificate here: itself.
fn read(pem: &[u8]) -> Option<IssuerIdentity> {
    let bytes = Bytes::copy_from_slice(pem);
    Some(IssuerIdentity { subject: bytes.clone(), public_key: bytes })
}

fn want(swarm: &mut Swarm, count: u64) {
    swarm.change(|tx, _| {
        let mut cluster = (*tx.cluster().expect("a cluster")).clone();
        cluster.spec = cluster.spec.edit(|spec| spec.ca_config.get_or_insert_default().force_rotate = count);
        tx.update(cluster)
    });
}

fn turn(swarm: &mut Swarm, change: &mut RootChange) -> Option<RootRequest> {
    swarm.now.monotonic = Time(swarm.now.monotonic.0 + 1_000_000_000);
    let now = swarm.now;
    swarm.change(|tx, rng| change.turn(now, read, rng, tx))
}

fn new_root() -> NewRoot {
    NewRoot { certificate: NEW.into(), key: "new key".into(), cross_signed: "cross".into() }
}

/// The node says that it uses a certificate of that issuer.
fn says(swarm: &mut Swarm, id: &NodeId, issuer: &'static [u8]) {
    swarm.change(|tx, _| {
        let mut node = (*tx.node(id).expect("a node")).clone();
        let tls = NodeTlsInfo {
            cert_issuer_subject: issuer.into(),
            cert_issuer_public_key: issuer.into(),
            ..Default::default()
        };
        node.description = Some(Verbatim::new(NodeDescription { tls_info: Some(tls), ..Default::default() }));
        tx.update(node)
    });
}

fn states(swarm: &Swarm) -> Vec<State> {
    let state = |node: &Node| node.certificate.status.as_ref().map_or(State::Unknown, |status| status.state());
    swarm.ledger.committed().nodes().iter().map(|node| state(node)).collect()
}

#[test]
fn a_new_root_is_used_by_every_node_before_it_is_the_root() {
    let mut swarm = Swarm::new();
    let id = swarm.ledger.committed().nodes()[0].id.clone();
    let old = swarm.ledger.committed().cluster().expect("a cluster").root_ca.clone();
    let mut change = RootChange::new();
    change.lead();
    assert_eq!(turn(&mut swarm, &mut change), None, "nobody asked for a new root");
    assert_eq!(change.wake_at(), None);

    want(&mut swarm, 1);
    change.lead();
    let request = turn(&mut swarm, &mut change).expect("a root is to be made");
    assert_eq!((&request.certificate, &request.key, request.forced), (&old.ca_cert, &old.ca_key, 1));
    assert_eq!(turn(&mut swarm, &mut change), None, "it is being made");

    swarm.change(|tx, _| change.begin(tx, &request, new_root()));
    let cluster = swarm.ledger.committed().cluster().expect("a cluster");
    assert_eq!(cluster.root_ca.ca_cert, old.ca_cert, "the old root is trusted until nobody needs it");
    let Ok(Signatory::Own(signs)) = signatory(&cluster, Bytes::copy_from_slice) else { panic!("the swarm signs") };
    assert_eq!((signs.certificate.as_ref(), signs.intermediates.as_ref()), (NEW, b"cross".as_slice()));

    says(&mut swarm, &id, b"old");
    assert_eq!(turn(&mut swarm, &mut change), None);
    assert_eq!(states(&swarm), [State::Rotate], "the node is asked for another certificate");
    assert_eq!(turn(&mut swarm, &mut change), None);
    assert!(swarm.ledger.committed().cluster().expect("a cluster").root_ca.root_rotation.is_some());

    // One that left would be waited for in vain.
    swarm.change(|tx, rng| {
        let first = (*tx.node(&id).expect("a node")).clone();
        let mut gone = Node { id: NodeId::random(rng), ..first };
        gone.status.set_state(node_status::State::Down);
        gone.status.message = NODE_LEFT.to_owned();
        tx.create(gone)
    });
    says(&mut swarm, &id, NEW);
    assert_eq!(turn(&mut swarm, &mut change), None);
    let root = swarm.ledger.committed().cluster().expect("a cluster").root_ca.clone();
    assert_eq!((root.ca_cert.as_ref(), root.ca_key.as_ref()), (NEW, b"new key".as_slice()));
    assert_eq!((root.root_rotation, root.last_forced_rotation), (None, 1));
    let tokens = root.join_tokens.expect("tokens");
    assert_ne!(Some(&tokens), old.join_tokens.as_ref());
    assert_eq!(token::parse(&tokens.worker).expect("a token").root, crate::RootDigest::of(NEW));
    assert_eq!(root.ca_cert_hash, crate::RootDigest::of(NEW).to_cert_hash());
}

#[test]
fn a_root_that_nobody_wants_any_more_is_not_begun() {
    let mut swarm = Swarm::new();
    let mut change = RootChange::new();
    want(&mut swarm, 1);
    change.lead();
    let request = turn(&mut swarm, &mut change).expect("a root is to be made");
    want(&mut swarm, 2);
    swarm.change(|tx, _| change.begin(tx, &request, new_root()));
    assert_eq!(swarm.ledger.committed().cluster().expect("a cluster").root_ca.root_rotation, None);
    let next = turn(&mut swarm, &mut change).expect("another root is to be made");
    assert_eq!(next.forced, 2);
    change.failed(swarm.now);
    assert!(change.wake_at().is_some_and(|at| at > swarm.now.monotonic), "it is tried again, not at once");
}

/// Seed 400306 of the simulator: the next change began while a node was off that had not heard of the end of the last one.
#[test]
fn a_change_waits_until_the_present_root_is_trusted() {
    let mut swarm = Swarm::new();
    let id = swarm.ledger.committed().nodes()[0].id.clone();
    let present = swarm.ledger.committed().cluster().expect("a cluster").root_ca.ca_cert.clone();
    let trusts = |swarm: &mut Swarm, root: &[u8]| {
        let tls = NodeTlsInfo { trust_root: Bytes::copy_from_slice(root), ..Default::default() };
        swarm.change(|tx, _| {
            let mut node = (*tx.node(&id).expect("a node")).clone();
            node.description = Some(Verbatim::new(NodeDescription {
                hostname: "host".to_owned(),
                tls_info: Some(tls),
                ..Default::default()
            }));
            tx.update(node)
        });
    };
    let mut change = RootChange::new();
    trusts(&mut swarm, b"the root before");
    want(&mut swarm, 1);
    change.lead();
    assert_eq!(turn(&mut swarm, &mut change), None, "the node would trust nobody any more");
    let held_up = change.take_news().expect("news");
    assert_eq!(held_up.by, [("host".to_owned(), id.clone())]);
    assert_eq!(
        held_up.to_string(),
        format!(
            "the change of the swarm's root waits for node host ({id}), which did not hear of the end of the last one: \
             start it, or remove it for good (docker node rm)"
        )
    );
    assert_eq!(crate::root_held_up(swarm.ledger.committed()), Some(held_up));
    swarm.now.monotonic = swarm.now.monotonic.after(std::time::Duration::from_secs(1));
    assert_eq!(turn(&mut swarm, &mut change), None);
    assert_eq!(change.take_news(), None, "told once");
    assert!(change.wake_at().is_some(), "it is looked at again");
    trusts(&mut swarm, &present);
    assert_eq!(crate::root_held_up(swarm.ledger.committed()), None);
    let request = turn(&mut swarm, &mut change).expect("a root is to be made");
    trusts(&mut swarm, b"the root before");
    swarm.change(|tx, _| change.begin(tx, &request, new_root()));
    assert_eq!(swarm.ledger.committed().cluster().expect("a cluster").root_ca.root_rotation, None);
    trusts(&mut swarm, &present);
    let request = turn(&mut swarm, &mut change).expect("a root is to be made");
    swarm.change(|tx, _| change.begin(tx, &request, new_root()));
    assert!(swarm.ledger.committed().cluster().expect("a cluster").root_ca.root_rotation.is_some());
}

#[test]
fn nodes_are_asked_a_batch_at_a_time() {
    let mut swarm = Swarm::new();
    let mut change = RootChange::new();
    want(&mut swarm, 1);
    change.lead();
    let request = turn(&mut swarm, &mut change).expect("a root is to be made");
    swarm.change(|tx, _| change.begin(tx, &request, new_root()));
    swarm.change(|tx, rng| {
        let first = (*tx.nodes()[0]).clone();
        (0..100).try_for_each(|_| tx.create(Node { id: NodeId::random(rng), ..first.clone() }))
    });
    assert_eq!(turn(&mut swarm, &mut change), None);
    assert_eq!(
        states(&swarm).iter().filter(|state| **state == State::Rotate).count(),
        crate::root_change::RENEWALS_MAX
    );
    assert_eq!(turn(&mut swarm, &mut change), None);
    assert!(states(&swarm).iter().all(|state| *state == State::Rotate));
}
