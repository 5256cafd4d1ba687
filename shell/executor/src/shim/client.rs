//! The daemon's side of a shim: starting one, finding one again, asking it for things.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::nursery::Nursery;
use super::protocol::{ExecProcess, LINE_MAX_BYTES, Report, Request, SOCKET_FILE, ShimStatus, Verb};
use super::wire;
use crate::error::RuntimeError;

/// Descriptors that may wait for their reply.
const DESCRIPTORS_MAX: usize = 16;
/// A shim that says nothing for this long when it is found is taken for a slow one.
const GREETING_PATIENCE: Duration = Duration::from_secs(5);
/// How long a request waits for its answer. Starting a process on a crowded host takes a while.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// What the daemon knows of a shim.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The last status; `None` until the container was created, or failed to be.
    pub status: Option<ShimStatus>,
    /// The connection has ended, hence the shim.
    pub gone: bool,
}

type Answer = Result<(i32, Option<OwnedFd>), String>;

/// A connection to a shim.
pub struct ShimClient {
    container: String,
    socket: UnixStream,
    next_request: AtomicU64,
    waiting: Mutex<BTreeMap<u64, oneshot::Sender<Answer>>>,
    exec_ends: Mutex<BTreeMap<String, watch::Sender<Option<i32>>>>,
    seen: watch::Sender<Seen>,
    writing: tokio::sync::Mutex<()>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ShimClient {
    /// Starts a shim with the instructions in a file. Its container is being created when this returns.
    pub fn launch(nursery: &Nursery, container: &str, instructions: &Path) -> Result<Arc<Self>, RuntimeError> {
        let operation = || format!("connect the shim of container {container}");
        let (ours, theirs) = StdUnixStream::pair().map_err(RuntimeError::host(operation()))?;
        nursery.fork(instructions, &OwnedFd::from(theirs))?;
        let connect = || {
            ours.set_nonblocking(true)?;
            UnixStream::from_std(ours)
        };
        let socket = connect().map_err(RuntimeError::host(operation()))?;
        Ok(Self::over(socket, container))
    }

    /// Finds the shim that a former daemon started; `None` when there is none. One that is there but says nothing (it is
    /// stopped, or starved) counts: its container may be well.
    pub async fn find(container: &str, run_directory: &Path) -> Option<Arc<Self>> {
        let directory = File::open(run_directory).ok()?;
        // Through the descriptor, as the directory's own name may be longer than a socket's address can be.
        let path = format!("/proc/self/fd/{}/{SOCKET_FILE}", directory.as_raw_fd());
        let socket = UnixStream::connect(path).await.ok()?;
        let client = Self::over(socket, container);
        let mut seen = client.seen.subscribe();
        let greeted = timeout(GREETING_PATIENCE, seen.wait_for(|seen| seen.status.is_some() || seen.gone)).await;
        match greeted {
            Ok(seen) => seen.ok()?.status.is_some().then(|| Arc::clone(&client)),
            Err(_) => {
                tracing::warn!(container, "the container's shim does not answer");
                Some(client)
            }
        }
    }

    fn over(socket: UnixStream, container: &str) -> Arc<Self> {
        let client = Arc::new(Self {
            container: container.to_owned(),
            socket,
            next_request: AtomicU64::new(1),
            waiting: Mutex::default(),
            exec_ends: Mutex::default(),
            seen: watch::Sender::new(Seen::default()),
            writing: tokio::sync::Mutex::new(()),
        });
        tokio::spawn(Arc::clone(&client).listen());
        client
    }

    /// Follows the container's status.
    pub fn watch(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }

    /// Sends a signal to the container's first process, or to a further one.
    pub async fn kill(&self, signal: i32, exec: Option<&str>) -> Result<(), RuntimeError> {
        let exec = exec.map(ToOwned::to_owned);
        self.ask(Verb::Kill { signal, exec }, &[]).await.map(|_| ())
    }

    /// Changes the size of the container's terminal.
    pub async fn resize(&self, rows: u16, columns: u16) -> Result<(), RuntimeError> {
        self.ask(Verb::Resize { rows, columns }, &[]).await.map(|_| ())
    }

    /// Starts a further process; returns its number and, with a terminal, the terminal's other end.
    pub async fn exec(
        &self,
        exec: &str,
        process: ExecProcess,
        streams: &[BorrowedFd<'_>],
    ) -> Result<(i32, Option<OwnedFd>, watch::Receiver<Option<i32>>), RuntimeError> {
        let ended = watch::Sender::new(None);
        let end = ended.subscribe();
        held(&self.exec_ends).insert(exec.to_owned(), ended);
        match self.ask(Verb::Exec { exec: exec.to_owned(), process }, streams).await {
            Ok((pid, terminal)) => Ok((pid, terminal, end)),
            Err(error) => {
                held(&self.exec_ends).remove(exec);
                Err(error)
            }
        }
    }

    fn trouble(&self, message: impl Into<String>) -> RuntimeError {
        RuntimeError::Shim { container: self.container.clone(), message: message.into() }
    }

    async fn ask(&self, verb: Verb, streams: &[BorrowedFd<'_>]) -> Result<(i32, Option<OwnedFd>), RuntimeError> {
        let id = self.next_request.fetch_add(1, Ordering::Relaxed);
        let mut line = serde_json::to_vec(&Request { id, verb }).map_err(|error| self.trouble(error.to_string()))?;
        line.push(b'\n');
        let (answer, answered) = oneshot::channel();
        held(&self.waiting).insert(id, answer);
        let asking = async {
            self.send(&line, streams).await.map_err(|error| self.trouble(error.to_string()))?;
            match answered.await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(message)) => Err(RuntimeError::Start { message }),
                Err(_) => Err(self.trouble("it has ended")),
            }
        };
        let silent = || self.trouble(format!("no answer in {} s", ANSWER_PATIENCE.as_secs()));
        let result = timeout(ANSWER_PATIENCE, asking).await.unwrap_or_else(|_| Err(silent()));
        held(&self.waiting).remove(&id);
        result
    }

    async fn send(&self, line: &[u8], streams: &[BorrowedFd<'_>]) -> io::Result<()> {
        let _turn = self.writing.lock().await;
        let mut sent = 0;
        while sent < line.len() {
            self.socket.writable().await?;
            let attached = if sent == 0 { streams } else { &[] };
            let attempt = || wire::send(self.socket.as_raw_fd(), &line[sent..], attached);
            match self.socket.try_io(Interest::WRITABLE, attempt) {
                Ok(length) => sent += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn listen(self: Arc<Self>) {
        let mut line = Vec::new();
        let mut descriptors = Vec::new();
        let mut buffer = [0u8; 4096];
        while self.socket.readable().await.is_ok() {
            match self.socket.try_io(Interest::READABLE, || wire::receive(self.socket.as_raw_fd(), &mut buffer)) {
                Ok((length, more)) if length > 0 => {
                    line.extend_from_slice(&buffer[..length]);
                    descriptors.extend(more);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                _ => break,
            }
            while let Some(end) = line.iter().position(|&byte| byte == b'\n') {
                let whole: Vec<u8> = line.drain(..=end).collect();
                match serde_json::from_slice(&whole) {
                    Ok(report) => self.heard(report, &mut descriptors),
                    Err(error) => tracing::warn!(container = self.container, %error, "unknown words from a shim"),
                }
            }
            if line.len() > LINE_MAX_BYTES || descriptors.len() > DESCRIPTORS_MAX {
                break;
            }
        }
        held(&self.waiting).clear();
        held(&self.exec_ends).clear();
        self.seen.send_modify(|seen| seen.gone = true);
    }

    fn heard(&self, report: Report, descriptors: &mut Vec<OwnedFd>) {
        match report {
            Report::Status(status) => self.seen.send_modify(|seen| seen.status = Some(status)),
            Report::Reply { id, pid, error } => {
                // Only the reply to an exec with a terminal carries one.
                let attached = descriptors.pop();
                if let Some(waiting) = held(&self.waiting).remove(&id) {
                    let answer = error.map_or(Ok((pid, attached)), Err);
                    if waiting.send(answer).is_err() {
                        tracing::debug!(container = self.container, "nobody waits for the shim's reply any more");
                    }
                }
            }
            Report::ExecEnded { exec, exit_code } => {
                if let Some(ended) = held(&self.exec_ends).remove(&exec) {
                    ended.send_replace(Some(exit_code));
                }
            }
        }
    }
}
