//! The node's key file.

use std::path::PathBuf;

use pkcs8::PrivateKeyInfo;
use pkcs8::pkcs5::pbes2;
use zeroize::Zeroizing;

use super::{key, mode};
use crate::{DiskError, KeyFile, UnlockKey};

/// A P-256 key as PKCS#8; made for this test alone.
const PRIVATE_KEY_HEX: &str = "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420\
    1111111111111111111111111111111111111111111111111111111111111111a14403420004\
    0217e617f0b6443928278f96999e69a23a4f2c152bdf6d6cdf66e5b80282d4ed\
    194a7debcb97712d2dda3ca85aa8765a56f45fc758599652f2897c65306e5794";

fn private_key() -> Zeroizing<Vec<u8>> {
    let digits: Vec<u8> = PRIVATE_KEY_HEX.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    Zeroizing::new(digits.chunks(2).map(byte).collect())
}

fn unlock_key(fill: u8) -> UnlockKey {
    UnlockKey::from_bytes(&[fill; 32]).unwrap()
}

struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("certificates/swarm-node.key");
    Place { _dir: dir, path }
}

#[test]
fn an_unlocked_file_comes_back() {
    let place = place();
    assert_eq!(KeyFile::load(&place.path, None).unwrap(), None);
    assert_eq!(KeyFile::is_locked(&place.path).unwrap(), None);
    let mut file = KeyFile::new(&place.path, private_key());
    file.headers.data_key = Some(key(1));
    file.headers.data_key_pending = Some(key(2));
    file.save().unwrap();
    assert_eq!(KeyFile::load(&place.path, None).unwrap(), Some(file.clone()));
    assert_eq!(KeyFile::is_locked(&place.path).unwrap(), Some(false));
    assert_eq!(mode(&place.path), 0o600);
    let text = std::fs::read_to_string(&place.path).unwrap();
    assert!(text.starts_with("-----BEGIN PRIVATE KEY-----\nraft-dek: "), "{text}");
    assert!(!format!("{file:?}").contains("17, 17"));
}

#[test]
fn a_locked_file_needs_its_key() {
    let place = place();
    let mut file = KeyFile::new(&place.path, private_key());
    file.headers.data_key = Some(key(1));
    file.set_unlock_key(Some(unlock_key(9)), 42);
    assert!(file.headers.needs_rotation, "the data key lay in the clear until now");
    file.save().unwrap();
    let text = std::fs::read_to_string(&place.path).unwrap();
    assert!(text.contains("BEGIN ENCRYPTED PRIVATE KEY") && text.contains("kek-version: 42"), "{text}");
    assert_eq!(KeyFile::is_locked(&place.path).unwrap(), Some(true));
    let without = KeyFile::load(&place.path, None);
    assert!(matches!(without, Err(DiskError::Locked { key_given: false, .. })), "{without:?}");
    let wrong = KeyFile::load(&place.path, Some(&unlock_key(8)));
    assert!(matches!(wrong, Err(DiskError::Locked { key_given: true, .. })), "{wrong:?}");
    assert_eq!(KeyFile::load(&place.path, Some(&unlock_key(9))).unwrap(), Some(file.clone()));

    // Unlocked again; what is older than the file changes nothing.
    file.set_unlock_key(None, 41);
    assert!(file.unlock_key().is_some());
    file.set_unlock_key(None, 43);
    file.save().unwrap();
    let back = KeyFile::load(&place.path, None).unwrap().unwrap();
    assert_eq!((back.headers.kek_version, back.unlock_key()), (43, None));
    assert_eq!(back.private_key(), &private_key());
}

/// Docker's own parameters: PBKDF2 with HMAC-SHA1, 2048 rounds, 8 bytes of salt.
#[test]
fn a_file_that_docker_locked_is_read() {
    let place = place();
    let (salt, iv) = ([3; 8], [4; 16]);
    let mut parameters = pbes2::Parameters::pbkdf2_sha256_aes256cbc(2048, &salt, &iv).unwrap();
    if let pbes2::Kdf::Pbkdf2(inner) = &mut parameters.kdf {
        inner.prf = pbes2::Pbkdf2Prf::HmacWithSha1;
    }
    let clear = private_key();
    let info = PrivateKeyInfo::try_from(&clear[..]).unwrap();
    let locked = info.encrypt_with_params(parameters, unlock_key(9).expose()).unwrap();
    let text = pem::encode(&pem::Pem::new("ENCRYPTED PRIVATE KEY", locked.as_bytes()));
    std::fs::create_dir_all(place.path.parent().unwrap()).unwrap();
    std::fs::write(&place.path, text).unwrap();
    let file = KeyFile::load(&place.path, Some(&unlock_key(9))).unwrap().unwrap();
    assert_eq!(file.private_key(), &private_key());
}

#[test]
fn damaged_files_are_refused() {
    let place = place();
    let mut file = KeyFile::new(&place.path, private_key());
    file.headers.data_key = Some(key(1));
    file.save().unwrap();
    let text = std::fs::read_to_string(&place.path).unwrap();
    for bad in [
        text.replace("raft-dek: ", "raft-dek: !"),
        text.replace("PRIVATE KEY", "EC PRIVATE KEY"),
        text.replace("-----END", "----END"),
        text.replace("MIGH", "AAAA"),
        String::new(),
    ] {
        assert_ne!(bad, text);
        std::fs::write(&place.path, &bad).unwrap();
        let loaded = KeyFile::load(&place.path, None);
        assert!(matches!(loaded, Err(DiskError::Damaged { .. })), "{bad}: {loaded:?}");
    }
}

#[test]
fn an_interrupted_renewal_leaves_a_pair_that_fits() {
    let place = place();
    let certificate = place.path.with_file_name("swarm-node.crt");
    let file = KeyFile::new(&place.path, private_key());
    file.save_with_certificate(&certificate, b"first chain").unwrap();
    assert_eq!(mode(&certificate), 0o644);
    let found = KeyFile::certificates(&certificate).unwrap();
    assert_eq!((found.current.as_deref(), found.interrupted), (Some(&b"first chain"[..]), None));

    // Died after the key was written and before the certificate took its place.
    std::fs::write(certificate.with_file_name(".swarm-node.crt.tmp"), b"second chain").unwrap();
    let found = KeyFile::certificates(&certificate).unwrap();
    assert_eq!(found.interrupted.as_deref(), Some(&b"second chain"[..]));
    KeyFile::adopt_interrupted(&certificate).unwrap();
    let found = KeyFile::certificates(&certificate).unwrap();
    assert_eq!((found.current.as_deref(), found.interrupted), (Some(&b"second chain"[..]), None));

    // Died before the key was written.
    std::fs::write(certificate.with_file_name(".swarm-node.crt.tmp"), b"third chain").unwrap();
    KeyFile::discard_interrupted(&certificate).unwrap();
    assert_eq!(KeyFile::certificates(&certificate).unwrap().interrupted, None);
}
