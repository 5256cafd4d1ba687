//! What the first manager of a new swarm brings: the facts that everything else hangs on.

use std::fmt;

use skep_model::{Cluster, Node};

/// The first facts. Proposed by the first leader if the store has no cluster yet.
#[derive(Clone)]
pub struct Genesis {
    /// The cluster object, with root certificate, key and tokens.
    pub cluster: Cluster,
    /// The first manager's own node.
    pub node: Node,
}

/// Leaves keys and tokens out.
impl fmt::Debug for Genesis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Genesis").field("node", &self.node.id).finish_non_exhaustive()
    }
}
