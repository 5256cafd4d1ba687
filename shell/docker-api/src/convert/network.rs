//! Networks of the swarm.

use std::borrow::Cow;
use std::net::IpAddr;

use skep_model::Refusal;
use skep_model::pb::objects as pb;
use skep_model::pb::types::{self, network_spec};

use super::pool::check_pools;
use super::{annotations, driver, map, meta, nil_map, text};
use crate::json;

/// Marks the ingress network of very old swarms.
const LEGACY_INGRESS_LABEL: &str = "com.docker.swarm.internal";

/// Marks the swarm's stand-ins for networks of each node.
const STAND_IN_LABEL: &str = "com.docker.swarm.predefined";

/// As tasks carry it.
pub(crate) fn swarm_out(network: &pb::Network) -> json::SwarmNetwork<'_> {
    let (version, created_at, updated_at) = meta(network.meta.as_ref());
    let spec = network.spec.as_deref();
    let (name, labels) = annotations(spec.and_then(|spec| spec.annotations.as_ref()));
    json::SwarmNetwork {
        id: text(&network.id),
        version,
        created_at,
        updated_at,
        spec: json::SwarmNetworkSpec {
            name,
            labels,
            driver: spec.and_then(|spec| spec.driver_config.as_ref()).map(driver),
            ipv6: spec.is_some_and(|spec| spec.ipv6_enabled),
            internal: spec.is_some_and(|spec| spec.internal),
            attachable: spec.is_some_and(|spec| spec.attachable),
            ingress: is_ingress(network),
            ipam: spec.and_then(|spec| spec.ipam.as_ref()).map(swarm_ipam),
            config_from: config_from(network).map(|name| json::ConfigFrom { network: text(name) }),
            scope: text("swarm"),
        },
        driver_state: network.driver_state.as_ref().map(driver).unwrap_or_default(),
        ipam: network.ipam.as_ref().map(swarm_ipam),
    }
}

fn swarm_ipam(ipam: &types::IpamOptions) -> json::SwarmIpam<'_> {
    json::SwarmIpam {
        driver: ipam.driver.as_ref().map(driver).unwrap_or_default(),
        configs: ipam
            .configs
            .iter()
            .map(|config| json::SwarmIpamConfig {
                subnet: prefix(&config.subnet),
                range: prefix(&config.range),
                gateway: address(&config.gateway),
            })
            .collect(),
    }
}

/// As `/networks` lists it.
pub(crate) fn out(network: &pb::Network) -> json::Network<'_> {
    let (_, created, _) = meta(network.meta.as_ref());
    let spec = network.spec.as_deref();
    let labels = spec.and_then(|spec| spec.annotations.as_ref()).map(|annotations| &annotations.labels);
    json::Network {
        name: text(name(network)),
        id: text(&network.id),
        created,
        scope: text("swarm"),
        driver: network.driver_state.as_ref().map(|driver| text(&driver.name)).unwrap_or_default(),
        ipv4: true,
        ipv6: spec.is_some_and(|spec| spec.ipv6_enabled),
        ipam: network.ipam.as_ref().map(ipam_out).unwrap_or_default(),
        internal: spec.is_some_and(|spec| spec.internal),
        attachable: spec.is_some_and(|spec| spec.attachable),
        ingress: is_ingress(network),
        config_from: json::ConfigFrom { network: config_from(network).map(text).unwrap_or_default() },
        config_only: false,
        containers: None,
        options: network.driver_state.as_ref().and_then(|driver| nil_map(&driver.options)),
        labels: labels.and_then(nil_map),
    }
}

fn ipam_out(ipam: &types::IpamOptions) -> json::Ipam<'_> {
    json::Ipam {
        driver: ipam.driver.as_ref().map(|driver| text(&driver.name)).unwrap_or_default(),
        options: ipam.driver.as_ref().and_then(|driver| nil_map(&driver.options)),
        config: Some(
            ipam.configs
                .iter()
                .map(|config| json::IpamConfig {
                    subnet: prefix(&config.subnet),
                    range: prefix(&config.range),
                    gateway: address(&config.gateway),
                    auxiliary: map(&config.reserved),
                })
                .collect(),
        ),
    }
}

/// The unique name.
pub(crate) fn name(network: &pb::Network) -> &str {
    network.spec.as_deref().and_then(|spec| spec.annotations.as_ref()).map_or("", |annotations| &annotations.name)
}

/// Whether it is the swarm's routing mesh.
pub(crate) fn is_ingress(network: &pb::Network) -> bool {
    let Some(spec) = network.spec.as_deref() else { return false };
    let legacy = spec.annotations.as_ref().is_some_and(|annotations| {
        annotations.name == "ingress" && annotations.labels.contains_key(LEGACY_INGRESS_LABEL)
    });
    spec.ingress || legacy
}

/// Whether it only stands for a network that every node has for itself, such as `host`.
pub(crate) fn is_stand_in(network: &pb::Network) -> bool {
    let annotations = network.spec.as_deref().and_then(|spec| spec.annotations.as_ref());
    annotations.is_some_and(|annotations| annotations.labels.get(STAND_IN_LABEL).is_some_and(|value| value == "true"))
}

fn config_from(network: &pb::Network) -> Option<&str> {
    match network.spec.as_deref()?.config_from.as_ref()? {
        network_spec::ConfigFrom::Network(name) => Some(name),
    }
}

/// A CIDR with host bits cleared; text that is none is not shown (clients would refuse the whole answer).
fn prefix(value: &str) -> json::Text<'_> {
    masked(value).map(Cow::Owned).unwrap_or_default()
}

/// An address, without its prefix length if one was stored.
fn address(value: &str) -> json::Text<'_> {
    let bare = value.split('/').next().unwrap_or_default();
    if bare.parse::<IpAddr>().is_ok() { text(bare) } else { json::Text::default() }
}

/// Clears the host bits of a CIDR.
fn masked(value: &str) -> Option<String> {
    let (address, length) = value.split_once('/')?;
    let length: u32 = length.parse().ok()?;
    match address.parse::<IpAddr>().ok()? {
        IpAddr::V4(address) if length <= 32 => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            Some(format!("{}/{length}", std::net::Ipv4Addr::from(u32::from(address) & mask)))
        }
        IpAddr::V6(address) if length <= 128 => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            Some(format!("{}/{length}", std::net::Ipv6Addr::from(u128::from(address) & mask)))
        }
        _ => None,
    }
}

/// `POST /networks/create`, inwards.
pub(crate) fn create_in(create: json::NetworkCreate<'_>) -> Result<types::NetworkSpec, Refusal> {
    Ok(types::NetworkSpec {
        annotations: Some(types::Annotations {
            name: create.name.into_owned(),
            labels: create.labels.into_owned(),
            indices: Vec::new(),
        }),
        driver_config: Some(types::Driver { name: create.driver.into_owned(), options: create.options.into_owned() }),
        ipv6_enabled: create.ipv6.unwrap_or(false),
        internal: create.internal,
        ipam: create.ipam.map(|ipam| ipam_in(ipam, create.ipv6.unwrap_or(false))).transpose()?,
        attachable: create.attachable,
        ingress: create.ingress,
        config_from: create
            .config_from
            .filter(|from| !from.network.is_empty())
            .map(|from| network_spec::ConfigFrom::Network(from.network.into_owned())),
    })
}

fn ipam_in(ipam: json::Ipam<'_>, ipv6: bool) -> Result<types::IpamOptions, Refusal> {
    check_pools(ipam.config.as_deref().unwrap_or_default(), ipv6)?;
    let name = if ipam.driver.is_empty() { "default".to_owned() } else { ipam.driver.into_owned() };
    let configs = ipam.config.unwrap_or_default().into_iter().map(|config| {
        Ok(types::IpamConfig {
            family: 0,
            subnet: prefix_in("Subnet", &config.subnet)?,
            range: prefix_in("IPRange", &config.range)?,
            gateway: address_in(&config.gateway)?,
            reserved: Default::default(),
        })
    });
    Ok(types::IpamOptions {
        driver: Some(types::Driver { name, options: ipam.options.unwrap_or_default().into_owned() }),
        configs: configs.collect::<Result<_, Refusal>>()?,
    })
}

fn prefix_in(field: &str, value: &str) -> Result<String, Refusal> {
    if value.is_empty() {
        return Ok(String::new());
    }
    masked(value).ok_or_else(|| Refusal::invalid(format!("IPAM.Config.{field}: {value:?} is not a CIDR")))
}

fn address_in(value: &str) -> Result<String, Refusal> {
    if value.is_empty() || value.parse::<IpAddr>().is_ok() {
        return Ok(value.to_owned());
    }
    Err(Refusal::invalid(format!("IPAM.Config.Gateway: {value:?} is not an address")))
}
