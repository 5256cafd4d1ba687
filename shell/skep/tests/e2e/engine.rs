//! A real Docker Engine on a host.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::support::{Swarm, wait_for};

/// Where Debian's package `docker.io` puts it.
const DOCKERD: &str = "/usr/sbin/dockerd";

/// Ends with the test.
pub struct Engine {
    child: Child,
    pub socket: PathBuf,
}

/// Whether there is one to test with; loudly so where there is none, and a failure on CI.
pub fn is_installed() -> bool {
    if std::path::Path::new(DOCKERD).exists() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "on CI nothing is skipped, but there is no dockerd");
    eprintln!("SKIPPED: there is no dockerd (package docker.io)");
    false
}

impl Engine {
    pub fn start(swarm: &Swarm, number: usize) -> Self {
        let host = swarm.host(number);
        let directory = host.directory();
        let socket = directory.join("docker.sock");
        let log = File::create(directory.join("daemon.log")).expect("a log file");
        let child = host
            .command(DOCKERD)
            .args(["--host", &format!("unix://{}", socket.display()), "--bip", "172.18.0.1/24"])
            .arg("--data-root")
            .arg(directory.join("docker"))
            .args(["--exec-root", "/run/docker", "--pidfile", "/run/docker.pid"])
            .args(["--cgroup-parent", &format!("/skep-docker-{}", std::process::id())])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("dockerd is installed");
        let engine = Self { child, socket };
        wait_for("the Docker Engine", || engine.docker(&["version"]).0);
        engine
    }

    /// The stock CLI against it: whether it succeeded, and all it said.
    pub fn docker(&self, words: &[&str]) -> (bool, String) {
        let output = Command::new("docker")
            .args(["-H", &format!("unix://{}", self.socket.display())])
            .args(words)
            .stdin(Stdio::null())
            .output()
            .expect("docker is installed");
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
