//! Skep managers and one Docker Engine, driven alike.

use crate::engine::Engine;
use crate::support::{Said, Swarm, wait_until};

/// Skep daemons on the first hosts, the Docker Engine on the last.
pub struct Mixed {
    pub engine: Engine,
    pub swarm: Swarm,
    /// The engine's host.
    pub last: usize,
}

impl Mixed {
    /// A swarm of one Skep manager; daemons that are in no swarm up to host `skeps`, and a Docker Engine on the next.
    pub fn one_of(skeps: usize) -> Option<Self> {
        if !crate::engine::is_installed() {
            return None;
        }
        let swarm = Swarm::start(skeps)?;
        swarm.init();
        swarm.load_busybox(1..=skeps);
        let mut swarm = swarm;
        let last = swarm.add_bare_host();
        let engine = Engine::start(&swarm, last);
        Some(Self { engine, swarm, last })
    }

    /// The engine joins with the printed token.
    pub fn join(&self, role: &str) -> Said {
        let token = self.swarm.docker(1, &["swarm", "join-token", "-q", role]).expect();
        self.engine.docker(&["swarm", "join", "--token", &token, &format!("{}:2377", self.swarm.address(1))])
    }

    /// The stock CLI against a host's daemon, whichever it is.
    pub fn docker(&self, number: usize, words: &[&str]) -> Said {
        if number == self.last { self.engine.docker(words) } else { self.swarm.docker(number, words) }
    }

    /// Every line that `node ls` has for managers: `HOST STATUS MANAGER`.
    fn managers(&self, asked: usize) -> Vec<String> {
        let list = self.docker(asked, &["node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.ManagerStatus}}"]).out;
        list.lines().filter(|line| line.split_whitespace().count() == 3).map(str::to_owned).collect()
    }

    /// Waits until just these hosts manage, all of them up.
    #[track_caller]
    pub fn wait_managers(&self, asked: usize, hosts: &[&str]) {
        wait_until(&format!("{hosts:?} to be the managers, seen from host {asked}"), || {
            let managers = self.managers(asked);
            let up = |host: &&str| {
                let ways = [format!("{host} Ready Leader"), format!("{host} Ready Reachable")];
                managers.iter().any(|line| ways.contains(line))
            };
            if managers.len() == hosts.len() && hosts.iter().all(up) { Ok(()) } else { Err(managers.join("; ")) }
        });
    }

    /// Waits until one of these hosts leads; which.
    #[track_caller]
    pub fn wait_leader(&self, asked: usize, which: &[&str]) -> String {
        let mut found = String::new();
        wait_until(&format!("one of {which:?} to lead, seen from host {asked}"), || {
            let managers = self.managers(asked);
            let leader = managers.iter().find_map(|line| line.strip_suffix(" Ready Leader"));
            match leader.filter(|leader| which.contains(leader)) {
                Some(leader) => {
                    leader.clone_into(&mut found);
                    Ok(())
                }
                None => Err(managers.join("; ")),
            }
        });
        found
    }

    /// Waits until a host is a worker, by its own word.
    #[track_caller]
    pub fn wait_worker(&self, number: usize) {
        wait_until(&format!("host {number} to be a worker"), || {
            let said =
                self.docker(number, &["info", "--format", "{{.Swarm.ControlAvailable}} {{.Swarm.LocalNodeState}}"]);
            if said.out.trim() == "false active" { Ok(()) } else { Err(said.out) }
        });
    }

    /// Waits until the managers' pace, as the cluster says it, is Docker's or is not.
    #[track_caller]
    pub fn wait_pace(&self, asked: usize, dockers: bool) {
        wait_until("the managers' pace", || {
            let labels = self.docker(asked, &["info", "--format", "{{json .Swarm.Cluster.Spec.Labels}}"]);
            if labels.ok && labels.out.contains("skep.pace") == dockers { Ok(()) } else { Err(labels.out) }
        });
    }
}
