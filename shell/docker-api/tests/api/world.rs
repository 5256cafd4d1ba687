//! A server on a socket of its own over fakes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use skep_docker_api::limits::Patience;
use skep_docker_api::{Api, Standing, serve};
use skep_model::pb::objects as pb;
use skep_model::pb::types::{self, node_spec, node_status, raft_member_status};
use skep_model::{Kept, Verbatim};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client::PATIENCE;
use crate::fake_control::{FakeControl, meta};
use crate::fake_engine::FakeEngine;
use crate::fake_swarm::FakeSwarm;

pub struct World {
    pub control: Arc<FakeControl>,
    pub engine: Arc<FakeEngine>,
    pub swarm: Arc<FakeSwarm>,
    pub socket: PathBuf,
    pub stop: CancellationToken,
    pub server: JoinHandle<()>,
    // Removed when the test is over.
    _directory: tempfile::TempDir,
}

impl World {
    pub fn manager() -> Self {
        Self::new(Standing::Manager)
    }

    pub fn new(standing: Standing) -> Self {
        Self::build(standing, false)
    }

    /// With a server that soon loses patience.
    pub fn impatient() -> Self {
        Self::build(Standing::Manager, true)
    }

    fn build(standing: Standing, impatient: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("api.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let control = Arc::new(FakeControl::default());
        let engine = Arc::new(FakeEngine::default());
        let swarm = Arc::new(FakeSwarm::new(standing));
        {
            let mut state = control.0.lock().unwrap();
            state.nodes =
                vec![node("node1", "alpha", true), node("node2", "beta", false), node("other", "beta", false)];
            state.clusters = vec![cluster()];
            state.networks = vec![network("net1aaaaaaaaaaaaaaaaaaaaa", "blue")];
        }
        let stop = CancellationToken::new();
        let client = if impatient { Duration::from_millis(300) } else { PATIENCE };
        let patience = Patience { header: client, body_idle: client, drain: PATIENCE };
        let api = Api::new(control.clone(), engine.clone(), swarm.clone(), stop.clone()).with_patience(patience);
        let server = tokio::spawn(serve(listener, api));
        Self { control, engine, swarm, socket, stop, server, _directory: directory }
    }
}

fn node(id: &str, hostname: &str, leader: bool) -> Kept<pb::Node> {
    Kept::new(pb::Node {
        id: id.to_owned(),
        meta: Some(meta(3)),
        spec: Some(Verbatim::new(types::NodeSpec {
            annotations: Some(types::Annotations::default()),
            desired_role: i32::from(leader),
            membership: node_spec::Membership::Accepted.into(),
            availability: node_spec::Availability::Active.into(),
        })),
        description: Some(Verbatim::new(types::NodeDescription {
            hostname: hostname.to_owned(),
            engine: Some(types::EngineDescription { engine_version: "0.1.0".to_owned(), ..Default::default() }),
            ..Default::default()
        })),
        status: Some(types::NodeStatus { state: node_status::State::Ready.into(), ..Default::default() }),
        manager_status: leader.then(|| types::ManagerStatus {
            raft_id: 1,
            addr: "10.1.0.1:2377".to_owned(),
            leader: true,
            reachability: raft_member_status::Reachability::Reachable.into(),
        }),
        role: i32::from(leader),
        ..Default::default()
    })
}

fn cluster() -> Kept<pb::Cluster> {
    Kept::new(pb::Cluster {
        id: "cluster1".to_owned(),
        meta: Some(meta(5)),
        spec: Some(Verbatim::new(types::ClusterSpec {
            annotations: Some(types::Annotations { name: "default".to_owned(), ..Default::default() }),
            ca_config: Some(types::CaConfig { signing_ca_key: "secret-key".into(), ..Default::default() }),
            ..Default::default()
        })),
        root_ca: Some(types::RootCa {
            ca_cert: "not a certificate".into(),
            join_tokens: Some(types::JoinTokens {
                worker: "SWMTKN-1-worker".to_owned(),
                manager: "SWMTKN-1-manager".to_owned(),
            }),
            ..Default::default()
        }),
        ..Default::default()
    })
}

fn network(id: &str, name: &str) -> Kept<pb::Network> {
    Kept::new(pb::Network {
        id: id.to_owned(),
        meta: Some(meta(4)),
        spec: Some(Verbatim::new(types::NetworkSpec {
            annotations: Some(types::Annotations { name: name.to_owned(), ..Default::default() }),
            ..Default::default()
        })),
        driver_state: Some(types::Driver { name: "overlay".to_owned(), ..Default::default() }),
        ipam: Some(types::IpamOptions {
            driver: Some(types::Driver { name: "default".to_owned(), ..Default::default() }),
            configs: vec![types::IpamConfig {
                subnet: "10.0.1.0/24".to_owned(),
                gateway: "10.0.1.1".to_owned(),
                ..Default::default()
            }],
        }),
        ..Default::default()
    })
}
