//! Objects, contexts and ledgers that tests start from.

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use skep_model::pb::types as t;
use skep_model::pb::types::task_spec::Runtime;
use skep_model::{
    Cluster, ClusterId, ControlCall, Meta, Node, NodeId, Now, RaftId, Refusal, Service, ServiceId, Task, TaskId, Time,
    Verbatim, WallTime,
};

use crate::commands::{CommandContext, MemberView, execute, query};
use crate::object::Stored;
use crate::{Entry, Ledger, Read};

pub(crate) const NOW: Now = Now { monotonic: Time(1_000_000), wall: WallTime(1_700_000_000_000_000_000) };

/// Text that is a valid id: 25 characters.
pub(crate) fn id(text: &str) -> String {
    format!("{text:0<25}")
}

pub(crate) fn node_id(text: &str) -> NodeId {
    NodeId::new(&id(text)).unwrap()
}

pub(crate) fn service_id(text: &str) -> ServiceId {
    ServiceId::new(&id(text)).unwrap()
}

pub(crate) fn task_id(text: &str) -> TaskId {
    TaskId::new(&id(text)).unwrap()
}

pub(crate) fn annotations(name: &str) -> Option<t::Annotations> {
    Some(t::Annotations { name: name.to_owned(), ..t::Annotations::default() })
}

pub(crate) fn container_spec() -> t::ContainerSpec {
    t::ContainerSpec { image: "nginx:1.27".to_owned(), ..t::ContainerSpec::default() }
}

pub(crate) fn service_spec(name: &str) -> t::ServiceSpec {
    t::ServiceSpec {
        annotations: annotations(name),
        task: Some(t::TaskSpec { runtime: Some(Runtime::Container(container_spec())), ..t::TaskSpec::default() }),
        mode: Some(t::service_spec::Mode::Replicated(t::ReplicatedService { replicas: 2 })),
        ..t::ServiceSpec::default()
    }
}

pub(crate) fn service(text: &str) -> Service {
    Service {
        id: service_id(text),
        meta: Meta::default(),
        spec: Verbatim::new(service_spec(text)),
        endpoint: None,
        update_status: None,
        previous_spec: None,
        pending_delete: false,
        spec_version: Some(0),
        previous_spec_version: None,
        job_status: None,
        unknown: Default::default(),
    }
}

pub(crate) fn node(text: &str, role: t::NodeRole) -> Node {
    let spec = t::NodeSpec { desired_role: role.into(), ..t::NodeSpec::default() };
    let description = t::NodeDescription { hostname: text.to_owned(), ..t::NodeDescription::default() };
    Node {
        id: node_id(text),
        meta: Meta::default(),
        spec: Verbatim::new(spec),
        description: Some(Verbatim::new(description)),
        status: t::NodeStatus { state: t::node_status::State::Ready.into(), ..t::NodeStatus::default() },
        manager_status: None,
        attachment: None,
        certificate: t::Certificate::default(),
        role,
        attachments: Vec::new(),
        vxlan_udp_port: 0,
        unknown: Default::default(),
    }
}

pub(crate) fn task(text: &str, service: &str, slot: u64, node: Option<&str>) -> Task {
    Task {
        id: task_id(text),
        meta: Meta::default(),
        spec: Verbatim::new(service_spec(service).task.unwrap()),
        service_id: Some(service_id(service)),
        slot,
        node_id: node.map(node_id),
        annotations: Default::default(),
        service_annotations: annotations(service).unwrap().into(),
        status: t::TaskStatus { state: t::TaskState::Running.into(), ..t::TaskStatus::default() },
        desired_state: t::TaskState::Running,
        networks: Default::default(),
        endpoint: None,
        log_driver: None,
        spec_version: Some(0),
        extras: Default::default(),
    }
}

pub(crate) fn cluster() -> Cluster {
    let tokens = t::JoinTokens {
        worker: format!("SWMTKN-1-{}-{}", "d".repeat(50), "w".repeat(25)),
        manager: format!("SWMTKN-1-{}-{}", "d".repeat(50), "m".repeat(25)),
    };
    Cluster {
        id: ClusterId::new(&id("cluster")).unwrap(),
        meta: Meta::default(),
        spec: Verbatim::new(t::ClusterSpec { annotations: annotations("default"), ..t::ClusterSpec::default() }),
        root_ca: t::RootCa {
            ca_key: "the key".into(),
            ca_cert: "the root".into(),
            join_tokens: Some(tokens),
            ..t::RootCa::default()
        },
        network_bootstrap_keys: Vec::new(),
        encryption_key_lamport_clock: 0,
        unlock_keys: Vec::new(),
        fips: false,
        default_address_pool: Vec::new(),
        subnet_size: 0,
        vxlan_udp_port: 0,
        blacklisted_certificates: Default::default(),
        unknown: Default::default(),
    }
}

pub(crate) fn snapshot_bytes(store: &crate::Store) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.snapshot().encode(&mut bytes);
    bytes
}

/// A swarm on which commands act: every transaction commits at once.
pub(crate) struct Swarm {
    pub ledger: Ledger,
    pub members: Vec<MemberView>,
    pub last_index: u64,
    pub skep_nodes: BTreeSet<NodeId>,
    rng: ChaCha8Rng,
}

impl Swarm {
    pub(crate) fn new() -> Self {
        Self {
            ledger: Ledger::default(),
            members: Vec::new(),
            last_index: 10,
            skep_nodes: BTreeSet::new(),
            rng: ChaCha8Rng::seed_from_u64(1),
        }
    }

    /// With one object in it.
    pub(crate) fn with<T: Stored>(mut self, object: T) -> Self {
        self.transact(|tx| tx.create(object)).unwrap();
        self
    }

    /// With a node that is a reachable member of the quorum.
    pub(crate) fn with_manager(mut self, text: &str) -> Self {
        self.members.push(MemberView {
            raft_id: RaftId(self.members.len() as u64 + 1),
            node_id: node_id(text),
            addr: format!("{text}:2377"),
            leader: self.members.is_empty(),
            reachable: true,
            votes: true,
        });
        self.with(node(text, t::NodeRole::Manager))
    }

    pub(crate) fn transact<R>(&mut self, f: impl FnOnce(&mut crate::Tx) -> Result<R, Refusal>) -> Result<R, Refusal> {
        let (result, entry) = self.ledger.transact(NOW, self.last_index, self.last_index + 1, f)?;
        if let Some(entry) = entry {
            self.commit(&entry);
        }
        Ok(result)
    }

    /// Sends the entry through its encoding, as through the log.
    pub(crate) fn commit(&mut self, entry: &Entry) {
        self.last_index += 1;
        self.ledger.commit(&Entry::decode(entry.encode()).unwrap()).unwrap();
    }

    pub(crate) fn ask<C: ControlCall>(&mut self, request: C) -> Result<C::Response, Refusal> {
        let request = request.into();
        let mut rng = self.rng.clone();
        let members = self.members.clone();
        let expiry = |pem: &[u8]| (!pem.is_empty()).then_some(WallTime(NOW.wall.0 + 1));
        let mut context = CommandContext {
            now: NOW,
            rng: &mut rng,
            members: &members,
            certificate_expiry: &expiry,
            root_under: &|cluster, _| Ok(cluster.root_ca.clone()),
            extended_constraints: false,
            skep_nodes: &self.skep_nodes.clone(),
        };
        let response = match request.kind() {
            skep_model::ControlKind::Read => query(self.ledger.committed(), &context, request),
            skep_model::ControlKind::Write => self.transact(|tx| execute(tx, &mut context, request)),
        };
        self.rng = rng;
        Ok(C::response(response?).expect("an answer to the question"))
    }

    pub(crate) fn version_of_service(&self, name: &str) -> Option<t::Version> {
        let service = self.ledger.committed().service_by_name(name).unwrap();
        Some(t::Version { index: service.meta.version })
    }
}
