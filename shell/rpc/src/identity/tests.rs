//! Certificates as SwarmKit's nodes make and want them (interop §1.2, §1.3).

use std::time::Duration;

use bytes::Bytes;
use rand_core::{OsRng, RngCore, TryRngCore};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa};
use skep_model::pb::types::NodeRole;
use skep_model::{ClusterId, NodeId, WallTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};

use super::read::{certificates, parse};
use super::*;

mod brought;

/// 2026-11-22T03:46:40Z.
const NOW: WallTime = WallTime(1_795_319_200_000_000_000);
const DAY: Duration = Duration::from_secs(86_400);

fn rng() -> impl RngCore {
    OsRng.unwrap_err()
}

fn subject(role: NodeRole) -> Subject {
    let id = |text: &str| NodeId::new(text).expect("an id");
    Subject { node: id("node0"), role, cluster: ClusterId::new("swarm0").expect("an id") }
}

fn signer(root: &TrustRoot, key: &PrivateKey) -> Signer {
    Signer::new(root.pem(), key.to_pem(), Bytes::new()).expect("its own key")
}

/// A root, and the leaf that it signs for a fresh key.
fn issued(role: NodeRole, life: Duration) -> (TrustRoot, PrivateKey, Bytes) {
    let (root, root_key) = create_root(NOW, &mut rng()).expect("a root");
    let key = PrivateKey::generate().expect("a key");
    let csr = key.csr().expect("a request");
    let chain = signer(&root, &root_key).sign(&csr, &subject(role), life, NOW, &mut rng()).expect("signed");
    (root, key, chain)
}

fn first(pem: &[u8]) -> rustls::pki_types::CertificateDer<'static> {
    certificates(pem, "the certificate").expect("PEM").remove(0)
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().expect("parses").expect("present");
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        other => panic!("unexpected name {other:?}"),
    };
    names.value.general_names.iter().map(text).collect()
}

#[test]
fn the_root_is_what_every_engine_expects() {
    let (root, key) = create_root(NOW, &mut rng()).expect("a root");
    let der = first(root.pem());
    let certificate = parse(&der, "the root").expect("X.509");
    assert_eq!(certificate.subject().to_string(), "CN=swarm-ca");
    assert_eq!(certificate.subject(), certificate.issuer());
    let constraints = certificate.basic_constraints().expect("parses").expect("present").value;
    assert!(constraints.ca && constraints.path_len_constraint.is_none());
    let usage = certificate.key_usage().expect("parses").expect("present").value;
    assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
    let identifier = |extension: &ParsedExtension<'_>| matches!(extension, ParsedExtension::SubjectKeyIdentifier(_));
    assert!(certificate.extensions().iter().any(|extension| identifier(extension.parsed_extension())));
    let minute = NOW.0 / 1_000_000_000 / 60 * 60;
    assert_eq!(certificate.validity().not_before.timestamp(), minute - 300);
    assert_eq!(certificate.validity().not_after.timestamp(), minute - 300 + 630_720_000);
    assert_eq!(certificate.raw_serial().len(), 20);
    assert!(key.matches(&der).expect("X.509"));
}

#[test]
fn a_managers_certificate_has_the_names_that_newcomers_ask_for() {
    let (_, _, chain) = issued(NodeRole::Manager, DAY);
    let der = first(&chain);
    let certificate = parse(&der, "the leaf").expect("X.509");
    assert_eq!(names(&certificate), ["swarm-manager", "node0", "swarm-ca"]);
    let membership = read_membership(&der).expect("a node");
    assert_eq!(membership, subject(NodeRole::Manager));
    let usage = certificate.key_usage().expect("parses").expect("present").value;
    assert!(usage.digital_signature() && usage.key_encipherment() && !usage.key_cert_sign());
    let extended = certificate.extended_key_usage().expect("parses").expect("present").value;
    assert!(extended.server_auth && extended.client_auth);
    assert!(!certificate.is_ca());
    let now = NOW.0 / 1_000_000_000;
    assert_eq!(certificate.validity().not_before.timestamp(), now - 3600);
    assert_eq!(certificate.validity().not_after.timestamp(), now + 86_400);
}

#[test]
fn a_worker_cannot_pass_for_a_manager() {
    let (_, _, chain) = issued(NodeRole::Worker, DAY);
    let der = first(&chain);
    assert_eq!(names(&parse(&der, "the leaf").expect("X.509")), ["swarm-worker", "node0"]);
    assert_eq!(read_membership(&der).expect("a node").role, NodeRole::Worker);
}

#[test]
fn a_life_under_an_hour_falls_back_to_the_default() {
    let (_, _, chain) = issued(NodeRole::Worker, Duration::from_secs(60));
    let der = first(&chain);
    let until = parse(&der, "the leaf").expect("X.509").validity().not_after.timestamp();
    assert_eq!(until, NOW.0 / 1_000_000_000 + 90 * 86_400);
    assert_eq!(certificate_expiry(&chain), Some(WallTime(until * 1_000_000_000)));
    assert_eq!(certificate_expiry(b"nonsense"), None);
}

#[test]
fn nothing_but_the_public_key_is_taken_from_a_request() {
    let (root, root_key) = create_root(NOW, &mut rng()).expect("a root");
    let key = PrivateKey::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["swarm-manager".to_owned(), "swarm-ca".to_owned()]).expect("names");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "somebody-else");
    params.distinguished_name.push(DnType::OrganizationalUnitName, "swarm-manager");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let csr = params.serialize_request(&key.pair().expect("a pair")).expect("a request").pem().expect("PEM");
    let asked = subject(NodeRole::Worker);
    let chain = signer(&root, &root_key).sign(csr.as_bytes(), &asked, DAY, NOW, &mut rng()).expect("signed");
    let der = first(&chain);
    assert_eq!(read_membership(&der).expect("a node"), asked);
    let certificate = parse(&der, "the leaf").expect("X.509");
    assert_eq!(names(&certificate), ["swarm-worker", "node0"]);
    assert!(!certificate.is_ca());
    assert!(key.matches(&der).expect("X.509"));
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let (root, key, chain) = issued(NodeRole::Worker, DAY);
    let (other_root, other_key, _) = issued(NodeRole::Worker, DAY);
    assert!(NodeIdentity::new(root.clone(), chain.clone(), key.clone()).is_ok());
    let error = NodeIdentity::new(root.clone(), chain.clone(), other_key.clone()).expect_err("another key");
    assert!(matches!(error, IdentityError::OtherKey));
    let error = NodeIdentity::new(other_root, chain.clone(), key.clone()).expect_err("another root");
    assert!(matches!(error, IdentityError::Chain { position: 1 }));
    let reversed = Bytes::from([&root.pem()[..], &chain[..]].concat());
    assert!(NodeIdentity::new(root.clone(), reversed, key).is_err(), "the leaf comes first");
    assert!(matches!(TrustRoot::from_pem(chain, NOW), Err(IdentityError::NotSelfSigned { position: 1 })));
    let late = WallTime(NOW.0 + 631_000_000_000_000_000);
    let error = TrustRoot::from_pem(root.pem().clone(), late).expect_err("too late");
    assert!(matches!(error, IdentityError::RootExpired { position: 1 }));
    assert!(Signer::new(root.pem(), other_key.to_pem(), Bytes::new()).is_err());
}

#[test]
fn a_cross_signed_root_follows_the_leaf_and_leads_to_the_old_root() {
    let (old, old_key) = create_root(NOW, &mut rng()).expect("a root");
    let new = create_next_root(old.pem(), old_key.to_pem(), NOW, &mut rng()).expect("a root");
    let new_key = std::str::from_utf8(&new.key).expect("PEM");
    let key = PrivateKey::generate().expect("a key");
    let signer = Signer::new(&new.certificate, new_key, new.cross_signed.clone()).expect("its own key");
    let csr = key.csr().expect("a request");
    let chain = signer.sign(&csr, &subject(NodeRole::Worker), DAY, NOW, &mut rng()).expect("signed");
    let identity = NodeIdentity::new(old, chain, key).expect("leads to the old root");
    assert_eq!(identity.chain().len(), 2);
    let new_der = first(&new.certificate);
    let expected = parse(&new_der, "the root").expect("X.509").public_key().raw.to_vec();
    assert_eq!(identity.tls_info().cert_issuer_public_key, expected, "signed by the new key");
    assert_eq!(read_issuer(&new.certificate).expect("a root").public_key, expected);
    // When the old root goes, the same chain leads to the new one; to a third it does not.
    let root = TrustRoot::from_pem(new.certificate.clone(), NOW).expect("a root");
    let moved = identity.with_root(root).expect("leads to the new root");
    assert_eq!(moved.tls_info().cert_issuer_public_key, expected);
    let (third, _) = create_root(NOW, &mut rng()).expect("a root");
    assert!(matches!(identity.with_root(third), Err(IdentityError::Chain { position: 2 })));
}

#[test]
fn tls_info_quotes_the_issuer_as_der() {
    let (root, key, chain) = issued(NodeRole::Worker, DAY);
    let identity = NodeIdentity::new(root.clone(), chain, key).expect("fits");
    let info = identity.tls_info();
    let der = first(root.pem());
    let certificate = parse(&der, "the root").expect("X.509");
    assert_eq!(info.trust_root, *root.pem());
    assert_eq!(info.cert_issuer_subject, certificate.subject().as_raw());
    assert_eq!(info.cert_issuer_public_key, certificate.public_key().raw);
}

#[test]
fn renewal_falls_between_half_and_four_fifths_of_the_life() {
    let (root, key, chain) = issued(NodeRole::Worker, DAY);
    let identity = NodeIdentity::new(root, chain, key).expect("fits");
    let life = identity.not_after().0 - identity.not_before().0;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let at = identity.renew_at(&mut rng()).0 - identity.not_before().0;
        assert!(at >= life / 100 * 50 - 60_000_000_000 && at <= life / 100 * 80, "{at} of {life}");
        seen.insert(at);
    }
    assert!(seen.len() > 20, "not all at once");
}

#[test]
fn keys_are_kept_as_pem_and_never_shown() {
    let key = PrivateKey::generate().expect("a key");
    assert!(key.to_pem().starts_with("-----BEGIN PRIVATE KEY-----"));
    let read = PrivateKey::from_pem(key.to_pem()).expect("its own PEM");
    assert_eq!(read.to_pem(), key.to_pem());
    assert_eq!(format!("{key:?}"), "PrivateKey(redacted)");
    assert!(PrivateKey::from_pem("nonsense").is_err());
    let identity = issued(NodeRole::Worker, DAY);
    let shown = format!("{:?}", NodeIdentity::new(identity.0, identity.2, identity.1).expect("fits"));
    assert!(!shown.contains("PRIVATE"), "{shown}");
}
