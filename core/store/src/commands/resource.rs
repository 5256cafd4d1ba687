//! Resources: objects of user-defined kinds.

use skep_model::pb::messages as m;
use skep_model::pb::objects as pb;
use skep_model::{Code, Extension, Kept, Meta, Object, Refusal, Resource, ResourceId};

use super::context::CommandContext;
use super::lookup::{self, Filters, required, written};
use crate::read::Find;
use crate::tx::Tx;

fn identified(id: &str) -> Result<&str, Refusal> {
    if id.is_empty() { Err(Refusal::invalid("resource ID must be present")) } else { Ok(id) }
}

pub(super) fn get(facts: &impl Find, request: m::GetResourceRequest) -> Result<m::GetResourceResponse, Refusal> {
    let resource = required::<Resource>(facts, identified(&request.resource_id)?)?;
    Ok(m::GetResourceResponse { resource: Some(Kept::from(&*resource)) })
}

pub(super) fn list(facts: &impl Find, request: m::ListResourcesRequest) -> m::ListResourcesResponse {
    let filters = request.filters.unwrap_or_default();
    let kind = filters.kind;
    let common = Filters {
        names: filters.names,
        name_prefixes: filters.name_prefixes,
        id_prefixes: filters.id_prefixes,
        labels: filters.labels,
    };
    let resources = common.any(facts, |resource: &Resource| resource.body.value.annotations.as_ref());
    let of_kind = resources.iter().filter(|resource| kind.is_empty() || resource.body.value.kind == kind);
    m::ListResourcesResponse { resources: of_kind.map(|resource| Kept::from(&**resource)).collect() }
}

pub(super) fn create(
    tx: &mut Tx,
    context: &mut CommandContext,
    request: m::CreateResourceRequest,
) -> Result<m::CreateResourceResponse, Refusal> {
    let name = lookup::name(request.annotations.as_ref());
    if name.is_empty() {
        return Err(Refusal::invalid("Resource must have a name"));
    }
    if request.kind.is_empty() {
        return Err(Refusal::invalid("Resource must belong to an Extension"));
    }
    if tx.named::<Extension>(&request.kind).is_none() {
        return Err(Refusal::invalid(format!("Kind {} is not registered", request.kind)));
    }
    if tx.named::<Resource>(name).is_some() {
        return Err(Refusal::new(Code::AlreadyExists, format!("A resource with name {name} already exists")));
    }
    let id = ResourceId::random(context.rng);
    let body = pb::Resource {
        annotations: request.annotations,
        kind: request.kind,
        payload: request.payload,
        ..pb::Resource::default()
    };
    tx.create(Resource { id: id.clone(), meta: Meta::default(), body: Kept::new(body) })?;
    Ok(m::CreateResourceResponse { resource: Some(Kept::from(&*written::<Resource>(tx, &id)?)) })
}

pub(super) fn update(tx: &mut Tx, request: m::UpdateResourceRequest) -> Result<m::UpdateResourceResponse, Refusal> {
    let Some(version) = request.resource_version.as_ref().filter(|_| !request.resource_id.is_empty()) else {
        return Err(Refusal::invalid("must include ID and version"));
    };
    let stored = required::<Resource>(tx, &request.resource_id)?;
    let mut resource = (*stored).clone();
    if let Some(annotations) = request.annotations {
        if annotations.name != stored.unique_name() {
            return Err(Refusal::invalid("cannot change resource name"));
        }
        resource.body.value.annotations = Some(annotations);
    }
    if request.payload.is_some() {
        resource.body.value.payload = request.payload;
    }
    // Of all objects only resources answer a stale version as a wrong argument (interop §5.5).
    if stored.meta.version != version.index {
        return Err(Refusal::invalid("update out of sequence"));
    }
    tx.update(resource)?;
    Ok(m::UpdateResourceResponse { resource: Some(Kept::from(&*written::<Resource>(tx, &stored.id)?)) })
}

pub(super) fn remove(tx: &mut Tx, request: m::RemoveResourceRequest) -> Result<m::RemoveResourceResponse, Refusal> {
    let resource = required::<Resource>(tx, identified(&request.resource_id)?)?;
    tx.remove::<Resource>(&resource.id)?;
    Ok(m::RemoveResourceResponse {})
}
