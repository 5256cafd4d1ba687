//! The payloads of sealed records. Protobuf, so that later versions can add to them; an entry is fixed, being many.

use bytes::Bytes;
use prost::Message;
use skep_consensus::{ConfState, EntryKind, HardState, LogEntry, Member, SnapshotMeta};
use skep_model::RaftId;

const ENTRY_HEAD_BYTES: usize = 17;

#[derive(Clone, PartialEq, Message)]
struct HardStateRecord {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "2")]
    vote: u64,
    #[prost(uint64, tag = "3")]
    commit: u64,
}

#[derive(Clone, PartialEq, Message)]
struct SnapshotRecord {
    #[prost(uint64, tag = "1")]
    index: u64,
    #[prost(uint64, tag = "2")]
    term: u64,
    #[prost(uint64, repeated, tag = "3")]
    voters: Vec<u64>,
    #[prost(uint64, repeated, tag = "4")]
    learners: Vec<u64>,
    #[prost(string, tag = "5")]
    file: String,
}

#[derive(Clone, PartialEq, Message)]
struct MembersRecord {
    #[prost(bytes = "vec", repeated, tag = "1")]
    members: Vec<Vec<u8>>,
}

pub(super) fn encode_members(members: &[Member]) -> Vec<u8> {
    MembersRecord { members: members.iter().map(|member| member.encode().to_vec()).collect() }.encode_to_vec()
}

pub(super) fn decode_members(bytes: &[u8]) -> Option<Vec<Member>> {
    let record = MembersRecord::decode(bytes).ok()?;
    record.members.iter().map(|member| Member::decode(member).ok()).collect()
}

/// A snapshot and the file that holds its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SnapshotPlace {
    pub(super) meta: SnapshotMeta,
    pub(super) file: String,
}

pub(super) fn encode_hard_state(state: &HardState) -> Vec<u8> {
    HardStateRecord { term: state.term, vote: state.vote, commit: state.commit }.encode_to_vec()
}

pub(super) fn decode_hard_state(bytes: &[u8]) -> Option<HardState> {
    let record = HardStateRecord::decode(bytes).ok()?;
    Some(HardState { term: record.term, vote: record.vote, commit: record.commit })
}

pub(super) fn encode_place(place: &SnapshotPlace) -> Vec<u8> {
    SnapshotRecord {
        index: place.meta.index,
        term: place.meta.term,
        voters: place.meta.conf.voters.iter().map(|id| id.0).collect(),
        learners: place.meta.conf.learners.iter().map(|id| id.0).collect(),
        file: place.file.clone(),
    }
    .encode_to_vec()
}

pub(super) fn decode_place(bytes: &[u8]) -> Option<SnapshotPlace> {
    let record = SnapshotRecord::decode(bytes).ok()?;
    let conf = ConfState {
        voters: record.voters.into_iter().map(RaftId).collect(),
        learners: record.learners.into_iter().map(RaftId).collect(),
    };
    Some(SnapshotPlace { meta: SnapshotMeta { index: record.index, term: record.term, conf }, file: record.file })
}

pub(super) fn encode_entry(entry: &LogEntry) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ENTRY_HEAD_BYTES + entry.data.len());
    bytes.extend_from_slice(&entry.index.to_be_bytes());
    bytes.extend_from_slice(&entry.term.to_be_bytes());
    bytes.push(match entry.kind {
        EntryKind::Normal => 0,
        EntryKind::MembershipChange => 1,
    });
    bytes.extend_from_slice(&entry.data);
    bytes
}

/// `None` when the record is none, or not that of `index`.
pub(super) fn decode_entry(index: u64, bytes: Vec<u8>) -> Option<LogEntry> {
    let (head, _) = bytes.split_first_chunk::<ENTRY_HEAD_BYTES>()?;
    let kind = match head[16] {
        0 => EntryKind::Normal,
        1 => EntryKind::MembershipChange,
        _ => return None,
    };
    let inside = u64::from_be_bytes(head[..8].try_into().ok()?);
    let term = u64::from_be_bytes(head[8..16].try_into().ok()?);
    if inside != index {
        return None;
    }
    Some(LogEntry { index, term, kind, data: Bytes::from(bytes).slice(ENTRY_HEAD_BYTES..) })
}
