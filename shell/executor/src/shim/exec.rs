//! A further process in the container. Ours rather than the library's, which leaves the system call filter out.
//!
//! Two steps, as entering a process namespace takes a fork: the helper joins cgroups and namespaces, then makes the
//! process as its sibling, hence as the shim's child, which learns its exit code.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use libcontainer::capabilities::reset_effective;
use libcontainer::oci_spec::runtime::{PosixRlimit, Spec};
use libcontainer::syscall::Syscall;
use libcontainer::syscall::syscall::create_syscall;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{ForkResult, Gid, Uid, dup2_stderr, dup2_stdin, dup2_stdout, execve, fork, setsid};
use serde::{Deserialize, Serialize};

use super::confine::Confine;
use super::process::restore_signals;
use super::protocol::{Confinement, ExecProcess};
use super::workload::{EXIT_CODE_NOT_FOUND, find, strings};
use super::{cgroups, wire};

/// An exec under way.
pub struct PendingExec {
    /// The daemon's name for it.
    pub exec: String,
    /// The request to answer, and whose it is.
    pub request: u64,
    /// Which connection asked.
    pub client: u64,
    /// Carries `Step`s, one a message; ends when the program runs.
    pub steps: OwnedFd,
    /// What was heard so far.
    pub pid: i32,
    /// The terminal's other end.
    pub terminal: Option<OwnedFd>,
    /// Why it failed.
    pub error: Option<String>,
}

/// What the helper and the process tell.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The process, as the host numbers it.
    Process(i32),
    /// The terminal's other end is attached.
    Terminal,
    /// It could not be started.
    Failed(String),
}

/// Where to run it.
pub struct Place<'a> {
    /// Directory of `config.json`.
    pub bundle: &'a Path,
    /// The container's first process.
    pub init: &'a OwnedFd,
    /// The container's cgroups.
    pub cgroups: &'a [PathBuf],
    /// What its processes give up.
    pub confinement: &'a Confinement,
}

/// What further processes get as the first one did.
struct Bounds {
    confine: Option<Confine>,
    rlimits: Vec<PosixRlimit>,
}

/// Forks the helper; the streams are the process's standard ones, none for a terminal.
pub fn begin(place: &Place<'_>, process: &ExecProcess, streams: &[OwnedFd]) -> io::Result<OwnedFd> {
    let (steps, report) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: the shim has a single thread, so the child may run ordinary code.
    match unsafe { fork() }? {
        ForkResult::Parent { .. } => Ok(steps),
        ForkResult::Child => {
            drop(steps);
            let result = enter(place, process, streams, &report);
            let told = result.map_or_else(|error| tell(&report, &Step::Failed(error), None), Ok);
            // SAFETY: `_exit` only ends this process; the shim's buffers and guards are not the child's to run.
            unsafe { libc::_exit(if told.is_ok() { 0 } else { EXIT_CODE_NOT_FOUND }) }
        }
    }
}

fn tell(report: &OwnedFd, step: &Step, terminal: Option<&OwnedFd>) -> io::Result<()> {
    let text = serde_json::to_vec(step)?;
    let attached: Vec<_> = terminal.iter().map(|terminal| terminal.as_fd()).collect();
    wire::send(report.as_raw_fd(), &text, &attached).map(|_| ())
}

/// Reads one step; `None` when all was said.
pub fn heard(steps: &OwnedFd) -> io::Result<Option<(Step, Option<OwnedFd>)>> {
    let mut buffer = [0u8; 4096];
    let (length, mut descriptors) = wire::receive(steps.as_raw_fd(), &mut buffer)?;
    if length == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&buffer[..length])?, descriptors.pop())))
}

/// The helper.
fn enter(place: &Place<'_>, process: &ExecProcess, streams: &[OwnedFd], report: &OwnedFd) -> Result<(), String> {
    let words =
        |what: &'static str| move |error: &dyn std::error::Error| format!("{what}: {}", skep_model::with_causes(error));
    restore_signals().map_err(|error| words("signals")(&error))?;
    let bounds = bounds(place, process)?;
    cgroups::join(place.cgroups).map_err(|error| words("join cgroups")(&error))?;
    // Processes of the container must not look into this one, which still holds the host's files.
    nix::sys::prctl::set_dumpable(false).map_err(|error| words("dumpable")(&error))?;
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    setns(place.init, namespaces).map_err(|error| words("enter namespaces")(&error))?;
    // SAFETY: a fork (no new stack, no shared memory) of a single-threaded process; CLONE_PARENT makes the shim the
    // parent, and as the exit signal is the caller's own, SIGCHLD is raised as for any child.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_PARENT | libc::SIGCHLD, 0, 0, 0, 0) };
    match pid {
        0 => {
            let error = match run(&bounds, process, streams, report) {
                Ok(never) => match never {},
                Err(error) => error,
            };
            let told = tell(report, &Step::Failed(error), None);
            // SAFETY: as in `begin`.
            unsafe { libc::_exit(if told.is_ok() { EXIT_CODE_NOT_FOUND } else { 1 }) }
        }
        pid if pid > 0 => {
            let pid = i32::try_from(pid).map_err(|error| error.to_string())?;
            tell(report, &Step::Process(pid), None).map_err(|error| words("report")(&error))
        }
        _ => Err(words("fork")(&io::Error::last_os_error())),
    }
}

fn bounds(place: &Place<'_>, process: &ExecProcess) -> Result<Bounds, String> {
    let spec = Spec::load(place.bundle.join("config.json")).map_err(|error| skep_model::with_causes(&error))?;
    let confine = (!process.privileged).then(|| Confine::read(place.confinement)).transpose();
    Ok(Bounds {
        confine: confine.map_err(|error| format!("system call filter: {error}"))?,
        rlimits: spec.process().as_ref().and_then(|own| own.rlimits().clone()).unwrap_or_default(),
    })
}

/// The process itself, up to its program.
fn run(
    bounds: &Bounds,
    process: &ExecProcess,
    streams: &[OwnedFd],
    report: &OwnedFd,
) -> Result<std::convert::Infallible, String> {
    let named = |what: &'static str| move |error: nix::Error| format!("{what}: {error}");
    setsid().map_err(named("setsid"))?;
    if process.terminal {
        let (master, slave) = open_terminal(process.uid).map_err(|error| format!("terminal: {error}"))?;
        tell(report, &Step::Terminal, Some(&master)).map_err(|error| format!("report: {error}"))?;
        attach(&slave, &slave, &slave).map_err(named("attach the terminal"))?;
        // SAFETY: TIOCSCTTY takes an integer and no memory of ours; descriptor 0 is the terminal attached above.
        if unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } < 0 {
            return Err(format!("controlling terminal: {}", io::Error::last_os_error()));
        }
    } else if let [stdin, stdout, stderr] = streams {
        attach(stdin, stdout, stderr).map_err(named("attach the streams"))?;
    } else {
        return Err("the three standard streams are missing".to_owned());
    }
    let path = confine(bounds, process)?;
    let args = strings(&process.args)?;
    let env: Vec<CString> = strings(&process.env)?;
    match execve(&path, &args, &env) {
        Ok(never) => match never {},
        Err(error) => Err(format!("exec {path:?}: {error}")),
    }
}

fn attach(stdin: &OwnedFd, stdout: &OwnedFd, stderr: &OwnedFd) -> nix::Result<()> {
    dup2_stdin(stdin)?;
    dup2_stdout(stdout)?;
    dup2_stderr(stderr)
}

/// Gives up what the container does not have; returns the program.
fn confine(bounds: &Bounds, process: &ExecProcess) -> Result<CString, String> {
    let syscall = create_syscall();
    let syscall: &dyn Syscall = syscall.as_ref();
    let words = |what: &'static str| {
        move |error: libcontainer::syscall::SyscallError| format!("{what}: {}", skep_model::with_causes(&error))
    };
    for limit in &bounds.rlimits {
        syscall.set_rlimit(limit).map_err(words("resource limits"))?;
    }
    let cwd = if process.cwd.is_empty() { "/" } else { &process.cwd };
    nix::unistd::chdir(cwd).map_err(|error| format!("chdir to {cwd:?}: {error}"))?;
    let groups: Vec<Gid> = process.additional_gids.iter().map(|gid| Gid::from_raw(*gid)).collect();
    nix::unistd::setgroups(&groups).map_err(|error| format!("groups: {error}"))?;
    syscall.close_range(0).map_err(words("close descriptors"))?;
    set_user(process)?;
    match &bounds.confine {
        Some(confine) => confine.apply()?,
        None => reset_effective(syscall).map_err(words("capabilities"))?,
    }
    find(process.args.first().ok_or("no command specified")?, &process.env, Path::new(cwd))
}

/// Becomes the user, keeping capabilities until they are set explicitly.
fn set_user(process: &ExecProcess) -> Result<(), String> {
    let (uid, gid) = (Uid::from_raw(process.uid), Gid::from_raw(process.gid));
    nix::sys::prctl::set_keepcaps(true).map_err(|error| format!("keep capabilities: {error}"))?;
    nix::unistd::setresgid(gid, gid, gid).map_err(|error| format!("group {gid}: {error}"))?;
    nix::unistd::setresuid(uid, uid, uid).map_err(|error| format!("user {uid}: {error}"))?;
    nix::sys::prctl::set_keepcaps(false).map_err(|error| format!("keep capabilities: {error}"))
}

/// A terminal of the container's own `devpts`.
fn open_terminal(uid: u32) -> io::Result<(OwnedFd, OwnedFd)> {
    let master = std::fs::OpenOptions::new().read(true).write(true).open("/dev/pts/ptmx")?;
    let statistics = nix::sys::statfs::fstatfs(&master)?;
    if statistics.filesystem_type() != nix::sys::statfs::FsType(0x1cd1) {
        return Err(io::Error::other("/dev/pts/ptmx is not a terminal multiplexer"));
    }
    let unlocked: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one integer, which lives until the call returns.
    if unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, std::ptr::from_ref(&unlocked)) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: TIOCGPTPEER takes open flags by value and returns a new descriptor.
    let slave =
        unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC) };
    if slave < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor to us; nobody else owns it.
    let slave = unsafe { OwnedFd::from_raw_fd(slave) };
    nix::unistd::fchown(&slave, Some(Uid::from_raw(uid)), None)?;
    Ok((OwnedFd::from(master), slave))
}
