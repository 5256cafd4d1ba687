//! Who is who, without a connection.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;

fn node(name: &str) -> NodeId {
    NodeId::new(name).expect("an id")
}

fn cluster() -> ClusterId {
    ClusterId::new("swarm").expect("an id")
}

fn origin(role: Option<NodeRole>) -> Origin {
    let peer = role.map(|role| Membership { node: node("peer"), role, cluster: cluster() });
    Origin { address: "192.0.2.9:40000".parse().expect("an address"), connection: 7, peer }
}

fn forwarding(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::from_iter([(HeaderName::from_static(FORWARDED), HeaderValue::from_static("true"))]);
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

fn full() -> HeaderMap {
    forwarding(&[
        (FORWARDED_CN, "worker"),
        (FORWARDED_O, "swarm"),
        (FORWARDED_OU, "swarm-worker"),
        (REMOTE_ADDRESS, "[2001:db8::1]:5000"),
        (CONNECTION, "42"),
    ])
}

fn unknown(_: &NodeId) -> Standing {
    Standing::Unknown
}

fn reason(result: Result<Identified, Refusal>) -> String {
    let refusal = result.expect_err("refused");
    assert_eq!(refusal.code, Code::PermissionDenied);
    refusal.message
}

#[test]
fn a_direct_caller_is_its_certificate() {
    let call = identify(&origin(Some(NodeRole::Worker)), &HeaderMap::new(), &cluster(), unknown).expect("known").call();
    let call = call.expect("authenticated");
    assert_eq!((call.caller.node, call.caller.forwarded_by), (node("peer"), None));
    assert_eq!(call.caller.address, "192.0.2.9");
    assert_eq!(call.connection, ConnectionId { manager: None, number: 7 });
}

#[test]
fn a_manager_speaks_for_others() {
    let identified = identify(&origin(Some(NodeRole::Manager)), &full(), &cluster(), unknown).expect("believed");
    let call = identified.call().expect("authenticated");
    assert_eq!((call.caller.node, call.caller.role), (node("worker"), NodeRole::Worker));
    assert_eq!(call.caller.forwarded_by, Some(node("peer")));
    assert_eq!(call.caller.address, "2001:db8::1");
    assert_eq!(call.connection, ConnectionId { manager: Some(node("peer")), number: 42 });
}

#[test]
fn blank_words_mean_a_newcomer() {
    let headers = forwarding(&[(FORWARDED_CN, ""), (FORWARDED_O, ""), (REMOTE_ADDRESS, "192.0.2.77:1")]);
    let identified = identify(&origin(Some(NodeRole::Manager)), &headers, &cluster(), unknown).expect("believed");
    let visitor = identified.visitor(skep_model::Make::Docker);
    assert_eq!((visitor.caller, visitor.address.as_str()), (None, "192.0.2.77"));
}

#[test]
fn nobody_else_speaks_for_others() {
    for who in [None, Some(NodeRole::Worker)] {
        let message = reason(identify(&origin(who), &full(), &cluster(), unknown));
        assert!(message.contains("unauthorized forwarder role"), "{message}");
    }
    let demoted = |_: &NodeId| Standing::Member(NodeRole::Worker);
    let message = reason(identify(&origin(Some(NodeRole::Manager)), &full(), &cluster(), demoted));
    assert!(message.contains("unauthorized forwarder role"), "{message}");
}

#[test]
fn half_an_identity_is_none() {
    let missing: [&[(&'static str, &'static str)]; 3] = [
        &[(FORWARDED_CN, "worker"), (FORWARDED_O, "swarm")],
        &[(FORWARDED_O, "swarm"), (FORWARDED_OU, "swarm-worker")],
        &[(FORWARDED_CN, "worker"), (FORWARDED_OU, "swarm-worker")],
    ];
    for fields in missing {
        let message = reason(identify(&origin(Some(NodeRole::Manager)), &forwarding(fields), &cluster(), unknown));
        assert!(message.contains("missing information in forwarded request"), "{message}");
    }
    let other = forwarding(&[(FORWARDED_CN, "worker"), (FORWARDED_O, "another"), (FORWARDED_OU, "swarm-worker")]);
    let message = reason(identify(&origin(Some(NodeRole::Manager)), &other, &cluster(), unknown));
    assert!(message.contains("organization mismatch, expecting: swarm"), "{message}");
}

#[test]
fn removed_nodes_are_refused_directly_and_through_others() {
    let peer_removed = |id: &NodeId| if *id == node("peer") { Standing::Removed } else { Standing::Unknown };
    let worker_removed = |id: &NodeId| if *id == node("worker") { Standing::Removed } else { Standing::Unknown };
    let direct = identify(&origin(Some(NodeRole::Worker)), &HeaderMap::new(), &cluster(), peer_removed);
    assert!(reason(direct).contains("node peer was removed from swarm"));
    let through = identify(&origin(Some(NodeRole::Manager)), &full(), &cluster(), worker_removed);
    assert!(reason(through).contains("node worker was removed from swarm"));
}

#[test]
fn a_demoted_managers_certificate_opens_managers_methods_on_raft_alone() {
    let demoted = |_: &NodeId| Standing::Member(NodeRole::Worker);
    let caller = identify(&origin(Some(NodeRole::Manager)), &HeaderMap::new(), &cluster(), demoted).expect("known");
    assert!(authorise(&caller, Callers::Managers, Place::Here, true, demoted).is_err());
    assert!(authorise(&caller, Callers::Managers, Place::Leader, true, demoted).is_err());
    assert!(authorise(&caller, Callers::Managers, Place::Leader, false, demoted).is_ok(), "the leader will look");
    assert!(authorise(&caller, Callers::Managers, Place::Raft, true, demoted).is_ok());
    assert!(authorise(&caller, Callers::Nodes, Place::Leader, true, demoted).is_ok());
}

#[test]
fn strangers_reach_open_methods_alone() {
    let stranger = identify(&origin(None), &HeaderMap::new(), &cluster(), unknown).expect("nobody");
    assert!(authorise(&stranger, Callers::Anyone, Place::Leader, true, unknown).is_ok());
    for callers in [Callers::Nodes, Callers::Managers] {
        let refusal = authorise(&stranger, callers, Place::Leader, true, unknown).expect_err("a stranger");
        assert_eq!(refusal.code, Code::PermissionDenied);
    }
}
