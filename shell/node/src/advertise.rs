//! Which address others reach this node by (source: Docker's resolution rules and texts).

use std::net::{IpAddr, Ipv6Addr};

use skep_model::{Code, Refusal};

/// An address of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// e.g. `eth0`.
    pub interface: String,
    /// Without prefix length.
    pub address: IpAddr,
}

/// All usable addresses of this host: global unicast, on interfaces that are up, bridges of container engines left out.
pub fn interface_addresses() -> Result<Vec<InterfaceAddress>, Refusal> {
    let list = nix::ifaddrs::getifaddrs().map_err(|error| {
        Refusal::new(Code::Internal, format!("could not list the addresses of this system: {error}"))
    })?;
    let mut found = Vec::new();
    for entry in list {
        let up = entry.flags.contains(nix::net::if_::InterfaceFlags::IFF_UP);
        let Some(storage) = entry.address.filter(|_| up) else { continue };
        let address = match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
            (Some(four), _) => IpAddr::V4(four.ip()),
            (None, Some(six)) => IpAddr::V6(six.ip()),
            _ => continue,
        };
        found.push(InterfaceAddress { interface: entry.interface_name, address });
    }
    Ok(found)
}

/// Splits `host[:port]`, with the default port where there is none.
pub fn split_port(text: &str, default_port: u16) -> Result<(String, u16), Refusal> {
    if text.parse::<IpAddr>().is_ok() {
        return Ok((text.to_owned(), default_port));
    }
    match text.rsplit_once(':') {
        Some((host, port)) => {
            let port = port
                .parse::<u16>()
                .map_err(|_| Refusal::invalid(format!("invalid address {text:?}: {port:?} is not a port")))?;
            Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
        }
        None => Ok((text.to_owned(), default_port)),
    }
}

/// Joins host and port; IPv6 in brackets.
pub fn join_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The address that others use: what was asked for (address or interface), else the only candidate.
pub fn advertise_address(
    asked: &str,
    default: Option<&str>,
    listen_host: &str,
    default_port: u16,
    known: &[InterfaceAddress],
) -> Result<(String, u16), Refusal> {
    let asked = if asked.is_empty() { default.unwrap_or_default() } else { asked };
    if !asked.is_empty() {
        let (host, port) = split_port(asked, default_port)?;
        return Ok((resolve_one(&host, known, Role::Advertise)?.to_string(), port));
    }
    if let Ok(address) = resolve(listen_host, known, Role::Listen)
        && !address.is_unspecified()
    {
        return Ok((address.to_string(), default_port));
    }
    Ok((only_candidate(known)?.to_string(), default_port))
}

/// The address to bind: an IP address or the first address of an interface.
pub fn listen_address(asked: &str, known: &[InterfaceAddress], default_port: u16) -> Result<(String, u16), Refusal> {
    if asked.is_empty() {
        return Ok(("0.0.0.0".to_owned(), default_port));
    }
    let (host, port) = split_port(asked, default_port)?;
    if host.is_empty() {
        return Ok(("0.0.0.0".to_owned(), port));
    }
    Ok((resolve(&host, known, Role::Listen)?.to_string(), port))
}

/// The address that containers' networks use.
pub fn data_path_address(asked: &str, known: &[InterfaceAddress]) -> Result<IpAddr, Refusal> {
    resolve_one(asked, known, Role::DataPath)
}

/// What an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Listen,
    Advertise,
    DataPath,
}

impl Role {
    /// Docker's texts.
    fn expected(self) -> &'static str {
        match self {
            Self::Listen => "listen address must be an IP address or network interface (with optional port number)",
            Self::Advertise => {
                "advertise address must be a non-zero IP address or network interface (with optional port number)"
            }
            Self::DataPath => {
                "data path address must be a non-zero IP address or network interface (without a port number)"
            }
        }
    }
}

/// An address that others can be told: not "all of them".
fn resolve_one(host: &str, known: &[InterfaceAddress], role: Role) -> Result<IpAddr, Refusal> {
    let address = resolve(host, known, role)?;
    if address.is_unspecified() { Err(Refusal::invalid(role.expected())) } else { Ok(address) }
}

/// An IP address as it is, or the one address of an interface.
fn resolve(host: &str, known: &[InterfaceAddress], role: Role) -> Result<IpAddr, Refusal> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(address);
    }
    let own: Vec<&InterfaceAddress> = known.iter().filter(|entry| entry.interface == host).collect();
    let four: Vec<IpAddr> = own.iter().map(|entry| entry.address).filter(IpAddr::is_ipv4).collect();
    let six: Vec<IpAddr> = own.iter().map(|entry| entry.address).filter(is_global_six).collect();
    match (four.as_slice(), six.as_slice()) {
        ([one], _) | ([], [one]) => Ok(*one),
        ([], []) if own.is_empty() => Err(Refusal::invalid(role.expected())),
        ([], []) => Err(Refusal::invalid(format!("interface {host} has no usable IPv4 or IPv6 address"))),
        ([first, second, ..], _) | ([], [first, second, ..]) => {
            Err(Refusal::invalid(format!("interface {host} has more than one address ({first} and {second})")))
        }
    }
}

fn only_candidate(known: &[InterfaceAddress]) -> Result<IpAddr, Refusal> {
    let usable = |entry: &&InterfaceAddress| {
        !entry.address.is_loopback() && !is_engine_bridge(&entry.interface) && is_global(&entry.address)
    };
    let four: Vec<&InterfaceAddress> = known.iter().filter(usable).filter(|entry| entry.address.is_ipv4()).collect();
    let all: Vec<&InterfaceAddress> = known.iter().filter(usable).collect();
    let candidates = if four.is_empty() { all } else { four };
    match candidates.as_slice() {
        [] => Err(Refusal::invalid("could not find the system's IP address - specify one with --advertise-addr")),
        [one] => Ok(one.address),
        [first, second, ..] if first.interface == second.interface => Err(Refusal::invalid(format!(
            "could not choose an IP address to advertise since this system has multiple addresses on interface {} \
             ({} and {})",
            first.interface, first.address, second.address
        ))),
        [first, second, ..] => Err(Refusal::invalid(format!(
            "could not choose an IP address to advertise since this system has multiple addresses on different \
             interfaces ({} on {} and {} on {})",
            first.address, first.interface, second.address, second.interface
        ))),
    }
}

fn is_engine_bridge(interface: &str) -> bool {
    interface.starts_with("docker") || interface.starts_with("skep") || interface.starts_with("veth")
}

fn is_global(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => !four.is_link_local() && !four.is_unspecified() && !four.is_multicast(),
        IpAddr::V6(_) => is_global_six(address),
    }
}

fn is_global_six(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(six) if !is_link_local_six(six) && !six.is_unspecified() && !six.is_loopback())
}

fn is_link_local_six(address: &Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(pairs: &[(&str, &str)]) -> Vec<InterfaceAddress> {
        pairs
            .iter()
            .map(|(interface, address)| InterfaceAddress {
                interface: (*interface).to_owned(),
                address: address.parse().unwrap(),
            })
            .collect()
    }

    #[test]
    fn the_only_address_is_chosen() {
        let known = known(&[("lo", "127.0.0.1"), ("eth0", "10.1.0.5"), ("docker0", "172.17.0.1"), ("eth0", "fe80::1")]);
        assert_eq!(advertise_address("", None, "0.0.0.0", 2377, &known), Ok(("10.1.0.5".into(), 2377)));
    }

    #[test]
    fn several_addresses_are_named() {
        let on_one = known(&[("eth0", "10.1.0.5"), ("eth0", "10.2.0.5")]);
        let refusal = advertise_address("", None, "0.0.0.0", 2377, &on_one).unwrap_err();
        assert!(refusal.message.contains("multiple addresses on interface eth0 (10.1.0.5 and 10.2.0.5)"));
        let on_two = known(&[("eth0", "10.1.0.5"), ("eth1", "10.2.0.5")]);
        let refusal = advertise_address("", None, "0.0.0.0", 2377, &on_two).unwrap_err();
        assert!(refusal.message.contains("10.1.0.5 on eth0 and 10.2.0.5 on eth1"), "{refusal}");
    }

    #[test]
    fn an_interface_stands_for_its_address() {
        let known = known(&[("eth0", "10.1.0.5"), ("eth1", "10.2.0.5")]);
        assert_eq!(advertise_address("eth1", None, "0.0.0.0", 2377, &known), Ok(("10.2.0.5".into(), 2377)));
        assert_eq!(advertise_address("eth1:4242", None, "", 2377, &known), Ok(("10.2.0.5".into(), 4242)));
        assert!(advertise_address("eth9", None, "", 2377, &known).is_err());
        assert!(advertise_address("0.0.0.0", None, "", 2377, &known).is_err());
        assert_eq!(data_path_address("eth1", &known), Ok("10.2.0.5".parse().unwrap()));
        let refusal = data_path_address("0.0.0.0", &known).unwrap_err();
        assert!(refusal.message.ends_with("(without a port number)"), "{refusal}");
        assert_eq!(listen_address(":4242", &known, 2377), Ok(("0.0.0.0".into(), 4242)));
    }

    #[test]
    fn ports_are_split_and_joined() {
        assert_eq!(split_port("[fd00::1]:99", 1), Ok(("fd00::1".into(), 99)));
        assert_eq!(split_port("fd00::1", 1), Ok(("fd00::1".into(), 1)));
        assert_eq!(join_port("fd00::1", 99), "[fd00::1]:99");
        assert!(split_port("host:port", 1).is_err());
    }
}
