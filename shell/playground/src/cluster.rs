//! The hosts and their daemons, and the commands run against them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use skep_lab::Lab;

use crate::Flags;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);
/// Longest wait for anything; whatever takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Hosts `m1`… and `w1`…, each with its daemon.
pub struct Cluster {
    lab: Lab,
    daemons: Vec<Option<Child>>,
    managers: usize,
    binary: PathBuf,
    interrupted: Arc<AtomicBool>,
    /// When everything began.
    pub started: Instant,
}

impl Cluster {
    /// Makes the hosts and starts all daemons.
    pub fn start(flags: &Flags, interrupted: &Arc<AtomicBool>) -> anyhow::Result<Self> {
        let started = Instant::now();
        let binary = std::env::current_exe().context("where this program is")?;
        let lab = Lab::new(&flags.directory)?;
        let managers = usize::from(flags.managers);
        let mut cluster =
            Self { lab, daemons: Vec::new(), managers, binary, interrupted: Arc::clone(interrupted), started };
        for number in 1..=flags.managers {
            cluster.add(&format!("m{number}"))?;
        }
        for number in 1..=flags.workers {
            cluster.add(&format!("w{number}"))?;
        }
        for index in 0..cluster.size() {
            let socket = cluster.socket(index);
            cluster.wait("the daemons' sockets", || std::os::unix::net::UnixStream::connect(&socket).is_ok())?;
        }
        Ok(cluster)
    }

    fn add(&mut self, hostname: &str) -> anyhow::Result<()> {
        self.lab.add_host(hostname)?;
        self.daemons.push(None);
        self.start_daemon(self.daemons.len() - 1)
    }

    /// How many hosts there are.
    pub fn size(&self) -> usize {
        self.daemons.len()
    }

    /// How many of them are managers, at the beginning of the list.
    pub fn managers(&self) -> usize {
        self.managers
    }

    /// A host's name.
    pub fn hostname(&self, index: usize) -> &str {
        self.lab.hosts()[index].hostname()
    }

    /// The host with this name.
    pub fn index_of(&self, hostname: &str) -> Option<usize> {
        self.lab.hosts().iter().position(|host| host.hostname() == hostname)
    }

    /// A host's address.
    pub fn address(&self, index: usize) -> &str {
        self.lab.hosts()[index].address()
    }

    /// A directory for files of the tour.
    pub fn directory(&self) -> &Path {
        self.lab.directory()
    }

    /// The program that everything runs.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    fn socket(&self, index: usize) -> PathBuf {
        self.lab.hosts()[index].directory().join("skep.sock")
    }

    /// Starts a host's daemon.
    pub fn start_daemon(&mut self, index: usize) -> anyhow::Result<()> {
        let host = &self.lab.hosts()[index];
        let directory = host.directory();
        let log = File::options().create(true).append(true).open(directory.join("daemon.log"))?;
        let child = host
            .command(&self.binary)
            .args(["daemon", "--host", &format!("unix://{}", directory.join("skep.sock").display())])
            .arg("--data-root")
            .arg(directory.join("data"))
            .arg("--exec-root")
            .arg(directory.join("exec"))
            .args(["--cgroup-parent", &format!("/{}-{}", self.lab_name(), host.hostname())])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting a daemon")?;
        self.daemons[index] = Some(child);
        Ok(())
    }

    fn lab_name(&self) -> String {
        self.lab.directory().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// KILL, as a crash would.
    pub fn kill_daemon(&mut self, index: usize) -> anyhow::Result<()> {
        if let Some(mut child) = self.daemons[index].take() {
            self.lab.hosts()[index].signal(&child, "KILL")?;
            child.wait()?;
        }
        Ok(())
    }

    /// Runs a command against a host's daemon; its output. Fails with what it said.
    pub fn skep(&self, index: usize, words: &[&str]) -> anyhow::Result<String> {
        if self.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        let output = Command::new(&self.binary)
            .arg("-H")
            .arg(format!("unix://{}", self.socket(index).display()))
            .args(words)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("running skep {}", words.join(" ")))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("skep {} on {}: {}", words.join(" "), self.hostname(index), said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Waits until something holds.
    pub fn wait(&self, what: &str, mut holds: impl FnMut() -> bool) -> anyhow::Result<()> {
        let start = Instant::now();
        while !holds() {
            if self.interrupted.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            if start.elapsed() > PATIENCE {
                bail!("waited in vain for {what}; the daemons' logs are below {}", self.lab.directory().display());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// What to try while it stays up.
    pub fn say_how_to_play(&self) {
        println!("\nThe hosts stay up until Ctrl-C. In another terminal, as root:\n");
        println!("  export DOCKER_HOST=unix://{}", self.socket(1.min(self.size() - 1)).display());
        println!("  docker node ls                        (or: skep node ls)");
        println!("  docker service ps web");
        println!("  docker service scale web={}", self.size());
        println!("  docker node update --availability drain {}", self.hostname(self.size() - 1));
        println!("  curl http://{}:8080/", self.address(self.size() - 1));
        println!("\nFiles and logs of each host: {}/HOST/", self.lab.directory().display());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.daemons.iter_mut().flatten() {
            // A daemon that has already ended cannot be killed, which is what is wanted.
            if child.kill().is_ok() && child.wait().is_err() {
                eprintln!("a daemon did not end");
            }
        }
    }
}
