//! Networks: what users may create and remove. Addresses are the allocator's business.

use core::net::IpAddr;

use skep_model::pb::messages as m;
use skep_model::pb::types::{Driver, IpamConfig, IpamOptions, NetworkSpec};
use skep_model::{Code, Kept, Meta, Network, NetworkId, Refusal};

use super::context::CommandContext;
use super::lookup::{common_filters, invalid_argument, required, written};
use super::ports::needs_ingress;
use super::references::{check_network_unused, is_ingress};
use super::validate;
use crate::read::{Find, Read};
use crate::tx::Tx;

/// Marks the networks that every engine has, such as `host`.
const PREDEFINED_LABEL: &str = "com.docker.swarm.predefined";
/// Option of an overlay's driver: its VXLAN numbers.
const NUMBERS_OPTION: &str = "com.docker.network.driver.overlay.vxlanid_list";
/// A VXLAN number has 24 bits.
const VXLAN_NUMBER_MAX: u32 = (1 << 24) - 1;
/// Drivers that need no plugin.
const BUILT_IN_DRIVERS: [&str; 6] = ["overlay", "bridge", "host", "ipvlan", "macvlan", "null"];

pub(super) fn get(facts: &impl Find, request: m::GetNetworkRequest) -> Result<m::GetNetworkResponse, Refusal> {
    let network = required::<Network>(facts, &request.network_id)?;
    Ok(m::GetNetworkResponse { network: Some(Kept::from(&*network)) })
}

pub(super) fn list(facts: &impl Find, request: m::ListNetworksRequest) -> m::ListNetworksResponse {
    let networks = common_filters!(request.filters).all(facts, |network: &Network| network.spec.annotations.as_ref());
    m::ListNetworksResponse { networks: networks.iter().map(|network| Kept::from(&**network)).collect() }
}

pub(super) fn create(
    tx: &mut Tx,
    context: &mut CommandContext,
    request: m::CreateNetworkRequest,
) -> Result<m::CreateNetworkResponse, Refusal> {
    let spec = request.spec.ok_or_else(invalid_argument)?;
    validate_spec(&spec)?;
    if let Some(present) = tx.networks().iter().find(|network| spec.ingress && is_ingress(network)) {
        let message = format!("ingress network ({}) is already present", present.id);
        return Err(Refusal::new(Code::AlreadyExists, message));
    }
    let network = Network {
        id: NetworkId::random(context.rng),
        meta: Meta::default(),
        spec,
        driver_state: None,
        ipam: None,
        pending_delete: false,
        extra: None,
        unknown: Default::default(),
    };
    if tx.named::<Network>(network.name()).is_some() {
        return Err(Refusal::new(Code::AlreadyExists, format!("network with name {} already exists", network.name())));
    }
    let id = network.id.clone();
    tx.create(network)?;
    Ok(m::CreateNetworkResponse { network: Some(Kept::from(&*written::<Network>(tx, &id)?)) })
}

pub(super) fn remove(tx: &mut Tx, request: m::RemoveNetworkRequest) -> Result<m::RemoveNetworkResponse, Refusal> {
    let network = required::<Network>(tx, &request.network_id)?;
    let annotations = network.spec.annotations.as_ref();
    if annotations.and_then(|annotations| annotations.labels.get(PREDEFINED_LABEL)).is_some_and(|value| value == "true")
    {
        return Err(Refusal::new(
            Code::FailedPrecondition,
            format!("network {} ({}) is a swarm predefined network and cannot be removed", network.id, network.name()),
        ));
    }
    if is_ingress(&network) {
        check_ingress_unused(tx)?;
    } else {
        check_network_unused(tx, &network)?;
    }
    tx.remove::<Network>(&network.id)?;
    Ok(m::RemoveNetworkResponse {})
}

fn check_ingress_unused(tx: &Tx) -> Result<(), Refusal> {
    match tx.services().iter().find(|service| needs_ingress(&service.spec)) {
        Some(service) => Err(Refusal::new(
            Code::FailedPrecondition,
            format!("ingress network cannot be removed because service {} depends on it", service.id),
        )),
        None => Ok(()),
    }
}

fn validate_spec(spec: &NetworkSpec) -> Result<(), Refusal> {
    if spec.attachable && spec.ingress {
        return Err(Refusal::invalid("ingress network cannot be attachable"));
    }
    validate::annotations(spec.annotations.as_ref())?;
    if spec.annotations.iter().any(|annotations| annotations.labels.contains_key(PREDEFINED_LABEL)) {
        return Err(Refusal::new(
            Code::PermissionDenied,
            format!(
                "label {PREDEFINED_LABEL} is for internally created predefined networks and cannot be applied by users"
            ),
        ));
    }
    if spec.ingress && spec.driver_config.as_ref().is_some_and(|driver| driver.name != "overlay") {
        let message = "only overlay driver is currently supported for ingress network";
        return Err(Refusal::new(Code::Unimplemented, message));
    }
    validate_driver(spec.driver_config.as_ref(), &BUILT_IN_DRIVERS)?;
    spec.driver_config.as_ref().map_or(Ok(()), validate_numbers)?;
    spec.ipam.as_ref().map_or(Ok(()), validate_ipam)
}

fn validate_driver(driver: Option<&Driver>, known: &[&str]) -> Result<(), Refusal> {
    match driver {
        None => Ok(()),
        Some(driver) if driver.name.is_empty() => {
            Err(Refusal::invalid("driver name: if driver is specified name is required"))
        }
        Some(driver) if known.contains(&driver.name.as_str()) => Ok(()),
        Some(driver) => Err(Refusal::invalid(format!("plugin {} not supported", driver.name))),
    }
}

/// VXLAN numbers of the user's own. One that is none would leave the network without an allocation for ever.
fn validate_numbers(driver: &Driver) -> Result<(), Refusal> {
    let Some(list) = driver.options.get(NUMBERS_OPTION) else { return Ok(()) };
    let is_number = |text: &str| text.parse::<u32>().is_ok_and(|number| number <= VXLAN_NUMBER_MAX);
    if list.split(',').map(str::trim).all(|text| text.is_empty() || is_number(text)) {
        return Ok(());
    }
    Err(Refusal::invalid(format!("option {NUMBERS_OPTION}: {list:?} is no list of numbers up to {VXLAN_NUMBER_MAX}")))
}

fn validate_ipam(ipam: &IpamOptions) -> Result<(), Refusal> {
    let driver = ipam.driver.as_ref().map(|driver| Driver { name: driver.name.to_lowercase(), ..driver.clone() });
    validate_driver(driver.as_ref(), &["default"])?;
    ipam.configs.iter().try_for_each(validate_pool)
}

fn validate_pool(config: &IpamConfig) -> Result<(), Refusal> {
    let invalid = |what: &str, text: &str| Refusal::invalid(format!("ipam configuration: invalid {what} {text}"));
    let outside = |what: &str, text: &str| {
        Refusal::invalid(format!("ipam configuration: subnet {} does not contain {what} {text}", config.subnet))
    };
    let subnet = cidr(&config.subnet).ok_or_else(|| invalid("subnet", &config.subnet))?;
    let longest = if subnet.0.is_ipv4() { 30 } else { 126 };
    if subnet.1 > longest {
        let text = format!("ipam configuration: subnet {} has no room: use /{longest} or a larger one", config.subnet);
        return Err(Refusal::invalid(text));
    }
    if !config.range.is_empty() {
        let (address, _) = cidr(&config.range).ok_or_else(|| invalid("range", &config.range))?;
        if !contains(subnet, address) {
            return Err(outside("range", &config.range));
        }
    }
    if !config.gateway.is_empty() {
        let address = config.gateway.parse().map_err(|_| invalid("gateway", &config.gateway))?;
        if !contains(subnet, address) {
            return Err(outside("gateway", &config.gateway));
        }
        if is_nobodys(subnet, address) {
            let text = format!("ipam configuration: gateway {} is nobody's in {}", config.gateway, config.subnet);
            return Err(Refusal::invalid(text));
        }
    }
    Ok(())
}

fn cidr(text: &str) -> Option<(IpAddr, u32)> {
    let (address, length) = text.split_once('/')?;
    let (address, length): (IpAddr, u32) = (address.parse().ok()?, length.parse().ok()?);
    (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
}

/// The subnet's own address, and its broadcast address where there is one.
fn is_nobodys((_, length): (IpAddr, u32), address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shr(length).unwrap_or(0);
            [0, mask].contains(&(address.to_bits() & mask))
        }
        IpAddr::V6(address) => address.to_bits() & u128::MAX.checked_shr(length).unwrap_or(0) == 0,
    }
}

fn contains((network, length): (IpAddr, u32), address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            (network.to_bits() ^ address.to_bits()).checked_shr(32 - length).unwrap_or(0) == 0
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            (network.to_bits() ^ address.to_bits()).checked_shr(128 - length).unwrap_or(0) == 0
        }
        _ => false,
    }
}
