//! A real Docker Engine as a manager beside Skep managers.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use super::mixed::Mixed;
use crate::engine::Engine;
use crate::support::{wait_for, wait_until};

/// A constraint that only Skep understands.
const BEYOND_DOCKER: &str = "node.labels.zone in (a, b)";

fn create<'a>(name: &'a str, more: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["service", "create", "--detach", "--no-resolve-image", "--name", name];
    words.extend(more);
    words.push("busybox");
    words.extend(command);
    words
}

#[test]
fn a_docker_engine_manages_where_it_can_and_is_refused_by_name_where_not() {
    let Some(mixed) = Mixed::one_of(2) else { return };
    mixed.swarm.join(2, "manager");
    mixed.docker(1, &create("picky", &["--replicas", "0", "--constraint", BEYOND_DOCKER], &["true"])).expect();
    let refused = mixed.join("manager").expect_failure();
    assert!(refused.contains("service picky has the constraint"), "{refused}");
    let nodes = mixed.docker(1, &["node", "ls", "-q"]).expect();
    assert_eq!(nodes.lines().count(), 2, "no node was made: {nodes}");
    // Whether it kept anything of the failed join is the engine's own affair.
    mixed.docker(3, &["swarm", "leave", "--force"]);

    mixed.join("worker").expect();
    wait_for("the engine to be ready", || mixed.docker(1, &["node", "ls"]).out.contains("h3"));
    wait_until("the engine to be known", || {
        let list = mixed.docker(1, &["node", "ls", "--format", "{{.Hostname}} {{.Status}}"]).out;
        if list.contains("h3 Ready") { Ok(()) } else { Err(list) }
    });
    let refused = mixed.docker(1, &["node", "promote", "h3"]).expect_failure();
    assert!(refused.contains("service picky has the constraint"), "{refused}");
    mixed.docker(1, &["service", "rm", "picky"]).expect();

    mixed.docker(1, &["node", "promote", "h3"]).expect();
    mixed.wait_managers(1, &["h1", "h2", "h3"]);
    mixed.wait_managers(3, &["h1", "h2", "h3"]);
    mixed.wait_pace(3, true);
    for asked in [1, 3] {
        let refused =
            mixed.docker(asked, &create("picky", &["--constraint", BEYOND_DOCKER], &["true"])).expect_failure();
        assert!(refused.contains("goes beyond Docker's grammar"), "{refused}");
    }
    mixed.docker(3, &create("web", &["--mode", "global"], &["sleep", "1000"])).expect();
    mixed.swarm.wait_running(1, "web", 3);
    wait_for("the engine to list it", || mixed.docker(3, &["service", "ls"]).out.contains("3/3"));
    mixed.docker(3, &["service", "rm", "web"]).expect();

    mixed.docker(3, &["node", "demote", "h3"]).expect();
    mixed.wait_worker(3);
    mixed.wait_pace(1, false);
    mixed.docker(3, &["swarm", "leave"]).expect();
}

/// What must not change when leadership moves.
#[derive(Debug, PartialEq)]
struct Facts {
    inspected: String,
    tasks: Vec<String>,
}

fn facts(mixed: &Mixed, asked: usize, service: &str) -> Facts {
    let inspected = mixed.docker(asked, &["service", "inspect", service]).expect();
    let tasks = mixed.docker(asked, &["service", "ps", "-q", "--no-trunc", service]).expect();
    let mut tasks: Vec<String> = tasks.lines().map(str::to_owned).collect();
    tasks.sort();
    Facts { inspected, tasks }
}

/// A service that says a lot, so that a manager of the other kind which reads anything of it differently rolls it.
fn talkative() -> Vec<&'static str> {
    let more = [
        "--replicas=6",
        "--env=A=1",
        "--label=x=y",
        "--container-label=c=d",
        "--limit-memory=32m",
        "--reserve-cpu=0.01",
        "--restart-delay=1s",
        "--update-delay=1s",
        "--rollback-monitor=2s",
        "--stop-grace-period=2s",
        "--constraint=node.platform.os==linux",
        "--placement-pref=spread=node.labels.zone",
        "--mount=type=tmpfs,target=/scratch",
        "--host=other:10.1.2.3",
        "--dns=10.1.2.4",
        "--cap-drop=NET_RAW",
    ];
    create("web", &more, &["sh", "-c", "echo here I am; exec sleep 1000"])
}

#[test]
fn leadership_moves_both_ways_and_no_service_rolls() {
    let Some(mut mixed) = Mixed::one_of(2) else { return };
    // The second Skep joins last: a leader that is demoted hands over to whom it heard longest, here the engine.
    mixed.join("manager").expect();
    mixed.wait_managers(1, &["h1", "h3"]);
    mixed.swarm.join(2, "manager");
    mixed.wait_managers(1, &["h1", "h2", "h3"]);
    mixed.docker(1, &talkative()).expect();
    mixed.swarm.wait_running(1, "web", 6);
    let before = facts(&mixed, 1, "web");

    // From Skep to Docker in good order.
    mixed.docker(1, &["node", "demote", "h1"]).expect();
    mixed.wait_leader(2, &["h3"]);
    mixed.wait_worker(1);
    assert_eq!(facts(&mixed, 2, "web"), before, "from a Skep follower of a Docker leader");
    assert_eq!(facts(&mixed, 3, "web"), before, "from the Docker leader");
    mixed.docker(2, &create("late", &["--mode", "global"], &["sleep", "1000"])).expect();
    mixed.swarm.wait_running(2, "late", 3);
    for asked in [2, 3] {
        wait_until("the logs of all tasks", || {
            let said = mixed.docker(asked, &["service", "logs", "web"]);
            if said.out.matches("here I am").count() == 6 { Ok(()) } else { Err(format!("{}{}", said.out, said.err)) }
        });
    }
    mixed.docker(2, &["node", "promote", "h1"]).expect();
    mixed.wait_managers(2, &["h1", "h2", "h3"]);

    // The Docker leader dies.
    mixed.engine.kill(&mixed.swarm, 3);
    mixed.wait_leader(2, &["h1", "h2"]);
    mixed.docker(1, &["service", "update", "--detach", "--label-add", "seen=1", "late"]).expect();
    mixed.engine = Engine::start(&mixed.swarm, 3);
    mixed.wait_managers(3, &["h1", "h2", "h3"]);
    assert_eq!(facts(&mixed, 3, "web").inspected, before.inspected);
    mixed.docker(3, &["service", "rm", "late"]).expect();

    // The Skep leader dies.
    let (killed, other, name) = if mixed.wait_leader(3, &["h1", "h2"]) == "h1" { (1, 2, "h2") } else { (2, 1, "h1") };
    mixed.swarm.kill_daemon(killed);
    mixed.wait_leader(other, &[name, "h3"]);
    for asked in [other, 3] {
        let label = format!("seen={asked}");
        mixed.docker(asked, &["service", "update", "--detach", "--label-add", &label, "web"]).expect();
    }
    mixed.swarm.start_daemon(killed);
    mixed.wait_managers(3, &["h1", "h2", "h3"]);

    mixed.docker(other, &["node", "demote", "h3"]).expect();
    mixed.wait_worker(3);
    mixed.wait_pace(other, false);
}

/// One request to a daemon's socket, for settings that the CLI has no words for.
fn ask(mixed: &Mixed, number: usize, method: &str, path: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(mixed.swarm.socket(number)).expect("the daemon's socket");
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all((head + body).as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.lines().next().is_some_and(|line| line.contains(" 200 ")), "{answer}");
    body.to_owned()
}

/// Few entries are kept beside snapshots, so that who joins needs one.
fn keep_short_logs(mixed: &Mixed) {
    let swarm: serde_json::Value = serde_json::from_str(&ask(mixed, 1, "GET", "/v1.41/swarm", "")).expect("JSON");
    let mut spec = swarm["Spec"].clone();
    spec["Raft"]["SnapshotInterval"] = 5.into();
    spec["Raft"]["LogEntriesForSlowFollowers"] = 2.into();
    let path = format!("/v1.41/swarm/update?version={}", swarm["Version"]["Index"]);
    ask(mixed, 1, "POST", &path, &spec.to_string());
}

#[test]
fn snapshots_of_many_pieces_travel_both_ways() {
    let Some(mixed) = Mixed::one_of(1) else { return };
    keep_short_logs(&mixed);
    let data = "0123456789abcdef".repeat(900 * 1024 / 16);
    let file = mixed.swarm.lab.directory().join("data").display().to_string();
    std::fs::write(&file, &data).expect("a file");
    let names: Vec<String> = (1..=10).map(|number| format!("data{number:02}")).collect();
    for name in &names {
        mixed.docker(1, &["config", "create", name, &file]).expect();
    }
    let configs = |asked: usize| {
        let said = mixed.docker(asked, &["config", "ls", "--format", "{{.Name}}"]).out;
        let mut found: Vec<String> = said.lines().map(str::to_owned).collect();
        found.sort();
        found
    };
    let whole = |asked: usize| {
        let said =
            mixed.docker(asked, &["config", "inspect", "--format", "{{printf \"%s\" .Spec.Data}}", "data07"]).out;
        said.trim_end() == data
    };

    // Nine megabytes from Skep to Docker, which then has them alone.
    mixed.join("manager").expect();
    mixed.wait_managers(1, &["h1", "h2"]);
    mixed.docker(1, &["node", "demote", "h1"]).expect();
    mixed.wait_leader(2, &["h2"]);
    mixed.wait_worker(1);
    assert_eq!(configs(2), names);
    assert!(whole(2), "the same bytes on the engine");

    // And back.
    mixed.docker(2, &["node", "promote", "h1"]).expect();
    mixed.wait_managers(2, &["h1", "h2"]);
    mixed.docker(2, &["node", "demote", "h2"]).expect();
    mixed.wait_leader(1, &["h1"]);
    mixed.wait_worker(2);
    assert_eq!(configs(1), names);
    assert!(whole(1), "the same bytes on the Skep");
    mixed.wait_pace(1, false);
}
