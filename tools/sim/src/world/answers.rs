//! What managers answer about objects: what it shows, and what is asked for next.

use skep_model::pb::messages as m;
use skep_model::pb::messages::update_service_request::Rollback;
use skep_model::pb::objects::{self, Meta};
use skep_model::pb::types;
use skep_model::{ControlRequest, ControlResponse, Kept, Verbatim};

use super::clients::Change;
use super::specs;
use crate::dice::Dice;
use crate::invariants::reads_are_current::{PutBack, Seen};

/// The request that writes back what was read, changed; its value, and the version it quotes.
pub(super) fn changed(
    response: ControlResponse,
    name: &str,
    change: Change,
    dice: &mut Dice,
) -> Option<(ControlRequest, u64, u64)> {
    let index = |version: Option<types::Version>| version.map_or(0, |version| version.index);
    match response {
        ControlResponse::GetService(response) => changed_service(response, change, dice),
        ControlResponse::ListSecrets(response) => {
            let Change::Update { number } = change else { return None };
            let secret = secret_named(&response, name)?.clone();
            let version = secret.value.meta.as_ref().and_then(|meta| meta.version);
            let data = specs::new_data(dice, number);
            let spec = secret.value.spec?.edit(|spec| {
                specs::set_value(spec.annotations.get_or_insert_default(), number);
                // A secret's data is not told: none stands for what is there.
                spec.data = data.unwrap_or_default();
            });
            let request =
                m::UpdateSecretRequest { secret_id: secret.value.id, secret_version: version, spec: Some(spec) };
            Some((request.into(), number, index(version)))
        }
        ControlResponse::ListConfigs(response) => {
            let Change::Update { number } = change else { return None };
            let config = config_named(&response, name)?.clone();
            let version = config.value.meta.as_ref().and_then(|meta| meta.version);
            let data = specs::new_data(dice, number);
            let spec = config.value.spec?.edit(|spec| {
                specs::set_value(spec.annotations.get_or_insert_default(), number);
                spec.data = data.unwrap_or_else(|| spec.data.clone());
            });
            let request =
                m::UpdateConfigRequest { config_id: config.value.id, config_version: version, spec: Some(spec) };
            Some((request.into(), number, index(version)))
        }
        _ => None,
    }
}

fn changed_service(
    response: m::GetServiceResponse,
    change: Change,
    dice: &mut Dice,
) -> Option<(ControlRequest, u64, u64)> {
    let service = response.service?.value;
    let version = service.meta.as_ref().and_then(|meta| meta.version);
    let quoted = version.map_or(0, |version| version.index);
    let spec = service.spec?;
    let (spec, value, rollback) = match change {
        Change::Update { number } => (Verbatim::new(specs::changed(dice, &spec, number)), number, Rollback::None),
        Change::RunAgain { number } => (Verbatim::new(specs::again(&spec, number)?), number, Rollback::None),
        Change::RollBack => {
            let before = service.previous_spec.as_ref().and_then(|spec| specs::value_of(spec.annotations.as_ref()));
            (spec, before?, Rollback::Previous)
        }
    };
    let mut request = m::UpdateServiceRequest {
        service_id: service.id,
        service_version: Some(types::Version { index: quoted }),
        spec: Some(spec),
        ..Default::default()
    };
    request.set_rollback(rollback);
    Some((request.into(), value, quoted))
}

fn secret_named<'a>(response: &'a m::ListSecretsResponse, name: &str) -> Option<&'a Kept<objects::Secret>> {
    let annotations = |secret: &'a Kept<objects::Secret>| secret.value.spec.as_ref()?.annotations.as_ref();
    response.secrets.iter().find(|secret| annotations(secret).is_some_and(|found| found.name == name))
}

fn config_named<'a>(response: &'a m::ListConfigsResponse, name: &str) -> Option<&'a Kept<objects::Config>> {
    let annotations = |config: &'a Kept<objects::Config>| config.value.spec.as_ref()?.annotations.as_ref();
    response.configs.iter().find(|config| annotations(config).is_some_and(|found| found.name == name))
}

/// What a read shows of the object of this name, and the object's id; `None` when there is no such object.
pub(super) fn seen(response: &ControlResponse, name: &str, put_back: &PutBack) -> Option<(String, Seen)> {
    let version = |meta: Option<&Meta>| meta.and_then(|meta| meta.version).map_or(0, |version| version.index);
    let (id, annotations, version) = match response {
        ControlResponse::GetService(response) => {
            let service = &response.service.as_ref()?.value;
            let annotations = service.spec.as_ref().and_then(|spec| spec.annotations.as_ref());
            (&service.id, annotations, version(service.meta.as_ref()))
        }
        ControlResponse::ListSecrets(response) => {
            let secret = &secret_named(response, name)?.value;
            let annotations = secret.spec.as_ref().and_then(|spec| spec.annotations.as_ref());
            (&secret.id, annotations, version(secret.meta.as_ref()))
        }
        ControlResponse::ListConfigs(response) => {
            let config = &config_named(response, name)?.value;
            let annotations = config.spec.as_ref().and_then(|spec| spec.annotations.as_ref());
            (&config.id, annotations, version(config.meta.as_ref()))
        }
        ControlResponse::GetNetwork(response) => {
            let network = &response.network.as_ref()?.value;
            let annotations = network.spec.as_ref().and_then(|spec| spec.annotations.as_ref());
            (&network.id, annotations, version(network.meta.as_ref()))
        }
        _ => return None,
    };
    let value = specs::value_of(annotations);
    Some((id.clone(), Seen { value, version, rolled_back: put_back.did(id, value, version) }))
}

pub(super) fn created_id(response: &ControlResponse) -> String {
    let id = match response {
        ControlResponse::CreateService(response) => response.service.as_ref().map(|made| made.value.id.clone()),
        ControlResponse::CreateSecret(response) => response.secret.as_ref().map(|made| made.value.id.clone()),
        ControlResponse::CreateConfig(response) => response.config.as_ref().map(|made| made.value.id.clone()),
        ControlResponse::CreateNetwork(response) => response.network.as_ref().map(|made| made.value.id.clone()),
        _ => None,
    };
    id.unwrap_or_default()
}

/// New data make a version of another id.
pub(super) fn updated_id(response: &ControlResponse) -> Option<String> {
    match response {
        ControlResponse::UpdateSecret(response) => response.secret.as_ref().map(|secret| secret.value.id.clone()),
        ControlResponse::UpdateConfig(response) => response.config.as_ref().map(|config| config.value.id.clone()),
        _ => None,
    }
}
