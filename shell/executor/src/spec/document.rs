//! Puts the document together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use skep_model::engine::ImageConfig;
use skep_model::pb::types::{ContainerSpec, ResourceRequirements, privileges};
use skep_model::{Ability, AbilitySet, Refusal};

use super::mounts::PlannedMount;
use super::users::User;
use super::{capabilities, devices, mounts};

const OCI_VERSION: &str = "1.0.2";
/// Where programs are looked for when neither image nor spec says so (Docker's).
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Length of a scheduler period; limits are fractions of it.
const CPU_PERIOD_MICROS: i64 = 100_000;
const NANOS_PER_CPU: i64 = 1_000_000_000;

/// Paths that would tell too much about the host, or more (Docker's list).
const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
/// Paths that steer the host's kernel (Docker's list).
const READ_ONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Docker's, for a network stack that is the container's own.
const OWN_NETWORK_SETTINGS: [(&str, &str); 2] =
    [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")];

/// Resource limits by the names that specs use (`ulimit`).
const RESOURCE_LIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// A file of ours that appears in the container.
#[derive(Clone, Debug)]
pub struct BoundFile {
    /// On this host.
    pub source: PathBuf,
    /// In the container.
    pub target: String,
    /// Whether the container may only read it.
    pub read_only: bool,
}

/// What the document is made of.
pub struct Facts<'a> {
    /// As the spec has it.
    pub spec: &'a ContainerSpec,
    /// Limits of the task.
    pub resources: Option<&'a ResourceRequirements>,
    /// Program and arguments.
    pub args: Vec<String>,
    /// Whole environment.
    pub env: Vec<String>,
    /// Name of the container's own host.
    pub hostname: &'a str,
    /// Who it runs as.
    pub user: &'a User,
    /// Where its root file system is mounted.
    pub rootfs: PathBuf,
    /// What the spec asks to be mounted.
    pub mounts: &'a [PlannedMount],
    /// Files of ours.
    pub files: &'a [BoundFile],
    /// Its network namespace; `None` for the host's.
    pub network_namespace: Option<PathBuf>,
    /// Below each cgroup hierarchy.
    pub cgroup_path: String,
    /// What this host can do.
    pub host: AbilitySet,
    /// Whether it has cgroup v2 alone.
    pub unified_cgroup: bool,
    /// Where the hierarchies of cgroup v1 are mounted, in the container as on the host.
    pub separate_cgroups: Vec<PathBuf>,
    /// Whether the container has a network of its own and the kernel its settings.
    pub own_network_settings: bool,
}

/// What a container may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confined {
    /// The bound of what its processes can ever hold.
    pub capabilities: BTreeSet<String>,
    /// Whether system calls are filtered.
    pub filtered: bool,
    /// The filter's own profile, in place of the default.
    pub profile: Option<Vec<u8>>,
    /// Whether programs can gain nothing by being executed.
    pub no_new_privileges: bool,
}

/// What the spec allows. Not part of the document: the shim's own code confines the process in the last step, with a
/// filter that was compiled before.
pub fn confinement(spec: &ContainerSpec) -> Result<Confined, Refusal> {
    let privileges = spec.privileges.clone().unwrap_or_default();
    let seccomp = privileges.seccomp.unwrap_or_default();
    let profile = (seccomp.mode() == privileges::seccomp_opts::SeccompMode::Custom).then(|| seccomp.profile.to_vec());
    Ok(Confined {
        capabilities: capabilities::resolve(&spec.capability_add, &spec.capability_drop)?,
        filtered: seccomp.mode() != privileges::seccomp_opts::SeccompMode::Unconfined,
        profile,
        no_new_privileges: privileges.no_new_privileges,
    })
}

/// Entrypoint and arguments: those of the spec, else those of the image. An entrypoint of the spec's own drops both of
/// the image's, as `docker run --entrypoint` does.
pub fn command(spec: &ContainerSpec, image: &ImageConfig) -> Result<(Vec<String>, Vec<String>), Refusal> {
    let (entrypoint, arguments) = match (spec.command.is_empty(), spec.args.is_empty()) {
        (false, _) => (spec.command.clone(), spec.args.clone()),
        (true, false) => (image.entrypoint.clone(), spec.args.clone()),
        (true, true) => (image.entrypoint.clone(), image.command.clone()),
    };
    if entrypoint.is_empty() && arguments.is_empty() {
        return Err(Refusal::invalid("No command specified"));
    }
    Ok((entrypoint, arguments))
}

/// The environment: Docker's few, the image's, the spec's; later ones win. `NAME` alone takes a name away.
pub fn environment(spec: &ContainerSpec, image: &ImageConfig, hostname: &str) -> Vec<String> {
    let mut all = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if spec.tty {
        all.push("TERM=xterm".to_owned());
    }
    all.extend(image.env.iter().cloned());
    all.extend(spec.env.iter().cloned());
    let mut result: Vec<String> = Vec::new();
    for entry in all {
        let name = entry.split('=').next().unwrap_or_default().to_owned();
        let place = result.iter().position(|known| known.split('=').next() == Some(name.as_str()));
        match (place, entry.contains('=')) {
            (Some(place), true) => result[place] = entry,
            (Some(place), false) => {
                result.remove(place);
            }
            (None, true) => result.push(entry),
            (None, false) => {}
        }
    }
    result
}

/// The whole document.
pub fn document(facts: &Facts<'_>) -> Result<Value, Refusal> {
    let spec = facts.spec;
    Ok(json!({
        "ociVersion": OCI_VERSION,
        "process": process(facts)?,
        "root": {"path": facts.rootfs, "readonly": spec.read_only},
        "hostname": facts.hostname,
        "mounts": all_mounts(facts),
        "linux": linux(facts),
    }))
}

fn process(facts: &Facts<'_>) -> Result<Value, Refusal> {
    let spec = facts.spec;
    let mut process = json!({
        "terminal": spec.tty,
        "user": {
            "uid": facts.user.uid,
            "gid": facts.user.gid,
            "additionalGids": facts.user.additional_gids,
        },
        "args": facts.args,
        "env": with_home(&facts.env, &facts.user.home),
        // Its own is entered in the last step, when it is there.
        "cwd": "/",
        "rlimits": limits(spec)?,
        "oomScoreAdj": spec.oom_score_adj,
    });
    if spec.privileges.as_ref().is_some_and(|privileges| privileges.no_new_privileges) {
        process["noNewPrivileges"] = json!(true);
    }
    Ok(process)
}

fn with_home(env: &[String], home: &str) -> Vec<String> {
    let mut env = env.to_vec();
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={home}"));
    }
    env
}

/// Its resource limits.
pub fn limits(spec: &ContainerSpec) -> Result<Vec<Value>, Refusal> {
    let one = |limit: &skep_model::pb::types::container_spec::Ulimit| {
        if !RESOURCE_LIMITS.contains(&limit.name.as_str()) {
            return Err(Refusal::invalid(format!("invalid ulimit type: {}", limit.name)));
        }
        // -1 is "unlimited".
        let value = |number: i64| number.cast_unsigned();
        let kind = format!("RLIMIT_{}", limit.name.to_ascii_uppercase());
        Ok(json!({"type": kind, "soft": value(limit.soft), "hard": value(limit.hard)}))
    };
    spec.ulimits.iter().map(one).collect()
}

fn all_mounts(facts: &Facts<'_>) -> Vec<Value> {
    let taken: BTreeSet<&str> = facts.mounts.iter().map(|mount| mount.target.as_str()).collect();
    let mut list = mounts::defaults(&taken);
    list.extend(facts.mounts.iter().map(mounts::document));
    let files = facts.files.iter().filter(|file| !taken.contains(file.target.as_str()));
    list.extend(files.map(|file| mounts::file(&file.source, &file.target, file.read_only)));
    list
}

fn linux(facts: &Facts<'_>) -> Value {
    let mut namespaces: Vec<Value> =
        ["pid", "ipc", "uts", "mount", "cgroup"].iter().map(|kind| json!({"type": kind})).collect();
    if let Some(path) = &facts.network_namespace {
        namespaces.push(json!({"type": "network", "path": path}));
    }
    let mut linux = json!({
        "cgroupsPath": facts.cgroup_path,
        "namespaces": namespaces,
        "resources": resources(facts),
        "maskedPaths": MASKED_PATHS,
        "readonlyPaths": read_only_paths(facts),
        "sysctl": settings(facts),
    });
    let propagations: BTreeSet<&String> =
        facts.mounts.iter().filter_map(|mount| mount.root_propagation.as_ref()).collect();
    if let Some(widest) = propagations.iter().find(|name| name.as_str() == "shared").or(propagations.first()) {
        linux["rootfsPropagation"] = json!(widest);
    }
    linux
}

/// Docker's paths and, on cgroup v1, the hierarchies, which the runtime library mounts writable whatever is asked for: a
/// container must not lift its own limits.
fn read_only_paths(facts: &Facts<'_>) -> Vec<String> {
    let given = |place: &Path| facts.mounts.iter().any(|mount| place.starts_with(&mount.target));
    let hierarchies = facts.separate_cgroups.iter().filter(|place| !given(place));
    let hierarchies = hierarchies.map(|place| place.display().to_string());
    READ_ONLY_PATHS.iter().map(|path| (*path).to_owned()).chain(hierarchies).collect()
}

/// The kernel's settings: what the spec says and, in a network of its own, low ports and pings for every user.
fn settings(facts: &Facts<'_>) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    if facts.own_network_settings {
        all.extend(OWN_NETWORK_SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    all.extend(facts.spec.sysctls.iter().map(|(name, value)| (name.clone(), value.clone())));
    all
}

fn resources(facts: &Facts<'_>) -> Value {
    let mut resources = Map::new();
    resources.insert("devices".to_owned(), devices::document());
    let limits = facts.resources.and_then(|all| all.limits.as_ref());
    let reserved = facts.resources.and_then(|all| all.reservations.as_ref());
    let nano_cpus = limits.map_or(0, |limits| limits.nano_cpus);
    if nano_cpus > 0 {
        let quota = i128::from(nano_cpus) * i128::from(CPU_PERIOD_MICROS) / i128::from(NANOS_PER_CPU);
        let quota = i64::try_from(quota.max(1000)).unwrap_or(i64::MAX);
        resources.insert("cpu".to_owned(), json!({"quota": quota, "period": CPU_PERIOD_MICROS}));
    }
    let mut memory = Map::new();
    let limit = limits.map_or(0, |limits| limits.memory_bytes);
    if limit > 0 {
        memory.insert("limit".to_owned(), json!(limit));
        let swap = facts.resources.and_then(|all| all.swap_bytes);
        if facts.host.contains(Ability::SwapLimit) {
            // Memory and swap together; as much swap as memory where the spec is silent, as Docker has it.
            let total = match swap {
                Some(-1) => -1,
                Some(swap) => limit.saturating_add(swap),
                None => limit.saturating_mul(2),
            };
            memory.insert("swap".to_owned(), json!(total));
            if facts.unified_cgroup && total == limit {
                // The runtime library takes the difference, which is zero, for nothing said.
                resources.insert("unified".to_owned(), json!({"memory.swap.max": "0"}));
            }
        }
    }
    if let Some(reserved) =
        reserved.filter(|reserved| reserved.memory_bytes > 0 && facts.host.contains(Ability::MemoryLimit))
    {
        memory.insert("reservation".to_owned(), json!(reserved.memory_bytes));
    }
    if let Some(swappiness) = facts.resources.and_then(|all| all.memory_swappiness).filter(|value| *value >= 0) {
        memory.insert("swappiness".to_owned(), json!(swappiness));
    }
    if !memory.is_empty() {
        resources.insert("memory".to_owned(), Value::Object(memory));
    }
    if facts.spec.pids_limit > 0 {
        resources.insert("pids".to_owned(), json!({"limit": facts.spec.pids_limit}));
    }
    Value::Object(resources)
}
