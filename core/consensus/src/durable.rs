//! Inputs from the disk: writes that are done, entries that were read, snapshots that were encoded.

use bytes::Bytes;

use crate::consensus::{Consensus, Outstanding};
use crate::effect::{Persist, SnapshotPoint, SnapshotToSave};
use crate::state::{LogEntry, SnapshotMeta};
use crate::wire;

/// A log this large is followed by a snapshot even if it has few entries (unless the last snapshot was larger).
const LOG_BYTES_BEFORE_SNAPSHOT: u64 = 64 * 1024 * 1024;

impl Consensus {
    /// Everything up to this `Persist::number` is on disk. What waited for it comes out of the next turn.
    pub fn persisted(&mut self, number: u64) {
        self.disk_failing = false;
        while self.outstanding.front().is_some_and(|write| write.number <= number) {
            let Some(write) = self.outstanding.pop_front() else { break };
            if let Some(ready) = write.ready {
                self.raw.on_persist_ready(ready);
            }
            if let Some(index) = write.installed.filter(|&index| index > self.raw.raft.raft_log.applied()) {
                self.raw.advance_apply_to(index);
            }
            if let Some((meta, compact_to)) = write.own_snapshot {
                self.raw.mut_store().snapshot_saved(meta, compact_to);
            }
            self.outbox.extend(write.held);
        }
        self.settle();
    }

    /// The newest write failed (a full disk) and will be tried again: until it succeeds nothing is proposed, and what
    /// waits for it keeps waiting.
    pub fn persist_failed(&mut self) {
        self.disk_failing = true;
    }

    /// Answers an `Effects::fetch`: the entries from `low` on (at least one), or nothing if they cannot be read.
    pub fn log_fetched(&mut self, low: u64, entries: &[LogEntry]) {
        let Some(contexts) = self.fetching.remove(&low) else { return };
        if entries.is_empty() {
            // The follower's next answer to a heartbeat asks again.
            return;
        }
        self.raw.mut_store().set_window(entries.iter().map(wire::entry_to_raft).collect());
        for context in contexts {
            self.raw.on_entries_fetched(context);
        }
        self.raw.mut_store().set_window(Vec::new());
    }

    /// Marks the place of a snapshot of the store as it is now, after everything handed out. Nothing when there is
    /// nothing new. Encode it, even elsewhere, and call `finish_snapshot`; or `abandon_snapshot`.
    pub fn begin_snapshot(&mut self) -> Option<SnapshotPoint> {
        let (index, term) = self.handed_out;
        if self.snapshot_in_progress || index <= self.snapshot_index {
            return None;
        }
        self.snapshot_in_progress = true;
        self.raw.store().snapshot_started();
        let conf = wire::conf_from_raft(&self.raw.raft.prs().conf().to_conf_state());
        Some(SnapshotPoint { meta: SnapshotMeta { index, term, conf } })
    }

    /// The snapshot is encoded: it is written with the next turn, and the log is cut once that is durable.
    pub fn finish_snapshot(&mut self, point: SnapshotPoint, data: Bytes) {
        self.snapshot_in_progress = false;
        if point.meta.index <= self.snapshot_index {
            // A newer one came from the leader meanwhile.
            return;
        }
        self.snapshot_index = point.meta.index;
        let cut = point.meta.index.saturating_sub(self.config.entries_for_slow_followers);
        let compact_to = Some(cut).filter(|&cut| cut > self.raw.store().compacted_index());
        self.snapshot_size_bytes = data.len() as u64;
        self.log_bytes = 0;
        self.own_snapshot = Some((SnapshotToSave { meta: point.meta, data, replaces_log: false }, compact_to));
    }

    /// The snapshot could not be encoded; it is asked for again.
    pub fn abandon_snapshot(&mut self) {
        self.snapshot_in_progress = false;
    }

    /// The cluster's SnapshotInterval and LogEntriesForSlowFollowers changed.
    pub fn set_snapshot_policy(&mut self, interval: u64, entries_for_slow_followers: u64) {
        self.config.snapshot_interval = interval;
        self.config.entries_for_slow_followers = entries_for_slow_followers;
    }

    pub(crate) fn snapshot_due(&self) -> bool {
        if self.snapshot_in_progress {
            return false;
        }
        let entries = self.handed_out.0.saturating_sub(self.snapshot_index);
        let by_count = self.config.snapshot_interval > 0 && entries >= self.config.snapshot_interval;
        let by_size = self.log_bytes > LOG_BYTES_BEFORE_SNAPSHOT.max(self.snapshot_size_bytes);
        entries > 0 && (by_count || by_size || self.raw.store().snapshot_wanted())
    }

    /// A write, numbered, that waits.
    pub(crate) fn await_write(&mut self, mut write: Outstanding, persist: &mut Persist) {
        self.last_number += 1;
        write.number = self.last_number;
        persist.number = self.last_number;
        self.outstanding.push_back(write);
    }
}
