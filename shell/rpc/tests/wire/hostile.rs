//! Garbage, silence and excess on the cluster port.

use std::time::Duration;

use skep_model::Code;
use skep_model::pb::messages as m;
use skep_model::pb::messages::update_task_status_request::TaskStatusUpdate;
use skep_model::pb::types::NodeRole;
use skep_rpc::client::channel;
use skep_rpc::server::REQUEST_BYTES_MAX;
use skep_rpc::{Ending, Trust};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::relay::Relay;
use crate::swarm::{Manager, Swarm, eventually, soon};

async fn still_answers(swarm: &Swarm, manager: &Manager) {
    let clients = swarm.clients(NodeRole::Manager);
    let health = soon(clients.health(&manager.address, Duration::from_secs(10))).await;
    assert!(health.expect("the server lives"));
}

#[tokio::test]
async fn garbage_closes_its_own_connection_alone() {
    let swarm = Swarm::new();
    let manager = swarm.manager().await;
    let garbage: [&[u8]; 4] =
        [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[0xff; 4096], &[0x16, 3, 1, 0, 0]];
    for bytes in garbage {
        let mut tcp = TcpStream::connect(&manager.address).await.expect("listens");
        tcp.write_all(bytes).await.expect("sent");
        tcp.shutdown().await.expect("half closed");
        let mut answer = Vec::new();
        // Reset or end of stream, but an end.
        drop(soon(tcp.read_to_end(&mut answer)).await);
        assert!(answer.len() < 100, "a TLS alert at most");
    }
    still_answers(&swarm, &manager).await;
}

#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    let swarm = Swarm::new();
    let manager = swarm.manager().await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(&manager.address).await.expect("listens"));
    }
    still_answers(&swarm, &manager).await;
    drop(silent);
}

#[tokio::test]
async fn an_oversized_request_is_refused_and_the_connection_goes_on() {
    let swarm = Swarm::new();
    let manager = swarm.manager().await;
    let dispatcher = swarm.clients(NodeRole::Worker).dispatcher(&manager.address).expect("an address");
    let update = TaskStatusUpdate { task_id: "x".repeat(REQUEST_BYTES_MAX + 1), status: None };
    let request = m::UpdateTaskStatusRequest { session_id: String::new(), updates: vec![update] };
    let refusal = soon(dispatcher.update_task_status(request)).await.expect_err("too large");
    assert_eq!(refusal.code, Code::InvalidArgument, "{refusal}");
    soon(dispatcher.heartbeat(m::HeartbeatRequest::default())).await.expect("goes on");
    assert!(manager.fake.called("update_task_status").is_empty());
}

#[tokio::test]
async fn what_is_not_there_says_so() {
    let swarm = Swarm::new();
    let manager = swarm.manager().await;
    let channel = channel(&manager.address, Trust::Member(swarm.credentials(NodeRole::Manager))).expect("an address");
    let mut raw = tonic::client::Grpc::new(channel);
    soon(raw.ready()).await.expect("connects");
    let path = http::uri::PathAndQuery::from_static("/docker.swarmkit.v1.Watch/Watch");
    let codec = tonic_prost::ProstCodec::<m::HeartbeatRequest, m::HeartbeatResponse>::default();
    let refused = soon(raw.unary(tonic::Request::new(m::HeartbeatRequest::default()), path, codec)).await;
    assert_eq!(refused.expect_err("no such method").code(), tonic::Code::Unimplemented);
}

#[tokio::test]
async fn a_half_open_stream_ends_for_the_node_behind_it() {
    let swarm = Swarm::new();
    let manager = swarm.manager().await;
    let cable = Relay::to(&manager.address).await;
    let dispatcher = swarm.clients(NodeRole::Worker).dispatcher(&cable.address).expect("an address");
    let session = soon(dispatcher.session(m::SessionRequest::default())).await.expect("registers");
    let (logs, _done) = dispatcher.publish_logs();
    soon(logs.send(m::PublishLogsMessage::default())).await.expect("taken");
    eventually("logs arrive", || !manager.fake.logs.lock().unwrap().is_empty()).await;
    cable.cut();
    let sender = manager.fake.sessions.lock().unwrap()[0].clone();
    soon(sender.closed()).await;
    eventually("the reset is told", || !manager.fake.closed.lock().unwrap().is_empty()).await;
    let (connection, _, ending) = manager.fake.closed.lock().unwrap()[0].clone();
    assert_eq!(ending, Ending::Reset);
    assert_eq!(connection, manager.fake.called("session")[0].connection);
    drop(session);
}

#[tokio::test]
async fn a_worker_that_goes_in_good_order_is_not_reset() {
    let swarm = Swarm::new();
    let manager = swarm.manager().await;
    let dispatcher = swarm.clients(NodeRole::Worker).dispatcher(&manager.address).expect("an address");
    soon(dispatcher.heartbeat(m::HeartbeatRequest::default())).await.expect("beats");
    drop(dispatcher);
    eventually("the end is told", || !manager.fake.closed.lock().unwrap().is_empty()).await;
    assert_eq!(manager.fake.closed.lock().unwrap()[0].2, Ending::Orderly);
}

#[tokio::test]
async fn shutdown_closes_everything_and_returns() {
    let swarm = Swarm::new();
    let manager = swarm.manager().await;
    let dispatcher = swarm.clients(NodeRole::Worker).dispatcher(&manager.address).expect("an address");
    let (_, mut session) = soon(dispatcher.session(m::SessionRequest::default())).await.expect("registers");
    let (_logs, done) = dispatcher.publish_logs();
    eventually("logs are awaited", || !manager.fake.called("publish_logs").is_empty()).await;
    soon(manager.server.shutdown()).await;
    let reason = soon(session.next()).await.expect("an end").expect_err("with its reason");
    assert_eq!((reason.code, reason.message.as_str()), (Code::Aborted, "node must disconnect"));
    assert_eq!(soon(done).await.expect("no panic").expect_err("not all arrived").code, Code::Aborted);
    assert!(manager.fake.closed.lock().unwrap().iter().all(|(.., ending)| *ending == Ending::Orderly));
    let refusal = soon(dispatcher.heartbeat(m::HeartbeatRequest::default())).await.expect_err("nobody listens");
    assert_eq!(refusal.code, Code::Unavailable, "{refusal}");
}
