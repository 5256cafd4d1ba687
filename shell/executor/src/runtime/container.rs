//! One container of this node: its record, how it stands, its shim.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use skep_model::engine::{Health, ProbeResult};
use tokio::sync::watch;

use super::record::Record;
use crate::error::{EXIT_CODE_UNKNOWN, RuntimeError};
use crate::shim::client::ShimClient;
use crate::shim::protocol::ShimStatus;

/// After a kill, the container's end is waited for this long.
pub const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// How a container stands.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// The shim's last word.
    pub status: Option<ShimStatus>,
    /// Its network, mounts and cgroups are gone; set after `status` says that it has ended.
    pub cleaned: bool,
    /// The probe's result; `None` without one.
    pub health: Option<Health>,
    /// Probes in a row that failed.
    pub failing_streak: u32,
    /// The last few probes.
    pub probes: Arc<Vec<ProbeResult>>,
    /// Why the runtime ended it, if it did.
    pub cause: Option<String>,
}

impl Live {
    /// Whether its first process runs.
    pub fn is_running(&self) -> bool {
        self.status.as_ref().is_some_and(|status| !status.has_ended() && status.pid != 0)
    }

    /// Set once it has ended.
    pub fn exit_code(&self) -> Option<i32> {
        self.status.as_ref().and_then(|status| status.exit_code)
    }
}

/// The container.
pub struct ContainerHandle {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Durable files.
    pub directory: PathBuf,
    /// Sockets and mounts of this boot.
    pub run_directory: PathBuf,
    record: Mutex<Record>,
    live: watch::Sender<Live>,
    client: Mutex<Option<Arc<ShimClient>>>,
    /// Held by whoever starts, stops or removes it.
    pub verbs: Arc<tokio::sync::Mutex<()>>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ContainerHandle {
    /// Around a record.
    pub fn new(record: Record, directory: PathBuf, run_directory: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            id: record.id.clone(),
            directory,
            run_directory,
            record: Mutex::new(record),
            live: watch::Sender::new(Live::default()),
            client: Mutex::new(None),
            verbs: Arc::default(),
        })
    }

    /// A copy of its record.
    pub fn record(&self) -> Record {
        held(&self.record).clone()
    }

    /// Changes the record, in memory and on disk.
    pub fn change(&self, change: impl FnOnce(&mut Record)) -> Result<(), RuntimeError> {
        let changed = {
            let mut record = held(&self.record);
            change(&mut record);
            record.clone()
        };
        changed.save(&self.directory)
    }

    /// How it stands.
    pub fn now(&self) -> Live {
        self.live.borrow().clone()
    }

    /// Follows how it stands.
    pub fn watch(&self) -> watch::Receiver<Live> {
        self.live.subscribe()
    }

    /// Changes how it stands.
    pub fn update(&self, change: impl FnOnce(&mut Live)) {
        self.live.send_modify(change);
    }

    /// Its shim, while it runs.
    pub fn client(&self) -> Option<Arc<ShimClient>> {
        held(&self.client).clone()
    }

    /// Takes a shim, or lets it go.
    pub fn set_client(&self, client: Option<Arc<ShimClient>>) {
        *held(&self.client) = client;
    }

    /// Where the shim writes how it stands.
    pub fn status_file(&self) -> PathBuf {
        self.directory.join("status.json")
    }

    /// The shim's status on disk.
    pub fn status_on_disk(&self) -> Option<ShimStatus> {
        serde_json::from_slice(&std::fs::read(self.status_file()).ok()?).ok()
    }

    /// Waits for its end.
    pub async fn ended(&self) -> Result<Live, RuntimeError> {
        let mut watch = self.watch();
        let ended = watch.wait_for(|live| live.exit_code().is_some()).await;
        ended.map(|live| live.clone()).map_err(|_| RuntimeError::Stopped { thread: "container" })
    }

    /// Waits until it has ended and nothing of it is left in the kernel.
    pub async fn cleaned(&self) -> Result<(), RuntimeError> {
        let mut watch = self.watch();
        let cleaned = watch.wait_for(|live| live.cleaned).await;
        cleaned.map(|_| ()).map_err(|_| RuntimeError::Stopped { thread: "container" })
    }

    /// Sends a signal to its first process.
    pub async fn signal(&self, signal: i32) -> Result<(), RuntimeError> {
        let gone =
            || RuntimeError::Shim { container: self.id.clone(), message: "the container is not running".to_owned() };
        self.client().ok_or_else(gone)?.kill(signal, None).await
    }

    /// Its stop signal, its grace period, then a kill. Not running is fine.
    pub async fn stop(&self, signal: i32, grace: Duration) -> Result<(), RuntimeError> {
        if self.client().is_none() || self.now().exit_code().is_some() {
            return Ok(());
        }
        let ended = async {
            if let Err(error) = self.signal(signal).await {
                tracing::debug!(container = self.id, %error, "its stop signal did not arrive");
            }
            self.ended().await
        };
        match tokio::time::timeout(grace, ended).await {
            Ok(ended) => ended.map(|_| ()),
            Err(_) => self.kill().await,
        }
    }

    /// Kills it and waits for its end.
    pub async fn kill(&self) -> Result<(), RuntimeError> {
        if self.client().is_none() || self.now().exit_code().is_some() {
            return Ok(());
        }
        let answer = tokio::time::timeout(KILL_PATIENCE, self.signal(libc::SIGKILL)).await;
        if answer.is_err() {
            // The shim does not answer: it goes itself, and its container with it.
            self.kill_shim();
        }
        match tokio::time::timeout(KILL_PATIENCE, self.ended()).await {
            Ok(ended) => ended.map(|_| ()),
            Err(_) => {
                // What the shim said, unless it is only the kernel that takes its time.
                answer.unwrap_or(Ok(()))?;
                let message = format!("still running {} s after it was killed", KILL_PATIENCE.as_secs());
                Err(RuntimeError::Shim { container: self.id.clone(), message })
            }
        }
    }

    fn kill_shim(&self) {
        let Some(pid) = self.now().status.map(|status| status.shim_pid).filter(|pid| *pid > 1) else { return };
        // Where it works tells it from another process that has its number by now.
        let place = std::fs::read_link(format!("/proc/{pid}/cwd"));
        let own = std::fs::canonicalize(&self.run_directory);
        if !matches!((place, own), (Ok(place), Ok(own)) if place == own) {
            return;
        }
        tracing::warn!(container = self.id, pid, "ending a shim that does not answer");
        if let Err(error) = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL) {
            tracing::warn!(container = self.id, pid, %error, "cannot end it");
        }
    }

    /// Takes down what it was when nobody saw its end.
    pub fn lost(&self, status: Option<ShimStatus>) -> ShimStatus {
        let mut status = status.unwrap_or_default();
        if !status.has_ended() {
            status.exit_code = Some(EXIT_CODE_UNKNOWN);
            status.finished_at = Some(crate::shim::now_nanos());
            status.error = Some("the container's shim is gone; nobody saw how the container ended".to_owned());
        }
        status
    }
}
