//! `docker events` with the stock CLI: the past, and tasks for those who ask for them.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use crate::support::{PATIENCE, Swarm, wait_until};

/// The stock CLI following the events of tasks.
pub struct Listener {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Listener {
    /// Follows them on a host.
    pub fn of_tasks(swarm: &Swarm, number: usize) -> Self {
        let mut child = Command::new("docker")
            .args(["-H", &format!("unix://{}", swarm.socket(number).display()), "events", "--filter", "type=task"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("docker is installed");
        let (sender, lines) = mpsc::channel();
        let out = child.stdout.take().expect("its output");
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits for an event, or finds it among those of before.
    #[track_caller]
    pub fn wait(&mut self, wanted: impl Fn(&str) -> bool) {
        while !self.seen.iter().any(|line| wanted(line)) {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.seen.push(line),
                Err(error) => panic!("no such event: {error}\n{}", self.seen.join("\n")),
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn the_past_is_told_and_why_tasks_fail() {
    let Some(swarm) = Swarm::formed(2, 0) else { return };
    swarm.docker(1, &["secret", "create", "--label", "a=b", "one", "/etc/hostname"]).expect();
    swarm.docker(1, &["secret", "rm", "one"]).expect();
    // On every manager, and by both clients.
    for number in [1, 2] {
        for client in [Swarm::docker, Swarm::skep] {
            wait_until("the past of a secret", || {
                let words = ["events", "--since", "1h", "--until", "0s", "--filter", "type=secret", "--format"];
                let words = [&words[..], &["{{.Action}} {{.Actor.Attributes.name}} {{.Type}}"]].concat();
                let said = client(&swarm, number, &words).expect();
                if said == "create one secret\nremove one secret" { Ok(()) } else { Err(said) }
            });
        }
    }
    let tasks = swarm.docker(1, &["events", "--since", "1h", "--until", "0s", "--filter", "event=create"]).expect();
    assert!(!tasks.contains(" task "), "{tasks}");

    let mut listener = Listener::of_tasks(&swarm, 2);
    swarm
        .docker(1, &["service", "create", "--detach", "--no-resolve-image", "--name", "bad", "127.0.0.1:1/no"])
        .expect();
    listener.wait(|line| line.contains(" task update ") && line.contains("error=") && line.contains("name=bad.1."));
}
