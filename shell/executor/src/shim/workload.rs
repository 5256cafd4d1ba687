//! How the container's own process begins: the last step of the runtime library, in our words.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{AccessFlags, ForkResult, Pid, access, execv, fork};

use super::confine::Confine;
use super::process::SIGNAL_EXIT_BASE;

/// What a shell says of a program that it cannot find.
pub const EXIT_CODE_NOT_FOUND: i32 = 127;

/// Runs the program of the OCI document, under an init of ours when asked.
#[derive(Clone)]
pub struct Workload {
    /// Whether our own code is process 1.
    pub init: bool,
    /// What is given up before the program runs.
    pub confine: Confine,
    /// Where it begins.
    pub working_dir: PathBuf,
}

impl Executor for Workload {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        self.confine.apply().map_err(ExecutorError::Other)?;
        let (path, args) = program(spec, &self.working_dir).map_err(ExecutorError::Other)?;
        if self.init {
            run_under_init().map_err(|error| ExecutorError::Other(error.to_string()))?;
        }
        match execv(&path, &args) {
            Ok(never) => match never {},
            Err(error) => Err(ExecutorError::Other(format!("exec {path:?}: {error}"))),
        }
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        // What fails here is still told to whoever creates the container.
        let prepared = self.confine.prepare().and_then(|()| program(spec, &self.working_dir));
        prepared.map(|_| ()).map_err(ExecutorValidationError::ArgValidationError)
    }
}

fn program(spec: &Spec, working_dir: &Path) -> Result<(CString, Vec<CString>), String> {
    let process = spec.process().as_ref().ok_or("the document has no process")?;
    let args = process.args().as_ref().filter(|args| !args.is_empty()).ok_or("no command specified")?;
    let env = process.env().as_deref().unwrap_or_default();
    let path = find(&args[0], env, working_dir)?;
    Ok((path, strings(args)?))
}

/// As C wants them.
pub fn strings(texts: &[String]) -> Result<Vec<CString>, String> {
    texts.iter().map(|text| CString::new(text.as_str()).map_err(|error| format!("{text:?}: {error}"))).collect()
}

/// The program that a name stands for, by the PATH of the environment it will run in.
pub fn find(name: &str, env: &[String], cwd: &Path) -> Result<CString, String> {
    let candidates: Vec<PathBuf> = if name.contains('/') {
        vec![cwd.join(name)]
    } else {
        let path = env.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
        path.split(':').filter(|part| !part.is_empty()).map(|part| cwd.join(part).join(name)).collect()
    };
    let mut reason = if name.contains('/') {
        format!("exec: {name:?}: stat {name}: no such file or directory")
    } else {
        format!("exec: {name:?}: executable file not found in $PATH")
    };
    for candidate in candidates {
        let Ok(metadata) = std::fs::metadata(&candidate) else { continue };
        if metadata.is_file() && access(&candidate, AccessFlags::X_OK).is_ok() {
            return CString::new(candidate.as_os_str().as_bytes()).map_err(|error| error.to_string());
        }
        reason = format!("exec: {name:?}: permission denied");
    }
    Err(reason)
}

/// Stays as process 1: starts the program, passes every signal on to it, reaps orphans, ends as it ends.
fn run_under_init() -> nix::Result<()> {
    let all = SigSet::all();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None)?;
    // SAFETY: this process has a single thread, so the child may run ordinary code.
    let child = match unsafe { fork() }? {
        ForkResult::Child => {
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
            return Ok(());
        }
        ForkResult::Parent { child } => child,
    };
    // This process never executes a program, so nothing closes what was marked to be closed then.
    // SAFETY: closes descriptors that nothing in this process uses any more; 0 to 2 stay.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    loop {
        match all.wait()? {
            Signal::SIGCHLD => {
                if let Some(code) = reap(child)? {
                    // SAFETY: `_exit` only ends this process; nothing is left to be dropped.
                    unsafe { libc::_exit(code) }
                }
            }
            signal => match kill(child, signal) {
                Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
                Err(error) => return Err(error),
            },
        }
    }
}

/// Takes every ended child; the exit code when the main one is among them.
fn reap(main: Pid) -> nix::Result<Option<i32>> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == main => code = Some(status),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == main => code = Some(SIGNAL_EXIT_BASE + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::ECHILD) => return Ok(code),
            Ok(_) => {}
            Err(error) => return Err(error),
        }
    }
}
