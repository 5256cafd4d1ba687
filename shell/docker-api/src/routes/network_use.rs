//! Which networks of the swarm services name, and the removal of those that none does.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::{Value, json};
use skep_model::pb::messages as m;
use skep_model::pb::objects as pb;
use skep_model::{Code, Refusal};

use super::moment;
use crate::api::Api;
use crate::control::call;
use crate::convert;
use crate::filters::Filters;
use crate::reply::{self, Answer};
use crate::request::Request;
use crate::status::Failure;

/// Ids of the networks that services name.
pub(crate) async fn named(api: &Api) -> Result<BTreeSet<String>, Failure> {
    let (response, _) = api.read(m::ListServicesRequest::default()).await?;
    let of_service = |service: &pb::Service| -> Vec<String> {
        let Some(spec) = service.spec.as_deref() else { return Vec::new() };
        let of_tasks = spec.task.iter().flat_map(|task| &task.networks);
        of_tasks.chain(&spec.networks).map(|config| config.target.clone()).collect()
    };
    Ok(response.services.iter().flat_map(|service| of_service(&service.value)).collect())
}

/// `POST /networks/prune`: the node's own networks all stay; of the swarm's, those go that nothing uses.
pub(crate) async fn prune(api: &Api, request: Request) -> Answer {
    let filters = Filters::parse(&request.query, &["until", "label", "label!"])?;
    let until = filters.get("until").first().map(|text| moment(text)).transpose()?;
    let mut removed = Vec::new();
    if api.manager().is_ok() {
        let used = named(api).await?;
        let (response, _) = api.read(m::ListNetworksRequest::default()).await?;
        for network in response.networks.iter().map(|network| &network.value) {
            let kept = convert::network::is_ingress(network) || convert::network::is_stand_in(network);
            if kept || used.contains(&network.id) || !admits(&filters, until, network) {
                continue;
            }
            let remove = m::RemoveNetworkRequest { network_id: network.id.clone(), name: String::new() };
            match call(&*api.control, remove).await {
                Ok(_) => removed.push(convert::network::name(network).to_owned()),
                // Used by a task, or gone in the meantime.
                Err(Refusal { code: Code::FailedPrecondition | Code::NotFound, .. }) => {}
                Err(refusal) => return Err(Failure::of_write(refusal)),
            }
        }
    }
    let removed = if removed.is_empty() { Value::Null } else { Value::from(removed) };
    reply::json(StatusCode::OK, &json!({ "NetworksDeleted": removed }))
}

fn admits(filters: &Filters, until: Option<skep_model::WallTime>, network: &pb::Network) -> bool {
    let labels = network.spec.as_deref().and_then(|spec| spec.annotations.as_ref());
    let labels = labels.map(|annotations| annotations.labels.clone()).unwrap_or_default();
    let created = network.meta.as_ref().and_then(|meta| meta.created_at.as_ref()).map(skep_model::WallTime::from);
    filters.admits_labels("label", &labels)
        && (!filters.has("label!") || !filters.admits_labels("label!", &labels))
        && until.is_none_or(|until| created.is_some_and(|created| created.0 < until.0))
}
