//! `/networks`: those of the swarm, and what the runtime has on this node.

use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use serde_json::json;
use skep_model::Verbatim;
use skep_model::pb::messages as m;

use super::network_use;
use crate::api::Api;
use crate::engine::LocalNetwork;
use crate::filters::Filters;
use crate::json::{ConfigFrom, Ipam, IpamConfig, Network, NetworkCreate, Stamp};
use crate::reply::{self, Answer};
use crate::request::Request;
use crate::status::Failure;
use crate::{convert, lookup};

/// Names that every engine keeps for itself.
const PREDEFINED: [&str; 4] = ["bridge", "host", "none", "default"];

/// What `/networks` can be filtered by.
const FILTERS: [&str; 7] = ["driver", "id", "label", "name", "scope", "type", "dangling"];

fn local_out(network: &LocalNetwork) -> Network<'_> {
    let config = (!network.subnet.is_empty()).then(|| IpamConfig {
        subnet: convert::text(&network.subnet),
        gateway: convert::text(&network.gateway),
        ..Default::default()
    });
    Network {
        name: convert::text(&network.name),
        id: convert::text(&network.id),
        created: Stamp(Some(network.created_at)),
        scope: convert::text("local"),
        driver: convert::text(&network.driver),
        ipv4: true,
        ipam: Ipam { driver: convert::text("default"), options: None, config: Some(config.into_iter().collect()) },
        config_from: ConfigFrom::default(),
        containers: Some(BTreeMap::new()),
        options: Some(Default::default()),
        labels: Some(Default::default()),
        ..Default::default()
    }
}

fn check(filters: &Filters) -> Result<(), Failure> {
    if let Some(word) = filters.get("type").iter().find(|word| *word != "custom" && *word != "builtin") {
        return Err(Failure::bad_request(format!("invalid filter: 'type'='{word}'")));
    }
    if filters.get("dangling").iter().any(|word| truth(word).is_none()) || filters.get("dangling").len() > 1 {
        return Err(Failure::bad_request(
            "invalid value for filter 'dangling', must be \"true\" (or \"1\"), or \"false\" (or \"0\")",
        ));
    }
    Ok(())
}

fn truth(word: &str) -> Option<bool> {
    match word {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// Whether the filters let a network through; `used` are the ids of those that services name.
fn admits(filters: &Filters, network: &Network<'_>, used: &BTreeSet<String>) -> bool {
    let builtin = PREDEFINED.contains(&network.name.as_ref()) || network.ingress;
    let kind = if builtin { "builtin" } else { "custom" };
    let part =
        |key: &str, value: &str| !filters.has(key) || filters.get(key).iter().any(|wanted| value.contains(wanted));
    let start =
        |key: &str, value: &str| !filters.has(key) || filters.get(key).iter().any(|wanted| value.starts_with(wanted));
    let none = BTreeMap::new();
    let labels = network.labels.as_deref().unwrap_or(&none);
    let dangling = !builtin && !used.contains(network.id.as_ref());
    part("name", &network.name)
        && start("id", &network.id)
        && filters.admits("driver", &network.driver)
        && filters.admits("scope", &network.scope)
        && filters.admits("type", kind)
        && filters.admits_labels("label", labels)
        && filters.get("dangling").iter().all(|word| truth(word) == Some(dangling))
}

pub(crate) async fn list(api: &Api, request: Request) -> Answer {
    let filters = Filters::parse(&request.query, &FILTERS)?;
    check(&filters)?;
    let mut stale = false;
    // Not a manager, or no answer: the local ones alone, as Docker.
    let swarm = match api.manager() {
        Ok(()) => match api.read(m::ListNetworksRequest::default()).await {
            Ok((response, is_stale)) => {
                stale = is_stale;
                response.networks
            }
            Err(refusal) => {
                tracing::warn!(error = %refusal, "the swarm's networks are left out of the list");
                Vec::new()
            }
        },
        Err(_) => Vec::new(),
    };
    let local = api.engine.networks().await?;
    let used =
        if filters.has("dangling") && !swarm.is_empty() { network_use::named(api).await? } else { BTreeSet::new() };
    // The swarm's stand-ins for networks of each node are those nodes' own affair.
    let swarm = swarm.iter().filter(|network| !convert::network::is_stand_in(&network.value));
    let swarm = swarm.map(|network| convert::network::out(&network.value));
    let list: Vec<_> =
        swarm.chain(local.iter().map(local_out)).filter(|network| admits(&filters, network, &used)).collect();
    Ok(reply::stale(reply::json(StatusCode::OK, &list)?, stale))
}

pub(crate) async fn inspect(api: &Api, request: Request, term: &str) -> Answer {
    let scope = request.query.get("scope");
    // What it would add, tasks and peers by network, is not known here.
    request.query.strict_flag("verbose")?;
    if !matches!(scope, "" | "local" | "swarm" | "global") {
        return Err(Failure::not_found(format!("network {term} not found")));
    }
    let local = api.engine.networks().await?;
    let mut exact = local.iter().filter(|network| network.id == term || network.name == term);
    if let Some(network) = exact.next().filter(|_| matches!(scope, "" | "local")) {
        return reply::ok(&local_out(network));
    }
    if matches!(scope, "" | "swarm") && api.manager().is_ok() {
        match lookup::network(api, term).await {
            Ok((network, stale)) => {
                return Ok(reply::stale(reply::ok(&convert::network::out(&network.value))?, stale));
            }
            Err(failure) if failure.status == StatusCode::NOT_FOUND => {}
            Err(failure) => return Err(failure),
        }
    }
    let mut prefixed = local.iter().filter(|network| matches!(scope, "" | "local") && network.id.starts_with(term));
    match (prefixed.next(), prefixed.next()) {
        (Some(network), None) => reply::ok(&local_out(network)),
        (Some(_), Some(_)) => Err(Failure::bad_request(format!("network {term} is ambiguous"))),
        (None, _) => Err(Failure::not_found(format!("network {term} not found"))),
    }
}

pub(crate) async fn create(api: &Api, mut request: Request) -> Answer {
    let create: NetworkCreate = request.json().await?;
    let name = create.name.clone().into_owned();
    if PREDEFINED.contains(&name.as_str()) {
        let text = format!("{name} is a pre-defined network and cannot be created");
        return Err(Failure::new(StatusCode::FORBIDDEN, text));
    }
    if create.config_only || create.config_from.as_ref().is_some_and(|from| !from.network.is_empty()) {
        return Err(Failure::not_implemented(
            "ConfigOnly and ConfigFrom are not supported: give the network its settings directly",
        ));
    }
    if create.driver == "overlay" && create.scope == "local" {
        return Err(Failure::new(StatusCode::FORBIDDEN, "cannot downgrade network scope for overlay networks"));
    }
    let swarm_wide = create.driver == "overlay" || create.scope == "swarm" || create.ingress;
    if !swarm_wide {
        return Err(Failure::not_implemented(format!(
            "Driver {:?}: networks of one node are not supported; use \"overlay\" for one that spans the swarm",
            create.driver
        )));
    }
    api.manager()?;
    let filters = m::list_networks_request::Filters { names: vec![name.clone()], ..Default::default() };
    let (found, _) = api.read(m::ListNetworksRequest { filters: Some(filters), appdata: None }).await?;
    if !found.networks.is_empty() {
        return Err(Failure::new(StatusCode::CONFLICT, format!("network with name {name} already exists")));
    }
    let spec = Verbatim::new(convert::network::create_in(create)?);
    let created = api.write(m::CreateNetworkRequest { spec: Some(spec) }).await?;
    let id = created.network.map(|network| network.value.id).unwrap_or_default();
    reply::json(StatusCode::CREATED, &json!({ "Id": id, "Warning": "" }))
}

pub(crate) async fn remove(api: &Api, term: &str) -> Answer {
    let local = api.engine.networks().await?;
    if let Some(network) = local.iter().find(|network| network.id == term || network.name == term) {
        let text = format!("{} is a pre-defined network and cannot be removed", network.name);
        return Err(Failure::new(StatusCode::FORBIDDEN, text));
    }
    if api.manager().is_err() {
        return Err(Failure::not_found(format!("network {term} not found")));
    }
    let (network, _) = lookup::network(api, term).await?;
    api.write(m::RemoveNetworkRequest { network_id: network.value.id, name: String::new() }).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// A network that a service names.
pub(crate) struct ServiceNetwork {
    pub(crate) id: String,
    /// What a user should know who relies on it.
    pub(crate) warning: Option<String>,
}

/// The network that a service names; a network of this node alone is refused in Docker's words.
pub(crate) async fn for_service(api: &Api, target: &str) -> Result<ServiceNetwork, Failure> {
    match lookup::network(api, target).await {
        Ok((network, _)) => {
            let network = network.value;
            let spec = network.spec.as_deref();
            let name = spec.and_then(|spec| spec.annotations.as_ref()).map_or("", |annotations| &annotations.name);
            let driver = spec.and_then(|spec| spec.driver_config.as_ref()).map_or("overlay", |driver| &driver.name);
            let warning = (driver == "overlay").then(|| {
                format!(
                    "network {name}: addresses are allocated and kept, but nothing carries overlay networks yet: until \
                     then tasks get the bridge of their node, and do not reach tasks on other nodes or find them by name"
                )
            });
            Ok(ServiceNetwork { id: network.id, warning })
        }
        Err(failure) if failure.status == StatusCode::NOT_FOUND => {
            let local = api.engine.networks().await?;
            let Some(network) = local.iter().find(|network| network.name == target || network.id == target) else {
                return Err(failure);
            };
            if PREDEFINED.contains(&network.name.as_str()) {
                let text = format!("could not find the corresponding predefined swarm network: {}", failure.message);
                return Err(Failure::new(failure.status, text));
            }
            let text = format!(
                "The network {} cannot be used with services. Only networks scoped to the swarm can be used, such as \
                 those created with the overlay driver.",
                network.name
            );
            Err(Failure::new(StatusCode::FORBIDDEN, text))
        }
        Err(failure) => Err(failure),
    }
}
