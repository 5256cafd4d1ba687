//! A change of root, from the wish to the new tokens.

use skep_model::objects::NODE_LEFT;
use skep_model::pb::types::issuance_status::State;
use skep_model::pb::types::{NodeDescription, NodeTlsInfo, RootRotation, node_status};
use skep_model::{Node, Time, Verbatim};

use super::*;
use crate::{
    HoldUp, IssuerIdentity, NewRoot, RootChange, RootRequest, Signatory, Signing, signatory, signed, to_sign, token,
};

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
fn says(swarm: &mut Swarm, id: &NodeId, issuer: impl Into<Bytes>) {
    let issuer = issuer.into();
    swarm.change(|tx, _| say(tx, id, &issuer));
}

fn say(tx: &mut Tx<'_>, id: &NodeId, issuer: &Bytes) -> Result<(), Refusal> {
    let mut node = (*tx.node(id).expect("a node")).clone();
    let tls = NodeTlsInfo {
        cert_issuer_subject: issuer.clone(),
        cert_issuer_public_key: issuer.clone(),
        ..Default::default()
    };
    node.description =
        Some(Verbatim::new(NodeDescription { hostname: "host".to_owned(), tls_info: Some(tls), ..Default::default() }));
    tx.update(node)
}

/// The node asks for a certificate and is issued one, of whoever signs now. It has not said so yet.
fn renews(swarm: &mut Swarm, id: &NodeId) {
    let asked = asks(swarm, id);
    let chain = chain(swarm);
    swarm.change(|tx, _| signed(tx, &asked, chain));
}

/// The node asks; it is being signed.
fn asks(swarm: &mut Swarm, id: &NodeId) -> Signing {
    let request = IssueNodeCertificateRequest { csr: "next csr".into(), ..Default::default() };
    let who = caller(id, NodeRole::Manager);
    swarm.change(|tx, rng| issue(tx, Some(&who), &request, rng));
    let waiting = to_sign(swarm.ledger.committed());
    waiting.into_iter().find(|signing| signing.node == *id).expect("it waits to be signed")
}

/// A leaf, and what follows every leaf now.
fn chain(swarm: &Swarm) -> Bytes {
    let cluster = swarm.ledger.committed().cluster().expect("a cluster");
    let Ok(Signatory::Own(signs)) = signatory(&cluster, Bytes::copy_from_slice) else { panic!("the swarm signs") };
    Bytes::from([b"leaf\n", &signs.intermediates[..]].concat())
}

/// A change of root that has begun, and the one node.
fn changing(swarm: &mut Swarm) -> (NodeId, RootChange) {
    let id = swarm.ledger.committed().nodes()[0].id.clone();
    let present = present(swarm);
    says(swarm, &id, present);
    let mut change = RootChange::new();
    want(swarm, 1);
    change.lead();
    let request = turn(swarm, &mut change).expect("a root is to be made");
    swarm.change(|tx, _| change.begin(tx, &request, new_root()));
    assert_eq!(turn(swarm, &mut change), None);
    assert_eq!(states(swarm), [State::Rotate]);
    (id, change)
}

fn present(swarm: &Swarm) -> Bytes {
    swarm.ledger.committed().cluster().expect("a cluster").root_ca.ca_cert.clone()
}

/// The present root was given once more.
fn call_off(swarm: &mut Swarm, change: &mut RootChange) {
    put(swarm, change, None);
}

/// As the settings' transaction writes it.
fn put(swarm: &mut Swarm, change: &mut RootChange, rotation: Option<RootRotation>) {
    observed(swarm, change, |tx| {
        let mut cluster = (*tx.cluster().expect("a cluster")).clone();
        cluster.root_ca.root_rotation = rotation;
        tx.update(cluster)
    });
}

/// A change whose events the leader sees, as it sees all.
fn observed(swarm: &mut Swarm, change: &mut RootChange, write: impl FnOnce(&mut Tx<'_>) -> Result<(), Refusal>) {
    let events = swarm.change_seen(write);
    events.iter().for_each(|event| change.observe(event));
}

/// The turn that it asks for, when it is due; nothing if it asks for none.
fn due(swarm: &mut Swarm, change: &mut RootChange) {
    if let Some(at) = change.wake_at() {
        swarm.now.monotonic = swarm.now.monotonic.max(at);
        let now = swarm.now;
        assert_eq!(swarm.change(|tx, rng| change.turn(now, read, rng, tx)), None);
    }
}

/// The node says that it trusts that root, and uses a certificate of the new one.
fn trusts(swarm: &mut Swarm, id: &NodeId, root: &[u8]) {
    let tls = NodeTlsInfo {
        trust_root: Bytes::copy_from_slice(root),
        cert_issuer_subject: NEW.into(),
        cert_issuer_public_key: NEW.into(),
    };
    swarm.change(|tx, _| {
        let mut node = (*tx.node(id).expect("a node")).clone();
        node.description = Some(Verbatim::new(NodeDescription {
            hostname: "host".to_owned(),
            tls_info: Some(tls),
            ..Default::default()
        }));
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

    says(&mut swarm, &id, "old");
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
    renews(&mut swarm, &id);
    says(&mut swarm, &id, NEW);
    assert_eq!(turn(&mut swarm, &mut change), None);
    let root = swarm.ledger.committed().cluster().expect("a cluster").root_ca.clone();
    assert_eq!((root.ca_cert.as_ref(), root.ca_key.as_ref()), (NEW, b"new key".as_slice()));
    assert_eq!(root.last_forced_rotation, 1);
    let tokens = root.join_tokens.expect("tokens");
    assert_ne!(Some(&tokens), old.join_tokens.as_ref());
    assert_eq!(token::parse(&tokens.worker).expect("a token").root, crate::RootDigest::of(NEW));
    assert_eq!(root.ca_cert_hash, crate::RootDigest::of(NEW).to_cert_hash());

    // Whoever renews before everybody has heard of it gets what those accept who have not.
    trusts(&mut swarm, &id, &old.ca_cert);
    assert_eq!(turn(&mut swarm, &mut change), None);
    let cluster = swarm.ledger.committed().cluster().expect("a cluster");
    let Ok(Signatory::Own(signs)) = signatory(&cluster, Bytes::copy_from_slice) else { panic!("the swarm signs") };
    assert_eq!((signs.certificate.as_ref(), signs.key.as_ref()), (NEW, b"new key".as_slice()));
    assert_eq!(signs.intermediates, "cross");
    assert!(change.wake_at().is_some(), "it is looked at again");
    trusts(&mut swarm, &id, NEW);
    assert_eq!(turn(&mut swarm, &mut change), None);
    let cluster = swarm.ledger.committed().cluster().expect("a cluster");
    let Ok(Signatory::Own(signs)) = signatory(&cluster, Bytes::copy_from_slice) else { panic!("the swarm signs") };
    assert_eq!((signs.certificate.as_ref(), signs.intermediates.as_ref()), (NEW, b"".as_slice()));
    assert_eq!(cluster.root_ca.root_rotation, None);
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
    let mut change = RootChange::new();
    trusts(&mut swarm, &id, b"the root before");
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
    assert_eq!(crate::root_held_up(swarm.ledger.committed(), read), Some(held_up));
    swarm.now.monotonic = swarm.now.monotonic.after(std::time::Duration::from_secs(1));
    assert_eq!(turn(&mut swarm, &mut change), None);
    assert_eq!(change.take_news(), None, "told once");
    assert!(change.wake_at().is_some(), "it is looked at again");
    trusts(&mut swarm, &id, &present);
    assert_eq!(crate::root_held_up(swarm.ledger.committed(), read), None);
    let request = turn(&mut swarm, &mut change).expect("a root is to be made");
    trusts(&mut swarm, &id, b"the root before");
    swarm.change(|tx, _| change.begin(tx, &request, new_root()));
    assert_eq!(swarm.ledger.committed().cluster().expect("a cluster").root_ca.root_rotation, None);
    trusts(&mut swarm, &id, &present);
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

#[test]
fn who_says_after_a_change_was_called_off_that_it_has_a_certificate_of_that_root_is_asked_for_another() {
    let mut swarm = Swarm::new();
    let (id, mut change) = changing(&mut swarm);
    renews(&mut swarm, &id);
    call_off(&mut swarm, &mut change);
    due(&mut swarm, &mut change);
    assert_eq!(states(&swarm), [State::Issued], "as far as it has said, it has a certificate of the present root");
    observed(&mut swarm, &mut change, |tx| say(tx, &id, &Bytes::from_static(NEW)));
    due(&mut swarm, &mut change);
    assert_eq!(states(&swarm), [State::Rotate]);
    assert_eq!(change.wake_at(), None, "it is asked once");
    renews(&mut swarm, &id);
    let present = present(&swarm);
    observed(&mut swarm, &mut change, |tx| say(tx, &id, &present));
    due(&mut swarm, &mut change);
    assert_eq!((states(&swarm), change.wake_at()), (vec![State::Issued], None));
}

#[test]
fn who_renews_while_a_change_is_called_off_is_asked_once_it_is_issued_something() {
    let mut swarm = Swarm::new();
    let (id, mut change) = changing(&mut swarm);
    renews(&mut swarm, &id);
    says(&mut swarm, &id, NEW);
    let asked = asks(&mut swarm, &id);
    call_off(&mut swarm, &mut change);
    due(&mut swarm, &mut change);
    assert_eq!(states(&swarm), [State::Renew], "it is about to have one of the present root");
    // It dies before it has fetched that one.
    let asked = Signing { root: present(&swarm), ..asked };
    observed(&mut swarm, &mut change, |tx| signed(tx, &asked, "leaf".into()));
    due(&mut swarm, &mut change);
    assert_eq!(states(&swarm), [State::Rotate]);
}

#[test]
fn what_was_signed_by_a_root_that_was_called_off_meanwhile_is_not_given_out() {
    let mut swarm = Swarm::new();
    let (id, mut change) = changing(&mut swarm);
    let asked = asks(&mut swarm, &id);
    let late = chain(&swarm);
    call_off(&mut swarm, &mut change);
    swarm.change(|tx, _| signed(tx, &asked, late));
    assert_eq!(states(&swarm), [State::Renew]);
    let again = to_sign(swarm.ledger.committed());
    assert_eq!(again.iter().map(|signing| &signing.root).collect::<Vec<_>>(), [&present(&swarm)]);
    swarm.change(|tx, _| signed(tx, &again[0], "leaf".into()));
    assert_eq!(states(&swarm), [State::Issued]);
}

#[test]
fn what_a_node_said_before_a_change_was_called_off_does_not_count_in_the_next_to_the_same_root() {
    let mut swarm = Swarm::new();
    let (id, mut change) = changing(&mut swarm);
    renews(&mut swarm, &id);
    says(&mut swarm, &id, NEW);
    call_off(&mut swarm, &mut change);
    due(&mut swarm, &mut change);
    // It takes one of the present root, and cannot say so before that other root is given again.
    renews(&mut swarm, &id);
    let again = RootRotation { ca_cert: NEW.into(), ca_key: "new key".into(), cross_signed_ca_cert: "cross 2".into() };
    put(&mut swarm, &mut change, Some(again));
    due(&mut swarm, &mut change);
    let root = swarm.ledger.committed().cluster().expect("a cluster").root_ca.clone();
    assert!(root.root_rotation.is_some(), "its certificate would be of no root that anybody trusts");
    assert_eq!(states(&swarm), [State::Rotate]);
    renews(&mut swarm, &id);
    due(&mut swarm, &mut change);
    assert_eq!(present(&swarm), NEW);
}

#[test]
fn who_was_issued_a_certificate_of_the_next_root_and_says_nothing_is_asked_again_after_a_while() {
    let mut swarm = Swarm::new();
    let (id, mut change) = changing(&mut swarm);
    renews(&mut swarm, &id);
    due(&mut swarm, &mut change);
    assert_eq!(states(&swarm), [State::Issued], "it is about to say so");
    swarm.now.monotonic = swarm.now.monotonic.after(std::time::Duration::from_secs(3));
    due(&mut swarm, &mut change);
    assert_eq!(states(&swarm), [State::Rotate]);
}

#[test]
fn a_change_names_those_that_are_down() {
    let mut swarm = Swarm::new();
    let (id, mut change) = changing(&mut swarm);
    assert_eq!(change.take_news(), None, "it is there, and will come");
    let goes = |state| {
        let id = id.clone();
        move |tx: &mut Tx<'_>| {
            let mut node = (*tx.node(&id).expect("a node")).clone();
            node.status.set_state(state);
            tx.update(node)
        }
    };
    observed(&mut swarm, &mut change, goes(node_status::State::Down));
    due(&mut swarm, &mut change);
    let held_up = change.take_news().expect("news");
    assert_eq!((&held_up.by[..], held_up.why), (&[("host".to_owned(), id.clone())][..], HoldUp::IsDown));
    assert_eq!(
        held_up.to_string(),
        format!(
            "the change of the swarm's root waits for node host ({id}), which is down and has no certificate of the new \
             root: start it, or remove it for good (docker node rm)"
        )
    );
    assert_eq!(crate::root_held_up(swarm.ledger.committed(), read), Some(held_up));
    due(&mut swarm, &mut change);
    assert_eq!(change.take_news(), None, "told once");
    observed(&mut swarm, &mut change, goes(node_status::State::Ready));
    due(&mut swarm, &mut change);
    assert_eq!((change.take_news(), crate::root_held_up(swarm.ledger.committed(), read)), (None, None));

    // It has one now, and is down when it would hear that the root is another.
    let old = present(&swarm);
    renews(&mut swarm, &id);
    trusts(&mut swarm, &id, &old);
    assert_eq!(turn(&mut swarm, &mut change), None);
    assert_eq!(present(&swarm), NEW);
    observed(&mut swarm, &mut change, goes(node_status::State::Down));
    due(&mut swarm, &mut change);
    let held_up = change.take_news().expect("news");
    assert_eq!(held_up.why, HoldUp::IsNotTold);
    assert!(held_up.to_string().contains("is down and has not heard of the new root: start it"), "{held_up}");
    assert_eq!(crate::root_held_up(swarm.ledger.committed(), read), Some(held_up));
    trusts(&mut swarm, &id, NEW);
    assert_eq!(turn(&mut swarm, &mut change), None);
    assert_eq!(crate::root_held_up(swarm.ledger.committed(), read), None);
}
