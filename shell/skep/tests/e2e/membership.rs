//! Forming a swarm and changing who belongs to it, as an operator does it with the stock CLI.

use crate::support::{Swarm, wait_for, wait_until};

#[test]
fn info_names_the_node_that_a_change_of_root_waits_for() {
    let Some(mut swarm) = Swarm::formed(1, 2) else { return };
    let node =
        |swarm: &Swarm, name: &str, format: &str| swarm.docker(1, &["node", "inspect", "--format", format, name]).out;
    let wait_state = |swarm: &Swarm, name: &str, state: &str| {
        wait_until(&format!("{name} to be {state}"), || {
            let seen = node(swarm, name, "{{.Status.State}}");
            if seen.trim() == state { Ok(()) } else { Err(seen) }
        });
    };
    ["h2", "h3"].into_iter().for_each(|name| wait_state(&swarm, name, "ready"));
    // The first change waits for h2, which is off; h3 has its new certificate, and does not hear of the end.
    swarm.kill_daemon(2);
    wait_state(&swarm, "h2", "down");
    let issuer = "{{.Description.TLSInfo.CertIssuerPublicKey}}";
    let before = node(&swarm, "h3", issuer);
    let root = swarm.docker(1, &["swarm", "ca"]).expect();
    swarm.docker(1, &["swarm", "ca", "--rotate", "--detach"]).expect();
    wait_until("h3 to have another certificate", || {
        let seen = node(&swarm, "h3", issuer);
        if !seen.is_empty() && seen != before { Ok(()) } else { Err(seen) }
    });
    let named = |swarm: &Swarm, name: &str, why: &str| {
        wait_until(&format!("info to name {name}"), || {
            let seen = swarm.docker(1, &["info", "--format", "{{json .Warnings}}"]).out;
            let text = format!("the change of the swarm's root waits for node {name} (");
            if seen.contains(&text) && seen.contains(why) { Ok(()) } else { Err(seen) }
        });
    };
    named(&swarm, "h2", "which is down and has no certificate of the new root");
    swarm.kill_daemon(3);
    wait_state(&swarm, "h3", "down");
    swarm.docker(1, &["node", "rm", "h2"]).expect();
    let present = wait_until("the other root", || {
        let seen = swarm.docker(1, &["swarm", "ca"]).out.trim().to_owned();
        if !seen.is_empty() && seen != root { Ok(seen) } else { Err(seen) }
    });

    swarm.docker(1, &["swarm", "ca", "--rotate", "--detach"]).expect();
    named(&swarm, "h3", "which did not hear of the end of the last one");
    assert_eq!(swarm.docker(1, &["swarm", "ca"]).expect(), present);
    swarm.start_daemon(3);
    wait_until("the next root", || {
        let seen = swarm.docker(1, &["swarm", "ca"]).out.trim().to_owned();
        if !seen.is_empty() && seen != present { Ok(()) } else { Err(seen) }
    });
    let seen = swarm.docker(1, &["info", "--format", "{{json .Warnings}}"]).out;
    assert!(!seen.contains("waits for"), "{seen}");
}

#[test]
fn before_init_the_node_is_inactive_and_says_what_to_do() {
    let Some(swarm) = Swarm::start(1) else { return };
    let info = swarm.docker(1, &["info", "--format", "{{.Swarm.LocalNodeState}}"]).expect();
    assert_eq!(info, "inactive");
    let refusal = swarm.docker(1, &["node", "ls"]).expect_failure();
    assert!(
        refusal.contains(
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node \
             to swarm and try again."
        ),
        "{refusal}"
    );
    let refusal = swarm.docker(1, &["swarm", "leave"]).expect_failure();
    assert!(refusal.contains("This node is not part of a swarm"), "{refusal}");
}

#[test]
fn init_prints_the_words_that_operators_know() {
    let Some(swarm) = Swarm::start(1) else { return };
    let address = swarm.address(1);
    let said = swarm.docker(1, &["swarm", "init", "--advertise-addr", "eth0"]).expect();
    assert!(said.starts_with("Swarm initialized: current node ("), "{said}");
    assert!(said.contains("docker swarm join --token SWMTKN-1-"), "{said}");
    assert!(said.contains(&format!("{address}:2377")), "{said}");
    assert!(said.contains("docker swarm join-token manager"), "{said}");
    let refusal = swarm.docker(1, &["swarm", "init"]).expect_failure();
    assert!(refusal.contains("This node is already part of a swarm"), "{refusal}");
    let node = swarm.docker(1, &["node", "ls", "--format", "{{.Self}} {{.Hostname}} {{.Status}} {{.Availability}} {{.ManagerStatus}} {{.EngineVersion}} {{.TLSStatus}}"]).expect();
    wait_until("a node that is ready", || {
        let node = swarm
            .docker(1, &["node", "ls", "--format", "{{.Self}} {{.Hostname}} {{.Status}} {{.Availability}} {{.ManagerStatus}} {{.EngineVersion}} {{.TLSStatus}}"])
            .out;
        let wanted = format!("true h1 Ready Active Leader {} Ready", env!("CARGO_PKG_VERSION"));
        if node.trim() == wanted { Ok(()) } else { Err(node) }
    });
    assert!(node.contains("h1") || node.contains("Leader"), "{node}");
}

#[test]
fn what_cannot_join_is_told_why_and_stays_inactive() {
    let Some(swarm) = Swarm::start(2) else { return };
    swarm.init();
    let address = format!("{}:2377", swarm.address(1));
    let token = swarm.docker(1, &["swarm", "join-token", "-q", "worker"]).expect();
    let (head, secret) = token.rsplit_once('-').unwrap();
    let wrong_secret = format!("{head}-{}", "0".repeat(secret.len()));
    let refusal = swarm.docker(2, &["swarm", "join", "--token", &wrong_secret, &address]).expect_failure();
    assert!(refusal.contains("A valid join token is necessary to join this cluster"), "{refusal}");

    let wrong_digest = format!("SWMTKN-1-{}-{secret}", "1".repeat(50));
    let refusal = swarm.docker(2, &["swarm", "join", "--token", &wrong_digest, &address]).expect_failure();
    assert!(refusal.contains("remote CA does not match fingerprint"), "{refusal}");

    let refusal = swarm.docker(2, &["swarm", "join", "--token", "nonsense", &address]).expect_failure();
    assert!(refusal.contains("invalid join token"), "{refusal}");

    let nobody = format!("{}:2399", swarm.address(1));
    let refusal = swarm.docker(2, &["swarm", "join", "--token", &token, &nobody]).expect_failure();
    assert!(refusal.contains(&nobody), "{refusal}");

    assert_eq!(swarm.docker(2, &["info", "--format", "{{.Swarm.LocalNodeState}}"]).expect(), "inactive");
    assert_eq!(swarm.docker(1, &["node", "ls", "-q"]).expect().lines().count(), 1);

    swarm.docker(2, &["swarm", "join", "--token", &token, &address]).expect();
    let refusal = swarm.docker(2, &["swarm", "join", "--token", &token, &address]).expect_failure();
    assert!(refusal.contains("This node is already part of a swarm"), "{refusal}");
    let refusal = swarm.docker(2, &["node", "ls"]).expect_failure();
    assert!(refusal.contains("Worker nodes can't be used to view or modify cluster state"), "{refusal}");
}

#[test]
fn a_rotated_token_refuses_newcomers_and_members_stay() {
    let Some(swarm) = Swarm::start(3) else { return };
    swarm.init();
    swarm.join(2, "worker");
    let old = swarm.docker(1, &["swarm", "join-token", "-q", "worker"]).expect();
    let new = swarm.docker(1, &["swarm", "join-token", "--rotate", "-q", "worker"]).expect();
    assert_ne!(old, new);
    let address = format!("{}:2377", swarm.address(1));
    let refusal = swarm.docker(3, &["swarm", "join", "--token", &old, &address]).expect_failure();
    assert!(refusal.contains("A valid join token is necessary"), "{refusal}");
    swarm.docker(3, &["swarm", "join", "--token", &new, &address]).expect();
    all_ready(&swarm, 1, 3);
}

#[test]
fn nodes_leave_and_are_removed() {
    let Some(swarm) = Swarm::formed(1, 3) else { return };
    all_ready(&swarm, 1, 4);
    let refusal = swarm.docker(1, &["node", "rm", "h2"]).expect_failure();
    assert!(refusal.contains("is not down and can't be removed"), "{refusal}");
    swarm.docker(2, &["swarm", "leave"]).expect();
    // In good order: Down at once, not after missed heartbeats.
    let state = swarm.docker(1, &["node", "inspect", "h2", "--format", "{{.Status.State}}"]).expect();
    assert_eq!(state, "down");
    swarm.docker(1, &["node", "rm", "h2"]).expect();
    assert_eq!(swarm.docker(1, &["node", "ls", "-q"]).expect().lines().count(), 3);

    swarm.skep(3, &["swarm", "leave", "--remove"]).expect();
    wait_for("h3 to be off the list", || swarm.docker(1, &["node", "ls", "-q"]).out.lines().count() == 2);
    // The swarm's label asks for the same of every node, whatever its client.
    swarm.skep(1, &["swarm", "update", "--label-add", "skep.leave=remove"]).expect();
    swarm.join(2, "worker");
    all_ready(&swarm, 1, 3);
    swarm.docker(2, &["swarm", "leave"]).expect();
    wait_for("h2 to be off the list", || swarm.docker(1, &["node", "ls", "-q"]).out.lines().count() == 2);
    swarm.skep(1, &["swarm", "update", "--label-rm", "skep.leave"]).expect();
    let refusal = swarm.skep(1, &["swarm", "update", "--label-rm", "skep.leave"]).expect_failure();
    assert_eq!(refusal, "key skep.leave doesn't exist in swarm's labels");

    swarm.docker(1, &["node", "rm", "--force", "h4"]).expect();
    assert_eq!(swarm.docker(1, &["node", "ls", "-q"]).expect().lines().count(), 1);

    let refusal = swarm.docker(1, &["swarm", "leave"]).expect_failure();
    assert!(refusal.contains("Removing the last manager erases all current state of the swarm"), "{refusal}");
    swarm.docker(1, &["swarm", "leave", "--force"]).expect();
    assert_eq!(swarm.docker(1, &["info", "--format", "{{.Swarm.LocalNodeState}}"]).expect(), "inactive");
}

#[test]
fn roles_change_and_the_quorum_stays() {
    let Some(swarm) = Swarm::formed(3, 1) else { return };
    all_ready(&swarm, 1, 4);
    let refusal = swarm.docker(1, &["node", "rm", "h2"]).expect_failure();
    assert!(refusal.contains("must be demoted to worker before removal"), "{refusal}");

    swarm.docker(1, &["node", "promote", "h4"]).expect();
    wait_manager(&swarm, 1, "h4", "Reachable");
    wait_for("h4 to answer as a manager", || swarm.docker(4, &["node", "ls"]).ok);

    swarm.docker(1, &["node", "demote", "h4"]).expect();
    wait_manager(&swarm, 1, "h4", "");
    swarm.docker(1, &["node", "demote", "h3"]).expect();
    wait_manager(&swarm, 1, "h3", "");

    // The leader itself: leadership is handed over first.
    assert_eq!(swarm.leader(1).as_deref(), Some("h1"));
    swarm.docker(1, &["node", "demote", "h1"]).expect();
    wait_manager(&swarm, 2, "h2", "Leader");
    wait_manager(&swarm, 2, "h1", "");
    let refusal = swarm.docker(2, &["node", "demote", "h2"]).expect_failure();
    assert!(refusal.contains("attempting to demote the last manager of the swarm"), "{refusal}");
    all_ready(&swarm, 2, 4);
}

/// h4 joined and h2 went while h3 was away. When the leader is lost, h3 and h4 are two of three managers, and h3 has never
/// heard of h4.
#[test]
fn managers_that_never_met_are_a_quorum() {
    let Some(mut swarm) = Swarm::start(4) else { return };
    swarm.init();
    swarm.join(2, "manager");
    swarm.join(3, "manager");
    wait_manager(&swarm, 1, "h3", "Reachable");
    swarm.kill_daemon(3);
    swarm.join(4, "manager");
    wait_manager(&swarm, 1, "h4", "Reachable");
    swarm.docker(1, &["node", "demote", "h2"]).expect();
    wait_manager(&swarm, 1, "h2", "");
    assert_eq!(swarm.leader(4).as_deref(), Some("h1"));
    swarm.kill_daemon(1);
    swarm.start_daemon(3);
    wait_manager(&swarm, 3, "h4", "Leader");
    swarm.docker(3, &["network", "create", "-d", "overlay", "afterwards"]).expect();
}

/// Leaving by force asks nobody. The others stay on two votes of three only until they can do without the third.
#[test]
fn a_manager_that_left_by_force_is_taken_out_of_the_quorum() {
    let Some(mut swarm) = Swarm::start(3) else { return };
    swarm.init();
    swarm.join(2, "manager");
    swarm.join(3, "manager");
    wait_manager(&swarm, 1, "h3", "Reachable");
    swarm.kill_daemon(3);
    wait_manager(&swarm, 1, "h3", "Unreachable");
    swarm.docker(2, &["swarm", "leave", "--force"]).expect();
    wait_manager(&swarm, 1, "h1", "Reachable");
    let refusal = swarm.docker(1, &["network", "create", "-d", "overlay", "meanwhile"]).expect_failure();
    assert!(refusal.contains("does not have a leader"), "{refusal}");
    swarm.start_daemon(3);
    wait_manager(&swarm, 3, "h2", "");
    let list = swarm.docker(3, &["node", "ls", "--format", "{{.Hostname}} {{.Status}}"]).expect();
    assert!(list.contains("h2 Down"), "{list}");
}

#[test]
fn a_manager_behind_a_router_is_reached_by_its_outer_address() {
    const OUTER: &str = "192.0.2.99";
    let Some(mut swarm) = Swarm::start(3) else { return };
    let run = |number: usize, program: &str, words: &[&str]| {
        let output = swarm.host(number).command(program).args(words).output().expect("it starts");
        assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    // What comes from others is passed on; the host itself has no way to its outer address.
    let inner = swarm.address(1);
    let rule = format!(
        "table ip router {{ chain incoming {{ type nat hook prerouting priority dstnat; \
         ip daddr {OUTER} dnat to {inner}; }}; }}"
    );
    run(1, "nft", &[&rule]);
    for number in [2, 3] {
        run(number, "ip", &["route", "add", OUTER, "via", &inner]);
    }
    swarm.docker(1, &["swarm", "init", "--advertise-addr", OUTER]).expect();
    let address = ["node", "inspect", "self", "--format", "{{.Status.Addr}} {{.ManagerStatus.Addr}}"];
    assert_eq!(swarm.docker(1, &address).expect(), format!("{OUTER} {OUTER}:2377"));
    for (number, role) in [(2, "manager"), (3, "worker")] {
        let token = swarm.docker(1, &["swarm", "join-token", "-q", role]).expect();
        swarm.docker(number, &["swarm", "join", "--token", &token, &format!("{OUTER}:2377")]).expect();
    }
    all_ready(&swarm, 2, 3);
    swarm.kill_daemon(1);
    swarm.start_daemon(1);
    all_ready(&swarm, 1, 3);
    let member = ["node", "inspect", "self", "--format", "{{.ManagerStatus.Addr}}"];
    assert_eq!(swarm.docker(1, &member).expect(), format!("{OUTER}:2377"));
}

#[test]
fn hosts_with_ipv6_alone_form_a_swarm() {
    let Some(mut swarm) = Swarm::start(3) else { return };
    for number in 1..=3 {
        let words = ["address", "add", &format!("fd77::{number}/64"), "dev", "eth0", "nodad"];
        let output = swarm.host(number).command("ip").args(words).output().expect("ip starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    swarm.docker(1, &["swarm", "init", "--advertise-addr", "fd77::1"]).expect();
    for number in [2, 3] {
        // As `join-token` prints it: token and address with its port.
        let command = swarm.docker(1, &["swarm", "join-token", "manager"]).expect();
        let line = command.lines().find(|line| line.contains("swarm join")).expect("a command").trim().to_owned();
        let words: Vec<&str> = line.split(' ').skip(1).collect();
        assert_eq!(words.last(), Some(&"[fd77::1]:2377"));
        swarm.docker(number, &words).expect();
    }
    all_ready(&swarm, 1, 3);
    let address = ["node", "inspect", "self", "--format", "{{.Status.Addr}} {{.ManagerStatus.Addr}}"];
    assert_eq!(swarm.docker(2, &address).expect(), "fd77::2 [fd77::2]:2377");
    swarm.kill_daemon(1);
    wait_for("a leader among the others", || swarm.leader(2).is_some_and(|leader| leader != "h1"));
    swarm.start_daemon(1);
    all_ready(&swarm, 1, 3);
}

#[test]
fn a_new_root_is_taken_by_every_node_and_tokens_name_it() {
    let Some(mut swarm) = Swarm::formed(3, 1) else { return };
    swarm.load_busybox([4]);
    swarm.create_service("web", &["--replicas", "2", "--constraint", "node.role==worker"], &["sleep", "1000"]).expect();
    swarm.wait_running(1, "web", 2);
    let before = swarm.docker(1, &["swarm", "ca"]).expect();
    let token = |swarm: &Swarm| swarm.docker(1, &["swarm", "join-token", "-q", "worker"]).expect();
    let old_token = token(&swarm);
    let trusted = |swarm: &Swarm, node: &str| {
        let words = ["node", "inspect", node, "--format", "{{.Description.TLSInfo.TrustRoot}}"];
        swarm.docker(2, &words).expect()
    };
    // The CLI waits until the change is over.
    swarm.docker(2, &["swarm", "ca", "--rotate", "--quiet"]).expect();
    let after = swarm.docker(1, &["swarm", "ca"]).expect();
    assert_ne!(before, after);
    for node in ["h1", "h2", "h3", "h4"] {
        wait_until(&format!("{node} to trust the new root"), || {
            let root = trusted(&swarm, node);
            if root.trim() == after.trim() { Ok(()) } else { Err(root) }
        });
    }
    assert_eq!(swarm.running(1, "web").len(), 2, "containers are not touched");
    assert_ne!(token(&swarm), old_token);
    // Nodes come back, lead and join under the new root alone.
    for number in [4, 1, 2] {
        swarm.kill_daemon(number);
        swarm.start_daemon(number);
    }
    all_ready(&swarm, 3, 4);
    swarm.docker(4, &["swarm", "leave"]).expect();
    let address = format!("{}:2377", swarm.address(2));
    let refusal = swarm.docker(4, &["swarm", "join", "--token", &old_token, &address]).expect_failure();
    assert!(refusal.contains("remote CA does not match fingerprint"), "{refusal}");
    swarm.docker(4, &["swarm", "join", "--token", &token(&swarm), &address]).expect();
    all_ready(&swarm, 3, 4);
    // And once more: each root vouches for the next. The CLI counts every row, also that of the node that left.
    let rows = swarm.docker(1, &["node", "ls", "--filter", "name=h4", "--format", "{{.ID}} {{.Status}}"]).expect();
    let gone = rows.lines().find_map(|row| row.strip_suffix(" Down")).expect("the row of the node that left");
    swarm.docker(1, &["node", "rm", gone]).expect();
    swarm.docker(1, &["swarm", "ca", "--rotate", "--quiet"]).expect();
    let latest = swarm.docker(1, &["swarm", "ca"]).expect();
    assert_ne!(latest, after);
    wait_until("h4 to trust the latest root", || {
        let root = trusted(&swarm, "h4");
        if root.trim() == latest.trim() { Ok(()) } else { Err(root) }
    });
}

#[test]
fn node_settings_are_kept_and_filtered() {
    let Some(swarm) = Swarm::formed(1, 1) else { return };
    all_ready(&swarm, 1, 2);
    swarm.node_update(1, &["--availability", "drain", "--label-add", "zone=a", "h2"]);
    let line = swarm
        .docker(1, &["node", "ls", "--filter", "node.label=zone=a", "--format", "{{.Hostname}} {{.Availability}}"])
        .expect();
    assert_eq!(line, "h2 Drain");
    assert_eq!(
        swarm.docker(1, &["node", "ls", "--filter", "role=manager", "--format", "{{.Hostname}}"]).expect(),
        "h1"
    );
    swarm.node_update(1, &["--label-rm", "zone", "--availability", "active", "h2"]);
    assert_eq!(swarm.docker(1, &["node", "ls", "-q", "--filter", "node.label=zone=a"]).expect(), "");
    let refusal = swarm.docker(1, &["node", "ls", "--filter", "colour=red"]).expect_failure();
    assert!(refusal.contains("invalid filter 'colour'"), "{refusal}");
}

#[test]
fn a_node_that_the_managers_have_forgotten_comes_back_by_its_certificate() {
    let Some(mut swarm) = Swarm::start(2) else { return };
    swarm.init();
    let state = swarm.host(1).directory().join("data/swarm");
    let backup = swarm.lab.directory().join("backup");
    assert_eq!(swarm.stop_daemon(1), Some(0));
    copy(&state, &backup);
    swarm.start_daemon(1);
    wait_for("the manager to lead again", || swarm.leader(1).as_deref() == Some("h1"));
    swarm.join(2, "worker");
    let id = swarm.docker(2, &["info", "--format", "{{.Swarm.NodeID}}"]).expect();
    all_ready(&swarm, 1, 2);
    // Its row was made after the backup.
    assert_eq!(swarm.stop_daemon(1), Some(0));
    std::fs::remove_dir_all(&state).expect("the state");
    copy(&backup, &state);
    swarm.start_daemon(1);
    wait_until("the worker to be back", || {
        let list = swarm.docker(1, &["node", "ls", "--format", "{{.ID}} {{.Hostname}} {{.Status}}"]).out;
        if list.contains(&format!("{id} h2 Ready")) { Ok(()) } else { Err(list) }
    });
}

#[test]
fn a_node_joins_while_the_managers_look_for_a_leader() {
    let Some(swarm) = Swarm::start(4) else { return };
    swarm.init();
    swarm.join(2, "manager");
    swarm.join(3, "manager");
    let token = swarm.docker(1, &["swarm", "join-token", "-q", "worker"]).expect();
    assert_eq!(swarm.leader(2).as_deref(), Some("h1"));
    // Silence: for a while h2 still passes everything on to h1.
    swarm.host(1).cut_cable().expect("a cable");
    let address = format!("{}:2377", swarm.address(2));
    swarm.docker(4, &["swarm", "join", "--token", &token, &address]).expect();
    wait_until("the worker to be ready", || {
        let list = swarm.docker(2, &["node", "ls", "--format", "{{.Hostname}} {{.Status}}"]).out;
        if list.contains("h4 Ready") { Ok(()) } else { Err(list) }
    });
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(done.success(), "{} to {}", from.display(), to.display());
}

fn all_ready(swarm: &Swarm, asked: usize, count: usize) {
    wait_until(&format!("{count} ready nodes"), || {
        let list = swarm.docker(asked, &["node", "ls", "--format", "{{.Hostname}} {{.Status}}"]).out;
        if list.lines().filter(|line| line.ends_with(" Ready")).count() == count { Ok(()) } else { Err(list) }
    });
}

fn wait_manager(swarm: &Swarm, asked: usize, host: &str, status: &str) {
    wait_until(&format!("{host} to be {status:?}"), || {
        let list = swarm.docker(asked, &["node", "ls", "--format", "{{.Hostname}}/{{.ManagerStatus}}"]).out;
        if list.lines().any(|line| line == format!("{host}/{status}")) { Ok(()) } else { Err(list) }
    });
}
