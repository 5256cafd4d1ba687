//! The shim's loop: one thread, one `poll`, everything an event.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, pipe2, setsid};

use super::connection::Connection;
use super::create::{Creation, Stdio};
use super::exec::PendingExec;
use super::log::{LineSplitter, LogWriter, Stream};
use super::process::{SIGNAL_EXIT_BASE, boot_id, now_nanos, start_ticks};
use super::protocol::{Instructions, PROTOCOL_VERSION, Report, SOCKET_FILE, ShimStatus};
use super::workload::EXIT_CODE_NOT_FOUND;
use super::{CONSOLE_FILE, PROCESS_NAME, STATE_DIRECTORY, cgroups, create, exec};

/// Connections at once; more are turned away.
const CONNECTIONS_MAX: usize = 8;
/// Read from a stream at once: as much as a pipe holds.
const READ_BYTES: usize = 64 * 1024;
/// Reads from one stream before others get their turn.
const READS_PER_TURN: usize = 4;
/// Out-of-memory score of the shim: the kernel should take the container first.
const OOM_SCORE_ADJUSTMENT: &str = "-999";

/// What woke the loop.
#[derive(Clone, Copy)]
enum Source {
    Signals,
    Listener,
    Connection(u64),
    Output(usize),
    Console,
    Creation,
    Exec(usize),
}

struct Output {
    descriptor: OwnedFd,
    lines: LineSplitter,
    open: bool,
}

/// Everything the shim holds.
pub(super) struct Shim {
    pub(super) instructions: Instructions,
    pub(super) status: ShimStatus,
    log: Option<LogWriter>,
    outputs: Vec<Output>,
    /// Kept open so that the container's input never ends.
    _input: Option<OwnedFd>,
    listener: UnixListener,
    console: Option<UnixListener>,
    pub(super) terminal: Option<OwnedFd>,
    signals: SignalFd,
    connections: Vec<Connection>,
    next_connection: u64,
    pub(super) creation: Option<Creation>,
    pub(super) init: Option<OwnedFd>,
    pub(super) pending_execs: Vec<PendingExec>,
    /// Further processes by number.
    pub(super) execs: BTreeMap<i32, String>,
    /// Ended children whose role is not known yet.
    unclaimed: BTreeMap<i32, i32>,
}

/// Runs until the container has ended and all was written.
pub fn run(instructions: &Path) -> io::Result<()> {
    become_shim()?;
    let instructions: Instructions = serde_json::from_slice(&fs::read(instructions)?)?;
    let mut shim = Shim::new(instructions)?;
    while !shim.status.has_ended() {
        shim.turn()?;
    }
    shim.finish()
}

fn become_shim() -> io::Result<()> {
    match setsid() {
        // The leader of a group already: then there is nothing to leave.
        Ok(_) | Err(nix::errno::Errno::EPERM) => {}
        Err(error) => return Err(error.into()),
    }
    nix::sys::prctl::set_name(PROCESS_NAME)?;
    nix::sys::prctl::set_child_subreaper(true)?;
    // SAFETY: closes descriptors that this process was never told about; 0 to 2 stay.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    if let Err(error) = fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJUSTMENT) {
        tracing::debug!(%error, "keeping the inherited out-of-memory score");
    }
    Ok(())
}

fn nonblocking(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(descriptor, FcntlArg::F_GETFL)?);
    fcntl(descriptor, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

impl Shim {
    fn new(instructions: Instructions) -> io::Result<Self> {
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
            mask.add(signal);
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        // Relative names keep below the limit of a socket's address (108 bytes), however deep the directory is.
        std::env::set_current_dir(&instructions.run_directory)?;
        let listener = UnixListener::bind(SOCKET_FILE)?;
        listener.set_nonblocking(true)?;
        let console = if instructions.terminal { Some(UnixListener::bind(CONSOLE_FILE)?) } else { None };
        fs::create_dir_all(STATE_DIRECTORY)?;
        let log = instructions.log.clone().map(LogWriter::open).transpose()?;
        let status = ShimStatus {
            version: PROTOCOL_VERSION,
            boot_id: boot_id()?,
            shim_pid: i32::try_from(std::process::id()).unwrap_or(0),
            ..Default::default()
        };
        let (stdio, input, outputs) = streams(&instructions)?;
        let creation = create::begin(&instructions, stdio)?;
        let mut shim = Self {
            instructions,
            status,
            log,
            outputs,
            _input: input,
            listener,
            console,
            terminal: None,
            signals,
            connections: Vec::new(),
            next_connection: 0,
            creation: Some(creation),
            init: None,
            pending_execs: Vec::new(),
            execs: BTreeMap::new(),
            unclaimed: BTreeMap::new(),
        };
        // SAFETY: descriptor 0 is the connection that the daemon passed; nothing else here uses standard input.
        shim.adopt(unsafe { OwnedFd::from_raw_fd(0) })?;
        Ok(shim)
    }

    fn adopt(&mut self, socket: OwnedFd) -> io::Result<()> {
        nonblocking(socket.as_fd())?;
        self.next_connection += 1;
        let mut connection = Connection::new(self.next_connection, socket);
        // Silent until there is something to say: the daemon waits for the first status of a new container.
        if self.status.pid != 0 {
            connection.say(&Report::Status(self.status.clone()), None);
        }
        self.connections.push(connection);
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        let ready = self.wait()?;
        for source in ready {
            match source {
                Source::Signals => while self.signals.read_signal()?.is_some() {},
                Source::Listener => self.accept()?,
                Source::Connection(id) => self.serve(id),
                Source::Output(index) => self.read_output(index),
                Source::Console => self.take_terminal()?,
                Source::Creation => self.created()?,
                Source::Exec(index) => self.hear_exec(index),
            }
        }
        self.pending_execs.retain(|pending| pending.request != 0);
        self.reap()?;
        self.flush_log();
        self.connections.retain(Connection::is_open);
        Ok(())
    }

    fn wait(&self) -> io::Result<Vec<Source>> {
        let mut sources = Vec::with_capacity(8);
        let mut descriptors = Vec::with_capacity(8);
        let mut add = |source, descriptor| {
            sources.push(source);
            descriptors.push(PollFd::new(descriptor, PollFlags::POLLIN));
        };
        add(Source::Signals, self.signals.as_fd());
        add(Source::Listener, self.listener.as_fd());
        for (index, output) in self.outputs.iter().enumerate().filter(|(_, output)| output.open) {
            add(Source::Output(index), output.descriptor.as_fd());
        }
        if let Some(console) = &self.console {
            add(Source::Console, console.as_fd());
        }
        if let Some(creation) = &self.creation {
            add(Source::Creation, creation.outcome.as_fd());
        }
        for (index, pending) in self.pending_execs.iter().enumerate() {
            add(Source::Exec(index), pending.steps.as_fd());
        }
        for connection in &self.connections {
            if let Some(descriptor) = connection.descriptor() {
                add(Source::Connection(connection.id), descriptor);
            }
        }
        match poll(&mut descriptors, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let woken = descriptors.iter().map(|descriptor| descriptor.any().unwrap_or(true));
        Ok(sources.into_iter().zip(woken).filter_map(|(source, woken)| woken.then_some(source)).collect())
    }

    fn accept(&mut self) -> io::Result<()> {
        match self.listener.accept() {
            Ok((socket, _)) if self.connections.len() < CONNECTIONS_MAX => self.adopt(OwnedFd::from(socket)),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn serve(&mut self, id: u64) {
        let Some(index) = self.connections.iter().position(|connection| connection.id == id) else { return };
        for (request, descriptors) in self.connections[index].requests() {
            self.perform(id, request, descriptors);
        }
    }

    /// Says something to one connection.
    pub(super) fn answer(&mut self, id: u64, report: &Report, attached: Option<BorrowedFd<'_>>) {
        if let Some(connection) = self.connections.iter_mut().find(|connection| connection.id == id) {
            connection.say(report, attached);
        }
    }

    fn announce(&mut self, report: &Report) {
        for connection in &mut self.connections {
            connection.say(report, None);
        }
    }

    fn read_output(&mut self, index: usize) {
        let mut buffer = vec![0u8; READ_BYTES];
        for _ in 0..READS_PER_TURN {
            let output = &mut self.outputs[index];
            match nix::unistd::read(&output.descriptor, &mut buffer) {
                Ok(0) => output.open = false,
                Ok(length) => {
                    if let Some(log) = &mut self.log {
                        output.lines.push(&buffer[..length], now_nanos(), log);
                    }
                    if length == buffer.len() {
                        continue;
                    }
                }
                Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => {}
                // A terminal whose last user is gone reads as an error (EIO).
                Err(_) => output.open = false,
            }
            return;
        }
    }

    fn flush_log(&mut self) {
        if let Some(log) = &mut self.log
            && let Err(error) = log.flush()
        {
            // The container goes on without these lines: a full disk must not stop it.
            tracing::debug!(%error, "output lost");
        }
    }

    fn take_terminal(&mut self) -> io::Result<()> {
        let Some(console) = self.console.take() else { return Ok(()) };
        let (connection, _) = console.accept()?;
        if let Some(terminal) = create::receive_terminal(&OwnedFd::from(connection))? {
            nonblocking(terminal.as_fd())?;
            let lines = LineSplitter::new(Stream::Stdout);
            self.outputs.push(Output { descriptor: terminal.try_clone()?, lines, open: true });
            self.terminal = Some(terminal);
        }
        fs::remove_file(CONSOLE_FILE)
    }

    fn created(&mut self) -> io::Result<()> {
        let Some(creation) = self.creation.take() else { return Ok(()) };
        let outcome = create::outcome(creation.outcome)?;
        if let Some(error) = outcome.error {
            return self.not_created(error);
        }
        self.status.pid = outcome.pid;
        self.status.pid_start_ticks = start_ticks(outcome.pid).unwrap_or(0);
        self.status.cgroups = outcome.cgroups;
        self.status.started_at = Some(now_nanos());
        self.init = pidfd(outcome.pid).ok();
        self.save()?;
        self.announce(&Report::Status(self.status.clone()));
        if let Some(code) = self.unclaimed.remove(&outcome.pid) {
            self.ended(code);
        }
        self.unclaimed.clear();
        Ok(())
    }

    /// The creator is gone. Unless it left word, what it was making is swept away: its children may still hold the
    /// other end of the pipe, so that its end would never be seen.
    fn creator_ended(&mut self) -> io::Result<()> {
        let Some(creation) = &self.creation else { return Ok(()) };
        let mut probe = [PollFd::new(creation.outcome.as_fd(), PollFlags::POLLIN)];
        if matches!(poll(&mut probe, PollTimeout::ZERO), Ok(ready) if ready > 0) {
            return self.created();
        }
        self.creation = None;
        self.not_created("the creation was ended".to_owned())
    }

    fn not_created(&mut self, error: String) -> io::Result<()> {
        self.status.cgroups = cgroups::sweep(&self.instructions.cgroup_path)?;
        self.status.error = Some(error);
        self.ended(EXIT_CODE_NOT_FOUND);
        Ok(())
    }

    fn hear_exec(&mut self, index: usize) {
        let Some(pending) = self.pending_execs.get_mut(index) else { return };
        match exec::heard(&pending.steps) {
            Ok(Some((exec::Step::Process(pid), _))) => pending.pid = pid,
            Ok(Some((exec::Step::Terminal, terminal))) => pending.terminal = terminal,
            Ok(Some((exec::Step::Failed(error), _))) => pending.error = Some(error),
            Ok(None) => self.exec_begun(index),
            Err(error) => {
                pending.error = Some(error.to_string());
                self.exec_begun(index);
            }
        }
    }

    fn exec_begun(&mut self, index: usize) {
        let pending = &mut self.pending_execs[index];
        let (client, request, pid) = (pending.client, pending.request, pending.pid);
        let (exec, terminal) = (pending.exec.clone(), pending.terminal.take());
        let mut error = pending.error.take();
        if pid == 0 && error.is_none() {
            error = Some("the process ended before it ran".to_owned());
        }
        // Marks it as answered; the turn's end takes it off the list.
        pending.request = 0;
        let failed = error.is_some();
        let reply = Report::Reply { id: request, pid, error };
        self.answer(client, &reply, terminal.as_ref().map(AsFd::as_fd));
        let ended = self.unclaimed.remove(&pid);
        match ended {
            _ if failed => {}
            Some(exit_code) => self.announce(&Report::ExecEnded { exec, exit_code }),
            None => {
                self.execs.insert(pid, exec);
            }
        }
    }

    fn reap(&mut self) -> io::Result<()> {
        loop {
            let (pid, code) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid.as_raw(), code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid.as_raw(), SIGNAL_EXIT_BASE + signal as i32),
                Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::ECHILD) => return Ok(()),
                Ok(_) | Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if self.creation.as_ref().is_some_and(|creation| creation.creator.as_raw() == pid) {
                self.creator_ended()?;
            } else if self.log.as_mut().is_some_and(|log| log.child_ended(Pid::from_raw(pid), code)) {
                // An older file of the log is compressed.
            } else if pid == self.status.pid {
                self.ended(code);
            } else if let Some(exec) = self.execs.remove(&pid) {
                self.announce(&Report::ExecEnded { exec, exit_code: code });
            } else if self.creation.is_some() || !self.pending_execs.is_empty() {
                self.unclaimed.insert(pid, code);
            }
        }
    }

    fn ended(&mut self, code: i32) {
        self.status.exit_code = Some(code);
        self.status.finished_at = Some(now_nanos());
        self.status.oom_killed = cgroups::was_oom_killed(&self.status.cgroups);
        self.init = None;
    }

    pub(super) fn save(&self) -> io::Result<()> {
        let path = &self.instructions.status_file;
        let fresh = path.with_extension("new");
        fs::write(&fresh, serde_json::to_vec(&self.status)?)?;
        fs::rename(&fresh, path)
    }

    /// The container is gone: keep its last words, write down how it ended, leave nothing behind.
    fn finish(&mut self) -> io::Result<()> {
        self.answer_pending_execs();
        for index in 0..self.outputs.len() {
            while self.outputs[index].open && self.drain(index) {}
            if let Some(log) = &mut self.log {
                self.outputs[index].lines.finish(now_nanos(), log);
            }
        }
        self.flush_log();
        self.save()?;
        self.announce(&Report::Status(self.status.clone()));
        cgroups::remove(&self.status.cgroups)?;
        for name in [STATE_DIRECTORY, SOCKET_FILE, CONSOLE_FILE] {
            let removed = if name == STATE_DIRECTORY { fs::remove_dir_all(name) } else { fs::remove_file(name) };
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        // Nobody need wait for what is left to do: who listens takes the shim for ended.
        self.connections.clear();
        self.log.as_mut().map_or(Ok(()), LogWriter::settle)
    }

    /// A further process may have ended the container before anybody heard that it began.
    fn answer_pending_execs(&mut self) {
        for index in 0..self.pending_execs.len() {
            while self.pending_execs[index].request != 0 {
                let mut probe = [PollFd::new(self.pending_execs[index].steps.as_fd(), PollFlags::POLLIN)];
                let heard = matches!(poll(&mut probe, PollTimeout::ZERO), Ok(ready) if ready > 0);
                if heard { self.hear_exec(index) } else { self.exec_begun(index) }
            }
        }
    }

    /// Reads once without waiting; false when nothing is left.
    fn drain(&mut self, index: usize) -> bool {
        let output = &self.outputs[index];
        let mut probe = [PollFd::new(output.descriptor.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut probe, PollTimeout::ZERO), Ok(ready) if ready > 0) {
            return false;
        }
        self.read_output(index);
        self.flush_log();
        true
    }
}

fn streams(instructions: &Instructions) -> io::Result<(Stdio, Option<OwnedFd>, Vec<Output>)> {
    let null = || -> io::Result<OwnedFd> {
        Ok(OwnedFd::from(fs::OpenOptions::new().read(true).write(true).open("/dev/null")?))
    };
    if instructions.terminal {
        return Ok((Stdio { stdin: null()?, stdout: null()?, stderr: null()? }, None, Vec::new()));
    }
    let (stdout_reader, stdout) = pipe2(OFlag::O_CLOEXEC)?;
    let (stderr_reader, stderr) = pipe2(OFlag::O_CLOEXEC)?;
    let mut outputs = Vec::new();
    for (descriptor, stream) in [(stdout_reader, Stream::Stdout), (stderr_reader, Stream::Stderr)] {
        nonblocking(descriptor.as_fd())?;
        outputs.push(Output { descriptor, lines: LineSplitter::new(stream), open: true });
    }
    let (stdin, input) = if instructions.open_stdin {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        (reader, Some(writer))
    } else {
        (null()?, None)
    };
    Ok((Stdio { stdin, stdout, stderr }, input, outputs))
}

/// A handle that never stands for another process with the same number.
pub(super) fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and returns a new descriptor.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    let descriptor = i32::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: the kernel has just returned this descriptor to us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Sends a signal through such a handle.
pub(super) fn pidfd_signal(process: &OwnedFd, signal: i32) -> io::Result<()> {
    // SAFETY: pidfd_send_signal takes integers and a null pointer (no extra information).
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, 0, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
