//! One member: its queue, its connection, and how messages get there.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use skep_model::pb::messages as m;
use skep_model::pb::skep::{RaftFrame, RaftStreamSummary};
use skep_model::{Code, NodeId, RaftId, Refusal};
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::message::split_snapshot;
use super::transport::{Greeting, QUEUE_MAX, RaftEvent};
use crate::backend::{Ending, RaftKind, RaftMessage};
use crate::client::{failure, open, skep_only, within};
use crate::server::REMOVED;
use crate::tls::{Credentials, Trust};
use crate::wire::skep::peer_client::PeerClient;
use crate::wire::swarmkit::raft_client::RaftClient;

/// How long one message, or one piece of a snapshot, may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);
/// Frames between the queue and the wire.
const STREAM_QUEUE: usize = 64;
/// One frame of a long message to a Skep member.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// Who a member is and where it listens.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) id: RaftId,
    pub(super) node: NodeId,
    pub(super) address: String,
}

#[derive(Clone, Copy, Default)]
pub(super) struct State {
    pub(super) skep: Option<bool>,
    pub(super) active_since: Option<Instant>,
}

/// The handle to a member's task; dropping it ends the task and its connection.
pub(super) struct Peer {
    pub(super) member: Member,
    pub(super) queue: mpsc::Sender<RaftMessage>,
    pub(super) channel: Channel,
    state: Arc<Mutex<State>>,
    loss: Arc<Notify>,
    task: AbortHandle,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    pub(super) fn start(
        member: Member,
        credentials: Arc<Credentials>,
        greeting: Greeting,
        events: mpsc::Sender<RaftEvent>,
    ) -> Result<Self, Refusal> {
        let id = member.id;
        let reports = events.clone();
        let channel = open(&member.address, Trust::Member(credentials), move |ending| {
            if ending == Ending::Reset {
                report_now(&reports, RaftEvent::ConnectionReset(id));
            }
        })?;
        let (queue, messages) = mpsc::channel(QUEUE_MAX);
        let state = Arc::new(Mutex::new(State::default()));
        let loss = Arc::new(Notify::new());
        let task = Task {
            id,
            messages,
            channel: channel.clone(),
            greeting,
            events,
            state: Arc::clone(&state),
            loss: Arc::clone(&loss),
            snapshots: JoinSet::new(),
            unary: false,
        };
        let task = tokio::spawn(task.run()).abort_handle();
        Ok(Self { member, queue, channel, state, loss, task })
    }

    pub(super) fn state(&self) -> State {
        *lock(&self.state)
    }

    /// The queue was full: the task reports it.
    pub(super) fn lost_some(&self) {
        self.loss.notify_one();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reports from where nothing may wait.
fn report_now(events: &mpsc::Sender<RaftEvent>, event: RaftEvent) {
    if let Err(mpsc::error::TrySendError::Full(event)) = events.try_send(event) {
        let events = events.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { events.send(event).await });
        }
    }
}

struct Task {
    id: RaftId,
    messages: mpsc::Receiver<RaftMessage>,
    channel: Channel,
    greeting: Greeting,
    events: mpsc::Sender<RaftEvent>,
    state: Arc<Mutex<State>>,
    loss: Arc<Notify>,
    snapshots: JoinSet<()>,
    /// A Docker Engine too old to stream.
    unary: bool,
}

/// Why a stream of messages ended.
enum StreamEnd {
    /// The transport dropped the member.
    Dropped,
    Broken(Refusal),
}

impl Task {
    async fn run(mut self) {
        while let Some(message) = self.next().await {
            match self.meet().await {
                Ok(true) => match self.stream(message).await {
                    StreamEnd::Dropped => return,
                    StreamEnd::Broken(refusal) => self.failed(refusal).await,
                },
                Ok(false) => self.call(message).await,
                Err(refusal) => {
                    if message.kind == RaftKind::Snapshot {
                        self.report(RaftEvent::Snapshot { to: self.id, delivered: false }).await;
                    }
                    self.failed(refusal).await;
                }
            }
        }
    }

    async fn next(&mut self) -> Option<RaftMessage> {
        loop {
            tokio::select! {
                message = self.messages.recv() => return message,
                () = self.loss.notified() => self.report(RaftEvent::Unreachable(self.id)).await,
                Some(_) = self.snapshots.join_next() => {}
            }
        }
    }

    async fn report(&self, event: RaftEvent) {
        if self.events.send(event).await.is_err() {
            tracing::debug!(member = %self.id, "nobody listens to raft transport any more");
        }
    }

    /// Whether the member is Skep. Asked once per loss of contact.
    async fn meet(&mut self) -> Result<bool, Refusal> {
        let known = *lock(&self.state);
        if let (Some(skep), Some(_)) = (known.skep, known.active_since) {
            return Ok(skep);
        }
        let mut client = PeerClient::new(self.channel.clone());
        let asked = Instant::now();
        let hello = skep_only(within(SEND_TIMEOUT, client.hello((self.greeting)())).await)?;
        let skep = hello.is_some();
        *lock(&self.state) = State { skep: Some(skep), active_since: Some(Instant::now()) };
        self.report(RaftEvent::Met { member: self.id, hello, round_trip: asked.elapsed() }).await;
        Ok(skep)
    }

    /// What waits is old by now: consensus sends anew what matters.
    async fn failed(&mut self, refusal: Refusal) {
        lock(&self.state).active_since = None;
        tracing::debug!(member = %self.id, %refusal, "raft messages are lost");
        if refusal.code == Code::NotFound && refusal.message == REMOVED {
            self.report(RaftEvent::Removed).await;
        }
        while let Ok(message) = self.messages.try_recv() {
            if message.kind == RaftKind::Snapshot {
                self.report(RaftEvent::Snapshot { to: self.id, delivered: false }).await;
            }
        }
        self.report(RaftEvent::Unreachable(self.id)).await;
    }

    /// Sends over one long-lived stream until it breaks.
    async fn stream(&mut self, first: RaftMessage) -> StreamEnd {
        let (frames, receiver) = mpsc::channel(STREAM_QUEUE);
        let mut client = PeerClient::new(self.channel.clone());
        let mut stream = pin!(client.raft_stream(ReceiverStream::new(receiver)));
        let mut next = Some(first);
        loop {
            if let Some(message) = next.take() {
                if message.kind == RaftKind::Snapshot {
                    // On a stream of its own: heartbeats must not wait behind it.
                    let (client, bytes) = (PeerClient::new(self.channel.clone()), message.bytes);
                    self.spawn_snapshot(stream_snapshot(client, bytes));
                } else {
                    for frame in frames_of(&message.bytes) {
                        tokio::select! {
                            sent = tokio::time::timeout(SEND_TIMEOUT, frames.send(frame)) => if !matches!(sent, Ok(Ok(()))) {
                                return StreamEnd::Broken(Refusal::new(Code::DeadlineExceeded, "the member takes nothing"));
                            },
                            end = stream.as_mut() => return broken(end),
                        }
                    }
                }
            }
            tokio::select! {
                message = self.messages.recv() => match message {
                    Some(message) => next = Some(message),
                    None => return StreamEnd::Dropped,
                },
                end = stream.as_mut() => return broken(end),
                () = self.loss.notified() => self.report(RaftEvent::Unreachable(self.id)).await,
                Some(_) = self.snapshots.join_next() => {}
            }
        }
    }

    /// Sends one message as SwarmKit does.
    async fn call(&mut self, message: RaftMessage) {
        let client = RaftClient::new(self.channel.clone());
        if message.kind == RaftKind::Snapshot {
            return self.spawn_snapshot(async move { send_pieces(client, split_snapshot(&message)?).await });
        }
        let mut answer = Err(Refusal::new(Code::Unimplemented, "unary"));
        if !self.unary {
            answer = send_pieces(client.clone(), vec![message.bytes.clone()]).await;
        }
        if answer.as_ref().is_err_and(|refusal| refusal.code == Code::Unimplemented) {
            self.unary = true;
            let mut client = client;
            let request = m::ProcessRaftMessageRequest { message: message.bytes };
            answer = within(SEND_TIMEOUT, client.process_raft_message(request)).await.map(|_| ());
        }
        if let Err(refusal) = answer {
            self.failed(refusal).await;
        }
    }

    fn spawn_snapshot(&mut self, send: impl Future<Output = Result<(), Refusal>> + Send + 'static) {
        let (events, to) = (self.events.clone(), self.id);
        self.snapshots.spawn(async move {
            let result = send.await;
            if let Err(refusal) = &result {
                tracing::warn!(member = %to, %refusal, "a snapshot did not arrive");
            }
            if events.send(RaftEvent::Snapshot { to, delivered: result.is_ok() }).await.is_err() {
                tracing::debug!(member = %to, "nobody listens to raft transport any more");
            }
        });
    }
}

fn broken(end: Result<Response<RaftStreamSummary>, Status>) -> StreamEnd {
    StreamEnd::Broken(match end {
        Ok(_) => Refusal::new(Code::Unavailable, "the member ended the stream"),
        Err(status) => failure(&status),
    })
}

fn frames_of(bytes: &Bytes) -> Vec<RaftFrame> {
    let count = bytes.len().div_ceil(FRAME_BYTES_MAX).max(1);
    let piece = |index: usize| bytes.slice(index * FRAME_BYTES_MAX..bytes.len().min((index + 1) * FRAME_BYTES_MAX));
    (0..count).map(|index| RaftFrame { message: piece(index), more: index + 1 < count }).collect()
}

/// The limit grows with every frame, as SwarmKit's does with every piece.
async fn stream_snapshot(mut client: PeerClient<Channel>, bytes: Bytes) -> Result<(), Refusal> {
    let frames = frames_of(&bytes);
    let limit = SEND_TIMEOUT.saturating_mul(u32::try_from(frames.len()).unwrap_or(u32::MAX));
    within(limit, client.raft_stream(tokio_stream::iter(frames))).await.map(|_| ())
}

async fn send_pieces(mut client: RaftClient<Channel>, pieces: Vec<Bytes>) -> Result<(), Refusal> {
    let limit = SEND_TIMEOUT.saturating_mul(u32::try_from(pieces.len()).unwrap_or(u32::MAX));
    let requests: Vec<_> = pieces.into_iter().map(|message| m::StreamRaftMessageRequest { message }).collect();
    within(limit, client.stream_raft_message(tokio_stream::iter(requests))).await.map(|_| ())
}
