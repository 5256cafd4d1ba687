//! A container's cgroup directories: finding them, reading what they tell at the end, removing them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// A cgroup may stay busy for a moment after its last process; tries to remove it, and the pause between.
const REMOVE_ATTEMPTS: u32 = 100;
const REMOVE_PAUSE: Duration = Duration::from_millis(10);

/// Where the hierarchies are mounted (v1 and v2).
pub fn hierarchies() -> io::Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo")?;
    let mut found = Vec::new();
    for line in mounts.lines() {
        let Some((front, back)) = line.split_once(" - ") else { continue };
        let kind = back.split(' ').next().unwrap_or_default();
        if let ("cgroup" | "cgroup2", Some(point)) = (kind, front.split(' ').nth(4)) {
            found.push(PathBuf::from(point));
        }
    }
    Ok(found)
}

/// The directories of `path` (absolute, below each hierarchy) that exist.
pub fn directories(path: &str) -> io::Result<Vec<PathBuf>> {
    let below = path.trim_start_matches('/');
    Ok(hierarchies()?.into_iter().map(|hierarchy| hierarchy.join(below)).filter(|path| path.is_dir()).collect())
}

/// Whether the kernel killed a process of the cgroup for want of memory.
pub fn was_oom_killed(directories: &[PathBuf]) -> bool {
    directories.iter().any(|directory| {
        ["memory.oom_control", "memory.events"].iter().any(|name| {
            let text = fs::read_to_string(directory.join(name)).unwrap_or_default();
            text.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0"))
        })
    })
}

/// Puts the calling process into each of the cgroups.
pub fn join(directories: &[PathBuf]) -> io::Result<()> {
    for directory in directories {
        fs::write(directory.join("cgroup.procs"), "0")?;
    }
    Ok(())
}

/// Kills what is left in the cgroups and removes them.
pub fn remove(directories: &[PathBuf]) -> io::Result<()> {
    for directory in directories {
        remove_tree(directory)?;
    }
    Ok(())
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    for _ in 1..REMOVE_ATTEMPTS {
        match fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => kill_members(directory),
            Err(error) => return Err(error),
        }
        std::thread::sleep(REMOVE_PAUSE);
    }
    fs::remove_dir(directory)
}

/// Ends a creation that was cut off: its processes are children of the calling process by now, and may still be making
/// cgroups. Returns the directories that are left to be removed.
pub fn sweep(path: &str) -> io::Result<Vec<PathBuf>> {
    for _ in 0..REMOVE_ATTEMPTS {
        directories(path)?.iter().for_each(|directory| kill_members(directory));
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(nix::errno::Errno::ECHILD) => break,
            Ok(WaitStatus::StillAlive) => std::thread::sleep(REMOVE_PAUSE),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    directories(path)
}

/// Sends KILL to every member; those that are gone meanwhile do not matter.
fn kill_members(directory: &Path) {
    let members = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    for pid in members.lines().filter_map(|line| line.parse().ok()) {
        match kill(Pid::from_raw(pid), Signal::SIGKILL) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(error) => tracing::warn!(pid, %error, "cannot kill a process left in a cgroup"),
        }
    }
}
