//! A node's way to itself. What it advertises may be an address that only others can reach: that of a router which
//! passes connections on, but not those that come from behind it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where others reach this node, and where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    advertised: String,
    local: String,
}

impl Home {
    /// Both as `host:port`; a listener on all addresses is reached over the loopback.
    pub fn new(advertised: &str, listen: &str) -> Self {
        let local = match listen.parse::<SocketAddr>() {
            Ok(all) if all.ip().is_unspecified() => SocketAddr::new(loopback(all.ip()), all.port()).to_string(),
            _ => listen.to_owned(),
        };
        Self { advertised: advertised.to_owned(), local }
    }

    /// What to dial for an address.
    pub(super) fn way_to<'a>(&'a self, address: &'a str) -> &'a str {
        if address == self.advertised { &self.local } else { address }
    }

    /// What a connection of this node to itself comes from, as others would see it.
    pub(crate) fn seen_from_outside(&self, address: SocketAddr) -> SocketAddr {
        self.advertised.parse().unwrap_or(address)
    }
}

fn loopback(all: IpAddr) -> IpAddr {
    match all {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_node_is_reached_by_another_way() {
        let home = Home::new("192.0.2.9:4000", "0.0.0.0:2377");
        assert_eq!(home.way_to("192.0.2.9:4000"), "127.0.0.1:2377");
        assert_eq!(home.way_to("192.0.2.9:2377"), "192.0.2.9:2377");
        assert_eq!(Home::new("[2001:db8::9]:2377", "[::]:2377").way_to("[2001:db8::9]:2377"), "[::1]:2377");
        assert_eq!(Home::new("192.0.2.9:2377", "10.0.0.9:2377").way_to("192.0.2.9:2377"), "10.0.0.9:2377");
    }

    #[test]
    fn others_see_the_advertised_address() {
        let home = Home::new("192.0.2.9:4000", "0.0.0.0:2377");
        let seen = home.seen_from_outside("127.0.0.1:50000".parse().unwrap());
        assert_eq!(seen.ip().to_string(), "192.0.2.9");
    }
}
