//! Configs: data that tasks may read.

use bytes::Bytes;
use skep_model::pb::messages as m;
use skep_model::pb::types::ConfigSpec;
use skep_model::{Code, Config, ConfigId, Kept, Meta, Object, Refusal};

use super::context::CommandContext;
use super::lookup::{self, common_filters, in_sequence, invalid_argument, quoted, required, written};
use super::references::check_unused;
use super::validate;
use crate::read::Find;
use crate::tx::Tx;

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
    let configs = common_filters!(request.filters).any(facts, |config: &Config| config.spec.annotations.as_ref());
    m::ListConfigsResponse { configs: configs.iter().map(|config| Kept::from(&**config)).collect() }
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

pub(super) fn update(tx: &mut Tx, request: m::UpdateConfigRequest) -> Result<m::UpdateConfigResponse, Refusal> {
    let version = quoted(request.config_version.as_ref())?;
    let stored = required::<Config>(tx, &request.config_id)?;
    let spec = request.spec.unwrap_or_default();
    let same_data = spec.data.is_empty() || spec.data == stored.spec.data;
    if lookup::name(spec.annotations.as_ref()) != stored.unique_name() || !same_data {
        return Err(Refusal::invalid("only updates to Labels are allowed"));
    }
    in_sequence(&*stored, version)?;
    let mut config = (*stored).clone();
    config.spec = config.spec.edit(|own| {
        let labels = spec.annotations.as_ref().map(|annotations| annotations.labels.clone());
        own.annotations.get_or_insert_default().labels = labels.unwrap_or_default();
    });
    tx.update(config)?;
    Ok(m::UpdateConfigResponse { config: Some(Kept::from(&*written::<Config>(tx, &stored.id)?)) })
}

pub(super) fn remove(tx: &mut Tx, request: m::RemoveConfigRequest) -> Result<m::RemoveConfigResponse, Refusal> {
    let config = required::<Config>(tx, identified(&request.config_id)?)?;
    check_unused(tx, &*config, |container| {
        container.configs.iter().any(|reference| reference.config_id == config.id.as_str())
    })?;
    tx.remove::<Config>(&config.id)?;
    Ok(m::RemoveConfigResponse {})
}

fn validate_spec(spec: &ConfigSpec) -> Result<(), Refusal> {
    validate::dependency_annotations(spec.annotations.as_ref())?;
    if spec.data.is_empty() || spec.data.len() >= DATA_BYTES_LIMIT {
        return Err(Refusal::invalid(format!(
            "config data must be larger than 0 and less than {DATA_BYTES_LIMIT} bytes"
        )));
    }
    validate::templating("config", spec.templating.as_ref(), &spec.data)
}
