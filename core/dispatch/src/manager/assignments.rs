//! What one node shall run, as its stream was last told, and the difference to the facts (interop §4.4).
//!
//! The set holds the node's tasks from ASSIGNED on with the secrets and configs that they refer to. A dependency
//! travels with the first task that needs it and is taken back when the last such task has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skep_model::pb::messages::assignment::Item;
use skep_model::pb::messages::assignment_change::AssignmentAction;
use skep_model::pb::messages::assignments_message::Type;
use skep_model::pb::messages::{Assignment, AssignmentChange, AssignmentsMessage};
use skep_model::pb::objects as pb;
use skep_model::pb::types::{ResourceType, task_spec::Runtime};
use skep_model::{ConfigId, Kept, NodeId, SecretId, Task, TaskId, TaskState, Time};
use skep_store::Read;

use super::driver::SecretValue;
use super::values::{Readiness, Values};
use super::{StreamId, limits};
use crate::compare::same_but_status;

/// Something that tasks need. Sorts before the tasks in a message.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Dependency {
    Secret(SecretId),
    Config(ConfigId),
}

/// What a change is about, in the order of a message.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Subject {
    Dependency(Dependency),
    Task(TaskId),
}

type Changes = BTreeMap<Subject, AssignmentChange>;

/// One stream of assignments.
#[derive(Debug)]
pub struct Assignments {
    node: NodeId,
    stream: StreamId,
    sequence: u64,
    sent_at: Option<Time>,
    tasks: BTreeMap<TaskId, Arc<Task>>,
    users: BTreeMap<Dependency, BTreeSet<TaskId>>,
    /// Tasks of which something was committed since.
    marked: BTreeSet<TaskId>,
    /// Dependencies here whose data changed since.
    renewed: BTreeSet<Dependency>,
    /// Secrets that drivers gave for one task alone, under ids of their own.
    own: BTreeMap<TaskId, BTreeSet<SecretId>>,
    /// Until when the whole set waits for values, once it does.
    held_until: Option<Time>,
}

impl Assignments {
    /// A stream that was told nothing yet.
    pub fn new(node: NodeId, stream: StreamId) -> Self {
        Self {
            node,
            stream,
            sequence: 0,
            sent_at: None,
            tasks: BTreeMap::new(),
            users: BTreeMap::new(),
            marked: BTreeSet::new(),
            renewed: BTreeSet::new(),
            own: BTreeMap::new(),
            held_until: None,
        }
    }

    /// Where messages go.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// When the last message was made.
    pub fn sent_at(&self) -> Option<Time> {
        self.sent_at
    }

    /// Something about the task was committed.
    pub fn mark(&mut self, task: TaskId) {
        if self.sequence > 0 {
            self.marked.insert(task);
        }
    }

    /// A secret's or config's data changed; says whether a task here needs it.
    pub fn renew(&mut self, dependency: &Dependency) -> bool {
        let used = self.users.contains_key(dependency);
        if used {
            self.renewed.insert(dependency.clone());
        }
        used
    }

    /// Until when the whole set waits for values that its tasks may need, if it does: a worker drops what is not in the
    /// set, and may be about to start what it knows from an earlier leader.
    pub fn hold_for_values(&mut self, now: Time, facts: &impl Read, values: &mut Values) -> Option<Time> {
        if self.sequence > 0 {
            return None;
        }
        let mut is_awaited = false;
        for task in facts.tasks_on_node(&self.node) {
            let needed = needed_values(&task, facts);
            is_awaited |= values.readiness(&self.node, &task.id, &needed) == Readiness::Awaited;
        }
        if !is_awaited {
            return None;
        }
        Some(*self.held_until.get_or_insert(now.after(limits::WHOLE_SET_PATIENCE)))
    }

    /// The messages that bring the stream up to the facts; the first is the whole set.
    pub fn messages(&mut self, now: Time, facts: &impl Read, values: &mut Values) -> Vec<AssignmentsMessage> {
        let mut messages = Vec::new();
        if self.sequence == 0 {
            let mut changes = Changes::new();
            for task in facts.tasks_on_node(&self.node) {
                self.put(&task, facts, values, &mut changes);
            }
            messages.push(self.message(Type::Complete, changes));
        }
        let mut changes = Changes::new();
        for dependency in std::mem::take(&mut self.renewed) {
            if let Some(item) = item(&dependency, facts).filter(|_| self.users.contains_key(&dependency)) {
                changes.insert(Subject::Dependency(dependency), change(item, AssignmentAction::Update));
            }
        }
        let mut count = 0;
        for id in std::mem::take(&mut self.marked) {
            let task = facts.task(&id).filter(|task| task.node_id.as_ref() == Some(&self.node));
            let changed = match task {
                Some(task) => self.put(&task, facts, values, &mut changes),
                None => self.remove(&id, values, &mut changes),
            };
            count += usize::from(changed);
            if count == limits::ASSIGNMENT_BATCH_COUNT {
                count = 0;
                messages.push(self.message(Type::Incremental, std::mem::take(&mut changes)));
            }
        }
        if !changes.is_empty() {
            messages.push(self.message(Type::Incremental, changes));
        }
        if !messages.is_empty() {
            self.sent_at = Some(now);
        }
        messages
    }

    fn message(&mut self, kind: Type, changes: Changes) -> AssignmentsMessage {
        let applies_to = if self.sequence == 0 { String::new() } else { self.sequence.to_string() };
        self.sequence += 1;
        AssignmentsMessage {
            r#type: kind.into(),
            applies_to,
            results_in: self.sequence.to_string(),
            changes: changes.into_values().collect(),
        }
    }

    /// Takes a task as the facts have it; says whether that is worth a message.
    fn put(&mut self, task: &Arc<Task>, facts: &impl Read, values: &mut Values, changes: &mut Changes) -> bool {
        if task.state() < TaskState::Assigned || self.waits_for_values(task, facts, values) {
            return false;
        }
        let known = self.tasks.insert(task.id.clone(), Arc::clone(task));
        match known {
            // The worker wrote the status itself; up to ASSIGNED it is the manager's.
            Some(known) if task.state() > TaskState::Assigned && same_but_status(&known, task) => {
                return task.has_ended() && self.release(task, changes);
            }
            None if !task.has_ended() => self.require(task, facts, values, changes),
            _ => {}
        }
        let change = change(Item::Task(Kept::from(&**task)), AssignmentAction::Update);
        changes.insert(Subject::Task(task.id.clone()), change);
        true
    }

    /// Whether the task is not sent yet because a driver has not given what it needs. One that the worker may know
    /// already is not kept from it.
    fn waits_for_values(&self, task: &Task, facts: &impl Read, values: &mut Values) -> bool {
        if self.tasks.contains_key(&task.id) {
            return false;
        }
        let needed = needed_values(task, facts);
        if needed.is_empty() {
            values.forget_task(&task.id);
            return false;
        }
        let ready = values.readiness(&self.node, &task.id, &needed) == Readiness::Ready;
        !ready && task.state() == TaskState::Assigned
    }

    fn remove(&mut self, id: &TaskId, values: &mut Values, changes: &mut Changes) -> bool {
        values.forget_task(id);
        let Some(task) = self.tasks.remove(id) else { return false };
        let gone = Kept::new(pb::Task { id: id.to_string(), ..pb::Task::default() });
        changes.insert(Subject::Task(id.clone()), change(Item::Task(gone), AssignmentAction::Remove));
        self.release(&task, changes);
        true
    }

    /// Sends along what the task needs and no other task here needed before.
    fn require(&mut self, task: &Task, facts: &impl Read, values: &mut Values, changes: &mut Changes) {
        for dependency in dependencies(task) {
            let given = match &dependency {
                Dependency::Secret(id) => values.take(&(task.id.clone(), id.clone())),
                Dependency::Config(_) => None,
            };
            // A value that a driver gave now is newer than what the worker may have of the secret.
            let is_given = given.is_some();
            let (dependency, item) = match given {
                Some(value) => self.given(dependency, value, task, facts),
                None => (dependency.clone(), item(&dependency, facts)),
            };
            let users = self.users.entry(dependency.clone()).or_default();
            let first = users.is_empty();
            users.insert(task.id.clone());
            if let Some(item) = item.filter(|_| first || is_given) {
                changes.insert(Subject::Dependency(dependency), change(item, AssignmentAction::Update));
            }
        }
        values.forget_task(&task.id);
    }

    /// A secret with the value that its driver gave, under an id of the task's own if it is for the task alone.
    fn given(
        &mut self,
        dependency: Dependency,
        value: SecretValue,
        task: &Task,
        facts: &impl Read,
    ) -> (Dependency, Option<Item>) {
        let Dependency::Secret(id) = &dependency else { return (dependency, None) };
        let Some(stored) = facts.secret(id) else { return (dependency, None) };
        let mut secret = (*stored).clone();
        secret.spec = secret.spec.edit(|spec| spec.data = value.data);
        if value.do_not_reuse {
            // Ids of usual length fit.
            let Some(own) = SecretId::optional(&format!("{id}.{}", task.id)) else { return (dependency, None) };
            self.own.entry(task.id.clone()).or_default().insert(own.clone());
            secret.id = own;
            secret.internal = true;
        }
        (Dependency::Secret(secret.id.clone()), Some(Item::Secret(Kept::from(&secret))))
    }

    /// Takes back what only this task needed; says whether there was anything.
    fn release(&mut self, task: &Task, changes: &mut Changes) -> bool {
        let mut any = false;
        let own = self.own.remove(&task.id).unwrap_or_default();
        for dependency in dependencies(task).into_iter().chain(own.into_iter().map(Dependency::Secret)) {
            let Some(users) = self.users.get_mut(&dependency) else { continue };
            if !users.remove(&task.id) || !users.is_empty() {
                continue;
            }
            self.users.remove(&dependency);
            let item = match &dependency {
                Dependency::Secret(id) => {
                    Item::Secret(Kept::new(pb::Secret { id: id.to_string(), ..pb::Secret::default() }))
                }
                Dependency::Config(id) => {
                    Item::Config(Kept::new(pb::Config { id: id.to_string(), ..pb::Config::default() }))
                }
            };
            changes.insert(Subject::Dependency(dependency), change(item, AssignmentAction::Remove));
            any = true;
        }
        any
    }
}

/// The values that drivers have to give before the task can start, with the drivers. None for a task that has started,
/// or is not to.
fn needed_values(task: &Task, facts: &impl Read) -> Vec<(SecretId, String)> {
    let starts = (TaskState::Assigned..TaskState::Running).contains(&task.state());
    if !starts || !task.is_wanted() {
        return Vec::new();
    }
    let secrets = dependencies(task).into_iter().filter_map(|dependency| match dependency {
        Dependency::Secret(id) => facts.secret(&id),
        Dependency::Config(_) => None,
    });
    secrets.filter_map(|secret| Some((secret.id.clone(), secret.spec.driver.as_ref()?.name.clone()))).collect()
}

fn item(dependency: &Dependency, facts: &impl Read) -> Option<Item> {
    match dependency {
        // The value of a secret with a driver is not in the store.
        Dependency::Secret(id) => facts
            .secret(id)
            .filter(|secret| secret.spec.driver.is_none())
            .map(|secret| Item::Secret(Kept::from(&*secret))),
        Dependency::Config(id) => facts.config(id).map(|config| Item::Config(Kept::from(&*config))),
    }
}

fn change(item: Item, action: AssignmentAction) -> AssignmentChange {
    AssignmentChange { assignment: Some(Assignment { item: Some(item) }), action: action.into() }
}

/// What the task's spec refers to, each once.
fn dependencies(task: &Task) -> BTreeSet<Dependency> {
    let mut found = BTreeSet::new();
    for reference in &task.spec.resource_references {
        match reference.resource_type() {
            ResourceType::Secret => {
                found.extend(SecretId::optional(&reference.resource_id).map(Dependency::Secret));
            }
            ResourceType::Config => {
                found.extend(ConfigId::optional(&reference.resource_id).map(Dependency::Config));
            }
            ResourceType::Task | ResourceType::Volume => {}
        }
    }
    if let Some(Runtime::Container(container)) = &task.spec.runtime {
        let secrets = container.secrets.iter().filter_map(|reference| SecretId::optional(&reference.secret_id));
        let configs = container.configs.iter().filter_map(|reference| ConfigId::optional(&reference.config_id));
        found.extend(secrets.map(Dependency::Secret));
        found.extend(configs.map(Dependency::Config));
    }
    found
}

#[cfg(test)]
mod tests;
