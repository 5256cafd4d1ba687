//! What a change of the swarm's root waits for, for operators: nodes that are named, and the way out.

use std::fmt;
use std::sync::Arc;

use skep_model::pb::types::node_status::State;
use skep_model::{Cluster, Node, NodeId};
use skep_store::Read;

use crate::root_change::{IssuerIdentity, behind_in, is_root_wanted, is_told, tls_info};

/// Nodes that are named to whom wants to know what a change waits for.
const NAMED_MAX: usize = 5;

/// Why a change of root that was asked for does not begin, or does not end.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the change of the swarm's root waits for {}, which {why}: start it, or remove it for good (docker node rm)", self.names()
)]
pub struct RootHeldUp {
    /// Host names and ids.
    pub by: Vec<(String, NodeId)>,
    /// What is the matter with them.
    pub why: HoldUp,
}

/// What is the matter with nodes that a change of root waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoldUp {
    /// They have not left, and still trust an earlier root than the present one, for they were off when the last change
    /// ended. The next root is vouched for by the present one alone, so that they could talk to nobody any more, would
    /// never hear of either, and would be waited for in vain: the change does not begin.
    TrustsAnEarlierRoot,
    /// They are down and have no certificate of the next root: the change does not end.
    IsDown,
    /// They are down and trust the root before: it goes on vouching.
    IsNotTold,
}

impl fmt::Display for HoldUp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TrustsAnEarlierRoot => "did not hear of the end of the last one",
            Self::IsDown => "is down and has no certificate of the new root",
            Self::IsNotTold => "is down and has not heard of the new root",
        })
    }
}

impl RootHeldUp {
    fn names(&self) -> String {
        let named = self.by.iter().take(NAMED_MAX);
        let mut names: Vec<String> = named.map(|(host, id)| format!("node {host} ({id})")).collect();
        if self.by.len() > NAMED_MAX {
            names.push(format!("{} more", self.by.len() - NAMED_MAX));
        }
        names.join(", ")
    }
}

/// What a change of root that was asked for waits for.
pub fn root_held_up(read: &impl Read, read_issuer: fn(&[u8]) -> Option<IssuerIdentity>) -> Option<RootHeldUp> {
    let cluster = read.cluster()?;
    if is_root_wanted(&cluster) {
        return held_up(read, &cluster);
    }
    let rotation = cluster.root_ca.root_rotation.as_ref()?;
    if is_told(&cluster.root_ca, rotation) {
        return not_told(&trust_another(read, &cluster));
    }
    // Who is asked often, by every change of a node, is to read certificates only if there is something to say.
    read.nodes().iter().find(|node| node.status.state() == State::Down && !node.has_left())?;
    behind(&behind_in(read, rotation, &read_issuer(&rotation.ca_cert)?))
}

/// What it waits for before it begins.
pub(crate) fn held_up(read: &impl Read, cluster: &Cluster) -> Option<RootHeldUp> {
    named(trust_another(read, cluster).iter(), HoldUp::TrustsAnEarlierRoot)
}

/// What it waits for when it has ended, among those that are to hear of it: the others will come by themselves.
pub(crate) fn not_told(nodes: &[Arc<Node>]) -> Option<RootHeldUp> {
    named(nodes.iter().filter(|node| node.status.state() == State::Down), HoldUp::IsNotTold)
}

/// Nodes that have not left and say that they trust another root than the present one.
pub(crate) fn trust_another(read: &impl Read, cluster: &Cluster) -> Vec<Arc<Node>> {
    let mut nodes = read.nodes();
    nodes.retain(|node| {
        let said = tls_info(node).map(|tls| tls.trust_root.trim_ascii()).filter(|said| !said.is_empty());
        !node.has_left() && said.is_some_and(|said| said != cluster.root_ca.ca_cert.trim_ascii())
    });
    nodes
}

/// What it waits for before it ends, among those that are behind: the others will come by themselves.
pub(crate) fn behind(nodes: &[Arc<Node>]) -> Option<RootHeldUp> {
    named(nodes.iter().filter(|node| node.status.state() == State::Down), HoldUp::IsDown)
}

fn named<'a>(nodes: impl Iterator<Item = &'a Arc<Node>>, why: HoldUp) -> Option<RootHeldUp> {
    let hostname = |node: &Node| node.description.as_ref().map(|said| said.hostname.clone()).unwrap_or_default();
    let by: Vec<_> = nodes.map(|node| (hostname(node), node.id.clone())).collect();
    (!by.is_empty()).then_some(RootHeldUp { by, why })
}
