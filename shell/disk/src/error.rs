//! Every "no" of this crate.

use std::io;
use std::path::{Path, PathBuf};

/// What failed, where, and why.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A directory could not be made.
    #[error("cannot create the directory {}", path.display())]
    CreateDir {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be written, synced or put in place. The earlier content stands.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be removed.
    #[error("cannot remove {}", path.display())]
    Remove {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No room. Nothing was changed; the same write may be tried again.
    #[error("no space left to write {}", path.display())]
    Full {
        /// Which.
        path: PathBuf,
    },
    /// A database could not be opened.
    #[error("cannot open {}", path.display())]
    OpenDatabase {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Box<redb::DatabaseError>,
    },
    /// Another process has it open.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// A database could not be read or written. Nothing was changed.
    #[error("cannot use {}", path.display())]
    Database {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Box<redb::Error>,
    },
    /// What is there was not written by an undisturbed Skep.
    #[error("{} is damaged: {reason}; restore it from a backup, or let this node leave and join again", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// Encrypted with another key, or damaged: a cipher cannot tell these apart.
    #[error("{} cannot be decrypted: it was written with another key, or it is damaged", path.display())]
    Undecryptable {
        /// Which.
        path: PathBuf,
    },
    /// Written by a newer Skep.
    #[error("{} has format {found}, and this Skep knows {known} at most: use a newer one", path.display())]
    Version {
        /// Which.
        path: PathBuf,
        /// What it says.
        found: u32,
        /// What is known.
        known: u32,
    },
    /// There is something already.
    #[error("{} exists already", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// The snapshot asked for is not there (any more).
    #[error("there is no snapshot of index {index}, term {term}")]
    NoSnapshot {
        /// The index asked for.
        index: u64,
        /// The term asked for.
        term: u64,
    },
    /// The system gives no random numbers.
    #[error("the system's random source failed: {reason}")]
    Random {
        /// What it said.
        reason: String,
    },
    /// A key file's passphrase is missing or wrong (autolock).
    #[error("the key file {} is locked", path.display())]
    Locked {
        /// Which.
        path: PathBuf,
        /// Whether a key was given at all.
        key_given: bool,
    },
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

impl DiskError {
    /// Whether making room helps.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if is_full(&source) { Self::Full { path } } else { Self::Write { path, source } }
    }

    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    pub(crate) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.into() }
    }

    pub(crate) fn database(path: &Path, error: impl Into<redb::Error>) -> Self {
        let path = path.to_owned();
        match error.into() {
            redb::Error::Io(source) if is_full(&source) => Self::Full { path },
            redb::Error::Corrupted(reason) => Self::Damaged { path, reason },
            other => Self::Database { path, source: Box::new(other) },
        }
    }

    pub(crate) fn open_database(path: &Path, error: redb::DatabaseError) -> Self {
        let path = path.to_owned();
        match error {
            redb::DatabaseError::DatabaseAlreadyOpen => Self::InUse { path },
            redb::DatabaseError::Storage(redb::StorageError::Corrupted(reason)) => Self::Damaged { path, reason },
            redb::DatabaseError::Storage(redb::StorageError::Io(source)) if is_full(&source) => Self::Full { path },
            // A file whose first bytes are not redb's, or that ends too early.
            redb::DatabaseError::Storage(redb::StorageError::Io(source))
                if matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                Self::Damaged { path, reason: source.to_string() }
            }
            other => Self::OpenDatabase { path, source: Box::new(other) },
        }
    }
}
