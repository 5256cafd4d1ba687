//! Rows of one kind, each with its committed version and the one in flight, known inside by handles.
//!
//! A change in flight touches one slot: nothing is copied, moved or looked up a second time when it commits.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skep_model::ids::{IdPrefix, Identifier};
use skep_model::{Cluster, Config, Extension, Network, Node, Resource, Secret, Service, Task, Volume};

use crate::handles::{Handle, Handles};
use crate::index::{Index, Versions};
use crate::object::Stored;

/// In place of a handle: none.
pub(crate) const NONE: Handle = Handle::MAX;

/// What is in flight for one row.
#[derive(Clone, Debug)]
pub(crate) struct Pending<R> {
    /// Which transaction in flight wrote last.
    pub(crate) writer: u64,
    /// Its place among the changes of that transaction, while it runs.
    pub(crate) change: u32,
    /// The row is removed; it is kept to know it by.
    pub(crate) gone: bool,
    pub(crate) row: R,
}

impl<T> Pending<Arc<T>> {
    fn live(&self) -> Option<&Arc<T>> {
        (!self.gone).then_some(&self.row)
    }
}

#[derive(Clone, Debug)]
struct Slot<T> {
    committed: Option<Arc<T>>,
    /// Place in `pending`.
    pending: Handle,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { committed: None, pending: NONE }
    }
}

/// Which version of rows a reader sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sight {
    /// What is committed.
    Committed,
    /// What will be, once everything in flight has committed.
    Current,
}

/// Rows of one kind.
#[derive(Clone, Debug)]
pub struct Table<T: Stored> {
    slots: Vec<Slot<T>>,
    free: Vec<Handle>,
    pending: Vec<Option<Pending<Arc<T>>>>,
    free_pending: Vec<Handle>,
    handles: Handles,
    /// In id order, but for ids that only differ late.
    order: BTreeSet<(IdPrefix, Handle)>,
    /// Lower-case unique names.
    names: BTreeMap<String, Vec<Handle>>,
    index: T::Index,
    committed: usize,
}

impl<T: Stored> Default for Table<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            pending: Vec::new(),
            free_pending: Vec::new(),
            handles: Handles::default(),
            order: BTreeSet::new(),
            names: BTreeMap::new(),
            index: T::Index::default(),
            committed: 0,
        }
    }
}

impl<T: Stored> Table<T> {
    /// The row's handle, if it is committed or in flight.
    pub(crate) fn handle(&self, id: &T::Id) -> Option<Handle> {
        self.handles.find(id.fingerprint(), |handle| self.any_version(handle).is_some_and(|row| row.id() == id))
    }

    /// As [`Self::handle`], of a row that most likely has this one.
    pub(crate) fn handle_near(&self, near: Handle, id: &T::Id) -> Option<Handle> {
        if self.any_version(near).is_some_and(|row| row.id() == id) { Some(near) } else { self.handle(id) }
    }

    pub(crate) fn see(&self, sight: Sight, handle: Handle) -> Option<&Arc<T>> {
        let slot = self.slots.get(handle as usize)?;
        match (sight, self.pending_at(slot.pending)) {
            (Sight::Current, Some(pending)) => pending.live(),
            _ => slot.committed.as_ref(),
        }
    }

    pub(crate) fn get(&self, sight: Sight, id: &T::Id) -> Option<&Arc<T>> {
        self.handle(id).and_then(|handle| self.see(sight, handle))
    }

    /// What is in flight for the row.
    pub(crate) fn pending(&self, handle: Handle) -> Option<&Pending<Arc<T>>> {
        self.slots.get(handle as usize).and_then(|slot| self.pending_at(slot.pending))
    }

    /// Some version of the row, removed ones included.
    pub(crate) fn any_version(&self, handle: Handle) -> Option<&Arc<T>> {
        let slot = self.slots.get(handle as usize)?;
        slot.committed.as_ref().or_else(|| self.pending_at(slot.pending).map(|pending| &pending.row))
    }

    pub(crate) fn index(&self) -> &T::Index {
        &self.index
    }

    /// How many rows are committed.
    pub(crate) fn len(&self) -> usize {
        self.committed
    }

    /// Every row, in no order that means anything: where they lie, which is quickest to read.
    pub(crate) fn each(&self, sight: Sight) -> impl Iterator<Item = &Arc<T>> {
        self.each_at(sight).map(|(_, row)| row)
    }

    /// The same, with their handles.
    pub(crate) fn each_at(&self, sight: Sight) -> impl Iterator<Item = (Handle, &Arc<T>)> {
        (0..self.slots.len() as Handle).filter_map(move |handle| Some((handle, self.see(sight, handle)?)))
    }

    /// Every row, in id order.
    pub(crate) fn rows(&self, sight: Sight) -> Vec<Arc<T>> {
        let mut rows: Vec<Arc<T>> = Vec::with_capacity(self.order.len());
        let mut run = (IdPrefix::default(), 0);
        for (prefix, handle) in &self.order {
            let Some(row) = self.see(sight, *handle) else { continue };
            if *prefix != run.0 {
                in_id_order(&mut rows[run.1..]);
                run = (*prefix, rows.len());
            }
            rows.push(Arc::clone(row));
        }
        in_id_order(&mut rows[run.1..]);
        rows
    }

    /// The rows that are `wanted`, in id order, out of so many (and those that only differ late from the last one) from
    /// `from` on; and where the others begin, if there are any.
    pub(crate) fn rows_from(
        &self,
        sight: Sight,
        from: IdPrefix,
        looks: usize,
        wanted: impl Fn(&T) -> bool,
    ) -> (Vec<Arc<T>>, Option<IdPrefix>) {
        let mut rows: Vec<Arc<T>> = Vec::new();
        let mut run = (from, 0);
        for (looked, (prefix, handle)) in self.order.range((from, 0)..).enumerate() {
            if *prefix != run.0 {
                in_id_order(&mut rows[run.1..]);
                if looked >= looks {
                    return (rows, Some(*prefix));
                }
                run = (*prefix, rows.len());
            }
            rows.extend(self.see(sight, *handle).filter(|row| wanted(row)).cloned());
        }
        in_id_order(&mut rows[run.1..]);
        (rows, None)
    }

    /// The rows that `wanted`, out of those that an index names, in id order.
    pub(crate) fn pick(
        &self,
        sight: Sight,
        handles: impl Iterator<Item = Handle>,
        wanted: impl Fn(&T) -> bool,
    ) -> Vec<Arc<T>> {
        let seen = handles.filter_map(|handle| self.see(sight, handle));
        let mut rows: Vec<Arc<T>> = seen.filter(|row| wanted(row)).cloned().collect();
        in_id_order(&mut rows);
        // A row with two versions may stand under two of the keys.
        rows.dedup_by(|left, right| Arc::ptr_eq(left, right));
        rows
    }

    /// The row with this unique name, whatever its case. Another engine lets two rows have one name: then the lower id.
    pub(crate) fn by_name(&self, sight: Sight, name: &str) -> Option<&Arc<T>> {
        let name = lower_case(name);
        let rows = self.names.get(&*name)?.iter().filter_map(|handle| self.see(sight, *handle));
        rows.filter(|row| lower_case(row.unique_name()) == name).min_by(|left, right| left.id().cmp(right.id()))
    }

    /// The row's handle; made if it has none, in which case a version of it must follow.
    pub(crate) fn handle_for(&mut self, row: &T) -> Handle {
        if let Some(known) = self.handle(row.id()) {
            return known;
        }
        let handle = self.free.pop().unwrap_or(self.slots.len() as Handle);
        if handle as usize == self.slots.len() {
            self.slots.push(Slot::default());
        }
        self.handles.insert(row.id().fingerprint(), handle);
        self.order.insert((row.id().prefix(), handle));
        handle
    }

    /// Replaces what is in flight for the row; gives back what was.
    pub(crate) fn set_pending(&mut self, handle: Handle, next: Option<Pending<Arc<T>>>) -> Option<Pending<Arc<T>>> {
        let at = self.slots[handle as usize].pending;
        let before = if at == NONE { None } else { self.pending[at as usize].take() };
        // Taken out for the time of the look at it.
        let committed = self.slots[handle as usize].committed.take();
        {
            let old: Versions<'_, T> =
                [committed.as_deref(), before.as_ref().and_then(Pending::live).map(|row| &**row)];
            let new: Versions<'_, T> = [committed.as_deref(), next.as_ref().and_then(Pending::live).map(|row| &**row)];
            self.follow(handle, old, new);
        }
        let is_new = committed.is_none();
        self.slots[handle as usize].committed = committed;
        let at = match (at, next.is_some()) {
            (NONE, true) => self.free_pending.pop().unwrap_or(self.pending.len() as Handle),
            (at, _) => at,
        };
        let keeps = next.is_some();
        if at != NONE {
            if at as usize == self.pending.len() {
                self.pending.push(None);
            }
            self.pending[at as usize] = next;
            self.slots[handle as usize].pending = if keeps { at } else { NONE };
            if !keeps {
                self.free_pending.push(at);
                if let Some(before) = before.as_ref().filter(|_| is_new) {
                    self.forget(handle, before.row.id());
                }
            }
        }
        before
    }

    /// Says who wrote last what is in flight for the row.
    pub(crate) fn sign(&mut self, handle: Handle, writer: u64, change: u32) {
        let at = self.slots.get(handle as usize).map_or(NONE, |slot| slot.pending);
        if let Some(Some(pending)) = self.pending.get_mut(at as usize) {
            pending.writer = writer;
            pending.change = change;
        }
    }

    /// Makes a version the committed one (`None`: the row is gone), and gives back the one before. What this writer
    /// has in flight is settled by it.
    pub(crate) fn commit(&mut self, handle: Handle, row: Option<Arc<T>>, writer: Option<u64>) -> Option<Arc<T>> {
        let slot = &mut self.slots[handle as usize];
        let at = slot.pending;
        let before = slot.committed.take();
        self.committed = self.committed + usize::from(row.is_some()) - usize::from(before.is_some());
        // An entry may change a row twice (gone, and made anew): it is settled by what it is in the end.
        let settles = self.pending_at(at).is_some_and(|pending| {
            let same = match (pending.live(), &row) {
                (Some(flying), Some(row)) => Arc::ptr_eq(flying, row),
                (flying, row) => flying.is_none() && row.is_none(),
            };
            same && Some(pending.writer) == writer
        });
        let settled = if settles { self.pending[at as usize].take() } else { None };
        if settles {
            self.slots[handle as usize].pending = NONE;
            self.free_pending.push(at);
        }
        let other = if settles { None } else { self.pending_at(at).and_then(Pending::live).cloned() };
        let flown = settled.as_ref().and_then(Pending::live).or(other.as_ref());
        let old: Versions<'_, T> = [before.as_deref(), flown.map(|row| &**row)];
        let new: Versions<'_, T> = [row.as_deref(), other.as_deref()];
        self.follow(handle, old, new);
        let is_gone = row.is_none();
        self.slots[handle as usize].committed = row;
        if is_gone && self.slots[handle as usize].pending == NONE {
            let known = before.as_ref().or(settled.as_ref().map(|pending| &pending.row));
            if let Some(id) = known.map(|row| row.id().clone()) {
                self.forget(handle, &id);
            }
        }
        before
    }

    /// Commits a row that was not in flight here.
    pub(crate) fn put(&mut self, row: Arc<T>) -> Option<Arc<T>> {
        let handle = self.handle_for(&row);
        self.commit(handle, Some(row), None)
    }

    pub(crate) fn remove(&mut self, id: &T::Id) -> Option<Arc<T>> {
        let handle = self.handle(id)?;
        self.commit(handle, None, None)
    }

    /// Forgets everything in flight.
    pub(crate) fn forget_pending(&mut self) {
        for handle in 0..self.slots.len() as Handle {
            if self.slots[handle as usize].pending != NONE {
                self.set_pending(handle, None);
            }
        }
    }

    fn pending_at(&self, at: Handle) -> Option<&Pending<Arc<T>>> {
        if at == NONE { None } else { self.pending[at as usize].as_ref() }
    }

    fn forget(&mut self, handle: Handle, id: &T::Id) {
        self.handles.remove(id.fingerprint(), handle);
        self.order.remove(&(id.prefix(), handle));
        self.free.push(handle);
    }

    fn follow(&mut self, handle: Handle, before: Versions<'_, T>, after: Versions<'_, T>) {
        self.index.follow(handle, before, after);
        let among = |name: &str, rows: Versions<'_, T>| rows.iter().flatten().any(|row| row.unique_name() == name);
        let within = |these: Versions<'_, T>, those: Versions<'_, T>| {
            these.iter().flatten().all(|row| row.unique_name().is_empty() || among(row.unique_name(), those))
        };
        if within(before, after) && within(after, before) {
            return;
        }
        let lower = |row: Option<&T>| row.map(|row| row.unique_name().to_lowercase()).filter(|name| !name.is_empty());
        for name in before.into_iter().filter_map(lower) {
            if let Some(handles) = self.names.get_mut(&name) {
                handles.retain(|other| *other != handle);
                if handles.is_empty() {
                    self.names.remove(&name);
                }
            }
        }
        for name in after.into_iter().filter_map(lower) {
            let handles = self.names.entry(name).or_default();
            if !handles.contains(&handle) {
                handles.push(handle);
            }
        }
    }
}

/// Most names are in lower case as they are.
fn lower_case(name: &str) -> Cow<'_, str> {
    let is_lower = name.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    if is_lower { Cow::Borrowed(name) } else { Cow::Owned(name.to_lowercase()) }
}

fn in_id_order<T: Stored>(rows: &mut [Arc<T>]) {
    if rows.len() > 1 {
        rows.sort_unstable_by(|left, right| left.id().cmp(right.id()));
    }
}

/// All tables.
#[derive(Clone, Default, Debug)]
pub struct Tables {
    pub(crate) nodes: Table<Node>,
    pub(crate) services: Table<Service>,
    pub(crate) networks: Table<Network>,
    pub(crate) tasks: Table<Task>,
    pub(crate) clusters: Table<Cluster>,
    pub(crate) secrets: Table<Secret>,
    pub(crate) resources: Table<Resource>,
    pub(crate) extensions: Table<Extension>,
    pub(crate) configs: Table<Config>,
    pub(crate) volumes: Table<Volume>,
}
