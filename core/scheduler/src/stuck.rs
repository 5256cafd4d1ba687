//! Tasks that found no node. Those of a group ask for the same: where the first one finds no place, no other does, and
//! what keeps it waiting keeps all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use skep_model::{ServiceId, Task, TaskId};
use skep_store::{Handle, Tx};

use crate::picture::is_pending;
use crate::queue::Waiting;

/// Tasks that are told at a time why they wait now. A node that comes or goes changes that for all of them, and each
/// is a change in the log.
pub(crate) const EXPLANATIONS_MAX: usize = 512;

/// Tasks of one service at one version; a task without either is a group of its own.
type GroupKey = (Option<ServiceId>, Option<u64>, Option<TaskId>);

/// By slot, so that low slots are placed first.
type Place = (u64, TaskId);

#[derive(Debug, Default)]
struct Group {
    tasks: BTreeSet<Place>,
    /// What the last try came to.
    reason: Arc<str>,
    /// The last one that was told so, of a group that is being told.
    told: Option<Place>,
}

/// See the file's head.
#[derive(Debug, Default)]
pub(crate) struct Stuck {
    groups: BTreeMap<GroupKey, Group>,
    /// Something became free: to be tried, until one finds no place.
    tried: BTreeSet<GroupKey>,
    /// Some of the group do not say yet why it waits now.
    untold: BTreeSet<GroupKey>,
}

impl Stuck {
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    pub(crate) fn contains(&self, task: &Task) -> bool {
        let place = || (task.slot, task.id.clone());
        !self.is_empty() && self.groups.get(&key_of(task)).is_some_and(|group| group.tasks.contains(&place()))
    }

    /// Adds tasks of one group, which found no place and say so.
    pub(crate) fn put(&mut self, tasks: &[Waiting], reason: String) {
        let Some(first) = tasks.first() else { return };
        let key = key_of(&first.task);
        self.tried.remove(&key);
        let group = self.groups.entry(key.clone()).or_default();
        if *group.reason != *reason {
            if !group.tasks.is_empty() {
                self.untold.insert(key);
            }
            (group.reason, group.told) = (reason.into(), None);
        }
        group.tasks.extend(tasks.iter().map(|waiting| (waiting.task.slot, waiting.task.id.clone())));
    }

    pub(crate) fn remove(&mut self, task: &Task) {
        if self.is_empty() {
            return;
        }
        let key = key_of(task);
        let Some(group) = self.groups.get_mut(&key) else { return };
        group.tasks.remove(&(task.slot, task.id.clone()));
        if group.tasks.is_empty() {
            self.forget(&key);
        }
    }

    fn forget(&mut self, key: &GroupKey) {
        self.groups.remove(key);
        self.tried.remove(key);
        self.untold.remove(key);
    }

    /// Something became free.
    pub(crate) fn try_all(&mut self) {
        self.tried = self.groups.keys().cloned().collect();
    }

    /// Whether some are to be tried.
    pub(crate) fn has_tries(&self) -> bool {
        !self.tried.is_empty()
    }

    /// Takes out the next ones that are to be tried. If they find no place they come back, and no more of their group
    /// are tried.
    pub(crate) fn take(&mut self, count: usize, tx: &Tx) -> Vec<(Handle, Arc<Task>)> {
        let mut taken = Vec::new();
        while taken.len() < count
            && let Some(key) = self.tried.pop_first()
        {
            let Some(group) = self.groups.get_mut(&key) else { continue };
            while taken.len() < count
                && let Some((_, id)) = group.tasks.pop_first()
            {
                let found = tx.task_at(&id);
                taken.extend(found.filter(|(_, task)| is_pending(task) && task.node_id.is_none()));
            }
            if group.tasks.is_empty() {
                self.forget(&key);
            } else {
                self.tried.insert(key);
            }
        }
        taken
    }

    /// Whether some are to be told why they wait now.
    pub(crate) fn has_news(&self) -> bool {
        !self.untold.is_empty()
    }

    /// The next ones that are to be told, and what.
    pub(crate) fn tell(&mut self) -> Vec<(TaskId, Arc<str>)> {
        let mut news = Vec::new();
        while news.len() < EXPLANATIONS_MAX
            && let Some(key) = self.untold.pop_first()
        {
            let Some(group) = self.groups.get_mut(&key) else { continue };
            let after = group.told.take().map_or(Unbounded, Excluded);
            let next = group.tasks.range((after, Unbounded)).take(EXPLANATIONS_MAX - news.len());
            news.extend(next.clone().map(|(_, id)| (id.clone(), Arc::clone(&group.reason))));
            if let Some(last) = next.last().filter(|last| group.tasks.last() != Some(*last)) {
                group.told = Some(last.clone());
                self.untold.insert(key);
            }
        }
        news
    }
}

fn key_of(task: &Task) -> GroupKey {
    match (&task.service_id, task.spec_version) {
        (Some(service), Some(version)) => (Some(service.clone()), Some(version), None),
        _ => (task.service_id.clone(), None, Some(task.id.clone())),
    }
}
