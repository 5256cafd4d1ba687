//! The log as raft sees it: terms of everything, bodies of the newest entries only.
//!
//! Bodies are kept up to a bound; a follower that lags further is served from disk, asynchronously: raft asks, the
//! range is noted, the shell reads it, and the answer makes raft ask again. So neither memory nor a blocking disk
//! stands in the way, and the core still does no I/O.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};

use crate::effect::LogRange;
use crate::state::SnapshotMeta;
use crate::wire;

/// Bodies of applied entries kept in memory, in bytes.
pub const LOG_CACHE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// What is read from disk at once for one lagging follower.
pub const LOG_FETCH_BYTES_MAX: u64 = 256 * 1024;

/// raft's own bookkeeping of an entry, added to its body.
const ENTRY_OVERHEAD_BYTES: usize = 64;

pub(crate) struct Log {
    hard_state: HardState,
    /// The newest snapshot: it can be sent as soon as raft wants one.
    snapshot: SnapshotMeta,
    /// The last index that is gone, and its term.
    compacted: (u64, u64),
    /// First index → term, for each run of equal terms after `compacted`.
    terms: BTreeMap<u64, u64>,
    last_index: u64,
    /// The newest bodies, ending at `last_index`.
    cache: VecDeque<Entry>,
    cache_bytes: usize,
    cache_bytes_max: usize,
    /// Bodies from disk, only while raft takes them.
    window: Vec<Entry>,
    /// First index → what raft asked for there.
    wanted: RefCell<BTreeMap<u64, (LogRange, Vec<GetEntriesContext>)>>,
    snapshot_wanted: Cell<bool>,
}

fn size_of(entry: &Entry) -> usize {
    entry.data.len() + ENTRY_OVERHEAD_BYTES
}

impl Log {
    /// `entries` follow `compacted` without a gap and reach at least to the snapshot's index.
    pub(crate) fn new(
        hard_state: HardState,
        snapshot: SnapshotMeta,
        compacted: (u64, u64),
        entries: Vec<Entry>,
        cache_bytes_max: usize,
    ) -> Self {
        let mut log = Self {
            hard_state,
            snapshot,
            compacted,
            terms: BTreeMap::new(),
            last_index: compacted.0,
            cache: VecDeque::new(),
            cache_bytes: 0,
            cache_bytes_max,
            window: Vec::new(),
            wanted: RefCell::default(),
            snapshot_wanted: Cell::new(false),
        };
        log.append(entries);
        log
    }

    pub(crate) fn compacted_index(&self) -> u64 {
        self.compacted.0
    }

    fn cache_first(&self) -> u64 {
        self.last_index + 1 - self.cache.len() as u64
    }

    fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.compacted.0 {
            return Some(self.compacted.1);
        }
        if index < self.compacted.0 || index > self.last_index {
            return None;
        }
        self.terms.range(..=index).next_back().map(|(_, &term)| term)
    }

    /// Adds entries; what was there from the first one's index on is replaced.
    pub(crate) fn append(&mut self, entries: Vec<Entry>) {
        let Some(first) = entries.first() else { return };
        self.truncate_from(first.index);
        for entry in entries {
            if self.term_at(self.last_index) != Some(entry.term) || self.last_index == self.compacted.0 {
                self.terms.insert(entry.index, entry.term);
            }
            self.last_index = entry.index;
            self.cache_bytes += size_of(&entry);
            self.cache.push_back(entry);
        }
    }

    fn truncate_from(&mut self, index: u64) {
        while self.last_index >= index {
            if let Some(entry) = self.cache.pop_back() {
                self.cache_bytes -= size_of(&entry);
            }
            self.last_index -= 1;
        }
        self.terms.split_off(&index);
    }

    /// Everything is replaced by a snapshot.
    pub(crate) fn reset(&mut self, snapshot: SnapshotMeta) {
        self.compacted = (snapshot.index, snapshot.term);
        self.last_index = snapshot.index;
        self.snapshot = snapshot;
        self.terms.clear();
        self.cache.clear();
        self.cache_bytes = 0;
        self.wanted.borrow_mut().clear();
        self.snapshot_wanted.set(false);
    }

    /// A snapshot of our own became durable; entries up to `compact_to` are gone.
    pub(crate) fn snapshot_saved(&mut self, snapshot: SnapshotMeta, compact_to: Option<u64>) {
        if snapshot.index > self.snapshot.index {
            self.snapshot = snapshot;
        }
        let Some(index) = compact_to else { return };
        let Some(term) = self.term_at(index).filter(|_| index > self.compacted.0) else { return };
        while self.cache_first() <= index && self.pop_oldest() {}
        let kept = self.terms.split_off(&(index + 1));
        self.terms = kept;
        if index < self.last_index && !self.terms.contains_key(&(index + 1)) {
            self.terms.insert(index + 1, term);
        }
        self.compacted = (index, term);
    }

    fn pop_oldest(&mut self) -> bool {
        match self.cache.pop_front() {
            Some(entry) => {
                self.cache_bytes -= size_of(&entry);
                true
            }
            None => false,
        }
    }

    /// Forgets bodies beyond the bound; those after `applied` are needed and stay.
    pub(crate) fn shrink(&mut self, applied: u64) {
        while self.cache_bytes > self.cache_bytes_max && self.cache_first() <= applied && self.pop_oldest() {}
        if self.cache.capacity() > 64 && self.cache.capacity() > 4 * self.cache.len() {
            self.cache.shrink_to(2 * self.cache.len());
        }
    }

    pub(crate) fn wants_entries(&mut self) -> bool {
        !self.wanted.get_mut().is_empty()
    }

    pub(crate) fn take_wanted(&mut self, already_asked: &mut BTreeMap<u64, Vec<GetEntriesContext>>) -> Vec<LogRange> {
        let mut ranges = Vec::new();
        if self.wanted.get_mut().is_empty() {
            return ranges;
        }
        for (low, (range, contexts)) in std::mem::take(&mut *self.wanted.borrow_mut()) {
            let waiting = already_asked.entry(low).or_default();
            if waiting.is_empty() {
                ranges.push(range);
            }
            waiting.extend(contexts);
        }
        ranges
    }

    pub(crate) fn set_window(&mut self, entries: Vec<Entry>) {
        self.window = entries;
    }

    pub(crate) fn snapshot_wanted(&self) -> bool {
        self.snapshot_wanted.get()
    }

    pub(crate) fn snapshot_started(&self) {
        self.snapshot_wanted.set(false);
    }

    fn in_window(&self, low: u64, high: u64) -> Option<Vec<Entry>> {
        let start = self.window.iter().position(|entry| entry.index == low)?;
        Some(self.window[start..].iter().take_while(|entry| entry.index < high).cloned().collect())
    }
}

fn limit(mut entries: Vec<Entry>, bytes_max: Option<u64>) -> Vec<Entry> {
    raft::util::limit_size(&mut entries, bytes_max);
    entries
}

impl Storage for Log {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let conf_state: ConfState = wire::conf_to_raft(&self.snapshot.conf);
        Ok(RaftState::new(self.hard_state.clone(), conf_state))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let bytes_max = max_size.into();
        if low <= self.compacted.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        if high > self.last_index + 1 {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let first = self.cache_first();
        if low >= first {
            let range = (low - first) as usize..(high - first) as usize;
            // Only as much as will be used is cloned: the log may be long and the message short.
            let mut bytes = 0u64;
            let entries = self.cache.range(range).enumerate().take_while(|(at, entry)| {
                bytes = bytes.saturating_add(entry.data.len() as u64);
                *at == 0 || bytes_max.is_none_or(|max| bytes <= max)
            });
            return Ok(limit(entries.map(|(_, entry)| entry.clone()).collect(), bytes_max));
        }
        if let Some(entries) = self.in_window(low, high) {
            return Ok(limit(entries, bytes_max));
        }
        if !context.can_async() {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let range = LogRange { low, high: high.min(first), bytes_max: LOG_FETCH_BYTES_MAX };
        self.wanted.borrow_mut().entry(low).or_insert_with(|| (range, Vec::new())).1.push(context);
        Err(Error::Store(StorageError::LogTemporarilyUnavailable))
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index < self.compacted.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        self.term_at(index).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.compacted.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last_index)
    }

    /// Without the data, which stays on disk. A snapshot taken before the receiver became a member would be ignored by
    /// it, for ever: then a new one is asked for.
    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let conf = &self.snapshot.conf;
        let knows = conf.voters.iter().chain(&conf.learners).any(|id| id.0 == to);
        if self.snapshot.index == 0 || self.snapshot.index < request_index || !knows {
            self.snapshot_wanted.set(true);
            return Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        Ok(Snapshot { data: Vec::new(), metadata: Some(wire::meta_to_raft(&self.snapshot)) })
    }
}
