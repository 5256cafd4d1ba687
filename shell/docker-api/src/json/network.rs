//! Networks: as tasks carry them (`swarm.Network`) and as `/networks` lists them.

use std::collections::BTreeMap;

use super::{Driver, Map, Stamp, Text, Version, empty, shape};

shape!(SwarmIpamConfig<'a> {
    subnet: Text<'a> => "Subnet" if "empty",
    range: Text<'a> => "Range" if "empty",
    gateway: Text<'a> => "Gateway" if "empty",
});

shape!(SwarmIpam<'a> {
    driver: Driver<'a> => "Driver",
    configs: Vec<SwarmIpamConfig<'a>> => "Configs" if "empty",
});

shape!(ConfigFrom<'a> {
    network: Text<'a> => "Network",
});

shape!(SwarmNetworkSpec<'a> {
    name: Text<'a> => "Name" if "empty",
    labels: Map<'a> => "Labels",
    driver: Option<Driver<'a>> => "DriverConfiguration" if "empty",
    ipv6: bool => "IPv6Enabled" if "empty",
    internal: bool => "Internal" if "empty",
    attachable: bool => "Attachable" if "empty",
    ingress: bool => "Ingress" if "empty",
    ipam: Option<SwarmIpam<'a>> => "IPAMOptions" if "empty",
    config_from: Option<ConfigFrom<'a>> => "ConfigFrom" if "empty",
    scope: Text<'a> => "Scope" if "empty",
});

shape!(SwarmNetwork<'a> {
    id: Text<'a> => "ID",
    version: Version => "Version",
    created_at: Stamp => "CreatedAt",
    updated_at: Stamp => "UpdatedAt",
    spec: SwarmNetworkSpec<'a> => "Spec",
    driver_state: Driver<'a> => "DriverState",
    ipam: Option<SwarmIpam<'a>> => "IPAMOptions" if "empty",
});

shape!(IpamConfig<'a> {
    subnet: Text<'a> => "Subnet" if "empty",
    range: Text<'a> => "IPRange" if "empty",
    gateway: Text<'a> => "Gateway" if "empty",
    auxiliary: Map<'a> => "AuxiliaryAddresses" if "empty",
});

shape!(Ipam<'a> {
    driver: Text<'a> => "Driver",
    options: Option<Map<'a>> => "Options",
    config: Option<Vec<IpamConfig<'a>>> => "Config",
});

shape!(Network<'a> {
    name: Text<'a> => "Name",
    id: Text<'a> => "Id",
    created: Stamp => "Created",
    scope: Text<'a> => "Scope",
    driver: Text<'a> => "Driver",
    ipv4: bool => "EnableIPv4",
    ipv6: bool => "EnableIPv6",
    ipam: Ipam<'a> => "IPAM",
    internal: bool => "Internal",
    attachable: bool => "Attachable",
    ingress: bool => "Ingress",
    config_from: ConfigFrom<'a> => "ConfigFrom",
    config_only: bool => "ConfigOnly",
    // Left out of lists since API 1.28, `null` for networks of the swarm before that.
    containers: Option<BTreeMap<String, EndpointResource>> => "Containers",
    options: Option<Map<'a>> => "Options",
    labels: Option<Map<'a>> => "Labels",
});

shape!(EndpointResource {
    name: String => "Name",
    endpoint_id: String => "EndpointID",
    mac: String => "MacAddress",
    ipv4: String => "IPv4Address",
    ipv6: String => "IPv6Address",
});

shape!(NetworkCreate<'a> {
    name: Text<'a> => "Name",
    check_duplicate: bool => "CheckDuplicate",
    driver: Text<'a> => "Driver",
    scope: Text<'a> => "Scope",
    ipv6: Option<bool> => "EnableIPv6",
    ipam: Option<Ipam<'a>> => "IPAM",
    internal: bool => "Internal",
    attachable: bool => "Attachable",
    ingress: bool => "Ingress",
    config_only: bool => "ConfigOnly",
    config_from: Option<ConfigFrom<'a>> => "ConfigFrom",
    options: Map<'a> => "Options",
    labels: Map<'a> => "Labels",
});
