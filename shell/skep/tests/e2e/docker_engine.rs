//! A real Docker Engine as a worker of a Skep swarm.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use crate::support::{Swarm, busybox_archive, wait_for, wait_until};

/// A Docker Engine on a host.
struct Engine {
    child: Child,
    socket: String,
}

impl Engine {
    fn start(swarm: &Swarm, number: usize) -> Self {
        let host = swarm.host(number);
        let directory = host.directory();
        let socket = directory.join("docker.sock").display().to_string();
        let log = File::create(directory.join("daemon.log")).expect("a log file");
        let child = host
            .command("/usr/sbin/dockerd")
            .args(["--host", &format!("unix://{socket}"), "--bip", "172.18.0.1/24"])
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

    fn docker(&self, words: &[&str]) -> (bool, String) {
        let output = Command::new("docker")
            .args(["-H", &format!("unix://{}", self.socket)])
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

#[test]
fn a_docker_engine_joins_runs_tasks_follows_the_leader_and_leaves() {
    if !std::path::Path::new("/usr/sbin/dockerd").exists() {
        assert!(std::env::var_os("CI").is_none(), "on CI nothing is skipped, but there is no dockerd");
        eprintln!("SKIPPED: there is no dockerd (package docker.io)");
        return;
    }
    let Some(mut swarm) = Swarm::formed(3, 0) else { return };
    let number = swarm.add_bare_host();
    let engine = Engine::start(&swarm, number);
    let archive = busybox_archive(swarm.lab.directory()).display().to_string();
    let (ok, said) = engine.docker(&["import", "-c", r#"CMD ["sh"]"#, &archive, "busybox:latest"]);
    assert!(ok, "{said}");
    swarm.load_busybox(1..=3);

    let address = format!("{}:2377", swarm.address(1));
    let token = swarm.docker(1, &["swarm", "join-token", "-q", "manager"]).expect();
    let (ok, said) = engine.docker(&["swarm", "join", "--token", &token, &address]);
    assert!(!ok && said.contains("let it join as a worker"), "{said}");
    let managers = swarm.docker(1, &["node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}"]).expect();
    assert_eq!(managers.lines().filter(|line| line.ends_with("Leader") || line.ends_with("Reachable")).count(), 3);
    engine.docker(&["swarm", "leave", "--force"]);

    let token = swarm.docker(1, &["swarm", "join-token", "-q", "worker"]).expect();
    let (ok, said) = engine.docker(&["swarm", "join", "--token", &token, &format!("{}:2377", swarm.address(1))]);
    assert!(ok, "{said}");
    let version = engine.docker(&["version", "--format", "{{.Server.Version}}"]).1;
    wait_until("the engine to be ready with its own version", || {
        let list = swarm.docker(1, &["node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.EngineVersion}}"]).out;
        if list.contains(&format!("h4 Ready {}", version.trim())) { Ok(()) } else { Err(list) }
    });

    swarm
        .docker(
            1,
            &[
                "service",
                "create",
                "--detach",
                "--no-resolve-image",
                "--name",
                "mixed",
                "--mode",
                "global",
                "busybox",
                "sleep",
                "1000",
            ],
        )
        .expect();
    swarm.wait_running(1, "mixed", 4);
    let containers = engine.docker(&["ps", "--format", "{{.Names}}"]).1;
    assert!(containers.contains("mixed."), "{containers}");

    swarm.kill_daemon(1);
    wait_until("another leader", || match swarm.leader(2) {
        Some(leader) if leader != "h1" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    swarm.docker(2, &["service", "update", "--detach", "--label-add", "seen=yes", "mixed"]).expect();
    wait_until("the engine to follow the new leader", || {
        let list = swarm.docker(2, &["node", "ls", "--format", "{{.Hostname}} {{.Status}}"]).out;
        if list.contains("h4 Ready") { Ok(()) } else { Err(list) }
    });
    swarm.docker(2, &["service", "rm", "mixed"]).expect();
    wait_for("the engine to end its task", || engine.docker(&["ps", "-q"]).1.trim().is_empty());

    let (ok, said) = engine.docker(&["swarm", "leave"]);
    assert!(ok, "{said}");
    // An engine that was refused as a manager may have left a row of the same name behind.
    let rows = || swarm.docker(2, &["node", "ls", "--format", "{{.Hostname}} {{.ID}} {{.Status}}"]).out;
    wait_until("the engine to be down", || {
        let list = rows();
        let up = list.lines().any(|line| line.starts_with("h4 ") && line.ends_with(" Ready"));
        if list.contains("h4 ") && !up { Ok(()) } else { Err(list) }
    });
    for row in rows().lines().filter(|line| line.starts_with("h4 ")) {
        let id = row.split_whitespace().nth(1).expect("an id");
        swarm.docker(2, &["node", "rm", "--force", id]).expect();
    }
    assert!(!rows().contains("h4 "));
}
