//! Roots that an operator brings, and certificates that an external CA issues: what of them can be used. The sentences are
//! Docker's where it has them (source: SwarmKit's ca and cfssl's errors).

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use skep_model::WallTime;
use skep_pki::RootFacts;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry as oid;
use x509_parser::public_key::PublicKey;

use super::read::{certificates, membership, parse, validity};
use super::root::seconds;
use super::signer::{pem, public_key_of};
use super::{IdentityError, PrivateKey, Subject};

const ECDSA_WITH_SHA1: &str = "1.2.840.10045.4.1";
const RSA_BITS_MIN: usize = 2048;
const INVALID_ROOTS: &str = r#"invalid root certificates: {"code":1003,"message":"Failed to parse certificate"}"#;
const BAD_ROOT: &str = "error while validating Root CA Certificate";

/// The PEM blocks of a text in one layout, without headers.
pub fn normalized(text: &[u8]) -> Bytes {
    blocks_from(0, text)
}

/// The same without the first one.
pub fn after_first(text: &[u8]) -> Bytes {
    blocks_from(1, text)
}

fn blocks_from(first: usize, text: &[u8]) -> Bytes {
    let config = ::pem::EncodeConfig::new().set_line_ending(::pem::LineEnding::LF);
    let blocks = ::pem::parse_many(text).unwrap_or_default();
    let plain = |block: &::pem::Pem| ::pem::encode_config(&::pem::Pem::new(block.tag(), block.contents()), config);
    Bytes::from(blocks.iter().skip(first).map(plain).collect::<String>())
}

/// Reads a bundle that is to be the swarm's root, and checks that a key, if there is one, is the first one's.
pub fn read_root(bundle: &[u8], key: &[u8], now: WallTime) -> Result<RootFacts, String> {
    let found = certificates(bundle, "the CA certificate").map_err(|_| INVALID_ROOTS.to_owned())?;
    let parsed: Vec<X509Certificate<'_>> = found
        .iter()
        .map(|certificate| parse(certificate, "the CA certificate"))
        .collect::<Result<_, _>>()
        .map_err(|_| INVALID_ROOTS.to_owned())?;
    for (der, certificate) in found.iter().zip(&parsed) {
        check_root(der, certificate, now)?;
    }
    if !key.is_empty() {
        check_key(&found[0], key)?;
    }
    let mut different = found.clone();
    different.dedup();
    Ok(RootFacts { certificates: different.len(), expires: validity(&parsed[0]).1 })
}

fn check_root(der: &CertificateDer<'_>, certificate: &X509Certificate<'_>, now: WallTime) -> Result<(), String> {
    let algorithm = &certificate.signature_algorithm.algorithm;
    if algorithm.to_id_string() == ECDSA_WITH_SHA1 {
        return Err("unsupported signature algorithm: ECDSA-SHA1".to_owned());
    }
    if let Some((_, name)) = WEAK_ALGORITHMS.iter().find(|(weak, _)| weak == algorithm) {
        return Err(format!("unsupported signature algorithm: {name}"));
    }
    if !STRONG_ALGORITHMS.contains(algorithm) {
        return Err(format!("unsupported signature algorithm: {algorithm}"));
    }
    check_public_key(certificate)?;
    let (from, until) = validity(certificate);
    let outside = |relation: &str, limit: WallTime| {
        let (now, limit) = (instant(now), instant(limit));
        format!(
            "{BAD_ROOT}: x509: certificate has expired or is not yet valid: current time {now} is {relation} {limit}"
        )
    };
    if now < from {
        return Err(outside("before", from));
    }
    if now > until {
        return Err(outside("after", until));
    }
    if !certificate.is_ca() {
        return Err(format!("{BAD_ROOT}: certificate not a CA"));
    }
    if certificate.verify_signature(None).is_err() {
        let issuer = certificate.issuer();
        return Err(format!("{BAD_ROOT}: it is not self-signed, but issued by {issuer}: give the root of that CA"));
    }
    // Who cannot anchor a chain here would shut all nodes out.
    rustls::RootCertStore::empty().add(der.clone()).map_err(|error| format!("{BAD_ROOT}: {error}"))
}

fn check_public_key(certificate: &X509Certificate<'_>) -> Result<(), String> {
    const UNSUPPORTED_CURVE: &str = "unsupported ECDSA key parameters";
    let text = match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) if key.key_size() >= RSA_BITS_MIN => return Ok(()),
        Ok(PublicKey::EC(point)) if (256..=384).contains(&point.key_size()) => return Ok(()),
        Ok(PublicKey::RSA(_)) => "unsupported RSA key parameters".to_owned(),
        Ok(PublicKey::EC(point)) if point.key_size() < 256 => UNSUPPORTED_CURVE.to_owned(),
        Ok(PublicKey::EC(_)) => format!("{UNSUPPORTED_CURVE}: P-256 and P-384 can be used"),
        _ => "unknown or unsupported certificate public key algorithm".to_owned(),
    };
    Err(text)
}

fn check_key(der: &CertificateDer<'_>, key: &[u8]) -> Result<(), String> {
    let malformed = |code: u16, words: &str| format!(r#"malformed private key: {{"code":{code},"message":"{words}"}}"#);
    let text = std::str::from_utf8(key).unwrap_or_default();
    let labels: Vec<String> =
        ::pem::parse_many(text).unwrap_or_default().iter().map(|block| block.tag().to_owned()).collect();
    if labels.is_empty() {
        return Err(malformed(2002, "Failed to decode private key"));
    }
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(malformed(2100, "Private key is encrypted."));
    }
    let key = match PrivateKey::from_pem(text) {
        Ok(key) => key,
        Err(_) => return Err(malformed(2003, "Failed to parse private key")),
    };
    match key.matches(der) {
        Ok(true) => Ok(()),
        _ => Err("certificate key mismatch".to_owned()),
    }
}

fn instant(time: WallTime) -> String {
    let at = OffsetDateTime::from_unix_timestamp(seconds(time)).ok();
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| "an unknown time".to_owned())
}

/// What SwarmKit signs and trusts.
const STRONG_ALGORITHMS: [oid::asn1_rs::Oid<'static>; 6] = [
    oid::OID_PKCS1_SHA256WITHRSA,
    oid::OID_PKCS1_SHA384WITHRSA,
    oid::OID_PKCS1_SHA512WITHRSA,
    oid::OID_SIG_ECDSA_WITH_SHA256,
    oid::OID_SIG_ECDSA_WITH_SHA384,
    oid::OID_SIG_ECDSA_WITH_SHA512,
];
/// Others, by Go's names for them.
const WEAK_ALGORITHMS: [(oid::asn1_rs::Oid<'static>, &str); 4] = [
    (oid::OID_PKCS1_SHA1WITHRSA, "SHA1-RSA"),
    (oid::OID_PKCS1_MD5WITHRSAENC, "MD5-RSA"),
    (oid::OID_SIG_ED25519, "Ed25519"),
    (oid::OID_PKCS1_RSASSAPSS, "SHA256-RSAPSS"),
];

/// A request that a root be vouched for: certificate request (PEM), signed by the root's own key.
pub(crate) fn certificate_request(root_pem: &[u8], key_pem: &str) -> Result<String, IdentityError> {
    let root = certificates(root_pem, "the next root")?;
    let key = PrivateKey::from_pem(key_pem)?;
    let der = super::der::request(&parse(&root[0], "the next root")?, &key.pair()?)?;
    let config = ::pem::EncodeConfig::new().set_line_ending(::pem::LineEnding::LF);
    Ok(::pem::encode_config(&::pem::Pem::new("CERTIFICATE REQUEST", der), config))
}

/// Checks what an external CA answered: the leaf is for the key of the request and says who and what the node is, and the
/// root signed it. Gives it as PEM; whatever else was in the answer is left out.
pub(crate) fn check_issued(
    answer: &[u8],
    csr_pem: &[u8],
    subject: &Subject,
    root_pem: &[u8],
) -> Result<String, IdentityError> {
    let issued = certificates(answer, "the external CA's answer")?;
    let leaf = parse(&issued[0], "the external CA's certificate")?;
    if leaf.public_key().raw != public_key_of(csr_pem)? {
        return Err(IdentityError::OtherKey);
    }
    let said = membership(&leaf)?;
    if said != *subject {
        return Err(IdentityError::OtherSubject);
    }
    for root in certificates(root_pem, "the root certificate")? {
        let root = parse(&root, "the root certificate")?;
        let names_fit = leaf.issuer().as_raw() == root.subject().as_raw();
        if names_fit && leaf.verify_signature(Some(root.public_key())).is_ok() {
            return Ok(pem(&issued[0]));
        }
    }
    Err(IdentityError::Chain { position: 1 })
}
