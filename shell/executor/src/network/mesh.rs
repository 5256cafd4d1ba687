//! Ports of the routing mesh on this host: the containers of one service share them.
//!
//! A manager gives such a port to one service at a time. A service that comes with a port that another one still has
//! here has it by right: the other one is going.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::ports::{PortError, Published, Target, probe};

/// What a container has of its service's ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshPorts {
    /// Which service; containers of the same one share ports.
    pub service: String,
    /// Its ports.
    pub ports: Vec<Published>,
    /// Whether connections reach this container.
    pub serves: bool,
}

struct Shared {
    service: String,
    members: BTreeMap<String, Member>,
}

struct Member {
    target: Target,
    serves: bool,
}

/// Which containers stand behind which port.
#[derive(Default)]
pub struct Mesh {
    ports: BTreeMap<(String, u16), Shared>,
}

impl Mesh {
    /// Whether a port belongs to a service here.
    pub fn holds(&self, port: &Published) -> bool {
        self.ports.contains_key(&port.key())
    }

    /// Lets a container have its part of its service's ports; connections reach it from `serve` on. Either all or none.
    pub fn join(&mut self, container: &str, wanted: &MeshPorts, address: Ipv4Addr) -> Result<(), PortError> {
        for port in wanted.ports.iter().filter(|port| !self.holds(port)) {
            let held = |_| PortError::HeldByHost { port: port.host_port, protocol: port.protocol.clone() };
            probe(&port.protocol, port.host_port).map_err(held)?;
        }
        self.keep(container, wanted, address);
        Ok(())
    }

    /// Takes over what a live container has.
    pub fn keep(&mut self, container: &str, has: &MeshPorts, address: Ipv4Addr) {
        for port in &has.ports {
            let fresh = || Shared { service: has.service.clone(), members: BTreeMap::new() };
            let shared = self.ports.entry(port.key()).or_insert_with(fresh);
            if shared.service != has.service {
                *shared = fresh();
            }
            let member = Member { target: (address, port.container_port), serves: has.serves };
            shared.members.insert(container.to_owned(), member);
        }
    }

    /// From now on connections reach the container. Whether that changes anything.
    pub fn serve(&mut self, container: &str) -> bool {
        let mut changed = false;
        for member in self.ports.values_mut().filter_map(|shared| shared.members.get_mut(container)) {
            changed |= !std::mem::replace(&mut member.serves, true);
        }
        changed
    }

    /// No new connection reaches the container. Whether that changes anything.
    pub fn leave(&mut self, container: &str) -> bool {
        let mut changed = false;
        self.ports.retain(|_, shared| {
            changed |= shared.members.remove(container).is_some_and(|member| member.serves);
            !shared.members.is_empty()
        });
        changed
    }

    /// Ports that somebody serves, with everybody who does.
    pub fn targets(&self) -> impl Iterator<Item = (&(String, u16), Vec<Target>)> {
        let serving = |shared: &Shared| -> Vec<Target> {
            shared.members.values().filter(|member| member.serves).map(|member| member.target).collect()
        };
        self.ports.iter().map(move |(key, shared)| (key, serving(shared))).filter(|(_, targets)| !targets.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 2);
    const SECOND: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 3);

    fn ports(service: &str, host_port: u16, container_port: u16) -> MeshPorts {
        let port = Published { protocol: "tcp".to_owned(), host_port, container_port, name: String::new() };
        MeshPorts { service: service.to_owned(), ports: vec![port], serves: false }
    }

    fn targets(mesh: &Mesh) -> Vec<(u16, Vec<Target>)> {
        mesh.targets().map(|((_, port), targets)| (*port, targets)).collect()
    }

    #[test]
    fn containers_of_a_service_share_a_port_while_they_serve() {
        let mut mesh = Mesh::default();
        mesh.keep("a", &ports("web", 80, 80), FIRST);
        mesh.keep("b", &ports("web", 80, 8080), SECOND);
        assert!(targets(&mesh).is_empty(), "nobody serves yet");
        assert!(mesh.serve("a"));
        assert!(!mesh.serve("a"), "once is enough");
        assert!(mesh.serve("b"));
        assert_eq!(targets(&mesh), [(80, vec![(FIRST, 80), (SECOND, 8080)])]);
        assert!(mesh.leave("a"));
        assert!(!mesh.leave("a") && !mesh.serve("a"), "gone is gone");
        assert_eq!(targets(&mesh), [(80, vec![(SECOND, 8080)])]);
        mesh.leave("b");
        assert!(!mesh.holds(&ports("web", 80, 80).ports[0]));
    }

    #[test]
    fn the_service_that_comes_later_has_the_port() {
        let mut mesh = Mesh::default();
        mesh.keep("old", &MeshPorts { serves: true, ..ports("gone", 80, 80) }, FIRST);
        mesh.join("new", &ports("web", 80, 80), SECOND).expect("the manager gave it to the new one");
        assert!(targets(&mesh).is_empty(), "the old one has no part in it any more");
        mesh.serve("new");
        assert!(!mesh.leave("old"));
        assert_eq!(targets(&mesh), [(80, vec![(SECOND, 80)])]);
    }

    #[test]
    fn a_port_of_another_process_stays_with_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let busy = listener.local_addr().expect("address").port();
        let mut mesh = Mesh::default();
        let refusal = mesh.join("a", &ports("web", busy, 80), FIRST).expect_err("held");
        let said = format!("published port {busy}/tcp is held by a process of this host");
        assert!(refusal.to_string().starts_with(&said), "{refusal}");
        assert!(!mesh.holds(&ports("web", busy, 80).ports[0]));
    }
}
