//! Nodes: what the operator allows, who manages, and who is gone for good.

use skep_model::objects::DEFAULT_CLUSTER_NAME;
use skep_model::pb::messages as m;
use skep_model::pb::types::raft_member_status::Reachability;
use skep_model::pb::types::{BlacklistedCertificate, ManagerStatus, NodeRole, NodeSpec, TaskState, TaskStatus};
use skep_model::{Cluster, Code, Kept, Node, Refusal, Task};

use super::cluster;
use super::context::{CommandContext, MemberView};
use super::engine::{check_docker_manager, is_skep};
use super::lookup::{any_of, any_prefix, has_labels, in_sequence, invalid_argument, labels, quoted, required, written};
use crate::read::{Find, Read};
use crate::tx::Tx;

/// A node as readers see it: with its part in the quorum, which is never stored.
fn shown(node: &Node, context: &CommandContext) -> Kept<skep_model::pb::objects::Node> {
    let mut kept = Kept::from(node);
    kept.value.manager_status = context.member(&node.id).map(manager_status);
    kept
}

fn manager_status(member: &MemberView) -> ManagerStatus {
    let reachability = if member.reachable { Reachability::Reachable } else { Reachability::Unreachable };
    ManagerStatus {
        raft_id: member.raft_id.0,
        addr: member.addr.clone(),
        leader: member.leader,
        reachability: reachability.into(),
    }
}

pub(super) fn get(
    facts: &impl Find,
    context: &CommandContext,
    request: m::GetNodeRequest,
) -> Result<m::GetNodeResponse, Refusal> {
    let node = required::<Node>(facts, &request.node_id)?;
    Ok(m::GetNodeResponse { node: Some(shown(&node, context)) })
}

pub(super) fn list(facts: &impl Find, context: &CommandContext, request: m::ListNodesRequest) -> m::ListNodesResponse {
    let filters = request.filters.unwrap_or_default();
    let passes = |node: &Node| {
        let engine = node.description.as_ref().and_then(|description| description.engine.as_ref());
        any_of(node.hostname(), &filters.names)
            && any_prefix(node.hostname(), &filters.name_prefixes)
            && any_prefix(node.id.as_str(), &filters.id_prefixes)
            && has_labels(engine.map(|engine| &engine.labels), &filters.labels)
            && has_labels(labels(node.spec.annotations.as_ref()), &filters.node_labels)
            && (filters.roles.is_empty() || filters.roles.contains(&node.role.into()))
            && (filters.memberships.is_empty() || filters.memberships.contains(&node.spec.membership))
    };
    let nodes = facts.nodes();
    m::ListNodesResponse { nodes: nodes.iter().filter(|node| passes(node)).map(|node| shown(node, context)).collect() }
}

pub(super) fn update(
    tx: &mut Tx,
    context: &CommandContext,
    request: m::UpdateNodeRequest,
) -> Result<m::UpdateNodeResponse, Refusal> {
    let version = quoted(request.node_version.as_ref())?;
    let spec = request.spec.ok_or_else(invalid_argument)?;
    let stored = required::<Node>(tx, &request.node_id)?;
    if stored.spec.desired_role() == NodeRole::Manager && spec.desired_role() == NodeRole::Worker {
        check_demotion(tx, context, &stored)?;
    }
    let promoted = stored.spec.desired_role() == NodeRole::Worker && spec.desired_role() == NodeRole::Manager;
    if promoted && !is_skep(&stored, context.skep_nodes) {
        check_docker_manager(tx, context.members, context.skep_nodes)?;
    }
    in_sequence(&*stored, version)?;
    let mut node = (*stored).clone();
    node.spec = spec;
    tx.update(node)?;
    Ok(m::UpdateNodeResponse { node: Some(shown(&*written::<Node>(tx, &stored.id)?, context)) })
}

/// Nothing may cost the quorum (interop §3.4).
fn check_demotion(tx: &Tx, context: &CommandContext, node: &Node) -> Result<(), Refusal> {
    // Managers whose demotion is under way do not count: together the demotions must leave one.
    let stays = |other: &Node| other.id != node.id && is_lasting_manager(other);
    if !tx.nodes().iter().any(|other| stays(other)) {
        let last = "attempting to demote the last manager of the swarm";
        return Err(Refusal::new(Code::FailedPrecondition, last));
    }
    let Some(member) = context.member(&node.id) else {
        return Err(Refusal::new(Code::NotFound, "can't find manager in raft memberlist"));
    };
    if !context.may_lose(member.raft_id) {
        let quorum = "can't remove member from the raft: this would result in a loss of quorum";
        return Err(Refusal::new(Code::FailedPrecondition, quorum));
    }
    Ok(())
}

fn is_lasting_manager(node: &Node) -> bool {
    let spec: &NodeSpec = &node.spec;
    node.role == NodeRole::Manager && spec.desired_role() == NodeRole::Manager
}

pub(super) fn remove(
    tx: &mut Tx,
    context: &CommandContext,
    request: m::RemoveNodeRequest,
) -> Result<m::RemoveNodeResponse, Refusal> {
    let node = required::<Node>(tx, &request.node_id)?;
    if context.member(&node.id).is_some() {
        let message = format!(
            "node {} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before \
             removal",
            node.id
        );
        return Err(Refusal::new(Code::FailedPrecondition, message));
    }
    if !request.force && node.is_ready() {
        let message = format!("node {} is not down and can't be removed", node.id);
        return Err(Refusal::new(Code::FailedPrecondition, message));
    }
    refuse_certificate(tx, context, &node)?;
    orphan_tasks(tx, &node)?;
    tx.remove::<Node>(&node.id)?;
    Ok(m::RemoveNodeResponse {})
}

/// Lists the node's certificate as one that no longer opens anything.
fn refuse_certificate(tx: &mut Tx, context: &CommandContext, node: &Node) -> Result<(), Refusal> {
    let stored = tx
        .named::<Cluster>(DEFAULT_CLUSTER_NAME)
        .ok_or_else(|| Refusal::new(Code::Internal, "could not fetch cluster object"))?;
    let mut cluster = (*stored).clone();
    let expiry = (context.certificate_expiry)(&node.certificate.certificate);
    let certificate = BlacklistedCertificate { expiry: expiry.map(Into::into) };
    cluster.blacklisted_certificates.insert(node.id.to_string(), certificate);
    cluster::forget_expired(&mut cluster, context.now);
    tx.update(cluster)
}

fn orphan_tasks(tx: &mut Tx, node: &Node) -> Result<(), Refusal> {
    let now = tx.now().wall;
    for stored in tx.tasks_on_node(&node.id) {
        if stored.state() < TaskState::Complete {
            let mut task: Task = (*stored).clone();
            task.status = TaskStatus {
                timestamp: Some(now.into()),
                state: TaskState::Orphaned.into(),
                message: "Task belonged to a node that has been deleted".to_owned(),
                ..TaskStatus::default()
            };
            tx.update(task)?;
        }
    }
    Ok(())
}
