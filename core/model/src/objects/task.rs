//! A task: one placement of a service in a slot, or on a node.

use bytes::Bytes;

use super::{Meta, ObjectError, object, version};
use crate::ids::{NodeId, ServiceId, TaskId};
use crate::kept::Kept;
use crate::pb::objects as pb;
use crate::pb::types::{self, TaskState};
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
    /// The task's own name, `<service>.<slot or node>.<task id>`.
    pub annotations: types::Annotations,
    /// Copy of the service's name and labels.
    pub service_annotations: types::Annotations,
    pub status: types::TaskStatus,
    pub desired_state: TaskState,
    pub networks: Vec<pb::NetworkAttachment>,
    pub endpoint: Option<pb::Endpoint>,
    pub log_driver: Option<types::Driver>,
    /// Version of the service's spec from which it was made.
    pub spec_version: Option<u64>,
    pub assigned_generic_resources: Vec<types::GenericResource>,
    pub job_iteration: Option<u64>,
    pub volumes: Vec<types::VolumeAttachment>,
    /// Encoded fields of newer versions.
    pub unknown: Bytes,
}

object!(Task, TaskId, "task", |_task| "");

impl Task {
    /// Where the task is in its life.
    pub fn state(&self) -> TaskState {
        self.status.state()
    }

    /// Whether the orchestrator still wants it to be RUNNING (or on the way there).
    pub fn is_wanted(&self) -> bool {
        self.desired_state <= TaskState::Running
    }

    /// Whether it has ended: a state above RUNNING is final.
    pub fn has_ended(&self) -> bool {
        self.state() > TaskState::Running
    }
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
        Ok(Self {
            id: TaskId::new(&value.id).map_err(|source| ObjectError::Id { kind: "task", source })?,
            meta: Meta::from(value.meta.as_ref()),
            spec: value.spec.unwrap_or_default(),
            service_id: ServiceId::optional(&value.service_id),
            slot: value.slot,
            node_id: NodeId::optional(&value.node_id),
            annotations: value.annotations.unwrap_or_default(),
            service_annotations: value.service_annotations.unwrap_or_default(),
            status: value.status.unwrap_or_default(),
            desired_state,
            networks: value.networks,
            endpoint: value.endpoint,
            log_driver: value.log_driver,
            spec_version: value.spec_version.map(|version| version.index),
            assigned_generic_resources: value.assigned_generic_resources,
            job_iteration: value.job_iteration.map(|version| version.index),
            volumes: value.volumes,
            unknown,
        })
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
                annotations: Some(task.annotations.clone()),
                service_annotations: Some(task.service_annotations.clone()),
                status: Some(task.status.clone()),
                desired_state: task.desired_state.into(),
                networks: task.networks.clone(),
                endpoint: task.endpoint.clone(),
                log_driver: task.log_driver.clone(),
                spec_version: task.spec_version.map(version),
                assigned_generic_resources: task.assigned_generic_resources.clone(),
                job_iteration: task.job_iteration.map(version),
                volumes: task.volumes.clone(),
            },
            unknown: task.unknown.clone(),
        }
    }
}
