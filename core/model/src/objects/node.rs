//! A node: one host of the swarm.

use bytes::Bytes;

use super::{Meta, ObjectError, object};
use crate::ids::NodeId;
use crate::kept::Kept;
use crate::pb::objects as pb;
use crate::pb::types::node_spec::Availability;
use crate::pb::types::{self, NodeRole, node_status};
use crate::verbatim::Verbatim;

/// The label that a Skep puts on its engine, so that every manager can tell for good what runs on a node; its value is
/// the revision of skep.v1.
pub const SKEP_ENGINE_LABEL: &str = "skep.revision";

/// The status message of a node that said it leaves for good. Docker's own object has no other place for it that other
/// managers keep, and people read it there.
pub const NODE_LEFT: &str = "node left the swarm";

/// What runs on a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Make {
    /// One of ours.
    Skep,
    /// A Docker Engine: whatever does not say that it is ours.
    Docker,
}

/// One host of the swarm. Names (hostnames) are not unique.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs)]
pub struct Node {
    pub id: NodeId,
    pub meta: Meta,
    pub spec: Verbatim<types::NodeSpec>,
    /// What the node says of itself; absent until it first registered.
    pub description: Option<Verbatim<types::NodeDescription>>,
    pub status: types::NodeStatus,
    /// Never stored: synthesised from Raft membership for readers.
    pub manager_status: Option<types::ManagerStatus>,
    /// Legacy copy of the ingress attachment.
    pub attachment: Option<pb::NetworkAttachment>,
    pub certificate: types::Certificate,
    /// The actual role; `spec.desired_role` is what the user asked for.
    pub role: NodeRole,
    pub attachments: Vec<pb::NetworkAttachment>,
    /// 0 means the default port.
    pub vxlan_udp_port: u32,
    /// Encoded fields of newer versions.
    pub unknown: Bytes,
}

object!(Node, NodeId, "node", |_node| "");

impl Node {
    /// What the node calls itself; empty until it first registered.
    pub fn hostname(&self) -> &str {
        self.description.as_ref().map_or("", |description| description.hostname.as_str())
    }

    /// Whether it has registered and its heartbeats arrive.
    pub fn is_ready(&self) -> bool {
        self.status.state() == node_status::State::Ready
    }

    /// Whether it said that it leaves for good: nobody comes back under its id.
    pub fn has_left(&self) -> bool {
        self.status.state() == node_status::State::Down && self.status.message == NODE_LEFT
    }

    /// What the operator allows on it.
    pub fn availability(&self) -> Availability {
        self.spec.availability()
    }

    /// What runs on it, by its own description; `None` until it first registered.
    pub fn make(&self) -> Option<Make> {
        let engine = self.description.as_ref()?.engine.as_ref();
        let ours = engine.is_some_and(|engine| engine.labels.contains_key(SKEP_ENGINE_LABEL));
        Some(if ours { Make::Skep } else { Make::Docker })
    }

    /// Ready for new tasks.
    pub fn takes_tasks(&self) -> bool {
        self.is_ready() && self.availability() == Availability::Active
    }
}

impl TryFrom<Kept<pb::Node>> for Node {
    type Error = ObjectError;

    fn try_from(kept: Kept<pb::Node>) -> Result<Self, ObjectError> {
        let Kept { value, unknown } = kept;
        let role = value.role();
        Ok(Self {
            id: NodeId::new(&value.id).map_err(|source| ObjectError::Id { kind: "node", source })?,
            meta: Meta::from(value.meta.as_ref()),
            spec: value.spec.unwrap_or_default(),
            description: value.description,
            status: value.status.unwrap_or_default(),
            manager_status: value.manager_status,
            attachment: value.attachment,
            certificate: value.certificate.unwrap_or_default(),
            role,
            attachments: value.attachments,
            vxlan_udp_port: value.vxlan_udp_port,
            unknown,
        })
    }
}

impl From<&Node> for Kept<pb::Node> {
    fn from(node: &Node) -> Self {
        Kept {
            value: pb::Node {
                id: node.id.to_string(),
                meta: Some(node.meta.into()),
                spec: Some(node.spec.clone()),
                description: node.description.clone(),
                status: Some(node.status.clone()),
                manager_status: node.manager_status.clone(),
                attachment: node.attachment.clone(),
                certificate: Some(node.certificate.clone()),
                role: node.role.into(),
                attachments: node.attachments.clone(),
                vxlan_udp_port: node.vxlan_udp_port,
            },
            unknown: node.unknown.clone(),
        }
    }
}
