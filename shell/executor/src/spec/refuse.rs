//! What a spec may ask that this runtime, or this host, does not do.

use std::path::Path;

use skep_model::pb::types::{ContainerSpec, ResourceRequirements, TaskSpec, mount, privileges, task_spec};
use skep_model::{AbilitySet, Code, Refusal, ability};

use super::document::limits;
use super::{capabilities, seccomp, sysctl};

/// Bounds of the out-of-memory score's adjustment (source: `proc(5)`).
const OOM_SCORE_ADJUSTMENT: std::ops::RangeInclusive<i64> = -1000..=1000;
/// Bounds of swappiness; -1 leaves it to the host.
const SWAPPINESS: std::ops::RangeInclusive<i64> = -1..=100;

/// The container's spec, whatever it asks.
pub fn container(spec: &TaskSpec) -> Result<&ContainerSpec, Refusal> {
    match &spec.runtime {
        Some(task_spec::Runtime::Container(container)) => Ok(container),
        Some(task_spec::Runtime::Attachment(_)) => Err(no("network attachments of unmanaged containers")),
        Some(task_spec::Runtime::Generic(_)) => Err(no("plugins and other generic runtimes")),
        None => Err(Refusal::invalid("TaskSpec: missing runtime")),
    }
}

/// The container's spec, unless something in it (or beside it) cannot be carried out here.
pub fn check(spec: &TaskSpec, present: AbilitySet, host_network: bool) -> Result<&ContainerSpec, Refusal> {
    let container = container(spec)?;
    if container.image.is_empty() {
        return Err(Refusal::invalid("ContainerSpec: image reference must be provided"));
    }
    if !container.dir.is_empty() && !container.dir.starts_with('/') {
        let text = "is invalid, it needs to be an absolute path";
        return Err(Refusal::invalid(format!("the working directory '{}' {text}", container.dir)));
    }
    // Managers ask the same of a node's description; a Docker manager, or an older one, does not.
    if let Some(missing) = ability::required(spec).missing_from(present) {
        let what = format!("{}: this host does not support {}", missing.field(), missing.words());
        return Err(Refusal::new(Code::Unimplemented, what));
    }
    if let Some(driver) = &spec.log_driver {
        log_driver(&driver.name)?;
    }
    profile(container)?;
    capabilities::resolve(&container.capability_add, &container.capability_drop)?;
    limits(container)?;
    resources(spec.resources.as_ref(), container)?;
    for name in container.sysctls.keys() {
        sysctl::check(name, host_network, Path::new("/proc/sys"))?;
    }
    if container.mounts.iter().any(|mount| mount.r#type() == mount::Type::Cluster) {
        return Err(no("cluster volumes (CSI)"));
    }
    if container.secrets.iter().any(|secret| secret.target.is_none()) {
        return Err(Refusal::invalid("malformed secret reference, no target provided"));
    }
    Ok(container)
}

fn profile(container: &ContainerSpec) -> Result<(), Refusal> {
    let seccomp = container.privileges.as_ref().and_then(|privileges| privileges.seccomp.as_ref());
    match seccomp.filter(|options| options.mode() == privileges::seccomp_opts::SeccompMode::Custom) {
        Some(options) => seccomp::check_profile(&options.profile),
        None => Ok(()),
    }
}

fn resources(resources: Option<&ResourceRequirements>, container: &ContainerSpec) -> Result<(), Refusal> {
    if !OOM_SCORE_ADJUSTMENT.contains(&container.oom_score_adj) {
        let given = container.oom_score_adj;
        return Err(Refusal::invalid(format!("Invalid value {given}, range for oom score adj is [-1000, 1000]")));
    }
    for limit in &container.ulimits {
        // -1 is "unlimited".
        if limit.soft.cast_unsigned() > limit.hard.cast_unsigned() {
            let (soft, hard) = (limit.soft, limit.hard);
            let text =
                format!("ulimit {}: soft limit must be less than or equal to hard limit: {soft} > {hard}", limit.name);
            return Err(Refusal::invalid(text));
        }
    }
    let Some(resources) = resources else { return Ok(()) };
    let limit = resources.limits.as_ref().map_or(0, |limits| limits.memory_bytes);
    if let Some(swap) = resources.swap_bytes {
        if limit == 0 && swap != 0 {
            return Err(Refusal::invalid(
                "Resources.SwapBytes: swap is limited together with memory: set Limits.MemoryBytes",
            ));
        }
        if swap < -1 {
            return Err(Refusal::invalid(format!("Resources.SwapBytes: {swap} is neither a number of bytes nor -1")));
        }
    }
    match resources.memory_swappiness.filter(|value| !SWAPPINESS.contains(value)) {
        Some(value) => Err(Refusal::invalid(format!("Invalid value: {value}, valid memory swappiness range is 0-100"))),
        None => Ok(()),
    }
}

/// `json-file` is what we write, also for `local`, whose form is nobody else's business; `none` writes nothing.
fn log_driver(name: &str) -> Result<(), Refusal> {
    match name {
        "" | "json-file" | "local" | "none" => Ok(()),
        other => Err(no(&format!("the log driver {other:?} (there are json-file, local and none)"))),
    }
}

fn no(what: &str) -> Refusal {
    Refusal::new(Code::Unimplemented, format!("the embedded runtime does not carry {what}"))
}
