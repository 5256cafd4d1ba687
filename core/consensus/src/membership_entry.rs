//! Entries that change the membership, on the wire a raftpb.ConfChange.
//!
//! etcd and TiKV number the types differently (feasibility §1): 0 add and 1 remove agree, 2 means "update" on the wire
//! but "add learner" to raft, 3 means "add learner" on the wire and nothing to raft. So raft is never asked to read the
//! type: it is read here, and raft is given only what changes its configuration.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost_011::Message as _;
use raft::eraftpb::{ConfChange, ConfChangeType};
use skep_model::RaftId;

use crate::member::{Member, MembershipChange};
use crate::state::{EntryKind, LogEntry};

const WIRE_ADD: i32 = 0;
const WIRE_REMOVE: i32 = 1;
const WIRE_UPDATE: i32 = 2;
const WIRE_ADD_LEARNER: i32 = 3;

/// A change as an entry says it.
pub(crate) struct Change {
    pub(crate) request_id: u64,
    /// What raft is to do; nothing for an update.
    pub(crate) for_raft: Option<ConfChange>,
    /// What the membership table is to do; an error when its context is not readable. Raft's configuration changes all
    /// the same, as on Docker's managers.
    pub(crate) for_table: Result<MembershipChange, String>,
}

pub(crate) fn encode(request_id: u64, change: &MembershipChange) -> Bytes {
    let (change_type, node_id, context) = match change {
        MembershipChange::Add(member) => (WIRE_ADD, member.raft_id, member.encode()),
        MembershipChange::Remove(id) => (WIRE_REMOVE, *id, Bytes::new()),
        MembershipChange::Update(member) => (WIRE_UPDATE, member.raft_id, member.encode()),
        MembershipChange::AddLearner(member) => (WIRE_ADD_LEARNER, member.raft_id, member.encode()),
    };
    let change = ConfChange { id: request_id, change_type, node_id: node_id.0, context: context.to_vec() };
    Bytes::from(change.encode_to_vec())
}

/// The change of an entry, when it is one.
pub(crate) fn decode_entry(entry: &LogEntry) -> Option<Change> {
    if entry.kind == EntryKind::MembershipChange { decode(&entry.data).ok() } else { None }
}

impl Change {
    /// What raft makes of it, for a group that is not running.
    pub(crate) fn apply_to_voters(&self, voters: &mut BTreeSet<RaftId>) {
        let Some(change) = &self.for_raft else { return };
        if change.change_type == ConfChangeType::AddNode as i32 {
            voters.insert(RaftId(change.node_id));
        } else {
            voters.remove(&RaftId(change.node_id));
        }
    }
}

/// Reads an entry's bytes.
pub(crate) fn decode(data: &[u8]) -> Result<Change, String> {
    let wire = ConfChange::decode(data).map_err(|error| format!("not a change of membership: {error}"))?;
    if wire.node_id == 0 {
        return Err("a change of membership without a member".to_owned());
    }
    let raft_type = match wire.change_type {
        WIRE_ADD => Some(ConfChangeType::AddNode),
        WIRE_REMOVE => Some(ConfChangeType::RemoveNode),
        WIRE_UPDATE => None,
        WIRE_ADD_LEARNER => Some(ConfChangeType::AddLearnerNode),
        other => return Err(format!("a change of membership of the unknown type {other}")),
    };
    let for_raft = raft_type.map(|raft_type| ConfChange {
        id: wire.id,
        change_type: raft_type as i32,
        node_id: wire.node_id,
        context: Vec::new(),
    });
    let member = || {
        let member = Member::decode(&wire.context).map_err(|error| error.to_string())?;
        if member.raft_id.0 != wire.node_id {
            return Err("a change of membership that names two members".to_owned());
        }
        Ok(member)
    };
    let for_table = match wire.change_type {
        WIRE_ADD => member().map(MembershipChange::Add),
        WIRE_REMOVE => Ok(MembershipChange::Remove(RaftId(wire.node_id))),
        WIRE_UPDATE => member().map(MembershipChange::Update),
        _ => member().map(MembershipChange::AddLearner),
    };
    Ok(Change { request_id: wire.id, for_raft, for_table })
}
