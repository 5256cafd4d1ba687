//! Followers pass calls on to the leader.

use skep_model::pb::messages as m;
use skep_model::pb::types::NodeRole;
use skep_model::{Code, ControlRequest, Refusal};
use skep_pki::token;
use skep_rpc::client::{channel, fetch_root, request_certificate};
use skep_rpc::wire::swarmkit::dispatcher_client::DispatcherClient as Wire;
use skep_rpc::{Clients, Ending, Leader, PrivateKey, Trust};

use crate::fake::READ_POINT;
use crate::relay::Relay;
use crate::swarm::{Swarm, eventually, now, soon};

#[tokio::test]
async fn the_leader_hears_who_really_asks() {
    let swarm = Swarm::new();
    let leader = swarm.manager().await;
    let follower = swarm.follower(&leader).await;
    let credentials = swarm.credentials(NodeRole::Worker);
    let worker = credentials.identity().membership().node.clone();
    let dispatcher = Clients::new(credentials).dispatcher(&follower.address).expect("an address");
    let (first, mut stream) = soon(dispatcher.session(m::SessionRequest::default())).await.expect("registers");
    assert_eq!(first.session_id, "first");
    soon(dispatcher.heartbeat(m::HeartbeatRequest::default())).await.expect("beats");
    assert!(follower.fake.called("session").is_empty());
    for method in ["session", "heartbeat"] {
        let call = leader.fake.called(method).remove(0);
        assert_eq!(call.caller.node, worker);
        assert_eq!(call.caller.role, NodeRole::Worker);
        assert_eq!(call.caller.forwarded_by, Some(follower.node.clone()));
        assert_eq!(call.caller.address, "127.0.0.1");
        assert_eq!(call.connection.manager, Some(follower.node.clone()));
        assert_ne!(call.connection.number, 0);
    }
    // The stream stays open in both directions.
    let second = m::SessionMessage { session_id: "second".to_owned(), ..Default::default() };
    let sender = leader.fake.sessions.lock().unwrap()[0].clone();
    sender.send(Ok(second)).await.expect("still there");
    assert_eq!(soon(stream.next()).await.expect("a message").expect("no error").session_id, "second");
    drop((stream, dispatcher));
    soon(sender.closed()).await;
}

#[tokio::test]
async fn a_leader_tells_managers_how_far_the_log_must_be_applied_to_read_as_it_would() {
    let swarm = Swarm::new();
    let leader = swarm.manager().await;
    let follower = swarm.follower(&leader).await;
    let clients = swarm.clients(NodeRole::Manager);
    assert_eq!(soon(clients.read_point(&leader.address)).await, Ok(Some(READ_POINT)));
    // Nobody else can say so, and it is not passed on: who asked looks for the leader anew.
    assert_eq!(soon(clients.read_point(&follower.address)).await, Err(Refusal::no_leader()));
    let refusal = soon(swarm.clients(NodeRole::Worker).read_point(&leader.address)).await.expect_err("a worker");
    assert_eq!(refusal.code, Code::PermissionDenied);
    *leader.fake.docker.lock().unwrap() = true;
    assert_eq!(soon(clients.read_point(&leader.address)).await, Ok(None), "a Docker Engine knows no such question");
}

#[tokio::test]
async fn a_newcomer_joins_through_a_follower() {
    let swarm = Swarm::new();
    let leader = swarm.manager().await;
    let follower = swarm.follower(&leader).await;
    let token = leader.fake.tokens().worker;
    let parsed = token::parse(&token).expect("a token");
    let root = soon(fetch_root(&follower.address, &parsed.root, now())).await.expect("the leader's root");
    let key = PrivateKey::generate().expect("a key");
    let trust = Trust::Newcomer(root.clone());
    let asked = request_certificate(&follower.address, trust, &root, Some(&token), key, Default::default());
    assert_eq!(soon(asked).await.expect("joins").membership().role, NodeRole::Worker);
    let visitor = leader.fake.visitors.lock().unwrap()[0].clone();
    assert_eq!(visitor.caller, None, "a newcomer is nobody, not the follower");
}

#[tokio::test]
async fn what_a_caller_claims_of_itself_is_not_believed() {
    let swarm = Swarm::new();
    let leader = swarm.manager().await;
    let follower = swarm.follower(&leader).await;
    let credentials = swarm.credentials(NodeRole::Worker);
    let worker = credentials.identity().membership().node.clone();
    for address in [&leader.address, &follower.address] {
        let channel = channel(address, Trust::Member(credentials.clone())).expect("an address");
        let mut request = tonic::Request::new(m::HeartbeatRequest::default());
        for (name, value) in [
            ("forwarded_cert", "true"),
            ("forwarded_cert_cn", leader.node.as_str()),
            ("forwarded_cert_ou", "swarm-manager"),
            ("forwarded_cert_org", swarm.cluster.as_str()),
        ] {
            request.metadata_mut().insert(name, value.parse().expect("ascii"));
        }
        let refused = soon(Wire::new(channel).heartbeat(request)).await.expect_err("a forgery");
        assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{worker}");
    }
    assert!(leader.fake.called("heartbeat").is_empty());
}

#[tokio::test]
async fn a_call_goes_round_once_at_most() {
    let swarm = Swarm::new();
    let first = swarm.manager().await;
    let second = swarm.follower(&first).await;
    first.fake.lead(Leader::Other { node: second.node.clone(), address: second.address.clone() });
    let dispatcher = swarm.clients(NodeRole::Worker).dispatcher(&first.address).expect("an address");
    let refusal = soon(dispatcher.heartbeat(m::HeartbeatRequest::default())).await.expect_err("a circle");
    assert_eq!(refusal.code, Code::ResourceExhausted);
    assert!(refusal.message.starts_with("more than one redirect to leader from: "), "{refusal}");
}

#[tokio::test]
async fn without_a_leader_dockers_sentence_is_said() {
    let swarm = Swarm::new();
    let manager = swarm.manager().await;
    manager.fake.lead(Leader::None);
    let dispatcher = swarm.clients(NodeRole::Worker).dispatcher(&manager.address).expect("an address");
    let refusal = soon(dispatcher.heartbeat(m::HeartbeatRequest::default())).await.expect_err("nobody leads");
    assert_eq!(refusal, skep_model::Refusal::no_leader());
}

#[tokio::test]
async fn commands_are_not_passed_on() {
    let swarm = Swarm::new();
    let leader = swarm.manager().await;
    let follower = swarm.follower(&leader).await;
    let request: ControlRequest = m::ListServicesRequest::default().into();
    soon(swarm.clients(NodeRole::Manager).control(&follower.address, request)).await.expect("answered here");
    assert_eq!((follower.fake.called("control").len(), leader.fake.called("control").len()), (1, 0));
}

#[tokio::test]
async fn streams_end_when_the_leader_changes_and_when_it_dies() {
    let swarm = Swarm::new();
    let leader = swarm.manager().await;
    let follower = swarm.follower(&leader).await;
    let dispatcher = swarm.clients(NodeRole::Worker).dispatcher(&follower.address).expect("an address");
    let (_, mut stream) = soon(dispatcher.session(m::SessionRequest::default())).await.expect("registers");
    follower.fake.lead(Leader::None);
    let refusal = soon(stream.next()).await.expect("an end").expect_err("with its reason");
    assert_eq!((refusal.code, refusal.message.as_str()), (Code::Aborted, "node must disconnect"));

    let cable = Relay::to(&leader.address).await;
    follower.fake.lead(Leader::Other { node: leader.node.clone(), address: cable.address.clone() });
    let (_, mut stream) = soon(dispatcher.session(m::SessionRequest::default())).await.expect("registers");
    cable.cut();
    let refusal = soon(stream.next()).await.expect("an end").expect_err("with its reason");
    assert_eq!(refusal.code, Code::Unavailable, "{refusal}");
}

#[tokio::test]
async fn a_call_that_the_leader_never_answers_ends_when_another_leads() {
    let swarm = Swarm::new();
    let leader = swarm.manager().await;
    *leader.fake.mute.lock().unwrap() = true;
    let follower = swarm.follower(&leader).await;
    let dispatcher = swarm.clients(NodeRole::Worker).dispatcher(&follower.address).expect("an address");
    let call = tokio::spawn(async move { dispatcher.heartbeat(m::HeartbeatRequest::default()).await });
    eventually("it arrives", || !leader.fake.called("heartbeat").is_empty()).await;
    follower.fake.lead(Leader::Me);
    let refusal = soon(call).await.expect("no panic").expect_err("no answer");
    assert_eq!(refusal.code, Code::Aborted, "{refusal}");
}

#[tokio::test]
async fn the_leader_learns_at_once_that_a_workers_connection_to_a_follower_was_reset() {
    let swarm = Swarm::new();
    let leader = swarm.manager().await;
    let follower = swarm.follower(&leader).await;
    let cable = Relay::to(&follower.address).await;
    let credentials = swarm.credentials(NodeRole::Worker);
    let worker = credentials.identity().membership().node.clone();
    let dispatcher = Clients::new(credentials).dispatcher(&cable.address).expect("an address");
    let session = soon(dispatcher.session(m::SessionRequest::default())).await.expect("registers");
    let connection = leader.fake.called("session")[0].connection.clone();
    cable.cut();
    eventually("the leader hears of it", || !leader.fake.closed.lock().unwrap().is_empty()).await;
    assert_eq!(leader.fake.closed.lock().unwrap()[0], (connection, Some(worker), Ending::Reset));
    let mut ended = dispatcher.ended();
    soon(ended.wait_for(Option::is_some)).await.expect("the worker hears of it too");
    assert_eq!(*ended.borrow(), Some(Ending::Reset));
    drop(session);
}

#[tokio::test]
async fn logs_flow_through_a_follower() {
    let swarm = Swarm::new();
    let leader = swarm.manager().await;
    let follower = swarm.follower(&leader).await;
    let dispatcher = swarm.clients(NodeRole::Worker).dispatcher(&follower.address).expect("an address");
    let (sender, done) = dispatcher.publish_logs();
    for number in 0..100 {
        let message = m::PublishLogsMessage { subscription_id: number.to_string(), ..Default::default() };
        soon(sender.send(message)).await.expect("taken");
    }
    drop(sender);
    soon(done).await.expect("no panic").expect("all arrived");
    let logs = leader.fake.logs.lock().unwrap();
    assert_eq!(logs.len(), 100);
    assert_eq!(logs[99].subscription_id, "99");
}
