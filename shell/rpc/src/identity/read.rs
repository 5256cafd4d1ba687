//! Reading certificates: who a node says it is.

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use skep_model::pb::types::NodeRole;
use skep_model::{ClusterId, NodeId, WallTime};
use skep_pki::IssuerIdentity;
use x509_parser::certificate::X509Certificate;
use x509_parser::x509::X509Name;

use super::{IdentityError, MANAGER, WORKER};

/// What a node certificate says: CN, OU, O.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Membership {
    /// CN.
    pub node: NodeId,
    /// OU.
    pub role: NodeRole,
    /// O.
    pub cluster: ClusterId,
}

/// Reads the subject of a certificate that was already verified.
pub fn read_membership(certificate: &CertificateDer<'_>) -> Result<Membership, IdentityError> {
    membership(&parse(certificate, "the certificate")?)
}

pub(super) fn membership(certificate: &X509Certificate<'_>) -> Result<Membership, IdentityError> {
    let subject = certificate.subject();
    let name = common_name(subject).ok_or(IdentityError::Subject { field: "a CN" })?;
    let cluster = subject.iter_organization().find_map(|part| part.as_str().ok());
    let units: Vec<&str> = subject.iter_organizational_unit().filter_map(|part| part.as_str().ok()).collect();
    let role =
        read_role(&units).ok_or(IdentityError::Subject { field: "an OU that is swarm-manager or swarm-worker" })?;
    Ok(Membership {
        node: NodeId::new(name).map_err(IdentityError::NodeId)?,
        role,
        cluster: cluster.and_then(ClusterId::optional).ok_or(IdentityError::Subject { field: "an O" })?,
    })
}

/// The role that a list of OUs gives; a manager's wins.
pub(crate) fn read_role(units: &[&str]) -> Option<NodeRole> {
    if units.contains(&MANAGER) {
        Some(NodeRole::Manager)
    } else if units.contains(&WORKER) {
        Some(NodeRole::Worker)
    } else {
        None
    }
}

/// The OU that stands for a role.
pub(crate) fn read_unit(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Manager => MANAGER,
        NodeRole::Worker => WORKER,
    }
}

fn common_name<'a>(name: &'a X509Name<'_>) -> Option<&'a str> {
    name.iter_common_name().find_map(|part| part.as_str().ok())
}

pub(super) fn parse<'a>(der: &'a CertificateDer<'_>, what: &'static str) -> Result<X509Certificate<'a>, IdentityError> {
    let (rest, certificate) = x509_parser::parse_x509_certificate(der)
        .map_err(|error| IdentityError::Parse { what, detail: error.to_string() })?;
    if !rest.is_empty() {
        return Err(IdentityError::Parse { what, detail: "bytes after its end".to_owned() });
    }
    Ok(certificate)
}

/// The certificates of a PEM bundle, in order.
pub(crate) fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(IdentityError::Pem { what, label: "CERTIFICATE" }),
    }
}

/// When the leaf of a PEM chain expires; `None` for what cannot be read.
pub fn certificate_expiry(chain_pem: &[u8]) -> Option<WallTime> {
    let chain = certificates(chain_pem, "the certificate").ok()?;
    let leaf = parse(chain.first()?, "the certificate").ok()?;
    Some(validity(&leaf).1)
}

/// First and last instant of a certificate's life.
pub(super) fn validity(certificate: &X509Certificate<'_>) -> (WallTime, WallTime) {
    let nanos = |seconds: i64| WallTime(seconds.saturating_mul(1_000_000_000));
    (nanos(certificate.validity().not_before.timestamp()), nanos(certificate.validity().not_after.timestamp()))
}

/// Whose name and key the certificates carry that a root (the first of a PEM bundle) issues.
pub fn read_issuer(root_pem: &[u8]) -> Option<IssuerIdentity> {
    let certificates = certificates(root_pem, "the root certificate").ok()?;
    parse(certificates.first()?, "the root certificate").ok().map(|certificate| issuer_identity(&certificate))
}

pub(super) fn issuer_identity(certificate: &X509Certificate<'_>) -> IssuerIdentity {
    let copy = Bytes::copy_from_slice;
    IssuerIdentity { subject: copy(certificate.subject().as_raw()), public_key: copy(certificate.public_key().raw) }
}
