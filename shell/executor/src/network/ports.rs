//! Ports of this host that containers publish.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};

use serde::{Deserialize, Serialize};

/// A published port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Published {
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// On this host.
    pub host_port: u16,
    /// In the container.
    pub container_port: u16,
    /// The name that the spec gives it.
    #[serde(default)]
    pub name: String,
}

/// Why a port cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// By another container, or by a process of the host.
    #[error("Bind for 0.0.0.0:{port} failed: port is already allocated")]
    Taken {
        /// Which.
        port: u16,
    },
    /// The host has no free one.
    #[error("no free {protocol} port: {source}")]
    NoneFree {
        /// Of which protocol.
        protocol: String,
        /// What the host said.
        #[source]
        source: io::Error,
    },
}

/// Which ports stand for which container's.
#[derive(Default)]
pub struct Ports {
    taken: BTreeMap<(String, u16), (Ipv4Addr, u16)>,
}

impl Ports {
    /// Takes ports for a container; a host port of zero means any. Either all or none.
    pub fn take(&mut self, wanted: &[Published], address: Ipv4Addr) -> Result<Vec<Published>, PortError> {
        let mut got = Vec::new();
        for port in wanted {
            match self.take_one(port, address) {
                Ok(published) => got.push(published),
                Err(error) => {
                    self.free(&got);
                    return Err(error);
                }
            }
        }
        Ok(got)
    }

    fn take_one(&mut self, wanted: &Published, address: Ipv4Addr) -> Result<Published, PortError> {
        let held = self.taken.contains_key(&(wanted.protocol.clone(), wanted.host_port));
        if wanted.host_port != 0 && held {
            return Err(PortError::Taken { port: wanted.host_port });
        }
        let host_port = match probe(&wanted.protocol, wanted.host_port) {
            Ok(port) => port,
            Err(_) if wanted.host_port != 0 => return Err(PortError::Taken { port: wanted.host_port }),
            Err(source) => return Err(PortError::NoneFree { protocol: wanted.protocol.clone(), source }),
        };
        let published = Published { host_port, ..wanted.clone() };
        self.keep(&published, address);
        Ok(published)
    }

    /// Takes over what a live container has.
    pub fn keep(&mut self, port: &Published, address: Ipv4Addr) {
        self.taken.insert((port.protocol.clone(), port.host_port), (address, port.container_port));
    }

    /// Gives ports back.
    pub fn free(&mut self, ports: &[Published]) {
        for port in ports {
            self.taken.remove(&(port.protocol.clone(), port.host_port));
        }
    }

    /// (protocol, host port) → (address, container port).
    pub fn all(&self) -> &BTreeMap<(String, u16), (Ipv4Addr, u16)> {
        &self.taken
    }
}

/// Asks the host whether a port is free (or for a free one) by binding it for a moment.
fn probe(protocol: &str, port: u16) -> io::Result<u16> {
    let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
    match protocol {
        "udp" => UdpSocket::bind(address)?.local_addr().map(|bound| bound.port()),
        "tcp" => TcpListener::bind(address)?.local_addr().map(|bound| bound.port()),
        _ if port == 0 => Err(io::Error::other("only tcp and udp ports can be chosen by the host")),
        _ => Ok(port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host_port: u16) -> Published {
        Published { protocol: "tcp".to_owned(), host_port, container_port: 80, name: String::new() }
    }

    #[test]
    fn a_port_is_taken_once() {
        let mut ports = Ports::default();
        let got = ports.take(&[port(0)], Ipv4Addr::LOCALHOST).expect("a free port");
        assert_ne!(got[0].host_port, 0);
        let again = ports.take(&[port(got[0].host_port)], Ipv4Addr::LOCALHOST).expect_err("taken");
        assert!(again.to_string().ends_with("port is already allocated"));
        ports.free(&got);
        ports.take(&got, Ipv4Addr::LOCALHOST).expect("free again");
    }

    #[test]
    fn a_port_of_another_process_is_taken() {
        let listener = TcpListener::bind("0.0.0.0:0").expect("bound");
        let busy = listener.local_addr().expect("address").port();
        let mut ports = Ports::default();
        assert!(ports.take(&[port(0), port(busy)], Ipv4Addr::LOCALHOST).is_err());
        assert!(ports.all().is_empty(), "all or none");
    }
}
