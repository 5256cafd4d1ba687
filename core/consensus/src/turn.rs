//! What the inputs brought about, collected as effects.

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType, Message};
use raft::{Ready, StateRole};
use skep_model::Time;

use crate::consensus::{Consensus, Outstanding};
use crate::effect::{Committed, Effects, InstalledSnapshot, Payload, PeerMessage, Persist, ReadReady, SnapshotToSave};
use crate::member::MembershipChange;
use crate::state::{HardState, LogEntry};
use crate::{membership_entry, wire};

/// What this turn writes, while it grows.
struct Write {
    persist: Persist,
    waits: Outstanding,
}

impl Write {
    fn new() -> Box<Self> {
        let waits = Outstanding { number: 0, ready: None, installed: None, own_snapshot: None, held: Vec::new() };
        Box::new(Self { persist: Persist::default(), waits })
    }
}

impl Consensus {
    /// Whether the inputs since the last call of `take_effects` brought anything about; if not, it need not be called.
    pub fn has_effects(&mut self) -> bool {
        let calm = !self.raw.has_ready()
            && self.outbox.is_empty()
            && self.own_snapshot.is_none()
            && self.reads_new.is_empty()
            && self.reads_asked.is_empty()
            && self.reads_ready.is_empty()
            && !self.raw.mut_store().wants_entries()
            && !self.leads_if_alone()
            && !self.owes_mark()
            && !self.snapshot_due()
            && self.state_to_write(false).is_none()
            && self.role() == self.told;
        // There is nothing to write before the next tick.
        self.write_commit &= !calm;
        !calm
    }

    /// Everything that the inputs since the last call brought about.
    pub fn take_effects(&mut self, now: Time) -> Effects {
        let mut effects = Effects::default();
        let mut write = None;
        self.lead_if_alone();
        self.ask_reads();
        while self.raw.has_ready() || self.propose_mark() {
            if self.send_alone(write.is_some()) {
                continue;
            }
            let ready = self.raw.ready();
            self.take_ready(now, ready, &mut effects, &mut write);
            self.settle();
            if write.is_none() {
                self.lead_if_alone();
            }
        }
        self.append_messages_taken();
        effects.persist = self.finish_write(write);
        effects.send = std::mem::take(&mut self.outbox);
        effects.fetch = self.raw.mut_store().take_wanted(&mut self.fetching);
        self.raw.mut_store().shrink(self.handed_out.0);
        effects.take_snapshot = self.snapshot_due();
        self.tell_reads(&mut effects);
        let role = self.role();
        if role != self.told {
            self.told = role;
            effects.role = Some(role);
        }
        effects
    }

    /// The only voter need not wait for a timeout.
    fn lead_if_alone(&mut self) {
        if self.leads_if_alone() {
            self.campaign();
        }
    }

    fn leads_if_alone(&self) -> bool {
        self.raw.raft.state != StateRole::Leader
            && self.is_alone()
            && self.outstanding.is_empty()
            && self.raw.raft.raft_log.unstable_entries().is_empty()
            && self.raw.raft.raft_log.applied() == self.raw.raft.raft_log.committed
    }

    /// Mostly there are messages and nothing else (heartbeats, and their answers). Those that need not wait for a write
    /// leave at once: raft's way over a `Ready` makes and moves much for them. Whether that was all.
    fn send_alone(&mut self, writes: bool) -> bool {
        let free = self.raw.raft.state == StateRole::Leader || (!writes && self.outstanding.is_empty());
        if !free || self.raw.raft.msgs.is_empty() {
            return false;
        }
        let mut messages = std::mem::take(&mut self.raw.raft.msgs);
        let alone = !self.raw.has_ready();
        if alone {
            self.outbox.reserve(messages.len());
            for message in messages.drain(..) {
                let message = self.wrap_one(message);
                self.outbox.push(message);
            }
        }
        // Its room is used again.
        self.raw.raft.msgs = messages;
        alone
    }

    fn take_ready(&mut self, now: Time, mut ready: Ready, effects: &mut Effects, write: &mut Option<Box<Write>>) {
        let number = ready.number();
        let must_sync = ready.must_sync();
        let entries = ready.take_entries();
        let installed = self.install(&ready, effects, write);
        let written: Vec<_> = entries.iter().map(wire::entry_from_raft).collect();
        if !entries.is_empty() {
            self.raw.mut_store().append(entries);
        }
        let send_now = self.wrap(ready.take_messages());
        let held = self.wrap(ready.take_persisted_messages());
        let committed = ready.take_committed_entries();
        for state in ready.take_read_states() {
            self.read_answered(state.index, &state.request_ctx);
        }
        self.raw.advance_append_async(ready);
        self.outbox.extend(send_now);

        if must_sync {
            let write = write.get_or_insert_with(Write::new);
            write.persist.sync = true;
            write.waits.ready = Some(number);
            write.waits.installed = installed.or(write.waits.installed);
            write.waits.held.extend(held);
            self.add_entries(&mut write.persist, written);
        } else if let Some(waits) = write.as_mut().map(|write| &mut write.waits).or(self.outstanding.back_mut()) {
            // Nothing of its own to write, but it must not overtake what came before.
            waits.ready = Some(number);
            waits.held.extend(held);
        } else {
            self.raw.on_persist_ready(number);
            self.outbox.extend(held);
        }
        self.hand_out(now, committed, effects);
    }

    fn install(&mut self, ready: &Ready, effects: &mut Effects, write: &mut Option<Box<Write>>) -> Option<u64> {
        let snapshot = ready.snapshot();
        let meta = snapshot.metadata.as_ref().filter(|meta| meta.index > 0)?;
        let meta = wire::meta_from_raft(meta);
        let data = Bytes::copy_from_slice(&snapshot.data);
        let (index, term) = (meta.index, meta.term);
        self.raw.mut_store().reset(meta.clone());
        self.fetching.clear();
        self.own_snapshot = None;
        self.handed_out = (index, term);
        self.snapshot_index = index;
        self.log_bytes = 0;
        self.snapshot_size_bytes = data.len() as u64;
        let write = write.get_or_insert_with(Write::new);
        write.persist.entries.clear();
        write.persist.snapshot = Some(SnapshotToSave { meta, data: data.clone(), replaces_log: true });
        // The caller's store starts over from here.
        effects.committed.clear();
        effects.install = Some(InstalledSnapshot { index, term, data });
        Some(index)
    }

    fn add_entries(&mut self, persist: &mut Persist, entries: Vec<LogEntry>) {
        let Some(first) = entries.first().map(|first| first.index) else { return };
        persist.entries.retain(|entry| entry.index < first);
        self.log_bytes += entries.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
        persist.entries.extend(entries);
    }

    /// Adds the hard state and a snapshot of our own, and numbers the write.
    fn finish_write(&mut self, mut write: Option<Box<Write>>) -> Option<Persist> {
        if let Some((snapshot, compact_to)) = self.own_snapshot.take() {
            let write = write.get_or_insert_with(Write::new);
            write.waits.own_snapshot = Some((snapshot.meta.clone(), compact_to));
            write.persist.compact_to = compact_to;
            write.persist.snapshot = Some(snapshot);
            write.persist.sync = true;
        }
        if let Some(state) = self.state_to_write(write.is_some()) {
            write.get_or_insert_with(Write::new).persist.hard_state = Some(state);
            self.written = state;
        }
        self.write_commit = false;
        let Write { mut persist, waits } = *write?;
        self.await_write(waits, &mut persist);
        Some(persist)
    }

    /// The hard state, if it is to be written. The commit index alone can wait for the next tick, or for another write:
    /// raft learns it again.
    fn state_to_write(&self, writes: bool) -> Option<HardState> {
        let state = wire::hard_state_from_raft(&self.raw.raft.hard_state());
        let only_commit = state.term == self.written.term && state.vote == self.written.vote;
        let due = state != self.written && (!only_commit || self.write_commit || writes);
        due.then_some(state)
    }

    pub(crate) fn wrap(&self, messages: Vec<Message>) -> Vec<PeerMessage> {
        messages.into_iter().map(|message| self.wrap_one(message)).collect()
    }

    fn wrap_one(&self, mut message: Message) -> PeerMessage {
        self.mend_append(&mut message);
        PeerMessage::new(message)
    }

    /// raft joins entries to a waiting append that has none, even one for another place (raft 0.7, `try_batching`): the
    /// follower's progress was set back, or on, in between. Such a message claims that its entries lie elsewhere, and
    /// a follower that believes it acknowledges what it does not have.
    fn mend_append(&self, message: &mut Message) {
        let Some(before) = message.entries.first().map(|first| first.index.saturating_sub(1)) else { return };
        if before == message.index {
            return;
        }
        match self.raw.raft.raft_log.term(before) {
            Ok(term) => {
                message.index = before;
                message.log_term = term;
            }
            // The term is no longer known: as an append without entries it is at least true, and the next one follows.
            Err(_) => message.entries.clear(),
        }
    }

    fn hand_out(&mut self, now: Time, entries: Vec<Entry>, effects: &mut Effects) {
        let Some(last) = entries.last().map(|entry| (entry.index, entry.term)) else { return };
        let mut before = self.handed_out.1;
        for entry in entries {
            let (index, term) = (entry.index, entry.term);
            let payload = if entry.entry_type == EntryType::EntryConfChange as i32 {
                self.change_membership(now, &entry.data)
            } else if entry.data.is_empty() {
                self.see_mark(&entry, before);
                Payload::Empty
            } else {
                Payload::Data(Bytes::from(entry.data))
            };
            before = term;
            effects.committed.push(Committed { index, term, payload });
        }
        self.handed_out = last;
        self.raw.advance_apply_to(last.0);
    }

    fn change_membership(&mut self, now: Time, data: &[u8]) -> Payload {
        let change = match membership_entry::decode(data) {
            Ok(change) => change,
            Err(reason) => return Payload::Unusable { reason },
        };
        let (leader, voters) = (self.leader(), self.voters());
        let applied = change.for_raft.as_ref().map(|for_raft| self.raw.apply_conf_change(for_raft));
        if let Some(Err(error)) = applied {
            return Payload::Unusable { reason: error.to_string() };
        }
        let removed_leader = match &change.for_table {
            Ok(MembershipChange::Remove(id)) => leader == Some(*id),
            _ => false,
        };
        if removed_leader && self.raw.raft.state == StateRole::Leader {
            // raft panics when a leader that is no member writes on. The others were told of the commit already.
            let term = self.raw.raft.term;
            self.raw.raft.become_follower(term, 0);
        } else if removed_leader && self.is_voter() {
            self.end_lease(now);
        }
        self.settle();
        match change.for_table {
            Ok(table) => {
                let voted = matches!(table, MembershipChange::Remove(id) if voters.contains(&id));
                self.see_change(&table, voted);
                Payload::Membership { request_id: change.request_id, change: table }
            }
            Err(reason) => Payload::Unusable { reason },
        }
    }

    // ---- reads ------------------------------------------------------------------------------------------------

    /// All reads since the last turn share one round of heartbeats.
    fn ask_reads(&mut self) {
        if self.reads_new.is_empty() {
            return;
        }
        let requests = std::mem::take(&mut self.reads_new);
        self.reads_sequence += 1;
        self.reads_asked.insert(self.reads_sequence, requests);
        self.raw.read_index(self.reads_sequence.to_be_bytes().to_vec());
    }

    fn read_answered(&mut self, index: u64, context: &[u8]) {
        let Ok(sequence) = <[u8; 8]>::try_from(context).map(u64::from_be_bytes) else { return };
        for request in self.reads_asked.remove(&sequence).unwrap_or_default() {
            self.reads_ready.push(ReadReady { request, index });
        }
    }

    fn tell_reads(&mut self, effects: &mut Effects) {
        if self.reads_new.is_empty() && self.reads_asked.is_empty() && self.reads_ready.is_empty() {
            return;
        }
        let raft = &self.raw.raft;
        if raft.state != StateRole::Leader || raft.term != self.told.term || !self.told.is_leader {
            // raft forgot them, or they belong to a term that is over.
            self.reads_new.clear();
            self.reads_asked.clear();
            if raft.state != StateRole::Leader {
                self.reads_ready.clear();
            }
        }
        let applied = self.handed_out.0;
        let (ready, waiting) =
            std::mem::take(&mut self.reads_ready).into_iter().partition(|read| read.index <= applied);
        effects.reads = ready;
        self.reads_ready = waiting;
    }
}
