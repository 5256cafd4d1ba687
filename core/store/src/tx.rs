//! One transaction: reads see its own changes, errors leave no trace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skep_model::{NodeId, Now, Refusal, ServiceId, Task};

use crate::change::{Action, Change, Event};
use crate::codec;
use crate::object::{AnyObject, Key, Stored};
use crate::overlay::{Before, Overlay, View};
use crate::read::Find;
use crate::rules::{self, ApplyError};
use crate::store::Store;

/// A transaction over committed and pending facts.
#[derive(Debug)]
pub struct Tx<'a> {
    base: &'a Store,
    overlay: &'a mut Overlay,
    now: Now,
    last_index: u64,
    writer: u64,
    /// `None` where a later change took the place of an earlier one.
    changes: Vec<Option<Change>>,
    /// The live change of each key.
    position: BTreeMap<Key, usize>,
    undo: Vec<(Key, Before)>,
}

impl<'a> Tx<'a> {
    pub(crate) fn new(base: &'a Store, overlay: &'a mut Overlay, now: Now, last_index: u64, writer: u64) -> Self {
        Self {
            base,
            overlay,
            now,
            last_index,
            writer,
            changes: Vec::new(),
            position: BTreeMap::new(),
            undo: Vec::new(),
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
        View { base: self.base, overlay: self.overlay }
    }

    /// Adds an object; its version and stamps are set here.
    pub fn create<T: Stored>(&mut self, mut object: T) -> Result<(), Refusal> {
        let wall = Some(self.now.wall);
        *object.meta_mut() = skep_model::Meta { version: self.last_index, created_at: wall, updated_at: wall };
        self.write(Action::Create, T::wrap(Arc::new(object)))
    }

    /// Replaces an object; its version and time of change are set here. Whether the caller saw the current version is
    /// the caller's business.
    pub fn update<T: Stored>(&mut self, mut object: T) -> Result<(), Refusal> {
        let meta = object.meta_mut();
        meta.version = self.last_index;
        meta.updated_at = Some(self.now.wall);
        self.write(Action::Update, T::wrap(Arc::new(object)))
    }

    /// Removes an object.
    pub fn remove<T: Stored>(&mut self, id: &T::Id) -> Result<(), Refusal> {
        let missing = || ApplyError::Missing { kind: T::KIND, id: id.to_string() };
        let object = self.find::<T>(id).ok_or_else(missing)?;
        self.write(Action::Remove, T::wrap(object))
    }

    fn write(&mut self, action: Action, object: AnyObject) -> Result<(), Refusal> {
        rules::check(&self.view(), action, &object)?;
        let key = object.key();
        let row = (action != Action::Remove).then(|| object.clone());
        let before = self.overlay.write(&key, row, self.writer);
        self.undo.push((key.clone(), before));
        self.record(key, Change { action, object });
        Ok(())
    }

    /// Joins the change with an earlier one to the same object, so that an entry tells each object once.
    fn record(&mut self, key: Key, change: Change) {
        let earlier = self.position.get(&key).copied();
        let before = earlier.and_then(|position| self.changes[position].as_ref().map(|change| change.action));
        match (earlier, before, change.action) {
            (Some(position), Some(action @ (Action::Create | Action::Update)), Action::Update)
                if self.keeps_name(position, &change) =>
            {
                self.changes[position] = Some(Change { action, object: change.object });
            }
            (Some(position), Some(Action::Create), Action::Remove) => {
                self.changes[position] = None;
                let left = |change: &Option<Change>| change.as_ref().is_some_and(|change| change.object.key() == key);
                match self.changes[..position].iter().rposition(left) {
                    Some(removal) => self.position.insert(key, removal),
                    None => self.position.remove(&key),
                };
            }
            (Some(position), Some(Action::Update), Action::Remove) => {
                self.changes[position] = None;
                self.append(key, change);
            }
            _ => self.append(key, change),
        }
    }

    /// A change of name may depend on what stands between the two.
    fn keeps_name(&self, position: usize, change: &Change) -> bool {
        let earlier = self.changes[position].as_ref();
        earlier.is_some_and(|earlier| earlier.object.unique_name() == change.object.unique_name())
    }

    fn append(&mut self, key: Key, change: Change) {
        self.position.insert(key, self.changes.len());
        self.changes.push(Some(change));
    }

    /// A point within the transaction, for [`Self::written_since`].
    pub fn mark(&self) -> usize {
        self.undo.len()
    }

    /// What was written since the mark, each object once and as it is now, so that deciders of one turn learn of each
    /// other's changes before they are committed. `old` is not told.
    pub fn written_since(&self, mark: usize) -> Vec<Event> {
        let mut seen = BTreeSet::new();
        let keys = self.undo.iter().skip(mark).map(|(key, _)| key).filter(|key| seen.insert((*key).clone()));
        let changes = keys.filter_map(|key| self.changes[*self.position.get(key)?].as_ref());
        changes.map(|change| Event { action: change.action, object: change.object.clone(), old: None }).collect()
    }

    /// Bytes of the changes so far.
    pub(crate) fn encoded_len(&self) -> usize {
        self.changes.iter().flatten().map(codec::change_len).sum()
    }

    /// Undoes everything.
    pub(crate) fn undo(self) {
        for (key, before) in self.undo.into_iter().rev() {
            self.overlay.put_back(&key, before);
        }
    }

    /// The changes that are left; keys whose changes cancelled each other are as they were.
    pub(crate) fn finish(self) -> Vec<Change> {
        for (key, before) in self.undo.into_iter().rev() {
            if !self.position.contains_key(&key) {
                self.overlay.put_back(&key, before);
            }
        }
        self.changes.into_iter().flatten().collect()
    }
}

impl Find for Tx<'_> {
    fn find<T: Stored>(&self, id: &T::Id) -> Option<Arc<T>> {
        self.view().find(id)
    }

    fn list<T: Stored>(&self) -> Vec<Arc<T>> {
        self.view().list()
    }

    fn named<T: Stored>(&self, name: &str) -> Option<Arc<T>> {
        self.view().named(name)
    }

    fn service_tasks(&self, service: &ServiceId) -> Vec<Arc<Task>> {
        self.view().service_tasks(service)
    }

    fn slot_tasks(&self, service: &ServiceId, slot: u64) -> Vec<Arc<Task>> {
        self.view().slot_tasks(service, slot)
    }

    fn node_tasks(&self, node: &NodeId) -> Vec<Arc<Task>> {
        self.view().node_tasks(node)
    }
}
