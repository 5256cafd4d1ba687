//! A list of tasks that is read in parts, each at another moment, and that shows the facts of one moment all the same:
//! whoever holds the facts need not look at 100,000 tasks before anything else.

use std::collections::BTreeMap;
use std::sync::Arc;

use skep_model::ids::{IdPrefix, Identifier as _};
use skep_model::pb::messages::list_tasks_request::Filters;
use skep_model::{ServiceId, Task, TaskId, TaskState};

use super::task::{Wanted, matching};
use crate::change::{Action, Event};
use crate::store::Store;
use crate::table::Sight;

/// An index that names at least one task in so many is of no use: then all of them are looked at, part by part.
const INDEX_SHARE: usize = 4;

/// Tasks as they were when the list began, those that pass its filters, in id order.
#[derive(Debug)]
pub struct TaskList {
    filters: Filters,
    next: Next,
    /// Tasks that changed since the list began, and that it has not come to yet, as they were then; nothing for those
    /// that were not there.
    before: BTreeMap<TaskId, Option<Arc<Task>>>,
}

/// What is read next.
#[derive(Debug)]
enum Next {
    /// Found already, by an index.
    Found(Vec<Arc<Task>>),
    /// The tasks with ids from here on.
    From(IdPrefix),
    /// The list is over.
    Over,
}

impl TaskList {
    /// Begins a list of what is there now.
    pub fn begin(store: &Store, filters: Filters) -> Self {
        let next = match goes_by_parts(store, &filters) {
            true => Next::From(IdPrefix::default()),
            false => Next::Found(matching(store, &filters)),
        };
        Self { filters, next, before: BTreeMap::new() }
    }

    /// Notes what was just committed. Each change must be told, or what comes is of several moments.
    pub fn observe(&mut self, event: &Event) {
        let Next::From(from) = &self.next else { return };
        let Some(task) = event.object.get::<Task>() else { return };
        if task.id.prefix() < *from {
            return;
        }
        let old = match event.action {
            Action::Create => None,
            Action::Update => event.old.as_ref().and_then(|old| old.get::<Task>()),
            Action::Remove => Some(task),
        };
        self.before.entry(task.id.clone()).or_insert_with(|| old.cloned());
    }

    /// The next part, after a look at so many tasks. It may be empty; whether it is the last says `is_over`.
    pub fn part(&mut self, store: &Store, looks: usize) -> Vec<Arc<Task>> {
        let from = match std::mem::replace(&mut self.next, Next::Over) {
            Next::Found(found) => return found,
            Next::From(from) => from,
            Next::Over => return Vec::new(),
        };
        let Self { filters, before, .. } = self;
        let wanted = Wanted::new(filters);
        let passes = |task: &Task| wanted.passes(store, task);
        let as_begun = |task: &Task| (before.is_empty() || !before.contains_key(&task.id)) && passes(task);
        let (mut part, next) = store.tables.tasks.rows_from(Sight::Committed, from, looks, as_begun);
        if !before.is_empty() {
            let later = match next {
                Some(next) => {
                    let first = before.keys().find(|id| id.prefix() >= next).cloned();
                    first.map(|first| before.split_off(&first)).unwrap_or_default()
                }
                None => BTreeMap::new(),
            };
            let changed = std::mem::replace(before, later);
            part.extend(changed.into_values().flatten().filter(|task| passes(task)));
            part.sort_unstable_by(|left, right| left.id.cmp(&right.id));
        }
        self.next = next.map_or(Next::Over, Next::From);
        part
    }

    /// Whether all of it was given.
    pub fn is_over(&self) -> bool {
        matches!(self.next, Next::Over)
    }
}

/// Whether all tasks are looked at, part by part: no index names few of them, and nothing but the tasks is asked.
fn goes_by_parts(store: &Store, filters: &Filters) -> bool {
    let index = store.tables.tasks.index();
    let few = |named: usize| named * INDEX_SHARE < store.count::<Task>();
    let by_index = if !filters.service_ids.is_empty() {
        let services = filters.service_ids.iter().filter_map(|id| ServiceId::optional(id));
        few(services.map(|id| index.count_of_service(&id)).sum())
    } else if !filters.node_ids.is_empty() {
        true
    } else {
        let states = filters.desired_states.iter().filter_map(|state| TaskState::try_from(*state).ok());
        !filters.desired_states.is_empty() && few(states.map(|state| index.count_desiring(state)).sum())
    };
    !by_index && !filters.up_to_date
}
