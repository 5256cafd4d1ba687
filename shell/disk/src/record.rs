//! SwarmKit's envelope for bytes that may be encrypted (interop §1.7), as it stands in the key file's headers.

use prost::Message as _;
use skep_model::pb::types::MaybeEncryptedRecord;
use skep_model::pb::types::maybe_encrypted_record::Algorithm;
use zeroize::Zeroizing;

use crate::error::DiskError;
use crate::seal::{KEY_BYTES, secretbox_open, secretbox_seal};

/// Why a record could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not a MaybeEncryptedRecord.
    #[error("not a record")]
    Undecodable,
    /// It is encrypted and no key was given.
    #[error("the record is encrypted and no key was given")]
    Locked,
    /// The key is not the one it was encrypted with.
    #[error("the record was encrypted with another key")]
    WrongKey,
    /// FIPS clusters use Fernet, which Skep does not carry out.
    #[error("the record is encrypted with algorithm {0}, which Skep does not know")]
    UnknownAlgorithm(i32),
}

/// Wraps bytes; encrypted when there is a key.
pub fn wrap(plain: &[u8], key: Option<&[u8; KEY_BYTES]>) -> Result<Vec<u8>, DiskError> {
    let mut record = MaybeEncryptedRecord::default();
    match key {
        Some(key) => {
            let (nonce, data) = secretbox_seal(key, plain)?;
            record.set_algorithm(Algorithm::SecretboxSalsa20Poly1305);
            record.nonce = nonce.to_vec().into();
            record.data = data.into();
        }
        None => record.data = plain.to_vec().into(),
    }
    Ok(record.encode_to_vec())
}

/// Unwraps bytes.
pub fn unwrap(record: &[u8], key: Option<&[u8; KEY_BYTES]>) -> Result<Zeroizing<Vec<u8>>, RecordError> {
    let record = MaybeEncryptedRecord::decode(record).map_err(|_| RecordError::Undecodable)?;
    match Algorithm::try_from(record.algorithm) {
        Ok(Algorithm::None) => Ok(Zeroizing::new(record.data.to_vec())),
        Ok(Algorithm::SecretboxSalsa20Poly1305) => {
            let key = key.ok_or(RecordError::Locked)?;
            let plain = secretbox_open(key, &record.nonce, &record.data).ok_or(RecordError::WrongKey)?;
            Ok(Zeroizing::new(plain))
        }
        _ => Err(RecordError::UnknownAlgorithm(record.algorithm)),
    }
}
