use std::time::Duration;

use skep_model::pb::messages::SessionRequest;
use skep_model::pb::types::{EncryptionKey, Peer, WeightedPeer, node_status::State};
use skep_model::{Code, Node};

use crate::testing::{Leader, cluster, description, node_id};

fn manager(addr: &str) -> WeightedPeer {
    WeightedPeer { peer: Some(Peer { node_id: addr.to_owned(), addr: format!("{addr}:2377") }), weight: 10 }
}

#[test]
fn registration_is_written_and_then_told() {
    let mut leader = Leader::new();
    leader.dispatcher.set_managers(vec![manager("m")]);
    let session = leader.register("a", 1);
    let node = leader.node("a");
    assert_eq!(node.status.state(), State::Ready);
    assert_eq!(node.status.addr, "addr-a");
    assert_eq!(node.hostname(), "a");
    let messages = leader.sessions(1);
    let message = messages.last().expect("a message");
    assert_eq!(message.session_id, session);
    assert_eq!(message.managers, [manager("m")]);
    assert_eq!(message.root_ca, "root");
    let told = Node::try_from(message.node.clone().expect("the node")).expect("a node");
    assert_eq!(told, node, "the first message shows what the store shows");
}

#[test]
fn the_leader_is_told_apart_by_its_weight() {
    let mut leader = Leader::new();
    leader.dispatcher.set_managers(vec![manager("boss"), manager("other")]);
    leader.register("a", 1);
    let weights: Vec<i64> = leader.sessions(1)[0].managers.iter().map(|manager| manager.weight).collect();
    assert_eq!(weights, [20, 10]);
}

#[test]
fn nothing_is_told_before_the_registration_is_committed() {
    let mut leader = Leader::new();
    let request = SessionRequest { description: Some(description("a")), ..SessionRequest::default() };
    let stream = crate::manager::StreamId(1);
    let Leader { dispatcher, ledger, now, rng, .. } = &mut leader;
    let caller = crate::testing::caller("a");
    dispatcher.register(*now, rng, ledger.committed(), &caller, request, stream).expect("a registration");
    leader.flush();
    assert!(leader.sessions(1).is_empty());
    assert!(leader.dispatcher.wake_at().is_some_and(|at| at <= leader.now.monotonic), "a turn is wanted at once");
    leader.turn();
    assert_eq!(leader.sessions(1).len(), 1);
}

#[test]
fn a_live_session_is_resumed_and_its_old_stream_ends() {
    let mut leader = Leader::new();
    let session = leader.register("a", 1);
    let request = SessionRequest { description: Some(description("renamed")), session_id: session.clone() };
    assert_eq!(leader.try_register("a", request, 2), Ok(session));
    assert_eq!(leader.closed(), [(1, "session invalid".to_owned())]);
    assert_eq!(leader.node("a").hostname(), "renamed");
    assert_eq!(leader.sessions(2).len(), 1);
}

#[test]
fn a_new_session_ends_the_earlier_one() {
    let mut leader = Leader::new();
    let first = leader.register("a", 1);
    leader.open_assignments("a", &first, 2).expect("assignments");
    let second = leader.register("a", 3);
    assert_ne!(first, second);
    let closed: Vec<u64> = leader.closed().into_iter().map(|(stream, _)| stream).collect();
    assert_eq!(closed, [1, 2]);
    let refusal = leader.heartbeat("a", &first).expect_err("an old session");
    assert_eq!((refusal.code, refusal.message.as_str()), (Code::InvalidArgument, "session invalid"));
}

#[test]
fn the_fourth_quick_registration_in_a_row_is_refused() {
    let mut leader = Leader::new();
    for stream in 1..=4 {
        leader.register("a", stream);
        leader.pass(Duration::from_secs(1));
    }
    let refusal = leader.try_register("a", SessionRequest::default(), 5).expect_err("one too many");
    assert_eq!(refusal.code, Code::Unavailable);
    assert_eq!(refusal.message, "node a exceeded rate limit count of registrations");
    leader.pass(Duration::from_secs(9));
    leader.register("a", 6);
}

#[test]
fn strangers_and_followers_are_refused() {
    let mut leader = Leader::new();
    let refusal = leader.try_register("stranger", SessionRequest::default(), 1).expect_err("a stranger");
    assert_eq!(refusal.message, "node not found");
    let refusal = leader.heartbeat("a", "none").expect_err("no session");
    assert_eq!((refusal.code, refusal.message.as_str()), (Code::NotFound, "node not registered"));
    leader.dispatcher.step_down();
    let refusal = leader.try_register("a", SessionRequest::default(), 1).expect_err("a follower");
    assert_eq!((refusal.code, refusal.message.as_str()), (Code::Aborted, "dispatcher is stopped"));
}

#[test]
fn stepping_down_ends_every_stream() {
    let mut leader = Leader::new();
    let session = leader.register("a", 1);
    leader.open_assignments("a", &session, 2).expect("assignments");
    let effects = leader.dispatcher.step_down();
    leader.effects = effects;
    let text = "node must disconnect".to_owned();
    assert_eq!(leader.closed(), [(1, text.clone()), (2, text)]);
    assert_eq!(leader.dispatcher.wake_at(), None);
}

#[test]
fn changes_of_node_managers_keys_and_root_are_told() {
    let mut leader = Leader::new();
    leader.register("a", 1);
    leader.sessions(1);
    let mut node = leader.node("a");
    node.spec = node.spec.edit(|spec| spec.desired_role = 1);
    leader.update(node);
    assert_eq!(leader.sessions(1).len(), 1);

    leader.dispatcher.set_managers(vec![manager("other")]);
    leader.dispatcher.set_managers(vec![manager("other")]);
    leader.flush();
    assert_eq!(
        leader.sessions(1).iter().map(|message| message.managers.clone()).collect::<Vec<_>>(),
        [[manager("other")]]
    );

    let mut changed = cluster(&[]);
    changed.root_ca.ca_cert = "new root".into();
    changed.network_bootstrap_keys = vec![EncryptionKey { lamport_time: 5, ..EncryptionKey::default() }];
    leader.update(changed.clone());
    let messages = leader.sessions(1);
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].root_ca, "new root");
    assert_eq!(messages[0].network_bootstrap_keys, changed.network_bootstrap_keys);

    changed.root_ca.join_tokens = None;
    changed.spec = changed.spec.edit(|spec| spec.annotations = Some(crate::testing::annotations("default")));
    leader.update(changed);
    assert!(leader.sessions(1).is_empty(), "nothing that workers see has changed");
}

#[test]
fn a_removed_node_is_sent_away() {
    let mut leader = Leader::new();
    let session = leader.register("a", 1);
    leader.remove::<Node>(&node_id("a"));
    assert_eq!(leader.closed(), [(1, "node not found".to_owned())]);
    assert!(leader.heartbeat("a", &session).is_err());
}
