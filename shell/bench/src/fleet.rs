//! Hosts with a daemon of one product each.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use skep_lab::{Host, Lab};

use crate::client::Client;
use crate::memory::{self, Process};

/// Managers of the table's swarm, the first hosts.
pub const MANAGERS: usize = 3;
/// Its workers, the hosts after them.
pub const WORKERS: usize = 2;
/// Longest wait for anything; whatever takes longer has failed.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// How often a daemon that starts is asked.
const START_POLL: Duration = Duration::from_millis(20);

/// Whose daemons.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Product {
    /// This binary.
    Skep,
    /// A Docker Engine with its containerd.
    Docker,
}

/// Hosts `h1`, `h2`, … with their daemons. Dropping it ends them and removes all they made.
pub struct Fleet {
    /// Whose daemons.
    pub product: Product,
    binary: PathBuf,
    daemons: Vec<Option<Child>>,
    lab: Lab,
    // Dropped after the hosts: only empty control groups can be removed.
    control_groups: ControlGroups,
}

impl Fleet {
    /// Makes the hosts and starts all daemons.
    pub async fn start(product: Product, hosts: usize, dockerd: &Path, directory: &Path) -> anyhow::Result<Self> {
        let binary = match product {
            Product::Skep => std::env::current_exe().context("where this program is")?,
            Product::Docker => dockerd.to_owned(),
        };
        let lab = Lab::new(directory)?;
        let name = lab.directory().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut fleet = Self { product, binary, daemons: Vec::new(), lab, control_groups: ControlGroups(name) };
        for index in 0..hosts {
            fleet.lab.add_host(&format!("h{}", index + 1))?;
            fleet.daemons.push(None);
            fleet.start_daemon(index)?;
        }
        for index in 0..hosts {
            fleet.answers(index).await?;
        }
        Ok(fleet)
    }

    /// One host.
    pub fn host(&self, index: usize) -> &Host {
        &self.lab.hosts()[index]
    }

    /// The host with this name.
    pub fn index_of(&self, hostname: &str) -> Option<usize> {
        self.lab.hosts().iter().position(|host| host.hostname() == hostname)
    }

    /// A new connection to a host's daemon.
    pub fn client(&self, index: usize) -> Client {
        Client::new(&self.socket(index))
    }

    /// Where files of the run may lie.
    pub fn directory(&self) -> &Path {
        self.lab.directory()
    }

    fn socket(&self, index: usize) -> PathBuf {
        self.host(index).directory().join("api.sock")
    }

    /// Starts a host's daemon; `answers` waits for it.
    pub fn start_daemon(&mut self, index: usize) -> anyhow::Result<()> {
        let host = self.host(index);
        let directory = host.directory();
        let log = File::options().create(true).append(true).open(directory.join("daemon.log"))?;
        let parent = format!("/{}-{}", self.control_groups.0, host.hostname());
        let mut command = host.command(&self.binary);
        match self.product {
            Product::Skep => {
                command.arg("daemon").arg("--exec-root").arg("/run/skep");
            }
            Product::Docker => {
                // A killed engine leaves its own; the number may be another process's by now.
                command.args(["--exec-root", "/run/docker", "--bip", "172.18.0.1/24"]);
                command.arg("--pidfile").arg(self.fresh_pidfile(index)?);
            }
        }
        let child = command
            .arg("--host")
            .arg(format!("unix://{}", self.socket(index).display()))
            .arg("--data-root")
            .arg(directory.join("data"))
            .args(["--cgroup-parent", &parent])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", self.binary.display()))?;
        self.daemons[index] = Some(child);
        Ok(())
    }

    fn fresh_pidfile(&self, index: usize) -> anyhow::Result<PathBuf> {
        let path = self.host(index).directory().join("docker.pid");
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(path),
        }
    }

    /// Waits until a daemon answers.
    pub async fn answers(&self, index: usize) -> anyhow::Result<()> {
        let start = Instant::now();
        let mut client = self.client(index);
        while let Err(error) = client.get("/version").await {
            if start.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(self.host(index).directory().join("daemon.log")).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(5).collect();
                bail!("the daemon of {} does not answer: {error:#}\n{}", self.host(index).hostname(), tail.join("\n"));
            }
            tokio::time::sleep(START_POLL).await;
        }
        Ok(())
    }

    /// KILL, as a crash would: the daemon's process, and for Docker its containerd.
    pub fn kill_daemon(&mut self, index: usize) -> anyhow::Result<Instant> {
        let processes = self.processes(index)?;
        let killed = Instant::now();
        for process in processes.iter().filter(|process| !process.is_shim()) {
            kill(Pid::from_raw(process.pid), Signal::SIGKILL).with_context(|| format!("killing {}", process.name))?;
        }
        if let Some(mut child) = self.daemons[index].take() {
            child.wait()?;
        }
        Ok(killed)
    }

    /// A host's daemon and everything that descends from it.
    pub fn processes(&self, index: usize) -> anyhow::Result<Vec<Process>> {
        let Some(child) = &self.daemons[index] else { bail!("no daemon runs on {}", self.host(index).hostname()) };
        // The child itself only waits: entering a process namespace takes a fork.
        let inside = memory::children(i32::try_from(child.id())?);
        let Some(program) = inside.first() else { bail!("no daemon runs on {}", self.host(index).hostname()) };
        Ok(memory::tree(*program))
    }

    /// The shims of all hosts; a killed daemon's live on.
    pub fn shims(&self) -> anyhow::Result<Vec<Process>> {
        let mut hosts = Vec::new();
        for index in 0..self.daemons.len() {
            hosts.extend(self.processes(index)?.first().and_then(|daemon| memory::process_namespace(daemon.pid)));
        }
        let mut shims = memory::shims()?;
        shims.retain(|shim| memory::process_namespace(shim.pid).is_some_and(|space| hosts.contains(&space)));
        Ok(shims)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for child in self.daemons.iter_mut().flatten() {
            // A daemon that has already ended cannot be killed, which is what is wanted.
            if child.kill().is_ok() && child.wait().is_err() {
                eprintln!("bench: a daemon did not end");
            }
        }
    }
}

/// Removes the control groups that daemons leave behind, by the start of their name.
struct ControlGroups(String);

impl Drop for ControlGroups {
    fn drop(&mut self) {
        // Best effort: what is left is empty and does nothing.
        Command::new("find")
            .args(["/sys/fs/cgroup", "-depth", "-type", "d", "-path", &format!("*/{}-h*", self.0)])
            .args(["-exec", "rmdir", "{}", ";"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .ok();
    }
}
