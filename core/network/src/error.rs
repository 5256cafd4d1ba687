//! Why something could not be allocated; for tasks the sentence goes into `Status.err`.

use skep_model::{Refusal, ServiceId};

/// Why something could not be allocated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocateError {
    #[error("{text:?} is not an address or a subnet")]
    Address { text: String },
    #[error("no subnet of size /{size} is free in the address pools {pools}; add a pool or remove a network")]
    PoolsExhausted { size: u8, pools: String },
    #[error("subnet {subnet} overlaps with {other}, which another network uses")]
    SubnetOverlap { subnet: String, other: String },
    #[error("subnet {subnet} has no room for a gateway")]
    SubnetFull { subnet: String },
    #[error("a range or gateway lies outside of its subnet: {text}")]
    Outside { text: String },
    #[error("ingress network {other} is already present")]
    SecondIngress { other: String },
    #[error("network driver {driver} not found: swarm networks can be overlay, bridge, host, ipvlan or macvlan")]
    Driver { driver: String },
    #[error("IPAM driver {driver} not found: only default is there")]
    IpamDriver { driver: String },
    #[error("VXLAN network number {number} is in use by another network")]
    NumberTaken { number: u32 },
    #[error("every VXLAN network number is in use")]
    NumbersExhausted,
    #[error("could not find an available IP address in network {network}")]
    AddressesExhausted { network: String },
    #[error("address {address} of network {network} is in use or outside of its subnets")]
    AddressTaken { network: String, address: String },
    #[error("network {network} does not exist")]
    NetworkMissing { network: String },
    #[error("network {network} is not allocated yet: {why}")]
    NetworkPending { network: String, why: String },
    #[error("the ingress network is missing: create one with `network create --ingress`, or publish with mode=host")]
    IngressMissing,
    #[error("port {port}/{protocol} is already published by service {service}")]
    PortTaken { port: u32, protocol: &'static str, service: ServiceId },
    #[error("no {protocol} port between 30000 and 32767 is free")]
    PortsExhausted { protocol: &'static str },
    #[error("{0}")]
    Refused(#[from] Refusal),
}
