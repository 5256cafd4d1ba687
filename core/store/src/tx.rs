//! One transaction: reads see its own changes, errors leave no trace.

use std::collections::BTreeSet;
use std::sync::Arc;

use skep_model::{NodeId, Now, Refusal, ServiceId, Task, TaskId, TaskState};

use crate::change::{Action, Change, Event};
use crate::codec;
use crate::handles::Handle;
use crate::object::{AnyObject, Stored, with_object};
use crate::overlay::{Before, Place, View};
use crate::read::Find;
use crate::rules::{self, ApplyError};
use crate::table::{NONE, Sight, Tables};

/// Tasks that are loaded together, before they are looked at one by one.
const TOUCHED_AT_ONCE: usize = 64;

/// One change of a transaction.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) change: Change,
    pub(crate) place: Place,
    /// Bytes that it takes in an entry. Tasks are many, and are measured as they are written, while they are at hand.
    measured: Option<u32>,
}

impl Written {
    fn new(change: Change, place: Place) -> Self {
        let measured = match &change.object {
            AnyObject::Task(_) => u32::try_from(codec::change_len(&change)).ok(),
            _ => None,
        };
        Self { change, place, measured }
    }

    pub(crate) fn encoded_len(&self) -> usize {
        self.measured.map_or_else(|| codec::change_len(&self.change), |length| length as usize)
    }
}

/// A transaction over committed and pending facts.
#[derive(Debug)]
pub struct Tx<'a> {
    tables: &'a mut Tables,
    now: Now,
    last_index: u64,
    writer: u64,
    /// `None` where a later change took the place of an earlier one.
    changes: Vec<Option<Written>>,
    /// What each write found.
    undo: Vec<(Place, Before)>,
    /// Rows whose changes cancelled each other.
    cancelled: BTreeSet<Place>,
    task_bytes: usize,
}

impl<'a> Tx<'a> {
    pub(crate) fn new(tables: &'a mut Tables, now: Now, last_index: u64, writer: u64) -> Self {
        Self {
            tables,
            now,
            last_index,
            writer,
            changes: Vec::new(),
            undo: Vec::new(),
            cancelled: BTreeSet::new(),
            task_bytes: 0,
        }
    }

    /// When the transaction takes place.
    pub fn now(&self) -> Now {
        self.now
    }

    /// Index of the last log entry: the version of everything that this transaction writes.
    pub fn last_index(&self) -> u64 {
        self.last_index
    }

    /// Everything as this transaction sees it.
    pub fn view(&self) -> View<'_> {
        View { tables: self.tables }
    }

    /// Adds an object; its version and stamps are set here.
    pub fn create<T: Stored>(&mut self, mut object: T) -> Result<(), Refusal> {
        let wall = self.now.wall;
        let meta = object.meta_mut();
        let created_at = meta.created_at.map_or(wall, |asked| asked.max(wall));
        *meta = skep_model::Meta { version: self.last_index, created_at: Some(created_at), updated_at: Some(wall) };
        object.share(self.tables);
        self.write(Action::Create, T::wrap(Arc::new(object)), NONE)
    }

    /// Replaces an object; its version and time of change are set here. Whether the caller saw the current version is
    /// the caller's business.
    pub fn update<T: Stored>(&mut self, object: T) -> Result<(), Refusal> {
        self.update_shared(&mut Arc::new(object))
    }

    /// As [`Self::update`], of an object that nobody else holds yet; the caller goes on to hold it as it is stored.
    pub fn update_shared<T: Stored>(&mut self, object: &mut Arc<T>) -> Result<(), Refusal> {
        self.update_near(object, NONE)
    }

    /// As [`Self::update_shared`], of an object that [`Self::each_task_at`] showed under this handle: unless it has
    /// another one by now, it is not looked up.
    pub fn update_near<T: Stored>(&mut self, object: &mut Arc<T>, handle: Handle) -> Result<(), Refusal> {
        let meta = Arc::make_mut(object).meta_mut();
        meta.version = self.last_index;
        meta.updated_at = Some(self.now.wall);
        self.write(Action::Update, T::wrap(Arc::clone(object)), handle)
    }

    /// Removes an object.
    pub fn remove<T: Stored>(&mut self, id: &T::Id) -> Result<(), Refusal> {
        let missing = || ApplyError::Missing { kind: T::KIND, id: id.to_string() };
        let object = self.find::<T>(id).ok_or_else(missing)?;
        self.write(Action::Remove, T::wrap(object), NONE)
    }

    fn write(&mut self, action: Action, object: AnyObject, near: Handle) -> Result<(), Refusal> {
        let handle = with_object!(&object, row => handle_of(self.tables, row, near));
        let old = with_object!(&object, row => current_name(self.tables, row, handle));
        rules::check(&self.view(), action, &object, old)?;
        let (place, before) = self.tables.launch(&object, handle, action == Action::Remove, self.writer);
        let ours = before.as_ref().filter(|before| before.writer == self.writer && before.change != NONE);
        let earlier = ours.map(|before| before.change as usize);
        self.undo.push((place, before));
        let at = self.record(place, earlier, Change { action, object });
        self.tables.sign(place, self.writer, at);
        Ok(())
    }

    /// Joins the change with an earlier one to the same object, so that an entry tells each object once. Gives back
    /// where the row's change is now.
    fn record(&mut self, place: Place, earlier: Option<usize>, change: Change) -> u32 {
        let before = earlier.and_then(|at| self.changes[at].as_ref().map(|written| written.change.action));
        match (earlier, before, change.action) {
            (Some(at), Some(action @ (Action::Create | Action::Update)), Action::Update)
                if self.keeps_name(at, &change) =>
            {
                self.changes[at] = Some(self.measure(Change { action, object: change.object }, place));
                at as u32
            }
            (Some(at), Some(Action::Create), Action::Remove) => {
                self.changes[at] = None;
                let left = |written: &Option<Written>| written.as_ref().is_some_and(|other| other.place == place);
                match self.changes[..at].iter().rposition(left) {
                    Some(removal) => removal as u32,
                    None => {
                        self.cancelled.insert(place);
                        NONE
                    }
                }
            }
            (Some(at), Some(Action::Update), Action::Remove) => {
                self.changes[at] = None;
                self.append(place, change)
            }
            _ => self.append(place, change),
        }
    }

    /// A change of name may depend on what stands between the two.
    fn keeps_name(&self, at: usize, change: &Change) -> bool {
        let earlier = self.changes[at].as_ref();
        earlier.is_some_and(|earlier| earlier.change.object.unique_name() == change.object.unique_name())
    }

    fn append(&mut self, place: Place, change: Change) -> u32 {
        self.cancelled.remove(&place);
        let written = self.measure(change, place);
        self.changes.push(Some(written));
        self.changes.len() as u32 - 1
    }

    fn measure(&mut self, change: Change, place: Place) -> Written {
        let written = Written::new(change, place);
        self.task_bytes += written.measured.unwrap_or_default() as usize;
        written
    }

    /// Makes room for so many more changes.
    pub fn reserve(&mut self, more: usize) {
        self.changes.reserve(more);
        self.undo.reserve(more);
    }

    /// How many objects of a kind are committed.
    pub fn count<T: Stored>(&self) -> usize {
        T::table(self.tables).len()
    }

    /// As [`crate::Read::each_task`], with the handle that each has at present.
    pub fn each_task_at(&self, mut visit: impl FnMut(Handle, &Arc<Task>)) {
        let mut run: Vec<(Handle, &Arc<Task>)> = Vec::with_capacity(TOUCHED_AT_ONCE);
        let mut rows = self.tables.tasks.each_at(Sight::Current).peekable();
        while rows.peek().is_some() {
            run.extend(rows.by_ref().take(TOUCHED_AT_ONCE));
            Task::touch(run.iter().map(|(_, task)| &***task));
            run.drain(..).for_each(|(handle, task)| visit(handle, task));
        }
    }

    /// The task with this id, and the handle that it has at present.
    pub fn task_at(&self, id: &TaskId) -> Option<(Handle, Arc<Task>)> {
        let handle = self.tables.tasks.handle(id)?;
        Some((handle, Arc::clone(self.tables.tasks.see(Sight::Current, handle)?)))
    }

    /// Bytes of tasks written so far, of one that was written twice both times.
    pub fn task_bytes(&self) -> usize {
        self.task_bytes
    }

    /// A point within the transaction, for [`Self::written_since`].
    pub fn mark(&self) -> usize {
        self.undo.len()
    }

    /// What was written since the mark, each object once and as it is now, so that deciders of one turn learn of each
    /// other's changes before they are committed. `old` is not told.
    pub fn written_since(&self, mark: usize) -> Vec<Event> {
        if self.undo.len() == mark {
            return Vec::new();
        }
        let mut seen = BTreeSet::new();
        let places = self.undo.iter().skip(mark).map(|(place, _)| *place).filter(|place| seen.insert(*place));
        let changes = places.filter_map(|place| self.changes[self.tables.change_of(place, self.writer)?].as_ref());
        changes
            .map(|Written { change, .. }| Event { action: change.action, object: change.object.clone(), old: None })
            .collect()
    }

    /// Bytes of the changes so far.
    pub(crate) fn encoded_len(&self) -> usize {
        self.changes.iter().flatten().map(Written::encoded_len).sum()
    }

    /// Undoes everything.
    pub(crate) fn undo(self) {
        for (place, before) in self.undo.into_iter().rev() {
            self.tables.put_back(place, before);
        }
    }

    /// The changes that are left, with their places; rows whose changes cancelled each other are as they were.
    pub(crate) fn finish(self) -> Vec<Written> {
        if !self.cancelled.is_empty() {
            for (place, before) in self.undo.into_iter().rev() {
                if self.cancelled.contains(&place) {
                    self.tables.put_back(place, before);
                }
            }
        }
        self.changes.into_iter().flatten().collect()
    }
}

fn handle_of<T: Stored>(tables: &Tables, row: &Arc<T>, near: Handle) -> Option<Handle> {
    T::table(tables).handle_near(near, row.id())
}

/// The unique name that the row has so far, if it is there.
fn current_name<'a, T: Stored>(tables: &'a Tables, _row: &Arc<T>, handle: Option<Handle>) -> Option<&'a str> {
    T::table(tables).see(Sight::Current, handle?).map(|row| row.unique_name())
}

impl Find for Tx<'_> {
    fn find<T: Stored>(&self, id: &T::Id) -> Option<Arc<T>> {
        self.view().find(id)
    }

    fn list<T: Stored>(&self) -> Vec<Arc<T>> {
        self.view().list()
    }

    fn each<T: Stored>(&self, visit: impl FnMut(&Arc<T>)) {
        self.view().each(visit);
    }

    fn named<T: Stored>(&self, name: &str) -> Option<Arc<T>> {
        self.view().named(name)
    }

    fn service_tasks(&self, service: &ServiceId) -> Vec<Arc<Task>> {
        self.view().service_tasks(service)
    }

    fn service_slots(&self, service: &ServiceId) -> Vec<Arc<Task>> {
        self.view().service_slots(service)
    }

    fn slot_tasks(&self, service: &ServiceId, slot: u64) -> Vec<Arc<Task>> {
        self.view().slot_tasks(service, slot)
    }

    fn node_tasks(&self, node: &NodeId) -> Vec<Arc<Task>> {
        self.view().node_tasks(node)
    }

    fn desired_tasks(&self, state: TaskState) -> Vec<Arc<Task>> {
        self.view().desired_tasks(state)
    }
}
