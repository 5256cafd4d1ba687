//! Signing node certificates with the swarm's root key: the leader's work.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand_core::RngCore;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose,
    PublicKeyData, SubjectPublicKeyInfo,
};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;
use skep_model::WallTime;
use skep_model::defaults::{NODE_CERTIFICATE_EXPIRY, NODE_CERTIFICATE_EXPIRY_MIN};
use skep_model::pb::types::NodeRole;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::key::WipedPair;
use super::read::{Membership, certificates, read_unit};
use super::root::{instant, seconds, serial};
use super::{BACKDATE_SECONDS, CA, IdentityError, PrivateKey};

/// Whom a certificate is for.
pub type Subject = Membership;

/// The signing half of a root, or of the new root while the swarm changes to it.
pub struct Signer {
    issuer: Issuer<'static, WipedPair>,
    intermediates: Bytes,
}

impl Signer {
    /// `certificate_pem` holds the issuer's own certificate (of a bundle, the key's one is taken); `intermediates_pem` follows every leaf (the cross-signed
    /// root during a rotation, else empty).
    pub fn new(certificate_pem: &[u8], key_pem: &str, intermediates_pem: Bytes) -> Result<Self, IdentityError> {
        let key = PrivateKey::from_pem(key_pem)?;
        for certificate in certificates(certificate_pem, "the signing certificate")? {
            if key.matches(&certificate)? {
                let issuer = Issuer::from_ca_cert_der(&certificate, key.pair()?).map_err(IdentityError::Sign)?;
                return Ok(Self { issuer, intermediates: intermediates_pem });
            }
        }
        Err(IdentityError::OtherKey)
    }

    /// Signs the public key of a request; subject and names in the request are ignored. Returns the PEM chain, leaf
    /// first. A life under an hour falls back to the default.
    pub fn sign(
        &self,
        csr_pem: &[u8],
        subject: &Subject,
        life: Duration,
        now: WallTime,
        rng: &mut dyn RngCore,
    ) -> Result<Bytes, IdentityError> {
        let key = public_key(csr_pem)?;
        let mut params = CertificateParams::default();
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, subject.cluster.as_str());
        name.push(DnType::OrganizationalUnitName, read_unit(subject.role));
        name.push(DnType::CommonName, subject.node.as_str());
        params.distinguished_name = name;
        let mut names = vec![read_unit(subject.role), subject.node.as_str()];
        if subject.role == NodeRole::Manager {
            names.push(CA);
        }
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        params.subject_alt_names = CertificateParams::new(names).map_err(IdentityError::Sign)?.subject_alt_names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial(rng));
        let life = if life < NODE_CERTIFICATE_EXPIRY_MIN { NODE_CERTIFICATE_EXPIRY } else { life };
        let life = i64::try_from(life.as_secs()).map_err(|_| IdentityError::Clock)?;
        params.not_before = instant(seconds(now) - BACKDATE_SECONDS)?;
        params.not_after = instant(seconds(now).saturating_add(life))?;
        let leaf = params.signed_by(&key, &self.issuer).map_err(IdentityError::Sign)?;
        let mut chain = BytesMut::from(leaf.pem().as_bytes());
        chain.extend_from_slice(&self.intermediates);
        Ok(chain.freeze())
    }

    /// Signs another root's name and key: who trusts this one trusts what that one issues.
    pub(super) fn vouch_for(&self, mut params: CertificateParams, key: &PrivateKey) -> Result<Bytes, IdentityError> {
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key.pair()?, &self.issuer).map_err(IdentityError::Sign)?;
        Ok(Bytes::from(certificate.pem()))
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Signer(redacted)")
    }
}

/// Whether a request can be signed at all: checked before it is written into the store.
pub fn check_csr(csr_pem: &[u8]) -> Result<(), IdentityError> {
    public_key(csr_pem).map(|_| ())
}

fn public_key(csr_pem: &[u8]) -> Result<impl PublicKeyData, IdentityError> {
    const WHAT: &str = "the certificate request";
    let der = CertificateSigningRequestDer::from_pem_slice(csr_pem)
        .map_err(|_| IdentityError::Pem { what: WHAT, label: "CERTIFICATE REQUEST" })?;
    let (_, request) = X509CertificationRequest::from_der(&der)
        .map_err(|error| IdentityError::Parse { what: WHAT, detail: error.to_string() })?;
    request.verify_signature().map_err(|_| IdentityError::CsrSignature)?;
    SubjectPublicKeyInfo::from_der(request.certification_request_info.subject_pki.raw).map_err(IdentityError::Csr)
}
