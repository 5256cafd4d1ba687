//! Encryption at rest: NaCl's secretbox (XSalsa20-Poly1305) with a fresh random nonce for each record.
//!
//! A record says inside what it is, so that one cannot stand in for another. What it does not say is how new it is: a
//! whole directory put back to an earlier state decrypts well (consensus notices it, `StepError::Diverged`).

use std::fmt;

use crypto_secretbox::aead::{Aead, KeyInit};
use crypto_secretbox::{Key, Nonce, XSalsa20Poly1305};
use rand_core::{OsRng, TryRngCore};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::error::DiskError;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 24;

/// First byte of a sealed record: how it is sealed.
const FORMAT: u8 = 1;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Member = 1,
    HardState = 2,
    Entry = 3,
    SnapshotPlace = 4,
    SnapshotPiece = 5,
    Others = 6,
}

/// Fills `bytes` from the operating system's source.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), DiskError> {
    OsRng.try_fill_bytes(bytes).map_err(|error| DiskError::Random { reason: error.to_string() })
}

/// The key of the raft log and snapshots (DEK). Wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct DataKey([u8; KEY_BYTES]);

impl DataKey {
    /// A fresh one.
    pub fn generate() -> Result<Self, DiskError> {
        let mut key = Self([0; KEY_BYTES]);
        random(&mut key.0)?;
        Ok(key)
    }

    /// From its bytes; `None` for another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        <[u8; KEY_BYTES]>::try_from(bytes).ok().map(Self)
    }

    pub(crate) fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    pub(crate) fn seal(&self, tag: Tag, payload: &[u8]) -> Result<Vec<u8>, DiskError> {
        let mut plain = Vec::with_capacity(1 + payload.len());
        plain.push(tag as u8);
        plain.extend_from_slice(payload);
        let (nonce, cipher) = secretbox_seal(&self.0, &plain)?;
        plain.zeroize();
        let mut sealed = Vec::with_capacity(1 + NONCE_BYTES + cipher.len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&cipher);
        Ok(sealed)
    }

    /// The payload; `None` when it was not sealed with this key as this kind of record.
    pub(crate) fn open(&self, tag: Tag, sealed: &[u8]) -> Option<Vec<u8>> {
        let (&format, rest) = sealed.split_first()?;
        if format != FORMAT || rest.len() < NONCE_BYTES {
            return None;
        }
        let (nonce, cipher) = rest.split_at(NONCE_BYTES);
        let mut plain = secretbox_open(&self.0, nonce, cipher)?;
        if plain.first() != Some(&(tag as u8)) {
            return None;
        }
        plain.remove(0);
        Some(plain)
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DataKey(…)")
    }
}

/// Nonce and ciphertext.
pub(crate) fn secretbox_seal(key: &[u8; KEY_BYTES], plain: &[u8]) -> Result<([u8; NONCE_BYTES], Vec<u8>), DiskError> {
    let mut nonce = [0; NONCE_BYTES];
    random(&mut nonce)?;
    let cipher = XSalsa20Poly1305::new(Key::from_slice(key));
    let sealed = cipher
        .encrypt(Nonce::from_slice(&nonce), plain)
        // The cipher refuses nothing but absurd lengths.
        .map_err(|_| DiskError::Random { reason: "the record is too long to be encrypted".to_owned() })?;
    Ok((nonce, sealed))
}

pub(crate) fn secretbox_open(key: &[u8; KEY_BYTES], nonce: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    if nonce.len() != NONCE_BYTES {
        return None;
    }
    XSalsa20Poly1305::new(Key::from_slice(key)).decrypt(Nonce::from_slice(nonce), sealed).ok()
}
