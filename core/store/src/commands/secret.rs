//! Secrets: their data goes in and never comes out this way.

use bytes::Bytes;
use skep_model::objects::SECRET_DATA_BYTES_LIMIT;
use skep_model::pb::messages as m;
use skep_model::pb::types::SecretSpec;
use skep_model::{Code, Kept, Meta, Object as _, Refusal, Secret, SecretId, labels};
use subtle::ConstantTimeEq;

use super::context::CommandContext;
use super::dependency;
use super::lookup::{self, common_filters, in_sequence, invalid_argument, quoted, required, written};
use super::validate;
use crate::read::Find;
use crate::tx::Tx;
use crate::versions::Dependency;

fn shown(secret: &Secret) -> Kept<skep_model::pb::objects::Secret> {
    let mut kept = Kept::from(secret);
    kept.value.spec = Some(secret.spec.edit(|spec| spec.data = Bytes::new()));
    kept
}

fn identified(id: &str) -> Result<&str, Refusal> {
    if id.is_empty() { Err(Refusal::invalid("secret ID must be provided")) } else { Ok(id) }
}

pub(super) fn get(facts: &impl Find, request: m::GetSecretRequest) -> Result<m::GetSecretResponse, Refusal> {
    let secret = required::<Secret>(facts, identified(&request.secret_id)?)?;
    Ok(m::GetSecretResponse { secret: Some(shown(&secret)) })
}

pub(super) fn list(facts: &impl Find, request: m::ListSecretsRequest) -> m::ListSecretsResponse {
    let filters = common_filters!(request.filters);
    let earlier = filters.labels.contains_key(labels::VERSION_OF);
    let secrets = filters.any(facts, |secret: &Secret| secret.spec.annotations.as_ref());
    let public = secrets.iter().filter(|secret| !secret.internal && (earlier || secret.version_of().is_none()));
    m::ListSecretsResponse { secrets: public.map(|secret| shown(secret)).collect() }
}

pub(super) fn create(
    tx: &mut Tx,
    context: &mut CommandContext,
    request: m::CreateSecretRequest,
) -> Result<m::CreateSecretResponse, Refusal> {
    let spec = request.spec.ok_or_else(invalid_argument)?;
    validate_spec(&spec)?;
    let name = lookup::name(spec.annotations.as_ref());
    if tx.named::<Secret>(name).is_some() {
        return Err(Refusal::new(Code::AlreadyExists, format!("secret {name} already exists")));
    }
    let secret = Secret {
        id: SecretId::random(context.rng),
        meta: Meta::default(),
        spec,
        internal: false,
        unknown: Bytes::new(),
    };
    let id = secret.id.clone();
    tx.create(secret)?;
    Ok(m::CreateSecretResponse { secret: Some(shown(&*written::<Secret>(tx, &id)?)) })
}

pub(super) fn update(
    tx: &mut Tx,
    context: &mut CommandContext,
    request: m::UpdateSecretRequest,
) -> Result<m::UpdateSecretResponse, Refusal> {
    let version = quoted(request.secret_version.as_ref())?;
    let stored = required::<Secret>(tx, &request.secret_id)?;
    let spec = request.spec.unwrap_or_default();
    dependency::check_updatable(tx, &*stored, spec.annotations.as_ref())?;
    in_sequence(&*stored, version)?;
    let same_template = spec.templating.is_none() || spec.templating == stored.spec.templating;
    let same_data = same_template && bool::from(spec.data.ct_eq(&stored.spec.data));
    if let Some(driver) = stored.spec.driver.as_ref().filter(|_| !spec.data.is_empty() && !same_data) {
        let name = stored.unique_name();
        return Err(Refusal::invalid(format!(
            "only updates to Labels are allowed: the data of secret {name} comes from driver {}",
            driver.name
        )));
    }
    let id = if spec.data.is_empty() || same_data {
        tx.update(dependency::relabelled(&*stored, spec.annotations.as_ref()))?;
        stored.id.clone()
    } else {
        validate_spec(&spec)?;
        let live = spec.annotations.as_ref().is_some_and(|annotations| labels::reloads_live(&annotations.labels));
        let id = if live { stored.id.clone() } else { SecretId::random(context.rng) };
        dependency::replace(tx, &*stored, Secret { id, spec, ..(*stored).clone() })?
    };
    Ok(m::UpdateSecretResponse { secret: Some(shown(&*written::<Secret>(tx, &id)?)) })
}

pub(super) fn remove(tx: &mut Tx, request: m::RemoveSecretRequest) -> Result<m::RemoveSecretResponse, Refusal> {
    let secret = required::<Secret>(tx, identified(&request.secret_id)?)?;
    dependency::remove(tx, &*secret, |container, id| {
        container.secrets.iter().any(|reference| reference.secret_id == id)
    })?;
    Ok(m::RemoveSecretResponse {})
}

fn validate_spec(spec: &SecretSpec) -> Result<(), Refusal> {
    validate::dependency_annotations(spec.annotations.as_ref())?;
    spec.annotations.as_ref().map_or(Ok(()), |annotations| labels::check_dependency(&annotations.labels))?;
    if let Some(driver) = &spec.driver {
        if driver.name.is_empty() {
            return Err(Refusal::invalid("secret driver must have a name"));
        }
        // Its data comes from the driver, task by task.
        return validate::templating("secret", spec.templating.as_ref(), &[]);
    }
    if spec.data.is_empty() || spec.data.len() >= SECRET_DATA_BYTES_LIMIT {
        return Err(Refusal::invalid(format!(
            "secret data must be larger than 0 and less than {SECRET_DATA_BYTES_LIMIT} bytes"
        )));
    }
    validate::templating("secret", spec.templating.as_ref(), &spec.data)
}
