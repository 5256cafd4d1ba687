//! Who may call what.

use std::time::Duration;

use skep_model::pb::messages as m;
use skep_model::pb::types::NodeRole;
use skep_model::{Code, ControlRequest};
use skep_rpc::backend::Standing;

use crate::swarm::{Swarm, soon};

fn get_node() -> ControlRequest {
    m::GetNodeRequest { node_id: "nobody".to_owned() }.into()
}

#[tokio::test]
async fn a_manager_commands_and_hears_the_refusal_as_it_was_said() {
    let swarm = Swarm::new();
    let manager = swarm.manager().await;
    let clients = swarm.clients(NodeRole::Manager);
    let refusal = soon(clients.control(&manager.address, get_node())).await.expect_err("no such node");
    assert_eq!((refusal.code, refusal.message.as_str()), (Code::NotFound, "node nobody not found"));
    let list = m::ListServicesRequest::default().into();
    let answer = soon(clients.control(&manager.address, list)).await.expect("an empty list");
    assert_eq!(answer, m::ListServicesResponse::default().into());
}

#[tokio::test]
async fn a_worker_may_not_command() {
    let swarm = Swarm::new();
    let manager = swarm.manager().await;
    let clients = swarm.clients(NodeRole::Worker);
    let refusal = soon(clients.control(&manager.address, get_node())).await.expect_err("a worker");
    assert_eq!(refusal.code, Code::PermissionDenied);
    assert!(refusal.message.starts_with("Permission denied: "));
    let health = soon(clients.health(&manager.address, Duration::from_secs(5))).await;
    assert_eq!(health.expect_err("a worker").code, Code::PermissionDenied);
    assert!(manager.fake.called("control").is_empty());
}

#[tokio::test]
async fn a_certificate_of_another_swarm_opens_nothing() {
    let swarm = Swarm::new();
    let manager = swarm.manager().await;
    let stranger = Swarm::new().clients(NodeRole::Manager);
    let refusal = soon(stranger.control(&manager.address, get_node())).await.expect_err("a stranger");
    assert_eq!(refusal.code, Code::Unavailable, "{refusal}");
    assert!(manager.fake.called("control").is_empty());
}

#[tokio::test]
async fn the_same_root_with_another_cluster_id_opens_nothing() {
    let mut swarm = Swarm::new();
    let manager = swarm.manager().await;
    swarm.cluster = skep_model::ClusterId::random(&mut crate::swarm::rng());
    let refusal =
        soon(swarm.clients(NodeRole::Manager).control(&manager.address, get_node())).await.expect_err("other");
    assert!(refusal.message.contains("belongs to another swarm"), "{refusal}");
}

#[tokio::test]
async fn a_removed_node_is_refused_and_a_demoted_one_commands_no_more() {
    let swarm = Swarm::new();
    let manager = swarm.manager().await;
    let clients = swarm.clients(NodeRole::Manager);
    *manager.fake.standing.lock().unwrap() = Box::new(|_| Standing::Removed);
    let refusal = soon(clients.control(&manager.address, get_node())).await.expect_err("removed");
    assert_eq!(refusal.code, Code::PermissionDenied);
    assert!(refusal.message.contains("was removed from swarm"), "{refusal}");
    *manager.fake.standing.lock().unwrap() = Box::new(|_| Standing::Member(NodeRole::Worker));
    let refusal = soon(clients.control(&manager.address, get_node())).await.expect_err("demoted");
    assert_eq!(refusal.code, Code::PermissionDenied);
    // Its store may lag behind ours: Raft's membership alone decides on Raft.
    assert!(soon(clients.health(&manager.address, Duration::from_secs(5))).await.expect("a member"));
}

#[tokio::test]
async fn an_unspecified_address_is_completed_with_the_callers() {
    let swarm = Swarm::new();
    let manager = swarm.manager().await;
    let clients = swarm.clients(NodeRole::Manager);
    let request = m::JoinRequest { addr: "0.0.0.0:2377".to_owned() };
    let answer = soon(clients.raft_join(&manager.address, request)).await.expect("joins");
    assert_eq!(answer.members[0].addr, "127.0.0.1:2377");
    let request = m::JoinRequest { addr: "nonsense".to_owned() };
    let refusal = soon(clients.raft_join(&manager.address, request)).await.expect_err("no address");
    assert_eq!(refusal.code, Code::InvalidArgument);
}
