//! A real Docker Engine as a worker of a Skep swarm.

use crate::authority::{EC_KEY, Roots};
use crate::engine::{self, Engine};
use crate::support::{Swarm, wait_for, wait_until};

#[test]
fn a_docker_engine_joins_runs_tasks_follows_the_leader_and_leaves() {
    if !engine::is_installed() {
        return;
    }
    let Some(mut swarm) = Swarm::formed(3, 0) else { return };
    let number = swarm.add_bare_host();
    let engine = Engine::start(&swarm, number);
    swarm.load_busybox(1..=3);

    let token = swarm.docker(1, &["swarm", "join-token", "-q", "worker"]).expect();
    engine.docker(&["swarm", "join", "--token", &token, &format!("{}:2377", swarm.address(1))]).expect();
    let version = engine.docker(&["version", "--format", "{{.Server.Version}}"]).out;
    wait_until("the engine to be ready with its own version", || {
        let list = swarm.docker(1, &["node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.EngineVersion}}"]).out;
        if list.contains(&format!("h4 Ready {}", version.trim())) { Ok(()) } else { Err(list) }
    });

    // A new root: the CLI waits until the engine, too, has a certificate of it, and trusts it.
    let before = swarm.docker(1, &["swarm", "ca"]).expect();
    swarm.docker(1, &["swarm", "ca", "--rotate", "--quiet"]).expect();
    assert_ne!(swarm.docker(1, &["swarm", "ca"]).expect(), before);
    // And one of the operator's own, with names that are not as ours are written.
    let roots = Roots::new(&swarm);
    roots.make("own", EC_KEY, "/C=CH/O=Example/OU=One/OU=Two/CN=own root", "800");
    let (certificate, key) = (roots.path("own.pem"), roots.path("own-key.pem"));
    swarm.docker(1, &["swarm", "ca", "--rotate", "--ca-cert", &certificate, "--ca-key", &key, "--quiet"]).expect();
    assert_eq!(swarm.docker(1, &["swarm", "ca"]).expect().trim(), roots.read("own.pem").trim());

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
    let containers = engine.docker(&["ps", "--format", "{{.Names}}"]).out;
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
    wait_for("the engine to end its task", || engine.docker(&["ps", "-q"]).out.trim().is_empty());

    engine.docker(&["swarm", "leave"]).expect();
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
