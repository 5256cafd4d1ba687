//! What is asked of the drivers of secrets, and what they answer.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use skep_model::objects::SECRET_DATA_BYTES_LIMIT;
use skep_model::pb::types::{EndpointSpec, SecretSpec, task_spec::Runtime};
use skep_model::{NodeId, Task, TaskId};

/// A question to a driver; numbered by the dispatcher, never twice in one process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FetchId(pub u64);

/// What a driver is told of the task that its secret is for (source: SwarmKit's `SecretsProviderRequest`).
#[derive(Clone, PartialEq, Debug)]
pub struct SecretRequest {
    /// The driver's name.
    pub driver: String,
    /// The secret's name.
    pub secret_name: String,
    /// Its labels.
    pub secret_labels: BTreeMap<String, String>,
    /// Of the container's spec: as written, without templates expanded.
    pub service_hostname: String,
    /// The service's id.
    pub service_id: String,
    /// Its name.
    pub service_name: String,
    /// Its labels.
    pub service_labels: BTreeMap<String, String>,
    /// Its ports as they are wanted.
    pub service_endpoint_spec: Option<EndpointSpec>,
    /// The task.
    pub task_id: TaskId,
    /// Its name, `service.slot.id`.
    pub task_name: String,
    /// Its image.
    pub task_image: String,
    /// Where it runs.
    pub node_id: Option<NodeId>,
}

impl SecretRequest {
    /// The question for the value that `task` needs of `secret`.
    pub(super) fn new(driver: &str, secret: &SecretSpec, task: &Task) -> Self {
        let annotations = secret.annotations.clone().unwrap_or_default();
        let container = match &task.spec.runtime {
            Some(Runtime::Container(container)) => Some(container),
            _ => None,
        };
        let endpoint = task.endpoint.as_ref().and_then(|endpoint| endpoint.to_message().spec);
        Self {
            driver: driver.to_owned(),
            secret_name: annotations.name,
            secret_labels: annotations.labels.into_iter().collect(),
            service_hostname: container.map(|container| container.hostname.clone()).unwrap_or_default(),
            service_id: task.service_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            service_name: task.service_annotations.name.clone(),
            service_labels: task.service_annotations.labels.clone().into_iter().collect(),
            service_endpoint_spec: endpoint,
            task_id: task.id.clone(),
            task_name: task.name(),
            task_image: container.map(|container| container.image.clone()).unwrap_or_default(),
            node_id: task.node_id.clone(),
        }
    }
}

/// What a driver gave.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue {
    /// The secret's data for the task.
    pub data: Bytes,
    /// It is for this task alone.
    pub do_not_reuse: bool,
}

impl SecretValue {
    /// A value has the size that a secret's data has.
    pub(super) fn checked(self) -> Result<Self, DriverFailure> {
        let size_bytes = self.data.len();
        if size_bytes == 0 || size_bytes >= SECRET_DATA_BYTES_LIMIT {
            return Err(DriverFailure::Size { size_bytes });
        }
        Ok(self)
    }
}

/// Leaves the data out.
impl fmt::Debug for SecretValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SecretValue").field("do_not_reuse", &self.do_not_reuse).finish_non_exhaustive()
    }
}

/// Why a driver gave nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DriverFailure {
    /// This manager's host has no such plugin.
    #[error("there is no plugin of that name {looked}")]
    NotFound {
        /// Where it was looked for.
        looked: String,
    },
    /// The plugin is of another kind.
    #[error("the plugin is no secretprovider: it implements {implements}")]
    OtherKind {
        /// What it says it is.
        implements: String,
    },
    /// It could not be talked to.
    #[error("the plugin cannot be reached: {reason}")]
    Away {
        /// What the system says.
        reason: String,
    },
    /// It did not answer in time.
    #[error("the plugin did not answer within {limit:?}")]
    Slow {
        /// How long it had.
        limit: Duration,
    },
    /// What it answered cannot be read.
    #[error("the plugin's answer cannot be used: {reason}")]
    Unreadable {
        /// What is wrong with it.
        reason: String,
    },
    /// It refused.
    #[error("the plugin said: {text}")]
    Said {
        /// In its words.
        text: String,
    },
    /// What it gave is no secret's data.
    #[error(
        "the plugin gave {size_bytes} bytes, and secret data must be larger than 0 and less than {SECRET_DATA_BYTES_LIMIT} bytes"
    )]
    Size {
        /// So much.
        size_bytes: usize,
    },
}

impl DriverFailure {
    /// The plugin itself was not there: when it answers somebody, others may ask again at once.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::OtherKind { .. } | Self::Away { .. } | Self::Slow { .. })
    }
}

/// Why a task waits for a secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("secret {secret}: driver {driver} on manager {manager}: {failure}")]
pub struct SecretTrouble {
    /// The secret's name.
    pub secret: String,
    /// Its driver.
    pub driver: String,
    /// The manager that asked: each asks the plugin of its own host.
    pub manager: String,
    /// What came of it.
    #[source]
    pub failure: DriverFailure,
}
