//! What a node is: its key, its certificate chain and the root that it trusts, checked against each other.

use bytes::Bytes;
use rand_core::RngCore;
use rustls::pki_types::CertificateDer;
use skep_model::WallTime;
use skep_model::pb::types::NodeTlsInfo;
use skep_pki::IssuerIdentity;

use super::read::{Membership, certificates, issuer_identity, membership, parse, validity};
use super::{IdentityError, PrivateKey, TrustRoot};

const RENEW_FROM_PERCENT: u64 = 50;
const RENEW_UNTIL_PERCENT: u64 = 80;
const MINUTE_NANOS: u64 = 60_000_000_000;

/// A node's identity in one swarm. Cheap to read, immutable; a renewal makes a new one.
#[derive(Clone, Debug)]
pub struct NodeIdentity {
    key: PrivateKey,
    chain_pem: Bytes,
    chain: Vec<CertificateDer<'static>>,
    root: TrustRoot,
    membership: Membership,
    not_before: WallTime,
    not_after: WallTime,
    issuer: IssuerIdentity,
}

impl NodeIdentity {
    /// Checks that the chain is in order, ends at the root, and was made for the key. Whether it is within its life is
    /// `not_before`, `not_after` and the caller's affair.
    pub fn new(root: TrustRoot, chain_pem: Bytes, key: PrivateKey) -> Result<Self, IdentityError> {
        let chain = certificates(&chain_pem, "the node certificate")?;
        if !key.matches(&chain[0])? {
            return Err(IdentityError::OtherKey);
        }
        let issuer = check_chain(&chain, &root)?;
        let leaf = parse(&chain[0], "the node certificate")?;
        let membership = membership(&leaf)?;
        let (not_before, not_after) = validity(&leaf);
        Ok(Self { key, chain_pem, root, membership, not_before, not_after, issuer, chain: chain.clone() })
    }

    /// The same identity under another root bundle, which must verify its chain.
    pub fn with_root(&self, root: TrustRoot) -> Result<Self, IdentityError> {
        Self::new(root, self.chain_pem.clone(), self.key.clone())
    }

    /// Node id, role and cluster, as the certificate says them.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The root that this node trusts.
    pub fn root(&self) -> &TrustRoot {
        &self.root
    }

    /// The private key.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The certificate chain as it is stored, leaf first.
    pub fn chain_pem(&self) -> &Bytes {
        &self.chain_pem
    }

    /// Start of the leaf's life.
    pub fn not_before(&self) -> WallTime {
        self.not_before
    }

    /// End of the leaf's life.
    pub fn not_after(&self) -> WallTime {
        self.not_after
    }

    /// When to ask for a new certificate: a random instant between 50 and 80 % of the life, in whole minutes.
    pub fn renew_at(&self, rng: &mut dyn RngCore) -> WallTime {
        let life = u64::try_from(self.not_after.0.saturating_sub(self.not_before.0)).unwrap_or(0);
        let from = life / 100 * RENEW_FROM_PERCENT / MINUTE_NANOS;
        let until = life / 100 * RENEW_UNTIL_PERCENT / MINUTE_NANOS;
        let minutes = from + rng.next_u64() % (until.saturating_sub(from)).max(1);
        WallTime(self.not_before.0.saturating_add(i64::try_from(minutes * MINUTE_NANOS).unwrap_or(i64::MAX)))
    }

    /// What the node tells the managers of its certificate: with it they follow a change of root.
    pub fn tls_info(&self) -> NodeTlsInfo {
        NodeTlsInfo {
            trust_root: self.root.pem().clone(),
            cert_issuer_subject: self.issuer.subject.clone(),
            cert_issuer_public_key: self.issuer.public_key.clone(),
        }
    }

    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }
}

/// Each certificate of a chain is signed by the next, and one of them by a root. Those behind it do no harm: after a
/// change of root the leaf is the new root's own, and what follows ties that to the old one. Gives the leaf's issuer.
fn check_chain(chain: &[CertificateDer<'_>], root: &TrustRoot) -> Result<IssuerIdentity, IdentityError> {
    let mut issuer = None;
    let mut is_anchored = false;
    for (index, certificate) in chain.iter().enumerate() {
        let by_root = signer(certificate, root.certificates())?;
        is_anchored |= by_root.is_some();
        let signed_by = match chain.get(index + 1) {
            Some(next) => signer(certificate, std::slice::from_ref(next))?,
            None => by_root,
        };
        let is_last = index + 1 == chain.len();
        if signed_by.is_none() && !(is_last && is_anchored) {
            return Err(IdentityError::Chain { position: index + 1 });
        }
        issuer = issuer.or(signed_by);
    }
    issuer.ok_or(IdentityError::Chain { position: 1 })
}

/// Which of the candidates signed a certificate.
fn signer(
    certificate: &CertificateDer<'_>,
    candidates: &[CertificateDer<'_>],
) -> Result<Option<IssuerIdentity>, IdentityError> {
    let certificate = parse(certificate, "the node certificate")?;
    for candidate in candidates {
        let candidate = parse(candidate, "the issuer's certificate")?;
        if certificate.verify_signature(Some(candidate.public_key())).is_ok() {
            return Ok(Some(issuer_identity(&candidate)));
        }
    }
    Ok(None)
}
