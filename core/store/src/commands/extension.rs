//! Extensions: user-defined kinds of resources.

use skep_model::pb::messages as m;
use skep_model::pb::objects as pb;
use skep_model::{Code, Extension, ExtensionId, Kept, Meta, Object, Refusal};

use super::context::CommandContext;
use super::lookup::{self, required, written};
use crate::read::{Find, Read};
use crate::tx::Tx;

/// Resources named in a refusal.
const NAMED_RESOURCES_MAX: usize = 10;

fn identified(id: &str) -> Result<&str, Refusal> {
    if id.is_empty() { Err(Refusal::invalid("extension ID must be provided")) } else { Ok(id) }
}

pub(super) fn get(facts: &impl Find, request: m::GetExtensionRequest) -> Result<m::GetExtensionResponse, Refusal> {
    let extension = required::<Extension>(facts, identified(&request.extension_id)?)?;
    Ok(m::GetExtensionResponse { extension: Some(Kept::from(&*extension)) })
}

pub(super) fn create(
    tx: &mut Tx,
    context: &mut CommandContext,
    request: m::CreateExtensionRequest,
) -> Result<m::CreateExtensionResponse, Refusal> {
    let name = lookup::name(request.annotations.as_ref()).to_owned();
    if name.is_empty() {
        return Err(Refusal::invalid("extension name must be provided"));
    }
    let id = ExtensionId::random(context.rng);
    let body = pb::Extension {
        annotations: request.annotations,
        description: request.description,
        ..pb::Extension::default()
    };
    let extension = Extension { id: id.clone(), meta: Meta::default(), body: Kept::new(body) };
    tx.create(extension).map_err(|refusal| match refusal.code {
        Code::AlreadyExists => Refusal::new(Code::AlreadyExists, format!("extension {name} already exists")),
        _ => refusal,
    })?;
    Ok(m::CreateExtensionResponse { extension: Some(Kept::from(&*written::<Extension>(tx, &id)?)) })
}

pub(super) fn remove(tx: &mut Tx, request: m::RemoveExtensionRequest) -> Result<m::RemoveExtensionResponse, Refusal> {
    let extension = required::<Extension>(tx, identified(&request.extension_id)?)?;
    let name = extension.unique_name();
    let resources: Vec<String> = tx
        .resources()
        .iter()
        .filter(|resource| resource.body.value.kind == name)
        .map(|resource| resource.unique_name().to_owned())
        .take(NAMED_RESOURCES_MAX)
        .collect();
    if !resources.is_empty() {
        let plural = if resources.len() == 1 { "resource" } else { "resources" };
        let names = resources.join(", ");
        return Err(Refusal::invalid(format!("extension '{name}' is in use by the following {plural}: {names}")));
    }
    tx.remove::<Extension>(&extension.id)?;
    Ok(m::RemoveExtensionResponse {})
}
