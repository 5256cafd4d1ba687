//! Why the store said no. One variant per way of failing; the API's code and text come from `Refusal::from`.

use std::io;
use std::path::{Path, PathBuf};

use skep_model::{Code, Refusal};

use super::digest::{ContentDigest, DigestError};
use super::unpack::UnpackError;

/// What went wrong with an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Not a name.
    #[error("invalid reference format: {reference:?}: {reason}")]
    InvalidReference {
        /// As it was given.
        reference: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Not a container id that may become a path.
    #[error("invalid container id {0:?}: letters, digits, '_' and '-', at most 128")]
    InvalidContainerId(String),
    /// Not here.
    #[error("No such image: {0}")]
    NotFound(String),
    /// An id prefix with several meanings.
    #[error("image id {0} is ambiguous")]
    Ambiguous(String),
    /// Something still needs it.
    #[error("conflict: {0}")]
    Conflict(String),
    /// The registry does not have it.
    #[error("manifest for {reference} not found: {answer}")]
    UnknownManifest {
        /// What was asked for.
        reference: String,
        /// The registry's own words.
        answer: String,
    },
    /// The registry wants other credentials.
    #[error("pull access denied for {repository}, repository does not exist or may require 'docker login': {answer}")]
    Denied {
        /// Familiar name.
        repository: String,
        /// The registry's own words.
        answer: String,
    },
    /// The registry does not take these credentials.
    #[error("login attempt to {registry} failed: {answer}")]
    WrongCredentials {
        /// Its host.
        registry: String,
        /// Its own words.
        answer: String,
    },
    /// The registry could not be reached or answered something else.
    #[error("registry {registry}: {answer}")]
    Registry {
        /// Host and port.
        registry: String,
        /// What came back, or why nothing did.
        answer: String,
        /// The client's error.
        #[source]
        source: Option<Box<oci_client::errors::OciDistributionError>>,
    },
    /// Nothing in a multi-platform image suits this host.
    #[error("no matching manifest for {platform} in the manifest list entries of {reference}")]
    NoPlatform {
        /// What was asked for.
        reference: String,
        /// `linux/amd64`.
        platform: String,
    },
    /// Content that does not have its digest.
    #[error("{what}: content has digest {actual}, expected {expected}")]
    DigestMismatch {
        /// Layer, config, manifest.
        what: &'static str,
        /// By the manifest.
        expected: ContentDigest,
        /// Of what came.
        actual: ContentDigest,
    },
    /// A digest that is not SHA-256.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// A named limit is reached.
    #[error("{what} is larger than the limit of {limit_bytes} bytes")]
    TooLarge {
        /// Layer, archive, manifest.
        what: String,
        /// The limit.
        limit_bytes: u64,
    },
    /// A manifest or config that makes no sense.
    #[error("invalid image: {0}")]
    InvalidImage(String),
    /// JSON that is none.
    #[error("invalid image: {what}: {source}")]
    Json {
        /// Which document.
        what: &'static str,
        /// The parser's word.
        source: serde_json::Error,
    },
    /// An archive that cannot or may not be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// A change of `import` that is not understood.
    #[error("{0}")]
    InvalidChange(String),
    /// Credentials of a kind that is not supported.
    #[error("{0}")]
    UnsupportedAuth(&'static str),
    /// The caller's stream of an archive broke off.
    #[error("reading the archive: {0}")]
    Upload(#[source] io::Error),
    /// The disk said no.
    #[error("cannot {operation} {path}: {source}", path = path.display())]
    Io {
        /// Verb.
        operation: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A worker thread died.
    #[error("image store worker: {0}")]
    Worker(#[from] tokio::task::JoinError),
}

impl ImageError {
    /// For `map_err`: names what was tried and where.
    pub(super) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { operation, path, source }
    }

    fn code(&self) -> Code {
        match self {
            Self::InvalidReference { .. }
            | Self::InvalidContainerId(_)
            | Self::InvalidImage(_)
            | Self::Json { .. }
            | Self::Unpack(_)
            | Self::InvalidChange(_)
            | Self::UnsupportedAuth(_)
            | Self::Upload(_)
            | Self::Digest(_)
            | Self::Ambiguous(_) => Code::InvalidArgument,
            Self::NotFound(_) | Self::UnknownManifest { .. } | Self::NoPlatform { .. } | Self::Denied { .. } => {
                Code::NotFound
            }
            Self::WrongCredentials { .. } => Code::Unauthenticated,
            Self::Conflict(_) => Code::AlreadyExists,
            Self::TooLarge { .. } => Code::ResourceExhausted,
            Self::Registry { .. } | Self::DigestMismatch { .. } => Code::Unknown,
            Self::Io { .. } | Self::Worker(_) => Code::Internal,
        }
    }
}

/// Codes as Docker's API answers them: a missing or denied image 404, a conflict 409, what the registry said 500.
impl From<ImageError> for Refusal {
    fn from(error: ImageError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
