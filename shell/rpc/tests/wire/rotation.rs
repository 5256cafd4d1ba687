//! Certificates and roots change while everything runs.

use std::time::Duration;

use bytes::Bytes;
use skep_model::Code;
use skep_model::pb::messages as m;
use skep_model::pb::types::NodeRole;
use skep_rpc::identity::create_root;
use skep_rpc::{Clients, Credentials, Ending, TrustRoot};

use crate::swarm::{Swarm, eventually, now, rng, soon};

const TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_renewed_leaf_is_used_for_new_connections_and_disturbs_no_old_one() {
    let swarm = Swarm::new();
    let manager = swarm.manager().await;
    let credentials = swarm.credentials(NodeRole::Worker);
    let node = credentials.identity().membership().node.clone();
    let clients = Clients::new(credentials.clone());
    let dispatcher = clients.dispatcher(&manager.address).expect("an address");
    let (_, mut stream) = soon(dispatcher.session(m::SessionRequest::default())).await.expect("registers");

    // The worker was promoted: its next certificate says so. The server's is renewed too.
    credentials.replace(swarm.identity_of(node, NodeRole::Manager)).expect("fits");
    manager.credentials.replace(swarm.identity_of(manager.node.clone(), NodeRole::Manager)).expect("fits");
    assert!(soon(clients.health(&manager.address, TIMEOUT)).await.expect("a manager by its new certificate"));
    let sender = manager.fake.sessions.lock().unwrap()[0].clone();
    sender.send(Ok(m::SessionMessage::default())).await.expect("the old stream lives");
    assert!(soon(stream.next()).await.expect("a message").is_ok());
}

#[tokio::test]
async fn a_new_root_is_taken_up_live_and_the_old_one_dropped() {
    let old = Swarm::new();
    let manager = old.manager().await;
    let (root, key) = create_root(now(), &mut rng()).expect("a root");
    let mut new = Swarm { root, key, cluster: old.cluster.clone() };
    let both = TrustRoot::from_pem(Bytes::from([&old.root.pem()[..], &new.root.pem()[..]].concat()), now());
    let both = both.expect("two roots");

    // While both are trusted, nodes of either talk to each other.
    let old_node = Clients::new(
        Credentials::new(old.identity(NodeRole::Manager).with_root(both.clone()).expect("verifies")).expect("fits"),
    );
    let pure = new.root.clone();
    new.root = both.clone();
    let renewed = new.identity_of(manager.node.clone(), NodeRole::Manager);
    manager.credentials.replace(renewed.clone()).expect("fits");
    assert!(soon(old_node.health(&manager.address, TIMEOUT)).await.expect("both roots"));
    assert!(soon(new.clients(NodeRole::Manager).health(&manager.address, TIMEOUT)).await.expect("both roots"));

    // Then the old root goes: its nodes come in no more, and their connections are closed.
    manager.credentials.replace(renewed.with_root(pure.clone()).expect("verifies")).expect("fits");
    manager.server.disconnect_where(|_| true);
    eventually("closed", || manager.fake.closed.lock().unwrap().len() >= 2).await;
    assert!(manager.fake.closed.lock().unwrap().iter().all(|(.., ending)| *ending == Ending::Orderly));
    old_node.forget();
    let refusal = soon(old_node.health(&manager.address, TIMEOUT)).await.expect_err("the old root");
    assert_eq!(refusal.code, Code::Unavailable, "{refusal}");
    new.root = pure;
    assert!(soon(new.clients(NodeRole::Manager).health(&manager.address, TIMEOUT)).await.expect("the new root"));
}

#[tokio::test]
async fn a_root_that_does_not_cover_the_certificate_is_not_taken() {
    let swarm = Swarm::new();
    let other = Swarm::new();
    assert!(swarm.identity(NodeRole::Worker).with_root(other.root).is_err());
}

#[tokio::test]
async fn a_removed_nodes_connections_are_closed() {
    let swarm = Swarm::new();
    let manager = swarm.manager().await;
    let (stays, goes) = (swarm.credentials(NodeRole::Worker), swarm.credentials(NodeRole::Worker));
    let gone = goes.identity().membership().node.clone();
    let open = |credentials| Clients::new(credentials).dispatcher(&manager.address).expect("an address");
    let (stays, goes) = (open(stays), open(goes));
    let kept = soon(stays.session(m::SessionRequest::default())).await.expect("registers");
    let lost = soon(goes.session(m::SessionRequest::default())).await.expect("registers");
    manager.server.disconnect(&gone);
    let mut lost = lost.1;
    let refusal = soon(lost.next()).await.expect("an end").expect_err("with its reason");
    assert_eq!((refusal.code, refusal.message.as_str()), (Code::Aborted, "node must disconnect"));
    eventually("one closed", || !manager.fake.closed.lock().unwrap().is_empty()).await;
    let closed = manager.fake.closed.lock().unwrap().clone();
    assert_eq!(closed.len(), 1);
    assert_eq!(closed[0].1, Some(gone));
    drop((kept, lost));
}
