//! Snapshot files: pieces sealed one by one, so that neither writing nor reading holds the data twice. Each piece says
//! which one of which snapshot it is and whether it is the last, so that none can be lost, swapped or cut off unseen.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use skep_consensus::SnapshotMeta;

use crate::atomic::{create_private_file, put_in_place, remove_file, temporary};
use crate::error::DiskError;
use crate::seal::{DataKey, Tag};

const MAGIC: &[u8; 8] = b"skepsnap";
const VERSION: u32 = 1;

/// Plain bytes in a piece.
const PIECE_BYTES: usize = 1024 * 1024;

/// Index, term, number of the piece, whether it is the last.
const HEAD_BYTES: usize = 8 + 8 + 4 + 1;

/// Longest sealed piece: a damaged length must not reserve memory.
const SEALED_BYTES_MAX: usize = PIECE_BYTES + 1024;

/// The name of a snapshot's file; `generation` tells apart rewritings of the same snapshot under another key.
pub(super) fn file_name(meta: &SnapshotMeta, generation: u64) -> String {
    format!("{:016x}-{:016x}.{generation}.snap", meta.term, meta.index)
}

/// Writes a snapshot's data durably.
pub(super) fn write(path: &Path, key: &DataKey, meta: &SnapshotMeta, data: &[u8]) -> Result<(), DiskError> {
    let beside = temporary(path);
    let written = write_pieces(&beside, key, meta, data);
    if written.is_err() {
        // Half a snapshot is of no use, and its room may be what is missing.
        fs::remove_file(&beside).unwrap_or_default();
    }
    written?;
    put_in_place(&beside, path)
}

fn write_pieces(path: &Path, key: &DataKey, meta: &SnapshotMeta, data: &[u8]) -> Result<(), DiskError> {
    let failed = |source| DiskError::write(path, source);
    let mut out = BufWriter::new(create_private_file(path).map_err(failed)?);
    out.write_all(MAGIC).and_then(|()| out.write_all(&VERSION.to_be_bytes())).map_err(failed)?;
    let pieces = data.len().div_ceil(PIECE_BYTES).max(1);
    for number in 0..pieces {
        let slice = &data[number * PIECE_BYTES..data.len().min((number + 1) * PIECE_BYTES)];
        let mut plain = Vec::with_capacity(HEAD_BYTES + slice.len());
        plain.extend_from_slice(&head(meta.index, meta.term, number as u32, number + 1 == pieces));
        plain.extend_from_slice(slice);
        let sealed = key.seal(Tag::SnapshotPiece, &plain)?;
        out.write_all(&(sealed.len() as u32).to_be_bytes()).and_then(|()| out.write_all(&sealed)).map_err(failed)?;
    }
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)
}

fn head(index: u64, term: u64, number: u32, last: bool) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(&index.to_be_bytes());
    head[8..16].copy_from_slice(&term.to_be_bytes());
    head[16..20].copy_from_slice(&number.to_be_bytes());
    head[20] = u8::from(last);
    head
}

/// Reads a snapshot's data.
pub(super) fn read(path: &Path, key: &DataKey, index: u64, term: u64) -> Result<Bytes, DiskError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(DiskError::NoSnapshot { index, term }),
        other => other.map_err(|source| DiskError::read(path, source))?,
    };
    let mut input = BufReader::new(file);
    let mut fill = |bytes: &mut [u8]| {
        input.read_exact(bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => DiskError::damaged(path, "it ends too early"),
            _ => DiskError::read(path, error),
        })
    };
    let (mut magic, mut number) = ([0; MAGIC.len()], [0; 4]);
    fill(&mut magic)?;
    fill(&mut number)?;
    let version = u32::from_be_bytes(number);
    if &magic != MAGIC {
        return Err(DiskError::damaged(path, "it is not a snapshot"));
    }
    if version > VERSION {
        return Err(DiskError::Version { path: path.to_owned(), found: version, known: VERSION });
    }
    let mut data = Vec::new();
    for piece in 0.. {
        fill(&mut number)?;
        let length = u32::from_be_bytes(number) as usize;
        if length > SEALED_BYTES_MAX {
            return Err(DiskError::damaged(path, format!("a piece of {length} bytes")));
        }
        let mut sealed = vec![0; length];
        fill(&mut sealed)?;
        let undecryptable = || DiskError::Undecryptable { path: path.to_owned() };
        let plain = key.open(Tag::SnapshotPiece, &sealed).ok_or_else(undecryptable)?;
        if plain.len() < HEAD_BYTES {
            return Err(DiskError::damaged(path, "a piece without a head"));
        }
        let (found, rest) = plain.split_at(HEAD_BYTES);
        let last = found == head(index, term, piece, true);
        if !last && found != head(index, term, piece, false) {
            return Err(DiskError::damaged(path, format!("piece {piece} belongs elsewhere")));
        }
        data.extend_from_slice(rest);
        if last {
            return Ok(Bytes::from(data));
        }
    }
    Err(DiskError::damaged(path, "it never ends"))
}

/// Files of snapshots other than `current`, oldest first, temporary ones included.
pub(super) fn others(dir: &Path, current: Option<&str>) -> Result<Vec<PathBuf>, DiskError> {
    let failed = |source| DiskError::read(dir, source);
    let mut found = Vec::new();
    for row in fs::read_dir(dir).map_err(failed)? {
        let row = row.map_err(failed)?;
        let name = row.file_name().to_string_lossy().into_owned();
        let ours = name.ends_with(".snap") || (name.starts_with('.') && name.ends_with(".snap.tmp"));
        if ours && Some(name.as_str()) != current {
            found.push(row.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Removes all but the current one and the `keep` newest others. What cannot be removed now is removed next time.
pub(super) fn clean(dir: &Path, current: Option<&str>, keep: usize) {
    let files = match others(dir, current) {
        Ok(files) => files,
        Err(error) => return tracing::warn!("old snapshots stay: {error}"),
    };
    let (temporary, whole): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|path| path.extension().is_some_and(|extension| extension == "tmp"));
    let spare = whole.len().saturating_sub(keep);
    for path in temporary.iter().chain(&whole[..spare]) {
        if let Err(error) = remove_file(path) {
            tracing::warn!("an old snapshot stays: {error}");
        }
    }
}
