//! Signing node certificates with the swarm's root key: the leader's work.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand_core::RngCore;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose,
    PublicKeyData, SubjectPublicKeyInfo,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use skep_model::WallTime;
use skep_model::defaults::{NODE_CERTIFICATE_EXPIRY, NODE_CERTIFICATE_EXPIRY_MIN};
use skep_model::pb::types::NodeRole;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::der::reissued;
use super::key::WipedPair;
use super::read::{Membership, certificates, parse, read_unit};
use super::root::{instant, seconds, serial};
use super::{BACKDATE_SECONDS, CA, IdentityError, PrivateKey};

/// Whom a certificate is for.
pub type Subject = Membership;

/// The signing half of a root, or of the new root while the swarm changes to it.
pub struct Signer {
    issuer: Issuer<'static, WipedPair>,
    certificate: CertificateDer<'static>,
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
                return Ok(Self { issuer, certificate, intermediates: intermediates_pem });
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
        let mut chain = BytesMut::from(pem(&self.under_own_name(leaf.der())?).as_bytes());
        chain.extend_from_slice(&self.intermediates);
        Ok(chain.freeze())
    }

    /// Names of a root that is not ours may not come out of the library as they went in (the same part twice, other
    /// kinds of strings), and are compared byte for byte.
    fn under_own_name(&self, leaf: &CertificateDer<'_>) -> Result<CertificateDer<'static>, IdentityError> {
        let own = parse(&self.certificate, "the signing certificate")?;
        if parse(leaf, "the certificate")?.issuer().as_raw() == own.subject().as_raw() {
            return Ok(leaf.clone().into_owned());
        }
        reissued(leaf, &own, self.issuer.key())
    }

    /// Signs another root's name and key, and all else that it says: who trusts this one trusts what that one issues.
    pub(super) fn vouch_for(&self, root: &CertificateDer<'_>) -> Result<Bytes, IdentityError> {
        let own = parse(&self.certificate, "the signing certificate")?;
        let constraints = own.basic_constraints().ok().flatten();
        if constraints.is_some_and(|constraints| constraints.value.path_len_constraint == Some(0)) {
            return Err(IdentityError::PathLength);
        }
        let voucher = reissued(root, &own, self.issuer.key())?;
        check_voucher(&voucher, root, &self.certificate)?;
        Ok(Bytes::from(pem(&voucher)))
    }
}

/// Whether a certificate carries the name and key of `root`, and is signed by `present`.
pub(crate) fn check_voucher(
    voucher: &CertificateDer<'_>,
    root: &CertificateDer<'_>,
    present: &CertificateDer<'_>,
) -> Result<(), IdentityError> {
    let differs = |what| IdentityError::Voucher { what };
    let (voucher, root) = (parse(voucher, "the voucher")?, parse(root, "the next root")?);
    let present = parse(present, "the present root")?;
    if voucher.subject().as_raw() != root.subject().as_raw() {
        return Err(differs("name, or the same in another encoding,"));
    }
    if voucher.public_key().raw != root.public_key().raw {
        return Err(differs("key"));
    }
    let is_signed = voucher.verify_signature(Some(present.public_key())).is_ok();
    if !is_signed || voucher.issuer().as_raw() != present.subject().as_raw() {
        return Err(differs("issuer"));
    }
    if !voucher.is_ca() {
        return Err(differs("purpose (it is no CA)"));
    }
    Ok(())
}

pub(super) fn pem(certificate: &CertificateDer<'_>) -> String {
    let block = ::pem::Pem::new("CERTIFICATE", certificate.as_ref());
    ::pem::encode_config(&block, ::pem::EncodeConfig::new().set_line_ending(::pem::LineEnding::LF))
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

/// The public key of a request, as it is encoded.
pub(super) fn public_key_of(csr_pem: &[u8]) -> Result<Vec<u8>, IdentityError> {
    let der = request_der(csr_pem)?;
    Ok(verified(&der)?.certification_request_info.subject_pki.raw.to_vec())
}

fn public_key(csr_pem: &[u8]) -> Result<impl PublicKeyData, IdentityError> {
    SubjectPublicKeyInfo::from_der(&public_key_of(csr_pem)?).map_err(IdentityError::Csr)
}

const REQUEST: &str = "the certificate request";

fn request_der(csr_pem: &[u8]) -> Result<CertificateSigningRequestDer<'static>, IdentityError> {
    CertificateSigningRequestDer::from_pem_slice(csr_pem)
        .map_err(|_| IdentityError::Pem { what: REQUEST, label: "CERTIFICATE REQUEST" })
}

fn verified<'a>(der: &'a CertificateSigningRequestDer<'_>) -> Result<X509CertificationRequest<'a>, IdentityError> {
    let (_, request) = X509CertificationRequest::from_der(der)
        .map_err(|error| IdentityError::Parse { what: REQUEST, detail: error.to_string() })?;
    request.verify_signature().map_err(|_| IdentityError::CsrSignature)?;
    Ok(request)
}
