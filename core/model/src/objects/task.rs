//! A task: one placement of a service in a slot, or on a node.

use std::sync::Arc;

use super::{Extras, Meta, ObjectError, TaskExtras, object, version};
use crate::ids::{NodeId, ServiceId, TaskId};
use crate::kept::Kept;
use crate::pb::objects as pb;
use crate::pb::types::task_spec::Runtime;
use crate::pb::types::{self, TaskState};
use crate::shared::Shared;
use crate::verbatim::Verbatim;

/// One placement. `spec` is shared with all tasks made from the same service spec.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs)]
pub struct Task {
    pub id: TaskId,
    pub meta: Meta,
    pub spec: Verbatim<types::TaskSpec>,
    /// Absent for attachments of unmanaged containers.
    pub service_id: Option<ServiceId>,
    /// From 1 for replicated services; 0 for global ones.
    pub slot: u64,
    /// Absent until scheduled; set from the start for global services.
    pub node_id: Option<NodeId>,
    pub annotations: TaskAnnotations,
    /// Copy of the service's name and labels.
    pub service_annotations: Shared<types::Annotations>,
    pub status: types::TaskStatus,
    pub desired_state: TaskState,
    pub networks: Arc<[pb::NetworkAttachment]>,
    pub endpoint: Option<Shared<pb::Endpoint>>,
    pub log_driver: Option<Shared<types::Driver>>,
    /// Version of the service's spec from which it was made.
    pub spec_version: Option<u64>,
    pub extras: TaskExtras,
}

/// A task's own annotations. Nearly every task has its usual name and nothing else, which needs no place.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum TaskAnnotations {
    /// The name alone, as [`task_name`] makes it; only where the name cannot change any more.
    #[default]
    Usual,
    /// What somebody wrote.
    Written(Shared<types::Annotations>),
}

impl TaskAnnotations {
    /// Those of a new task. A job's first slot is 0, like that of every node's task: until it has a node, and keeps the
    /// name that it was made with, that name must be written.
    pub fn of_new(service: &str, slot: u64, node: Option<&NodeId>, task: &TaskId) -> Self {
        if is_settled(slot, node) {
            return Self::Usual;
        }
        let name = task_name(service, slot, node, task);
        Self::Written(Shared::new(types::Annotations { name, ..Default::default() }))
    }
}

/// Whether nothing that may still come to a task changes its usual name.
fn is_settled(slot: u64, node: Option<&NodeId>) -> bool {
    slot != 0 || node.is_some()
}

object!(Task, TaskId, "task", |_task| "");

impl Task {
    /// Reads a little of every part of tasks that are worked on next, one by one. What lies far apart in memory is loaded
    /// together by this, where working on each would wait for each.
    pub fn touch<'a>(tasks: impl Iterator<Item = &'a Task> + Clone) {
        let here = |task: &Task| {
            task.id.text_len()
                + usize::from(task.slot != 0)
                + task.service_id.as_ref().map_or(0, ServiceId::text_len)
                + task.node_id.as_ref().map_or(0, NodeId::text_len)
                + usize::from(task.status.state != 0)
                + task.status.message.len()
                + usize::from(task.status.port_status.is_some())
                + usize::from(task.status.runtime_status.is_some())
                + usize::from(task.meta.version != 0)
        };
        std::hint::black_box(tasks.map(here).sum::<usize>());
    }

    /// The same, of what they share with others and is a further step away.
    pub fn touch_shared<'a>(tasks: impl Iterator<Item = &'a Task> + Clone) {
        let there = |task: &Task| {
            let spec = &task.spec;
            spec.holders()
                + spec.bytes().len()
                + usize::from(spec.placement.is_some())
                + usize::from(spec.resources.is_some())
                + usize::from(spec.log_driver.is_some())
                + match &spec.runtime {
                    Some(Runtime::Container(container)) => {
                        container.mounts.len()
                            + usize::from(container.isolation != 0)
                            + usize::from(container.pids_limit != 0)
                            + usize::from(container.privileges.is_some())
                    }
                    _ => 0,
                }
                + Arc::strong_count(&task.networks)
                + task.networks.first().map_or(0, |attachment| attachment.aliases.len())
                + task.service_annotations.holders()
                + task.endpoint.as_ref().map_or(0, Shared::holders)
        };
        std::hint::black_box(tasks.map(there).sum::<usize>());
    }

    /// Where the task is in its life.
    #[inline]
    pub fn state(&self) -> TaskState {
        self.status.state()
    }

    /// Whether the orchestrator still wants it to be RUNNING (or on the way there).
    pub fn is_wanted(&self) -> bool {
        self.desired_state <= TaskState::Running
    }

    /// Its name: its own, or `<service>.<slot or node>.<task id>`.
    pub fn name(&self) -> String {
        match &self.annotations {
            TaskAnnotations::Written(written) if !written.name.is_empty() => written.name.clone(),
            _ => task_name(&self.service_annotations.name, self.slot, self.node_id.as_ref(), &self.id),
        }
    }

    /// Its annotations as the wire has them.
    pub fn written_annotations(&self) -> types::Annotations {
        match &self.annotations {
            TaskAnnotations::Written(written) => written.to_message(),
            TaskAnnotations::Usual => types::Annotations { name: self.name(), ..Default::default() },
        }
    }

    /// Lets the task share what it has in common with another one: usually all of its service's tasks have the same
    /// spec, networks and endpoint.
    pub fn share_with(&mut self, other: &Task) {
        if self.spec == other.spec {
            self.spec = other.spec.clone();
        }
        self.service_annotations.join(&other.service_annotations);
        if let (Some(endpoint), Some(known)) = (&mut self.endpoint, &other.endpoint) {
            endpoint.join(known);
        }
        if let (Some(driver), Some(known)) = (&mut self.log_driver, &other.log_driver) {
            driver.join(known);
        }
        if !self.networks.is_empty() && self.networks == other.networks {
            self.networks = Arc::clone(&other.networks);
        }
        self.share_networks_with(other);
    }

    /// The same, of the networks alone: tasks of many services are in one network, each with an address of its own.
    pub fn share_networks_with(&mut self, other: &Task) {
        let Some(attachments) = Arc::get_mut(&mut self.networks) else { return };
        for network in attachments.iter_mut().filter_map(|attachment| attachment.network.as_mut()) {
            let mut others = other.networks.iter().filter_map(|attachment| attachment.network.as_ref());
            let _shared = others.any(|other| network.join(other));
        }
    }

    /// Keeps its annotations as little as can be.
    fn settle_annotations(&mut self) {
        let TaskAnnotations::Written(written) = &self.annotations else { return };
        let bare = written.labels.is_empty() && written.indices.is_empty();
        let settled = is_settled(self.slot, self.node_id.as_ref());
        let usual = || task_name(&self.service_annotations.name, self.slot, self.node_id.as_ref(), &self.id);
        if bare && settled && written.name == usual() {
            self.annotations = TaskAnnotations::Usual;
        }
    }

    /// Whether it has ended: a state above RUNNING is final.
    pub fn has_ended(&self) -> bool {
        self.state() > TaskState::Running
    }
}

/// The attachment without the room that decoding left for more.
fn fitted(mut attachment: pb::NetworkAttachment) -> pb::NetworkAttachment {
    attachment.addresses.shrink_to_fit();
    attachment.aliases.shrink_to_fit();
    attachment
}

/// `<service>.<slot>.<task>`, or with the node instead of the slot for global services (interop §6).
pub fn task_name(service: &str, slot: u64, node: Option<&NodeId>, task: &TaskId) -> String {
    match node {
        Some(node) if slot == 0 => format!("{service}.{node}.{task}"),
        _ => format!("{service}.{slot}.{task}"),
    }
}

impl TryFrom<Kept<pb::Task>> for Task {
    type Error = ObjectError;

    fn try_from(kept: Kept<pb::Task>) -> Result<Self, ObjectError> {
        let Kept { value, unknown } = kept;
        let desired_state = value.desired_state();
        let mut task = Self {
            id: TaskId::new(&value.id).map_err(|source| ObjectError::Id { kind: "task", source })?,
            meta: Meta::from(value.meta.as_ref()),
            spec: value.spec.unwrap_or_default(),
            service_id: ServiceId::optional(&value.service_id),
            slot: value.slot,
            node_id: NodeId::optional(&value.node_id),
            annotations: TaskAnnotations::Written(value.annotations.map(Shared::new).unwrap_or_default()),
            service_annotations: value.service_annotations.map(Shared::new).unwrap_or_default(),
            status: value.status.unwrap_or_default(),
            desired_state,
            networks: value.networks.into_iter().map(fitted).collect(),
            endpoint: value.endpoint.map(Shared::new),
            log_driver: value.log_driver.map(Shared::new),
            spec_version: value.spec_version.map(|version| version.index),
            extras: TaskExtras::from(Extras {
                assigned_generic_resources: value.assigned_generic_resources,
                job_iteration: value.job_iteration.map(|version| version.index),
                volumes: value.volumes,
                unknown,
            }),
        };
        task.settle_annotations();
        Ok(task)
    }
}

impl From<&Task> for Kept<pb::Task> {
    fn from(task: &Task) -> Self {
        Kept {
            value: pb::Task {
                id: task.id.to_string(),
                meta: Some(task.meta.into()),
                spec: Some(task.spec.clone()),
                service_id: task.service_id.as_ref().map(ToString::to_string).unwrap_or_default(),
                slot: task.slot,
                node_id: task.node_id.as_ref().map(ToString::to_string).unwrap_or_default(),
                annotations: Some(task.written_annotations()),
                service_annotations: Some(task.service_annotations.to_message()),
                status: Some(task.status.clone()),
                desired_state: task.desired_state.into(),
                networks: task.networks.to_vec(),
                endpoint: task.endpoint.as_ref().map(Shared::to_message),
                log_driver: task.log_driver.as_ref().map(Shared::to_message),
                spec_version: task.spec_version.map(version),
                assigned_generic_resources: task.extras.assigned_generic_resources.clone(),
                job_iteration: task.extras.job_iteration.map(version),
                volumes: task.extras.volumes.clone(),
            },
            unknown: task.extras.unknown.clone(),
        }
    }
}
