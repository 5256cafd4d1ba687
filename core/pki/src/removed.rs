//! Nodes that were removed: their certificates open nothing any more.

use skep_model::NodeId;
use skep_model::pb::types::NodeRole;
use skep_store::Read;

/// Whether a node's certificate is blacklisted.
pub fn is_removed(read: &impl Read, node: &NodeId) -> bool {
    read.cluster().is_some_and(|cluster| cluster.blacklisted_certificates.contains_key(node.as_str()))
}

/// The role that the store gives a node; `None` when it does not know the node.
pub fn stored_role(read: &impl Read, node: &NodeId) -> Option<NodeRole> {
    read.node(node).map(|node| node.role)
}
