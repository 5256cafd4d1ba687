//! Which certificates wait to be signed, and what becomes of them: the leader's work.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;
use skep_model::defaults::{NODE_CERTIFICATE_EXPIRY, NODE_CERTIFICATE_EXPIRY_MIN};
use skep_model::pb::types::issuance_status::State;
use skep_model::pb::types::node_spec::Membership;
use skep_model::pb::types::{IssuanceStatus, NodeRole};
use skep_model::{Cluster, Node, NodeId, Now, Refusal, Time};
use skep_store::{Event, Read, Tx};

use crate::authority::{ExternalIssuer, external_urls};

/// A certificate to be signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signing {
    /// CN.
    pub node: NodeId,
    /// OU: the node's role in the store, whatever it was when it asked.
    pub role: NodeRole,
    /// What the node sent, PEM. Quoted back with the answer.
    pub csr: Bytes,
    /// The root whose certificates are issued at this time, PEM. One of another, which comes late, is not given out: a
    /// change of root has begun meanwhile, or was called off.
    pub root: Bytes,
}

/// Pause after an external CA could not be had before it is asked again (SwarmKit: ten seconds).
const EXTERNAL_PAUSE: Duration = Duration::from_secs(3);

/// Why there is no certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignFailure {
    /// For the operator and the node.
    pub reason: String,
    /// Whether it may go well the next time: an external CA does not answer.
    pub is_passing: bool,
}

/// Which nodes may wait for a signature: events mark them, facts decide.
#[derive(Clone, Debug, Default)]
pub struct Issuance {
    marked: BTreeSet<NodeId>,
    everything: bool,
    /// Those that an external CA gave nothing, until it is asked again: for one of them first, lest it be overrun.
    resting: BTreeSet<NodeId>,
    rests_until: Option<Time>,
    tried: Option<NodeId>,
}

impl Issuance {
    /// Nothing marked.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new term: look at every node once.
    pub fn lead(&mut self) {
        *self = Self { everything: true, ..Self::default() };
    }

    /// A committed change. Another external CA may be named for another root: whoever rests is looked at again.
    pub fn observe(&mut self, event: &Event) {
        if let Some(node) = event.object.get::<Node>().filter(|node| !self.resting.contains(&node.id)) {
            self.marked.insert(node.id.clone());
        }
        if let Some(cluster) = event.object.get::<Cluster>() {
            let before = event.old.as_ref().and_then(|old| old.get::<Cluster>());
            self.everything |= before.is_some_and(|before| issuing_root(before) != issuing_root(cluster));
            self.rouse();
        }
    }

    /// What was to be done for a node could not be: look again at the next turn.
    pub fn retry(&mut self, node: NodeId) {
        self.marked.insert(node);
    }

    /// A signature failed for a passing reason: look again after a pause.
    pub fn rest(&mut self, node: NodeId, now: Now) {
        self.resting.insert(node);
        self.rests_until.get_or_insert_with(|| now.monotonic.after(EXTERNAL_PAUSE));
    }

    /// Certificates are to be had again: whoever rests is looked at.
    pub fn rouse(&mut self) {
        self.rests_until = None;
        self.marked.append(&mut self.resting);
    }

    /// When it wants its turn.
    pub fn wake_at(&self) -> Option<Time> {
        self.rests_until
    }

    /// Tries one of those that rest, if it is time.
    pub fn wake(&mut self, now: Now) {
        if self.rests_until.is_some_and(|until| until <= now.monotonic) {
            // Not always the same one: another's request may be what the CA does not take.
            let after = self.tried.take();
            let next =
                after.and_then(|tried| self.resting.range((Bound::Excluded(tried), Bound::Unbounded)).next().cloned());
            self.tried = next.or_else(|| self.resting.first().cloned());
            if let Some(node) = &self.tried {
                self.resting.remove(node);
                self.marked.insert(node.clone());
            }
            // It may be gone by now: the others wait for no word of it.
            self.rests_until = (!self.resting.is_empty()).then(|| now.monotonic.after(EXTERNAL_PAUSE));
        }
    }

    /// What is to be signed among the marked nodes; the marks are gone afterwards.
    pub fn take(&mut self, read: &impl Read) -> Vec<Signing> {
        let marked = std::mem::take(&mut self.marked);
        if std::mem::take(&mut self.everything) {
            return to_sign(read);
        }
        if marked.is_empty() {
            return Vec::new();
        }
        let root = root_now(read);
        marked.iter().filter_map(|id| read.node(id)).filter_map(|node| waiting(&node, &root)).collect()
    }
}

/// Everything that waits to be signed, in the order of node ids.
pub fn to_sign(read: &impl Read) -> Vec<Signing> {
    let root = root_now(read);
    read.nodes().iter().filter_map(|node| waiting(node, &root)).collect()
}

fn root_now(read: &impl Read) -> Bytes {
    read.cluster().map(|cluster| issuing_root(&cluster).clone()).unwrap_or_default()
}

/// During a change of root already the new one (interop §1.8).
pub fn issuing_root(cluster: &Cluster) -> &Bytes {
    let root = &cluster.root_ca;
    root.root_rotation.as_ref().map_or(&root.ca_cert, |next| &next.ca_cert)
}

fn waiting(node: &Node, root: &Bytes) -> Option<Signing> {
    let state = state(node);
    let accepted = node.spec.membership() == Membership::Accepted;
    let waits = state == State::Renew || (state == State::Pending && accepted);
    waits.then(|| Signing {
        node: node.id.clone(),
        role: node.role,
        csr: node.certificate.csr.clone(),
        root: root.clone(),
    })
}

fn state(node: &Node) -> State {
    node.certificate.status.as_ref().map_or(State::Unknown, |status| status.state())
}

/// Stores a signed chain. Nothing happens when the node has gone, has asked anew, or has changed its role meanwhile, or
/// another root issues by now: then it is still waiting and will be signed again.
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

/// Stores why a request still waits.
pub fn sign_delayed(tx: &mut Tx<'_>, signing: &Signing, reason: &str) -> Result<(), Refusal> {
    let said = |node: &Node| node.certificate.status.as_ref().is_some_and(|status| status.err == reason);
    if tx.node(&signing.node).is_some_and(|node| said(&node)) {
        return Ok(());
    }
    settle(tx, signing, |node| {
        node.certificate.status.get_or_insert_default().err = reason.to_owned();
    })
}

fn settle(tx: &mut Tx<'_>, signing: &Signing, change: impl FnOnce(&mut Node)) -> Result<(), Refusal> {
    let root = root_now(tx);
    let Some(stored) = tx.node(&signing.node).filter(|node| waiting(node, &root).as_ref() == Some(signing)) else {
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

/// Who signs now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Signatory {
    /// The swarm itself.
    Own(Issuer),
    /// An external CA; the second is what follows every leaf, PEM.
    External(ExternalIssuer, Bytes),
}

/// Who signs: during a change of root already the new one (interop §1.8). External CAs go before the swarm's own key.
pub fn signatory(cluster: &Cluster, normalized: fn(&[u8]) -> Bytes) -> Result<Signatory, SignFailure> {
    let root = &cluster.root_ca;
    let present = normalized(&root.ca_cert);
    let (certificate, key, intermediates, trusted) = match &root.root_rotation {
        Some(next) => {
            let trusted = Bytes::from([&present[..], &normalized(&next.ca_cert)].concat());
            (&next.ca_cert, &next.ca_key, next.cross_signed_ca_cert.clone(), trusted)
        }
        None => (&root.ca_cert, &root.ca_key, Bytes::new(), present.clone()),
    };
    let external = cluster.spec.ca_config.as_ref().map_or(&[][..], |config| &config.external_cas);
    let urls = external_urls(external, &normalized(certificate), &present, normalized);
    if !urls.is_empty() {
        return Ok(Signatory::External(ExternalIssuer { urls, trusted, root: certificate.clone() }, intermediates));
    }
    if key.is_empty() {
        let reason = "the swarm has no key of its root, and no external CA is named for that root: name one with `docker \
                      swarm update --external-ca`, or give the key with `docker swarm ca --rotate --ca-cert --ca-key`";
        return Err(SignFailure { reason: reason.to_owned(), is_passing: true });
    }
    Ok(Signatory::Own(Issuer { certificate: certificate.clone(), key: key.clone(), intermediates }))
}

/// How long a node certificate lives in this swarm.
pub fn certificate_life(cluster: &Cluster) -> Duration {
    let configured = cluster.spec.ca_config.as_ref().and_then(|config| config.node_cert_expiry.as_ref());
    let configured = configured.map_or(NODE_CERTIFICATE_EXPIRY, skep_model::time::duration);
    if configured < NODE_CERTIFICATE_EXPIRY_MIN { NODE_CERTIFICATE_EXPIRY } else { configured }
}
