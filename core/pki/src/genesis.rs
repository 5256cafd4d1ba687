//! The first facts of a new swarm: cluster, first node, and the networks that are always there (interop §3.2).

use std::collections::BTreeMap;

use bytes::Bytes;
use rand_core::RngCore;
use skep_model::objects::DEFAULT_CLUSTER_NAME;
use skep_model::pb::types::issuance_status::State;
use skep_model::pb::types::node_spec::{Availability, Membership};
use skep_model::pb::types::{
    Annotations, CaConfig, Certificate, ClusterSpec, DispatcherConfig, Driver, EncryptionConfig, EncryptionKey,
    IpamOptions, IssuanceStatus, NetworkSpec, NodeRole, NodeSpec, OrchestrationConfig, RaftConfig, RootCa,
};
use skep_model::time::proto_duration;
use skep_model::{Cluster, ClusterId, Meta, Network, NetworkId, Node, NodeId, Refusal, Verbatim, defaults};
use skep_store::{Read, Tx};

use crate::issue::new_node;
use crate::token::{self, RootDigest, UnlockKey};

/// Marks the networks that every engine has of its own.
pub const PREDEFINED_LABEL: &str = "com.docker.swarm.predefined";
/// Names and drivers of those networks.
const PREDEFINED: [(&str, &str); 2] = [("bridge", "bridge"), ("host", "host")];
const INGRESS: &str = "ingress";
/// The subsystem of the managers' unlock key.
const MANAGER_SUBSYSTEM: &str = "swarm-manager";

/// What the first manager decides for the whole swarm.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// O of every certificate.
    pub id: ClusterId,
    /// What the operator asked for, over `default_cluster_spec`.
    pub spec: ClusterSpec,
    /// The root certificate, PEM, and its key.
    pub root_certificate: Bytes,
    /// PEM.
    pub root_key: Bytes,
    /// Set with autolock.
    pub unlock_key: Option<UnlockKey>,
    /// From which networks get their subnets; empty: the default.
    pub address_pools: Vec<String>,
    /// Prefix length of those subnets; 0: the default.
    pub subnet_size: u32,
    /// VXLAN's port; 0: the default.
    pub vxlan_udp_port: u32,
}

/// The settings of a swarm for which nothing was asked.
pub fn default_cluster_spec() -> ClusterSpec {
    ClusterSpec {
        annotations: Some(Annotations { name: DEFAULT_CLUSTER_NAME.to_owned(), ..Default::default() }),
        orchestration: Some(OrchestrationConfig {
            task_history_retention_limit: defaults::TASK_HISTORY_RETENTION_LIMIT,
        }),
        raft: Some(RaftConfig {
            snapshot_interval: defaults::SNAPSHOT_INTERVAL,
            keep_old_snapshots: 0,
            log_entries_for_slow_followers: defaults::LOG_ENTRIES_FOR_SLOW_FOLLOWERS,
            heartbeat_tick: defaults::HEARTBEAT_TICK,
            election_tick: defaults::ELECTION_TICK,
        }),
        dispatcher: Some(DispatcherConfig { heartbeat_period: Some(proto_duration(defaults::HEARTBEAT_PERIOD)) }),
        ca_config: Some(CaConfig {
            node_cert_expiry: Some(proto_duration(defaults::NODE_CERTIFICATE_EXPIRY)),
            ..Default::default()
        }),
        encryption_config: Some(EncryptionConfig::default()),
        ..Default::default()
    }
}

/// The cluster object of a new swarm, with fresh tokens.
pub fn default_cluster(settings: ClusterSettings, rng: &mut dyn RngCore) -> Cluster {
    let unlock_keys = settings.unlock_key.map(|key| EncryptionKey {
        subsystem: MANAGER_SUBSYSTEM.to_owned(),
        key: Bytes::copy_from_slice(key.bytes()),
        ..Default::default()
    });
    Cluster {
        id: settings.id,
        meta: Meta::default(),
        spec: Verbatim::new(settings.spec),
        root_ca: RootCa {
            ca_key: settings.root_key,
            ca_cert_hash: RootDigest::of(&settings.root_certificate).to_cert_hash(),
            join_tokens: Some(token::generate_both(&settings.root_certificate, false, rng)),
            ca_cert: settings.root_certificate,
            ..Default::default()
        },
        network_bootstrap_keys: Vec::new(),
        encryption_key_lamport_clock: 0,
        unlock_keys: unlock_keys.into_iter().collect(),
        fips: false,
        default_address_pool: settings.address_pools,
        subnet_size: settings.subnet_size,
        vxlan_udp_port: settings.vxlan_udp_port,
        blacklisted_certificates: BTreeMap::new(),
        unknown: Bytes::new(),
    }
}

/// The first manager's own node, whose certificate exists already. Its role is worker until the role manager acts on
/// its desired role.
pub fn first_node(id: NodeId, availability: Availability, vxlan_udp_port: u32) -> Node {
    let mut spec = NodeSpec::default();
    spec.set_desired_role(NodeRole::Manager);
    spec.set_membership(Membership::Accepted);
    spec.set_availability(availability);
    let certificate = Certificate {
        role: NodeRole::Manager.into(),
        cn: id.to_string(),
        status: Some(IssuanceStatus { state: State::Issued.into(), err: String::new() }),
        ..Default::default()
    };
    new_node(id, NodeRole::Worker, spec, certificate, vxlan_udp_port)
}

/// Creates the predefined networks where their names are free, and, in a swarm that is just being made (`fresh`), the
/// ingress network: where it is absent later, the user removed it. Called on every change of leader.
pub fn create_missing_networks(tx: &mut Tx<'_>, rng: &mut dyn RngCore, fresh: bool) -> Result<(), Refusal> {
    if fresh && tx.network_by_name(INGRESS).is_none() {
        let spec = NetworkSpec {
            annotations: Some(Annotations { name: INGRESS.to_owned(), ..Default::default() }),
            driver_config: Some(Driver::default()),
            ipam: Some(IpamOptions { driver: Some(Driver::default()), configs: Vec::new() }),
            ingress: true,
            ..Default::default()
        };
        tx.create(new_network(spec, rng))?;
    }
    for (name, driver) in PREDEFINED {
        if tx.network_by_name(name).is_some() {
            continue;
        }
        let labels = BTreeMap::from([(PREDEFINED_LABEL.to_owned(), "true".to_owned())]);
        let spec = NetworkSpec {
            annotations: Some(Annotations { name: name.to_owned(), labels, ..Default::default() }),
            driver_config: Some(Driver { name: driver.to_owned(), ..Default::default() }),
            ..Default::default()
        };
        tx.create(new_network(spec, rng))?;
    }
    Ok(())
}

fn new_network(spec: NetworkSpec, rng: &mut dyn RngCore) -> Network {
    Network {
        id: NetworkId::random(rng),
        meta: Meta::default(),
        spec: Verbatim::new(spec),
        driver_state: None,
        ipam: None,
        pending_delete: false,
        extra: None,
        unknown: Bytes::new(),
    }
}
