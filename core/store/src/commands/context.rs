//! What a command needs beside the facts.

use std::collections::BTreeSet;
use std::fmt;

use rand_core::RngCore;
use skep_model::pb::types::{CaConfig, RootCa};
use skep_model::{Cluster, NodeId, Now, RaftId, Refusal, WallTime};

/// One member of the managers' quorum, as Raft knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberView {
    /// Its member number.
    pub raft_id: RaftId,
    /// The node it runs on.
    pub node_id: NodeId,
    /// Where it listens, `host:port`.
    pub addr: String,
    /// Whether it leads.
    pub leader: bool,
    /// Whether it answers now; a manager always reaches itself.
    pub reachable: bool,
    /// Whether it counts for the quorum; one that has just joined does not yet.
    pub votes: bool,
}

/// What a command needs beside the facts.
pub struct CommandContext<'a> {
    /// When it is carried out.
    pub now: Now,
    /// Source of ids, tokens and keys.
    pub rng: &'a mut dyn RngCore,
    /// The quorum as Raft knows it, this manager included.
    pub members: &'a [MemberView],
    /// Until when a certificate (PEM) is valid; `None` if it cannot be read.
    pub certificate_expiry: &'a dyn Fn(&[u8]) -> Option<WallTime>,
    /// The cluster's root under other settings, or why they cannot be had: who may issue certificates is decided there.
    pub root_under: &'a dyn Fn(&Cluster, &CaConfig) -> Result<RootCa, Refusal>,
    /// Whether placement constraints beyond Docker's grammar are allowed: only while every manager is known to
    /// understand them.
    pub extended_constraints: bool,
    /// Nodes that said they are Skep; what a node's description says comes on top.
    pub skep_nodes: &'a BTreeSet<NodeId>,
}

impl CommandContext<'_> {
    /// The member that runs on this node.
    pub fn member(&self, node: &NodeId) -> Option<&MemberView> {
        self.members.iter().find(|member| member.node_id == *node)
    }

    /// Whether the rest still has a reachable majority of itself when this member goes (interop §3.4).
    pub fn may_lose(&self, member: RaftId) -> bool {
        if self.members.iter().any(|known| known.raft_id == member && !known.votes) {
            return true;
        }
        let rest = || self.members.iter().filter(|other| other.raft_id != member && other.votes);
        let (left, reachable) = (rest().count(), rest().filter(|other| other.reachable).count());
        reachable > left / 2
    }
}

impl fmt::Debug for CommandContext<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CommandContext")
            .field("now", &self.now)
            .field("members", &self.members)
            .finish_non_exhaustive()
    }
}
