//! The fields of a container's spec that may hold placeholders.

use std::collections::BTreeMap;

use super::{Facts, TemplateError, expand};
use crate::pb::types::{ContainerSpec, GenericResource, Mount, generic_resource::Resource};

/// Prefix of the variables that tell a container which generic resources it has.
const RESOURCE_PREFIX: &str = "DOCKER_RESOURCE_";

/// The spec with its environment, host name and mounts expanded; nothing else may hold placeholders (interop §7.8).
pub fn container(spec: &ContainerSpec, facts: &Facts) -> Result<ContainerSpec, TemplateError> {
    let mut spec = spec.clone();
    for entry in &mut spec.env {
        let Some((name, value)) = entry.split_once('=') else { continue };
        *entry = format!("{name}={}", field(&format!("env {entry:?}"), value, facts)?);
    }
    for mount in &mut spec.mounts {
        expand_mount(mount, facts)?;
    }
    spec.hostname = field("hostname", &spec.hostname, facts)?;
    Ok(spec)
}

fn expand_mount(mount: &mut Mount, facts: &Facts) -> Result<(), TemplateError> {
    mount.source = field(&format!("mount source {:?}", mount.source), &mount.source, facts)?;
    mount.target = field(&format!("mount target {:?}", mount.target), &mount.target, facts)?;
    let Some(options) = &mut mount.volume_options else { return Ok(()) };
    for (name, value) in &mut options.labels {
        *value = field(&format!("volume label {name}={value:?}"), value, facts)?;
    }
    for (name, value) in options.driver_config.iter_mut().flat_map(|driver| &mut driver.options) {
        *value = field(&format!("volume driver option {name}={value:?}"), value, facts)?;
    }
    Ok(())
}

fn field(name: &str, text: &str, facts: &Facts) -> Result<String, TemplateError> {
    expand(text, facts, None)
        .map_err(|source| TemplateError::Field { field: name.to_owned(), source: Box::new(source) })
}

/// `DOCKER_RESOURCE_<KIND>=…` for what a task was given.
pub fn generic_resource_env(assigned: &[GenericResource]) -> Vec<String> {
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for resource in assigned {
        let (kind, value) = match &resource.resource {
            Some(Resource::NamedResourceSpec(named)) => (&named.kind, named.value.clone()),
            Some(Resource::DiscreteResourceSpec(discrete)) => (&discrete.kind, discrete.value.to_string()),
            None => continue,
        };
        values.entry(kind.to_uppercase()).or_default().push(value);
    }
    values.into_iter().map(|(kind, values)| format!("{RESOURCE_PREFIX}{kind}={}", values.join(","))).collect()
}
