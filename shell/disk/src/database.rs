//! redb with bounds: a small cache, an integrity check at every start, and reopening after a failed write.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, StorageBackend};

use crate::error::DiskError;

/// Makes the storage under a database; files, except where a test makes them fail.
pub(crate) type Opener = Arc<dyn Fn(File) -> Result<Backend, DatabaseError> + Send + Sync>;

/// A storage behind a pointer.
#[derive(Debug)]
pub(crate) struct Backend(pub(crate) Box<dyn StorageBackend>);

impl StorageBackend for Backend {
    fn len(&self) -> Result<u64, std::io::Error> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.0.write(offset, data)
    }

    fn close(&self) -> Result<(), std::io::Error> {
        self.0.close()
    }
}

/// Plain files.
pub(crate) fn on_files() -> Opener {
    Arc::new(|file| Ok(Backend(Box::new(FileBackend::new(file)?))))
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

    fn get(&mut self) -> Result<&Database, DiskError> {
        if self.open.is_none() {
            let file =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&self.path);
            let file = file.map_err(|source| DiskError::write(&self.path, source))?;
            let failed = |error| DiskError::open_database(&self.path, error);
            let backend = (self.opener)(file).map_err(failed)?;
            let mut builder = Builder::new();
            builder.set_cache_size(self.cache_bytes).set_check_integrity_on_open(true);
            self.open = Some(builder.create_with_backend(backend).map_err(failed)?);
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
