//! `/services`.

use std::collections::HashMap;

use http::StatusCode;
use serde_json::json;
use skep_model::pb::messages as m;
use skep_model::pb::objects as pb;
use skep_model::pb::types::{self, container_spec, service_spec::Mode, task_spec};
use skep_model::{Code, Refusal, Verbatim};

use super::service_version::adjust;
use crate::api::Api;
use crate::json::{ServiceSpec, ServiceStatus};
use crate::reply::{self, Answer};
use crate::request::Request;
use crate::status::Failure;
use crate::version::ApiVersion;
use crate::{auth, convert, filters, lookup};

/// Clients before this leave it to the daemon to ask the registry for an image's digest.
const CLIENT_RESOLVES_DIGEST: ApiVersion = ApiVersion(30);

/// Random digits in the name of a service that was given none.
const RANDOM_NAME_DIGITS: usize = 10;

pub(crate) async fn list(api: &Api, request: Request) -> Answer {
    api.manager()?;
    let (wire, filters) = filters::services(&request.query)?;
    let with_status = request.version.0 >= 41 && request.query.strict_flag("status")?;
    let (response, stale) = api.read(m::ListServicesRequest { filters: Some(wire) }).await?;
    let mut services = response.services;
    services.retain(|service| filters.admits("mode", mode_word(&service.value)));
    let mut statuses = HashMap::new();
    if with_status && !services.is_empty() {
        let ids = services.iter().map(|service| service.value.id.clone()).collect();
        let (response, _) = api.read(m::ListServiceStatusesRequest { services: ids }).await?;
        statuses.extend(response.statuses.into_iter().map(|status| {
            let shape = ServiceStatus {
                running_tasks: status.running_tasks,
                desired_tasks: status.desired_tasks,
                completed_tasks: status.completed_tasks,
            };
            (status.service_id, shape)
        }));
    }
    let json = api.services.list(services, &statuses)?;
    Ok(reply::stale(reply::json_bytes(StatusCode::OK, json), stale))
}

fn mode_word(service: &pb::Service) -> &'static str {
    match service.spec.as_deref().and_then(|spec| spec.mode.as_ref()) {
        Some(Mode::Global(_)) => "global",
        Some(Mode::ReplicatedJob(_)) => "replicated-job",
        Some(Mode::GlobalJob(_)) => "global-job",
        Some(Mode::Replicated(_)) | None => "replicated",
    }
}

pub(crate) async fn inspect(api: &Api, request: Request, id: &str) -> Answer {
    api.manager()?;
    let insert_defaults = request.query.strict_flag("insertDefaults")?;
    let (mut service, mut stale) = lookup::service(api, id).await?;
    if insert_defaults {
        let wanted = m::GetServiceRequest { service_id: service.value.id.clone(), insert_defaults };
        let (response, again) = api.read(wanted).await?;
        service = response.service.ok_or_else(|| Failure::not_found(format!("service {id} not found")))?;
        stale |= again;
    }
    Ok(reply::stale(reply::ok(&convert::service::out(&service.value, None))?, stale))
}

pub(crate) async fn create(api: &Api, mut request: Request) -> Answer {
    api.manager()?;
    let spec: ServiceSpec = request.json().await?;
    let (mut spec, mut warnings) = prepare(api, &request, spec, None).await?;
    warnings.extend(skep_model::warnings::mesh(&spec, None));
    let annotations = spec.annotations.get_or_insert_default();
    if annotations.name.is_empty() {
        annotations.name = random_name();
    }
    let created = api.write(m::CreateServiceRequest { spec: Some(Verbatim::new(spec)) }).await?;
    let id = created.service.map(|service| service.value.id).unwrap_or_default();
    reply::json(StatusCode::CREATED, &json!({ "ID": id, "Warnings": shown(warnings) }))
}

/// As newer engines send them: null where there are none.
fn shown(warnings: Vec<String>) -> Option<Vec<String>> {
    (!warnings.is_empty()).then_some(warnings)
}

pub(crate) async fn update(api: &Api, mut request: Request, id: &str) -> Answer {
    api.manager()?;
    let spec: ServiceSpec = request.json().await?;
    let version = request.query.version("service")?;
    let rollback = match request.query.get("rollback") {
        "" | "none" => m::update_service_request::Rollback::None,
        "previous" => m::update_service_request::Rollback::Previous,
        // Docker answers 500.
        other => return Err(Refusal::new(Code::Unknown, format!("unrecognized rollback option {other}")).into()),
    };
    let (current, _) = lookup::service(api, id).await?;
    let (spec, mut warnings) = prepare(api, &request, spec, Some(&current.value)).await?;
    let wanted = match rollback {
        m::update_service_request::Rollback::Previous => current.value.previous_spec.as_deref(),
        m::update_service_request::Rollback::None => Some(&spec),
    };
    let before = current.value.spec.as_ref().and_then(|spec| spec.endpoint.as_ref());
    warnings.extend(wanted.and_then(|wanted| skep_model::warnings::mesh(wanted, before)));
    let update = m::UpdateServiceRequest {
        service_id: current.value.id.clone(),
        service_version: Some(types::Version { index: version }),
        spec: Some(Verbatim::new(spec)),
        rollback: rollback.into(),
    };
    api.write(update).await?;
    reply::ok(&json!({ "Warnings": shown(warnings) }))
}

pub(crate) async fn remove(api: &Api, id: &str) -> Answer {
    api.manager()?;
    let (service, _) = lookup::service(api, id).await?;
    api.write(m::RemoveServiceRequest { service_id: service.value.id }).await?;
    Ok(reply::empty(StatusCode::OK))
}

/// From what the client sent to what is stored: version, networks by id, credentials, digest.
async fn prepare(
    api: &Api,
    request: &Request,
    mut spec: ServiceSpec<'_>,
    current: Option<&pb::Service>,
) -> Result<(types::ServiceSpec, Vec<String>), Failure> {
    adjust(&mut spec, request.version);
    let mut warnings = Vec::new();
    for config in &mut spec.task_template.networks {
        let network = super::networks::for_service(api, &config.target).await?;
        warnings.extend(network.warning);
        config.target = network.id.into();
    }
    let mut spec = convert::service::spec_in(spec)?;
    warnings.extend(skep_model::warnings::monitor(&spec));
    let credentials = match (request.header(auth::HEADER), current) {
        ("", Some(current)) => kept_credentials(request.query.get("registryAuthFrom"), current)?,
        ("", None) => None,
        (header, _) => Some(container_spec::PullOptions { registry_auth: header.to_owned() }),
    };
    if let Some(container) = container_of(&mut spec) {
        container.pull_options = credentials;
        if request.version < CLIENT_RESOLVES_DIGEST {
            warnings.extend(pin(api, container).await);
        }
    }
    Ok((spec, warnings))
}

fn container_of(spec: &mut types::ServiceSpec) -> Option<&mut types::ContainerSpec> {
    match spec.task.as_mut()?.runtime.as_mut()? {
        task_spec::Runtime::Container(container) => Some(container),
        _ => None,
    }
}

/// An update without credentials keeps those of the current or the previous spec.
fn kept_credentials(from: &str, current: &pb::Service) -> Result<Option<container_spec::PullOptions>, Failure> {
    let spec = match from {
        "" | "spec" => current.spec.as_ref(),
        "previous-spec" => Some(
            current
                .previous_spec
                .as_ref()
                .ok_or_else(|| Refusal::new(Code::Unknown, "service does not have a previous spec"))?,
        ),
        _ => return Err(Refusal::new(Code::Unknown, "unsupported registryAuthFrom value").into()),
    };
    let runtime = spec.and_then(|spec| spec.task.as_ref()).and_then(|task| task.runtime.as_ref());
    match runtime {
        Some(task_spec::Runtime::Container(container)) => Ok(container.pull_options.clone()),
        _ => Err(Refusal::new(Code::Unknown, "service does not use container tasks").into()),
    }
}

/// Names the image by digest, as the registry says; a warning if it does not answer.
async fn pin(api: &Api, container: &mut types::ContainerSpec) -> Option<String> {
    if container.image.contains('@') {
        return None;
    }
    let header = container.pull_options.as_ref().map_or("", |options| &options.registry_auth);
    let credentials = auth::parse(header).ok().flatten();
    match api.engine.distribution(&container.image, credentials).await {
        Ok(found) => {
            let tagged = container.image.rsplit('/').next().is_some_and(|name| name.contains(':'));
            let tag = if tagged { "" } else { ":latest" };
            container.image = format!("{}{tag}@{}", container.image, found.digest);
            None
        }
        Err(refusal) => {
            tracing::warn!(image = container.image, error = %refusal, "the image could not be pinned to a digest");
            let image = &container.image;
            Some(format!(
                "image {image} could not be accessed on a registry to record\nits digest. Each node will access \
                 {image} independently,\npossibly leading to different nodes running different\nversions of the \
                 image.\n"
            ))
        }
    }
}

/// A name for a service that was given none.
fn random_name() -> String {
    let id = skep_model::ids::random_id(&mut rand_core::UnwrapErr(rand_core::OsRng));
    format!("service-{}", &id[..RANDOM_NAME_DIGITS])
}
