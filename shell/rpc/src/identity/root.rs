//! The swarm's root certificate: made once at init, trusted by everybody.

use std::sync::Arc;

use bytes::Bytes;
use rand_core::RngCore;
use rcgen::string::PrintableString;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, IsCa, KeyUsagePurpose, SerialNumber,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use skep_model::WallTime;
use skep_pki::NewRoot;
use time::OffsetDateTime;

use super::read::{certificates, parse, validity};
use super::{CA, IdentityError, PrivateKey, Signer};

/// A root's life (source: interop §1.2).
const ROOT_LIFE_SECONDS: i64 = 630_720_000;
/// How far a root's life starts before it is made.
const ROOT_BACKDATE_SECONDS: i64 = 300;
const SERIAL_BYTES: usize = 20;

/// The root certificates that the swarm trusts, as the exact PEM that its tokens' digest covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustRoot {
    pem: Bytes,
    certificates: Arc<[CertificateDer<'static>]>,
}

impl TrustRoot {
    /// Reads a bundle and checks that every certificate in it is a root within its life.
    pub fn from_pem(pem: Bytes, now: WallTime) -> Result<Self, IdentityError> {
        let root = Self::from_pem_at_any_time(pem)?;
        for (index, certificate) in root.certificates.iter().enumerate() {
            let (from, until) = validity(&parse(certificate, "the root certificate")?);
            if now < from || now > until {
                return Err(IdentityError::RootExpired { position: index + 1 });
            }
        }
        Ok(root)
    }

    /// The same without looking at the clock: for what is on disk already.
    pub fn from_pem_at_any_time(pem: Bytes) -> Result<Self, IdentityError> {
        let certificates = certificates(&pem, "the root certificate")?;
        for (index, certificate) in certificates.iter().enumerate() {
            let parsed = parse(certificate, "the root certificate")?;
            parsed.verify_signature(None).map_err(|_| IdentityError::NotSelfSigned { position: index + 1 })?;
        }
        Ok(Self { pem, certificates: certificates.into() })
    }

    /// The exact bytes.
    pub fn pem(&self) -> &Bytes {
        &self.pem
    }

    pub(crate) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    pub(crate) fn store(&self) -> RootCertStore {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(self.certificates.iter().cloned());
        store
    }
}

/// Makes the root of a new swarm: certificate (PEM) and key.
pub fn create_root(now: WallTime, rng: &mut dyn RngCore) -> Result<(TrustRoot, PrivateKey), IdentityError> {
    let key = PrivateKey::generate()?;
    let certificate = root_params(now, rng)?.self_signed(&key.pair()?).map_err(IdentityError::Sign)?;
    Ok((TrustRoot::from_pem(Bytes::from(certificate.pem()), now)?, key))
}

/// Makes the root that follows a present one, which vouches for it (interop §1.8).
pub fn create_next_root(
    present_pem: &[u8],
    present_key_pem: &str,
    now: WallTime,
    rng: &mut dyn RngCore,
) -> Result<NewRoot, IdentityError> {
    let (root, key) = create_root(now, rng)?;
    vouch(present_pem, present_key_pem, root.pem(), key.to_pem().as_bytes())
}

/// Has the present root vouch for one that is there, whose key may be elsewhere (empty).
pub fn vouch(
    present_pem: &[u8],
    present_key_pem: &str,
    next_pem: &[u8],
    next_key_pem: &[u8],
) -> Result<NewRoot, IdentityError> {
    let present = Signer::new(present_pem, present_key_pem, Bytes::new())?;
    let next = certificates(next_pem, "the next root")?;
    let cross_signed = present.vouch_for(&next[0])?;
    let copy = Bytes::copy_from_slice;
    Ok(NewRoot { certificate: copy(next_pem), key: copy(next_key_pem), cross_signed })
}

fn root_params(now: WallTime, rng: &mut dyn RngCore) -> Result<CertificateParams, IdentityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // As SwarmKit's: an external CA that vouches for this root writes the name so, and names are compared byte for byte.
    let name = PrintableString::try_from(CA).map_err(IdentityError::Sign)?;
    params.distinguished_name.push(DnType::CommonName, DnValue::PrintableString(name));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(serial(rng));
    let minute = seconds(now) / 60 * 60;
    params.not_before = instant(minute - ROOT_BACKDATE_SECONDS)?;
    params.not_after = instant(minute - ROOT_BACKDATE_SECONDS + ROOT_LIFE_SECONDS)?;
    Ok(params)
}

/// A random positive serial number.
pub(super) fn serial(rng: &mut dyn RngCore) -> SerialNumber {
    let mut bytes = [0u8; SERIAL_BYTES];
    rng.fill_bytes(&mut bytes);
    // Positive, and its first byte never zero, so that its length is always the same.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

pub(super) fn seconds(time: WallTime) -> i64 {
    time.0.div_euclid(1_000_000_000)
}

pub(super) fn instant(seconds: i64) -> Result<OffsetDateTime, IdentityError> {
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| IdentityError::Clock)
}
