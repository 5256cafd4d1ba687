//! Snapshots: the store together with the membership, in SwarmKit's form (interop §5.6).

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use prost::encoding::WireType;
use skep_consensus::{InstalledSnapshot, Member, MemberError, Membership, SnapshotPoint};
use skep_model::pb::messages as m;
use skep_model::pb::skep;
use skep_model::{RaftId, Task};
use skep_store::{RestoreError, Store};

use crate::effect::Effect;
use crate::state::Manager;

/// A snapshot that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Not the message it should be.
    #[error("the snapshot cannot be decoded")]
    Decode(#[from] prost::DecodeError),
    /// A member in it is none.
    #[error("the snapshot's membership cannot be used")]
    Member(#[from] MemberError),
    /// The store refuses it.
    #[error("the snapshot's objects cannot be used")]
    Restore(#[from] RestoreError),
}

/// The field of the store.
const STORE_TAG: u32 = 3;

/// With so many tasks a snapshot is encoded by the manager itself; one of more would keep others waiting meanwhile.
const ENCODED_AT_ONCE_MAX: usize = 2048;

/// A snapshot that is still to be encoded, wherever that keeps nobody waiting: nothing of it changes any more.
#[derive(Debug)]
pub struct SnapshotJob {
    point: SnapshotPoint,
    membership: Membership,
    store: skep_store::Snapshot,
}

impl SnapshotJob {
    /// Its place in the log, for `Manager::snapshot_encoded`.
    pub fn point(&self) -> &SnapshotPoint {
        &self.point
    }

    /// Whether the other one is of the same place in the log and has the same bytes.
    pub fn is_same(&self, other: &Self) -> bool {
        self.point == other.point && self.membership == other.membership && self.store.is_same(&other.store)
    }

    /// Its bytes.
    pub fn encode(&self) -> Bytes {
        encode_snapshot(&self.membership, &self.store)
    }
}

type Encode = dyn Fn(SnapshotJob) -> Bytes + Send + Sync;

/// Encodes snapshots that are small enough for the manager itself. Whoever runs several managers in one process may
/// encode once what is the same; the bytes must be those of [`SnapshotJob::encode`].
#[derive(Clone, Default)]
pub struct SnapshotEncoder(Option<Arc<Encode>>);

impl SnapshotEncoder {
    /// Encodes by this function.
    pub fn new(encode: impl Fn(SnapshotJob) -> Bytes + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(encode)))
    }

    fn encode(&self, job: SnapshotJob) -> Bytes {
        match &self.0 {
            Some(encode) => encode(job),
            None => job.encode(),
        }
    }
}

impl fmt::Debug for SnapshotEncoder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_some() { "SnapshotEncoder(shared)" } else { "SnapshotEncoder" })
    }
}

/// Written in one go: of a large swarm, neither a copy of the store as messages nor a second one of the bytes is made.
fn encode_snapshot(membership: &Membership, store: &skep_store::Snapshot) -> Bytes {
    let cluster = m::ClusterSnapshot {
        members: membership.iter().map(m::RaftMember::from).collect(),
        removed: membership.removed().iter().map(|id| id.0).collect(),
    };
    let head =
        m::Snapshot { version: m::snapshot::Version::V0.into(), membership: Some(cluster), ..Default::default() };
    let addition = skep::SnapshotAddition { leaving: membership.leaving().map(leaving).collect() };
    let store_len = store.encoded_len();
    let head_len = head.encoded_len() + addition.encoded_len();
    let mut out = Vec::with_capacity(head_len + 1 + prost::length_delimiter_len(store_len) + store_len);
    head.encode_raw(&mut out);
    addition.encode_raw(&mut out);
    prost::encoding::encode_key(STORE_TAG, WireType::LengthDelimited, &mut out);
    prost::encoding::encode_varint(store_len as u64, &mut out);
    store.encode(&mut out);
    Bytes::from(out)
}

fn leaving(member: &Member) -> skep::LeavingMember {
    skep::LeavingMember { raft_id: member.raft_id.0, node_id: member.node_id.to_string(), addr: member.addr.clone() }
}

fn leaving_member(said: skep::LeavingMember) -> Result<Member, MemberError> {
    let skep::LeavingMember { raft_id, node_id, addr } = said;
    Member::try_from(m::RaftMember { raft_id, node_id, addr, ..Default::default() })
}

/// Takes a snapshot apart: the membership, and the facts.
pub fn decode_snapshot(data: Bytes) -> Result<(Membership, m::StoreSnapshot), SnapshotError> {
    let addition = skep::SnapshotAddition::decode(data.clone())?;
    let snapshot = m::Snapshot::decode(data)?;
    let cluster = snapshot.membership.unwrap_or_default();
    let members: Vec<Member> = cluster.members.into_iter().map(Member::try_from).collect::<Result<_, _>>()?;
    let leaving: Vec<Member> = addition.leaving.into_iter().map(leaving_member).collect::<Result<_, _>>()?;
    let membership = Membership::new(members, cluster.removed.into_iter().map(RaftId).collect()).with_leaving(leaving);
    Ok((membership, snapshot.store.unwrap_or_default()))
}

impl Manager {
    /// The facts of a snapshot that was recovered from disk.
    pub fn facts_from_snapshot(data: Bytes) -> Result<(Membership, Store), SnapshotError> {
        let (membership, facts) = decode_snapshot(data)?;
        let mut store = Store::default();
        store.restore(facts)?;
        Ok((membership, store))
    }

    pub(crate) fn take_snapshot(&mut self) {
        let Some(point) = self.consensus.begin_snapshot() else { return };
        let facts = self.ledger.committed();
        let job = SnapshotJob { point, membership: self.membership().clone(), store: facts.snapshot() };
        if facts.count::<Task>() <= ENCODED_AT_ONCE_MAX {
            let point = job.point.clone();
            let data = self.snapshot_encoder.encode(job);
            return self.consensus.finish_snapshot(point, data);
        }
        self.effects.push(Effect::EncodeSnapshot(Box::new(job)));
    }

    /// The snapshot that was to be encoded at this point of the log; nothing if it could not be, in which case there will
    /// be another one.
    pub fn snapshot_encoded(&mut self, point: SnapshotPoint, data: Option<Bytes>) {
        match data {
            Some(data) => self.consensus.finish_snapshot(point, data),
            None => self.consensus.abandon_snapshot(),
        }
    }

    pub(crate) fn install(&mut self, snapshot: InstalledSnapshot) {
        self.finish_lists();
        let installed = decode_snapshot(snapshot.data).and_then(|(membership, facts)| {
            self.ledger.restore(facts)?;
            Ok(membership)
        });
        match installed {
            Ok(membership) => {
                self.consensus.restore_membership(membership);
                self.read_snapshot_policy();
                self.applied = snapshot.index;
                self.close_all();
                self.tell_members();
                self.pace.is_stale = true;
                self.effects.push(Effect::Replaced);
            }
            Err(error) => {
                // Consensus is behind the snapshot already, the facts are not: whatever followed would be wrong.
                let mut message = format!("the leader's snapshot at {} cannot be used: {error}", snapshot.index);
                if let Some(cause) = std::error::Error::source(&error) {
                    message = format!("{message}: {cause}");
                }
                self.effects.push(Effect::Fatal(message));
            }
        }
    }
}
