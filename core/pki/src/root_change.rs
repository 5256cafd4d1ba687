//! Changing the swarm's root (source: interop §1.8). The facts say what is next: a new root is wanted, and the shell
//! makes it; nodes whose certificates the old one issued are asked for others; when none is left the new one is the root,
//! and certificates are vouched for by the old one until every node has heard of that.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand_core::RngCore;
use skep_model::pb::types::issuance_status::State;
use skep_model::pb::types::{IssuanceStatus, NodeTlsInfo, RootCa, RootRotation};
use skep_model::{Cluster, Node, Now, Refusal, Time};
use skep_store::{Event, Read, Tx};

use crate::root_waits::{RootHeldUp, behind, held_up, not_told, trust_another};
use crate::token::{self, RootDigest};

/// Nodes that are asked for another certificate at a time (SwarmKit: 30, every three seconds).
pub(crate) const RENEWALS_MAX: usize = 64;
/// Pause between two looks at who still has a certificate of the old root.
const LOOK_PAUSE: Duration = Duration::from_millis(250);
/// Who was issued a certificate of the next root is to tell of it: asked once more after this, lest it missed that one.
const ASK_AGAIN_PAUSE: Duration = Duration::from_secs(3);
/// Pause after a look at who still has a certificate of a root that was called off, before what nodes say since is looked
/// at: who has another certificate is to tell of it before it is asked once more.
const RECALL_PAUSE: Duration = Duration::from_secs(1);
/// Pause after a root could not be made.
const FAILURE_PAUSE: Duration = Duration::from_secs(10);

/// Whose name and key issued certificates carry, both as they are encoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IssuerIdentity {
    /// The issuer's name.
    pub subject: Bytes,
    /// Its public key.
    pub public_key: Bytes,
}

/// A root is to be made that the present one vouches for.
#[derive(Clone, PartialEq, Eq)]
pub struct RootRequest {
    /// The present root, PEM.
    pub certificate: Bytes,
    /// Its key, PEM.
    pub key: Bytes,
    /// Which change it is for: `CAConfig.ForceRotate`.
    pub forced: u64,
}

/// Leaves the key out.
impl fmt::Debug for RootRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RootRequest").field("forced", &self.forced).finish_non_exhaustive()
    }
}

/// A root that was made for a request. All PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct NewRoot {
    /// Self-signed.
    pub certificate: Bytes,
    /// Its key; empty when an external CA has it.
    pub key: Bytes,
    /// Name and key of the new root, signed by the present one.
    pub cross_signed: Bytes,
}

/// Leaves the key out.
impl fmt::Debug for NewRoot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("NewRoot(redacted)")
    }
}

/// The root that was on its way is the swarm's root, and nodes are told. A node that renews its certificate meanwhile
/// still gets one that the old root vouches for: it may have heard already, but those that it talks to have not, and
/// managers that do not accept each other could tell nobody.
pub(crate) fn is_told(root: &RootCa, rotation: &RootRotation) -> bool {
    rotation.ca_cert == root.ca_cert
}

/// Whether a change of root was asked for that has not begun.
pub(crate) fn is_root_wanted(cluster: &Cluster) -> bool {
    wanted(cluster) != cluster.root_ca.last_forced_rotation
}

fn wanted(cluster: &Cluster) -> u64 {
    cluster.spec.ca_config.as_ref().map_or(0, |config| config.force_rotate)
}

/// When to look at the change that is under way, and which root is being made.
#[derive(Clone, Debug, Default)]
pub struct RootChange {
    look_at: Option<Time>,
    /// What nodes say is not looked at before.
    rests_until: Time,
    asks_again_at: Option<Time>,
    making: Option<u64>,
    /// What was told of already.
    told: Option<RootHeldUp>,
    untold: bool,
}

impl RootChange {
    /// Nothing under way.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new term: look once.
    pub fn lead(&mut self) {
        *self = Self { look_at: Some(Time::default()), ..Self::default() };
    }

    /// A committed change. A node may say only after a change was called off that it took a certificate of that root.
    pub fn observe(&mut self, event: &Event) {
        if event.object.get::<Cluster>().is_some() {
            self.look_at = Some(Time::default());
        }
        let Some(node) = event.object.get::<Node>() else { return };
        let before = event.old.as_ref().and_then(|old| old.get::<Node>());
        if before.is_none_or(|before| tls_info(before) != tls_info(node) || state(before) != state(node)) {
            let at = self.rests_until;
            self.look_at = Some(self.look_at.map_or(at, |earlier| earlier.min(at)));
        }
    }

    /// When it wants its turn.
    pub fn wake_at(&self) -> Option<Time> {
        self.look_at
    }

    /// The next step. Says what root to make, if one is to be made; then `begin` writes it.
    pub fn turn(
        &mut self,
        now: Now,
        read_issuer: fn(&[u8]) -> Option<IssuerIdentity>,
        rng: &mut dyn RngCore,
        tx: &mut Tx<'_>,
    ) -> Result<Option<RootRequest>, Refusal> {
        if self.look_at.is_none_or(|at| at > now.monotonic) {
            return Ok(None);
        }
        self.look_at = None;
        let Some(cluster) = tx.cluster() else { return Ok(None) };
        if is_root_wanted(&cluster) {
            self.tell(held_up(tx, &cluster));
            if self.told.is_some() {
                self.look_at = Some(now.monotonic.after(LOOK_PAUSE));
                return Ok(None);
            }
            return Ok(self.request(&cluster));
        }
        let Some(rotation) = &cluster.root_ca.root_rotation else {
            self.tell(None);
            return self.bring_back(&cluster, now, read_issuer, tx).map(|()| None);
        };
        if is_told(&cluster.root_ca, rotation) {
            self.bring_back(&cluster, now, read_issuer, tx)?;
            return self.conclude(&cluster, now, tx).map(|()| None);
        }
        self.rests_until = now.monotonic.after(LOOK_PAUSE);
        self.look_at = Some(self.rests_until);
        let issuer = read_issuer(&rotation.ca_cert)
            .ok_or_else(|| Refusal::invalid("RootCA.RootRotation.CACert: no certificate can be read"))?;
        let mut left = behind_in(tx, rotation, &issuer);
        self.tell(behind(&left));
        if left.is_empty() {
            return finish(tx, &cluster, rotation, rng).map(|()| None);
        }
        let again_at = *self.asks_again_at.get_or_insert_with(|| now.monotonic.after(ASK_AGAIN_PAUSE));
        if again_at <= now.monotonic {
            self.asks_again_at = None;
        } else {
            left.retain(|node| !was_issued(node, rotation));
        }
        ask_for_others(tx, &left)?;
        Ok(None)
    }

    fn tell(&mut self, waits: Option<RootHeldUp>) {
        self.untold = waits.is_some() && (self.untold || waits != self.told);
        self.told = waits;
    }

    /// Nobody trusts an earlier root any more: the old one vouches for nothing from now on.
    fn conclude(&mut self, cluster: &Cluster, now: Now, tx: &mut Tx<'_>) -> Result<(), Refusal> {
        let unaware = trust_another(tx, cluster);
        if !unaware.is_empty() {
            self.tell(not_told(&unaware));
            self.look_at = Some(now.monotonic.after(LOOK_PAUSE));
            return Ok(());
        }
        let mut cluster = cluster.clone();
        cluster.root_ca.root_rotation = None;
        tx.update(cluster)
    }

    /// What holds a change up, if it is something else than what was told before.
    pub fn take_news(&mut self) -> Option<RootHeldUp> {
        std::mem::take(&mut self.untold).then(|| self.told.clone()).flatten()
    }

    /// A change that was called off has left nodes with certificates of a root that will not be: they are asked for
    /// others.
    fn bring_back(
        &mut self,
        cluster: &Cluster,
        now: Now,
        read_issuer: fn(&[u8]) -> Option<IssuerIdentity>,
        tx: &mut Tx<'_>,
    ) -> Result<(), Refusal> {
        let Some(issuer) = read_issuer(&cluster.root_ca.ca_cert) else { return Ok(()) };
        self.rests_until = now.monotonic.after(RECALL_PAUSE);
        let mut strays = tx.nodes();
        strays.retain(|node| {
            !node.has_left() && state(node) == State::Issued && tls_info(node).is_some() && !uses(node, &issuer)
        });
        if strays.len() > RENEWALS_MAX {
            self.look_at = Some(now.monotonic.after(LOOK_PAUSE));
        }
        ask_for_others(tx, &strays)
    }

    fn request(&mut self, cluster: &Cluster) -> Option<RootRequest> {
        let forced = wanted(cluster);
        if self.making.replace(forced) == Some(forced) {
            return None;
        }
        let root = &cluster.root_ca;
        Some(RootRequest { certificate: root.ca_cert.clone(), key: root.ca_key.clone(), forced })
    }

    /// The root for a request could not be made: it is asked for again after a pause.
    pub fn failed(&mut self, now: Now) {
        self.making = None;
        self.rests_until = now.monotonic.after(FAILURE_PAUSE);
        self.look_at = Some(self.rests_until);
    }

    /// Begins with the root that was made; nothing happens when another is wanted by now.
    pub fn begin(&mut self, tx: &mut Tx<'_>, request: &RootRequest, made: NewRoot) -> Result<(), Refusal> {
        self.making = None;
        self.look_at = Some(Time::default());
        let Some(stored) = tx.cluster() else { return Ok(()) };
        let same = stored.root_ca.ca_cert == request.certificate && wanted(&stored) == request.forced;
        if !same || !is_root_wanted(&stored) || held_up(tx, &stored).is_some() {
            return Ok(());
        }
        let mut cluster = (*stored).clone();
        cluster.root_ca.last_forced_rotation = request.forced;
        cluster.root_ca.root_rotation =
            Some(RootRotation { ca_cert: made.certificate, ca_key: made.key, cross_signed_ca_cert: made.cross_signed });
        tx.update(cluster)
    }
}

/// Nodes that may be without a certificate of the root that is on its way. What a node says may be of an earlier change
/// to the same root, which was called off: so what it was issued last must be of this one, too.
pub(crate) fn behind_in(read: &impl Read, rotation: &RootRotation, issuer: &IssuerIdentity) -> Vec<Arc<Node>> {
    let mut nodes = read.nodes();
    nodes.retain(|node| !(node.has_left() || uses(node, issuer) && was_issued(node, rotation)));
    nodes
}

/// Whether the node's last request was answered with a certificate of this change: the cross-signed one is behind it.
fn was_issued(node: &Node, rotation: &RootRotation) -> bool {
    let cross_signed = rotation.cross_signed_ca_cert.trim_ascii();
    state(node) == State::Issued && node.certificate.certificate.trim_ascii().ends_with(cross_signed)
}

/// Whether the node says that it uses a certificate of that issuer.
fn uses(node: &Node, issuer: &IssuerIdentity) -> bool {
    tls_info(node)
        .is_some_and(|tls| tls.cert_issuer_subject == issuer.subject && tls.cert_issuer_public_key == issuer.public_key)
}

/// What a node has said of its certificate.
pub(crate) fn tls_info(node: &Node) -> Option<&NodeTlsInfo> {
    node.description.as_ref().and_then(|description| description.tls_info.as_ref())
}

/// Asks those that have a certificate, as many as may be asked at a time, for another.
fn ask_for_others(tx: &mut Tx<'_>, nodes: &[Arc<Node>]) -> Result<(), Refusal> {
    nodes.iter().filter(|node| state(node) == State::Issued).take(RENEWALS_MAX).try_for_each(|stored| {
        let mut node = (**stored).clone();
        node.certificate.status = Some(IssuanceStatus { state: State::Rotate.into(), err: String::new() });
        tx.update(node)
    })
}

fn state(node: &Node) -> State {
    node.certificate.status.as_ref().map_or(State::Unknown, |status| status.state())
}

/// Every node has a certificate that both roots vouch for: the new one is the root, tokens name it, and nodes are told.
fn finish(tx: &mut Tx<'_>, cluster: &Cluster, rotation: &RootRotation, rng: &mut dyn RngCore) -> Result<(), Refusal> {
    let mut cluster = cluster.clone();
    let root = &mut cluster.root_ca;
    root.ca_cert = rotation.ca_cert.clone();
    root.ca_key = rotation.ca_key.clone();
    root.ca_cert_hash = RootDigest::of(&root.ca_cert).to_cert_hash();
    root.join_tokens = Some(token::generate_both(&root.ca_cert, cluster.fips, rng));
    tx.update(cluster)
}
