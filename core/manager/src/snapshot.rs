//! Snapshots: the store together with the membership, in SwarmKit's form (interop §5.6).

use bytes::Bytes;
use prost::Message as _;
use skep_consensus::{InstalledSnapshot, Member, MemberError, Membership};
use skep_model::RaftId;
use skep_model::pb::messages as m;
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

/// Takes a snapshot apart: the membership, and the facts.
pub fn decode_snapshot(data: Bytes) -> Result<(Membership, m::StoreSnapshot), SnapshotError> {
    let snapshot = m::Snapshot::decode(data)?;
    let cluster = snapshot.membership.unwrap_or_default();
    let members: Vec<Member> = cluster.members.into_iter().map(Member::try_from).collect::<Result<_, _>>()?;
    let membership = Membership::new(members, cluster.removed.into_iter().map(RaftId).collect());
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
        let membership = m::ClusterSnapshot {
            members: self.membership().iter().map(m::RaftMember::from).collect(),
            removed: self.membership().removed().iter().map(|id| id.0).collect(),
        };
        let snapshot = m::Snapshot {
            version: m::snapshot::Version::V0.into(),
            membership: Some(membership),
            store: Some(self.ledger.committed().snapshot()),
        };
        self.consensus.finish_snapshot(point, Bytes::from(snapshot.encode_to_vec()));
    }

    pub(crate) fn install(&mut self, snapshot: InstalledSnapshot) {
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
