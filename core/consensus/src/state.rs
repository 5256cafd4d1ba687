//! What lies on disk, in our own types.

use std::collections::BTreeSet;

use bytes::Bytes;
use skep_model::RaftId;

use crate::member::Member;

/// Term, vote and commit index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term seen.
    pub term: u64,
    /// The candidate voted for in that term; 0 for none.
    pub vote: u64,
    /// The highest index known to be committed.
    pub commit: u64,
}

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Proposed bytes, or nothing for the first entry of a term.
    Normal,
    /// A raftpb.ConfChange.
    MembershipChange,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its place, from 1, without gaps.
    pub index: u64,
    /// The term in which it was appended.
    pub term: u64,
    /// What `data` is.
    pub kind: EntryKind,
    /// Opaque here.
    pub data: Bytes,
}

/// Who votes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfState {
    /// Voters.
    pub voters: BTreeSet<RaftId>,
    /// Members that receive the log without a vote: they have joined and are not caught up yet.
    pub learners: BTreeSet<RaftId>,
}

/// Where a snapshot stands in the log. Index 0 stands for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The last index it covers.
    pub index: u64,
    /// The term of that index.
    pub term: u64,
    /// The configuration as of that index.
    pub conf: ConfState,
}

/// What was read back from disk. The store is expected to be restored from the same snapshot (empty without one);
/// entries that are known as committed come out of the first turn again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Term, vote and commit index.
    pub hard_state: HardState,
    /// The newest snapshot.
    pub snapshot: SnapshotMeta,
    /// Bytes of the newest snapshot's data: the log may grow as large before the next one is due.
    pub snapshot_size_bytes: u64,
    /// Membership as of that snapshot, from its data.
    pub members: Vec<Member>,
    /// Members removed before that snapshot, from its data.
    pub removed: BTreeSet<RaftId>,
    /// Those among them that must not hear it yet, from that snapshot's data.
    pub leaving: Vec<Member>,
    /// The log, without gaps. May begin before the snapshot's end (entries kept for slow followers).
    pub entries: Vec<LogEntry>,
}
