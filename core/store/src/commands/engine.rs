//! What keeps a Docker Engine from being a manager.

use std::collections::BTreeSet;

use skep_model::constraint::Constraint;
use skep_model::{Code, Make, Node, NodeId, Refusal, Service};

use super::context::MemberView;
use crate::read::{Find, Read as _};

/// Whether a node is one of ours: by its description, or because it said so. What is not known to be is a Docker Engine
/// (decision 11).
pub fn is_skep(node: &Node, skep_nodes: &BTreeSet<NodeId>) -> bool {
    node.make() == Some(Make::Skep) || skep_nodes.contains(&node.id)
}

/// Refuses, by name, what a quorum with a Docker Engine could not carry (decisions 12 and 14): a service whose
/// constraints it would ignore or reject, and a Skep manager that does not answer, because every one of them has to go
/// over to Docker's pace first.
pub fn check_docker_manager(
    facts: &impl Find,
    members: &[MemberView],
    skep_nodes: &BTreeSet<NodeId>,
) -> Result<(), Refusal> {
    let refuse = |message: String| Err(Refusal::new(Code::FailedPrecondition, message));
    for service in facts.services() {
        if let Some(constraint) = beyond_docker(&service) {
            return refuse(format!(
                "a Docker Engine cannot be a manager while service {} has the constraint {constraint:?}, which goes \
                 beyond Docker's grammar: remove the constraint, or use key==value or key!=value",
                service.name()
            ));
        }
    }
    for member in members.iter().filter(|member| !member.reachable) {
        let node = facts.node(&member.node_id);
        if node.as_ref().is_none_or(|node| is_skep(node, skep_nodes)) {
            return refuse(format!(
                "a Docker Engine cannot become a manager while manager {} ({}) does not answer, because all managers \
                 have to go over to its pace: bring that manager back, or demote it",
                node.as_ref().map_or(member.node_id.as_str(), |node| node.hostname()),
                member.addr
            ));
        }
    }
    Ok(())
}

fn beyond_docker(service: &Service) -> Option<&str> {
    let placement = service.spec.task.as_ref()?.placement.as_ref()?;
    let extends = |text: &&String| Constraint::parse(text).is_ok_and(|constraint| constraint.is_extension());
    placement.constraints.iter().find(extends).map(String::as_str)
}
