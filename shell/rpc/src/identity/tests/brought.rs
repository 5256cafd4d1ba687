//! Roots that an operator brings, as OpenSSL makes them.

use super::*;

/// 2026-12-01T00:00:00Z.
const LATER: WallTime = WallTime(1_796_083_200_000_000_000);

/// SEC1, with the curve's parameters before it, as of `openssl ecparam -genkey`.
const KEY: &str = "\
-----BEGIN EC PARAMETERS-----
BggqhkjOPQMBBw==
-----END EC PARAMETERS-----
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIHvEz4onvtv257x2eCGqslE0y5fBEGcxQ2sRYuLuFx8BoAoGCCqGSM49
AwEHoUQDQgAEHskEfDU2SqzG/6snkGF9R1tZ4eYCjVpQTKQC7AceWU0KAZWbIVdL
K8DxKiudcw2LL49tve9XD+8C9Zl7H4lB3A==
-----END EC PRIVATE KEY-----
";
/// `/O=Example/OU=One/OU=Two/CN=own root`, in UTF-8 strings: twice the same part.
const ROOT: &str = "\
-----BEGIN CERTIFICATE-----
MIIB1zCCAX2gAwIBAgIUIZ7kmGx6z6gr63jc6CORXoHskukwCgYIKoZIzj0EAwIw
QTEQMA4GA1UECgwHRXhhbXBsZTEMMAoGA1UECwwDT25lMQwwCgYDVQQLDANUd28x
ETAPBgNVBAMMCG93biByb290MB4XDTI2MTEyODAwMjgwOFoXDTM2MTEyNTAwMjgw
OFowQTEQMA4GA1UECgwHRXhhbXBsZTEMMAoGA1UECwwDT25lMQwwCgYDVQQLDANU
d28xETAPBgNVBAMMCG93biByb290MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
HskEfDU2SqzG/6snkGF9R1tZ4eYCjVpQTKQC7AceWU0KAZWbIVdLK8DxKiudcw2L
L49tve9XD+8C9Zl7H4lB3KNTMFEwHQYDVR0OBBYEFIK/AVx4l1Rk/A0nf440VKoC
lf6mMB8GA1UdIwQYMBaAFIK/AVx4l1Rk/A0nf440VKoClf6mMA8GA1UdEwEB/wQF
MAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgNY4IX8oMJDuZlEBv5b8kv07b7iqiFrZz
itdG+iuQJIACIQCudyJP9HiREQIotkSgdubkjneWHmig7Up642eMnzFHoQ==
-----END CERTIFICATE-----
";

fn refused(certificate: &str, key: &str, now: WallTime) -> String {
    read_root(certificate.as_bytes(), key.as_bytes(), now).expect_err("refused")
}

#[test]
fn a_root_with_a_key_as_openssl_writes_it_signs_under_its_own_name() {
    let facts = read_root(ROOT.as_bytes(), KEY.as_bytes(), LATER).expect("a root");
    assert_eq!((facts.certificates, facts.expires > LATER), (1, true));
    let (old, old_key) = create_root(LATER, &mut rng()).expect("a root");
    let made = vouch(old.pem(), old_key.to_pem(), ROOT.as_bytes(), KEY.as_bytes()).expect("vouched for");
    assert_eq!((made.certificate.as_ref(), made.key.as_ref()), (ROOT.as_bytes(), KEY.as_bytes()), "as they were");
    // Name, key, life and extensions are the new root's, all but the mention of who signed it.
    let (own_der, cross_der, old_der) = (first(ROOT.as_bytes()), first(&made.cross_signed), first(old.pem()));
    let (own, cross) = (parse(&own_der, "own").expect("X.509"), parse(&cross_der, "cross").expect("X.509"));
    let old_root = parse(&old_der, "old").expect("X.509");
    assert_eq!(cross.subject().as_raw(), own.subject().as_raw());
    assert_eq!(cross.public_key().raw, own.public_key().raw);
    assert_eq!((cross.validity(), cross.raw_serial()), (own.validity(), own.raw_serial()));
    assert_eq!(cross.issuer().as_raw(), old_root.subject().as_raw());
    assert!(cross.is_ca() && cross.extensions().len() + 1 == own.extensions().len());
    // A node's certificate leads to either root, by names that are the same byte for byte.
    let key = PrivateKey::generate().expect("a key");
    let signer = Signer::new(ROOT.as_bytes(), KEY, made.cross_signed.clone()).expect("its own key");
    let csr = key.csr().expect("a request");
    let chain = signer.sign(&csr, &subject(NodeRole::Worker), DAY, LATER, &mut rng()).expect("signed");
    let leaf_der = first(&chain);
    let leaf = parse(&leaf_der, "the leaf").expect("X.509");
    assert_eq!(leaf.issuer().as_raw(), own.subject().as_raw());
    let identity = NodeIdentity::new(old, chain, key).expect("leads to the old root");
    let root = TrustRoot::from_pem(Bytes::from_static(ROOT.as_bytes()), LATER).expect("a root");
    identity.with_root(root).expect("leads to the new root");
    assert_eq!(identity.tls_info().cert_issuer_subject, own.subject().as_raw());
}

#[test]
fn what_cannot_be_a_root_is_told_why() {
    let (other, other_key) = create_root(LATER, &mut rng()).expect("a root");
    let other_pem = std::str::from_utf8(other.pem()).expect("PEM");
    assert_eq!(refused(ROOT, other_key.to_pem(), LATER), "certificate key mismatch");
    let two = format!("{ROOT}{other_pem}");
    assert_eq!(read_root(two.as_bytes(), b"", LATER).expect("roots").certificates, 2);
    assert!(refused(KEY, "", LATER).starts_with("invalid root certificates"));
    assert!(refused(ROOT, ROOT, LATER).starts_with("malformed private key"));
    assert!(refused(ROOT, "a key", LATER).starts_with("malformed private key"));
    let late = WallTime(LATER.0 + 20 * 365 * 86_400_000_000_000);
    assert!(refused(ROOT, "", late).contains("certificate has expired or is not yet valid"));
    // A certificate that another signed, and one that is no CA.
    let made = vouch(other.pem(), other_key.to_pem(), ROOT.as_bytes(), KEY.as_bytes()).expect("vouched for");
    let cross = String::from_utf8(made.cross_signed.to_vec()).expect("PEM");
    assert!(refused(&cross, "", LATER).contains("it is not self-signed, but issued by CN=swarm-ca"));
    let key = PrivateKey::generate().expect("a key");
    let signer = Signer::new(other.pem(), other_key.to_pem(), Bytes::new()).expect("its own key");
    let csr = key.csr().expect("a request");
    let leaf = signer.sign(&csr, &subject(NodeRole::Worker), DAY, LATER, &mut rng()).expect("signed");
    assert!(refused(std::str::from_utf8(&leaf).expect("PEM"), "", LATER).contains("certificate not a CA"));
}

#[test]
fn a_certificate_of_an_external_ca_is_for_whom_it_was_asked() {
    let (root, root_key) = create_root(LATER, &mut rng()).expect("a root");
    let key = PrivateKey::generate().expect("a key");
    let csr = key.csr().expect("a request");
    let asked = subject(NodeRole::Worker);
    let issue =
        |subject: &Subject| signer(&root, &root_key).sign(&csr, subject, DAY, LATER, &mut rng()).expect("signed");
    let check = |answer: &[u8], csr: &[u8], root: &TrustRoot| check_issued(answer, csr, &asked, root.pem());
    let answer = issue(&asked);
    assert_eq!(check(&answer, &csr, &root).expect("as asked").as_bytes(), answer);
    let manager = issue(&subject(NodeRole::Manager));
    assert!(matches!(check(&manager, &csr, &root), Err(IdentityError::OtherSubject)));
    let other = PrivateKey::generate().expect("a key").csr().expect("a request");
    assert!(matches!(check(&issue(&asked), &other, &root), Err(IdentityError::OtherKey)));
    let (third, _) = create_root(LATER, &mut rng()).expect("a root");
    assert!(matches!(check(&issue(&asked), &csr, &third), Err(IdentityError::Chain { .. })));
}

#[test]
fn pem_has_one_layout() {
    let crlf = ROOT.replace('\n', "\r\n");
    let noisy = format!("words\n{crlf}\n\nmore words\n");
    assert_eq!(normalized(noisy.as_bytes()), ROOT);
    assert_eq!(normalized(b"a certificate"), "");
    let (root, _) = create_root(LATER, &mut rng()).expect("a root");
    assert_eq!(normalized(root.pem()), *root.pem(), "ours have it already");
    let two = [root.pem().as_ref(), ROOT.as_bytes()].concat();
    assert_eq!((after_first(&two), after_first(root.pem())), (ROOT.into(), Bytes::new()));
}
