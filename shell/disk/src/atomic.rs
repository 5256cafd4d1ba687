//! Files that are either as before or as wanted, whatever happens in between.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::DiskError;

/// Largest small file that is read at once: nothing here comes near it.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

const PRIVATE_DIR_MODE: u32 = 0o700;
const PRIVATE_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;

/// Makes a directory that only the owner may enter, with its parents; one that exists is narrowed to that.
pub fn create_private_dir(path: &Path) -> Result<(), DiskError> {
    let failed = |source| DiskError::CreateDir { path: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(PRIVATE_DIR_MODE).create(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(PRIVATE_DIR_MODE)).map_err(failed)
}

pub(crate) fn sync_dir(path: &Path) -> Result<(), DiskError> {
    let dir = File::open(path).map_err(|source| DiskError::write(path, source))?;
    dir.sync_all().map_err(|source| DiskError::write(path, source))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The name under which a file is written before it takes its place; hidden, in the same directory.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    parent(path).join(format!(".{name}.tmp"))
}

pub(crate) fn create_private_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(PRIVATE_MODE).open(path)
}

/// Puts a finished and synced temporary file in place, durably.
pub(crate) fn put_in_place(temporary: &Path, path: &Path) -> Result<(), DiskError> {
    fs::rename(temporary, path).map_err(|source| DiskError::write(path, source))?;
    sync_dir(parent(path))
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DiskError> {
    let temporary = temporary(path);
    let written =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary).and_then(|mut file| {
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            file.write_all(bytes)?;
            file.sync_all()
        });
    if let Err(source) = written {
        // The half of it is of no use; what stands is untouched either way.
        fs::remove_file(&temporary).unwrap_or_default();
        return Err(DiskError::write(path, source));
    }
    put_in_place(&temporary, path)
}

/// Replaces a file, durably, for the owner only.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    replace(path, bytes, PRIVATE_MODE)
}

/// Replaces a file, durably, for all to read: certificates.
pub fn write_public_file(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    replace(path, bytes, PUBLIC_MODE)
}

/// Reads a small file; `None` when it is not there.
pub fn read_file(path: &Path) -> Result<Option<Vec<u8>>, DiskError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(DiskError::read(path, source)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|source| DiskError::read(path, source))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(DiskError::damaged(path, format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(Some(bytes))
}

/// Removes a file, durably; one that is not there is as good.
pub fn remove_file(path: &Path) -> Result<(), DiskError> {
    match fs::remove_file(path) {
        Ok(()) => sync_dir(parent(path)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(source) => Err(DiskError::Remove { path: path.to_owned(), source }),
    }
}

/// Removes a directory with all that is in it. It vanishes at once: what a crash leaves of it bears another name, and
/// goes with the next call.
pub fn remove_dir(path: &Path) -> Result<(), DiskError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let leftover = parent(path).join(format!(".{name}.removed"));
    let delete = || match fs::remove_dir_all(&leftover) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(DiskError::Remove { path: leftover.clone(), source: error })
        }
        _ => Ok(()),
    };
    delete()?;
    match fs::rename(path, &leftover) {
        Ok(()) => sync_dir(parent(path))?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(DiskError::Remove { path: path.to_owned(), source }),
    }
    delete()
}
