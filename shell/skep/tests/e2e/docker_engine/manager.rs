//! A real Docker Engine as a manager beside Skep managers.

use super::engine::{self, Engine};
use crate::support::{Said, Swarm, wait_for, wait_until};

/// Two Skep managers on hosts 1 and 2, and a Docker Engine on host 3 that joined with the manager's token.
struct Mixed {
    engine: Engine,
    swarm: Swarm,
}

impl Mixed {
    fn formed() -> Option<Self> {
        if !engine::is_installed() {
            return None;
        }
        let mut swarm = Swarm::formed(2, 0)?;
        let number = swarm.add_bare_host();
        let engine = Engine::start(&swarm, number);
        swarm.load_busybox(1..=2);
        let mixed = Self { engine, swarm };
        mixed.join("manager").expect();
        mixed.wait_for_managers(1, &["h1", "h2", "h3"]);
        Some(mixed)
    }

    fn join(&self, role: &str) -> Said {
        let token = self.swarm.docker(1, &["swarm", "join-token", "-q", role]).expect();
        self.engine.docker(&["swarm", "join", "--token", &token, &format!("{}:2377", self.swarm.address(1))])
    }

    /// The stock CLI against host `number`'s daemon, whichever it is.
    fn docker(&self, number: usize, words: &[&str]) -> Said {
        if number == 3 { self.engine.docker(words) } else { self.swarm.docker(number, words) }
    }

    /// The host that leads, as `asked` sees it.
    fn leader(&self, asked: usize) -> Option<String> {
        let list = self.docker(asked, &["node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}"]).out;
        list.lines().find_map(|line| line.strip_suffix(" Leader").map(str::to_owned))
    }

    #[track_caller]
    fn wait_for_managers(&self, asked: usize, hosts: &[&str]) {
        wait_until(&format!("{hosts:?} to be the managers, seen from {asked}"), || {
            let list = self.docker(asked, &["node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.ManagerStatus}}"]);
            let reach = |host: &&str| {
                list.out.lines().any(|line| {
                    line.starts_with(&format!("{host} Ready"))
                        && (line.ends_with("Leader") || line.ends_with("Reachable"))
                })
            };
            if hosts.iter().all(reach) { Ok(()) } else { Err(format!("{}{}", list.out, list.err)) }
        });
    }
}

#[test]
fn a_docker_engine_joins_as_manager_and_its_clients_see_the_swarm() {
    let Some(mixed) = Mixed::formed() else { return };
    mixed.wait_for_managers(3, &["h1", "h2", "h3"]);
    mixed
        .docker(
            3,
            &[
                "service",
                "create",
                "--detach",
                "--no-resolve-image",
                "--name",
                "web",
                "--mode",
                "global",
                "busybox",
                "sleep",
                "1000",
            ],
        )
        .expect();
    mixed.swarm.wait_running(1, "web", 3);
    wait_for("the engine to list it", || mixed.docker(3, &["service", "ls"]).out.contains("3/3"));
    mixed.docker(3, &["service", "rm", "web"]).expect();
    assert_eq!(mixed.leader(3), mixed.leader(1));
}

/// What must not change when leadership moves.
#[derive(Debug, PartialEq)]
struct Facts {
    inspected: String,
    tasks: Vec<String>,
}

impl Mixed {
    fn facts(&self, asked: usize, service: &str) -> Facts {
        let inspected = self.docker(asked, &["service", "inspect", service]).expect();
        let tasks = self.docker(asked, &["service", "ps", "-q", "--no-trunc", service]).expect();
        let mut tasks: Vec<String> = tasks.lines().map(str::to_owned).collect();
        tasks.sort();
        Facts { inspected, tasks }
    }

    #[track_caller]
    fn wait_leader(&self, asked: usize, which: &[&str]) -> String {
        let mut found = None;
        wait_until(&format!("one of {which:?} to lead"), || match self.leader(asked) {
            Some(leader) if which.contains(&leader.as_str()) => {
                found = Some(leader);
                Ok(())
            }
            other => Err(format!("{other:?}")),
        });
        found.expect("a leader")
    }
}

#[test]
fn leadership_moves_both_ways_and_no_service_rolls() {
    if !engine::is_installed() {
        return;
    }
    let Some(mut swarm) = Swarm::formed(1, 0) else { return };
    // Host 2 is for the second Skep, which joins last: the leader that is demoted hands over to whom it heard longest.
    let second = swarm.add_bare_host();
    let third = swarm.add_bare_host();
    let engine = Engine::start(&swarm, third);
    swarm.start_daemon(second);
    swarm.load_busybox(1..=2);
    let mut mixed = Mixed { engine, swarm };
    mixed.join("manager").expect();
    mixed.wait_for_managers(1, &["h1", "h3"]);
    mixed.swarm.join(2, "manager");
    mixed.wait_for_managers(1, &["h1", "h2", "h3"]);

    mixed
        .docker(
            1,
            &[
                "service",
                "create",
                "--detach",
                "--no-resolve-image",
                "--name",
                "web",
                "--replicas",
                "6",
                "--env",
                "A=1",
                "--label",
                "x=y",
                "--container-label",
                "c=d",
                "--limit-memory",
                "32m",
                "--reserve-cpu",
                "0.01",
                "--restart-delay",
                "1s",
                "--update-delay",
                "1s",
                "--stop-grace-period",
                "2s",
                "--constraint",
                "node.platform.os==linux",
                "--placement-pref",
                "spread=node.labels.zone",
                "--mount",
                "type=tmpfs,target=/scratch",
                "--host",
                "other:10.1.2.3",
                "--dns",
                "10.1.2.4",
                "busybox",
                "sh",
                "-c",
                "echo here I am; exec sleep 1000",
            ],
        )
        .expect();
    mixed.swarm.wait_running(1, "web", 6);
    let before = mixed.facts(1, "web");

    // Skep → Docker, in good order.
    mixed.docker(1, &["node", "demote", "h1"]).expect();
    mixed.wait_leader(2, &["h3"]);
    wait_until("h1 to be a worker", || {
        let role =
            mixed.docker(2, &["node", "inspect", "h1", "--format", "{{.Spec.Role}} {{json .ManagerStatus}}"]).out;
        if role.trim() == "worker null" { Ok(()) } else { Err(role) }
    });
    assert_eq!(mixed.facts(2, "web"), before, "from a Skep follower of a Docker leader");
    assert_eq!(mixed.facts(3, "web"), before, "from the Docker leader");
    mixed
        .docker(
            2,
            &[
                "service",
                "create",
                "--detach",
                "--no-resolve-image",
                "--name",
                "late",
                "--mode",
                "global",
                "busybox",
                "sleep",
                "1000",
            ],
        )
        .expect();
    mixed.swarm.wait_running(2, "late", 3);
    for asked in [2, 3] {
        wait_until("logs", || {
            let said = mixed.docker(asked, &["service", "logs", "web"]);
            if said.out.matches("here I am").count() == 6 { Ok(()) } else { Err(format!("{}{}", said.out, said.err)) }
        });
    }

    // The Docker leader makes a Skep worker a manager.
    mixed.docker(2, &["node", "promote", "h1"]).expect();
    mixed.wait_for_managers(2, &["h1", "h2", "h3"]);

    // The Docker leader is killed.
    let swarm = &mixed.swarm;
    mixed.engine.kill(swarm, 3);
    mixed.wait_leader(2, &["h1", "h2"]);
    mixed.docker(1, &["service", "update", "--detach", "--label-add", "seen=1", "late"]).expect();
    mixed.engine = Engine::start(&mixed.swarm, 3);
    mixed.wait_for_managers(3, &["h1", "h2", "h3"]);
    assert_eq!(mixed.facts(3, "web").inspected, before.inspected);
    mixed.docker(3, &["service", "rm", "late"]).expect();

    // The Skep leader is killed.
    let leader = mixed.wait_leader(3, &["h1", "h2"]);
    let (killed, other, other_name) = if leader == "h1" { (1, 2, "h2") } else { (2, 1, "h1") };
    mixed.swarm.kill_daemon(killed);
    let next = mixed.wait_leader(other, &[other_name, "h3"]);
    eprintln!("after {leader}: {next}");
    mixed.docker(3, &["service", "update", "--detach", "--label-add", "seen=2", "web"]).expect();
    mixed.swarm.start_daemon(killed);
    mixed.wait_for_managers(3, &["h1", "h2", "h3"]);

    // The Docker Engine is a manager no more.
    mixed.docker(other, &["node", "demote", "h3"]).expect();
    wait_until("the pace of Skep", || {
        let labels = mixed.docker(other, &["info", "--format", "{{json .Swarm.Cluster.Spec.Labels}}"]).out;
        if labels.contains("skep.pace") { Err(labels) } else { Ok(()) }
    });
    wait_until("the engine to be a worker", || {
        let said = mixed.docker(3, &["info", "--format", "{{.Swarm.ControlAvailable}} {{.Swarm.LocalNodeState}}"]).out;
        if said.trim() == "false active" { Ok(()) } else { Err(said) }
    });
    mixed.docker(3, &["swarm", "leave"]).expect();
}
