//! A Docker Engine on a host of the lab.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::support::{Said, Swarm, busybox_archive, wait_for};

/// A Docker Engine on a host.
pub struct Engine {
    child: Child,
    pub socket: PathBuf,
}

/// Whether there is a Docker Engine to test with; said loudly when there is none.
pub fn is_installed() -> bool {
    let installed = std::path::Path::new("/usr/sbin/dockerd").exists();
    if !installed {
        assert!(std::env::var_os("CI").is_none(), "on CI nothing is skipped, but there is no dockerd");
        eprintln!("SKIPPED: there is no dockerd (package docker.io)");
    }
    installed
}

impl Engine {
    /// Starts an engine on a bare host, with busybox on it.
    pub fn start(swarm: &Swarm, number: usize) -> Self {
        let host = swarm.host(number);
        let directory = host.directory();
        let socket = directory.join("docker.sock");
        let log = File::options().create(true).append(true).open(directory.join("daemon.log")).expect("a log file");
        let child = host
            .command("/usr/sbin/dockerd")
            .args(["--host", &format!("unix://{}", socket.display()), "--bip", "172.18.0.1/24"])
            .arg("--data-root")
            .arg(directory.join("docker"))
            .args(["--exec-root", "/run/docker", "--pidfile", "/run/docker.pid"])
            .args(["--cgroup-parent", &format!("/skep-docker-{}-{number}", std::process::id())])
            .args(["--log-level", &std::env::var("SKEP_TEST_LOG").unwrap_or_else(|_| "info".to_owned())])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("dockerd is installed");
        let engine = Self { child, socket };
        wait_for("the Docker Engine", || engine.docker(&["version"]).ok);
        let archive = busybox_archive(swarm.lab.directory()).display().to_string();
        engine.docker(&["import", "-c", r#"CMD ["sh"]"#, &archive, "busybox:latest"]).expect();
        engine
    }

    /// The stock CLI against it.
    pub fn docker(&self, words: &[&str]) -> Said {
        Command::new("docker")
            .args(["-H", &format!("unix://{}", self.socket.display())])
            .args(words)
            .env_remove("DOCKER_HOST")
            .stdin(Stdio::null())
            .output()
            .expect("docker is installed")
            .into()
    }

    /// KILL, as a crash would.
    pub fn kill(&mut self, swarm: &Swarm, number: usize) {
        swarm.host(number).signal(&self.child, "KILL").expect("kill");
        self.child.wait().expect("wait");
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
