//! A private key, wiped from memory when dropped.

use std::fmt;

use bytes::Bytes;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData, SignatureAlgorithm, SigningKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::{Zeroize, Zeroizing};

use super::IdentityError;

/// A node's or a root's private key, as PKCS#8 PEM.
#[derive(Clone)]
pub struct PrivateKey {
    pem: Zeroizing<String>,
    public: Vec<u8>,
}

impl PrivateKey {
    /// A new ECDSA P-256 key.
    pub fn generate() -> Result<Self, IdentityError> {
        let pair = WipedPair(KeyPair::generate().map_err(IdentityError::Generate)?);
        Ok(Self { pem: Zeroizing::new(pair.0.serialize_pem()), public: pair.0.public_key_raw().to_vec() })
    }

    /// Reads PKCS#8 PEM, and SEC1 or PKCS#1 as OpenSSL and cfssl write them. What stands before the key is skipped.
    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| IdentityError::Pem { what: "the private key", label: "PRIVATE KEY" })?;
        if let PrivateKeyDer::Pkcs8(_) = der {
            let pair = WipedPair(KeyPair::from_pem(pem).map_err(IdentityError::Key)?);
            return Ok(Self { pem: Zeroizing::new(pem.to_owned()), public: pair.0.public_key_raw().to_vec() });
        }
        let der = super::der::pkcs8(&der)?;
        let pair = KeyPair::try_from(der.as_slice()).map_err(IdentityError::Key)?;
        let pair = WipedPair(pair);
        Ok(Self { pem: Zeroizing::new(pair.0.serialize_pem()), public: pair.0.public_key_raw().to_vec() })
    }

    /// The key as it is stored (in the key file, or in the cluster object for a root).
    pub fn to_pem(&self) -> &str {
        &self.pem
    }

    /// A request for a certificate, PEM. It carries the public key and the proof of possession; nothing else in it is
    /// looked at by the signer.
    pub fn csr(&self) -> Result<Bytes, IdentityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&self.pair()?).map_err(IdentityError::Csr)?;
        Ok(Bytes::from(request.pem().map_err(IdentityError::Csr)?))
    }

    /// Whether `certificate` was made for this key.
    pub fn matches(&self, certificate: &CertificateDer<'_>) -> Result<bool, IdentityError> {
        let certificate = super::read::parse(certificate, "the certificate")?;
        Ok(certificate.public_key().subject_public_key.data.as_ref() == self.public)
    }

    pub(crate) fn pair(&self) -> Result<WipedPair, IdentityError> {
        KeyPair::from_pem(&self.pem).map(WipedPair).map_err(IdentityError::Key)
    }

    pub(crate) fn der(&self) -> Result<PrivateKeyDer<'static>, IdentityError> {
        PrivateKeyDer::from_pem_slice(self.pem.as_bytes())
            .map_err(|_| IdentityError::Pem { what: "the private key", label: "PRIVATE KEY" })
    }
}

/// A key ready to sign, whose encoding is wiped when it is dropped.
pub(crate) struct WipedPair(KeyPair);

impl Drop for WipedPair {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PublicKeyData for WipedPair {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl SigningKey for WipedPair {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PrivateKey(redacted)")
    }
}
