//! How many durable commits the database has seen, noted outside of it: redb falls back to the commit before the last
//! one when it finds that one damaged, and an acknowledged write would be gone without a word. The note is written
//! after the commit it counts, without an fsync: one that lags behind or is unreadable says nothing, one that is ahead
//! proves a loss.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::atomic::read_file;
use crate::error::DiskError;

const HALF_BYTES: usize = 8;

fn place(dir: &Path) -> PathBuf {
    dir.join("tail")
}

/// Where the number is noted; the file stays open, for it is written with every commit.
#[derive(Default)]
pub(super) struct Tail(Option<File>);

impl Tail {
    /// Notes the number of the last durable commit.
    pub(super) fn write(&mut self, dir: &Path, number: u64) -> Result<(), DiskError> {
        let note = [number.to_be_bytes(), (!number).to_be_bytes()].concat();
        let written = self.open(dir).and_then(|file| file.write_all_at(&note, 0));
        if written.is_err() {
            self.0 = None;
        }
        written.map_err(|source| DiskError::write(&place(dir), source))
    }

    fn open(&mut self, dir: &Path) -> io::Result<&File> {
        let file = match self.0.take() {
            Some(open) => open,
            None => OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(place(dir))?,
        };
        Ok(self.0.insert(file))
    }
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
