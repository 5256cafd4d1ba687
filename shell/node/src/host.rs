//! Facts about this host, read from the system once: for `docker info`, and for the node's own description.

use std::collections::BTreeMap;
use std::path::Path;

use skep_docker_api::HostFacts;
use skep_model::NodeId;
use skep_model::objects::SKEP_ENGINE_LABEL;
use skep_model::pb::skep::HelloRequest;
use skep_model::pb::types::{
    DiscreteGenericResource, EngineDescription, GenericResource, NamedGenericResource, NodeDescription, Platform,
    PluginDescription, Resources, generic_resource::Resource,
};

use crate::config::{Config, Listen};

/// Skep's own version, plain semantic.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Reads everything that does not change while the daemon runs.
pub fn host_facts(config: &Config, engine_id: String) -> HostFacts {
    let uname = nix::sys::utsname::uname().ok();
    let text = |pick: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
        uname.as_ref().map(|names| pick(names).to_string_lossy().into_owned()).unwrap_or_default()
    };
    let release = os_release();
    let cgroup_two = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let controller = |name: &str| cgroup_has(name, cgroup_two);
    HostFacts {
        id: engine_id,
        hostname: hostname(),
        version: VERSION.to_owned(),
        git_commit: option_env!("SKEP_GIT_COMMIT").unwrap_or_default().to_owned(),
        built_at: option_env!("SKEP_BUILT_AT").unwrap_or_default().to_owned(),
        compiler: format!("rustc {}", env!("CARGO_PKG_RUST_VERSION")),
        kernel_version: text(nix::sys::utsname::UtsName::release),
        operating_system: release.get("PRETTY_NAME").cloned().unwrap_or_else(|| "Linux".to_owned()),
        os_version: release.get("VERSION_ID").cloned().unwrap_or_default(),
        architecture: architecture().to_owned(),
        cpus: cpus(),
        memory_bytes: memory_bytes(),
        root_dir: config.data_root.display().to_string(),
        labels: config.labels.iter().map(|(key, value)| format!("{key}={value}")).collect(),
        storage_driver: "overlay2".to_owned(),
        cgroup_version: if cgroup_two { "2" } else { "1" }.to_owned(),
        cgroup_driver: "cgroupfs".to_owned(),
        security_options: security_options(),
        generic_resources: generic_resources(config),
        default_runtime: "embedded".to_owned(),
        debug: config.log_level == "debug" || config.log_level == "trace",
        open_files: open_files(),
        http_proxy: std::env::var("HTTP_PROXY").unwrap_or_default(),
        https_proxy: std::env::var("HTTPS_PROXY").unwrap_or_default(),
        no_proxy: std::env::var("NO_PROXY").unwrap_or_default(),
        memory_limit: controller("memory"),
        swap_limit: swap_limit(cgroup_two),
        cpu_quota: cpu_quota(cgroup_two),
        pids_limit: controller("pids"),
        ipv4_forwarding: read("/proc/sys/net/ipv4/ip_forward").trim() == "1",
        warnings: warnings(config),
    }
}

/// How many descriptors the daemon has open now.
pub fn open_files() -> u32 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| u32::try_from(entries.count()).unwrap_or(u32::MAX))
}

/// The revision of skep.v1 spoken here.
pub const SKEP_REVISION: u32 = 1;

/// How this node introduces itself, now.
pub fn greeting(node: &NodeId) -> HelloRequest {
    HelloRequest {
        version: VERSION.to_owned(),
        revision: SKEP_REVISION,
        node_id: node.to_string(),
        wall_clock_ms: crate::clock::wall().0 / 1_000_000,
        ..Default::default()
    }
}

/// What this node tells its managers of itself (interop §4.6); TLS facts are added by the caller.
pub fn node_description(config: &Config) -> NodeDescription {
    NodeDescription {
        hostname: hostname(),
        platform: Some(Platform { architecture: architecture().to_owned(), os: "linux".to_owned() }),
        resources: Some(Resources {
            nano_cpus: i64::from(cpus()) * 1_000_000_000,
            memory_bytes: memory_bytes(),
            generic: generic_resources(config),
        }),
        engine: Some(EngineDescription {
            engine_version: VERSION.to_owned(),
            labels: engine_labels(config),
            plugins: plugins(),
        }),
        ..NodeDescription::default()
    }
}

/// The operator's, and ours, by which managers tell for good what runs here.
fn engine_labels(config: &Config) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = config.labels.iter().cloned().collect();
    labels.insert(SKEP_ENGINE_LABEL.to_owned(), SKEP_REVISION.to_string());
    labels
}

/// Sorted by type, then name; what this host can do among them.
fn plugins() -> Vec<PluginDescription> {
    let mut plugins = [
        ("Log", "json-file"),
        ("Log", "local"),
        ("Network", "bridge"),
        ("Network", "host"),
        ("Network", "null"),
        ("Network", "overlay"),
        ("Volume", "local"),
    ]
    .map(|(kind, name)| PluginDescription { r#type: kind.to_owned(), name: name.to_owned() })
    .into_iter()
    .chain(skep_executor::host_abilities().plugins())
    .collect::<Vec<_>>();
    plugins.sort_by(|one, other| (&one.r#type, &one.name).cmp(&(&other.r#type, &other.name)));
    plugins
}

/// `KIND=3` is a count; any other value is a name, several of which make a set.
fn generic_resources(config: &Config) -> Vec<GenericResource> {
    config
        .generic_resources
        .iter()
        .map(|(kind, value)| {
            let resource = match value.parse::<i64>() {
                Ok(value) => Resource::DiscreteResourceSpec(DiscreteGenericResource { kind: kind.clone(), value }),
                Err(_) => {
                    Resource::NamedResourceSpec(NamedGenericResource { kind: kind.clone(), value: value.clone() })
                }
            };
            GenericResource { resource: Some(resource) }
        })
        .collect()
}

/// This host's name.
pub fn hostname() -> String {
    nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn architecture() -> &'static str {
    std::env::consts::ARCH
}

fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX))
}

fn memory_bytes() -> i64 {
    read("/proc/meminfo")
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<i64>().ok())
        .map_or(0, |kibibytes| kibibytes * 1024)
}

fn os_release() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string("/etc/os-release")
        .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"))
        .unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned()))
        .collect()
}

fn cgroup_has(controller: &str, cgroup_two: bool) -> bool {
    if cgroup_two {
        read("/sys/fs/cgroup/cgroup.controllers").split_whitespace().any(|name| name == controller)
    } else {
        Path::new("/sys/fs/cgroup").join(controller).is_dir()
    }
}

fn swap_limit(cgroup_two: bool) -> bool {
    cgroup_two || Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
}

fn cpu_quota(cgroup_two: bool) -> bool {
    if cgroup_two { cgroup_has("cpu", true) } else { Path::new("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").exists() }
}

fn security_options() -> Vec<String> {
    let mut options = Vec::new();
    if read("/sys/module/apparmor/parameters/enabled").trim() == "Y" {
        options.push("name=apparmor".to_owned());
    }
    if Path::new("/proc/sys/kernel/seccomp").exists() {
        options.push("name=seccomp,profile=builtin".to_owned());
    }
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        options.push("name=cgroupns".to_owned());
    }
    options
}

fn warnings(config: &Config) -> Vec<String> {
    config
        .listen
        .iter()
        .filter_map(|listen| match listen {
            Listen::Tcp(address) if config.tls.is_none() => Some(format!(
                "WARNING: API is accessible on http://{address} without encryption.\n         Access to the remote API \
                 is equivalent to root access on the host."
            )),
            _ => None,
        })
        .collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
