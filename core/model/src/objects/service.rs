//! A service: what the user wants to run, and what became of it.

use bytes::Bytes;

use super::{Meta, ObjectError, name_of, object, version};
use crate::ids::ServiceId;
use crate::kept::Kept;
use crate::pb::objects as pb;
use crate::pb::types::{self, service_spec::Mode};
use crate::verbatim::Verbatim;

/// What the user wants to run.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs)]
pub struct Service {
    pub id: ServiceId,
    pub meta: Meta,
    pub spec: Verbatim<types::ServiceSpec>,
    /// Allocated ports and virtual addresses.
    pub endpoint: Option<pb::Endpoint>,
    pub update_status: Option<types::UpdateStatus>,
    /// What `rollback` goes back to.
    pub previous_spec: Option<Verbatim<types::ServiceSpec>>,
    pub pending_delete: bool,
    /// `meta.version` of the request that last changed the spec.
    pub spec_version: Option<u64>,
    pub previous_spec_version: Option<u64>,
    pub job_status: Option<types::JobStatus>,
    /// Encoded fields of newer versions.
    pub unknown: Bytes,
}

object!(Service, ServiceId, "service", |service| service.name());

impl Service {
    /// The unique name.
    pub fn name(&self) -> &str {
        name_of(self.spec.annotations.as_ref())
    }

    /// How many are wanted, for replicated services.
    pub fn replicas(&self) -> Option<u64> {
        match &self.spec.mode {
            Some(Mode::Replicated(replicated)) => Some(replicated.replicas),
            _ => None,
        }
    }

    /// One task on each eligible node.
    pub fn is_global(&self) -> bool {
        matches!(self.spec.mode, Some(Mode::Global(_)))
    }
}

impl TryFrom<Kept<pb::Service>> for Service {
    type Error = ObjectError;

    fn try_from(kept: Kept<pb::Service>) -> Result<Self, ObjectError> {
        let Kept { value, unknown } = kept;
        Ok(Self {
            id: ServiceId::new(&value.id).map_err(|source| ObjectError::Id { kind: "service", source })?,
            meta: Meta::from(value.meta.as_ref()),
            spec: value.spec.unwrap_or_default(),
            endpoint: value.endpoint,
            update_status: value.update_status,
            previous_spec: value.previous_spec,
            pending_delete: value.pending_delete,
            spec_version: value.spec_version.map(|version| version.index),
            previous_spec_version: value.previous_spec_version.map(|version| version.index),
            job_status: value.job_status,
            unknown,
        })
    }
}

impl From<&Service> for Kept<pb::Service> {
    fn from(service: &Service) -> Self {
        Kept {
            value: pb::Service {
                id: service.id.to_string(),
                meta: Some(service.meta.into()),
                spec: Some(service.spec.clone()),
                endpoint: service.endpoint.clone(),
                update_status: service.update_status.clone(),
                previous_spec: service.previous_spec.clone(),
                pending_delete: service.pending_delete,
                spec_version: service.spec_version.map(version),
                previous_spec_version: service.previous_spec_version.map(version),
                job_status: service.job_status,
            },
            unknown: service.unknown.clone(),
        }
    }
}
