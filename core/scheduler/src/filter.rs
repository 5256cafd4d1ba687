//! The filters, in the order in which they are asked; a node counts for the first that says no (interop §7.7).

use skep_model::constraint::{self, Operator};
use skep_model::{Ability, Node};

use crate::node::{NodeNumber, NodeState};
use crate::picture::Picture;
use crate::requirements::Requirements;

/// A reason why a node does not suit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Filter {
    Ready,
    Resource,
    Plugin,
    Constraint,
    Platform,
    HostPort,
    MaxReplicas,
    Volumes,
    /// Ours, after Docker's.
    Ability(Ability),
}

/// The first filter that refuses the node.
pub(crate) fn refuses(picture: &Picture, wanted: &Requirements, number: NodeNumber) -> Option<Filter> {
    first(picture, wanted, number, false)
}

/// The same of a node that is in the class of what is wanted: it need not be asked again what that was made from.
pub(crate) fn refuses_of_class(picture: &Picture, wanted: &Requirements, number: NodeNumber) -> Option<Filter> {
    first(picture, wanted, number, true)
}

fn first(picture: &Picture, wanted: &Requirements, number: NodeNumber, in_class: bool) -> Option<Filter> {
    let Some(state) = picture.node(number) else { return Some(Filter::Ready) };
    let node = &*state.node;
    if !state.takes_tasks {
        Some(Filter::Ready)
    } else if !has_resources(state, wanted) {
        Some(Filter::Resource)
    } else if !in_class && !has_plugins(node, wanted.plugins.iter()) {
        Some(Filter::Plugin)
    } else if !(in_class || constraint::node_matches(&wanted.constraints, node)) || !is_near(picture, number, wanted) {
        Some(Filter::Constraint)
    } else if !in_class && !constraint::platforms_fit(wanted.platforms, node) {
        Some(Filter::Platform)
    } else if wanted.ports.iter().any(|port| state.ports.contains_key(port)) {
        Some(Filter::HostPort)
    } else if wanted.max_replicas > 0 && u64::from(picture.count(wanted.service, number)) >= wanted.max_replicas {
        Some(Filter::MaxReplicas)
    } else if !has_volumes(picture, node, wanted) {
        Some(Filter::Volumes)
    } else {
        state.abilities.and_then(|present| wanted.abilities.missing_from(present)).map(Filter::Ability)
    }
}

fn has_resources(state: &NodeState, wanted: &Requirements) -> bool {
    (wanted.nano_cpus == 0 || wanted.nano_cpus <= state.nano_cpus)
        && (wanted.memory_bytes == 0 || wanted.memory_bytes <= state.memory_bytes)
        && state.generic.has(&wanted.generic)
}

pub(crate) fn has_plugins<'a>(node: &Node, mut wanted: impl Iterator<Item = (&'static str, &'a str)>) -> bool {
    // A node that does not describe its engine has no plugins to speak of: nothing is asked of it.
    let Some(engine) = node.description.as_ref().and_then(|description| description.engine.as_ref()) else {
        return true;
    };
    wanted.all(|(kind, name)| {
        let mut of_kind = engine.plugins.iter().filter(|plugin| plugin.r#type == kind).peekable();
        if kind == "Log" && of_kind.peek().is_none() {
            return true;
        }
        of_kind.any(|plugin| plugin.name == name || plugin.name.strip_suffix(":latest") == Some(name))
    })
}

fn is_near(picture: &Picture, number: NodeNumber, wanted: &Requirements) -> bool {
    let near = |services: &[u32]| services.iter().any(|&service| picture.count(Some(service), number) > 0);
    wanted.affinities.iter().all(|affinity| match affinity.operator {
        Operator::Equal => near(&affinity.services),
        Operator::NotEqual => !near(&affinity.services),
    })
}

fn has_volumes(picture: &Picture, node: &Node, wanted: &Requirements) -> bool {
    let choose = |candidates| picture.volumes.choose(candidates, &node.id, wanted.task);
    wanted.volumes.as_ref().is_none_or(|candidates| choose(candidates).is_some())
}
