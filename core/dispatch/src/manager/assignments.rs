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

    /// The messages that bring the stream up to the facts; the first is the whole set.
    pub fn messages(&mut self, now: Time, facts: &impl Read) -> Vec<AssignmentsMessage> {
        let mut messages = Vec::new();
        if self.sequence == 0 {
            let mut changes = Changes::new();
            for task in facts.tasks_on_node(&self.node) {
                self.put(&task, facts, &mut changes);
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
                Some(task) => self.put(&task, facts, &mut changes),
                None => self.remove(&id, &mut changes),
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
    fn put(&mut self, task: &Arc<Task>, facts: &impl Read, changes: &mut Changes) -> bool {
        if task.state() < TaskState::Assigned {
            return false;
        }
        let known = self.tasks.insert(task.id.clone(), Arc::clone(task));
        match known {
            // The worker wrote the status itself; up to ASSIGNED it is the manager's.
            Some(known) if task.state() > TaskState::Assigned && same_but_status(&known, task) => {
                return task.has_ended() && self.release(task, changes);
            }
            None if !task.has_ended() => self.require(task, facts, changes),
            _ => {}
        }
        let change = change(Item::Task(Kept::from(&**task)), AssignmentAction::Update);
        changes.insert(Subject::Task(task.id.clone()), change);
        true
    }

    fn remove(&mut self, id: &TaskId, changes: &mut Changes) -> bool {
        let Some(task) = self.tasks.remove(id) else { return false };
        let gone = Kept::new(pb::Task { id: id.to_string(), ..pb::Task::default() });
        changes.insert(Subject::Task(id.clone()), change(Item::Task(gone), AssignmentAction::Remove));
        self.release(&task, changes);
        true
    }

    /// Sends along what the task needs and no other task here needed before.
    fn require(&mut self, task: &Task, facts: &impl Read, changes: &mut Changes) {
        for dependency in dependencies(task) {
            let item = item(&dependency, facts);
            let users = self.users.entry(dependency.clone()).or_default();
            let first = users.is_empty();
            users.insert(task.id.clone());
            if let Some(item) = item.filter(|_| first) {
                changes.insert(Subject::Dependency(dependency), change(item, AssignmentAction::Update));
            }
        }
    }

    /// Takes back what only this task needed; says whether there was anything.
    fn release(&mut self, task: &Task, changes: &mut Changes) -> bool {
        let mut any = false;
        for dependency in dependencies(task) {
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

fn item(dependency: &Dependency, facts: &impl Read) -> Option<Item> {
    match dependency {
        // The value of a secret with a driver comes from a plugin, which we do not have.
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
