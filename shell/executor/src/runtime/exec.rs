//! Further processes in running containers (`docker exec`).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use skep_model::engine::{ExecSpec, ExecState, LogStream};
use skep_model::{Code, Refusal};
use tokio::io::AsyncWrite;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};

use super::Runtime;
use super::shared::held;
use super::task::random_id;
use crate::shim::protocol::ExecProcess;
use crate::spec::Accounts;

/// Ended processes that can still be asked for their exit code.
const ENDED_MAX: usize = 256;
/// Pieces of output on their way to a reader.
const CHANNEL_PIECES: usize = 64;
const PIECE_BYTES: usize = 32 * 1024;
/// Output is read for this long after the process has ended, for what it left in the pipe; its own children may hold
/// the pipe open for ever.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// One such process.
pub struct Exec {
    state: Mutex<ExecState>,
    terminal: Mutex<Option<OwnedFd>>,
}

/// The streams of a started process.
pub struct ExecSession {
    /// Its standard input; `None` when it was not asked for. Dropping it closes the input.
    pub input: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    /// Its output; ends when the process has ended and all was read. With a terminal everything is `Stdout`.
    pub output: mpsc::Receiver<(LogStream, Bytes)>,
}

fn internal(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(Code::Internal, error.to_string())
}

fn unknown(id: &str) -> Refusal {
    Refusal::new(Code::NotFound, format!("No such exec instance: {id}"))
}

impl Runtime {
    /// Prepares a further process; returns its id (64 hexadecimal digits).
    pub async fn create_exec(&self, spec: ExecSpec) -> Result<String, Refusal> {
        let container = self.shared.container(&spec.container_id)?;
        if !container.now().is_running() {
            return Err(Refusal::new(Code::AlreadyExists, format!("Container {} is not running", container.id)));
        }
        if spec.command.is_empty() {
            return Err(Refusal::invalid("No exec command specified"));
        }
        let id = random_id().map_err(internal)?;
        let state = ExecState { id: id.clone(), spec, running: false, pid: 0, exit_code: None };
        let exec = Exec { state: Mutex::new(state), terminal: Mutex::new(None) };
        let mut execs = held(&self.shared.execs);
        let ended: Vec<String> =
            execs.iter().filter(|(_, exec)| held(&exec.state).exit_code.is_some()).map(|(id, _)| id.clone()).collect();
        for old in ended.iter().skip(ENDED_MAX) {
            execs.remove(old);
        }
        execs.insert(id.clone(), Arc::new(exec));
        Ok(id)
    }

    /// Starts it with its streams attached; detached, its output goes nowhere.
    pub async fn start_exec(&self, exec_id: &str, detach: bool) -> Result<ExecSession, Refusal> {
        let exec = held(&self.shared.execs).get(exec_id).cloned().ok_or_else(|| unknown(exec_id))?;
        let spec = {
            let mut state = held(&exec.state);
            if state.running || state.exit_code.is_some() {
                return Err(Refusal::new(Code::AlreadyExists, format!("Exec {exec_id} has already run")));
            }
            state.running = true;
            state.spec.clone()
        };
        let started = self.begin(exec_id, &exec, &spec, detach).await;
        if started.is_err() {
            let mut state = held(&exec.state);
            state.running = false;
            state.exit_code = Some(126);
        }
        started
    }

    async fn begin(&self, id: &str, exec: &Arc<Exec>, spec: &ExecSpec, detach: bool) -> Result<ExecSession, Refusal> {
        let container = self.shared.container(&spec.container_id)?;
        let client =
            container.client().ok_or_else(|| internal(format!("Container {} is not running", container.id)))?;
        let pid = container.now().status.map_or(0, |status| status.pid);
        let process = process(spec, container.record().exec_base, pid)?;
        let failed = |error: crate::error::RuntimeError| Refusal::invalid(format!("OCI runtime exec failed: {error}"));
        if spec.tty {
            let (pid, terminal, ended) = client.exec(id, process, &[]).await.map_err(failed)?;
            let terminal = terminal.ok_or_else(|| internal("the shim sent no terminal"))?;
            let input = (spec.attach_stdin && !detach).then(|| writer(terminal.try_clone())).transpose()?;
            *held(&exec.terminal) = Some(terminal.try_clone().map_err(internal)?);
            let outputs = vec![(LogStream::Stdout, terminal)];
            return Ok(attend(Arc::clone(exec), pid, input, outputs, ended));
        }
        let null = || File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from).map_err(internal);
        let pipe = |wanted: bool| -> Result<Option<(OwnedFd, OwnedFd)>, Refusal> {
            if wanted && !detach { pipe2(OFlag::O_CLOEXEC).map(Some).map_err(internal) } else { Ok(None) }
        };
        let (stdin, stdout, stderr) = (pipe(spec.attach_stdin)?, pipe(spec.attach_stdout)?, pipe(spec.attach_stderr)?);
        let (their_in, our_in) =
            stdin.map_or_else(|| null().map(|end| (end, None)), |(read, write)| Ok((read, Some(write))))?;
        let split = |ends: Option<(OwnedFd, OwnedFd)>| match ends {
            Some((read, write)) => Ok::<_, Refusal>((write, Some(read))),
            None => Ok((null()?, None)),
        };
        let ((their_out, our_out), (their_err, our_err)) = (split(stdout)?, split(stderr)?);
        let streams = [their_in.as_fd(), their_out.as_fd(), their_err.as_fd()];
        let (pid, _, ended) = client.exec(id, process, &streams).await.map_err(failed)?;
        drop((their_in, their_out, their_err));
        let input = our_in.map(|end| writer(Ok(end))).transpose()?;
        let outputs = [(LogStream::Stdout, our_out), (LogStream::Stderr, our_err)];
        let outputs = outputs.into_iter().filter_map(|(stream, end)| Some((stream, end?))).collect();
        Ok(attend(Arc::clone(exec), pid, input, outputs, ended))
    }

    /// How it stands.
    pub async fn exec(&self, exec_id: &str) -> Result<ExecState, Refusal> {
        let exec = held(&self.shared.execs).get(exec_id).cloned().ok_or_else(|| unknown(exec_id))?;
        let state = held(&exec.state).clone();
        Ok(state)
    }

    /// Changes the size of its terminal, in characters.
    pub async fn resize_exec(&self, exec_id: &str, rows: u16, columns: u16) -> Result<(), Refusal> {
        let exec = held(&self.shared.execs).get(exec_id).cloned().ok_or_else(|| unknown(exec_id))?;
        let terminal = held(&exec.terminal);
        let terminal = terminal.as_ref().ok_or_else(|| Refusal::invalid(format!("exec {exec_id} has no terminal")))?;
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: TIOCSWINSZ reads one `winsize`, which lives until the call returns.
        if unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, std::ptr::from_ref(&size)) } < 0 {
            return Err(internal(io::Error::last_os_error()));
        }
        Ok(())
    }
}

/// What to run: the container's own surroundings with what the request changes.
fn process(spec: &ExecSpec, base: ExecProcess, pid: i32) -> Result<ExecProcess, Refusal> {
    let mut process =
        ExecProcess { args: spec.command.clone(), terminal: spec.tty, privileged: spec.privileged, ..base };
    if !spec.user.is_empty() {
        // As the container sees its files now.
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        let user = Accounts::read(&root).map_err(internal)?.resolve(&spec.user, &[])?;
        process.env.retain(|entry| !entry.starts_with("HOME="));
        process.env.push(format!("HOME={}", user.home));
        (process.uid, process.gid, process.additional_gids) = (user.uid, user.gid, user.additional_gids);
    }
    if !spec.working_dir.is_empty() {
        process.cwd = spec.working_dir.clone();
    }
    if spec.tty && !process.env.iter().any(|entry| entry.starts_with("TERM=")) {
        process.env.push("TERM=xterm".to_owned());
    }
    for entry in &spec.env {
        let name = entry.split('=').next().unwrap_or_default();
        process.env.retain(|known| known.split('=').next() != Some(name));
        if entry.contains('=') {
            process.env.push(entry.clone());
        }
    }
    Ok(process)
}

fn attend(
    exec: Arc<Exec>,
    pid: i32,
    input: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    outputs: Vec<(LogStream, OwnedFd)>,
    mut ended: watch::Receiver<Option<i32>>,
) -> ExecSession {
    held(&exec.state).pid = pid;
    let (pieces, output) = mpsc::channel(CHANNEL_PIECES);
    for (stream, end) in outputs {
        tokio::spawn(read(stream, end, pieces.clone(), ended.clone()));
    }
    tokio::spawn(async move {
        let code = ended.wait_for(Option::is_some).await.map_or(None, |code| *code);
        {
            let mut state = held(&exec.state);
            state.running = false;
            // Without a word from the shim, the container ended and took it along.
            state.exit_code = Some(code.unwrap_or(137));
        }
        *held(&exec.terminal) = None;
        // The reader learns the end of output only after the exit code can be asked for.
        drop(pieces);
    });
    ExecSession { input, output }
}

fn nonblocking(end: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    let flags = nix::fcntl::fcntl(&end, nix::fcntl::FcntlArg::F_GETFL)?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    nix::fcntl::fcntl(&end, nix::fcntl::FcntlArg::F_SETFL(flags))?;
    // SAFETY: an `OwnedFd` always answers with the same descriptor and keeps it open as long as it lives, which is as
    // long as the registration.
    Ok(unsafe { AsyncFd::register(end) }?)
}

async fn read(
    stream: LogStream,
    end: OwnedFd,
    pieces: mpsc::Sender<(LogStream, Bytes)>,
    mut ended: watch::Receiver<Option<i32>>,
) {
    let Ok(end) = nonblocking(end) else { return };
    let mut buffer = vec![0u8; PIECE_BYTES];
    let mut over = false;
    loop {
        let mut guard = tokio::select! {
            guard = end.readable() => match guard {
                Ok(guard) => guard,
                Err(_) => return,
            },
            _ = ended.wait_for(Option::is_some), if !over => {
                over = true;
                continue;
            }
            () = tokio::time::sleep(LAST_WORDS), if over => return,
        };
        match guard.try_io(|end| Ok(nix::unistd::read(end.get_ref(), &mut buffer)?)) {
            Ok(Ok(0)) => return,
            Ok(Ok(length)) => {
                if pieces.send((stream, Bytes::copy_from_slice(&buffer[..length]))).await.is_err() {
                    return;
                }
            }
            // A terminal whose last user is gone reads as an error.
            Ok(Err(_)) => return,
            Err(_would_block) => {}
        }
    }
}

fn writer(end: io::Result<OwnedFd>) -> Result<Pin<Box<dyn AsyncWrite + Send>>, Refusal> {
    Ok(Box::pin(Writer(end.and_then(nonblocking).map_err(internal)?)))
}

struct Writer(AsyncFd<OwnedFd>);

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(context))?;
            if let Ok(result) = guard.try_io(|end| Ok(nix::unistd::write(end.get_ref(), bytes)?)) {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
