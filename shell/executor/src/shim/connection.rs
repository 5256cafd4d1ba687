//! One connection of a daemon, and what it asks for.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::exec::{self, PendingExec, Place};
use super::protocol::{ExecProcess, LINE_MAX_BYTES, Report, Request, Verb};
use super::serve::{Shim, pidfd_signal};
use super::wire;

/// Read at once.
const READ_BYTES: usize = 4096;
/// Descriptors that may wait for their request.
const DESCRIPTORS_MAX: usize = 12;

/// A daemon's connection.
pub struct Connection {
    /// Its number.
    pub id: u64,
    socket: Option<OwnedFd>,
    line: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Connection {
    /// A connection whose socket does not block.
    pub fn new(id: u64, socket: OwnedFd) -> Self {
        Self { id, socket: Some(socket), line: Vec::new(), descriptors: Vec::new() }
    }

    /// What to wait on.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// Whether the other side is still there.
    pub fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    /// Sends a report; a daemon that does not read is dropped, as it can connect again.
    pub fn say(&mut self, report: &Report, attached: Option<BorrowedFd<'_>>) {
        let Some(socket) = &self.socket else { return };
        let Ok(mut text) = serde_json::to_vec(report) else { return };
        text.push(b'\n');
        let attached: Vec<_> = attached.into_iter().collect();
        let sent = wire::send(socket.as_raw_fd(), &text, &attached);
        if !matches!(sent, Ok(length) if length == text.len()) {
            self.socket = None;
        }
    }

    /// Complete requests, each with all descriptors that came up to it.
    pub fn requests(&mut self) -> Vec<(Request, Vec<OwnedFd>)> {
        let mut requests = Vec::new();
        let mut buffer = [0u8; READ_BYTES];
        let Some(socket) = &self.socket else { return requests };
        let (length, descriptors) = match wire::receive(socket.as_raw_fd(), &mut buffer) {
            Ok((length, descriptors)) if length > 0 => (length, descriptors),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return requests,
            _ => {
                self.socket = None;
                return requests;
            }
        };
        self.descriptors.extend(descriptors);
        self.line.extend_from_slice(&buffer[..length]);
        while let Some(end) = self.line.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            match serde_json::from_slice::<Request>(&line) {
                Ok(request) => requests.push((request, std::mem::take(&mut self.descriptors))),
                Err(_) => self.socket = None,
            }
        }
        if self.line.len() > LINE_MAX_BYTES || self.descriptors.len() > DESCRIPTORS_MAX {
            self.socket = None;
        }
        self.line.shrink_to(READ_BYTES);
        requests
    }
}

impl Shim {
    /// Does what a daemon asks.
    pub(super) fn perform(&mut self, client: u64, request: Request, descriptors: Vec<OwnedFd>) {
        let done = match request.verb {
            Verb::Kill { signal, exec } => self.kill(signal, exec.as_deref()),
            Verb::Resize { rows, columns } => self.resize(rows, columns),
            Verb::Exec { exec, process } => match self.begin_exec(&process, &descriptors) {
                Ok(steps) => {
                    let (request, error, terminal) = (request.id, None, None);
                    self.pending_execs.push(PendingExec { exec, request, client, steps, pid: 0, terminal, error });
                    return;
                }
                Err(error) => Err(error),
            },
        };
        let error = done.err().map(|error| error.to_string());
        self.answer(client, &Report::Reply { id: request.id, pid: 0, error }, None);
    }

    fn begin_exec(&mut self, process: &ExecProcess, streams: &[OwnedFd]) -> io::Result<OwnedFd> {
        let init = self.init.as_ref().ok_or_else(not_running)?;
        let place = Place {
            bundle: &self.instructions.bundle,
            init,
            cgroups: &self.status.cgroups,
            confinement: &self.instructions.confinement,
        };
        exec::begin(&place, process, streams)
    }

    fn kill(&mut self, signal: i32, exec: Option<&str>) -> io::Result<()> {
        if let Some(exec) = exec {
            let found = self.execs.iter().find(|(_, name)| name.as_str() == exec);
            let (pid, _) = found.ok_or_else(not_running)?;
            // Not reaped yet, as it is on the list: the number is still its own.
            return Ok(kill(Pid::from_raw(*pid), Signal::try_from(signal)?)?);
        }
        if let Some(creation) = &self.creation {
            return Ok(kill(creation.creator, Signal::SIGKILL)?);
        }
        pidfd_signal(self.init.as_ref().ok_or_else(not_running)?, signal)
    }

    fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        let terminal = self.terminal.as_ref().ok_or_else(|| io::Error::other("the container has no terminal"))?;
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: TIOCSWINSZ reads one `winsize`, which lives until the call returns.
        if unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, std::ptr::from_ref(&size)) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

fn not_running() -> io::Error {
    io::Error::other("the process is not running")
}
