//! What keeps a swarm in order by itself: nodes that die or are removed, keys that are replaced, disks that fill up,
//! daemons that are stopped or were killed half-way.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{Swarm, wait_for, wait_until};

#[test]
fn a_worker_whose_connection_is_reset_is_down_long_before_its_heartbeats_are_missed() {
    let Some(mut swarm) = Swarm::start(2) else { return };
    let address = swarm.address(1);
    // By heartbeats it would be missed after three minutes, longer than this test waits.
    swarm.docker(1, &["swarm", "init", "--dispatcher-heartbeat", "60s", "--advertise-addr", &address]).expect();
    swarm.join(2, "worker");
    wait_until("the worker to be ready", || states(&swarm, "h2 Ready"));
    // It introduces itself right after it registered.
    std::thread::sleep(std::time::Duration::from_secs(1));
    swarm.kill_daemon(2);
    wait_until("the worker to be down", || states(&swarm, "h2 Down"));
    swarm.start_daemon(2);
    wait_until("the worker to be back", || states(&swarm, "h2 Ready"));
}

#[test]
fn a_node_that_was_removed_says_so() {
    let Some(swarm) = Swarm::formed(1, 1) else { return };
    wait_until("the worker to be ready", || states(&swarm, "h2 Ready"));
    swarm.docker(1, &["node", "rm", "--force", "h2"]).expect();
    wait_until("the removed node to tell", || {
        let error = swarm.docker(2, &["info", "--format", "{{.Swarm.Error}}"]).out;
        if error.contains("was removed from swarm") && error.contains("leave") { Ok(()) } else { Err(error) }
    });
    swarm.docker(2, &["swarm", "leave", "--force"]).expect();
    swarm.join(2, "worker");
    wait_until("it to be back", || states(&swarm, "h2 Ready"));
    assert_eq!(swarm.docker(2, &["info", "--format", "{{.Swarm.Error}}"]).expect(), "");
}

#[test]
fn locking_replaces_the_key_that_lay_in_the_clear() {
    let Some(mut swarm) = Swarm::start(1) else { return };
    swarm.init();
    swarm.docker(1, &["config", "create", "before", "/etc/hostname"]).expect();
    let path = swarm.host(1).directory().join("data/swarm/certificates/swarm-node.key");
    let clear = header(&path, "raft-dek").expect("the log's key");
    swarm.docker(1, &["swarm", "update", "--autolock=true"]).expect();
    wait_until("the key file to be locked and the log to be under another key", || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let settled = !text.contains("pending") && !text.contains("needs-rotation");
        if text.contains("ENCRYPTED") && settled && !text.contains(&clear) { Ok(()) } else { Err(text) }
    });
    let key = swarm.docker(1, &["swarm", "unlock-key", "-q"]).expect();
    swarm.docker(1, &["config", "create", "after", "/etc/hostname"]).expect();
    swarm.kill_daemon(1);
    swarm.start_daemon(1);
    wait_until("the manager to be locked", || {
        let state = swarm.docker(1, &["info", "--format", "{{.Swarm.LocalNodeState}}"]).out;
        if state.trim() == "locked" { Ok(()) } else { Err(state) }
    });
    let script = format!("printf '%s\\n' '{key}' | docker -H unix://{} swarm unlock", swarm.socket(1).display());
    assert!(Command::new("sh").args(["-c", &script]).status().expect("sh").success());
    wait_for("the manager to lead again", || swarm.leader(1).as_deref() == Some("h1"));
    assert_eq!(swarm.docker(1, &["config", "ls", "-q"]).expect().lines().count(), 2);
}

#[test]
fn a_leader_that_is_stopped_hands_over_and_ends_though_clients_still_listen() {
    let Some(mut swarm) = Swarm::formed(3, 0) else { return };
    wait_for("a leader", || swarm.leader(2).as_deref() == Some("h1"));
    let mut events = listen(&swarm, &["events"]);
    let mut dial = listen(&swarm, &["system", "dial-stdio"]);
    assert_eq!(swarm.stop_daemon(1), Some(0));
    events.wait().expect("the client ends");
    dial.kill().expect("kill");
    dial.wait().expect("the client ends");
    // A write that is asked while leadership moves may be refused, and may be repeated.
    wait_until("a write to be taken", || {
        let said = swarm.docker(2, &["config", "create", "after", "/etc/hostname"]);
        if said.ok || said.err.contains("already exists") { Ok(()) } else { Err(said.err) }
    });
    assert!(swarm.leader(3).is_some_and(|leader| leader != "h1"));
    swarm.start_daemon(1);
    wait_until("all managers to be reachable", || {
        let list = swarm.docker(1, &["node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.ManagerStatus}}"]).out;
        let fine = list.lines().filter(|line| line.ends_with("Ready Reachable") || line.ends_with("Ready Leader"));
        if fine.count() == 3 { Ok(()) } else { Err(list) }
    });
}

#[test]
fn a_full_disk_refuses_writes_answers_reads_and_lets_the_daemon_end() {
    let Some(mut swarm) = Swarm::start(0) else { return };
    let number = swarm.add_bare_host();
    let data = swarm.host(number).directory().join("data");
    std::fs::create_dir_all(&data).expect("a directory");
    assert!(run_on(&swarm, &format!("mount -t tmpfs -o size=24m tmpfs {}", data.display())));
    swarm.start_daemon(number);
    swarm.init();
    swarm.docker(1, &["config", "create", "before", "/etc/hostname"]).expect();
    let filler = data.join("filler").display().to_string();
    // Takes all the room there is, and so fails.
    assert!(!run_on(&swarm, &format!("cat /dev/zero > {filler} 2>/dev/null")));
    wait_until("writes to be refused", || {
        // Some fit into what the log's file has left.
        let said = Command::new("timeout")
            .args(["20", "docker", "-H"])
            .arg(format!("unix://{}", swarm.socket(1).display()))
            .args(["secret", "create", "large", "-"])
            .stdin(std::fs::File::open(large(&swarm)).expect("a file"))
            .output()
            .expect("docker");
        let error = String::from_utf8_lossy(&said.stderr).into_owned();
        let gone = swarm.docker(1, &["secret", "rm", "large"]);
        if error.contains("cannot be written") || gone.err.contains("disk") { Ok(()) } else { Err(error + &gone.err) }
    });
    assert_eq!(swarm.docker(1, &["config", "ls", "--format", "{{.Name}}"]).expect(), "before");
    assert_eq!(swarm.stop_daemon(1), Some(0));
    assert!(run_on(&swarm, &format!("rm {filler}")));
    swarm.start_daemon(1);
    wait_until("writes to work again", || {
        let said = swarm.docker(1, &["config", "create", "after", "/etc/hostname"]);
        if said.ok { Ok(()) } else { Err(said.err) }
    });
    assert_eq!(swarm.docker(1, &["config", "ls", "-q"]).expect().lines().count(), 2);
}

#[test]
fn a_daemon_killed_before_its_swarm_existed_is_in_none() {
    let Some(mut swarm) = Swarm::start(1) else { return };
    swarm.init();
    swarm.kill_daemon(1);
    // As it would have been left between the certificate and the log: where the daemon really dies is a matter of luck.
    let state = swarm.host(1).directory().join("data/swarm");
    std::fs::remove_dir_all(state.join("raft")).expect("the log");
    std::fs::write(state.join("beginning"), []).expect("a mark");
    swarm.start_daemon(1);
    assert_eq!(swarm.docker(1, &["info", "--format", "{{.Swarm.LocalNodeState}}"]).expect(), "inactive");
    swarm.init();
}

fn states(swarm: &Swarm, wanted: &str) -> Result<(), String> {
    let list = swarm.docker(1, &["node", "ls", "--format", "{{.Hostname}} {{.Status}}"]).out;
    if list.lines().any(|line| line == wanted) { Ok(()) } else { Err(list) }
}

fn header(path: &Path, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned))
}

fn listen(swarm: &Swarm, words: &[&str]) -> Child {
    Command::new("docker")
        .arg("-H")
        .arg(format!("unix://{}", swarm.socket(1).display()))
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("docker")
}

fn large(swarm: &Swarm) -> std::path::PathBuf {
    let path = swarm.lab.directory().join("large");
    std::fs::write(&path, vec![7u8; 400 * 1024]).expect("a file");
    path
}

/// A shell's script on host 1; whether it succeeded.
fn run_on(swarm: &Swarm, script: &str) -> bool {
    swarm.host(1).command("sh").arg("-c").arg(script).status().expect("sh").success()
}
