//! Tests against real files in temporary directories, and against storage that fails.

mod damage;
mod faulty;
mod key_file;
mod raft_log;
mod small_files;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bytes::Bytes;
use skep_consensus::{ConfState, EntryKind, HardState, LogEntry, Member, Persist, SnapshotMeta, SnapshotToSave};
use skep_model::{NodeId, RaftId};

use crate::DataKey;

fn key(fill: u8) -> DataKey {
    DataKey::from_bytes(&[fill; 32]).unwrap()
}

fn member() -> Member {
    Member { raft_id: RaftId(7), node_id: NodeId::new("thisnode").unwrap(), addr: "10.0.0.1:2377".to_owned() }
}

fn entry(index: u64, term: u64) -> LogEntry {
    let data = Bytes::from(format!("legible entry {index} of term {term} {}", "-".repeat(index as usize % 50)));
    LogEntry { index, term, kind: EntryKind::Normal, data }
}

fn entries(range: std::ops::RangeInclusive<u64>, term: u64) -> Vec<LogEntry> {
    range.map(|index| entry(index, term)).collect()
}

fn write_of(entries: Vec<LogEntry>, commit: u64) -> Persist {
    let term = entries.last().map_or(1, |entry| entry.term);
    let hard_state = Some(HardState { term, vote: 7, commit });
    Persist { number: 1, sync: true, hard_state, entries, ..Persist::default() }
}

fn snapshot(index: u64, term: u64, data: &[u8]) -> SnapshotToSave {
    let conf = ConfState { voters: [RaftId(7), RaftId(8)].into(), learners: [RaftId(9)].into() };
    let meta = SnapshotMeta { index, term, conf };
    SnapshotToSave { meta, data: Bytes::copy_from_slice(data), replaces_log: false }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn file_names(dir: &Path) -> Vec<String> {
    let rows = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = rows.map(|row| row.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "tail");
    names.sort();
    names
}
