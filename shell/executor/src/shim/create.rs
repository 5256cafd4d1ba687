//! Creates and starts the container in a child of the shim, so that what the runtime library allocates is gone with
//! it, and a crash in there is no crash of the shim. The container's first process becomes the shim's child, because
//! the shim is its subreaper.

use std::fs;
use std::io::{self, BufRead, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use nix::fcntl::OFlag;
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe2, setgroups};
use serde::{Deserialize, Serialize};

use super::complaints::Complaints;
use super::confine::Confine;
use super::process::restore_signals;
use super::protocol::Instructions;
use super::workload::Workload;
use super::{CONSOLE_FILE, STATE_DIRECTORY, cgroups, devices};

/// A creation under way.
pub struct Creation {
    /// The child that does it.
    pub creator: Pid,
    /// Brings one `Outcome`, a line of JSON.
    pub outcome: OwnedFd,
}

/// What came of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// The container's first process.
    pub pid: i32,
    /// Its cgroup directories.
    pub cgroups: Vec<PathBuf>,
    /// Why there is none.
    pub error: Option<String>,
}

/// Standard streams of the container's process.
pub struct Stdio {
    /// Input.
    pub stdin: OwnedFd,
    /// Output.
    pub stdout: OwnedFd,
    /// Errors.
    pub stderr: OwnedFd,
}

/// Forks the creator.
pub fn begin(instructions: &Instructions, stdio: Stdio) -> io::Result<Creation> {
    let (outcome, report) = pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: the shim has a single thread, so the child may run ordinary code.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(Creation { creator: child, outcome }),
        ForkResult::Child => {
            drop(outcome);
            let result = prepare(&stdio).map_err(|error| error.to_string()).and_then(|()| create(instructions));
            let told = tell(report, result);
            // SAFETY: `_exit` only ends this process; the shim's buffers and guards are not the child's to run.
            unsafe { libc::_exit(i32::from(told.is_err())) }
        }
    }
}

fn tell(report: OwnedFd, result: Result<Outcome, String>) -> io::Result<()> {
    let outcome = result.unwrap_or_else(|error| Outcome { error: Some(error), ..Default::default() });
    let mut text = serde_json::to_vec(&outcome)?;
    text.push(b'\n');
    fs::File::from(report).write_all(&text)
}

fn prepare(stdio: &Stdio) -> io::Result<()> {
    restore_signals()?;
    dup2_stdin(&stdio.stdin)?;
    dup2_stdout(&stdio.stdout)?;
    dup2_stderr(&stdio.stderr)?;
    // Only groups that the document names may reach the container: the library adds to those of its caller.
    setgroups(&[])?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    // SAFETY: keyctl with a null name takes no memory of ours; it gives this process an anonymous session keyring, so
    // that containers do not share the host's.
    let joined = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, 0) };
    match io::Error::last_os_error() {
        error if joined < 0 && error.raw_os_error() != Some(libc::ENOSYS) => Err(error),
        _ => Ok(()),
    }
}

fn create(instructions: &Instructions) -> Result<Outcome, String> {
    let complaints = Complaints::listen().map_err(|error| format!("pipe: {error}"))?;
    make(instructions).map_err(|error| explain(error, complaints.first()))
}

/// The library's answer, with what it complained of unless that is in it.
fn explain(error: String, complaint: Option<String>) -> String {
    match complaint.filter(|complaint| !error.starts_with("exec: ") && !error.contains(complaint.as_str())) {
        Some(complaint) => format!("{error}: {complaint}"),
        None => error,
    }
}

fn make(instructions: &Instructions) -> Result<Outcome, String> {
    let state = instructions.run_directory.join(STATE_DIRECTORY);
    let working_dir = Path::new("/").join(&instructions.working_dir);
    let confine = Confine::read(&instructions.confinement)
        .and_then(|confine| confine.of_first(&instructions.propagations, &working_dir))
        .map_err(|error| format!("confinement: {error}"))?;
    let mut builder = ContainerBuilder::new(instructions.container_id.clone(), SyscallType::default())
        .with_root_path(&state)
        .map_err(|error| skep_model::with_causes(&error))?
        .with_executor(Workload { init: instructions.init, confine, working_dir });
    if instructions.terminal {
        builder = builder.with_console_socket(Some(instructions.run_directory.join(CONSOLE_FILE)));
    }
    let builder = builder.as_init(&instructions.bundle).with_systemd(false).with_detach(true);
    let mut container = builder.build().map_err(|error| readable(&skep_model::with_causes(&error)))?;
    let pid = container.pid().ok_or("the runtime library reports no process")?.as_raw();
    let finished = cgroups::directories(&instructions.cgroup_path)
        .map_err(|error| format!("cgroups: {error}"))
        .and_then(|cgroups| filter_devices(&cgroups, instructions).map(|()| cgroups))
        .and_then(|cgroups| {
            container.start().map(|()| cgroups).map_err(|error| readable(&skep_model::with_causes(&error)))
        });
    match finished {
        Ok(cgroups) => Ok(Outcome { pid, cgroups, error: None }),
        Err(error) => {
            let removed = container.delete(true).map_err(|error| skep_model::with_causes(&error));
            Err(removed.err().map_or(error.clone(), |second| format!("{error} (and removing it failed: {second})")))
        }
    }
}

/// The library wraps each message in the names of its processes; the last one says what is wrong. That its own tidying up
/// failed, too, is nothing to the user: the shim does that once more, and waits for what is busy.
fn readable(text: &str) -> String {
    let text = text.split_once(". error during cleanup: ").map_or(text, |(cause, _)| cause);
    if let Some((_, tail)) = text.rsplit_once("exec: \"") {
        return format!("exec: \"{tail}");
    }
    text.rsplit_once("error in executing process : ").map_or(text, |(_, tail)| tail).to_owned()
}

/// On v2 attaches our filter; on v1 the library has written the list.
fn filter_devices(cgroups: &[PathBuf], instructions: &Instructions) -> Result<(), String> {
    if cgroups.iter().any(|directory| directory.join("devices.allow").exists()) {
        return Ok(());
    }
    let unified = cgroups.iter().find(|directory| is_unified(directory));
    let directory =
        unified.ok_or("this host has neither the devices cgroup nor cgroup v2: devices cannot be filtered")?;
    let open = fs::File::open(directory).map_err(|error| format!("device filter (cgroup v2): {error}"))?;
    devices::restrict(open.as_fd(), &instructions.devices)
        .map_err(|error| format!("device filter (cgroup v2): {error}"))
}

fn is_unified(directory: &Path) -> bool {
    directory.join("cgroup.controllers").exists()
}

/// Reads what came of a creation. Up to the line's end only: whoever still has the pipe must not hold the shim up.
pub fn outcome(report: OwnedFd) -> io::Result<Outcome> {
    let mut line = Vec::new();
    io::BufReader::new(fs::File::from(report)).read_until(b'\n', &mut line)?;
    let killed = || Outcome { error: Some("the creation was ended".to_owned()), ..Default::default() };
    Ok(serde_json::from_slice(&line).unwrap_or_else(|_| killed()))
}

/// Takes the terminal that the container's first process sends; `None` when it ended before.
pub fn receive_terminal(connection: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    let mut descriptors = super::wire::receive(connection.as_raw_fd(), &mut [0u8; 64])?.1;
    Ok(descriptors.pop())
}
