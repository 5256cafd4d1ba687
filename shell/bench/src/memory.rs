//! What the kernel says of processes: who descends from whom, and the memory each takes (PSS).

use std::path::PathBuf;

use anyhow::Context as _;

/// A kernel's name for a process is cut to 15 bytes, so `containerd-shim-runc-v2` is this.
const DOCKER_SHIM: &str = "containerd-shim";
const SKEP_SHIM: &str = "skep-shim";
/// What a Docker Engine starts and cannot do without.
const CONTAINERD: &str = "containerd";

/// One process.
#[derive(Clone, Debug)]
pub struct Process {
    /// As the benchmark's own process namespace numbers it.
    pub pid: i32,
    /// The process's parent.
    pub parent: i32,
    /// As the kernel names it.
    pub name: String,
}

impl Process {
    /// Whether it belongs to containers rather than to the daemon.
    pub fn is_shim(&self) -> bool {
        self.name == DOCKER_SHIM || self.name == SKEP_SHIM
    }
}

/// Direct children of a process, of all its threads.
pub fn children(pid: i32) -> Vec<i32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<_>>()).collect()
}

/// A process and its descendants, containers' own processes left out.
pub fn tree(root: i32) -> Vec<Process> {
    let mut found = Vec::new();
    let mut open = vec![(root, 0)];
    while let Some((pid, parent)) = open.pop() {
        let Ok(name) = std::fs::read_to_string(format!("/proc/{pid}/comm")) else { continue };
        found.push(Process { pid, parent, name: name.trim_end().to_owned() });
        open.extend(children(pid).into_iter().map(|child| (child, pid)));
    }
    found.retain(|process| process.pid == root || process.name == CONTAINERD || process.is_shim());
    found
}

/// The shims of every daemon on the machine.
pub fn shims() -> anyhow::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // It may be gone by now.
        let Ok(name) = std::fs::read_to_string(format!("/proc/{pid}/comm")) else { continue };
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok()).unwrap_or(0);
        found.push(Process { pid, parent, name: name.trim_end().to_owned() });
    }
    found.retain(Process::is_shim);
    Ok(found)
}

/// What tells a process namespace from others, while the process lives.
pub fn process_namespace(pid: i32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

/// Proportional set size, in MiB: what it has for itself, and its share of what it shares.
pub fn pss_mib(pid: i32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).with_context(|| format!("{path}: no Pss"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().with_context(|| format!("{path}: {line}"))?;
    Ok(kib / 1024.0)
}
