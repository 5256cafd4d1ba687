//! The only place that knows raftpb: our types ↔ messages, and what a transport must do with message bytes.
//!
//! Numbers and limits: interop §5.3 and §12, feasibility §1.

use bytes::Bytes;
use prost_011::Message as _;
use raft::eraftpb::{self, EntryType, Message, MessageType};
use skep_model::RaftId;

use crate::effect::MessageKind;
use crate::state::{ConfState, EntryKind, HardState, LogEntry, SnapshotMeta};

/// Largest gRPC message between managers (SwarmKit's transport): larger snapshots are sent in pieces.
pub const SNAPSHOT_CHUNK_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Room for the envelope around a message in a ProcessRaftMessageRequest.
const ENVELOPE_BYTES: usize = 64;

/// What a transport reads off a message without deciding on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The sender that the message names; must match the certificate (decision 24).
    pub from: RaftId,
    /// The receiver.
    pub to: RaftId,
    /// The sender's term.
    pub term: u64,
    /// The kind. For `Snapshot` the index and term of the snapshot.
    pub kind: MessageKind,
    /// The message's own index, by which pieces of a snapshot belong together.
    pub index: u64,
}

/// Bytes that are no message, or pieces that do not belong together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not a raftpb.Message.
    #[error("not a raft message: {0}")]
    Undecodable(String),
    /// A snapshot was expected.
    #[error("not a snapshot message")]
    NotASnapshot,
    /// Pieces of different snapshots (SwarmKit answers InvalidArgument).
    #[error("raft message chunk with index {found} does not belong to the first chunk's index {expected}")]
    ForeignPiece {
        /// Index of the first piece.
        expected: u64,
        /// Index of this one.
        found: u64,
    },
    /// The snapshot is larger than the receiver allows.
    #[error("the snapshot is larger than {bytes_max} bytes")]
    TooLarge {
        /// The limit.
        bytes_max: usize,
    },
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Message, WireError> {
    Message::decode(bytes).map_err(|error| WireError::Undecodable(error.to_string()))
}

pub(crate) fn encode(message: &Message) -> Bytes {
    Bytes::from(message.encode_to_vec())
}

pub(crate) fn kind_of(message: &Message) -> MessageKind {
    match MessageType::from_i32(message.msg_type) {
        Some(MessageType::MsgAppend) => MessageKind::Append,
        Some(MessageType::MsgHeartbeat | MessageType::MsgHeartbeatResponse) => MessageKind::Heartbeat,
        Some(MessageType::MsgRequestVote | MessageType::MsgRequestPreVote) => MessageKind::Vote,
        Some(MessageType::MsgSnapshot) => {
            let meta = message.snapshot.as_ref().and_then(|snapshot| snapshot.metadata.as_ref());
            MessageKind::Snapshot { index: meta.map_or(0, |meta| meta.index), term: meta.map_or(0, |meta| meta.term) }
        }
        _ => MessageKind::Other,
    }
}

/// Reads the envelope of a message.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, WireError> {
    let message = decode(bytes)?;
    Ok(Inspection {
        from: RaftId(message.from),
        to: RaftId(message.to),
        term: message.term,
        kind: kind_of(&message),
        index: message.index,
    })
}

/// Cuts a snapshot message into pieces that each fit SwarmKit's limit; a small one, and every other message, is one
/// piece. Each piece is the whole message with a slice of the data.
pub fn split(bytes: &Bytes) -> Result<Vec<Bytes>, WireError> {
    if bytes.len() + ENVELOPE_BYTES <= SNAPSHOT_CHUNK_BYTES_MAX {
        return Ok(vec![bytes.clone()]);
    }
    let mut message = decode(bytes)?;
    let Some(snapshot) = message.snapshot.as_mut().filter(|snapshot| !snapshot.data.is_empty()) else {
        return Ok(vec![bytes.clone()]);
    };
    let data = std::mem::take(&mut snapshot.data);
    let room = SNAPSHOT_CHUNK_BYTES_MAX.saturating_sub(message.encoded_len() + ENVELOPE_BYTES).max(1);
    let mut pieces = Vec::with_capacity(data.len().div_ceil(room));
    for part in data.chunks(room) {
        if let Some(snapshot) = message.snapshot.as_mut() {
            snapshot.data = part.to_vec();
        }
        pieces.push(encode(&message));
    }
    Ok(pieces)
}

/// Joins the pieces that arrive on one StreamRaftMessage call.
#[derive(Debug)]
pub struct Assembler {
    first: Option<Message>,
    bytes_max: usize,
}

impl Assembler {
    /// `bytes_max` bounds the joined data.
    pub fn new(bytes_max: usize) -> Self {
        Self { first: None, bytes_max }
    }

    /// Takes a piece. Only snapshots come in several.
    pub fn add(&mut self, piece: &[u8]) -> Result<(), WireError> {
        let piece = decode(piece)?;
        let Some(first) = self.first.as_mut() else {
            self.first = Some(piece);
            return Ok(());
        };
        let snapshot_type = MessageType::MsgSnapshot as i32;
        if first.msg_type != snapshot_type || piece.msg_type != snapshot_type {
            return Err(WireError::NotASnapshot);
        }
        if first.index != piece.index {
            return Err(WireError::ForeignPiece { expected: first.index, found: piece.index });
        }
        let more = piece.snapshot.map(|snapshot| snapshot.data).unwrap_or_default();
        let data = &mut first.snapshot.get_or_insert_with(Default::default).data;
        if data.len() + more.len() > self.bytes_max {
            return Err(WireError::TooLarge { bytes_max: self.bytes_max });
        }
        data.extend_from_slice(&more);
        Ok(())
    }

    /// The whole message; `None` when no piece came.
    pub fn finish(self) -> Option<Bytes> {
        self.first.as_ref().map(encode)
    }
}

pub(crate) fn conf_to_raft(conf: &ConfState) -> eraftpb::ConfState {
    eraftpb::ConfState {
        voters: conf.voters.iter().map(|id| id.0).collect(),
        learners: conf.learners.iter().map(|id| id.0).collect(),
        ..eraftpb::ConfState::default()
    }
}

pub(crate) fn conf_from_raft(conf: &eraftpb::ConfState) -> ConfState {
    ConfState {
        voters: conf.voters.iter().copied().map(RaftId).collect(),
        learners: conf.learners.iter().copied().map(RaftId).collect(),
    }
}

pub(crate) fn meta_to_raft(meta: &SnapshotMeta) -> eraftpb::SnapshotMetadata {
    eraftpb::SnapshotMetadata { conf_state: Some(conf_to_raft(&meta.conf)), index: meta.index, term: meta.term }
}

pub(crate) fn meta_from_raft(meta: &eraftpb::SnapshotMetadata) -> SnapshotMeta {
    let conf = meta.conf_state.as_ref().map(conf_from_raft).unwrap_or_default();
    SnapshotMeta { index: meta.index, term: meta.term, conf }
}

pub(crate) fn hard_state_to_raft(state: &HardState) -> eraftpb::HardState {
    eraftpb::HardState { term: state.term, vote: state.vote, commit: state.commit }
}

pub(crate) fn hard_state_from_raft(state: &eraftpb::HardState) -> HardState {
    HardState { term: state.term, vote: state.vote, commit: state.commit }
}

pub(crate) fn entry_to_raft(entry: &LogEntry) -> eraftpb::Entry {
    let entry_type = match entry.kind {
        EntryKind::Normal => EntryType::EntryNormal,
        EntryKind::MembershipChange => EntryType::EntryConfChange,
    };
    eraftpb::Entry {
        entry_type: entry_type as i32,
        term: entry.term,
        index: entry.index,
        data: entry.data.to_vec(),
        ..eraftpb::Entry::default()
    }
}

/// Every entry was screened: it is one of the two kinds.
pub(crate) fn entry_from_raft(entry: &eraftpb::Entry) -> LogEntry {
    let kind = if entry.entry_type == EntryType::EntryConfChange as i32 {
        EntryKind::MembershipChange
    } else {
        EntryKind::Normal
    };
    LogEntry { index: entry.index, term: entry.term, kind, data: Bytes::copy_from_slice(&entry.data) }
}
