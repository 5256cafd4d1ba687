//! `docker events` with the stock CLI: the past, and tasks for those who ask for them.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use crate::support::{PATIENCE, Swarm, wait_until};

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

    let mut child = Command::new("docker")
        .args(["-H", &format!("unix://{}", swarm.socket(2).display()), "events", "--filter", "type=task"])
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
    swarm
        .docker(1, &["service", "create", "--detach", "--no-resolve-image", "--name", "bad", "127.0.0.1:1/no"])
        .expect();
    let mut seen = Vec::new();
    let failed =
        |line: &String| line.contains(" task update ") && line.contains("error=") && line.contains("name=bad.1.");
    while !seen.iter().any(failed) {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => seen.push(line),
            Err(error) => panic!("no failed task: {error}\n{}", seen.join("\n")),
        }
    }
    child.kill().ok();
    child.wait().ok();
}
