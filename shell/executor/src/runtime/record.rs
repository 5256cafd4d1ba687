//! What the daemon writes down about a container: enough to show, stop and remove it without its order.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skep_model::engine::{Container, ContainerState, HealthCheck, MountPoint, PublishedPort, TaskOrigin};
use skep_model::{NodeId, ServiceId, TaskId, WallTime};

use super::container::Live;
use super::settings::Settings;
use crate::error::RuntimeError;
use crate::network::{MeshPorts, Published};
use crate::shim::protocol::ExecProcess;
use crate::spec::PlannedMount;

/// Version of the file.
pub const RECORD_VERSION: u32 = 1;
const RECORD_FILE: &str = "container.json";

/// How a container meets the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// The node-local bridge.
    #[default]
    Bridge,
    /// The host's own interfaces.
    Host,
    /// Loopback alone.
    None,
    /// A namespace that somebody else fills.
    Given(PathBuf),
}

impl NetworkMode {
    /// Docker's word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::None => "none",
            Self::Given(_) => "overlay",
        }
    }
}

/// A probe, as the image and the spec together want it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Between two probes.
    pub interval: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// During which failures do not count.
    pub start_period: Duration,
    /// Between two probes in that time.
    pub start_interval: Duration,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
}

impl Probe {
    /// `None` when nothing is to be probed. Where the spec has no test, the image's counts. Defaults are Docker's.
    pub fn of(spec: Option<&HealthCheck>, image: Option<&HealthCheck>) -> Option<Self> {
        let test =
            spec.map(|check| &check.test).filter(|test| !test.is_empty()).or_else(|| image.map(|check| &check.test))?;
        let command = match test.first().map(String::as_str) {
            Some("CMD") => test[1..].to_vec(),
            Some("CMD-SHELL") => vec!["/bin/sh".to_owned(), "-c".to_owned(), test.get(1).cloned().unwrap_or_default()],
            _ => return None,
        };
        let pick = |get: fn(&HealthCheck) -> Duration, default: Duration| {
            let given = [spec, image].into_iter().flatten().map(get).find(|value| !value.is_zero());
            given.unwrap_or(default)
        };
        let retries = [spec, image].into_iter().flatten().map(|check| check.retries).find(|&count| count > 0);
        Some(Self {
            command,
            interval: pick(|check| check.interval, Duration::from_secs(30)),
            timeout: pick(|check| check.timeout, Duration::from_secs(30)),
            start_period: pick(|check| check.start_period, Duration::ZERO),
            start_interval: pick(|check| check.start_interval, Duration::from_secs(5)),
            retries: retries.unwrap_or(3),
        })
    }
}

/// The record.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Record {
    pub version: u32,
    pub id: String,
    pub name: String,
    pub task_id: String,
    pub task_name: String,
    pub service_id: String,
    pub service_name: String,
    pub node_id: String,
    pub image: String,
    pub image_id: String,
    pub labels: BTreeMap<String, String>,
    pub entrypoint: Vec<String>,
    pub arguments: Vec<String>,
    pub env: Vec<String>,
    pub working_dir: String,
    pub user: String,
    pub hostname: String,
    pub tty: bool,
    pub open_stdin: bool,
    pub created_at_nanos: i64,
    pub network: NetworkMode,
    pub wanted_ports: Vec<Published>,
    /// Ports of the routing mesh; absent in records of earlier versions.
    #[serde(default)]
    pub mesh: MeshPorts,
    pub mounts: Vec<PlannedMount>,
    pub memory_limit_bytes: i64,
    pub nano_cpus: i64,
    pub pids_limit: i64,
    pub stop_signal: i32,
    pub stop_grace: Duration,
    pub probe: Option<Probe>,
    /// `None` when nothing is logged.
    pub log_path: Option<PathBuf>,
    /// Set at start.
    pub address: Option<Ipv4Addr>,
    /// Set at start: `wanted_ports` with the host's choice.
    pub ports: Vec<Published>,
    /// Set at start: what further processes inherit.
    pub exec_base: ExecProcess,
    /// Whether a start was tried: without a status then, it failed.
    pub started: bool,
    /// As asked; absent in records of earlier versions.
    #[serde(default)]
    pub settings: Settings,
}

impl Record {
    /// Reads the record in a container's directory.
    pub fn load(directory: &Path) -> Result<Self, RuntimeError> {
        let path = directory.join(RECORD_FILE);
        let bytes = fs::read(&path).map_err(RuntimeError::file("read", &path))?;
        serde_json::from_slice(&bytes).map_err(|source| RuntimeError::Record { path, source })
    }

    /// Replaces it as a whole. Not synced: after a power cut nothing of it runs, and what is missing is made anew.
    pub fn save(&self, directory: &Path) -> Result<(), RuntimeError> {
        let (path, fresh) = (directory.join(RECORD_FILE), directory.join("container.new"));
        let bytes = serde_json::to_vec(self).map_err(|source| RuntimeError::Record { path: path.clone(), source })?;
        fs::write(&fresh, bytes).map_err(RuntimeError::file("write", &fresh))?;
        fs::rename(&fresh, &path).map_err(RuntimeError::file("replace", &path))
    }

    /// For the HTTP API.
    pub fn show(&self, live: &Live) -> Container {
        let status = live.status.clone().unwrap_or_default();
        let running = live.is_running();
        Container {
            id: self.id.clone(),
            name: self.name.clone(),
            image: self.image.clone(),
            image_id: self.image_id.clone(),
            origin: self.origin(),
            labels: self.labels.clone(),
            entrypoint: self.entrypoint.clone(),
            command: self.arguments.clone(),
            env: self.env.clone(),
            working_dir: self.working_dir.clone(),
            user: self.user.clone(),
            hostname: self.hostname.clone(),
            tty: self.tty,
            open_stdin: self.open_stdin,
            created_at: WallTime(self.created_at_nanos),
            started_at: status.started_at.map(WallTime),
            finished_at: status.finished_at.map(WallTime),
            state: match (running, live.exit_code()) {
                (true, _) => ContainerState::Running,
                (false, Some(_)) => ContainerState::Exited,
                (false, None) => ContainerState::Created,
            },
            pid: if running { status.pid } else { 0 },
            exit_code: live.exit_code().unwrap_or(0),
            oom_killed: status.oom_killed,
            error: status.error.unwrap_or_default(),
            health: live.health,
            failing_streak: live.failing_streak,
            probes: live.probes.as_ref().clone(),
            settings: self.settings.show(self.stop_grace, self.probe.as_ref()),
            ip_address: self.address.filter(|_| running).map(|address| address.to_string()),
            network_name: self.network.name().to_owned(),
            ports: if running { self.ports.iter().map(shown_port).collect() } else { Vec::new() },
            mounts: self.mounts.iter().map(shown_mount).collect(),
            memory_limit_bytes: self.memory_limit_bytes,
            nano_cpus: self.nano_cpus,
            pids_limit: self.pids_limit,
            log_path: self.log_path.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        }
    }

    fn origin(&self) -> Option<TaskOrigin> {
        Some(TaskOrigin {
            task_id: TaskId::new(&self.task_id).ok()?,
            task_name: self.task_name.clone(),
            service_id: ServiceId::optional(&self.service_id),
            service_name: self.service_name.clone(),
            node_id: NodeId::new(&self.node_id).ok()?,
        })
    }
}

fn shown_port(port: &Published) -> PublishedPort {
    PublishedPort { container_port: port.container_port, host_port: port.host_port, protocol: port.protocol.clone() }
}

fn shown_mount(mount: &PlannedMount) -> MountPoint {
    MountPoint {
        kind: mount.kind.clone(),
        name: mount.name.clone(),
        source: mount.source.display().to_string(),
        destination: mount.target.clone(),
        read_only: mount.read_only,
        propagation: mount.propagation.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(test: &[&str], retries: u32) -> HealthCheck {
        HealthCheck { test: test.iter().map(ToString::to_string).collect(), retries, ..Default::default() }
    }

    #[test]
    fn a_record_of_an_earlier_version_is_read() {
        let text = r#"{"version":1,"id":"c1","name":"web.1.t1","task_id":"t1","task_name":"web.1.t1","service_id":"s1",
            "service_name":"web","node_id":"n1","image":"busybox","image_id":"sha256:00","labels":{},"entrypoint":[],
            "arguments":["sh"],"env":[],"working_dir":"","user":"","hostname":"c1","tty":false,"open_stdin":false,
            "created_at_nanos":5,"network":"bridge","wanted_ports":[],"memory_limit_bytes":0,"nano_cpus":0,
            "mounts":[{"kind":"tmpfs","name":"","source":"","target":"/x","options":[],"read_only":false,
                "anonymous":false,"copy_up":false,"create_source":false,"root_propagation":null}],
            "pids_limit":0,"stop_signal":15,"stop_grace":{"secs":10,"nanos":0},"probe":null,"log_path":null,
            "address":null,"ports":[],"started":true,
            "exec_base":{"args":[],"env":[],"cwd":"","uid":0,"gid":0,"additional_gids":[],"terminal":false,
                "privileged":false}}"#;
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join(RECORD_FILE), text).expect("written");
        let record = Record::load(directory.path()).expect("read");
        let shown = record.show(&Live::default());
        assert_eq!((shown.name.as_str(), shown.mounts[0].destination.as_str()), ("web.1.t1", "/x"));
        assert_eq!(shown.settings.stop_grace, Duration::from_secs(10));
    }

    #[test]
    fn the_specs_probe_goes_before_the_images() {
        let image = check(&["CMD-SHELL", "true"], 7);
        let probe = Probe::of(None, Some(&image)).expect("the image's");
        assert_eq!(probe.command, ["/bin/sh", "-c", "true"]);
        assert_eq!((probe.retries, probe.interval), (7, Duration::from_secs(30)));
        let own = Probe::of(Some(&check(&["CMD", "/ok", "x"], 0)), Some(&image)).expect("the spec's");
        assert_eq!((own.command.as_slice(), own.retries), (&["/ok".to_owned(), "x".to_owned()][..], 7));
        assert_eq!(Probe::of(Some(&check(&["NONE"], 0)), Some(&image)), None);
        assert_eq!(Probe::of(None, None), None);
    }
}
