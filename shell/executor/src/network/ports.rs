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

impl Published {
    /// Protocol and port of this host.
    pub fn key(&self) -> (String, u16) {
        (self.protocol.clone(), self.host_port)
    }
}

/// A container's address and port.
pub type Target = (Ipv4Addr, u16);

/// Times that the host is asked for a free port, when what it offers is published already: it knows nothing of that.
const OFFERS_MAX: usize = 16;

/// Why a port cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// By another container, or by a process of the host.
    #[error("Bind for 0.0.0.0:{port} failed: port is already allocated")]
    Taken {
        /// Which.
        port: u16,
    },
    /// One of the routing mesh, by a process of the host: what it serves is never taken from it.
    #[error(
        "published port {port}/{protocol} is held by a process of this host, so that no task here can be reached: end \
         that process, or publish another port"
    )]
    HeldByHost {
        /// Which.
        port: u16,
        /// Of which protocol.
        protocol: String,
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
    taken: BTreeMap<(String, u16), Target>,
}

impl Ports {
    /// Whether a container has it.
    pub fn holds(&self, port: &Published) -> bool {
        self.taken.contains_key(&port.key())
    }

    /// Takes ports for a container; a host port of zero means any. Either all or none. `others` are ports that are taken
    /// in some other way.
    pub fn take(
        &mut self,
        wanted: &[Published],
        address: Ipv4Addr,
        others: impl Fn(&Published) -> bool,
    ) -> Result<Vec<Published>, PortError> {
        let mut got = Vec::new();
        for port in wanted {
            match self.choose(port, &others) {
                Ok(published) => {
                    self.keep(&published, address);
                    got.push(published);
                }
                Err(error) => {
                    self.free(&got);
                    return Err(error);
                }
            }
        }
        Ok(got)
    }

    fn choose(&self, wanted: &Published, others: impl Fn(&Published) -> bool) -> Result<Published, PortError> {
        let taken = || PortError::Taken { port: wanted.host_port };
        let free = |port: &Published| !self.holds(port) && !others(port);
        if wanted.host_port != 0 {
            let offered = free(wanted) && probe(&wanted.protocol, wanted.host_port).is_ok();
            return offered.then(|| wanted.clone()).ok_or_else(taken);
        }
        for _ in 0..OFFERS_MAX {
            let none_free = |source| PortError::NoneFree { protocol: wanted.protocol.clone(), source };
            let host_port = probe(&wanted.protocol, 0).map_err(none_free)?;
            let offered = Published { host_port, ..wanted.clone() };
            if free(&offered) {
                return Ok(offered);
            }
        }
        let source = io::Error::other(format!("{OFFERS_MAX} that the host offered are published already"));
        Err(PortError::NoneFree { protocol: wanted.protocol.clone(), source })
    }

    /// Takes over what a live container has.
    pub fn keep(&mut self, port: &Published, address: Ipv4Addr) {
        self.taken.insert(port.key(), (address, port.container_port));
    }

    /// Gives ports back.
    pub fn free(&mut self, ports: &[Published]) {
        for port in ports {
            self.taken.remove(&port.key());
        }
    }

    /// (protocol, host port) → (address, container port).
    pub fn all(&self) -> &BTreeMap<(String, u16), Target> {
        &self.taken
    }
}

/// Asks the host whether a port is free (or for a free one) by binding it for a moment.
pub fn probe(protocol: &str, port: u16) -> io::Result<u16> {
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
        let got = ports.take(&[port(0)], Ipv4Addr::LOCALHOST, |_| false).expect("a free port");
        assert_ne!(got[0].host_port, 0);
        let again = ports.take(&[port(got[0].host_port)], Ipv4Addr::LOCALHOST, |_| false).expect_err("taken");
        assert!(again.to_string().ends_with("port is already allocated"));
        ports.free(&got);
        ports.take(&got, Ipv4Addr::LOCALHOST, |_| true).expect_err("taken in some other way");
        ports.take(&got, Ipv4Addr::LOCALHOST, |_| false).expect("free again");
    }

    #[test]
    fn a_port_of_another_process_is_taken() {
        let listener = TcpListener::bind("0.0.0.0:0").expect("bound");
        let busy = listener.local_addr().expect("address").port();
        let mut ports = Ports::default();
        assert!(ports.take(&[port(0), port(busy)], Ipv4Addr::LOCALHOST, |_| false).is_err());
        assert!(ports.all().is_empty(), "all or none");
    }
}
