//! What an operator may ask for of the swarm's root, and who signs then.

use skep_model::pb::types::{CaConfig, ExternalCa, RootCa, RootRotation};
use skep_model::{Cluster, Code, WallTime};

use super::*;
use crate::{
    ExternalIssuer, Finding, Findings, Inquiry, Issuance, IssuerIdentity, NewRoot, Next, Obstacle, Present, RootFacts,
    RootReader, SignFailure, Signatory, root_under, sign_delayed, signatory, to_sign,
};

const YEAR_NANOS: i64 = 365 * 24 * 3600 * 1_000_000_000;

/// A certificate is a text here; its key is the text after the colon, and `short` ones expire too soon.
const READER: RootReader = RootReader {
    normalized: Bytes::copy_from_slice,
    after_first: |text| Bytes::copy_from_slice(text.strip_prefix(b"cross").unwrap_or_default()),
    root: |certificate, key, _| {
        let text = String::from_utf8_lossy(certificate).into_owned();
        let own = text.split(':').next_back().unwrap_or_default().to_owned();
        if !key.is_empty() && own.as_bytes() != key {
            return Err("certificate key mismatch".to_owned());
        }
        let years = if text.starts_with("short") { 0 } else { 2 };
        Ok(RootFacts { certificates: text.matches(':').count(), expires: WallTime(years * YEAR_NANOS) })
    },
    issuer: |certificate| {
        let text = String::from_utf8_lossy(certificate).into_owned();
        let (subject, key) = text.split_once(':')?;
        Some(IssuerIdentity { subject: subject.to_owned().into(), public_key: key.to_owned().into() })
    },
};

/// A cluster whose root is `old:old-key`, with its key or without.
fn cluster(has_key: bool) -> Cluster {
    let swarm = Swarm::new();
    let mut cluster = (*swarm.ledger.committed().cluster().expect("a cluster")).clone();
    let key = if has_key { "old-key" } else { "" };
    cluster.root_ca = RootCa { ca_cert: "old:old-key".into(), ca_key: key.into(), ..Default::default() };
    cluster
}

fn asked(certificate: &'static str, key: &'static str) -> CaConfig {
    CaConfig { signing_ca_cert: certificate.into(), signing_ca_key: key.into(), ..Default::default() }
}

fn external(url: &str, root: &'static str) -> ExternalCa {
    ExternalCa { url: url.to_owned(), ca_cert: root.into(), ..Default::default() }
}

fn under(cluster: &Cluster, config: &CaConfig, findings: &Findings) -> Result<RootCa, Obstacle> {
    root_under(cluster, config, READER, WallTime(0), findings)
}

#[track_caller]
fn refusal(cluster: &Cluster, config: &CaConfig) -> String {
    match under(cluster, config, &Vec::new()) {
        Err(Obstacle::Refused(refusal)) => {
            assert_eq!(refusal.code, Code::InvalidArgument);
            refusal.message
        }
        other => panic!("refused is expected: {other:?}"),
    }
}

#[track_caller]
fn inquiry(cluster: &Cluster, config: &CaConfig, findings: &Findings) -> Inquiry {
    match under(cluster, config, findings) {
        Err(Obstacle::Unknown(inquiry)) => *inquiry,
        other => panic!("a question is expected: {other:?}"),
    }
}

fn vouched(certificate: &'static str, key: &'static str) -> Finding {
    let made = NewRoot { certificate: certificate.into(), key: key.into(), cross_signed: "cross".into() };
    Finding::Vouched(Ok(made))
}

fn issuer(url: &str, root: &'static str) -> ExternalIssuer {
    ExternalIssuer { urls: vec![url.to_owned()], trusted: root.into(), root: root.into() }
}

#[test]
fn what_cannot_be_a_root_is_refused_in_dockers_words() {
    let own = cluster(true);
    for (config, text) in [
        (asked("", "key"), "if a signing CA key is provided, the signing CA cert must also be provided"),
        (asked("new:new-key", "other"), "certificate key mismatch"),
        (asked("short:key", "key"), "CA certificate expires too soon"),
        (asked("one:two:key", "key"), "the desired CA certificate cannot contain multiple certificates"),
        (asked("new:old-key", "old-key"), "Cannot update to a cert with an identical key"),
        (
            asked("new:new-key", ""),
            "there must be at least one valid, reachable external CA corresponding to the desired CA certificate",
        ),
    ] {
        assert_eq!(refusal(&own, &config), text);
    }
    let elsewhere = CaConfig { external_cas: vec![external("https://a", "new:new-key")], ..Default::default() };
    let current = "there must be at least one valid, reachable external CA corresponding to the current CA certificate";
    assert_eq!(refusal(&cluster(false), &elsewhere), current, "the one that is named is of another root");
}

#[test]
fn a_root_of_ones_own_begins_with_the_word_of_the_present_one() {
    let own = cluster(true);
    let config = CaConfig { force_rotate: 3, ..asked("new:new-key", "new-key") };
    let question = inquiry(&own, &config, &Vec::new());
    let present = Present::Own("old:old-key".into(), "old-key".into());
    assert_eq!(question, Inquiry::Vouch(present, Next::Given("new:new-key".into(), "new-key".into())));
    assert!(!format!("{question:?}").contains("key"), "{question:?}");
    let root = under(&own, &config, &vec![(question.clone(), vouched("new:new-key", "new-key"))]).expect("granted");
    let rotation = root.root_rotation.clone().expect("a change");
    assert_eq!((root.ca_cert.as_ref(), root.last_forced_rotation), (b"old:old-key".as_slice(), 3));
    assert_eq!(
        (rotation.ca_key.as_ref(), rotation.cross_signed_ca_cert.as_ref()),
        (b"new-key".as_slice(), &b"cross"[..])
    );
    // The same again, while it is under way: nothing new. The present one: it is called off.
    let changing = Cluster { root_ca: root.clone(), ..own.clone() };
    assert_eq!(under(&changing, &config, &Vec::new()), Ok(root));
    let back = under(&changing, &asked("old:old-key", "old-key"), &Vec::new()).expect("granted");
    assert_eq!((back.root_rotation, back.ca_key), (None, "old-key".into()));
    // While nodes are told of the end of a change, the earlier root goes on vouching: for the same root, for the next.
    let told = RootRotation {
        ca_cert: own.root_ca.ca_cert.clone(),
        ca_key: "old-key".into(),
        cross_signed_ca_cert: "earlier".into(),
    };
    let telling =
        Cluster { root_ca: RootCa { root_rotation: Some(told.clone()), ..own.root_ca.clone() }, ..own.clone() };
    let same = under(&telling, &asked("old:old-key", "old-key"), &Vec::new()).expect("granted");
    assert_eq!(same.root_rotation, Some(told));
    let next = under(&telling, &config, &vec![(question.clone(), vouched("new:new-key", "new-key"))]).expect("granted");
    assert_eq!(next.root_rotation.as_ref().expect("a change").cross_signed_ca_cert, "crossearlier");
    // The same for a change that is called off, and for another one in its place.
    let changing = Cluster { root_ca: next, ..own.clone() };
    let back = under(&changing, &asked("old:old-key", "old-key"), &Vec::new()).expect("granted");
    assert_eq!(back.root_rotation, telling.root_ca.root_rotation);
    let third = CaConfig { force_rotate: 4, ..asked("third:third-key", "third-key") };
    let word = (inquiry(&changing, &third, &Vec::new()), vouched("third:third-key", "third-key"));
    let third = under(&changing, &third, &vec![word]).expect("granted");
    assert_eq!(third.root_rotation.expect("a change").cross_signed_ca_cert, "crossearlier");
    // Nobody could sign: it is said why, and nothing changes.
    let failed = vec![(question, Finding::Vouched(Err("a reason".to_owned())))];
    let Err(Obstacle::Refused(refusal)) = under(&own, &config, &failed) else { panic!("it is refused") };
    assert_eq!(refusal.code, Code::Internal);
    assert_eq!(refusal.message, "unable to generate a cross-signed certificate for root rotation: a reason");
}

#[test]
fn an_external_ca_is_asked_before_it_is_relied_on() {
    let own = cluster(true);
    let named = vec![external("https://a", "new:new-key"), external("https://b", "")];
    let config = CaConfig { external_cas: named, ..asked("new:new-key", "") };
    let reach = inquiry(&own, &config, &Vec::new());
    assert_eq!(reach, Inquiry::Reach(issuer("https://a", "new:new-key")));
    let silent = vec![(reach.clone(), Finding::Reached(Err("https://a: no answer".to_owned())))];
    let Err(Obstacle::Refused(refusal)) = under(&own, &config, &silent) else { panic!("it is refused") };
    assert!(refusal.message.ends_with("corresponding to the desired CA certificate: https://a: no answer"));
    let reached = vec![(reach, Finding::Reached(Ok(())))];
    let vouch = inquiry(&own, &config, &reached);
    let findings = [reached, vec![(vouch, vouched("new:new-key", ""))]].concat();
    let root = under(&own, &config, &findings).expect("granted");
    assert_eq!(root.root_rotation.expect("a change").ca_key, "");
}

#[test]
fn without_a_key_another_root_needs_the_external_cas_word() {
    let foreign = cluster(false);
    let named = vec![external("https://b", "")];
    let config = CaConfig { external_cas: named.clone(), force_rotate: 1, ..Default::default() };
    let reach = inquiry(&foreign, &config, &Vec::new());
    assert_eq!(reach, Inquiry::Reach(issuer("https://b", "old:old-key")));
    let reached = vec![(reach, Finding::Reached(Ok(())))];
    let vouch = Inquiry::Vouch(Present::External(issuer("https://b", "old:old-key")), Next::Made);
    assert_eq!(inquiry(&foreign, &config, &reached), vouch);
    // Its key given later: no change of root, and nobody to be asked.
    let given = under(&foreign, &asked("old:old-key", "old-key"), &Vec::new()).expect("granted");
    assert_eq!((given.ca_key.as_ref(), given.root_rotation), (b"old-key".as_slice(), None));
    // From one external CA to another nobody can vouch.
    let other = [named, vec![external("https://c", "new:new-key")]].concat();
    let config = CaConfig { external_cas: other, ..asked("new:new-key", "") };
    let both = ["https://b", "https://c"].into_iter().zip(["old:old-key", "new:new-key"]);
    let findings = both.map(|(url, root)| (Inquiry::Reach(issuer(url, root)), Finding::Reached(Ok(())))).collect();
    let Err(Obstacle::Refused(refusal)) = under(&foreign, &config, &findings) else { panic!("it is refused") };
    assert_eq!(refusal.message, "rotating from one external CA to a different external CA is not supported");
}

#[test]
fn external_cas_of_the_root_that_signs_go_before_the_swarms_own_key() {
    let named = |cluster: &Cluster, external_cas| {
        let mut cluster = cluster.clone();
        cluster.spec = cluster.spec.edit(|spec| spec.ca_config.get_or_insert_default().external_cas = external_cas);
        signatory(&cluster, READER.normalized)
    };
    let own = cluster(true);
    assert!(matches!(named(&own, vec![]), Ok(Signatory::Own(_))));
    assert!(matches!(named(&own, vec![external("https://a", "new:new-key")]), Ok(Signatory::Own(_))));
    let Ok(Signatory::External(asked, after)) = named(&own, vec![external("https://b", "")]) else {
        panic!("external")
    };
    assert_eq!((asked, after), (issuer("https://b", "old:old-key"), Bytes::new()));
    let mut changing = cluster(true);
    changing.root_ca.root_rotation = Some(RootRotation {
        ca_cert: "new:new-key".into(),
        cross_signed_ca_cert: "cross".into(),
        ..Default::default()
    });
    let both = vec![external("https://b", ""), external("https://a", "new:new-key")];
    let Ok(Signatory::External(asked, after)) = named(&changing, both) else { panic!("external") };
    assert_eq!((asked.urls, after), (vec!["https://a".to_owned()], Bytes::from("cross")));
    assert_eq!(asked.trusted, "old:old-keynew:new-key", "whoever answers may have either root's certificate");
    let Err(SignFailure { reason, is_passing: true }) = named(&changing, vec![]) else { panic!("nobody") };
    assert!(reason.contains("no external CA is named for that root"), "{reason}");
}

#[test]
fn what_an_external_ca_does_not_sign_waits_says_why_and_is_tried_again() {
    let mut swarm = Swarm::new();
    let token = swarm.tokens().worker;
    let nodes: Vec<NodeId> = (0..3).map(|_| swarm.join(&token).expect("the token is right")).collect();
    let mut issuance = Issuance::new();
    issuance.lead();
    let waiting = issuance.take(swarm.ledger.committed());
    assert_eq!(waiting.len(), 3);
    for signing in &waiting {
        issuance.rest(signing.node.clone(), swarm.now);
        swarm.change(|tx, _| sign_delayed(tx, signing, "no answer"));
    }
    let status = crate::certificate_status(
        swarm.ledger.committed(),
        &skep_model::pb::messages::NodeCertificateStatusRequest { node_id: nodes[0].to_string() },
    );
    let said = status.expect("known").expect("answered, with a reason").status.expect("a status");
    assert_eq!(said.err, "no answer");
    assert_eq!(to_sign(swarm.ledger.committed()).len(), 3, "they wait as before");
    assert_eq!(issuance.take(swarm.ledger.committed()), []);
    // After a pause one is tried, each time another; when that goes well, all are.
    let mut tried = Vec::new();
    for _ in 0..2 {
        swarm.now.monotonic = issuance.wake_at().expect("a time");
        issuance.wake(swarm.now);
        let [again] = &issuance.take(swarm.ledger.committed())[..] else { panic!("one is tried") };
        tried.push(again.node.clone());
        issuance.rest(again.node.clone(), swarm.now);
    }
    assert_ne!(tried[0], tried[1]);
    // One that is tried and says nothing, for it is gone, does not keep the others waiting.
    swarm.now.monotonic = issuance.wake_at().expect("a time");
    issuance.wake(swarm.now);
    assert_eq!(issuance.take(swarm.ledger.committed()).len(), 1);
    swarm.now.monotonic = issuance.wake_at().expect("the next one's time");
    issuance.wake(swarm.now);
    issuance.rouse();
    assert_eq!(issuance.take(swarm.ledger.committed()).len(), 2, "all others");
    assert_eq!(issuance.wake_at(), None);
}
