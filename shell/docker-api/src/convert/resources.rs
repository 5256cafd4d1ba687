//! What tasks need and may use, where they may run, and when they are started again.

use skep_model::Refusal;
use skep_model::pb::types::{self, generic_resource, placement_preference, task_spec};

use super::{duration, nanos, text, texts, words};
use crate::json;

/// Outwards; the limit on processes lives in the container's spec.
pub(crate) fn out(spec: &types::TaskSpec) -> Option<json::ResourceRequirements<'_>> {
    let pids = match &spec.runtime {
        Some(task_spec::Runtime::Container(container)) => container.pids_limit,
        _ => 0,
    };
    if spec.resources.is_none() && pids == 0 {
        return None;
    }
    let mut out = json::ResourceRequirements::default();
    if pids != 0 {
        out.limits = Some(json::Limit { pids, ..Default::default() });
    }
    if let Some(resources) = &spec.resources {
        if let Some(limits) = &resources.limits {
            out.limits = Some(json::Limit { nano_cpus: limits.nano_cpus, memory_bytes: limits.memory_bytes, pids });
        }
        out.reservations = resources.reservations.as_ref().map(amounts);
        out.swap_bytes = resources.swap_bytes;
        out.memory_swappiness = resources.memory_swappiness;
    }
    Some(out)
}

/// Amounts, e.g. reservations, or what a node has.
pub(crate) fn amounts(resources: &types::Resources) -> json::Resources<'_> {
    json::Resources {
        nano_cpus: resources.nano_cpus,
        memory_bytes: resources.memory_bytes,
        generic: generic_out(&resources.generic),
    }
}

/// Generic resources.
pub(crate) fn generic_out(resources: &[types::GenericResource]) -> Vec<json::GenericResource<'_>> {
    resources
        .iter()
        .map(|resource| match &resource.resource {
            Some(generic_resource::Resource::NamedResourceSpec(named)) => json::GenericResource {
                named: Some(json::NamedResource { kind: text(&named.kind), value: text(&named.value) }),
                discrete: None,
            },
            Some(generic_resource::Resource::DiscreteResourceSpec(discrete)) => json::GenericResource {
                named: None,
                discrete: Some(json::DiscreteResource { kind: text(&discrete.kind), value: discrete.value }),
            },
            None => json::GenericResource::default(),
        })
        .collect()
}

/// Inwards.
pub(crate) fn into(resources: json::ResourceRequirements<'_>) -> Result<types::ResourceRequirements, Refusal> {
    let limited = resources.limits.as_ref().is_some_and(|limits| limits.memory_bytes != 0);
    if resources.swap_bytes.is_some() && !limited {
        return Err(Refusal::invalid("memory swap provided, but no memory-limit was set"));
    }
    Ok(types::ResourceRequirements {
        limits: resources.limits.map(|limits| types::Resources {
            nano_cpus: limits.nano_cpus,
            memory_bytes: limits.memory_bytes,
            generic: Vec::new(),
        }),
        reservations: resources
            .reservations
            .map(|reservations| {
                Ok(types::Resources {
                    nano_cpus: reservations.nano_cpus,
                    memory_bytes: reservations.memory_bytes,
                    generic: reservations.generic.into_iter().map(generic_in).collect::<Result<_, Refusal>>()?,
                })
            })
            .transpose()?,
        swap_bytes: resources.swap_bytes,
        memory_swappiness: resources.memory_swappiness,
    })
}

fn generic_in(resource: json::GenericResource<'_>) -> Result<types::GenericResource, Refusal> {
    let resource = match (resource.discrete, resource.named) {
        (Some(discrete), _) => generic_resource::Resource::DiscreteResourceSpec(types::DiscreteGenericResource {
            kind: discrete.kind.into_owned(),
            value: discrete.value,
        }),
        (None, Some(named)) => generic_resource::Resource::NamedResourceSpec(types::NamedGenericResource {
            kind: named.kind.into_owned(),
            value: named.value.into_owned(),
        }),
        (None, None) => {
            return Err(Refusal::invalid(
                "Resources.Reservations.GenericResources: each needs a NamedResourceSpec or a DiscreteResourceSpec",
            ));
        }
    };
    Ok(types::GenericResource { resource: Some(resource) })
}

/// Restart policy, outwards.
pub(crate) fn restart_out(policy: &types::RestartPolicy) -> json::RestartPolicy<'_> {
    json::RestartPolicy {
        condition: text(words::word(policy.condition())),
        delay: policy.delay.as_ref().map(nanos),
        max_attempts: Some(policy.max_attempts),
        window: policy.window.as_ref().map(nanos),
    }
}

/// Restart policy, inwards.
pub(crate) fn restart_in(policy: json::RestartPolicy<'_>) -> Result<types::RestartPolicy, Refusal> {
    let condition = match policy.condition.as_ref() {
        "" => types::restart_policy::RestartCondition::Any,
        word => words::exact(word).ok_or_else(|| Refusal::invalid(format!("invalid RestartCondition: {word:?}")))?,
    };
    Ok(types::RestartPolicy {
        condition: condition.into(),
        delay: policy.delay.map(duration),
        max_attempts: policy.max_attempts.unwrap_or(0),
        window: policy.window.map(duration),
    })
}

/// Placement, outwards.
pub(crate) fn placement_out(placement: &types::Placement) -> json::Placement<'_> {
    json::Placement {
        constraints: texts(&placement.constraints),
        preferences: placement
            .preferences
            .iter()
            .filter_map(|preference| {
                let placement_preference::Preference::Spread(spread) = preference.preference.as_ref()?;
                let descriptor = text(&spread.spread_descriptor);
                Some(json::PlacementPreference { spread: Some(json::SpreadOver { descriptor }) })
            })
            .collect(),
        max_replicas: placement.max_replicas,
        platforms: placement
            .platforms
            .iter()
            .map(|platform| json::Platform { architecture: text(&platform.architecture), os: text(&platform.os) })
            .collect(),
    }
}

/// Placement, inwards.
pub(crate) fn placement_in(placement: json::Placement<'_>) -> types::Placement {
    types::Placement {
        constraints: placement.constraints.into_owned(),
        preferences: placement
            .preferences
            .into_iter()
            .filter_map(|preference| preference.spread)
            .map(|spread| types::PlacementPreference {
                preference: Some(placement_preference::Preference::Spread(types::SpreadOver {
                    spread_descriptor: spread.descriptor.into_owned(),
                })),
            })
            .collect(),
        platforms: placement
            .platforms
            .into_iter()
            .map(|platform| types::Platform {
                architecture: platform.architecture.into_owned(),
                os: platform.os.into_owned(),
            })
            .collect(),
        max_replicas: placement.max_replicas,
    }
}
