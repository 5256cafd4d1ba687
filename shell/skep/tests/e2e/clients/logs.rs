//! `docker service logs` over several hosts: every node's lines, all flags, and nodes that are gone.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;

use crate::support::{PATIENCE, Swarm, wait_for, wait_until};

/// One line on standard error, three on standard output, then a beat for each file that appears.
const SCRIPT: &str = "echo oops >&2; sleep 1; for i in 1 2 3; do echo line $i; done; i=0; while :; do if [ -e /tmp/go$i ]; then echo beat $i; i=$((i + 1)); fi; sleep 0.1; done";

fn service(swarm: &Swarm, hosts: usize) {
    swarm.load_busybox(1..=hosts);
    let create =
        ["service", "create", "--detach", "--no-resolve-image", "--name", "talk", "--mode", "global", "busybox"];
    swarm.docker(1, &[&create[..], &["sh", "-c", SCRIPT]].concat()).expect();
    swarm.wait_running(1, "talk", hosts);
    wait_until("what every task prints", || {
        let said = swarm.docker(1, &["service", "logs", "talk"]);
        let lines = said.out.lines().filter(|line| line.ends_with("line 3")).count();
        if lines == hosts && said.err.lines().filter(|line| line.ends_with("oops")).count() == hosts {
            Ok(())
        } else {
            Err(format!("{}{}", said.out, said.err))
        }
    });
}

/// Makes the task on a host print its next beat.
fn beat(swarm: &Swarm, number: usize, beat: usize) {
    let id = swarm.docker(number, &["ps", "-q", "--filter", "name=talk"]).expect();
    swarm.docker(number, &["exec", &id, "touch", &format!("/tmp/go{beat}")]).expect();
}

#[test]
fn every_nodes_lines_come_with_every_flag() {
    let Some(swarm) = Swarm::formed(2, 1) else { return };
    service(&swarm, 3);
    // On a follower, too.
    for asked in [1, 2] {
        for client in [Swarm::docker, Swarm::skep] {
            let logs =
                |words: &[&str]| client(&swarm, asked, &[&["service", "logs"], words, &["talk"]].concat()).expect();
            let all = logs(&[]);
            for host in ["h1", "h2", "h3"] {
                let own: Vec<&str> = all.lines().filter(|line| line.contains(&format!("@{host} "))).collect();
                assert_eq!(own.len(), 3, "{all}");
                // Of one task, in the order in which they were printed.
                assert!(own[0].ends_with("| line 1") && own[2].ends_with("| line 3"), "{all}");
                assert!(own[0].starts_with("talk."), "{all}");
            }
            assert_eq!(logs(&["--tail", "1"]).lines().filter(|line| line.ends_with("line 3")).count(), 3);
            assert_eq!(logs(&["--tail", "0"]), "");
            assert_eq!(logs(&["--tail", "all"]).lines().count(), 9);
            let mut raw: Vec<String> = logs(&["--raw"]).lines().map(str::to_owned).collect();
            raw.sort_unstable();
            assert_eq!(raw, ["line 1", "line 1", "line 1", "line 2", "line 2", "line 2", "line 3", "line 3", "line 3"]);
            let stamped = logs(&["--timestamps", "--raw"]);
            assert!(
                stamped.lines().all(|line| line.len() > 30 && &line[4..5] == "-" && line.contains("Z ")),
                "{stamped}"
            );
            // Docker's client takes the swarm's own details out again.
            assert_eq!(logs(&["--details"]).lines().filter(|line| line.contains("@h")).count(), 9);
            let unnamed = logs(&["--no-resolve", "--no-trunc", "--no-task-ids"]);
            // A node's id may begin as a host's name does.
            let named = |line: &str| ["@h1 ", "@h2 ", "@h3 "].iter().any(|host| line.contains(host));
            assert!(!unnamed.lines().any(named), "{unnamed}");
            assert_eq!(logs(&["--since", "2100-01-01T00:00:00Z"]), "");
            assert_eq!(logs(&["--since", "1h"]).lines().count(), 9);
        }
    }
    // A task's own log, by its id.
    let tasks = swarm.docker(1, &["service", "ps", "-q", "--no-trunc", "-f", "node=h3", "talk"]).expect();
    let task = tasks.lines().next().expect("a task");
    let of_task = swarm.docker(1, &["service", "logs", "--raw", task]).expect();
    assert_eq!(of_task.lines().collect::<Vec<_>>(), ["line 1", "line 2", "line 3"]);
    let none = swarm.docker(1, &["service", "logs", "nope"]).expect_failure();
    assert!(none.contains("no such task or service: nope"), "{none}");
}

#[test]
fn following_goes_on_over_lost_nodes_and_their_return() {
    let Some(mut swarm) = Swarm::formed(1, 2) else { return };
    service(&swarm, 3);
    let follower = Follower::start(&swarm, 1);
    beat(&swarm, 2, 0);
    follower.wait_for("@h2 ", "beat 0");
    beat(&swarm, 3, 0);
    follower.wait_for("@h3 ", "beat 0");

    // A killed daemon, whose containers go on: a line says what is missing, the others' lines come.
    swarm.kill_daemon(3);
    follower.wait_for("@h3 ", "warning: incomplete log stream");
    beat(&swarm, 2, 1);
    follower.wait_for("@h2 ", "beat 1");

    // Who does not follow gets what there is, and the reason; never a hang.
    let said = swarm.docker(1, &["service", "logs", "talk"]);
    assert!(!said.ok && said.err.contains("incomplete log stream"), "{} {}", said.out, said.err);
    assert_eq!(said.out.lines().filter(|line| line.ends_with("line 3")).count(), 2, "{}", said.out);

    // It comes back, and what its task prints comes again.
    swarm.start_daemon(3);
    wait_for("the task's node to be ready", || {
        swarm.docker(1, &["node", "ls", "--format", "{{.Hostname}} {{.Status}}"]).out.contains("h3 Ready")
    });
    wait_for("the node's containers", || !swarm.docker(3, &["ps", "-q", "--filter", "name=talk"]).out.is_empty());
    beat(&swarm, 3, 1);
    follower.wait_for("@h3 ", "beat 1");
}

#[test]
fn a_silent_node_is_an_error_line_and_no_hang() {
    let Some(swarm) = Swarm::formed(1, 2) else { return };
    service(&swarm, 3);
    swarm.host(3).cut_cable().expect("a cable");
    let mut docker = Command::new("docker");
    docker
        .args(["-H", &format!("unix://{}", swarm.socket(1).display()), "service", "logs", "talk"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = docker.spawn().expect("docker is installed");
    wait_for("the logs to end", || child.try_wait().expect("wait").is_some());
    let output = child.wait_with_output().expect("wait");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success() && err.contains("incomplete log stream"), "{out} {err}");
    assert_eq!(out.lines().filter(|line| line.ends_with("line 3")).count(), 2, "{out}");
    swarm.host(3).plug_cable().expect("a cable");
}

/// `docker service logs --follow`, read as it comes.
struct Follower {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Follower {
    fn start(swarm: &Swarm, number: usize) -> Self {
        let mut child = Command::new("docker")
            .args(["-H", &format!("unix://{}", swarm.socket(number).display()), "service", "logs", "--follow"])
            .arg("talk")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker is installed");
        let (sender, lines) = mpsc::channel();
        let out: ChildStdout = child.stdout.take().expect("its output");
        let err = child.stderr.take().expect("its errors");
        let into = |reader: Box<dyn std::io::Read + Send>| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(reader).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        };
        into(Box::new(out));
        into(Box::new(err));
        Self { child, lines }
    }

    /// Skips lines until one has both parts.
    #[track_caller]
    fn wait_for(&self, who: &str, what: &str) {
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(who) && line.contains(what) => return,
                Ok(line) => seen.push(line),
                Err(error) => panic!("no {what} of {who}: {error}\n{}", seen.join("\n")),
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
