//! Lists of tasks at followers, which read their own facts: they are the leader's, or say that they may not be.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Swarm, wait_until};

/// Nothing that is asked here may take so long.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// A service whose tasks are there and run nowhere.
const NOWHERE: &[&str] = &["--constraint", "node.labels.nowhere==yes"];

/// What a list of tasks said.
struct List {
    status: String,
    stale: bool,
    /// Ids, where it was no refusal.
    tasks: Vec<String>,
}

fn list(swarm: &Swarm, number: usize) -> List {
    let mut stream = UnixStream::connect(swarm.socket(number)).expect("the daemon's socket");
    stream.set_read_timeout(Some(SILENCE_MAX)).expect("a timeout");
    stream.write_all(b"GET /v1.41/tasks HTTP/1.0\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let body: Value = serde_json::from_str(body).expect("JSON");
    let ids = body.as_array().into_iter().flatten().filter_map(|task| task["ID"].as_str());
    List {
        status: head.split_whitespace().nth(1).unwrap_or_default().to_owned(),
        stale: head.to_ascii_lowercase().contains("skep-stale: true"),
        tasks: ids.map(str::to_owned).collect(),
    }
}

/// Scales the service, and waits until the leader shows so many tasks.
fn scale(swarm: &Swarm, count: usize) -> Vec<String> {
    swarm.docker(1, &["service", "scale", "--detach", &format!("web={count}")]).expect();
    let mut shown = Vec::new();
    wait_until("the leader's tasks", || {
        shown = list(swarm, 1).tasks;
        if shown.len() == count { Ok(()) } else { Err(format!("{}", shown.len())) }
    });
    shown
}

#[test]
fn what_the_leader_has_shown_every_follower_shows() {
    let Some(swarm) = Swarm::formed(3, 0) else { return };
    swarm.create_service("web", &[NOWHERE, &["--replicas", "0"]].concat(), &[]).expect();
    // More than are written at once, and fewer again.
    for count in [1, 2, 40, 300, 700, 301, 3, 0, 5] {
        let shown = scale(&swarm, count);
        for follower in 2..=3 {
            let listed = list(&swarm, follower);
            assert_eq!((listed.status.as_str(), listed.stale), ("200", false));
            assert_eq!(listed.tasks, shown, "host {follower}, {count} tasks");
        }
    }
}

#[test]
fn a_follower_that_is_cut_off_calls_nothing_current() {
    let Some(swarm) = Swarm::formed(3, 0) else { return };
    swarm.create_service("web", &[NOWHERE, &["--replicas", "0"]].concat(), &[]).expect();
    let before = scale(&swarm, 3);
    assert_eq!(list(&swarm, 3).tasks, before);
    swarm.host(3).cut_cable().expect("cut");
    let after = scale(&swarm, 7);
    // It asks its leader in vain, then learns that there is none: until then it refuses, from then on it says so.
    wait_until("the follower to say that it may be out of date", || {
        let listed = list(&swarm, 3);
        match (listed.status.as_str(), listed.stale) {
            ("200", true) => {
                assert_eq!(listed.tasks, before, "it shows what it has");
                Ok(())
            }
            ("200", false) => panic!("{} tasks are called current, and are not", listed.tasks.len()),
            (status, _) => Err(status.to_owned()),
        }
    });
    swarm.host(3).plug_cable().expect("plugged");
    wait_until("the follower to be current again", || {
        let listed = list(&swarm, 3);
        match (listed.status.as_str(), listed.stale) {
            ("200", false) => {
                assert_eq!(listed.tasks, after);
                Ok(())
            }
            (status, stale) => Err(format!("{status} {stale}")),
        }
    });
}
