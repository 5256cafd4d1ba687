//! Which certificates wait to be signed, and what becomes of them: the leader's work.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use skep_model::defaults::{NODE_CERTIFICATE_EXPIRY, NODE_CERTIFICATE_EXPIRY_MIN};
use skep_model::pb::types::issuance_status::State;
use skep_model::pb::types::node_spec::Membership;
use skep_model::pb::types::{IssuanceStatus, NodeRole};
use skep_model::{Cluster, Code, Node, NodeId, Refusal};
use skep_store::{Event, Read, Tx};

/// A certificate to be signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signing {
    /// CN.
    pub node: NodeId,
    /// OU: the node's role in the store, whatever it was when it asked.
    pub role: NodeRole,
    /// What the node sent, PEM. Quoted back with the answer.
    pub csr: Bytes,
}

/// Which nodes may wait for a signature: events mark them, facts decide.
#[derive(Clone, Debug, Default)]
pub struct Issuance {
    marked: BTreeSet<NodeId>,
    everything: bool,
}

impl Issuance {
    /// Nothing marked.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new term: look at every node once.
    pub fn lead(&mut self) {
        self.everything = true;
    }

    /// A committed change.
    pub fn observe(&mut self, event: &Event) {
        if let Some(node) = event.object.get::<Node>() {
            self.marked.insert(node.id.clone());
        }
    }

    /// A signature failed for a passing reason: look again at the next turn.
    pub fn retry(&mut self, node: NodeId) {
        self.marked.insert(node);
    }

    /// What is to be signed among the marked nodes; the marks are gone afterwards.
    pub fn take(&mut self, read: &impl Read) -> Vec<Signing> {
        let marked = std::mem::take(&mut self.marked);
        if std::mem::take(&mut self.everything) {
            return to_sign(read);
        }
        marked.iter().filter_map(|id| read.node(id)).filter_map(|node| waiting(&node)).collect()
    }
}

/// Everything that waits to be signed, in the order of node ids.
pub fn to_sign(read: &impl Read) -> Vec<Signing> {
    read.nodes().iter().filter_map(|node| waiting(node)).collect()
}

fn waiting(node: &Node) -> Option<Signing> {
    let state = state(node);
    let accepted = node.spec.membership() == Membership::Accepted;
    let waits = state == State::Renew || (state == State::Pending && accepted);
    waits.then(|| Signing { node: node.id.clone(), role: node.role, csr: node.certificate.csr.clone() })
}

fn state(node: &Node) -> State {
    node.certificate.status.as_ref().map_or(State::Unknown, |status| status.state())
}

/// Stores a signed chain. Nothing happens when the node has gone, has asked anew, or has changed its role meanwhile:
/// then it is still waiting and will be signed again.
pub fn signed(tx: &mut Tx<'_>, signing: &Signing, chain: Bytes) -> Result<(), Refusal> {
    settle(tx, signing, |node| {
        node.certificate.certificate = chain;
        node.certificate.role = signing.role.into();
        node.certificate.status = Some(IssuanceStatus { state: State::Issued.into(), err: String::new() });
    })
}

/// Stores that a request cannot be signed, ever.
pub fn sign_failed(tx: &mut Tx<'_>, signing: &Signing, reason: &str) -> Result<(), Refusal> {
    settle(tx, signing, |node| {
        node.certificate.status = Some(IssuanceStatus { state: State::Failed.into(), err: reason.to_owned() });
    })
}

fn settle(tx: &mut Tx<'_>, signing: &Signing, change: impl FnOnce(&mut Node)) -> Result<(), Refusal> {
    let Some(stored) = tx.node(&signing.node).filter(|node| waiting(node).as_ref() == Some(signing)) else {
        return Ok(());
    };
    let mut node = (*stored).clone();
    change(&mut node);
    tx.update(node)
}

/// With what to sign.
#[derive(Clone, PartialEq, Eq)]
pub struct Issuer {
    /// The issuer's certificate, PEM.
    pub certificate: Bytes,
    /// Its key, PEM.
    pub key: Bytes,
    /// What follows every leaf: the cross-signed root while the swarm changes its root, else nothing. PEM.
    pub intermediates: Bytes,
}

/// Leaves the key out.
impl fmt::Debug for Issuer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Issuer(redacted)")
    }
}

/// The root that signs now: during a change of root already the new one (interop §1.8).
pub fn issuer(cluster: &Cluster) -> Result<Issuer, Refusal> {
    let root = &cluster.root_ca;
    let issuer = match &root.root_rotation {
        Some(next) => Issuer {
            certificate: next.ca_cert.clone(),
            key: next.ca_key.clone(),
            intermediates: next.cross_signed_ca_cert.clone(),
        },
        None => Issuer { certificate: root.ca_cert.clone(), key: root.ca_key.clone(), intermediates: Bytes::new() },
    };
    if issuer.key.is_empty() {
        return Err(Refusal::new(
            Code::FailedPrecondition,
            "the swarm's root key is not in the swarm: certificates are issued by an external CA, which Skep cannot ask yet",
        ));
    }
    Ok(issuer)
}

/// How long a node certificate lives in this swarm.
pub fn certificate_life(cluster: &Cluster) -> Duration {
    let configured = cluster.spec.ca_config.as_ref().and_then(|config| config.node_cert_expiry.as_ref());
    let configured = configured.map_or(NODE_CERTIFICATE_EXPIRY, skep_model::time::duration);
    if configured < NODE_CERTIFICATE_EXPIRY_MIN { NODE_CERTIFICATE_EXPIRY } else { configured }
}
