//! What a step wants done, as values. The shell performs them in the order of the fields of [`Effects`].

use bytes::Bytes;
use raft::eraftpb::Message;
use skep_model::RaftId;

use crate::error::StepError;
use crate::member::MembershipChange;
use crate::state::{ConfState, HardState, LogEntry, SnapshotMeta};
use crate::wire::{self, WireError};

/// What one turn wants done. Order: hand out `send`; install, apply `committed`, answer `reads`, look at `role`; write
/// `persist` and then call `Consensus::persisted`. Whatever must wait for the write is kept back until that call, so
/// that the caller cannot acknowledge too early. Writing before applying is as good: nothing in `committed` waits for
/// the `persist` of the same turn.
#[derive(Debug, Default)]
pub struct Effects {
    /// May leave at once, in this order for each peer. Delivery is not promised to Raft; order per peer is wished.
    pub send: Vec<PeerMessage>,
    /// A snapshot that replaces the whole store, and with it everything applied so far. Comes before `committed`.
    pub install: Option<InstalledSnapshot>,
    /// Committed entries in index order without gaps, each given exactly once per process.
    pub committed: Vec<Committed>,
    /// Answers to `read_index`.
    pub reads: Vec<ReadReady>,
    /// Set when anything of the role changed.
    pub role: Option<Role>,
    /// What to write, in the order given over all turns. `Consensus::persisted(number)` acknowledges it.
    pub persist: Option<Persist>,
    /// Old entries to read from disk for a follower that lags; answer with `Consensus::log_fetched`.
    pub fetch: Vec<LogRange>,
    /// Encode a snapshot of the store as it is after `committed`, see `Consensus::begin_snapshot`.
    pub take_snapshot: bool,
}

/// A message between members. What travels is a raftpb.Message, which the transport encodes and decodes.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerMessage {
    /// The receiver.
    pub to: RaftId,
    /// The sender.
    pub from: RaftId,
    /// What the transport must know about it.
    pub kind: MessageKind,
    /// For `MessageKind::Snapshot` still without the snapshot's data. Large, and passed on through many hands.
    pub(crate) message: Box<Message>,
}

impl PeerMessage {
    pub(crate) fn new(message: Message) -> Self {
        let (to, from, kind) = (RaftId(message.to), RaftId(message.from), wire::kind_of(&message));
        Self { to, from, kind, message: Box::new(message) }
    }

    /// As it travels.
    pub fn encode(&self) -> Bytes {
        wire::encode(&self.message)
    }

    /// From what has travelled.
    pub fn decode(bytes: &[u8]) -> Result<Self, StepError> {
        let malformed = |error: WireError| StepError::Malformed { reason: error.to_string() };
        wire::decode(bytes).map(Self::new).map_err(malformed)
    }

    /// Completes a message of kind `Snapshot` with the snapshot's data, read from disk.
    pub fn with_snapshot_data(mut self, data: &[u8]) -> Result<Self, WireError> {
        let snapshot = self.message.snapshot.as_mut().ok_or(WireError::NotASnapshot)?;
        snapshot.data = data.to_vec();
        Ok(self)
    }
}

/// What the transport must know about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// Entries, or news of the commit index.
    Append,
    /// A heartbeat or its answer.
    Heartbeat,
    /// A request for a vote or a pre-vote: SwarmKit's receivers health-check the sender first (interop §5.3).
    Vote,
    /// A snapshot; its outcome must be told by `Consensus::report_snapshot`.
    Snapshot {
        /// The last index it covers.
        index: u64,
        /// The term of that index.
        term: u64,
    },
    /// Everything else.
    Other,
}

/// What must be on disk before the shell calls `Consensus::persisted(number)`. Write in this order: snapshot, entries
/// and hard state (one transaction), compaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Persist {
    /// Grows by one each time.
    pub number: u64,
    /// Whether an fsync is needed before acknowledging. False for a mere advance of the commit index.
    pub sync: bool,
    /// A snapshot to keep as the newest.
    pub snapshot: Option<SnapshotToSave>,
    /// Term, vote and commit index, when they changed.
    pub hard_state: Option<HardState>,
    /// Entries in index order without gaps. Everything on disk at or after the first one's index is replaced.
    pub entries: Vec<LogEntry>,
    /// Entries at and before this index may be deleted once the snapshot is durable.
    pub compact_to: Option<u64>,
}

/// A snapshot with its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotToSave {
    /// Index, term and configuration.
    pub meta: SnapshotMeta,
    /// The store's own encoding, opaque here.
    pub data: Bytes,
    /// It came from the leader: the whole log on disk, which ends before or contradicts it, is to be dropped.
    pub replaces_log: bool,
}

/// A snapshot from the leader for the store. The caller decodes it and gives the membership it carries to
/// `Consensus::restore_membership`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledSnapshot {
    /// The last index it covers.
    pub index: u64,
    /// The term of that index.
    pub term: u64,
    /// Opaque here.
    pub data: Bytes,
}

/// An entry that a quorum has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its index in the log.
    pub index: u64,
    /// The term in which it was appended.
    pub term: u64,
    /// What it says.
    pub payload: Payload,
}

/// What a committed entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The entry with which a leader starts its term, a mark or a probe (`Consensus::probe`).
    Empty,
    /// Proposed bytes.
    Data(Bytes),
    /// A change of membership, already in force.
    Membership {
        /// The proposer's id for it.
        request_id: u64,
        /// What changed.
        change: MembershipChange,
    },
    /// A change of membership that cannot be read or carried out; every member skips it alike.
    Unusable {
        /// Why.
        reason: String,
    },
}

/// A linearizable read may be served once everything up to `index` is applied (it is, by the time this is handed out).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadReady {
    /// The caller's number of the request.
    pub request: u64,
    /// The commit index when the request was made.
    pub index: u64,
}

/// Who leads, as far as this member knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Role {
    /// The leader of `term`, when known.
    pub leader: Option<RaftId>,
    /// The current term. The leader's epoch: `propose` takes it back.
    pub term: u64,
    /// This member leads.
    pub is_leader: bool,
    /// This member leads and has applied an entry of its own term, hence everything acknowledged before: it may decide.
    pub is_ready: bool,
    /// This member was removed from the group for good, and nobody needs its vote any more.
    pub is_removed: bool,
    /// This member counts for the quorum; one that has just joined does not until it has the log.
    pub votes: bool,
}

/// Entries wanted from disk: `[low, high)`, at least one, together at most about `bytes_max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRange {
    /// First index.
    pub low: u64,
    /// One past the last index.
    pub high: u64,
    /// Stop after the entry that exceeds this many bytes.
    pub bytes_max: u64,
}

/// The place in the log of a snapshot that is being encoded: `Consensus::begin_snapshot` → `finish_snapshot`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPoint {
    /// Index, term and configuration as of that index.
    pub meta: SnapshotMeta,
}

impl SnapshotPoint {
    /// The configuration at that index.
    pub fn conf(&self) -> &ConfState {
        &self.meta.conf
    }
}
