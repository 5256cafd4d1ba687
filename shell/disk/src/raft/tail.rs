//! How many durable commits the database has seen, noted outside of it: redb falls back to the commit before the last
//! one when it finds that one damaged, and an acknowledged write would be gone without a word. The note is written
//! after the commit it counts, without an fsync: one that lags behind or is unreadable says nothing, one that is ahead
//! proves a loss.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::atomic::read_file;
use crate::error::DiskError;

const HALF_BYTES: usize = 8;

fn place(dir: &Path) -> PathBuf {
    dir.join("tail")
}

/// Notes the number of the last durable commit.
pub(super) fn write(dir: &Path, number: u64) -> Result<(), DiskError> {
    let path = place(dir);
    let note = [number.to_be_bytes(), (!number).to_be_bytes()].concat();
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(&note)).map_err(|source| DiskError::write(&path, source))
}

/// The number that was noted, if it can be read.
pub(super) fn read(dir: &Path) -> Result<Option<u64>, DiskError> {
    let Some(note) = read_file(&place(dir))? else { return Ok(None) };
    let half = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).ok();
    let (Some(number), Some(inverse)) = (note.get(..HALF_BYTES).and_then(half), note.get(HALF_BYTES..).and_then(half))
    else {
        return Ok(None);
    };
    Ok((number == !inverse).then_some(number))
}
