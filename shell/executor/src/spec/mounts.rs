//! What is mounted in a container: Docker's defaults, and what the spec asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rand_core::{OsRng, TryRngCore};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use skep_model::Refusal;
use skep_model::pb::types::{ContainerSpec, Mount, mount};

use super::local_volume;

/// Size of `/dev/shm`, as Docker has it.
const SHARED_MEMORY_BYTES: u64 = 64 * 1024 * 1024;
/// Files of `/proc` that only tell figures, which some want to show otherwise (lxcfs).
const PROC_FILES: [&str; 8] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
];
/// Bytes of a generated volume's name.
const VOLUME_NAME_BYTES: usize = 32;

/// A mount that the spec or the image asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedMount {
    /// `bind`, `volume` or `tmpfs`.
    pub kind: String,
    /// A volume's name.
    pub name: String,
    /// On this host; empty for tmpfs.
    pub source: PathBuf,
    /// In the container.
    pub target: String,
    /// As `mount` spells them.
    pub options: Vec<String>,
    /// Whether the container may only read.
    pub read_only: bool,
    /// A volume that goes with its container.
    pub anonymous: bool,
    /// Whether a fresh volume gets what the image has at its place.
    pub copy_up: bool,
    /// Whether a missing source is made.
    pub create_source: bool,
    /// Propagation of the root that this needs.
    pub root_propagation: Option<String>,
    /// How mounts below it travel, as `mount` spells it; empty for tmpfs.
    #[serde(default)]
    pub propagation: String,
    /// A volume's labels, for when it is made.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Options of the local driver: what is mounted on the volume.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub driver_options: BTreeMap<String, String>,
    /// The part of a volume that appears in the container; empty for all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subpath: String,
}

/// The mounts of a container, outer ones first. Volumes get their places below `volumes`.
pub fn plan(spec: &ContainerSpec, image_volumes: &[String], volumes: &Path) -> Result<Vec<PlannedMount>, Refusal> {
    let mut planned = Vec::new();
    for mount in &spec.mounts {
        planned.push(one(mount, volumes)?);
    }
    let covered: BTreeSet<String> = planned.iter().map(|mount: &PlannedMount| mount.target.clone()).collect();
    if covered.len() < planned.len() {
        return Err(Refusal::invalid("Duplicate mount point: two mounts have the same target"));
    }
    for target in image_volumes {
        let target = target.trim_end_matches('/');
        if !target.is_empty() && !covered.contains(target) {
            planned.push(volume(None, target, false, volumes)?);
        }
    }
    for mount in &planned {
        outside_proc(&mount.target, Path::new(&mount.target))?;
    }
    planned.sort_by_key(|mount| mount.target.matches('/').count());
    Ok(planned)
}

fn one(mount: &Mount, volumes: &Path) -> Result<PlannedMount, Refusal> {
    let (target, source) = (mount.target.as_str(), mount.source.as_str());
    if !target.starts_with('/') || target == "/" || target.split('/').any(|part| part == "..") {
        let why = "the target must be an absolute path below the container's root";
        return Err(Refusal::invalid(format!("invalid mount target {target:?}: {why}")));
    }
    let target = target.trim_end_matches('/');
    match mount.r#type() {
        mount::Type::Bind => bind(mount, source, target),
        mount::Type::Volume => named_volume(mount, target, volumes),
        mount::Type::Tmpfs => tmpfs(mount, target),
        mount::Type::Npipe => Err(unsupported(target, "named pipes of Windows")),
        mount::Type::Cluster => Err(unsupported(target, "cluster volumes (CSI)")),
    }
}

/// Refuses what would cover the kernel's own files, from which a container's confinement is set and read
/// (CVE-2019-16884): images name volumes too. `place` is where the target really is.
pub fn outside_proc(target: &str, place: &Path) -> Result<(), Refusal> {
    if !place.starts_with("/proc") || PROC_FILES.iter().any(|file| place == Path::new(file)) {
        return Ok(());
    }
    Err(Refusal::invalid(format!("mount {target}: {} cannot be mounted because it is inside /proc", place.display())))
}

fn unsupported(target: &str, what: &str) -> Refusal {
    Refusal::new(skep_model::Code::Unimplemented, format!("mount {target}: the embedded runtime does not carry {what}"))
}

fn bind(mount: &Mount, source: &str, target: &str) -> Result<PlannedMount, Refusal> {
    if !source.starts_with('/') {
        return Err(Refusal::invalid(format!(
            "invalid mount config for type \"bind\": invalid mount path: '{source}' mount path must be absolute"
        )));
    }
    let options = mount.bind_options.unwrap_or_default();
    if options.readonlyforcerecursive {
        read_only_all_the_way(mount, &options, target)?;
    }
    let (propagation, root) = match options.propagation() {
        mount::bind_options::Propagation::Rprivate => ("rprivate", None),
        mount::bind_options::Propagation::Private => ("private", None),
        mount::bind_options::Propagation::Rshared => ("rshared", Some("shared")),
        mount::bind_options::Propagation::Shared => ("shared", Some("shared")),
        mount::bind_options::Propagation::Rslave => ("rslave", Some("slave")),
        mount::bind_options::Propagation::Slave => ("slave", Some("slave")),
    };
    let depth = if options.nonrecursive { "bind" } else { "rbind" };
    // With everything below it, unless only the mount itself is asked for.
    let access = match (mount.readonly, options.readonlynonrecursive || options.nonrecursive) {
        (false, _) => "rw",
        (true, true) => "ro",
        (true, false) => "rro",
    };
    Ok(PlannedMount {
        kind: "bind".to_owned(),
        source: PathBuf::from(source),
        target: target.to_owned(),
        options: [depth, propagation, access].map(ToOwned::to_owned).to_vec(),
        read_only: mount.readonly,
        create_source: options.createmountpoint,
        root_propagation: root.map(ToOwned::to_owned),
        propagation: propagation.to_owned(),
        ..Default::default()
    })
}

/// Docker's conditions for `ReadOnlyForceRecursive`.
fn read_only_all_the_way(mount: &Mount, options: &mount::BindOptions, target: &str) -> Result<(), Refusal> {
    let conflict = if !mount.readonly {
        "a mount that is not read-only"
    } else if options.nonrecursive || options.readonlynonrecursive {
        "NonRecursive and ReadOnlyNonRecursive"
    } else if options.propagation() != mount::bind_options::Propagation::Rprivate {
        "another propagation than rprivate"
    } else {
        return Ok(());
    };
    Err(Refusal::invalid(format!("mount {target}: ReadOnlyForceRecursive does not go with {conflict}")))
}

fn named_volume(mount: &Mount, target: &str, volumes: &Path) -> Result<PlannedMount, Refusal> {
    let options = mount.volume_options.clone().unwrap_or_default();
    let driver = options.driver_config.unwrap_or_default();
    if !matches!(driver.name.as_str(), "" | "local") {
        return Err(unsupported(target, &format!("the volume driver {:?}: there is local", driver.name)));
    }
    local_volume::parse(&driver.options).map_err(|why| Refusal::invalid(format!("mount {target}: {why}")))?;
    if Path::new(&options.subpath).is_absolute() || options.subpath.split('/').any(|part| part == "..") {
        let text = "subpath must be a relative path within the volume";
        return Err(Refusal::invalid(format!("mount {target}: {text}: {:?}", options.subpath)));
    }
    let name = Some(mount.source.as_str()).filter(|name| !name.is_empty());
    let planned = volume(name, target, mount.readonly, volumes)?;
    Ok(PlannedMount {
        copy_up: !options.nocopy && options.subpath.is_empty(),
        labels: options.labels,
        driver_options: driver.options,
        subpath: options.subpath,
        ..planned
    })
}

/// A volume; without a name one of the container's own.
fn volume(name: Option<&str>, target: &str, read_only: bool, volumes: &Path) -> Result<PlannedMount, Refusal> {
    let anonymous = name.is_none();
    let name = name.map_or_else(generated_name, |name| Ok(name.to_owned()))?;
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    // Docker's words.
    if name.len() == 1 {
        return Err(Refusal::invalid(format!(
            "create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )));
    }
    if name.is_empty() || !name.bytes().all(fine) || !name.as_bytes()[0].is_ascii_alphanumeric() {
        return Err(Refusal::invalid(format!(
            "create {name}: {name:?} includes invalid characters for a local volume name, only \
             \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        )));
    }
    let (access, propagation) = (if read_only { "ro" } else { "rw" }, "rprivate");
    Ok(PlannedMount {
        kind: "volume".to_owned(),
        source: volumes.join(&name).join("_data"),
        name,
        target: target.to_owned(),
        options: ["rbind", propagation, access].map(ToOwned::to_owned).to_vec(),
        read_only,
        anonymous,
        copy_up: true,
        create_source: true,
        propagation: propagation.to_owned(),
        ..Default::default()
    })
}

fn tmpfs(mount: &Mount, target: &str) -> Result<PlannedMount, Refusal> {
    let given = mount.tmpfs_options.clone().unwrap_or_default();
    let execution = if executable(&given.options, target)? { "exec" } else { "noexec" };
    let mut options: Vec<String> = ["nosuid", "nodev", execution, "rprivate"].map(ToOwned::to_owned).to_vec();
    if given.size_bytes > 0 {
        options.push(format!("size={}", given.size_bytes));
    }
    if given.mode != 0 {
        options.push(format!("mode={:o}", given.mode & 0o7777));
    }
    if mount.readonly {
        options.push("ro".to_owned());
    }
    Ok(PlannedMount {
        kind: "tmpfs".to_owned(),
        target: target.to_owned(),
        options,
        read_only: mount.readonly,
        ..Default::default()
    })
}

/// Further options are a list of `[name]` or `[name, value]` in JSON (`null` for none), of which there are two.
fn executable(options: &str, target: &str) -> Result<bool, Refusal> {
    let given: Option<Vec<Vec<String>>> = match options {
        "" => None,
        text => serde_json::from_str(text)
            .map_err(|error| Refusal::invalid(format!("mount {target}: tmpfs options {text:?}: {error}")))?,
    };
    let mut executable = false;
    for option in given.iter().flatten() {
        executable = match option.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["exec"] => true,
            ["noexec"] => false,
            other => {
                let what =
                    format!("mount {target}: tmpfs option {:?} is not known: use exec or noexec", other.join("="));
                return Err(Refusal::invalid(what));
            }
        };
    }
    Ok(executable)
}

fn generated_name() -> Result<String, Refusal> {
    let mut bytes = [0u8; VOLUME_NAME_BYTES];
    let failed =
        |error| Refusal::new(skep_model::Code::Internal, format!("the system's random source failed: {error}"));
    OsRng.try_fill_bytes(&mut bytes).map_err(failed)?;
    Ok(hex::encode(bytes))
}

/// Docker's mounts, but for the targets that something else is mounted on; in the document's form.
pub fn defaults(taken: &BTreeSet<&str>) -> Vec<Value> {
    let entry = |target: &str, kind: &str, source: &str, options: &str| {
        let options: Vec<&str> = options.split(',').collect();
        json!({"destination": target, "type": kind, "source": source, "options": options})
    };
    let shared = format!("nosuid,noexec,nodev,mode=1777,size={SHARED_MEMORY_BYTES}");
    let all = [
        ("/proc", entry("/proc", "proc", "proc", "nosuid,noexec,nodev")),
        ("/dev", entry("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k")),
        ("/dev/pts", entry("/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5")),
        ("/sys", entry("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro")),
        ("/sys/fs/cgroup", entry("/sys/fs/cgroup", "cgroup", "cgroup", "ro,nosuid,noexec,nodev")),
        ("/dev/mqueue", entry("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev")),
        ("/dev/shm", entry("/dev/shm", "tmpfs", "shm", &shared)),
    ];
    all.into_iter().filter(|(target, _)| !taken.contains(target)).map(|(_, value)| value).collect()
}

/// One of the planned mounts in the document's form.
pub fn document(mount: &PlannedMount) -> Value {
    if mount.kind == "tmpfs" {
        return json!({"destination": mount.target, "type": "tmpfs", "source": "tmpfs", "options": mount.options});
    }
    json!({"destination": mount.target, "type": "bind", "source": mount.source, "options": mount.options})
}

/// A single file of ours, bound into the container.
pub fn file(source: &Path, target: &str, read_only: bool) -> Value {
    let access = if read_only { "ro" } else { "rw" };
    json!({"destination": target, "type": "bind", "source": source, "options": ["bind", "rprivate", access]})
}
