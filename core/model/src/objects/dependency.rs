//! Secrets and configs: data that tasks depend on.

use std::fmt;

use bytes::Bytes;

use super::{Meta, ObjectError, name_of, object};
use crate::ids::{ConfigId, SecretId};
use crate::kept::Kept;
use crate::pb::objects as pb;
use crate::pb::types;
use crate::verbatim::Verbatim;

/// A secret's data is shorter than this many bytes (SwarmKit's limit).
pub const SECRET_DATA_BYTES_LIMIT: usize = 500 * 1024;

/// Confidential data for tasks.
#[derive(Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Secret {
    pub id: SecretId,
    pub meta: Meta,
    pub spec: Verbatim<types::SecretSpec>,
    pub internal: bool,
    /// Encoded fields of newer versions.
    pub unknown: Bytes,
}

object!(Secret, SecretId, "secret", |secret| name_of(secret.spec.annotations.as_ref()));

/// Leaves the data out.
impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Secret").field("id", &self.id).field("meta", &self.meta).finish_non_exhaustive()
    }
}

impl TryFrom<Kept<pb::Secret>> for Secret {
    type Error = ObjectError;

    fn try_from(kept: Kept<pb::Secret>) -> Result<Self, ObjectError> {
        let Kept { value, unknown } = kept;
        Ok(Self {
            id: SecretId::new(&value.id).map_err(|source| ObjectError::Id { kind: "secret", source })?,
            meta: Meta::from(value.meta.as_ref()),
            spec: value.spec.unwrap_or_default(),
            internal: value.internal,
            unknown,
        })
    }
}

impl From<&Secret> for Kept<pb::Secret> {
    fn from(secret: &Secret) -> Self {
        Kept {
            value: pb::Secret {
                id: secret.id.to_string(),
                meta: Some(secret.meta.into()),
                spec: Some(secret.spec.clone()),
                internal: secret.internal,
            },
            unknown: secret.unknown.clone(),
        }
    }
}

/// Readable data for tasks.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs)]
pub struct Config {
    pub id: ConfigId,
    pub meta: Meta,
    pub spec: Verbatim<types::ConfigSpec>,
    /// Encoded fields of newer versions.
    pub unknown: Bytes,
}

object!(Config, ConfigId, "config", |config| name_of(config.spec.annotations.as_ref()));

impl TryFrom<Kept<pb::Config>> for Config {
    type Error = ObjectError;

    fn try_from(kept: Kept<pb::Config>) -> Result<Self, ObjectError> {
        let Kept { value, unknown } = kept;
        Ok(Self {
            id: ConfigId::new(&value.id).map_err(|source| ObjectError::Id { kind: "config", source })?,
            meta: Meta::from(value.meta.as_ref()),
            spec: value.spec.unwrap_or_default(),
            unknown,
        })
    }
}

impl From<&Config> for Kept<pb::Config> {
    fn from(config: &Config) -> Self {
        Kept {
            value: pb::Config {
                id: config.id.to_string(),
                meta: Some(config.meta.into()),
                spec: Some(config.spec.clone()),
            },
            unknown: config.unknown.clone(),
        }
    }
}
