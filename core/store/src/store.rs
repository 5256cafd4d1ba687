//! Committed facts.

use std::sync::Arc;

use bytes::Bytes;
use skep_model::{NodeId, ServiceId, Task, TaskState};

use crate::change::{Action, Change, Event};
use crate::codec::CodecError;
use crate::entry::Entry;
use crate::handles::Handle;
use crate::object::{AnyObject, Stored, with_object};
use crate::overlay::Place;
use crate::read::Find;
use crate::rules::{self, ApplyError};
use crate::table::{NONE, Sight, Tables};

/// The committed facts of the swarm. A clone shares every object: cheap enough to snapshot from.
///
/// Beside each committed row lies what is in flight for it; only a [`crate::Ledger`] puts it there and shows it.
#[derive(Default, Debug)]
pub struct Store {
    pub(crate) tables: Tables,
}

/// What is in flight is not copied: it is of the ledger that it was made in.
impl Clone for Store {
    fn clone(&self) -> Self {
        let mut tables = self.tables.clone();
        tables.forget_pending();
        Self { tables }
    }
}

impl Store {
    /// Nothing known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies a committed entry: all of it, or nothing when one of its changes does not fit (interop §5.5).
    /// Either way the entry is consumed.
    pub fn apply(&mut self, entry: &Entry) -> Result<Vec<Event>, ApplyError> {
        self.carry_out_all(&entry.changes, |tables, object| with_object!(object, row => place_of(tables, row)), None)
    }

    /// As [`Self::apply`], of an entry that is in flight here at these places.
    pub(crate) fn apply_own(
        &mut self,
        changes: &[Change],
        places: &[Place],
        writer: u64,
    ) -> Result<Vec<Event>, ApplyError> {
        let mut places_left = places.iter();
        let next = |_: &mut Tables, _: &AnyObject| places_left.next().map_or(NONE, |place| place.1);
        let applied = self.carry_out_all(changes, next, Some(writer));
        if applied.is_err() {
            for place in places {
                self.tables.settle(*place, writer);
            }
        }
        applied
    }

    fn carry_out_all(
        &mut self,
        changes: &[Change],
        mut place: impl FnMut(&mut Tables, &AnyObject) -> Handle,
        writer: Option<u64>,
    ) -> Result<Vec<Event>, ApplyError> {
        let mut events: Vec<Event> = Vec::with_capacity(changes.len());
        for Change { action, object } in changes {
            let handle = place(&mut self.tables, object);
            let old = with_object!(object, row => committed_name(&self.tables, row, handle));
            if let Err(error) = rules::check(self, *action, object, old) {
                for event in events.into_iter().rev() {
                    self.take_back(event);
                }
                return Err(error);
            }
            events.push(self.carry_out(*action, object, handle, writer));
        }
        Ok(events)
    }

    fn carry_out(&mut self, action: Action, object: &AnyObject, handle: Handle, writer: Option<u64>) -> Event {
        let old = with_object!(object, row => {
            let row = (action != Action::Remove).then(|| Arc::clone(row));
            commit(&mut self.tables, object, handle, row, writer)
        });
        match (action, old) {
            (Action::Remove, Some(old)) => Event { action, object: old, old: None },
            (_, old) => Event { action, object: object.clone(), old },
        }
    }

    fn take_back(&mut self, event: Event) {
        match (event.action, event.old) {
            (Action::Create, _) => with_object!(&event.object, row => {
                remove(&mut self.tables, row);
            }),
            (Action::Update, Some(old)) => self.put(old),
            (Action::Update, None) => {}
            (Action::Remove, _) => self.put(event.object),
        }
    }

    fn put(&mut self, object: AnyObject) {
        with_object!(object, row => put(&mut self.tables, row));
    }

    /// Reads a log's payload, letting tasks share what they have in common with others.
    pub fn decode(&self, payload: Bytes) -> Result<Entry, CodecError> {
        let mut entry = Entry::decode(payload)?;
        let mut last: Option<Arc<Task>> = None;
        // Just decoded, so nobody else holds them.
        let changes = Arc::get_mut(&mut entry.changes);
        for change in changes.into_iter().flatten() {
            let AnyObject::Task(task) = &mut change.object else { continue };
            if let Some(own) = Arc::get_mut(task) {
                own.share(&self.tables);
                if let Some(last) = &last {
                    own.share_with(last);
                }
            }
            last = Some(Arc::clone(task));
        }
        Ok(entry)
    }

    /// How many objects of a kind there are.
    pub fn count<T: Stored>(&self) -> usize {
        T::table(&self.tables).len()
    }
}

/// The handle of the row, or none where a change does not make one.
fn place_of<T: Stored>(tables: &Tables, row: &Arc<T>) -> Handle {
    T::table(tables).handle(row.id()).unwrap_or(NONE)
}

/// The unique name of the committed row, if there is one.
fn committed_name<'a, T: Stored>(tables: &'a Tables, _row: &Arc<T>, handle: Handle) -> Option<&'a str> {
    T::table(tables).see(Sight::Committed, handle).map(|row| row.unique_name())
}

/// Gives back the row before.
fn commit<T: Stored>(
    tables: &mut Tables,
    object: &AnyObject,
    handle: Handle,
    row: Option<Arc<T>>,
    writer: Option<u64>,
) -> Option<AnyObject> {
    let table = T::table_mut(tables);
    let handle = match (handle, T::peel(object)) {
        (NONE, whole) => table.handle_for(whole?),
        _ => handle,
    };
    table.commit(handle, row, writer).map(T::wrap)
}

fn put<T: Stored>(tables: &mut Tables, row: Arc<T>) {
    T::table_mut(tables).put(row);
}

fn remove<T: Stored>(tables: &mut Tables, row: &Arc<T>) {
    T::table_mut(tables).remove(row.id());
}

impl Find for Store {
    fn find<T: Stored>(&self, id: &T::Id) -> Option<Arc<T>> {
        self.tables.find(Sight::Committed, id)
    }

    fn list<T: Stored>(&self) -> Vec<Arc<T>> {
        T::table(&self.tables).rows(Sight::Committed)
    }

    fn each<T: Stored>(&self, visit: impl FnMut(&Arc<T>)) {
        T::table(&self.tables).each(Sight::Committed).for_each(visit);
    }

    fn named<T: Stored>(&self, name: &str) -> Option<Arc<T>> {
        T::table(&self.tables).by_name(Sight::Committed, name).cloned()
    }

    fn service_tasks(&self, service: &ServiceId) -> Vec<Arc<Task>> {
        self.tables.of_service(Sight::Committed, service)
    }

    fn service_slots(&self, service: &ServiceId) -> Vec<Arc<Task>> {
        self.tables.by_slot(Sight::Committed, service)
    }

    fn slot_tasks(&self, service: &ServiceId, slot: u64) -> Vec<Arc<Task>> {
        self.tables.in_slot(Sight::Committed, service, slot)
    }

    fn node_tasks(&self, node: &NodeId) -> Vec<Arc<Task>> {
        self.tables.on_node(Sight::Committed, node)
    }

    fn desired_tasks(&self, state: TaskState) -> Vec<Arc<Task>> {
        self.tables.desiring(Sight::Committed, state)
    }
}

#[cfg(test)]
mod tests;
