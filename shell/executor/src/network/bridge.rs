//! The bridge of one daemon and the containers on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use skep_model::{Code, Refusal};

use super::addresses::Addresses;
use super::filter::{self, Publications};
use super::flows;
use super::forward::Forwarder;
use super::mesh::{Mesh, MeshPorts};
use super::namespace::{self, Host, Link, NetworkThread};
use super::namespace_path;
use super::netlink::Netlink;
use super::ports::{PortError, Ports, Published, Target};
use crate::config::{BridgeConfig, RuntimeConfig};
use crate::error::{ControllerError, RuntimeError};

/// Characters of a container's id in its interface's name (`sk` + these; interfaces' names have at most 15).
const INTERFACE_ID_LENGTH: usize = 12;
/// Longest name of an interface.
const INTERFACE_NAME_MAX: usize = 15;

/// A container's place on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its namespace.
    pub namespace: PathBuf,
    /// Its address; `None` without a way to the bridge.
    pub address: Option<Ipv4Addr>,
    /// Its ports on this host.
    pub ports: Vec<Published>,
    /// What it has of its service's ports of the routing mesh.
    pub mesh: MeshPorts,
}

/// A live container of a former daemon.
#[derive(Clone, Debug)]
pub struct Surviving {
    /// Its id.
    pub container: String,
    /// Its address.
    pub address: Option<Ipv4Addr>,
    /// Its ports.
    pub ports: Vec<Published>,
    /// What it has of its service's ports of the routing mesh.
    pub mesh: MeshPorts,
}

/// What a container wants published.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// For itself alone.
    pub ports: &'a [Published],
    /// With others of its service.
    pub mesh: &'a MeshPorts,
}

struct Allocations {
    addresses: Addresses,
    ports: Ports,
    mesh: Mesh,
    endpoints: BTreeMap<String, Endpoint>,
}

/// The node-local network.
pub struct Network {
    config: BridgeConfig,
    exec_root: PathBuf,
    thread: NetworkThread,
    bridge: tokio::sync::OnceCell<u32>,
    allocations: Mutex<Allocations>,
    /// Counts changes of the published ports, and which of them the packet filter has.
    wanted_rules: AtomicU64,
    applied_rules: tokio::sync::Mutex<u64>,
    /// For what comes over IPv6.
    forwarder: Forwarder,
}

impl Network {
    /// Takes over the network of the live containers and removes what belonged to others.
    pub async fn open(config: &RuntimeConfig, surviving: &[Surviving]) -> Result<Self, RuntimeError> {
        let name = &config.bridge.name;
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if name.is_empty() || name.len() > INTERFACE_NAME_MAX || !name.bytes().all(fine) {
            let invalid = std::io::Error::other("names have 1 to 15 letters, digits, '-' and '_'");
            return Err(RuntimeError::Host {
                operation: format!("use {name:?} as the bridge's name"),
                source: invalid,
            });
        }
        let directory = config.exec_root.join("netns");
        fs::create_dir_all(&directory).map_err(RuntimeError::file("create", &directory))?;
        let network = Self {
            config: config.bridge.clone(),
            exec_root: config.exec_root.clone(),
            thread: NetworkThread::start()?,
            bridge: tokio::sync::OnceCell::new(),
            allocations: Mutex::new(Allocations {
                addresses: Addresses::new(&config.bridge),
                ports: Ports::default(),
                mesh: Mesh::default(),
                endpoints: BTreeMap::new(),
            }),
            wanted_rules: AtomicU64::new(1),
            applied_rules: tokio::sync::Mutex::new(0),
            forwarder: Forwarder::default(),
        };
        network.take_over(surviving).await?;
        Ok(network)
    }

    fn held(&self) -> MutexGuard<'_, Allocations> {
        self.allocations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take_over(&self, surviving: &[Surviving]) -> Result<(), RuntimeError> {
        for container in surviving {
            let namespace = namespace_path(&self.exec_root, &container.container);
            let (address, ports) = (container.address, container.ports.clone());
            let endpoint = Endpoint { namespace, address, ports, mesh: container.mesh.clone() };
            let mut held = self.held();
            if let Some(address) = container.address {
                held.addresses.keep(address);
                container.ports.iter().for_each(|port| held.ports.keep(port, address));
                held.mesh.keep(&container.container, &container.mesh, address);
            }
            held.endpoints.insert(container.container.clone(), endpoint);
        }
        let live: BTreeSet<String> = surviving.iter().map(|container| container.container.clone()).collect();
        let (directory, bridge) = (self.exec_root.join("netns"), self.config.name.clone());
        let sweep = move |_: &Host| {
            for (name, path) in namespace::bound(&directory)? {
                if !live.contains(&name) {
                    namespace::release(&path)?;
                }
            }
            let interfaces: BTreeSet<String> = live.iter().map(|container| interface_name(container)).collect();
            let mut netlink = Netlink::open()?;
            let all = netlink.interfaces()?;
            let index = all.iter().find(|interface| interface.name == bridge).map(|interface| interface.index);
            for stray in all.iter().filter(|found| index.is_some() && found.master == index) {
                if !interfaces.contains(&stray.name) {
                    match netlink.remove(stray.index) {
                        // Gone by itself meanwhile, with the namespace that its other end was in.
                        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                        other => other?,
                    }
                }
            }
            Ok(index.is_some())
        };
        let was_there = self.thread.run("clean up the node-local network", sweep).await?;
        if was_there || surviving.iter().any(|container| container.address.is_some()) {
            self.bridge().await?;
        }
        Ok(())
    }

    /// Makes the bridge and the rules with the first container that needs them.
    async fn bridge(&self) -> Result<u32, RuntimeError> {
        let make = || async {
            let config = self.config.clone();
            let gateway = self.held().addresses.gateway();
            let operation = format!("set up the bridge {}", config.name);
            let index = self.thread.run(&operation, move |_| set_up_bridge(&config, gateway)).await?;
            self.apply_rules().await?;
            Ok(index)
        };
        self.bridge.get_or_try_init(make).await.copied()
    }

    /// Applies the newest rules unless somebody else has meanwhile: several containers share one run of `nft`.
    async fn apply_rules(&self) -> Result<(), RuntimeError> {
        let wanted = self.wanted_rules.load(Ordering::SeqCst);
        let mut applied = self.applied_rules.lock().await;
        if *applied >= wanted {
            return Ok(());
        }
        let newest = self.wanted_rules.load(Ordering::SeqCst);
        let publications = self.held().publications();
        filter::apply(&self.config.name, &filter::table(&self.config, &publications)).await?;
        self.forwarder.set(&publications).await;
        *applied = newest;
        Ok(())
    }

    /// Makes a namespace with nothing but a loopback interface.
    pub async fn isolate(&self, container: &str) -> Result<Endpoint, ControllerError> {
        let namespace = namespace_path(&self.exec_root, container);
        let endpoint = Endpoint { namespace, address: None, ports: Vec::new(), mesh: MeshPorts::default() };
        self.create(container, endpoint, None).await
    }

    /// Makes a namespace with an address on the bridge and ports on this host; those of the mesh lead there once it serves.
    pub async fn attach(&self, container: &str, wanted: Wanted<'_>) -> Result<Endpoint, ControllerError> {
        let bridge = self.bridge().await?;
        let (endpoint, link) = self.allocate(container, wanted, bridge)?;
        let made = self.create(container, endpoint.clone(), Some(link)).await;
        // A port of the mesh may have been another service's until now.
        if made.is_ok()
            && !(wanted.ports.is_empty() && wanted.mesh.ports.is_empty())
            && let Err(error) = self.publish_anew(&endpoint.ports).await
        {
            self.detach(container).await?;
            return Err(error.into());
        }
        if made.is_err() {
            self.give_back(container, &endpoint);
        }
        made
    }

    /// From now on connections to its ports of the mesh reach the container, too.
    pub async fn serve(&self, container: &str) -> Result<(), RuntimeError> {
        let changed = self.held().mesh.serve(container);
        if changed { self.publish_anew(&self.mesh_ports(container)).await } else { Ok(()) }
    }

    /// No new connection to its ports of the mesh reaches the container any more; those under way go on.
    pub async fn withdraw(&self, container: &str) -> Result<(), RuntimeError> {
        let changed = self.held().mesh.leave(container);
        if changed { self.publish_anew(&self.mesh_ports(container)).await } else { Ok(()) }
    }

    fn mesh_ports(&self, container: &str) -> Vec<Published> {
        self.held().endpoints.get(container).map(|endpoint| endpoint.mesh.ports.clone()).unwrap_or_default()
    }

    /// Brings the packet filter up to date after these ports have changed hands, and datagrams that are on their way to
    /// whoever had them.
    async fn publish_anew(&self, changed: &[Published]) -> Result<(), RuntimeError> {
        self.wanted_rules.fetch_add(1, Ordering::SeqCst);
        self.apply_rules().await?;
        let datagrams: BTreeSet<u16> =
            changed.iter().filter(|port| port.protocol == "udp").map(|port| port.host_port).collect();
        if datagrams.is_empty() {
            return Ok(());
        }
        let published = self.held().publications();
        let targets = |port: u16| published.get(&("udp".to_owned(), port)).into_iter().flatten().copied().collect();
        let ports: BTreeMap<u16, BTreeSet<Target>> = datagrams.into_iter().map(|port| (port, targets(port))).collect();
        let forgotten = self.thread.run("forget flows of datagrams", move |_| flows::forget_strays(&ports)).await;
        if let Err(error) = forgotten {
            tracing::warn!(%error, "who goes on sending datagrams to a task that has ended will not reach another one");
        }
        Ok(())
    }

    fn allocate(&self, container: &str, wanted: Wanted<'_>, bridge: u32) -> Result<(Endpoint, Link), ControllerError> {
        let mut held = self.held();
        let gateway = held.addresses.gateway();
        let no_address = || RuntimeError::NoAddress { bridge: self.config.name.clone() };
        let address = held.addresses.take().ok_or_else(no_address)?;
        let ports = match held.publish(container, wanted, address, &self.forwarder) {
            Ok(ports) => ports,
            Err(error) => {
                held.addresses.free(address);
                return Err(Refusal::new(Code::ResourceExhausted, error.to_string()).into());
            }
        };
        let link = Link {
            host_interface: interface_name(container),
            bridge,
            address,
            prefix_length: self.config.prefix_length,
            gateway,
        };
        let namespace = namespace_path(&self.exec_root, container);
        Ok((Endpoint { namespace, address: Some(address), ports, mesh: wanted.mesh.clone() }, link))
    }

    async fn create(
        &self,
        container: &str,
        endpoint: Endpoint,
        link: Option<Link>,
    ) -> Result<Endpoint, ControllerError> {
        let path = endpoint.namespace.clone();
        let operation = format!("make the network namespace of container {container}");
        let make = move |host: &Host| {
            namespace::release(&path)?;
            host.create(&path, link.as_ref())
        };
        self.thread.run(&operation, make).await?;
        self.held().endpoints.insert(container.to_owned(), endpoint.clone());
        Ok(endpoint)
    }

    fn give_back(&self, container: &str, endpoint: &Endpoint) -> bool {
        let mut held = self.held();
        held.ports.free(&endpoint.ports);
        if let Some(address) = endpoint.address {
            held.addresses.free(address);
        }
        held.mesh.leave(container)
    }

    /// Removes a container's namespace, address and ports. Gone already is fine.
    pub async fn detach(&self, container: &str) -> Result<(), RuntimeError> {
        let endpoint = self.held().endpoints.remove(container);
        let path = namespace_path(&self.exec_root, container);
        let operation = format!("remove the network namespace of container {container}");
        self.thread.run(&operation, move |_| namespace::release(&path)).await?;
        let Some(endpoint) = endpoint else { return Ok(()) };
        let served = self.give_back(container, &endpoint);
        if !endpoint.ports.is_empty() || served {
            self.publish_anew(&[endpoint.ports, endpoint.mesh.ports].concat()).await?;
        }
        Ok(())
    }
}

impl Allocations {
    /// Takes the ports that a container wants. Either all or none.
    fn publish(
        &mut self,
        container: &str,
        wanted: Wanted<'_>,
        address: Ipv4Addr,
        forwarder: &Forwarder,
    ) -> Result<Vec<Published>, PortError> {
        let mesh = &self.mesh;
        let busy = |port: &Published| forwarder.is_taken(&port.protocol, port.host_port);
        let ports = self.ports.take(wanted.ports, address, |port| mesh.holds(port) || busy(port))?;
        let single = wanted.mesh.ports.iter().find(|port| self.ports.holds(port));
        let foreign = wanted.mesh.ports.iter().find(|port| !mesh.holds(port) && busy(port));
        let joined = match (single, foreign) {
            (Some(port), _) => Err(PortError::Taken { port: port.host_port }),
            (_, Some(port)) => Err(PortError::HeldByHost { port: port.host_port, protocol: port.protocol.clone() }),
            _ => self.mesh.join(container, wanted.mesh, address),
        };
        if let Err(error) = joined {
            self.ports.free(&ports);
            return Err(error);
        }
        Ok(ports)
    }

    /// Everybody who answers on a port of this host.
    fn publications(&self) -> Publications {
        let single = self.ports.all().iter().map(|(key, target)| (key.clone(), vec![*target]));
        single.chain(self.mesh.targets().map(|(key, targets)| (key.clone(), targets))).collect()
    }
}

fn interface_name(container: &str) -> String {
    format!("sk{}", container.get(..INTERFACE_ID_LENGTH).unwrap_or(container))
}

fn set_up_bridge(config: &BridgeConfig, gateway: Ipv4Addr) -> std::io::Result<u32> {
    let mut netlink = Netlink::open()?;
    if !netlink.interfaces()?.iter().any(|interface| interface.name == config.name) {
        netlink.add_bridge(&config.name, namespace::hardware_address(gateway))?;
    }
    let all = netlink.interfaces()?;
    let found = all.iter().find(|interface| interface.name == config.name);
    let bridge = found.filter(|interface| interface.is_bridge);
    let bridge = bridge.ok_or_else(|| std::io::Error::other("an interface of that name is no bridge"))?;
    netlink.add_address(bridge.index, gateway, config.prefix_length)?;
    netlink.set_up(bridge.index)?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    // So that ports published on this host answer on 127.0.0.1 too; the table's `guard` keeps containers off it.
    fs::write(format!("/proc/sys/net/ipv4/conf/{}/route_localnet", config.name), "1")?;
    Ok(bridge.index)
}
