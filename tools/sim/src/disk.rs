//! A manager's disk: writes land in order and in whole transactions (as `shell/disk` makes them), but what was not
//! synced may be gone after a crash.

use std::collections::{BTreeMap, VecDeque};

use skep_consensus::{HardState, LogEntry, LogRange, Persist, SnapshotToSave};

use crate::dice::Dice;
use crate::plant::Plant;

/// The contents of a disk.
#[derive(Clone, Default, Debug)]
pub struct Image {
    /// Term, vote, commit.
    pub hard_state: HardState,
    /// By index.
    pub entries: BTreeMap<u64, LogEntry>,
    /// The newest.
    pub snapshot: Option<SnapshotToSave>,
}

impl Image {
    /// One write, whole.
    pub fn write(&mut self, persist: &Persist) {
        if let Some(snapshot) = &persist.snapshot {
            if snapshot.replaces_log {
                self.entries.clear();
            }
            self.snapshot = Some(snapshot.clone());
        }
        append(&mut self.entries, &persist.entries);
        if let Some(state) = persist.hard_state {
            self.hard_state = state;
        }
        if let Some(index) = persist.compact_to {
            self.entries = self.entries.split_off(&(index + 1));
        }
    }
}

/// Adds entries to a log; what was there from the first one's index on is replaced.
pub fn append(log: &mut BTreeMap<u64, LogEntry>, entries: &[LogEntry]) {
    let Some(first) = entries.first() else { return };
    while log.last_key_value().is_some_and(|(index, _)| *index >= first.index) {
        log.pop_last();
    }
    log.extend(entries.iter().map(|entry| (entry.index, entry.clone())));
}

/// The planted bug: a write without its end, which no checksum finds.
fn torn(persist: &Persist) -> Persist {
    let mut torn = persist.clone();
    if let Some(last) = torn.entries.last_mut() {
        last.data.truncate(last.data.len() / 2);
    }
    torn
}

/// The disk, with what is on its way to it.
#[derive(Default, Debug)]
pub struct Disk {
    /// What a process sees: everything that was written, durable or not.
    pub seen: Image,
    /// What survives whatever happens.
    durable: Image,
    /// Written but not synced, oldest first.
    cached: VecDeque<Persist>,
    /// Given to the disk, not written yet.
    pub queued: VecDeque<Persist>,
    /// How many of the queued ones the running write takes along; 0 when the disk is idle.
    pub writing: usize,
    /// Faults that make writes fail, at work now.
    pub failing: u32,
    /// Faults that make writes slow, at work now.
    pub slow: u32,
}

impl Disk {
    /// A write that is there from the beginning.
    pub fn format(&mut self, persist: &Persist) {
        self.seen.write(persist);
        self.durable.write(persist);
    }

    /// Accepts a write.
    pub fn give(&mut self, persist: Persist) {
        self.seen.write(&persist);
        self.queued.push_back(persist);
    }

    /// The running write is done; the number to acknowledge.
    pub fn written(&mut self, plant: Option<Plant>) -> Option<u64> {
        let batch: Vec<Persist> = self.queued.drain(..self.writing.min(self.queued.len())).collect();
        self.writing = 0;
        let last = batch.last().map(|persist| persist.number);
        let sync = batch.iter().any(|persist| persist.sync) && plant != Some(Plant::LostSync);
        self.cached.extend(batch);
        if sync {
            while let Some(mut persist) = self.cached.pop_front() {
                if plant == Some(Plant::VoteForgotten)
                    && let Some(state) = &mut persist.hard_state
                {
                    state.vote = 0;
                    state.term = state.term.saturating_sub(1).max(1);
                }
                self.durable.write(&persist);
            }
        }
        last
    }

    /// The process or the machine dies: some of what was not synced is lost. Only the machine takes along what the
    /// kernel already has; then the first write that is lost may have been written in part, which the next start finds
    /// by its checksum and drops.
    pub fn crash(&mut self, power: bool, plant: Option<Plant>, dice: &mut Dice) {
        let mut survivors: Vec<Persist> = self.cached.drain(..).collect();
        let written = survivors.len();
        survivors.extend(self.queued.drain(..self.writing.min(self.queued.len())));
        self.queued.clear();
        self.writing = 0;
        let least = if power { 0 } else { written };
        let count = dice.between(least as u64, survivors.len() as u64) as usize;
        for persist in &survivors[..count] {
            self.durable.write(persist);
        }
        if let Some(first_lost) = survivors.get(count).filter(|_| power && plant == Some(Plant::TornWrite)) {
            self.durable.write(&torn(first_lost));
        }
        self.seen = self.durable.clone();
    }

    /// Everything is deleted: the manager is none any more.
    pub fn wipe(&mut self) {
        *self = Self { failing: self.failing, slow: self.slow, ..Self::default() };
    }

    /// Entries of a range, as far as they are there.
    pub fn read(&self, range: &LogRange) -> Vec<LogEntry> {
        let mut bytes = 0;
        let mut found = Vec::new();
        for (offset, (index, entry)) in self.seen.entries.range(range.low..range.high).enumerate() {
            if *index != range.low + offset as u64 || bytes > range.bytes_max {
                break;
            }
            bytes += entry.data.len() as u64;
            found.push(entry.clone());
        }
        found
    }
}
