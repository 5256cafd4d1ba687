//! Committed facts with everything in flight laid over them, and putting things in flight.

use std::sync::Arc;

use skep_model::{NodeId, ServiceId, Task, TaskState};

use crate::handles::Handle;
use crate::object::{AnyObject, Kind, Stored, with_object, with_table};
use crate::read::Find;
use crate::table::{NONE, Pending, Sight, Tables};

/// A row, by its kind and its place in the table of that kind.
pub(crate) type Place = (Kind, Handle);

/// What was in flight for a row before a write.
pub(crate) type Before = Option<Pending<AnyObject>>;

impl Tables {
    /// Puts a version of a row in flight; `gone` says that it is removed. The row's handle is looked up where it is not
    /// given. Gives back what was in flight before.
    pub(crate) fn launch(
        &mut self,
        object: &AnyObject,
        handle: Option<Handle>,
        gone: bool,
        writer: u64,
    ) -> (Place, Before) {
        let kind = object.kind();
        with_object!(object, row => launch(self, kind, row, handle, gone, writer))
    }

    /// Goes back to what was in flight before.
    pub(crate) fn put_back(&mut self, place: Place, before: Before) {
        with_table!(self mut, place.0, table => {
            table.set_pending(place.1, before.and_then(peel));
        });
    }

    /// Says who wrote last what is in flight for the row.
    pub(crate) fn sign(&mut self, place: Place, writer: u64, change: u32) {
        with_table!(self mut, place.0, table => table.sign(place.1, writer, change));
    }

    /// The writer's change will not commit, or did so under another name.
    pub(crate) fn settle(&mut self, place: Place, writer: u64) {
        with_table!(self mut, place.0, table => {
            if table.pending(place.1).is_some_and(|pending| pending.writer == writer) {
                table.set_pending(place.1, None);
            }
        });
    }

    /// The place of the row's change among those of the writer's transaction.
    pub(crate) fn change_of(&self, place: Place, writer: u64) -> Option<usize> {
        with_table!(self, place.0, table => {
            let pending = table.pending(place.1).filter(|pending| pending.writer == writer && pending.change != NONE);
            pending.map(|pending| pending.change as usize)
        })
    }

    /// Forgets everything in flight.
    pub(crate) fn forget_pending(&mut self) {
        for kind in Kind::ALL {
            with_table!(self mut, kind, table => table.forget_pending());
        }
    }
}

fn launch<T: Stored>(
    tables: &mut Tables,
    kind: Kind,
    row: &Arc<T>,
    handle: Option<Handle>,
    gone: bool,
    writer: u64,
) -> (Place, Before) {
    let table = T::table_mut(tables);
    let handle = handle.unwrap_or_else(|| table.handle_for(row));
    let before = table.set_pending(handle, Some(Pending { writer, change: NONE, gone, row: Arc::clone(row) }));
    let before =
        before.map(|Pending { writer, change, gone, row }| Pending { writer, change, gone, row: T::wrap(row) });
    ((kind, handle), before)
}

fn peel<T: Stored>(any: Pending<AnyObject>) -> Option<Pending<Arc<T>>> {
    let Pending { writer, change, gone, row } = any;
    T::peel(&row).map(|row| Pending { writer, change, gone, row: Arc::clone(row) })
}

/// Committed facts with everything in flight laid over them.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub(crate) tables: &'a Tables,
}

impl Find for View<'_> {
    fn find<T: Stored>(&self, id: &T::Id) -> Option<Arc<T>> {
        self.tables.find(Sight::Current, id)
    }

    fn list<T: Stored>(&self) -> Vec<Arc<T>> {
        T::table(self.tables).rows(Sight::Current)
    }

    fn each<T: Stored>(&self, visit: impl FnMut(&Arc<T>)) {
        T::table(self.tables).each(Sight::Current).for_each(visit);
    }

    fn named<T: Stored>(&self, name: &str) -> Option<Arc<T>> {
        T::table(self.tables).by_name(Sight::Current, name).cloned()
    }

    fn service_tasks(&self, service: &ServiceId) -> Vec<Arc<Task>> {
        self.tables.of_service(Sight::Current, service)
    }

    fn service_slots(&self, service: &ServiceId) -> Vec<Arc<Task>> {
        self.tables.by_slot(Sight::Current, service)
    }

    fn slot_tasks(&self, service: &ServiceId, slot: u64) -> Vec<Arc<Task>> {
        self.tables.in_slot(Sight::Current, service, slot)
    }

    fn node_tasks(&self, node: &NodeId) -> Vec<Arc<Task>> {
        self.tables.on_node(Sight::Current, node)
    }

    fn desired_tasks(&self, state: TaskState) -> Vec<Arc<Task>> {
        self.tables.desiring(Sight::Current, state)
    }
}

/// Reading with either sight.
impl Tables {
    pub(crate) fn find<T: Stored>(&self, sight: Sight, id: &T::Id) -> Option<Arc<T>> {
        T::table(self).get(sight, id).cloned()
    }

    pub(crate) fn of_service(&self, sight: Sight, service: &ServiceId) -> Vec<Arc<Task>> {
        let wanted = |task: &Task| task.service_id.as_ref() == Some(service);
        self.tasks.pick(sight, self.tasks.index().of_service(service), wanted)
    }

    pub(crate) fn by_slot(&self, sight: Sight, service: &ServiceId) -> Vec<Arc<Task>> {
        // One with two versions may stand under two slots; it is seen in that of the version that is.
        let here = |slot: u64, task: &Task| task.slot == slot && task.service_id.as_ref() == Some(service);
        let members = self.tasks.index().slots_of_service(service);
        let seen = members.filter_map(|(slot, handle)| Some((slot, self.tasks.see(sight, handle)?)));
        seen.filter(|(slot, task)| here(*slot, task)).map(|(_, task)| Arc::clone(task)).collect()
    }

    pub(crate) fn in_slot(&self, sight: Sight, service: &ServiceId, slot: u64) -> Vec<Arc<Task>> {
        let wanted = |task: &Task| task.slot == slot && task.service_id.as_ref() == Some(service);
        self.tasks.pick(sight, self.tasks.index().in_slot(service, slot), wanted)
    }

    pub(crate) fn on_node(&self, sight: Sight, node: &NodeId) -> Vec<Arc<Task>> {
        self.tasks.pick(sight, self.tasks.index().on_node(node), |task| task.node_id.as_ref() == Some(node))
    }

    pub(crate) fn desiring(&self, sight: Sight, state: TaskState) -> Vec<Arc<Task>> {
        self.tasks.pick(sight, self.tasks.index().desiring(state), |task| task.desired_state == state)
    }
}
