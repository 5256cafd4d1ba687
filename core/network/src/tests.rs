//! The allocator's rules, over a ledger in which everything proposed is committed at once.

mod many;
mod networks;
mod services;
mod tasks;

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use skep_model::objects::DEFAULT_CLUSTER_NAME;
use skep_model::pb::objects as pb;
use skep_model::pb::types::port_config::{Protocol, PublishMode};
use skep_model::pb::types::{
    Annotations, ClusterSpec, Driver, EndpointSpec, IpamConfig, IpamOptions, NetworkAttachmentConfig, NetworkSpec,
    PortConfig, ServiceSpec, TaskSpec,
};
use skep_model::{
    Cluster, Kept, Network, NetworkId, Node, NodeId, Now, Refusal, Service, ServiceId, Task, TaskId, TaskState, Time,
    Verbatim, WallTime,
};
use skep_store::{Ledger, Read, Store, Stored, Tx};

use crate::Allocator;

/// Turns after which nothing may move any more.
const TURNS_MAX: usize = 5;

struct Bench {
    ledger: Ledger,
    allocator: Allocator,
    now: Now,
    index: u64,
}

impl Bench {
    /// An empty cluster with a leader.
    fn new() -> Self {
        Self::with(cluster(&[], 0))
    }

    fn with(cluster: Cluster) -> Self {
        let now = Now { monotonic: Time(1_000_000), wall: WallTime(1_700_000_000_000_000_000) };
        let mut bench = Self { ledger: Ledger::new(Store::default()), allocator: Allocator::new(), now, index: 100 };
        bench.create(cluster);
        bench.allocator.lead();
        bench.settle();
        bench
    }

    /// Another manager takes over with the same facts.
    fn take_over(&mut self) {
        self.allocator = Allocator::new();
        self.allocator.lead();
        self.settle();
    }

    fn create<T: Stored>(&mut self, object: T) {
        self.write(|tx| tx.create(object));
    }

    fn update<T: Stored>(&mut self, object: T) {
        self.write(|tx| tx.update(object));
    }

    fn remove<T: Stored>(&mut self, id: &T::Id) {
        self.write(|tx| tx.remove::<T>(id));
    }

    fn write(&mut self, change: impl FnOnce(&mut Tx<'_>) -> Result<(), Refusal>) {
        self.index += 1;
        let (_, entry) = self.ledger.transact(self.now, self.index, self.index, change).expect("a transaction");
        self.commit(entry.into_iter().collect());
        self.settle();
    }

    fn commit(&mut self, entries: Vec<skep_store::Entry>) {
        for entry in entries {
            for event in self.ledger.commit(&entry).expect("a commit") {
                self.allocator.observe(&event);
            }
        }
    }

    /// One turn; whether anything was written.
    fn turn(&mut self) -> bool {
        let Self { ledger, allocator, now, index, .. } = self;
        let mut next = *index;
        let mut number = || {
            next += 1;
            next
        };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let entries = ledger.turn(*now, *index, &mut number, |tx| allocator.turn(*now, &mut rng, tx));
        self.index = next;
        let wrote = !entries.is_empty();
        self.commit(entries);
        wrote
    }

    /// Turns until nothing moves.
    fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            if !self.turn() {
                return;
            }
        }
        panic!("the allocator does not come to rest");
    }

    fn pass(&mut self, duration: Duration) {
        self.now.monotonic = self.now.monotonic.after(duration);
        self.settle();
    }

    fn network(&self, id: &str) -> Network {
        (*self.ledger.committed().network(&network_id(id)).expect("a network")).clone()
    }

    fn service(&self, id: &str) -> Service {
        (*self.ledger.committed().service(&service_id(id)).expect("a service")).clone()
    }

    fn task(&self, id: &str) -> Task {
        (*self.ledger.committed().task(&task_id(id)).expect("a task")).clone()
    }

    fn node(&self, id: &str) -> Node {
        (*self.ledger.committed().node(&NodeId::new(id).expect("an id")).expect("a node")).clone()
    }

    fn set_state(&mut self, id: &str, state: TaskState) {
        let mut task = self.task(id);
        task.status.set_state(state);
        self.update(task);
    }

    fn schedule(&mut self, id: &str, node: &str) {
        let mut task = self.task(id);
        task.node_id = NodeId::optional(node);
        task.status.set_state(TaskState::Assigned);
        self.update(task);
    }

    /// `network=address,…` of a task's attachments.
    fn addresses(&self, task: &str) -> Vec<String> {
        written(&self.task(task).networks)
    }

    fn attachments(&self, node: &str) -> Vec<String> {
        written(&self.node(node).attachments)
    }

    fn virtual_ips(&self, service: &str) -> Vec<String> {
        let endpoint = self.service(service).endpoint.unwrap_or_default();
        endpoint.virtual_ips.iter().map(|address| format!("{}={}", address.network_id, address.addr)).collect()
    }

    fn published(&self, service: &str) -> Vec<u32> {
        let endpoint = self.service(service).endpoint.unwrap_or_default();
        endpoint.ports.iter().map(|port| port.published_port).collect()
    }

    /// A task as the orchestrator makes it.
    fn make_task(&mut self, id: &str, service: &str) {
        let service = self.service(service);
        let spec = service.spec.task.clone().map(Verbatim::new).unwrap_or_default();
        let mut task = task(id, spec);
        task.service_id = Some(service.id);
        self.create(task);
    }
}

fn written(attachments: &[pb::NetworkAttachment]) -> Vec<String> {
    let id = |attachment: &pb::NetworkAttachment| attachment.network.clone().unwrap_or_default().id.clone();
    attachments.iter().map(|attachment| format!("{}={}", id(attachment), attachment.addresses.join(","))).collect()
}

fn network_id(text: &str) -> NetworkId {
    NetworkId::new(text).expect("an id")
}

fn service_id(text: &str) -> ServiceId {
    ServiceId::new(text).expect("an id")
}

fn task_id(text: &str) -> TaskId {
    TaskId::new(text).expect("an id")
}

fn annotations(name: &str) -> Option<Annotations> {
    Some(Annotations { name: name.to_owned(), ..Annotations::default() })
}

fn cluster(pools: &[&str], subnet_size: u32) -> Cluster {
    let spec = ClusterSpec { annotations: annotations(DEFAULT_CLUSTER_NAME), ..ClusterSpec::default() };
    let body = pb::Cluster {
        id: "cluster".to_owned(),
        spec: Some(Verbatim::new(spec)),
        default_address_pool: pools.iter().map(|pool| (*pool).to_owned()).collect(),
        subnet_size,
        ..pb::Cluster::default()
    };
    Cluster::try_from(Kept::new(body)).expect("a cluster")
}

fn network_of(id: &str, spec: NetworkSpec) -> Network {
    let spec = Verbatim::new(NetworkSpec { annotations: annotations(id), ..spec });
    let body = pb::Network { id: id.to_owned(), spec: Some(spec), ..pb::Network::default() };
    Network::try_from(Kept::new(body)).expect("a network")
}

fn overlay(id: &str) -> Network {
    network_of(id, NetworkSpec::default())
}

fn ingress() -> Network {
    network_of("ingress", NetworkSpec { ingress: true, ..NetworkSpec::default() })
}

fn with_driver(id: &str, driver: &str) -> Network {
    let driver = Driver { name: driver.to_owned(), ..Driver::default() };
    network_of(id, NetworkSpec { driver_config: Some(driver), ..NetworkSpec::default() })
}

/// An overlay with `subnet range gateway`, each `-` where the user says nothing.
fn with_subnet(id: &str, config: &str) -> Network {
    let mut words = config.split(' ').map(|word| if word == "-" { String::new() } else { word.to_owned() });
    let config = IpamConfig {
        subnet: words.next().unwrap_or_default(),
        range: words.next().unwrap_or_default(),
        gateway: words.next().unwrap_or_default(),
        ..IpamConfig::default()
    };
    let ipam = IpamOptions { driver: None, configs: vec![config] };
    network_of(id, NetworkSpec { ipam: Some(ipam), ..NetworkSpec::default() })
}

fn node(id: &str) -> Node {
    Node::try_from(Kept::new(pb::Node { id: id.to_owned(), ..pb::Node::default() })).expect("a node")
}

fn task(id: &str, spec: Verbatim<TaskSpec>) -> Task {
    let body = pb::Task { id: id.to_owned(), spec: Some(spec), desired_state: 512, ..pb::Task::default() };
    Task::try_from(Kept::new(body)).expect("a task")
}

fn attach(networks: &[&str]) -> Vec<NetworkAttachmentConfig> {
    let config = |target: &&str| NetworkAttachmentConfig { target: (*target).to_owned(), ..Default::default() };
    networks.iter().map(config).collect()
}

fn port(published: u32, target: u32, mode: PublishMode) -> PortConfig {
    PortConfig {
        protocol: Protocol::Tcp.into(),
        target_port: target,
        published_port: published,
        publish_mode: mode.into(),
        ..PortConfig::default()
    }
}

fn service_of(id: &str, networks: &[&str], endpoint: Option<EndpointSpec>) -> Service {
    let task = TaskSpec { networks: attach(networks), ..TaskSpec::default() };
    let spec = ServiceSpec { annotations: annotations(id), task: Some(task), endpoint, ..ServiceSpec::default() };
    let body = pb::Service { id: id.to_owned(), spec: Some(Verbatim::new(spec)), ..pb::Service::default() };
    Service::try_from(Kept::new(body)).expect("a service")
}

fn service(id: &str, networks: &[&str]) -> Service {
    service_of(id, networks, None)
}

fn publishing(id: &str, ports: Vec<PortConfig>) -> Service {
    service_of(id, &[], Some(EndpointSpec { ports, ..EndpointSpec::default() }))
}
