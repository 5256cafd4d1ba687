//! What other threads may read of the manager without asking its loop: small, and replaced after each turn.

use std::collections::BTreeMap;

use bytes::Bytes;
use skep_consensus::Member;
use skep_model::pb::types::NodeRole;
use skep_model::{NodeId, RaftId};

/// The loop's notice board.
#[derive(Clone, Default)]
pub struct Board {
    /// Members of the quorum.
    pub members: BTreeMap<RaftId, Member>,
    /// Numbers that were members once.
    pub removed: std::collections::BTreeSet<RaftId>,
    /// Roles that the store gives to nodes.
    pub roles: BTreeMap<NodeId, NodeRole>,
    /// Nodes whose certificates are refused.
    pub blacklisted: std::collections::BTreeSet<NodeId>,
    /// The root certificate bundle, exactly as the tokens' digest was made of it.
    pub root_certificate: Bytes,
    /// The key that opens managers after a restart, empty without autolock; and the cluster version it is of.
    pub unlock_key: (Bytes, u64),
}
