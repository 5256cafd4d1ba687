//! A pretended membership.

use std::sync::Mutex;

use async_trait::async_trait;
use skep_docker_api::{HostFacts, InitRequest, JoinRequest, LeaveRequest, LocalState, Standing, Swarm, SwarmInfo};
use skep_model::{Code, NodeId, Refusal};

pub struct FakeSwarm {
    pub standing: Mutex<Standing>,
    pub init: Mutex<Option<InitRequest>>,
    pub join: Mutex<Option<JoinRequest>>,
    pub left: Mutex<Option<LeaveRequest>>,
}

impl FakeSwarm {
    pub fn new(standing: Standing) -> Self {
        let standing = Mutex::new(standing);
        Self { standing, init: Mutex::default(), join: Mutex::default(), left: Mutex::default() }
    }
}

#[async_trait]
impl Swarm for FakeSwarm {
    fn standing(&self) -> Standing {
        *self.standing.lock().unwrap()
    }

    async fn info(&self) -> SwarmInfo {
        let manager = self.standing() == Standing::Manager;
        SwarmInfo {
            state: if manager { LocalState::Active } else { LocalState::Inactive },
            node_id: if manager { "node1".to_owned() } else { String::new() },
            node_addr: if manager { "10.1.0.1".to_owned() } else { String::new() },
            control_available: manager,
            managers: if manager { vec![("node1".to_owned(), "10.1.0.1:2377".to_owned())] } else { Vec::new() },
            ..Default::default()
        }
    }

    async fn init(&self, request: InitRequest) -> Result<NodeId, Refusal> {
        *self.init.lock().unwrap() = Some(request);
        *self.standing.lock().unwrap() = Standing::Manager;
        Ok(NodeId::new("node1").unwrap())
    }

    async fn join(&self, request: JoinRequest) -> Result<(), Refusal> {
        *self.join.lock().unwrap() = Some(request);
        Ok(())
    }

    async fn leave(&self, request: LeaveRequest) -> Result<(), Refusal> {
        *self.left.lock().unwrap() = Some(request);
        if request.force { Ok(()) } else { Err(Refusal::new(Code::Unavailable, "You are attempting to leave")) }
    }

    async fn unlock(&self, key: String) -> Result<(), Refusal> {
        if key == "SWMKEY-1-good" {
            return Ok(());
        }
        Err(Refusal::new(Code::Unauthenticated, "swarm could not be unlocked: invalid key provided"))
    }

    async fn unlock_key(&self) -> Result<String, Refusal> {
        Ok("SWMKEY-1-good".to_owned())
    }

    async fn host(&self) -> HostFacts {
        HostFacts {
            id: "host-id".to_owned(),
            hostname: "alpha".to_owned(),
            version: "0.1.0".to_owned(),
            architecture: "x86_64".to_owned(),
            cpus: 2,
            default_runtime: "embedded".to_owned(),
            cgroup_version: "2".to_owned(),
            ..Default::default()
        }
    }
}
