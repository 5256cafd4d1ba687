//! The store together with what the leader has proposed: transactions build on each other before they commit.

use std::collections::VecDeque;

use bytes::Bytes;
use skep_model::pb::messages::StoreSnapshot;
use skep_model::{Code, Now, Refusal};

use crate::change::{Action, Change, Event};
use crate::codec::{self, CodecError};
use crate::entry::{ENTRY_BYTES_MAX, Entry, TURN_BYTES_MAX, TURN_CHANGES_MAX};
use crate::overlay::{Place, View};
use crate::reader::Reader;
use crate::rules::ApplyError;
use crate::snapshot::RestoreError;
use crate::store::Store;
use crate::table::NONE;
use crate::tx::{Tx, Written};

/// A payload that had no effect; its index is consumed all the same.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum CommitError {
    #[error("a committed entry cannot be read")]
    Codec(#[from] CodecError),
    #[error("a committed entry does not fit the facts")]
    Apply(#[from] ApplyError),
}

/// A transaction that was proposed and is not yet committed.
#[derive(Clone, Debug)]
struct Flight {
    entry: Entry,
    /// Of its changes, in their order.
    places: Vec<Place>,
    writer: u64,
}

/// Committed facts, and over them what is in flight. Followers only commit; the leader also transacts.
#[derive(Default, Debug)]
pub struct Ledger {
    store: Store,
    flights: VecDeque<Flight>,
    last_writer: u64,
    reader: Reader,
}

impl Ledger {
    /// A ledger over these facts, with nothing in flight.
    pub fn new(store: Store) -> Self {
        Self { store, ..Self::default() }
    }

    /// A ledger that reads others' entries in this way.
    pub fn reading(store: Store, reader: Reader) -> Self {
        Self { store, reader, ..Self::default() }
    }

    /// Runs one transaction. Its changes are pending from now on, and form one entry that the caller must propose;
    /// no changes, no entry. An error changes nothing.
    ///
    /// `last_index` becomes the version of what is written: the index of the last entry of the log, with those that
    /// were proposed a moment ago counted in, so that two transactions never write the same version.
    pub fn transact<R, E: From<Refusal>>(
        &mut self,
        now: Now,
        last_index: u64,
        entry_id: u64,
        transaction: impl FnOnce(&mut Tx) -> Result<R, E>,
    ) -> Result<(R, Option<Entry>), E> {
        let writer = self.last_writer + 1;
        let mut tx = Tx::new(&mut self.store.tables, now, last_index, writer);
        let result = match transaction(&mut tx) {
            Ok(result) => result,
            Err(error) => {
                tx.undo();
                return Err(error);
            }
        };
        if tx.encoded_len() > ENTRY_BYTES_MAX {
            tx.undo();
            return Err(too_large().into());
        }
        let changes = tx.finish();
        if changes.is_empty() {
            return Ok((result, None));
        }
        Ok((result, Some(self.launch(entry_id, changes))))
    }

    /// Runs one turn of the deciders, and cuts its changes into entries that the caller must propose in this order.
    pub fn turn(
        &mut self,
        now: Now,
        last_index: u64,
        next_id: &mut dyn FnMut() -> u64,
        transaction: impl FnOnce(&mut Tx),
    ) -> Vec<Entry> {
        let writer = self.last_writer + 1;
        let mut tx = Tx::new(&mut self.store.tables, now, last_index, writer);
        transaction(&mut tx);
        let parts = split(tx.finish());
        parts.into_iter().map(|changes| self.launch(next_id(), changes)).collect()
    }

    fn launch(&mut self, id: u64, changes: Vec<Written>) -> Entry {
        self.last_writer += 1;
        let (changes, places): (Vec<Change>, Vec<Place>) =
            changes.into_iter().map(|written| (written.change, written.place)).unzip();
        for place in &places {
            self.store.tables.sign(*place, self.last_writer, NONE);
        }
        let entry = Entry { id, changes: changes.into() };
        self.flights.push_back(Flight { entry: entry.clone(), places, writer: self.last_writer });
        entry
    }

    /// Carries out a committed entry. An entry that is not the oldest in flight is another leader's, and tells that
    /// everything in flight is lost (interop §5.4).
    pub fn commit(&mut self, entry: &Entry) -> Result<Vec<Event>, ApplyError> {
        match self.land(entry.id) {
            Some(own) => self.store.apply_own(&own.entry.changes, &own.places, own.writer),
            None => self.store.apply(entry),
        }
    }

    /// As [`Self::commit`], from the log's payload; an entry of our own is not decoded again. Gives its id too.
    pub fn commit_payload(&mut self, payload: Bytes) -> Result<(u64, Vec<Event>), CommitError> {
        let id = codec::peek_id(&payload)?;
        let events = match self.land(id) {
            Some(own) => self.store.apply_own(&own.entry.changes, &own.places, own.writer)?,
            None => {
                let entry = self.reader.read(&self.store, id, payload)?;
                self.store.apply(&entry)?
            }
        };
        Ok((id, events))
    }

    /// Takes the entry out of flight, if it is the oldest one.
    fn land(&mut self, id: u64) -> Option<Flight> {
        if self.flights.front().is_some_and(|flight| flight.entry.id == id) {
            return self.flights.pop_front();
        }
        self.abandon();
        None
    }

    /// Takes back an entry that was not proposed after all, and every later one: they were built on it. What was
    /// proposed before stays in flight, for it may still be committed.
    pub fn take_back(&mut self, entry_id: u64) {
        let Some(position) = self.flights.iter().position(|flight| flight.entry.id == entry_id) else { return };
        let mut kept = std::mem::take(&mut self.flights);
        for place in kept.iter().flat_map(|flight| &flight.places) {
            self.store.tables.put_back(*place, None);
        }
        kept.truncate(position);
        for flight in &mut kept {
            for (change, place) in flight.entry.changes.iter().zip(&mut flight.places) {
                let gone = change.action == Action::Remove;
                // A row that was only in flight may have another place now.
                *place = self.store.tables.launch(&change.object, None, gone, flight.writer).0;
            }
        }
        self.flights = kept;
    }

    /// Forgets everything in flight: leadership is lost.
    pub fn abandon(&mut self) {
        for place in std::mem::take(&mut self.flights).iter().flat_map(|flight| &flight.places) {
            self.store.tables.put_back(*place, None);
        }
    }

    /// Replaces everything by a snapshot, and forgets what was in flight.
    pub fn restore(&mut self, snapshot: StoreSnapshot) -> Result<(), RestoreError> {
        // What was in flight goes with the facts that it lay beside.
        self.store.restore(snapshot)?;
        self.flights.clear();
        Ok(())
    }

    /// The committed facts.
    pub fn committed(&self) -> &Store {
        &self.store
    }

    /// Committed facts with everything in flight.
    pub fn view(&self) -> View<'_> {
        View { tables: &self.store.tables }
    }

    /// How many entries are proposed and not yet committed.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }
}

fn too_large() -> Refusal {
    // SwarmKit's text; it leaves the error without a code.
    Refusal::new(Code::Unknown, "raft: raft message is too large and can't be sent")
}

/// Cuts a turn's changes at the limits of one entry.
fn split(changes: Vec<Written>) -> Vec<Vec<Written>> {
    // Alone it makes an entry, however long.
    if changes.len() == 1 {
        return vec![changes];
    }
    let mut parts: Vec<Vec<Written>> = Vec::new();
    let mut bytes = 0;
    let mut left = changes.len();
    for change in changes {
        let length = change.encoded_len();
        match parts.last_mut() {
            Some(part) if part.len() < TURN_CHANGES_MAX && bytes + length <= TURN_BYTES_MAX => {
                bytes += length;
                part.push(change);
            }
            _ => {
                bytes = length;
                let mut part = Vec::with_capacity(left.min(TURN_CHANGES_MAX));
                part.push(change);
                parts.push(part);
            }
        }
        left -= 1;
    }
    parts
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod random;
