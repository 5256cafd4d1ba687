//! Who asks: what the transport learned from a certificate, handed to deciders that never see one.

use crate::ids::NodeId;
use crate::pb::types::NodeRole;

/// The authenticated caller of a cluster method.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// CN of the certificate.
    pub node: NodeId,
    /// OU of the certificate. The store's `Node.role` may have moved on: managers' methods check both.
    pub role: NodeRole,
    /// The manager that passed the call on, when it did not come directly.
    pub forwarded_by: Option<NodeId>,
    /// Address (without port) from which the caller itself connected.
    pub address: String,
}
