//! Raft messages from member to member.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use skep_model::pb::skep::HelloRequest;
use skep_model::{NodeId, RaftId};
use skep_rpc::backend::RaftStanding;
use skep_rpc::raft::{PIECE_BYTES_MAX, QUEUE_MAX, STRANGERS_MAX};
use skep_rpc::{RaftEvent, RaftKind, RaftMessage, RaftTransport};
use tokio::sync::mpsc;

use crate::relay::Relay;
use crate::swarm::{Manager, Swarm, eventually, soon};

const ME: RaftId = RaftId(1);
const PEER: RaftId = RaftId(2);

/// The fields of `eraftpb.Message` that these tests look at.
#[derive(Clone, PartialEq, Message)]
struct Raw {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint64, tag = "2")]
    to: u64,
    #[prost(uint64, tag = "3")]
    from: u64,
    #[prost(uint64, tag = "6")]
    index: u64,
    #[prost(message, optional, tag = "9")]
    snapshot: Option<RawSnapshot>,
}

#[derive(Clone, PartialEq, Message)]
struct RawSnapshot {
    #[prost(bytes = "vec", tag = "1")]
    data: Vec<u8>,
}

fn message(kind: RaftKind, index: u64, size: usize) -> RaftMessage {
    let number = match kind {
        RaftKind::Proposal => 2,
        RaftKind::Vote => 5,
        RaftKind::Snapshot => 7,
        RaftKind::Other => 3,
    };
    let data: Vec<u8> = (0..size).map(|byte| (byte % 253) as u8).collect();
    let snapshot = (size > 0).then_some(RawSnapshot { data });
    let raw = Raw { kind: number, to: PEER.0, from: ME.0, index, snapshot };
    RaftMessage { to: PEER, from: ME, kind, index, bytes: Bytes::from(raw.encode_to_vec()) }
}

struct Sender {
    transport: Arc<RaftTransport>,
    events: mpsc::Receiver<RaftEvent>,
}

impl Sender {
    fn new(from: &Manager, to: NodeId, address: &str) -> Self {
        let (sender, events) = mpsc::channel(64);
        let greeting = Arc::new(|| HelloRequest { version: "1.2.3".to_owned(), ..Default::default() });
        let transport = RaftTransport::new(Arc::clone(&from.credentials), greeting, sender);
        transport.set_peer(PEER, to, address).expect("an address");
        Self { transport, events }
    }

    async fn event(&mut self) -> RaftEvent {
        soon(self.events.recv()).await.expect("transport lives")
    }

    /// The first event that is not about meeting the peer.
    async fn outcome(&mut self) -> RaftEvent {
        loop {
            match self.event().await {
                RaftEvent::Met { .. } => {}
                event => return event,
            }
        }
    }
}

async fn pair() -> (Manager, Manager) {
    let swarm = Swarm::new();
    let (me, peer) = (swarm.manager().await, swarm.manager().await);
    let node = me.node.clone();
    *peer.fake.members.lock().unwrap() = Box::new(move |id| match id {
        ME => RaftStanding::Member(node.clone()),
        _ => RaftStanding::Unknown,
    });
    (me, peer)
}

#[tokio::test]
async fn a_skep_member_gets_everything_in_order_over_one_stream() {
    let (me, peer) = pair().await;
    let mut sender = Sender::new(&me, peer.node.clone(), &peer.address);
    for index in 0..1000 {
        assert!(sender.transport.send(message(RaftKind::Other, index, 0)));
    }
    eventually("all messages", || peer.fake.raft.lock().unwrap().len() == 1000).await;
    let arrived: Vec<u64> = peer.fake.raft.lock().unwrap().iter().map(|message| message.index).collect();
    assert_eq!(arrived, (0..1000).collect::<Vec<_>>());
    let RaftEvent::Met { hello: Some(hello), .. } = sender.event().await else { panic!("expected a greeting first") };
    assert_eq!(hello.version, "1.2.3");
    assert_eq!(sender.transport.is_skep(PEER), Some(true));
    assert!(sender.transport.active_since(PEER).is_some());
}

#[tokio::test]
async fn a_large_snapshot_arrives_whole_at_both_kinds_of_member() {
    for docker in [false, true] {
        let (me, peer) = pair().await;
        *peer.fake.docker.lock().unwrap() = docker;
        let mut sender = Sender::new(&me, peer.node.clone(), &peer.address);
        let snapshot = message(RaftKind::Snapshot, 5, 2 * PIECE_BYTES_MAX + 12345);
        assert!(sender.transport.send(snapshot.clone()));
        assert!(sender.transport.send(message(RaftKind::Other, 6, 0)));
        assert_eq!(sender.outcome().await, RaftEvent::Snapshot { to: PEER, delivered: true });
        eventually("both messages", || peer.fake.raft.lock().unwrap().len() == 2).await;
        assert_eq!(sender.transport.is_skep(PEER), Some(!docker));
        let arrived = peer.fake.raft.lock().unwrap().clone();
        let whole = arrived.iter().find(|message| message.kind == RaftKind::Snapshot).expect("the snapshot");
        assert!(whole.bytes == snapshot.bytes, "other bytes arrived");
    }
}

#[tokio::test]
async fn a_message_in_another_members_name_is_refused() {
    let (me, peer) = pair().await;
    let other = NodeId::random(&mut crate::swarm::rng());
    *peer.fake.members.lock().unwrap() = Box::new(move |_| RaftStanding::Member(other.clone()));
    let mut sender = Sender::new(&me, peer.node.clone(), &peer.address);
    assert!(sender.transport.send(message(RaftKind::Other, 1, 0)));
    assert_eq!(sender.outcome().await, RaftEvent::Unreachable(PEER));
    assert!(peer.fake.raft.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_removed_member_hears_it_from_both_kinds_of_member() {
    for docker in [false, true] {
        let (me, peer) = pair().await;
        *peer.fake.docker.lock().unwrap() = docker;
        *peer.fake.members.lock().unwrap() = Box::new(|_| RaftStanding::Removed);
        let mut sender = Sender::new(&me, peer.node.clone(), &peer.address);
        assert!(sender.transport.send(message(RaftKind::Other, 1, 0)));
        assert_eq!(sender.outcome().await, RaftEvent::Removed);
    }
}

#[tokio::test]
async fn votes_are_swallowed_for_candidates_that_do_not_answer() {
    let (me, peer) = pair().await;
    let sender = Sender::new(&me, peer.node.clone(), &peer.address);
    *peer.fake.reachable.lock().unwrap() = false;
    assert!(sender.transport.send(message(RaftKind::Vote, 1, 0)));
    assert!(sender.transport.send(message(RaftKind::Proposal, 2, 0)));
    assert!(sender.transport.send(message(RaftKind::Other, 3, 0)));
    eventually("the third", || !peer.fake.raft.lock().unwrap().is_empty()).await;
    *peer.fake.reachable.lock().unwrap() = true;
    assert!(sender.transport.send(message(RaftKind::Vote, 4, 0)));
    eventually("the fourth", || peer.fake.raft.lock().unwrap().len() == 2).await;
    // One that joined while we were away is asked as well.
    *peer.fake.members.lock().unwrap() = Box::new(|_| RaftStanding::Unknown);
    assert!(sender.transport.send(message(RaftKind::Vote, 5, 0)));
    eventually("the fifth", || peer.fake.raft.lock().unwrap().len() == 3).await;
    *peer.fake.reachable.lock().unwrap() = false;
    assert!(sender.transport.send(message(RaftKind::Vote, 6, 0)));
    assert!(sender.transport.send(message(RaftKind::Other, 7, 0)));
    eventually("the seventh", || peer.fake.raft.lock().unwrap().len() == 4).await;
    let arrived: Vec<u64> = peer.fake.raft.lock().unwrap().iter().map(|message| message.index).collect();
    assert_eq!(arrived, [3, 4, 5, 7]);
}

#[tokio::test]
async fn strangers_can_be_answered_and_are_few() {
    let (me, peer) = pair().await;
    let sender = Sender::new(&me, peer.node.clone(), &peer.address);
    let transport = &sender.transport;
    let known = |id| transport.members().into_iter().find(|member| member.0 == id).map(|member| member.2);
    transport.set_stranger(PEER, peer.node.clone(), "192.0.2.1:2377").unwrap();
    assert_eq!(known(PEER).as_ref(), Some(&peer.address), "a member stays where it is");
    for id in 100..=100 + STRANGERS_MAX as u64 {
        transport.set_stranger(RaftId(id), peer.node.clone(), &peer.address).unwrap();
    }
    assert_eq!(known(RaftId(100)), None, "the oldest is forgotten");
    assert_eq!(transport.members().len(), 1 + STRANGERS_MAX);
    assert!(transport.send(RaftMessage { to: RaftId(101), ..message(RaftKind::Vote, 1, 0) }));
    transport.set_peer(RaftId(101), peer.node.clone(), &peer.address).unwrap();
    for id in 200..220 {
        transport.set_stranger(RaftId(id), peer.node.clone(), &peer.address).unwrap();
    }
    assert!(known(RaftId(101)).is_some(), "it has become a member");
    assert_eq!(transport.members().len(), 2 + STRANGERS_MAX);
}

#[tokio::test]
async fn a_cut_connection_is_reported_at_once_and_made_again() {
    let (me, peer) = pair().await;
    let cable = Relay::to(&peer.address).await;
    let mut sender = Sender::new(&me, peer.node.clone(), &cable.address);
    assert!(sender.transport.send(message(RaftKind::Other, 1, 0)));
    eventually("the first", || peer.fake.raft.lock().unwrap().len() == 1).await;
    assert!(sender.transport.health(PEER).await);
    cable.cut();
    let mut events = vec![sender.outcome().await, sender.outcome().await];
    events.sort_by_key(|event| matches!(event, RaftEvent::Unreachable(_)));
    assert_eq!(events, [RaftEvent::ConnectionReset(PEER), RaftEvent::Unreachable(PEER)]);
    assert_eq!(sender.transport.active_since(PEER), None);
    assert!(!sender.transport.health(PEER).await);
    // The member moves to another address.
    sender.transport.set_peer(PEER, peer.node.clone(), &peer.address).expect("an address");
    assert!(sender.transport.send(message(RaftKind::Other, 2, 0)));
    eventually("the second", || peer.fake.raft.lock().unwrap().len() == 2).await;
    assert!(sender.transport.health(PEER).await);
}

#[tokio::test]
async fn nobody_there_is_unreachable_and_a_lost_snapshot_is_told() {
    let (me, peer) = pair().await;
    let mut sender = Sender::new(&me, peer.node.clone(), "127.0.0.1:1");
    assert!(sender.transport.send(message(RaftKind::Snapshot, 1, 10)));
    assert_eq!(sender.outcome().await, RaftEvent::Snapshot { to: PEER, delivered: false });
    assert_eq!(sender.outcome().await, RaftEvent::Unreachable(PEER));
    assert!(!sender.transport.send(RaftMessage { to: RaftId(77), ..message(RaftKind::Other, 1, 0) }), "a stranger");
}

#[tokio::test]
async fn a_full_queue_never_waits_and_says_unreachable() {
    let (me, peer) = pair().await;
    // It listens and never says a word.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = mute.local_addr().expect("bound").to_string();
    let mut sender = Sender::new(&me, peer.node.clone(), &address);
    let taken = (0..2 * QUEUE_MAX as u64).filter(|index| sender.transport.send(message(RaftKind::Other, *index, 0)));
    assert!(taken.count() <= QUEUE_MAX + 1);
    assert_eq!(sender.outcome().await, RaftEvent::Unreachable(PEER));
}

#[tokio::test]
async fn the_transport_is_used_from_a_thread_without_a_runtime() {
    let (me, peer) = pair().await;
    let sender = Sender::new(&me, peer.node.clone(), "127.0.0.1:1");
    let (transport, node, address) = (Arc::clone(&sender.transport), peer.node.clone(), peer.address.clone());
    let thread = std::thread::spawn(move || {
        transport.set_peer(PEER, node, &address).expect("an address");
        transport.send(message(RaftKind::Other, 1, 0))
    });
    assert!(thread.join().expect("no panic"));
    eventually("it arrives", || peer.fake.raft.lock().unwrap().len() == 1).await;
}
