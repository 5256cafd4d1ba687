//! Published ports and virtual addresses of services (interop §8).

use skep_model::pb::objects::{Endpoint, endpoint::VirtualIp};
use skep_model::pb::types::endpoint_spec::ResolutionMode;
use skep_model::pb::types::{NetworkAttachmentConfig, PortConfig};
use skep_model::{NetworkId, Service};
use skep_store::Read;

use crate::book::{Book, Held, Holder};
use crate::error::AllocateError;
use crate::ports::is_mesh;
use crate::prefix::{Family, parse_address};

/// Whether the service publishes a port on every node.
pub fn needs_ingress(service: &Service) -> bool {
    spec_ports(service).iter().any(is_mesh)
}

fn spec_ports(service: &Service) -> &[PortConfig] {
    service.spec.endpoint.as_ref().map(|endpoint| endpoint.ports.as_slice()).unwrap_or_default()
}

/// The networks that a service's tasks are attached to; those of the task's spec win.
pub fn spec_networks(service: &Service) -> &[NetworkAttachmentConfig] {
    let of_task = service.spec.task.as_ref().map(|task| task.networks.as_slice()).unwrap_or_default();
    if of_task.is_empty() { &service.spec.networks } else { of_task }
}

/// The id of a network that is named by id or by name.
pub fn resolve(read: &impl Read, target: &str) -> Result<NetworkId, AllocateError> {
    let by_id = NetworkId::optional(target).and_then(|id| read.network(&id));
    let network = by_id.or_else(|| read.network_by_name(target));
    network
        .map(|network| network.id.clone())
        .ok_or_else(|| AllocateError::NetworkMissing { network: target.to_owned() })
}

fn has_virtual_addresses(service: &Service) -> bool {
    service.spec.endpoint.as_ref().is_none_or(|endpoint| endpoint.mode() == ResolutionMode::Vip)
}

/// Whether there is anything to allocate for the service, or to give back.
pub fn concerns(service: &Service) -> bool {
    let networks = has_virtual_addresses(service) && !spec_networks(service).is_empty();
    networks || service.endpoint.is_some() || !spec_ports(service).is_empty()
}

/// What the stored endpoint holds.
pub fn held(service: &Service) -> Vec<Held> {
    let addresses = service.endpoint.iter().flat_map(|endpoint| &endpoint.virtual_ips);
    addresses
        .filter(|address| !address.addr.is_empty())
        .filter_map(|address| Some((NetworkId::optional(&address.network_id)?, address.addr.clone())))
        .collect()
}

/// The ports that the stored endpoint publishes.
pub fn ports(service: &Service) -> &[PortConfig] {
    service.endpoint.as_ref().map(|endpoint| endpoint.ports.as_slice()).unwrap_or_default()
}

/// The endpoint as it shall be; on an error nothing is taken.
pub fn settle(
    book: &mut Book,
    read: &impl Read,
    ingress: Option<&NetworkId>,
    service: &Service,
) -> Result<Endpoint, AllocateError> {
    let mut networks = Vec::new();
    if has_virtual_addresses(service) {
        if needs_ingress(service) {
            networks.push(ingress.cloned().ok_or(AllocateError::IngressMissing)?);
        }
        for config in spec_networks(service) {
            let network = resolve(read, &config.target)?;
            if !networks.contains(&network) {
                networks.push(network);
            }
        }
    }
    let holder = Holder::Service(service.id.clone());
    let before = book.holdings(&holder).to_vec();
    let done = virtual_addresses(book, &holder, service, &networks)
        .and_then(|addresses| Ok((addresses, book.ports.assign(&service.id, spec_ports(service), ports(service))?)));
    match done {
        Ok((virtual_ips, ports)) => {
            let endpoint = Endpoint { spec: service.spec.endpoint.clone(), ports, virtual_ips };
            let settled = Service { endpoint: Some(endpoint.clone()), ..service.clone() };
            book.sync(holder, held(&settled));
            Ok(endpoint)
        }
        Err(error) => {
            book.sync(holder, before);
            Err(error)
        }
    }
}

/// One address of each family per network: those it has first, in their order.
fn virtual_addresses(
    book: &mut Book,
    holder: &Holder,
    service: &Service,
    networks: &[NetworkId],
) -> Result<Vec<VirtualIp>, AllocateError> {
    let had = service.endpoint.iter().flat_map(|endpoint| &endpoint.virtual_ips);
    let mut addresses: Vec<VirtualIp> =
        had.filter(|address| networks.iter().any(|network| network.as_str() == address.network_id)).cloned().collect();
    for network in networks {
        let families = book.families(network)?;
        let here = |address: &&VirtualIp| address.network_id == network.as_str();
        if families.is_empty() && !addresses.iter().any(|address| here(&address)) {
            addresses.push(VirtualIp { network_id: network.to_string(), addr: String::new() });
        }
        for family in families {
            let has = addresses.iter().filter(here).any(|address| family_of(&address.addr) == Some(family));
            if !has {
                let addr = book.take(holder, network, family)?;
                addresses.push(VirtualIp { network_id: network.to_string(), addr });
            }
        }
    }
    Ok(addresses)
}

fn family_of(address: &str) -> Option<Family> {
    parse_address(address).ok().map(|(family, _)| family)
}
