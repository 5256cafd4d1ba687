//! The node's private key, and in its headers the keys of the raft log (interop §1.7).
//!
//! PKCS#8 in PEM. Without autolock in the clear (`PRIVATE KEY`); with it encrypted under the swarm's unlock key
//! (`ENCRYPTED PRIVATE KEY`, PBES2), and so are the log's keys in the headers. Whoever reads the file of an unlocked
//! node can read its log: SECURITY.md says so.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pem::{EncodeConfig, LineEnding, Pem};
use pkcs8::pkcs5::pbes2;
use pkcs8::{EncryptedPrivateKeyInfo, PrivateKeyInfo};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::atomic::{
    create_private_dir, put_in_place, read_file, remove_file, temporary, write_file, write_public_file,
};
use crate::error::DiskError;
use crate::record::{self, RecordError};
use crate::seal::{DataKey, KEY_BYTES, random};

const CLEAR_TAG: &str = "PRIVATE KEY";
const ENCRYPTED_TAG: &str = "ENCRYPTED PRIVATE KEY";

const KEK_VERSION: &str = "kek-version";
const RAFT_DEK: &str = "raft-dek";
const RAFT_DEK_PENDING: &str = "raft-dek-pending";
const RAFT_DEK_NEEDS_ROTATION: &str = "raft-dek-needs-rotation";

/// The passphrase is 32 random bytes: stretching it adds nothing, so SwarmKit's count is kept.
const PBKDF2_ITERATIONS: u32 = 2048;
const SALT_BYTES: usize = 16;
const IV_BYTES: usize = 16;

/// The swarm's unlock key (KEK). Wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct UnlockKey([u8; KEY_BYTES]);

impl UnlockKey {
    /// From its bytes; `None` for another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        <[u8; KEY_BYTES]>::try_from(bytes).ok().map(Self)
    }

    /// Its bytes, for the store and for people. Handle with care.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for UnlockKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("UnlockKey(…)")
    }
}

/// What the file says beside the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyHeaders {
    /// The cluster's Meta.Version at which the unlock key was set.
    pub kek_version: u64,
    /// Encrypts the raft log; absent on a worker.
    pub data_key: Option<DataKey>,
    /// The key that a rotation is on its way to: the log may be under either.
    pub data_key_pending: Option<DataKey>,
    /// The data key was once kept in the clear and is to be replaced.
    pub needs_rotation: bool,
}

/// A node's key file.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyFile {
    path: PathBuf,
    private_key: Zeroizing<Vec<u8>>,
    /// What the file says beside the key.
    pub headers: KeyHeaders,
    unlock_key: Option<UnlockKey>,
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("KeyFile")
            .field("path", &self.path)
            .field("headers", &self.headers)
            .field("locked", &self.unlock_key.is_some())
            .finish_non_exhaustive()
    }
}

/// The certificates that may belong to the key, see [`KeyFile::save_with_certificate`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateCandidates {
    /// The one in place.
    pub current: Option<Vec<u8>>,
    /// The one of a renewal that was interrupted; it is right if it matches the key.
    pub interrupted: Option<Vec<u8>>,
}

impl KeyFile {
    /// A key (PKCS#8 DER) to be kept at `path`. Nothing is written yet.
    pub fn new(path: &Path, private_key: Zeroizing<Vec<u8>>) -> Self {
        Self { path: path.to_owned(), private_key, headers: KeyHeaders::default(), unlock_key: None }
    }

    /// Whether the file at `path` is encrypted; `None` when there is none.
    pub fn is_locked(path: &Path) -> Result<Option<bool>, DiskError> {
        let Some(bytes) = read_file(path)?.map(Zeroizing::new) else { return Ok(None) };
        let pem = pem::parse(&bytes[..]).map_err(|error| DiskError::damaged(path, error.to_string()))?;
        Ok(Some(pem.tag() == ENCRYPTED_TAG))
    }

    /// Reads it; `None` when there is none. A key given for a file in the clear is kept for nothing but the next save.
    pub fn load(path: &Path, unlock_key: Option<&UnlockKey>) -> Result<Option<Self>, DiskError> {
        let Some(bytes) = read_file(path)?.map(Zeroizing::new) else { return Ok(None) };
        let damaged = |reason: String| DiskError::damaged(path, reason);
        let pem = pem::parse(&bytes[..]).map_err(|error| damaged(error.to_string()))?;
        let locked = || DiskError::Locked { path: path.to_owned(), key_given: unlock_key.is_some() };
        let (private_key, unlock_key) = match pem.tag() {
            CLEAR_TAG => (Zeroizing::new(pem.contents().to_vec()), None),
            ENCRYPTED_TAG => {
                let key = unlock_key.ok_or_else(locked)?;
                let info = EncryptedPrivateKeyInfo::try_from(pem.contents());
                let info = info.map_err(|error| damaged(format!("its encryption: {error}")))?;
                let clear = info.decrypt(key.expose()).map_err(|_| locked())?;
                (Zeroizing::new(clear.as_bytes().to_vec()), Some(key.clone()))
            }
            other => return Err(damaged(format!("a PEM block {other:?} where a PKCS#8 private key should be"))),
        };
        PrivateKeyInfo::try_from(&private_key[..]).map_err(|error| damaged(format!("its private key: {error}")))?;
        let headers = read_headers(&pem, unlock_key.as_ref()).map_err(|error| match error {
            HeaderError::Record(RecordError::Locked | RecordError::WrongKey) => locked(),
            other => damaged(other.to_string()),
        })?;
        Ok(Some(Self { path: path.to_owned(), private_key, headers, unlock_key }))
    }

    /// The private key as PKCS#8 DER.
    pub fn private_key(&self) -> &Zeroizing<Vec<u8>> {
        &self.private_key
    }

    /// Replaces the private key; the headers stay.
    pub fn set_private_key(&mut self, private_key: Zeroizing<Vec<u8>>) {
        self.private_key = private_key;
    }

    /// The key that locks the file, when it is locked.
    pub fn unlock_key(&self) -> Option<&UnlockKey> {
        self.unlock_key.as_ref()
    }

    /// Locks the file with another key, or unlocks it, as of the cluster's `version`. An older version than the file's
    /// changes nothing. A data key that lay in the clear so far is marked for rotation.
    pub fn set_unlock_key(&mut self, unlock_key: Option<UnlockKey>, version: u64) {
        if version < self.headers.kek_version {
            return;
        }
        if self.unlock_key.is_none() && unlock_key.is_some() && self.headers.data_key.is_some() {
            self.headers.needs_rotation = true;
        }
        self.unlock_key = unlock_key;
        self.headers.kek_version = version;
    }

    /// Writes it, durably.
    pub fn save(&self) -> Result<(), DiskError> {
        if let Some(dir) = self.path.parent() {
            create_private_dir(dir)?;
        }
        let text = self.encode()?;
        write_file(&self.path, text.as_bytes())
    }

    /// Writes key and certificate so that a crash in between is mended by [`Self::certificates`]: first the
    /// certificate beside its place, then the key, then the certificate into its place.
    pub fn save_with_certificate(&self, certificate_path: &Path, chain: &[u8]) -> Result<(), DiskError> {
        if let Some(dir) = certificate_path.parent() {
            create_private_dir(dir)?;
        }
        let beside = temporary(certificate_path);
        write_public_file(&beside, chain)?;
        self.save()?;
        put_in_place(&beside, certificate_path)
    }

    /// The certificates that may belong to the key: try the interrupted one first and adopt it if it matches.
    pub fn certificates(certificate_path: &Path) -> Result<CertificateCandidates, DiskError> {
        Ok(CertificateCandidates {
            current: read_file(certificate_path)?,
            interrupted: read_file(&temporary(certificate_path))?,
        })
    }

    /// The interrupted certificate matches the key: put it in place.
    pub fn adopt_interrupted(certificate_path: &Path) -> Result<(), DiskError> {
        put_in_place(&temporary(certificate_path), certificate_path)
    }

    /// The interrupted certificate does not match the key: its key was never written.
    pub fn discard_interrupted(certificate_path: &Path) -> Result<(), DiskError> {
        remove_file(&temporary(certificate_path))
    }

    fn encode(&self) -> Result<Zeroizing<String>, DiskError> {
        let mut pem = match &self.unlock_key {
            None => Pem::new(CLEAR_TAG, self.private_key.to_vec()),
            Some(key) => Pem::new(ENCRYPTED_TAG, self.encrypt(key)?),
        };
        let mut headers = Vec::new();
        if self.unlock_key.is_some() || self.headers.kek_version > 0 {
            headers.push((KEK_VERSION, self.headers.kek_version.to_string()));
        }
        let key = self.unlock_key.as_ref().map(UnlockKey::expose);
        for (name, data_key) in [(RAFT_DEK, &self.headers.data_key), (RAFT_DEK_PENDING, &self.headers.data_key_pending)]
        {
            if let Some(data_key) = data_key {
                headers.push((name, BASE64.encode(record::wrap(data_key.expose(), key)?)));
            }
        }
        if self.headers.needs_rotation {
            headers.push((RAFT_DEK_NEEDS_ROTATION, "true".to_owned()));
        }
        for (name, mut value) in headers {
            pem.headers_mut().add(name, &value).map_err(|error| DiskError::damaged(&self.path, error.to_string()))?;
            value.zeroize();
        }
        Ok(Zeroizing::new(pem::encode_config(&pem, EncodeConfig::new().set_line_ending(LineEnding::LF))))
    }

    fn encrypt(&self, key: &UnlockKey) -> Result<Vec<u8>, DiskError> {
        let (mut salt, mut iv) = ([0; SALT_BYTES], [0; IV_BYTES]);
        random(&mut salt)?;
        random(&mut iv)?;
        let damaged = |error: pkcs8::Error| DiskError::damaged(&self.path, format!("the private key: {error}"));
        let parameters = pbes2::Parameters::pbkdf2_sha256_aes256cbc(PBKDF2_ITERATIONS, &salt, &iv)
            .map_err(|error| damaged(error.into()))?;
        let info = PrivateKeyInfo::try_from(&self.private_key[..]).map_err(damaged)?;
        let encrypted = info.encrypt_with_params(parameters, key.expose()).map_err(damaged)?;
        Ok(encrypted.as_bytes().to_vec())
    }
}

#[derive(Debug, thiserror::Error)]
enum HeaderError {
    #[error("its header {0} is not a number")]
    Number(&'static str),
    #[error("its header {0} is not base64")]
    Base64(&'static str),
    #[error("its header {0} is not a key of 32 bytes")]
    Length(&'static str),
    #[error(transparent)]
    Record(#[from] RecordError),
}

fn read_headers(pem: &Pem, unlock_key: Option<&UnlockKey>) -> Result<KeyHeaders, HeaderError> {
    let headers = pem.headers();
    let data_key = |name: &'static str| -> Result<Option<DataKey>, HeaderError> {
        let Some(value) = headers.get(name) else { return Ok(None) };
        let record = Zeroizing::new(BASE64.decode(value).map_err(|_| HeaderError::Base64(name))?);
        let bytes = record::unwrap(&record, unlock_key.map(UnlockKey::expose))?;
        DataKey::from_bytes(&bytes).map(Some).ok_or(HeaderError::Length(name))
    };
    let kek_version = match headers.get(KEK_VERSION) {
        Some(text) => text.parse().map_err(|_| HeaderError::Number(KEK_VERSION))?,
        None => 0,
    };
    Ok(KeyHeaders {
        kek_version,
        data_key: data_key(RAFT_DEK)?,
        data_key_pending: data_key(RAFT_DEK_PENDING)?,
        needs_rotation: headers.get(RAFT_DEK_NEEDS_ROTATION) == Some("true"),
    })
}
