//! The log in memory: terms of everything, bodies of the newest.

use raft::eraftpb::Entry;
use raft::{Error, GetEntriesContext, Storage, StorageError};

use crate::log::Log;
use crate::state::SnapshotMeta;

fn entry(index: u64, term: u64) -> Entry {
    Entry { index, term, data: vec![7; 36], ..Entry::default() }
}

fn log(terms: &[u64]) -> Log {
    let entries = terms.iter().zip(1..).map(|(&term, index)| entry(index, term)).collect();
    Log::new(Default::default(), SnapshotMeta::default(), (0, 0), entries, 300)
}

fn terms(log: &Log, range: std::ops::RangeInclusive<u64>) -> Vec<Option<u64>> {
    range.map(|index| log.term(index).ok()).collect()
}

#[test]
fn terms_outlive_bodies_truncation_and_compaction() {
    let mut log = log(&[1, 1, 2, 2, 3, 3, 3]);
    log.shrink(7);
    assert_eq!(terms(&log, 0..=8), [Some(0), Some(1), Some(1), Some(2), Some(2), Some(3), Some(3), Some(3), None]);
    log.append(vec![entry(6, 5), entry(7, 5)]);
    assert_eq!(terms(&log, 4..=8), [Some(2), Some(3), Some(5), Some(5), None]);
    log.snapshot_saved(SnapshotMeta { index: 6, term: 5, conf: Default::default() }, Some(3));
    assert_eq!(log.first_index().unwrap(), 4);
    assert_eq!(terms(&log, 2..=7), [None, Some(2), Some(2), Some(3), Some(5), Some(5)]);
    log.append(vec![entry(5, 6)]);
    assert_eq!(terms(&log, 3..=6), [Some(2), Some(2), Some(6), None]);
}

#[test]
fn bodies_that_were_forgotten_are_asked_for() {
    let mut log = log(&[1; 10]);
    log.shrink(8);
    // Three bodies of 100 bytes fit; those after index 8 would stay in any case.
    let none = || GetEntriesContext::empty(true);
    assert_eq!(log.entries(8, 11, None, none()).unwrap().len(), 3);
    assert_eq!(log.entries(8, 11, 40, none()).unwrap().len(), 1);
    let missing = log.entries(2, 11, None, none());
    assert!(matches!(missing, Err(Error::Store(StorageError::LogTemporarilyUnavailable))));
    let mut asked = Default::default();
    let ranges = log.take_wanted(&mut asked);
    assert_eq!(ranges.iter().map(|range| (range.low, range.high)).collect::<Vec<_>>(), [(2, 8)]);
    log.set_window(vec![entry(2, 1), entry(3, 1)]);
    assert_eq!(log.entries(2, 11, None, none()).unwrap().len(), 2);
    let synchronous = log.entries(5, 11, None, GetEntriesContext::empty(false));
    assert!(matches!(synchronous, Err(Error::Store(StorageError::Unavailable))));
}

#[test]
fn what_is_not_applied_is_never_forgotten() {
    let mut log = log(&[1; 10]);
    log.shrink(2);
    assert_eq!(log.entries(3, 11, None, GetEntriesContext::empty(false)).unwrap().len(), 8);
}
