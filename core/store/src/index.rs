//! What tables know beside their rows: which row has which unique name, which tasks belong to a service, slot or node,
//! and what they are to become.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use skep_model::ids::Identifier;
use skep_model::{NodeId, ServiceId, Task, TaskState};

use crate::handles::{Handle, Handles};
use crate::members::Members;

/// The versions of a row that readers may see: the committed one, and the one in flight.
pub type Versions<'a, T> = [Option<&'a T>; 2];

/// Secondary indices of a table. A row stands under the keys of all of its versions; readers pass over those that
/// their version does not have.
pub trait Index<T>: Clone + Default + Debug + Send + Sync {
    /// The versions of a row changed.
    fn follow<'a>(&mut self, handle: Handle, before: Versions<'a, T>, after: Versions<'a, T>);
}

impl<T> Index<T> for () {
    fn follow(&mut self, _handle: Handle, _before: Versions<'_, T>, _after: Versions<'_, T>) {}
}

/// Calls `change` for the keys that are no longer there, and for new ones (`true`). `two` are all versions that there
/// are, where there are no more.
fn follow_keys<'a, T, K: PartialEq + Copy>(
    two: Option<(&'a T, &'a T)>,
    (before, after): (Versions<'a, T>, Versions<'a, T>),
    key: impl Fn(&'a T) -> Option<K>,
    mut change: impl FnMut(K, bool),
) {
    // So it is mostly.
    if two.is_some_and(|(one, other)| key(one) == key(other)) {
        return;
    }
    let keys = |rows: Versions<'a, T>| once(rows.map(|row| row.and_then(&key)));
    let (before, after) = (keys(before), keys(after));
    let is_among = |key: K, [first, second]: [Option<K>; 2]| first == Some(key) || second == Some(key);
    for key in before.into_iter().flatten().filter(|key| !is_among(*key, after)) {
        change(key, false);
    }
    for key in after.into_iter().flatten().filter(|key| !is_among(*key, before)) {
        change(key, true);
    }
}

/// All versions before and after, if there were some, are some, and there are no more than two.
fn two<'a, T>(before: Versions<'a, T>, after: Versions<'a, T>) -> Option<(&'a T, &'a T)> {
    let (first, last) = (before[0].or(before[1])?, after[1].or(after[0])?);
    let is_known = |row: Option<&T>| row.is_none_or(|row| std::ptr::eq(row, first) || std::ptr::eq(row, last));
    (is_known(before[1]) && is_known(after[0])).then_some((first, last))
}

/// The same keys, each once, the absent ones last.
fn once<K: PartialEq>(keys: [Option<K>; 2]) -> [Option<K>; 2] {
    match keys {
        [None, key] => [key, None],
        [first, second] if first == second => [first, None],
        both => both,
    }
}

/// Members by the id of what they belong to.
#[derive(Clone, Debug)]
struct Groups<K, M> {
    handles: Handles,
    groups: Vec<Option<Group<K, M>>>,
    free: Vec<Handle>,
}

#[derive(Clone, Debug)]
struct Group<K, M> {
    key: K,
    members: Members<M>,
}

impl<K, M> Default for Groups<K, M> {
    fn default() -> Self {
        Self { handles: Handles::default(), groups: Vec::new(), free: Vec::new() }
    }
}

impl<K: Identifier, M: Ord + Copy> Groups<K, M> {
    fn number(&self, key: &K) -> Option<Handle> {
        let is = |number: Handle| self.groups[number as usize].as_ref().is_some_and(|group| group.key == *key);
        self.handles.find(key.fingerprint(), is)
    }

    fn of(&self, key: &K) -> Option<&Members<M>> {
        let number = self.number(key)?;
        self.groups[number as usize].as_ref().map(|group| &group.members)
    }

    fn change(&mut self, key: &K, member: M, add: bool) {
        let known = self.number(key);
        if add {
            let number = known.unwrap_or_else(|| self.add(key));
            if let Some(group) = &mut self.groups[number as usize] {
                group.members.insert(member);
            }
        } else if let Some(number) = known {
            let place = &mut self.groups[number as usize];
            let Some(group) = place else { return };
            group.members.remove(&member);
            if group.members.is_empty() {
                *place = None;
                self.handles.remove(key.fingerprint(), number);
                self.free.push(number);
            }
        }
    }

    fn add(&mut self, key: &K) -> Handle {
        let number = self.free.pop().unwrap_or(self.groups.len() as Handle);
        if number as usize == self.groups.len() {
            self.groups.push(None);
        }
        self.groups[number as usize] = Some(Group { key: key.clone(), members: Members::default() });
        self.handles.insert(key.fingerprint(), number);
        number
    }
}

/// Tasks by service and slot, by node, and by desired state.
#[derive(Clone, Default, Debug)]
pub struct TaskIndex {
    services: Groups<ServiceId, (u64, Handle)>,
    nodes: Groups<NodeId, Handle>,
    desired: BTreeMap<TaskState, BTreeSet<Handle>>,
    /// The task that was added last.
    latest: Option<Handle>,
}

impl TaskIndex {
    pub(crate) fn of_service(&self, service: &ServiceId) -> impl Iterator<Item = Handle> {
        self.services.of(service).into_iter().flat_map(Members::iter).map(|(_, handle)| *handle)
    }

    /// With their slots, which they are in the order of.
    pub(crate) fn slots_of_service(&self, service: &ServiceId) -> impl Iterator<Item = (u64, Handle)> {
        self.services.of(service).into_iter().flat_map(Members::iter).copied()
    }

    pub(crate) fn in_slot(&self, service: &ServiceId, slot: u64) -> impl Iterator<Item = Handle> {
        let members = self.services.of(service);
        members.into_iter().flat_map(move |all| all.range((slot, 0), (slot, Handle::MAX))).map(|(_, handle)| *handle)
    }

    pub(crate) fn on_node(&self, node: &NodeId) -> impl Iterator<Item = Handle> {
        self.nodes.of(node).into_iter().flat_map(Members::iter).copied()
    }

    pub(crate) fn desiring(&self, state: TaskState) -> impl Iterator<Item = Handle> {
        self.desired.get(&state).into_iter().flatten().copied()
    }

    /// How many tasks stand under a service, in some version.
    pub(crate) fn count_of_service(&self, service: &ServiceId) -> usize {
        self.services.of(service).map_or(0, Members::len)
    }

    /// How many tasks are to come to a state, in some version.
    pub(crate) fn count_desiring(&self, state: TaskState) -> usize {
        self.desired.get(&state).map_or(0, BTreeSet::len)
    }

    /// Tasks that are likely to have much in common with one of the service.
    pub(crate) fn siblings(&self, service: &ServiceId) -> impl Iterator<Item = Handle> {
        let members = self.services.of(service);
        let ends = members.into_iter().flat_map(|all| [all.last(), all.first()]);
        self.latest.into_iter().chain(ends.flatten().map(|(_, handle)| *handle))
    }
}

impl Index<Task> for TaskIndex {
    fn follow<'a>(&mut self, handle: Handle, before: Versions<'a, Task>, after: Versions<'a, Task>) {
        let slot = |task: &'a Task| Some((task.service_id.as_ref()?, task.slot));
        let (two, versions) = (two(before, after), (before, after));
        follow_keys(two, versions, slot, |(service, slot), add| {
            self.services.change(service, (slot, handle), add);
            self.latest = add.then_some(handle).or(self.latest.filter(|latest| *latest != handle));
        });
        follow_keys(
            two,
            versions,
            |task: &'a Task| task.node_id.as_ref(),
            |node, add| self.nodes.change(node, handle, add),
        );
        follow_keys(
            two,
            versions,
            |task: &'a Task| Some(task.desired_state),
            |state, add| {
                let members = self.desired.entry(state).or_default();
                if add {
                    members.insert(handle);
                } else {
                    members.remove(&handle);
                }
            },
        );
    }
}
