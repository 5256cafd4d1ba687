//! Configs: data that tasks may read.

use bytes::Bytes;
use skep_model::pb::messages as m;
use skep_model::pb::types::ConfigSpec;
use skep_model::{Code, Config, ConfigId, Kept, Meta, Refusal, labels};

use super::context::CommandContext;
use super::dependency;
use super::lookup::{self, common_filters, in_sequence, invalid_argument, quoted, required, written};
use super::validate;
use crate::read::Find;
use crate::tx::Tx;
use crate::versions::Dependency;

/// A config's data is shorter than this many bytes.
const DATA_BYTES_LIMIT: usize = 1000 * 1024;

fn identified(id: &str) -> Result<&str, Refusal> {
    if id.is_empty() { Err(Refusal::invalid("config ID must be provided")) } else { Ok(id) }
}

pub(super) fn get(facts: &impl Find, request: m::GetConfigRequest) -> Result<m::GetConfigResponse, Refusal> {
    let config = required::<Config>(facts, identified(&request.config_id)?)?;
    Ok(m::GetConfigResponse { config: Some(Kept::from(&*config)) })
}

pub(super) fn list(facts: &impl Find, request: m::ListConfigsRequest) -> m::ListConfigsResponse {
    let filters = common_filters!(request.filters);
    let earlier = filters.labels.contains_key(labels::VERSION_OF);
    let configs = filters.any(facts, |config: &Config| config.spec.annotations.as_ref());
    let listed = configs.iter().filter(|config| earlier || config.version_of().is_none());
    m::ListConfigsResponse { configs: listed.map(|config| Kept::from(&**config)).collect() }
}

pub(super) fn create(
    tx: &mut Tx,
    context: &mut CommandContext,
    request: m::CreateConfigRequest,
) -> Result<m::CreateConfigResponse, Refusal> {
    let spec = request.spec.ok_or_else(invalid_argument)?;
    validate_spec(&spec)?;
    let name = lookup::name(spec.annotations.as_ref());
    if tx.named::<Config>(name).is_some() {
        return Err(Refusal::new(Code::AlreadyExists, format!("config {name} already exists")));
    }
    let config = Config { id: ConfigId::random(context.rng), meta: Meta::default(), spec, unknown: Bytes::new() };
    let id = config.id.clone();
    tx.create(config)?;
    Ok(m::CreateConfigResponse { config: Some(Kept::from(&*written::<Config>(tx, &id)?)) })
}

pub(super) fn update(
    tx: &mut Tx,
    context: &mut CommandContext,
    request: m::UpdateConfigRequest,
) -> Result<m::UpdateConfigResponse, Refusal> {
    let version = quoted(request.config_version.as_ref())?;
    let stored = required::<Config>(tx, &request.config_id)?;
    let spec = request.spec.unwrap_or_default();
    dependency::check_updatable(tx, &*stored, spec.annotations.as_ref())?;
    in_sequence(&*stored, version)?;
    let same_template = spec.templating.is_none() || spec.templating == stored.spec.templating;
    let same_data = same_template && spec.data == stored.spec.data;
    let id = if spec.data.is_empty() || same_data {
        tx.update(dependency::relabelled(&*stored, spec.annotations.as_ref()))?;
        stored.id.clone()
    } else {
        validate_spec(&spec)?;
        let live = spec.annotations.as_ref().is_some_and(|annotations| labels::reloads_live(&annotations.labels));
        let id = if live { stored.id.clone() } else { ConfigId::random(context.rng) };
        dependency::replace(tx, &*stored, Config { id, spec, ..(*stored).clone() })?
    };
    Ok(m::UpdateConfigResponse { config: Some(Kept::from(&*written::<Config>(tx, &id)?)) })
}

pub(super) fn remove(tx: &mut Tx, request: m::RemoveConfigRequest) -> Result<m::RemoveConfigResponse, Refusal> {
    let config = required::<Config>(tx, identified(&request.config_id)?)?;
    dependency::remove(tx, &*config, |container, id| {
        container.configs.iter().any(|reference| reference.config_id == id)
    })?;
    Ok(m::RemoveConfigResponse {})
}

fn validate_spec(spec: &ConfigSpec) -> Result<(), Refusal> {
    validate::dependency_annotations(spec.annotations.as_ref())?;
    spec.annotations.as_ref().map_or(Ok(()), |annotations| labels::check_dependency(&annotations.labels))?;
    if spec.data.is_empty() || spec.data.len() >= DATA_BYTES_LIMIT {
        return Err(Refusal::invalid(format!(
            "config data must be larger than 0 and less than {DATA_BYTES_LIMIT} bytes"
        )));
    }
    validate::templating("config", spec.templating.as_ref(), &spec.data)
}
