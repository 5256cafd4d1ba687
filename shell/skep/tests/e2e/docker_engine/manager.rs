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
                    line.starts_with(&format!("{host} Ready")) && (line.ends_with("Leader") || line.ends_with("Reachable"))
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
    mixed.docker(3, &["service", "create", "--detach", "--no-resolve-image", "--name", "web", "--mode", "global", "busybox", "sleep", "1000"]).expect();
    mixed.swarm.wait_running(1, "web", 3);
    wait_for("the engine to list it", || mixed.docker(3, &["service", "ls"]).out.contains("3/3"));
    mixed.docker(3, &["service", "rm", "web"]).expect();
    assert_eq!(mixed.leader(3), mixed.leader(1));
}
