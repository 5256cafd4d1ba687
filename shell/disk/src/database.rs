//! redb with bounds: a small cache, an integrity check at every start, and reopening after a failed write.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError};

use crate::error::DiskError;

/// Makes the database on an open file; a test puts something that fails in between.
pub(crate) type Opener = Arc<dyn Fn(&Builder, File) -> Result<Database, DatabaseError> + Send + Sync>;

/// Plain files, locked against other processes.
pub(crate) fn on_files() -> Opener {
    Arc::new(|builder, file| builder.create_with_backend(FileBackend::new(file)?))
}

/// A database that is opened again after it failed: redb refuses everything after a failed write, while the file
/// itself stands as after the last commit.
pub(crate) struct Reopening {
    path: PathBuf,
    cache_bytes: usize,
    opener: Opener,
    open: Option<Database>,
}

impl Reopening {
    /// Opens, or creates with mode 0600.
    pub(crate) fn open(path: &Path, cache_bytes: usize, opener: Opener) -> Result<Self, DiskError> {
        let mut database = Self { path: path.to_owned(), cache_bytes, opener, open: None };
        database.get()?;
        Ok(database)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file was renamed; it stays open.
    pub(crate) fn moved_to(&mut self, path: &Path) {
        self.path = path.to_owned();
    }

    fn get(&mut self) -> Result<&Database, DiskError> {
        if self.open.is_none() {
            let file =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&self.path);
            let file = file.map_err(|source| DiskError::write(&self.path, source))?;
            let failed = |error| DiskError::open_database(&self.path, error);
            let mut builder = Builder::new();
            builder.set_cache_size(self.cache_bytes).set_check_integrity_on_open(true);
            self.open = Some((self.opener)(&builder, file).map_err(failed)?);
        }
        match &self.open {
            Some(database) => Ok(database),
            None => Err(DiskError::damaged(&self.path, "not open")),
        }
    }

    /// Does something with the database. After an error it is opened anew next time.
    pub(crate) fn with<R>(&mut self, action: impl FnOnce(&Database) -> Result<R, DiskError>) -> Result<R, DiskError> {
        let result = self.get().and_then(action);
        if result.is_err() {
            self.open = None;
        }
        result
    }
}
