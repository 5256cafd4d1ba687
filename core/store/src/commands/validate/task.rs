//! A task's spec.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skep_model::pb::types::privileges::credential_spec::Source;
use skep_model::pb::types::task_spec::Runtime;
use skep_model::pb::types::{
    ContainerSpec, GenericRuntimeSpec, HealthConfig, Placement, Resources, RestartPolicy, TaskSpec, config_reference,
    secret_reference,
};
use skep_model::template::{self, Facts};
use skep_model::{Code, Refusal, constraint};

use super::{image, is_negative, shorter_than};

/// Least CPU that may be asked for, in billionths of a core.
const NANO_CPUS_MIN: i64 = 1_000_000;
/// Least memory that may be asked for, in bytes.
const MEMORY_BYTES_MIN: i64 = 4 * 1024 * 1024;
/// Shortest interval of a health check, except for 0, which means the default.
const HEALTH_INTERVAL_MIN: Duration = Duration::from_millis(1);
/// Shortest name of a generic runtime.
const RUNTIME_NAME_LENGTH_MIN: usize = 3;

/// Everything that a task's spec alone can tell. Labels are those of the service, which placeholders may name.
pub(super) fn task(
    spec: &TaskSpec,
    service_labels: BTreeMap<String, String>,
    extended_constraints: bool,
) -> Result<(), Refusal> {
    if let Some(requirements) = &spec.resources {
        requirements.limits.as_ref().map_or(Ok(()), resources)?;
        requirements.reservations.as_ref().map_or(Ok(()), resources)?;
    }
    spec.restart.as_ref().map_or(Ok(()), restart)?;
    spec.placement.as_ref().map_or(Ok(()), |given| placement(given, extended_constraints))?;
    match &spec.runtime {
        None => Err(Refusal::invalid("TaskSpec: missing runtime")),
        Some(Runtime::Container(spec)) => {
            secrets(spec)?;
            configs(spec)?;
            container(&expanded(spec, service_labels)?)
        }
        Some(Runtime::Generic(spec)) => generic(spec),
        Some(Runtime::Attachment(_)) => {
            Err(Refusal::new(Code::Unimplemented, "RuntimeSpec: unimplemented runtime in service spec"))
        }
    }
}

fn resources(resources: &Resources) -> Result<(), Refusal> {
    if resources.nano_cpus != 0 && resources.nano_cpus < NANO_CPUS_MIN {
        let cpus = go_float(resources.nano_cpus as f64 / 1e9);
        return Err(Refusal::invalid(format!("invalid cpu value {cpus}: Must be at least 0.001")));
    }
    if resources.memory_bytes != 0 && resources.memory_bytes < MEMORY_BYTES_MIN {
        let memory = resources.memory_bytes;
        return Err(Refusal::invalid(format!("invalid memory value {memory}: Must be at least 4MiB")));
    }
    Ok(())
}

/// As Go prints it: tiny numbers and those with many digits before the point with an exponent of two digits.
fn go_float(number: f64) -> String {
    if number == 0.0 || (1e-4..1e6).contains(&number.abs()) {
        return number.to_string();
    }
    let text = format!("{number:e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

fn restart(policy: &RestartPolicy) -> Result<(), Refusal> {
    if policy.delay.as_ref().is_some_and(is_negative) {
        return Err(Refusal::invalid("TaskSpec: restart-delay cannot be negative"));
    }
    if policy.window.as_ref().is_some_and(is_negative) {
        return Err(Refusal::invalid("TaskSpec: restart-window cannot be negative"));
    }
    Ok(())
}

fn placement(placement: &Placement, extended_constraints: bool) -> Result<(), Refusal> {
    // SwarmKit leaves this error without a code.
    let unknown = |error: constraint::ConstraintError| Refusal::new(Code::Unknown, error.to_string());
    let constraints = constraint::parse(&placement.constraints).map_err(unknown)?;
    let extension = constraints.iter().position(|constraint| constraint.is_extension());
    match extension.and_then(|index| placement.constraints.get(index)) {
        Some(text) if !extended_constraints => Err(Refusal::invalid(format!(
            "constraint {text:?} goes beyond Docker's grammar, which not every manager understands: use key==value or \
             key!=value"
        ))),
        _ => Ok(()),
    }
}

fn secrets(container: &ContainerSpec) -> Result<(), Refusal> {
    let mut targets = BTreeMap::new();
    for reference in &container.secrets {
        if reference.secret_id.is_empty() || reference.secret_name.is_empty() {
            return Err(Refusal::invalid("malformed secret reference"));
        }
        match &reference.target {
            None => return Err(Refusal::invalid("malformed secret reference, no target provided")),
            Some(secret_reference::Target::File(file)) => {
                claim(&mut targets, "secret", &file.name, &reference.secret_name)?;
            }
        }
    }
    Ok(())
}

fn configs(container: &ContainerSpec) -> Result<(), Refusal> {
    let mut targets = BTreeMap::new();
    let mut runtime = BTreeSet::new();
    for reference in &container.configs {
        if reference.config_id.is_empty() || reference.config_name.is_empty() {
            return Err(Refusal::invalid("malformed config reference"));
        }
        match &reference.target {
            None => return Err(Refusal::invalid("malformed config reference, no target provided")),
            Some(config_reference::Target::File(file)) => {
                claim(&mut targets, "config", &file.name, &reference.config_name)?;
            }
            Some(config_reference::Target::Runtime(_)) => {
                runtime.insert(reference.config_id.as_str());
            }
        }
    }
    let credentials = container.privileges.as_ref().and_then(|privileges| privileges.credential_spec.as_ref());
    match credentials.and_then(|credentials| credentials.source.as_ref()) {
        Some(Source::Config(config)) if !config.is_empty() && !runtime.contains(config.as_str()) => {
            Err(Refusal::invalid(format!(
                "CredentialSpec references config '{config}', but that config isn't in config references with \
                 RuntimeTarget"
            )))
        }
        _ => Ok(()),
    }
}

/// Two references may not end in one file.
fn claim<'a>(
    targets: &mut BTreeMap<&'a str, &'a str>,
    kind: &str,
    file: &'a str,
    name: &'a str,
) -> Result<(), Refusal> {
    if file.is_empty() {
        return Err(Refusal::invalid(format!("malformed file {kind} reference, invalid target file name provided")));
    }
    match targets.insert(file, name) {
        Some(earlier) => Err(Refusal::invalid(format!(
            "{kind} references '{earlier}' and '{name}' have a conflicting target: '{file}'"
        ))),
        None => Ok(()),
    }
}

/// With its placeholders replaced by stand-ins, as far as they can be told before there is a task.
fn expanded(container: &ContainerSpec, service_labels: BTreeMap<String, String>) -> Result<ContainerSpec, Refusal> {
    let facts = Facts {
        service_id: "serviceid".to_owned(),
        service_name: "servicename".to_owned(),
        service_labels,
        node_id: "nodeid".to_owned(),
        node_hostname: "nodeHostname".to_owned(),
        node_os: "os".to_owned(),
        node_architecture: "architecture".to_owned(),
        task_id: "taskid".to_owned(),
        task_name: "taskname".to_owned(),
        task_slot: "1".to_owned(),
    };
    template::container(container, &facts).map_err(|error| Refusal::invalid(error.to_string()))
}

fn container(container: &ContainerSpec) -> Result<(), Refusal> {
    if container.image.is_empty() {
        return Err(Refusal::invalid("ContainerSpec: image reference must be provided"));
    }
    if !image::is_reference(&container.image) {
        return Err(Refusal::invalid(format!("ContainerSpec: {:?} is not a valid repository/tag", container.image)));
    }
    let mut targets = BTreeSet::new();
    for mount in &container.mounts {
        if !targets.insert(mount.target.as_str()) {
            return Err(Refusal::invalid(format!("ContainerSpec: duplicate mount point: {}", mount.target)));
        }
    }
    container.healthcheck.as_ref().map_or(Ok(()), health)
}

fn health(config: &HealthConfig) -> Result<(), Refusal> {
    let intervals = [
        ("Interval", &config.interval),
        ("Timeout", &config.timeout),
        ("StartPeriod", &config.start_period),
        ("StartInterval", &config.start_interval),
    ];
    for (name, interval) in intervals {
        let given = interval.as_ref().filter(|interval| interval.seconds != 0 || interval.nanos != 0);
        if given.is_some_and(|interval| shorter_than(interval, HEALTH_INTERVAL_MIN)) {
            return Err(Refusal::invalid(format!("ContainerSpec: {name} in HealthConfig cannot be less than 1ms")));
        }
    }
    if config.retries < 0 {
        return Err(Refusal::invalid("ContainerSpec: Retries in HealthConfig cannot be negative"));
    }
    Ok(())
}

fn generic(runtime: &GenericRuntimeSpec) -> Result<(), Refusal> {
    if runtime.kind.len() < RUNTIME_NAME_LENGTH_MIN {
        return Err(Refusal::invalid(format!("Generic runtime: Invalid name {:?}", runtime.kind)));
    }
    if ["container", "attachment"].contains(&runtime.kind.to_lowercase().as_str()) {
        return Err(Refusal::invalid(format!("Generic runtime: {:?} is a reserved name", runtime.kind)));
    }
    match &runtime.payload {
        None => Err(Refusal::invalid("Generic runtime is missing payload")),
        Some(payload) if payload.type_url.is_empty() => {
            Err(Refusal::invalid("Generic runtime is missing payload type"))
        }
        Some(payload) if payload.value.is_empty() => Err(Refusal::invalid("Generic runtime has an empty payload")),
        Some(_) => Ok(()),
    }
}
