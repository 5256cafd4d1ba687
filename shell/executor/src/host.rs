//! What this host can do, read once from its kernel.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use skep_model::{Ability, AbilitySet};

use crate::apparmor;
use crate::shim::cgroup_hierarchies;
use crate::spec::HeldCapabilities;

/// Where the one hierarchy of cgroup v2 is mounted; on v1, a directory of mounts.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// What containers may be promised here.
pub fn abilities() -> AbilitySet {
    let mut present: AbilitySet = limits().into_iter().collect();
    if Path::new("/proc/sys/kernel/seccomp").exists() {
        present.insert(Ability::Seccomp);
    }
    if apparmor::is_usable() {
        present.insert(Ability::AppArmor);
    }
    if changes_mounts_recursively() {
        present.insert(Ability::RecursiveReadOnly);
    }
    present
}

fn limits() -> Vec<Ability> {
    if has_unified_cgroup() { unified(Path::new(CGROUP_ROOT)) } else { separate() }
}

/// Whether this host has cgroup v2 alone.
pub fn has_unified_cgroup() -> bool {
    Path::new(CGROUP_ROOT).join("cgroup.controllers").exists()
}

/// Where the hierarchies of cgroup v1 are mounted, as containers see them, too; none where all is v2.
pub fn separate_cgroups() -> io::Result<Vec<PathBuf>> {
    let hierarchies = if has_unified_cgroup() { Vec::new() } else { cgroup_hierarchies()? };
    Ok(hierarchies.into_iter().filter(|place| place.starts_with(CGROUP_ROOT)).collect())
}

/// Whether low ports and pings can be opened to every user of a network namespace (Linux 4.11).
pub fn has_network_settings() -> bool {
    Path::new("/proc/sys/net/ipv4/ip_unprivileged_port_start").exists()
}

/// What processes of this daemon may hold at most.
pub fn held_capabilities() -> io::Result<HeldCapabilities> {
    let status = fs::read_to_string("/proc/self/status")?;
    HeldCapabilities::read(&status).ok_or_else(|| io::Error::other("/proc/self/status does not say CapBnd"))
}

/// cgroup v2.
fn unified(root: &Path) -> Vec<Ability> {
    let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    let has = |name: &str| controllers.split_whitespace().any(|controller| controller == name);
    let mut found = Vec::new();
    for (name, ability) in [("cpu", Ability::CpuLimit), ("memory", Ability::MemoryLimit), ("pids", Ability::PidsLimit)]
    {
        if has(name) {
            found.push(ability);
        }
    }
    // The root itself has no limits: look below it.
    if has("memory") && below(root).iter().any(|directory| directory.join("memory.swap.max").exists()) {
        found.push(Ability::SwapLimit);
    }
    found
}

fn below(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// cgroup v1: a hierarchy for each controller.
fn separate() -> Vec<Ability> {
    let hierarchies = cgroup_hierarchies().unwrap_or_default();
    let has = |file: &str| hierarchies.iter().any(|hierarchy| hierarchy.join(file).exists());
    [
        ("cpu.cfs_quota_us", Ability::CpuLimit),
        ("memory.limit_in_bytes", Ability::MemoryLimit),
        ("memory.memsw.limit_in_bytes", Ability::SwapLimit),
        ("memory.swappiness", Ability::Swappiness),
        ("../pids/cgroup.procs", Ability::PidsLimit),
    ]
    .into_iter()
    .filter_map(|(file, ability)| has(file).then_some(ability))
    .collect()
}

/// Whether `mount_setattr` is there (Linux 5.12).
fn changes_mounts_recursively() -> bool {
    // SAFETY: an invalid descriptor, an empty path and no attributes: the kernel refuses before it touches anything.
    let result = unsafe { libc::syscall(libc::SYS_mount_setattr, -1, c"".as_ptr(), 0, std::ptr::null::<u8>(), 0) };
    result >= 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unified_hierarchy_names_its_controllers() {
        let root = tempfile::tempdir().expect("a directory");
        fs::write(root.path().join("cgroup.controllers"), "cpuset cpu io memory pids\n").expect("written");
        assert_eq!(unified(root.path()), [Ability::CpuLimit, Ability::MemoryLimit, Ability::PidsLimit]);
        fs::create_dir(root.path().join("init.scope")).expect("made");
        fs::write(root.path().join("init.scope/memory.swap.max"), "max").expect("written");
        assert!(unified(root.path()).contains(&Ability::SwapLimit));
        fs::write(root.path().join("cgroup.controllers"), "hugetlb\n").expect("written");
        assert_eq!(unified(root.path()), []);
    }

    #[test]
    fn a_running_kernel_filters_system_calls() {
        assert!(abilities().contains(Ability::Seccomp));
    }
}
