//! Entries are read once for all managers of a run: messages travel decoded, and so does what stands in the log. A
//! share of the seeds has every manager read for itself, as over a socket.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use skep_store::{Change, CodecError, Entry, Event, Reader, Store};

use crate::codec::Codec;
use crate::plant::Plant;
use crate::world::tamper;

/// Bytes of entries that are remembered: whoever is further behind reads them anew. Enough for all of an ordinary run,
/// in which managers that start read their whole log again.
const ENTRIES_BYTES_MAX: usize = 8 << 20;

#[derive(Default)]
struct Recent {
    entries: BTreeMap<u64, (Bytes, Entry)>,
    order: VecDeque<u64>,
    bytes: usize,
}

impl Recent {
    fn keep(&mut self, payload: Bytes, entry: Entry) {
        self.order.push_back(entry.id);
        self.bytes += payload.len();
        if let Some((before, _)) = self.entries.insert(entry.id, (payload, entry)) {
            self.bytes -= before.len();
        }
        while self.bytes > ENTRIES_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some((payload, _)) = self.entries.remove(&oldest) {
                self.bytes -= payload.len();
            }
        }
    }
}

/// What was read lately.
#[derive(Clone)]
pub(crate) struct ReadOnce {
    codec: Codec,
    recent: Arc<Mutex<Recent>>,
}

impl ReadOnce {
    pub fn new(codec: Codec) -> Self {
        Self { codec, recent: Arc::default() }
    }

    /// For a manager.
    pub fn reader(&self, plant: Option<Plant>) -> Reader {
        let this = self.clone();
        match (plant.filter(|plant| plant.tampers_with_entries()), self.codec) {
            (Some(plant), _) => Reader::new(move |facts, id, payload| {
                this.read(facts, id, payload).map(|entry| tamper::entry(plant, facts, entry))
            }),
            (None, Codec::Encoded) => Reader::default(),
            (None, Codec::Decoded) => Reader::new(move |facts, id, payload| this.read(facts, id, payload)),
        }
    }

    /// What the payload says.
    pub fn read(&self, facts: &Store, id: u64, payload: Bytes) -> Result<Entry, CodecError> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        match recent.entries.get(&id) {
            Some((known, entry)) if *known == payload && self.codec == Codec::Decoded => Ok(entry.clone()),
            _ => {
                let entry = facts.decode(payload.clone())?;
                recent.keep(payload, entry.clone());
                Ok(entry)
            }
        }
    }

    /// A manager carried out an entry: what it changed, change by change.
    pub fn note(&self, payload: &Bytes, events: &[Event]) {
        let Ok(id) = Entry::peek_id(payload) else { return };
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if self.codec == Codec::Decoded && !recent.entries.contains_key(&id) {
            let change = |event: &Event| Change { action: event.action, object: event.object.clone() };
            let changes = events.iter().map(change).collect();
            recent.keep(payload.clone(), Entry { id, changes });
        }
    }
}
