//! Why no node suits, in Docker's words: most refusals first (interop §7.7).

use std::collections::BTreeMap;

use crate::filter::Filter;

/// `no suitable node (…)`.
pub(crate) fn no_suitable_node(refusals: &BTreeMap<Filter, usize>) -> String {
    let mut sorted: Vec<(Filter, usize)> = refusals.iter().map(|(filter, nodes)| (*filter, *nodes)).collect();
    sorted.sort_by_key(|(_, nodes)| std::cmp::Reverse(*nodes));
    if sorted.is_empty() {
        return "no suitable node".to_owned();
    }
    format!("no suitable node ({})", reasons(&sorted))
}

/// Why the one node that a task is bound to does not suit.
pub(crate) fn refusal(filter: Filter) -> String {
    reasons(&[(filter, 1)])
}

fn reasons(sorted: &[(Filter, usize)]) -> String {
    sorted.iter().map(|(filter, nodes)| reason(*filter, *nodes)).collect::<Vec<_>>().join("; ")
}

fn reason(filter: Filter, count: usize) -> String {
    let nodes = if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") };
    match filter {
        Filter::Ready => format!("{nodes} not available for new tasks"),
        Filter::Resource => format!("insufficient resources on {nodes}"),
        Filter::Plugin => format!("missing plugin on {nodes}"),
        Filter::Constraint => format!("scheduling constraints not satisfied on {nodes}"),
        Filter::Platform => format!("unsupported platform on {nodes}"),
        Filter::HostPort => format!("host-mode port already in use on {nodes}"),
        Filter::MaxReplicas => "max replicas per node limit exceed".to_owned(),
        Filter::Volumes => format!("cannot fulfill requested CSI volume mounts on {nodes}"),
        Filter::Ability(ability) => format!("{} not supported on {nodes}", ability.words()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_as_docker_does() {
        let refusals = [(Filter::Resource, 1), (Filter::Constraint, 3), (Filter::MaxReplicas, 1)].into();
        let expected = "no suitable node (scheduling constraints not satisfied on 3 nodes; insufficient resources on \
                        1 node; max replicas per node limit exceed)";
        assert_eq!(no_suitable_node(&refusals), expected);
        assert_eq!(no_suitable_node(&BTreeMap::new()), "no suitable node");
        assert_eq!(refusal(Filter::Ready), "1 node not available for new tasks");
        assert_eq!(reason(Filter::HostPort, 2), "host-mode port already in use on 2 nodes");
        assert_eq!(reason(Filter::Volumes, 2), "cannot fulfill requested CSI volume mounts on 2 nodes");
        assert_eq!(reason(Filter::Platform, 1), "unsupported platform on 1 node");
        assert_eq!(reason(Filter::Plugin, 7), "missing plugin on 7 nodes");
        let apparmor = Filter::Ability(skep_model::Ability::AppArmor);
        assert_eq!(reason(apparmor, 1), "AppArmor profiles not supported on 1 node");
    }
}
