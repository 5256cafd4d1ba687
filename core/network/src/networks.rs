//! Subnets, gateways and VXLAN numbers of networks (interop §8).

use skep_model::pb::types::ipam_config::AddressFamily;
use skep_model::pb::types::{Driver, IpamConfig, IpamOptions};
use skep_model::{Cluster, Network};

use crate::book::{Book, Plan};
use crate::error::AllocateError;
use crate::pool::Pools;
use crate::prefix::{Family, Prefix, parse_address};
use crate::subnet::Subnet;

/// The driver of networks that name none.
const DEFAULT_DRIVER: &str = "overlay";
/// Drivers whose networks each node manages by itself.
const NODE_LOCAL_DRIVERS: [&str; 5] = ["bridge", "host", "ipvlan", "macvlan", "null"];
/// The only IPAM driver.
const DEFAULT_IPAM_DRIVER: &str = "default";
/// Option of an overlay's driver: its VXLAN numbers, one per subnet, joined by commas.
const NUMBERS_OPTION: &str = "com.docker.network.driver.overlay.vxlanid_list";
/// Label of the ingress network in swarms made before `NetworkSpec.ingress`.
const INTERNAL_LABEL: &str = "com.docker.swarm.internal";

/// Whether the network carries the routing mesh.
pub fn is_ingress(network: &Network) -> bool {
    let labels = network.spec.annotations.as_ref().map(|annotations| &annotations.labels);
    let legacy = labels.is_some_and(|labels| labels.contains_key(INTERNAL_LABEL)) && network.name() == "ingress";
    network.spec.ingress || legacy
}

/// Whether each node manages the network by itself: no subnet, no addresses from the swarm.
pub fn is_node_local(network: &Network) -> bool {
    NODE_LOCAL_DRIVERS.contains(&driver_name(network))
}

fn driver_name(network: &Network) -> &str {
    let named = network.spec.driver_config.as_ref().map(|driver| driver.name.as_str());
    named.filter(|name| !name.is_empty()).unwrap_or(DEFAULT_DRIVER)
}

/// Whether the object carries an allocation.
pub fn is_allocated(network: &Network) -> bool {
    network.driver_state.is_some() && network.ipam.is_some()
}

/// Allocates what the network still lacks, or notes what it has. The changed object, or `None` when it is complete.
pub fn settle(book: &mut Book, cluster: Option<&Cluster>, network: &Network) -> Result<Option<Network>, AllocateError> {
    if book.plan(&network.id).is_some() {
        return Ok(None);
    }
    book.name_network(&network.id, network.name());
    let mut settled = network.clone();
    let plan = if is_node_local(network) {
        settled.driver_state = Some(Driver { name: driver_name(network).to_owned(), ..Driver::default() });
        // Other engines look into `ipam.driver` without asking whether it is there.
        settled.ipam = Some(IpamOptions { driver: Some(Driver::default()), configs: Vec::new() });
        Plan::NodeLocal
    } else if driver_name(network) == DEFAULT_DRIVER {
        overlay(book, &Pools::of(cluster), &mut settled)?
    } else {
        return Err(AllocateError::Driver { driver: driver_name(network).to_owned() });
    };
    book.add_network(network.id.clone(), plan);
    let complete = is_allocated(network) && (is_node_local(network) || settled == *network);
    Ok((!complete).then_some(settled))
}

fn overlay(book: &mut Book, pools: &Pools, network: &mut Network) -> Result<Plan, AllocateError> {
    let wished = network.spec.ipam.as_ref();
    let driver = wished.and_then(|ipam| ipam.driver.as_ref()).filter(|driver| !driver.name.is_empty());
    if let Some(driver) = driver.filter(|driver| driver.name != DEFAULT_IPAM_DRIVER) {
        return Err(AllocateError::IpamDriver { driver: driver.name.clone() });
    }
    // What was allocated before goes over what was asked for.
    let stored = network.ipam.as_ref().map(|ipam| &ipam.configs);
    let mut configs = stored.or(wished.map(|ipam| &ipam.configs)).cloned().unwrap_or_default();
    if configs.is_empty() {
        configs.push(IpamConfig { family: AddressFamily::Ipv4.into(), ..IpamConfig::default() });
    }
    let mut taken = book.subnets();
    let mut subnets = Vec::with_capacity(configs.len());
    for config in &mut configs {
        let subnet = settle_subnet(pools, &taken, config)?;
        taken.push(subnet.prefix);
        subnets.push(subnet);
    }
    let driver = Driver {
        name: DEFAULT_IPAM_DRIVER.to_owned(),
        options: wished.and_then(|ipam| ipam.driver.as_ref()).map(|driver| driver.options.clone()).unwrap_or_default(),
    };
    // Docker never says which family a subnet is of, so its allocator counts all that do not say IPv6.
    let count = configs.iter().filter(|config| config.family() != AddressFamily::Ipv6).count();
    let numbers = settle_numbers(book, network, count.max(1))?;
    network.ipam = Some(IpamOptions { driver: Some(driver), configs });
    let families = families(&subnets, network.spec.ipv6_enabled);
    Ok(Plan::Global { subnets, numbers, families })
}

/// IPv4 where there is any; IPv6 where the network says so too, because workers know no such address otherwise, and
/// where there is nothing else.
fn families(subnets: &[Subnet], ipv6_enabled: bool) -> Vec<Family> {
    let has = |family: Family| subnets.iter().any(|subnet| subnet.prefix.family == family);
    let sixth = has(Family::V6) && (ipv6_enabled || !has(Family::V4));
    let families = [(Family::V4, has(Family::V4)), (Family::V6, sixth)];
    families.into_iter().filter_map(|(family, wanted)| wanted.then_some(family)).collect()
}

/// Chooses or checks one subnet and its gateway, and writes them into `config`.
fn settle_subnet(pools: &Pools, taken: &[Prefix], config: &mut IpamConfig) -> Result<Subnet, AllocateError> {
    let asked = if config.subnet.is_empty() { None } else { Some(Prefix::parse(&config.subnet)?) };
    // `0.0.0.0/20` asks for some subnet of that size.
    let prefix = match asked {
        Some(prefix) if prefix.first != 0 => prefix,
        unspecified => pools.choose(unspecified.map(|prefix| prefix.length), taken)?,
    };
    if let Some(other) = taken.iter().find(|other| other.overlaps(prefix)) {
        return Err(AllocateError::SubnetOverlap { subnet: prefix.to_string(), other: other.to_string() });
    }
    let range = if config.range.is_empty() { None } else { Some(Prefix::parse(&config.range)?) };
    if let Some(range) = range.filter(|range| !range.overlaps(prefix)) {
        return Err(AllocateError::Outside { text: format!("range {range} of {prefix}") });
    }
    // A range wider than its subnet, which older engines took, limits nothing.
    let range = range.filter(|range| range.length >= prefix.length);
    let mut subnet = Subnet::new(prefix, range);
    for address in config.reserved.values() {
        let (_, number) = parse_address(address)?;
        subnet.hold(number);
    }
    if config.gateway.is_empty() {
        let number = subnet.take_any().ok_or_else(|| AllocateError::SubnetFull { subnet: prefix.to_string() })?;
        config.gateway = prefix.family.address(number).to_string();
    } else {
        let (family, number) = parse_address(&config.gateway)?;
        if family != prefix.family || !subnet.take(number) {
            return Err(AllocateError::Outside { text: format!("gateway {} of {prefix}", config.gateway) });
        }
    }
    config.subnet = prefix.to_string();
    Ok(subnet)
}

/// One VXLAN number per subnet: those of the driver's options, then new ones; written into the driver state.
fn settle_numbers(book: &mut Book, network: &mut Network, count: usize) -> Result<Vec<u32>, AllocateError> {
    let mut options = network.spec.driver_config.as_ref().map(|driver| driver.options.clone()).unwrap_or_default();
    options.extend(network.driver_state.iter().flat_map(|driver| driver.options.clone()));
    let named = options.get(NUMBERS_OPTION).cloned().unwrap_or_default();
    let mut numbers: Vec<u32> = Vec::with_capacity(count);
    let undo = |book: &mut Book, numbers: &[u32]| numbers.iter().for_each(|number| book.numbers.release(*number));
    for text in named.split(',').filter(|text| !text.is_empty()).take(count) {
        let number = text.trim().parse::<u32>().map_err(|_| AllocateError::Address { text: text.to_owned() });
        match number {
            Ok(number) if book.numbers.take(number) => numbers.push(number),
            Ok(number) => {
                undo(book, &numbers);
                return Err(AllocateError::NumberTaken { number });
            }
            Err(error) => {
                undo(book, &numbers);
                return Err(error);
            }
        }
    }
    while numbers.len() < count {
        match book.numbers.take_any() {
            Some(number) => numbers.push(number),
            None => {
                undo(book, &numbers);
                return Err(AllocateError::NumbersExhausted);
            }
        }
    }
    let list: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    options.insert(NUMBERS_OPTION.to_owned(), list.join(","));
    network.driver_state = Some(Driver { name: DEFAULT_DRIVER.to_owned(), options });
    Ok(numbers)
}
