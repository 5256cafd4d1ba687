//! Losing the leader, the quorum, hosts; and coming back.

use crate::support::{Swarm, wait_for, wait_until};

#[test]
fn another_manager_leads_when_the_leader_dies() {
    let Some(mut swarm) = Swarm::formed(3, 0) else { return };
    wait_for("a leader", || swarm.leader(2).as_deref() == Some("h1"));
    swarm.kill_daemon(1);
    wait_until("another leader", || match swarm.leader(2) {
        Some(leader) if leader != "h1" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    swarm.docker(2, &["config", "create", "after", "/etc/hostname"]).expect();
    swarm.docker(3, &["config", "inspect", "after"]).expect();
    swarm.start_daemon(1);
    wait_until("the old leader to follow", || {
        let said = swarm.docker(1, &["config", "ls", "--format", "{{.Name}}"]);
        if said.out.trim() == "after" { Ok(()) } else { Err(said.err) }
    });
    assert_ne!(swarm.leader(1).as_deref(), Some("h1"));
}

#[test]
fn without_a_quorum_reads_are_stale_writes_are_refused_and_nothing_is_lost() {
    let Some(mut swarm) = Swarm::formed(3, 0) else { return };
    swarm.docker(1, &["config", "create", "before", "/etc/hostname"]).expect();
    swarm.kill_daemon(2);
    swarm.kill_daemon(3);
    let refusal = wait_refusal(&swarm);
    assert!(refusal.contains("The swarm does not have a leader"), "{refusal}");
    let list = swarm.docker(1, &["config", "ls", "--format", "{{.Name}}"]).expect();
    assert_eq!(list, "before");
    // By its name, too. What is not found here may exist all the same.
    assert_eq!(swarm.docker(1, &["config", "inspect", "--format", "{{.Spec.Name}}", "before"]).expect(), "before");
    let unknown = swarm.docker(1, &["config", "inspect", "after"]);
    assert!(!unknown.ok && unknown.err.contains("does not have a leader"), "{}", unknown.err);
    let removal = swarm.docker(1, &["config", "rm", "before"]);
    assert!(!removal.ok && removal.err.contains("does not have a leader"), "{}", removal.err);
    let warnings = swarm.docker(1, &["info", "--format", "{{json .Warnings}} {{json .Swarm.Warnings}}"]).expect();
    assert!(warnings.contains("stale") || warnings.contains("out of date"), "{warnings}");
    swarm.start_daemon(2);
    wait_until("writes to work again", || {
        let said = swarm.docker(1, &["config", "create", "after", "/etc/hostname"]);
        if said.ok { Ok(()) } else { Err(said.err) }
    });
    let mut names: Vec<String> =
        swarm.docker(2, &["config", "ls", "--format", "{{.Name}}"]).expect().lines().map(str::to_owned).collect();
    names.sort();
    // What was refused without a quorum may have been proposed before it was lost, and so come true.
    names.retain(|name| name != "lost");
    assert_eq!(names, ["after", "before"]);
}

#[test]
fn a_survivor_recovers_the_swarm_from_lost_managers() {
    let Some(mut swarm) = Swarm::formed(3, 1) else { return };
    swarm.docker(1, &["config", "create", "kept", "/etc/hostname"]).expect();
    swarm.kill_daemon(1);
    swarm.kill_daemon(3);
    let address = swarm.address(2);
    swarm.docker(2, &["swarm", "init", "--force-new-cluster", "--advertise-addr", &address]).expect();
    wait_for("the survivor to lead", || swarm.leader(2).as_deref() == Some("h2"));
    assert_eq!(swarm.docker(2, &["config", "ls", "--format", "{{.Name}}"]).expect(), "kept");
    let nodes = swarm.docker(2, &["node", "ls", "-q"]).expect();
    assert_eq!(nodes.lines().count(), 4);
    wait_until("the worker to find the survivor", || {
        let list = swarm.docker(2, &["node", "ls", "--format", "{{.Hostname}} {{.Status}}"]).out;
        if list.contains("h4 Ready") { Ok(()) } else { Err(list) }
    });
    swarm.docker(2, &["config", "create", "more", "/etc/hostname"]).expect();
}

#[test]
fn a_locked_manager_asks_for_its_key_after_a_restart() {
    let Some(mut swarm) = Swarm::start(1) else { return };
    let address = swarm.address(1);
    let said = swarm.docker(1, &["swarm", "init", "--autolock", "--advertise-addr", &address]).expect();
    let key = said.split_whitespace().find(|word| word.starts_with("SWMKEY-1-")).expect("a key").to_owned();
    assert_eq!(swarm.docker(1, &["swarm", "unlock-key", "-q"]).expect(), key);
    assert_eq!(swarm.stop_daemon(1), Some(0));
    swarm.start_daemon(1);
    assert_eq!(swarm.docker(1, &["info", "--format", "{{.Swarm.LocalNodeState}}"]).expect(), "locked");
    let refusal = swarm.docker(1, &["node", "ls"]).expect_failure();
    assert!(refusal.contains("Swarm is encrypted and needs to be unlocked"), "{refusal}");
    let socket = format!("unix://{}", swarm.socket(1).display());
    let unlock = |key: &str| {
        let script = format!("printf '%s\\n' '{key}' | docker -H {socket} swarm unlock");
        std::process::Command::new("sh").args(["-c", &script]).output().expect("sh")
    };
    let wrong = unlock("SWMKEY-1-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    assert!(!wrong.status.success());
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("invalid key provided"), "{wrong:?}");
    assert!(unlock(&key).status.success());
    wait_for("the manager to lead again", || swarm.leader(1).as_deref() == Some("h1"));
}

#[test]
fn a_second_manager_that_dies_while_it_joins_stops_nothing() {
    let Some(mut swarm) = Swarm::start(2) else { return };
    swarm.init();
    let token = swarm.docker(1, &["swarm", "join-token", "-q", "manager"]).expect();
    let address = format!("{}:2377", swarm.address(1));
    let log = swarm.host(2).directory().join("data/swarm/raft");
    let mut client = std::process::Command::new("docker")
        .arg("-H")
        .arg(format!("unix://{}", swarm.socket(2).display()))
        .args(["swarm", "join", "--token", &token, &address])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("docker is installed");
    wait_for("the join to be under way", || log.exists() || !matches!(client.try_wait(), Ok(None)));
    swarm.kill_daemon(2);
    client.wait().expect("the client ends");
    if swarm.docker(1, &["node", "ls", "--format", "{{.ManagerStatus}}"]).out.contains("Reachable") {
        // It was quicker: two managers that count.
        return;
    }
    swarm.docker(1, &["config", "create", "goes-on", "/etc/hostname"]).expect();
    swarm.start_daemon(2);
    wait_until("the second manager to count or to be gone", || {
        let state = swarm.docker(2, &["info", "--format", "{{.Swarm.LocalNodeState}}"]).out;
        let list = swarm.docker(1, &["node", "ls", "--format", "{{.ManagerStatus}}"]).out;
        let counts = list.contains("Reachable");
        if counts || state.trim() == "inactive" { Ok(()) } else { Err(format!("{state}{list}")) }
    });
}

#[test]
fn a_manager_that_lost_its_log_comes_back_as_another_member() {
    let Some(mut swarm) = Swarm::formed(3, 0) else { return };
    let before = swarm_member(&swarm);
    swarm.kill_daemon(3);
    std::fs::remove_dir_all(swarm.host(3).directory().join("data/swarm/raft")).expect("its log");
    swarm.start_daemon(3);
    // Asked of h3 itself: it answers only once it is a member again. The others may take its old place for reachable
    // still, for they hear of that within an election timeout.
    wait_until("h3 to count again", || {
        let said = swarm.docker(3, &["node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}"]);
        let counts = said.out.contains("h3 Reachable") && swarm_member(&swarm) != before;
        if counts { Ok(()) } else { Err(said.out + &said.err) }
    });
    // It counts: one of the others may go.
    swarm.kill_daemon(2);
    wait_until("writes by h1 and h3", || {
        let said = swarm.docker(3, &["config", "create", "both", "/etc/hostname"]);
        if said.ok || said.err.contains("already exists") { Ok(()) } else { Err(said.err) }
    });
}

#[test]
fn forcing_a_new_cluster_without_a_swarm_makes_one() {
    let Some(swarm) = Swarm::start(1) else { return };
    let address = swarm.address(1);
    swarm.docker(1, &["swarm", "init", "--force-new-cluster", "--advertise-addr", &address]).expect();
    wait_for("the manager to lead", || swarm.leader(1).as_deref() == Some("h1"));
}

#[test]
fn demoting_the_leader_refuses_no_write() {
    let Some(swarm) = Swarm::formed(3, 0) else { return };
    wait_for("three managers", || {
        swarm.docker(1, &["node", "ls", "--format", "{{.ManagerStatus}}"]).out.matches("Reachable").count() == 2
    });
    assert_eq!(swarm.leader(2).as_deref(), Some("h1"));
    let done = std::sync::atomic::AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut names = Vec::new();
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let name = format!("c{}", names.len());
                swarm.docker(2, &["config", "create", &name, "/etc/hostname"]).expect();
                names.push(name);
            }
            names
        });
        swarm.docker(2, &["node", "demote", "h1"]).expect();
        wait_for("another leader", || swarm.leader(2).is_some_and(|leader| leader != "h1"));
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().expect("the writer")
    });
    let names = swarm.docker(2, &["config", "ls", "--format", "{{.Name}}"]).expect();
    assert!(written.iter().all(|name| names.lines().any(|line| line == name)), "{names}");
}

/// The place of h3 in the quorum, as its own file says it: the log is sealed, its time of making is not.
fn swarm_member(swarm: &Swarm) -> Option<std::time::SystemTime> {
    let log = swarm.host(3).directory().join("data/swarm/raft/raft.db");
    std::fs::metadata(log).and_then(|found| found.created()).ok()
}

fn wait_refusal(swarm: &Swarm) -> String {
    let mut seen = String::new();
    wait_for("writes to be refused", || {
        let said = swarm.docker(1, &["config", "create", "lost", "/etc/hostname"]);
        seen = said.err;
        !said.ok && seen.contains("does not have a leader")
    });
    seen
}

#[test]
fn a_manager_with_many_tasks_comes_back_from_a_snapshot_that_was_made_beside_its_work() {
    const MANY: usize = 2500;
    let Some(mut swarm) = Swarm::start(1) else { return };
    swarm.init();
    swarm.docker(1, &["swarm", "update", "--snapshot-interval", "5"]).expect();
    let nowhere = ["--constraint", "node.labels.nowhere==yes", "--replicas", &MANY.to_string()];
    swarm.create_service("many", &nowhere, &[]).expect();
    let count = |swarm: &Swarm| swarm.docker(1, &["service", "ps", "-q", "many"]).out.lines().count();
    wait_until("all tasks", || match count(&swarm) {
        MANY => Ok(()),
        other => Err(other.to_string()),
    });
    let log = swarm.host(1).directory().join("data/swarm/raft");
    let mut entries = 0;
    wait_until("a snapshot of them", || {
        entries += 1;
        swarm.docker(1, &["config", "create", &format!("c{entries}"), "/etc/hostname"]).expect();
        let files: Vec<String> = std::fs::read_dir(&log)
            .expect("the log's directory")
            .filter_map(|file| file.expect("a file").file_name().into_string().ok())
            .collect();
        // Its name says that it was written before the log took it.
        if files.iter().any(|name| name.ends_with(".1.snap")) { Ok(()) } else { Err(files.join(" ")) }
    });
    for number in 1..=7 {
        swarm.docker(1, &["config", "create", &format!("later{number}"), "/etc/hostname"]).expect();
    }
    swarm.kill_daemon(1);
    swarm.start_daemon(1);
    wait_for("the manager to lead again", || swarm.leader(1).as_deref() == Some("h1"));
    assert_eq!(count(&swarm), MANY);
    let configs = swarm.docker(1, &["config", "ls", "-q"]).expect();
    assert_eq!(configs.lines().count(), entries + 7);
}
