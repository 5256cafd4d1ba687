//! The process that shims are forked from: this binary, executed once for a daemon's run and then only forked.
//!
//! What the dynamic linker writes while it relocates a large binary (megabytes) is so shared by all shims, and a start
//! needs no exec. It has a single thread and no children of its own to wait for; it ends with its daemon, the shims
//! do not.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{ForkResult, dup2_stderr, dup2_stdin, fork};

use super::program::ShimProgram;
use super::{PROCESS_NAME, SHIM_ARGUMENT, wire};
use crate::error::RuntimeError;

/// Argument that makes a shim process the one that others are forked from.
pub const NURSERY_ARGUMENT: &str = "--nursery";
/// Longest path of instructions.
const PATH_MAX_BYTES: usize = 4096;

/// The daemon's handle.
pub struct Nursery {
    /// The running binary unless another one is given.
    program: Option<PathBuf>,
    exec_root: PathBuf,
    /// To the running one; made anew should it be gone.
    socket: Mutex<Option<StdUnixStream>>,
}

impl Nursery {
    /// For a daemon; the process itself begins with the first shim.
    pub fn new(program: Option<&Path>, exec_root: &Path) -> Self {
        let program = program.map(Path::to_owned);
        Self { program, exec_root: exec_root.to_owned(), socket: Mutex::new(None) }
    }

    /// Has a shim forked that reads its instructions and speaks over `connection`.
    pub fn fork(&self, instructions: &Path, connection: &OwnedFd) -> Result<(), RuntimeError> {
        use std::os::fd::AsFd;
        let failed = RuntimeError::host("fork a shim");
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let path = instructions.as_os_str().as_bytes();
        if let Some(open) = socket.as_ref()
            && wire::send(open.as_raw_fd(), path, &[connection.as_fd()]).is_ok()
        {
            return Ok(());
        }
        // Sealed only now: a daemon without containers needs no copy, and the process keeps it from here on.
        let program = ShimProgram::seal(self.program.as_deref())?;
        let fresh = self.begin(&program).map_err(RuntimeError::host("start the process that shims are forked from"))?;
        wire::send(fresh.as_raw_fd(), path, &[connection.as_fd()]).map_err(failed)?;
        *socket = Some(fresh);
        Ok(())
    }

    fn begin(&self, program: &ShimProgram) -> io::Result<StdUnixStream> {
        // Whole messages, so that each is one path.
        let (ours, theirs) = nix::sys::socket::socketpair(
            nix::sys::socket::AddressFamily::Unix,
            nix::sys::socket::SockType::SeqPacket,
            None,
            nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        )?;
        let mut command = Command::new(program.path());
        std::os::unix::process::CommandExt::arg0(&mut command, "skep-shim");
        let mut child = command
            .args([SHIM_ARGUMENT, NURSERY_ARGUMENT])
            .arg(&self.exec_root)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        // Reaped when it ends; it is there for as long as this daemon.
        std::thread::Builder::new().name("skep-nursery".to_owned()).stack_size(64 * 1024).spawn(move || {
            if let Err(error) = child.wait() {
                tracing::warn!(%error, "cannot wait for the process that shims are forked from");
            }
        })?;
        Ok(StdUnixStream::from(ours))
    }
}

/// The process. Returns in each shim with its instructions, and with `None` when the daemon is gone.
pub fn serve() -> io::Result<Option<PathBuf>> {
    nix::unistd::setsid()?;
    nix::sys::prctl::set_name(PROCESS_NAME)?;
    // Its children are nobody's to wait for: their daemons hear of them over their connections.
    dispose(SigHandler::SigIgn)?;
    loop {
        let mut buffer = [0u8; PATH_MAX_BYTES];
        let (length, mut descriptors) = wire::receive(0, &mut buffer)?;
        if length == 0 {
            return Ok(None);
        }
        let Some(connection) = descriptors.pop() else { continue };
        // SAFETY: this process has a single thread, so the child may run ordinary code.
        if let ForkResult::Child = unsafe { fork() }? {
            dispose(SigHandler::SigDfl)?;
            dup2_stdin(&connection)?;
            let instructions = PathBuf::from(std::ffi::OsString::from_vec(buffer[..length].to_vec()));
            let words = instructions.with_file_name("shim.log");
            dup2_stderr(OpenOptions::new().create(true).append(true).open(words)?)?;
            return Ok(Some(instructions));
        }
    }
}

fn dispose(children: SigHandler) -> io::Result<()> {
    let action = SigAction::new(children, SaFlags::empty(), SigSet::empty());
    // SAFETY: ignoring and the default run no code of ours.
    unsafe { sigaction(Signal::SIGCHLD, &action) }?;
    Ok(())
}
