//! The world outside the manager's loop: disk, transport, signatures. It performs and reports; it decides nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use skep_consensus::{LogEntry, LogRange, Member, MessageKind, Mode, PeerMessage, Persist};
use skep_disk::{DataKey, DiskError, LogStore as _, PreparedSnapshot, RaftDisk};
use skep_manager::{FetchId, Inquiry, RootRequest, SecretRequest, Signing, SnapshotJob, StreamId};
use skep_model::pb::skep::pace_response::Pace;
use skep_model::pb::types::NodeRole;
use skep_model::{Code, NodeId, RaftId, Refusal};
use skep_pki::{Next, Present};
use skep_rpc::{Clients, RaftKind, RaftMessage, RaftTransport, Server};
use skep_store::{Read as _, Store};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Trouble;
use super::ask::{Ask, Handle, Reply};
use super::authority::Authority;
use crate::plugins::Plugins;

/// What the loop performs its effects with.
pub struct Outside {
    disk: RaftDisk,
    transport: Arc<RaftTransport>,
    clients: Arc<Clients>,
    runtime: tokio::runtime::Handle,
    authority: Authority,
    plugins: Plugins,
    own: RaftId,
    skep_nodes: Arc<Mutex<BTreeSet<NodeId>>>,
    server: Arc<Server>,
    troubles: mpsc::Sender<Trouble>,
    known: BTreeSet<RaftId>,
    handle: Option<Handle>,
}

/// What the loop's world is made of.
pub struct OutsideParts {
    /// The raft log.
    pub disk: RaftDisk,
    /// The way to other managers.
    pub transport: Arc<RaftTransport>,
    /// Calls to them.
    pub clients: Arc<Clients>,
    /// Nodes that said they are Skep.
    pub skep_nodes: Arc<Mutex<BTreeSet<NodeId>>>,
    /// The cluster port, to close connections of nodes that were removed.
    pub server: Arc<Server>,
    /// Who is told that this manager cannot go on.
    pub troubles: mpsc::Sender<Trouble>,
    /// Signs.
    pub authority: Authority,
    /// Drivers of secrets.
    pub plugins: Plugins,
}

impl Outside {
    /// Everything but the loop's own handle.
    pub fn new(parts: OutsideParts) -> Self {
        let OutsideParts { disk, transport, clients, skep_nodes, server, troubles, authority, plugins } = parts;
        let own = disk.member().raft_id;
        let runtime = tokio::runtime::Handle::current();
        Self {
            disk,
            transport,
            clients,
            runtime,
            authority,
            plugins,
            own,
            skep_nodes,
            server,
            troubles,
            known: BTreeSet::new(),
            handle: None,
        }
    }

    pub(super) fn with_handle(mut self, handle: Handle) -> Self {
        self.handle = Some(handle);
        self
    }

    /// One batch, one fsync.
    pub(super) fn write(&mut self, writes: &[Persist]) -> Result<(), DiskError> {
        self.disk.write(writes)
    }

    /// Entries for a follower that lags; none when they cannot be read, and a snapshot is sent instead.
    pub(super) fn fetch(&mut self, range: LogRange) -> Vec<LogEntry> {
        self.disk.read_entries(range).unwrap_or_else(|error| {
            tracing::error!("old log entries cannot be read: {error}");
            Vec::new()
        })
    }

    pub(super) fn send(&mut self, message: PeerMessage) {
        let kind = match message.kind {
            MessageKind::Vote => RaftKind::Vote,
            MessageKind::Snapshot { index, term } => return self.send_snapshot(message, index, term),
            MessageKind::Append | MessageKind::Heartbeat | MessageKind::Other => RaftKind::Other,
        };
        let message = RaftMessage { to: message.to, from: message.from, kind, index: 0, bytes: message.encode() };
        let to = message.to;
        if !self.transport.send(message) {
            self.report(Ask::Reachable(to, false));
        }
    }

    /// Snapshots are read from disk away from the loop.
    fn send_snapshot(&self, message: PeerMessage, index: u64, term: u64) {
        let reader = self.disk.snapshot_reader();
        let transport = Arc::clone(&self.transport);
        let Some(handle) = self.handle.clone() else { return };
        self.runtime.spawn_blocking(move || {
            let (to, from) = (message.to, message.from);
            let whole = reader
                .load(index, term)
                .map_err(|error| error.to_string())
                .and_then(|data| message.with_snapshot_data(&data).map_err(|error| error.to_string()));
            let sent = match whole {
                Ok(message) => {
                    transport.send(RaftMessage { to, from, kind: RaftKind::Snapshot, index, bytes: message.encode() })
                }
                Err(error) => {
                    tracing::error!("the snapshot at {index} cannot be sent: {error}");
                    false
                }
            };
            if !sent {
                tell(&handle, Ask::SnapshotSent(to, false));
            }
        });
    }

    /// Encodes a snapshot and writes its file away from the loop, which would be silent meanwhile.
    pub(super) fn encode_snapshot(&self, job: Box<SnapshotJob>) {
        let Some(handle) = self.handle.clone() else { return };
        let writer = self.disk.snapshot_writer();
        let point = job.point().clone();
        let encoding = self.runtime.spawn_blocking(move || {
            let data = job.encode();
            let prepared = writer.prepare(&job.point().meta, &data);
            (data, prepared)
        });
        self.runtime.spawn(async move {
            let encoded = match encoding.await {
                Ok((data, Ok(prepared))) => Some((data, Some(prepared))),
                Ok((data, Err(error))) => {
                    // The loop tries it once more, and says so if the disk takes nothing.
                    tracing::debug!("a snapshot could not be written beforehand: {error}");
                    Some((data, None))
                }
                Err(error) => {
                    tracing::error!("a snapshot could not be encoded: {error}");
                    None
                }
            };
            if let Err(refusal) = handle.tell_surely(Ask::SnapshotEncoded(point, encoded)) {
                tracing::debug!("{refusal}");
            }
        });
    }

    /// A snapshot lies in its file already.
    pub(super) fn snapshot_prepared(&mut self, prepared: PreparedSnapshot) {
        self.disk.prepared(prepared);
    }

    /// Asks a member for its pace, away from the loop.
    pub(super) fn ask_pace(&self, member: RaftId, address: String, applied: u64) {
        let Some(handle) = self.handle.clone() else { return };
        let clients = Arc::clone(&self.clients);
        self.runtime.spawn(async move {
            let pace = clients.pace(&address, applied).await.unwrap_or_else(|refusal| {
                tracing::debug!(%member, "a manager did not say at which pace it goes: {refusal}");
                None
            });
            let mode = pace.and_then(|pace| match pace {
                Pace::Docker => Some(Mode::Docker),
                Pace::Skep => Some(Mode::Skep),
                Pace::Unspecified => None,
            });
            tell(&handle, Ask::PaceAnswered(member, mode));
        });
    }

    /// The transport learns who the members are.
    pub(super) fn members(&mut self, members: &[Member]) {
        let now: BTreeSet<RaftId> = members.iter().map(|member| member.raft_id).collect();
        for gone in self.known.difference(&now) {
            self.transport.remove_peer(*gone);
        }
        for member in members.iter().filter(|member| member.raft_id != self.own) {
            if let Err(refusal) = self.transport.set_peer(member.raft_id, member.node_id.clone(), &member.addr) {
                tracing::warn!("manager {} cannot be reached: {refusal}", member.node_id);
            }
        }
        self.known = now;
    }

    /// Signs away from the loop: a signature takes longer than a turn.
    pub(super) fn sign(&self, signing: Signing, facts: &Store) {
        let Some(handle) = self.handle.clone() else { return };
        let Some(cluster) = facts.cluster() else { return };
        let authority = self.authority.clone();
        let said = facts.node(&signing.node).and_then(|node| node.certificate.status.clone()).unwrap_or_default().err;
        self.runtime.spawn(async move {
            let result = authority.sign(&signing, &cluster).await;
            // What is tried again and again is told once.
            if let Err(failure) = result.as_ref().map_err(|failure| &failure.reason).map(drop)
                && *failure != said
            {
                tracing::warn!("the certificate of {} cannot be signed: {failure}", signing.node);
            }
            tell(&handle, Ask::Signed(Box::new(signing), result));
        });
    }

    /// Makes a root away from the loop.
    pub(super) fn make_root(&self, request: RootRequest) {
        let Some(handle) = self.handle.clone() else { return };
        let authority = self.authority.clone();
        self.runtime.spawn(async move {
            let present = Present::Own(request.certificate.clone(), request.key.clone());
            let made = authority.vouch(present, Next::Made).await;
            tell(&handle, Ask::RootMade(Box::new(request), made));
        });
    }

    /// Finds something out away from the loop.
    pub(super) fn inquire(&self, number: u64, inquiry: Inquiry) {
        let Some(handle) = self.handle.clone() else { return };
        let authority = self.authority.clone();
        self.runtime.spawn(async move {
            let finding = authority.find(inquiry).await;
            tell(&handle, Ask::Inquired(number, finding));
        });
    }

    /// Asks a secret's driver away from the loop. The value goes to the loop and nowhere else.
    pub(super) fn fetch_secret(&self, fetch: FetchId, request: Box<SecretRequest>) {
        let Some(handle) = self.handle.clone() else { return };
        let plugins = self.plugins.clone();
        self.runtime.spawn(async move {
            let result = plugins.secret(&request).await;
            tell(&handle, Ask::SecretFetched(fetch, result));
        });
    }

    /// Signs this node's own request away from the loop.
    pub(super) fn sign_own(&self, csr: Bytes, node: NodeId, facts: &Store, reply: Reply<Bytes>) {
        let known = facts.node(&node).filter(|known| known.role == NodeRole::Manager);
        let (Some(known), Some(cluster)) = (known, facts.cluster()) else {
            let refusal = Refusal::new(Code::FailedPrecondition, "this node is no manager in its own store");
            return super::run::answer(reply, Err(refusal));
        };
        let authority = self.authority.clone();
        self.runtime.spawn(async move {
            let signing = Signing {
                node: known.id.clone(),
                role: known.role,
                csr,
                root: skep_pki::issuing_root(&cluster).clone(),
            };
            let result = authority.sign(&signing, &cluster).await;
            super::run::answer(reply, result.map_err(|failure| Refusal::new(Code::Internal, failure.reason)));
        });
    }

    /// Puts the log under another key; nothing happens when it is under it already.
    pub(super) fn rotate_key(&mut self, key: &DataKey) -> Result<(), DiskError> {
        if self.disk.key() == key { Ok(()) } else { self.disk.rotate_key(key) }
    }

    /// How many snapshots stay beside the newest.
    pub(super) fn keep_old_snapshots(&mut self, count: u64) {
        self.disk.set_keep_old_snapshots(usize::try_from(count).unwrap_or(usize::MAX));
    }

    /// Closes the connections of nodes that were removed from the swarm.
    pub(super) fn disconnect(&self, nodes: &BTreeSet<NodeId>) {
        self.server.disconnect_where(|peer| peer.is_some_and(|peer| nodes.contains(&peer.node)));
    }

    pub(super) fn troubles(&self) -> mpsc::Sender<Trouble> {
        self.troubles.clone()
    }

    /// Tells the node that this manager cannot go on.
    pub(super) fn give_up(&self, reason: &str) {
        tracing::error!("this manager stops: {reason}");
        if let Err(error) = self.troubles.try_send(Trouble::Fatal(reason.to_owned())) {
            tracing::error!("the node was not told that its manager stopped: {error}");
        }
    }

    /// Whether a node is known as a Skep.
    pub(super) fn is_skep(&self, node: &NodeId) -> bool {
        self.skep_nodes.lock().unwrap_or_else(PoisonError::into_inner).contains(node)
    }

    /// Tells the loop when `closed` is done.
    pub(super) fn spawn_feed_watch(
        &self,
        stream: StreamId,
        closed: impl Future<Output = ()> + Send + 'static,
    ) -> Option<AbortHandle> {
        let handle = self.handle.clone()?;
        let watch = self.runtime.spawn(async move {
            closed.await;
            tell(&handle, Ask::FeedClosed(stream));
        });
        Some(watch.abort_handle())
    }

    pub(super) fn close(self) {
        for id in &self.known {
            self.transport.remove_peer(*id);
        }
    }

    fn report(&self, ask: Ask) {
        if let Some(handle) = &self.handle {
            tell(handle, ask);
        }
    }
}

fn tell(handle: &Handle, ask: Ask) {
    if let Err(refusal) = handle.tell(ask) {
        tracing::debug!("{refusal}");
    }
}
