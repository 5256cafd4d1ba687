//! Settings that wait until something is found out about the swarm's CAs.

use skep_model::objects::version;
use skep_pki::{Finding, Inquiry, NewRoot, Next};

use super::*;

/// Another root, with its key, is asked for.
fn own_root(group: &Group) -> ControlRequest {
    let leader = group.leader().expect("a leader");
    let cluster = group.managers[&leader].facts().cluster().expect("a cluster");
    let spec = cluster.spec.edit(|spec| {
        let config = spec.ca_config.get_or_insert_default();
        config.signing_ca_cert = "own".into();
        config.signing_ca_key = "own key".into();
    });
    ControlRequest::from(m::UpdateClusterRequest {
        cluster_id: cluster.id.to_string(),
        cluster_version: Some(version(cluster.meta.version)),
        spec: Some(spec),
        rotation: None,
    })
}

/// Asks for it; the number of the request, and who is to find out what.
fn ask(group: &mut Group) -> (u64, RaftId, u64) {
    let command = own_root(group);
    group.requests += 1;
    let request = group.requests;
    group.with_leader(|manager, now, rng| manager.control(RequestId(request), command, now, rng));
    group.until(|group| !group.inquiries.is_empty());
    let (id, number, inquiry) = group.inquiries.remove(0);
    assert!(matches!(&inquiry, Inquiry::Vouch(_, Next::Given(own, _)) if own == "own"), "{inquiry:?}");
    (request, id, number)
}

fn vouched() -> Finding {
    let made = NewRoot { certificate: "own".into(), key: "own key".into(), cross_signed: "cross".into() };
    Finding::Vouched(Ok(made))
}

fn tell(group: &mut Group, id: RaftId, number: u64, finding: Finding) {
    let (now, mut rng) = (group.now(), group.rng.clone());
    group.managers.get_mut(&id).unwrap().inquired(number, finding, now, &mut rng);
}

#[test]
fn a_root_of_ones_own_is_granted_once_the_present_one_vouches_for_it() {
    let mut group = Group::found(31);
    // Certificates cannot be read here: the change that has begun does not go on.
    group.warned = Some(Vec::new());
    group.until(|group| group.leader().is_some());
    let (request, id, number) = ask(&mut group);
    assert!(!group.replies.contains_key(&request), "nothing is said before");
    assert_eq!(group.managers[&id].facts().cluster().unwrap().root_ca.root_rotation, None);
    tell(&mut group, id, number, vouched());
    group.until(|group| group.replies.contains_key(&request));
    assert!(group.replies[&request].is_ok(), "{:?}", group.replies[&request]);
    let cluster = group.managers[&id].facts().cluster().unwrap();
    let rotation = cluster.root_ca.root_rotation.clone().expect("the change has begun");
    assert_eq!((rotation.ca_cert.as_ref(), rotation.ca_key.as_ref()), (&b"own"[..], &b"own key"[..]));
    let config = cluster.spec.ca_config.clone().unwrap();
    assert!(config.signing_ca_key.is_empty() && config.signing_ca_cert.is_empty(), "the key is kept once");
}

#[test]
fn what_cannot_be_found_out_changes_nothing_and_nobody_waits_for_a_leader_that_is_none() {
    let mut group = Group::found(32);
    group.until(|group| group.leader().is_some());
    let (request, id, number) = ask(&mut group);
    tell(&mut group, id, number, Finding::Vouched(Err("a reason".to_owned())));
    group.until(|group| group.replies.contains_key(&request));
    let refusal = group.replies[&request].clone().expect_err("refused");
    assert!(refusal.message.ends_with("a reason"), "{refusal}");
    assert_eq!(group.managers[&id].facts().cluster().unwrap().root_ca.root_rotation, None);

    group.join(2);
    group.join(3);
    let (request, id, number) = ask(&mut group);
    group.cut = Some(id);
    group.until(|group| group.replies.contains_key(&request));
    assert_eq!(group.replies[&request], Err(Refusal::no_leader()));
    tell(&mut group, id, number, vouched());
    group.cut = None;
    group.until(|group| group.leader().is_some());
    let leader = group.leader().unwrap();
    assert_eq!(group.managers[&leader].facts().cluster().unwrap().root_ca.root_rotation, None);
}
