//! Who belongs to the group and where it is reached. Raft itself knows numbers only.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message as _;
use skep_model::pb::messages::RaftMember;
use skep_model::{NodeId, RaftId};

/// A member of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub raft_id: RaftId,
    /// Its node; the CN of its certificate.
    pub node_id: NodeId,
    /// host:port of its cluster API.
    pub addr: String,
}

/// A change of the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipChange {
    /// A new voter; or a learner that becomes one.
    Add(Member),
    /// A new address of a member. Never reaches Raft's own configuration (feasibility: type 2 means another thing there).
    Update(Member),
    /// Gone for good; its number is never used again.
    Remove(RaftId),
    /// A new member without a vote, until it has the log. SwarmKit has no such thing: never while a Docker manager votes.
    AddLearner(Member),
}

/// The members, the numbers that were used up, and who goes but must not hear it yet (`removal.rs`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    members: BTreeMap<RaftId, Member>,
    removed: BTreeSet<RaftId>,
    leaving: BTreeMap<RaftId, Member>,
}

impl Membership {
    /// From a snapshot, or from the response to a join.
    pub fn new(members: impl IntoIterator<Item = Member>, removed: BTreeSet<RaftId>) -> Self {
        let members = members.into_iter().map(|member| (member.raft_id, member)).collect();
        Self { members, removed, leaving: BTreeMap::new() }
    }

    /// The same, with those among the removed that must not hear it yet: from a snapshot.
    pub fn with_leaving(mut self, leaving: impl IntoIterator<Item = Member>) -> Self {
        let removed = &self.removed;
        let leaving = leaving.into_iter().filter(|member| removed.contains(&member.raft_id));
        self.leaving = leaving.map(|member| (member.raft_id, member)).collect();
        self
    }

    /// A member by its number.
    pub fn get(&self, id: RaftId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// All members by number.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none (a joiner before its first message).
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The member that a node is.
    pub fn by_node(&self, node: &NodeId) -> Option<&Member> {
        self.members.values().find(|member| member.node_id == *node)
    }

    /// Numbers that were members once.
    pub fn removed(&self) -> &BTreeSet<RaftId> {
        &self.removed
    }

    /// Whether this number was a member once and is no more.
    pub fn is_removed(&self, id: RaftId) -> bool {
        self.removed.contains(&id)
    }

    /// Voters that were removed while others may not know it yet, so that their votes may still be needed.
    pub fn leaving(&self) -> impl Iterator<Item = &Member> {
        self.leaving.values()
    }

    /// Whether this number was removed, and may hear it.
    pub fn is_gone(&self, id: RaftId) -> bool {
        self.is_removed(id) && !self.leaving.contains_key(&id)
    }

    /// Numbers that were removed, and may hear it.
    pub fn gone(&self) -> impl Iterator<Item = RaftId> {
        self.removed.iter().copied().filter(|id| !self.leaving.contains_key(id))
    }

    /// Everybody who matters knows of all removals so far.
    pub(crate) fn settle(&mut self) {
        self.leaving.clear();
    }

    /// Nobody counted this one.
    pub(crate) fn settle_one(&mut self, id: RaftId) {
        self.leaving.remove(&id);
    }

    pub(crate) fn apply(&mut self, change: &MembershipChange) {
        match change {
            MembershipChange::Add(member) | MembershipChange::AddLearner(member) => {
                self.members.insert(member.raft_id, member.clone());
            }
            MembershipChange::Update(member) => {
                if let Some(known) = self.members.get_mut(&member.raft_id) {
                    known.addr.clone_from(&member.addr);
                }
            }
            MembershipChange::Remove(id) => {
                let gone = self.members.remove(id);
                self.leaving.extend(gone.map(|member| (*id, member)));
                self.removed.insert(*id);
            }
        }
    }
}

/// Whether a quorum of reachable voters would remain without `id` (source: SwarmKit's CanRemoveMember, interop §3.4: the
/// reachable ones after the removal are at least a majority of the remaining ones). `reachable` includes this member
/// itself. A learner counts for nothing, so that it can always go.
pub fn removal_keeps_quorum(voters: &BTreeSet<RaftId>, id: RaftId, reachable: &BTreeSet<RaftId>) -> bool {
    if !voters.contains(&id) {
        return true;
    }
    let rest = || voters.iter().filter(|&&voter| voter != id);
    let (remaining, live) = (rest().count(), rest().filter(|voter| reachable.contains(voter)).count());
    remaining > 0 && live > remaining / 2
}

impl Member {
    /// As a RaftMember message, the context of a ConfChange.
    pub fn encode(&self) -> Bytes {
        let message = RaftMember {
            raft_id: self.raft_id.0,
            node_id: self.node_id.as_str().to_owned(),
            addr: self.addr.clone(),
            ..RaftMember::default()
        };
        Bytes::from(message.encode_to_vec())
    }

    /// From a RaftMember message.
    pub fn decode(bytes: &[u8]) -> Result<Self, MemberError> {
        Self::try_from(RaftMember::decode(bytes)?)
    }
}

impl From<&Member> for RaftMember {
    fn from(member: &Member) -> Self {
        Self {
            raft_id: member.raft_id.0,
            node_id: member.node_id.to_string(),
            addr: member.addr.clone(),
            ..Self::default()
        }
    }
}

impl TryFrom<RaftMember> for Member {
    type Error = MemberError;

    fn try_from(message: RaftMember) -> Result<Self, MemberError> {
        if message.raft_id == 0 {
            return Err(MemberError::NoNumber);
        }
        let node_id = NodeId::new(&message.node_id)?;
        Ok(Self { raft_id: RaftId(message.raft_id), node_id, addr: message.addr })
    }
}

/// A RaftMember message that makes no member.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// Not a RaftMember message.
    #[error("the member cannot be decoded: {0}")]
    Undecodable(#[from] prost::DecodeError),
    /// Number 0 stands for none.
    #[error("the member has no number")]
    NoNumber,
    /// The node id is none.
    #[error("the member's node id: {0}")]
    NodeId(#[from] skep_model::ids::InvalidId),
}
