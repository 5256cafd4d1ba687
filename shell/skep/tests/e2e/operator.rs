//! An operator's settings and views: flags of init and update, advice, backups, and one output from both clients.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Said, Swarm, wait_for, wait_until};

#[test]
fn init_names_addresses_and_flags_that_it_cannot_use() {
    let Some(swarm) = Swarm::start(1) else { return };
    let address = swarm.address(1);
    on_host(&swarm, 1, &["ip", "addr", "add", "10.97.0.1/24", "dev", "eth0"]);
    let several = format!(
        "this system has multiple addresses on interface eth0 ({address} and 10.97.0.1) - specify one with --advertise-addr"
    );
    let refuse = |words: &[&str], text: &str| {
        let mut all = vec!["swarm", "init"];
        all.extend(words);
        for client in [Swarm::docker, Swarm::skep] {
            let refusal = client(&swarm, 1, &all).expect_failure();
            assert!(refusal.contains(text), "{words:?}: {refusal}");
        }
    };
    refuse(&[], &several);
    refuse(&["--advertise-addr", "eth0"], "interface eth0 has more than one address");
    refuse(&["--advertise-addr", "none0"], "advertise address must be a non-zero IP address or network interface");
    refuse(&["--advertise-addr", "0.0.0.0"], "advertise address must be a non-zero IP address");
    let at = ["--advertise-addr", address.as_str()];
    for (words, text) in [
        (["--listen-addr", "9.9.9.9"].as_slice(), "cannot listen on 9.9.9.9:2377"),
        (&["--data-path-addr", "none0"], "data path address must be"),
        (&["--data-path-port", "80"], "80"),
        (&["--external-ca", "protocol=other,url=https://ca.example/"], "unrecognized external CA protocol other"),
        (&["--cert-expiry", "10s"], "minimum certificate expiry time is: 1h0m0s"),
        (&["--default-addr-pool", "10.30.0.0/16", "--default-addr-pool-mask-length", "8"], "Subnet size is too small"),
        (&["--default-addr-pool", "10.30.0.0/16", "--default-addr-pool-mask-length", "30"], "out of range"),
        (&["--default-addr-pool", "10.30.0.0/16", "--default-addr-pool", "10.30.8.0/24"], "overlap"),
    ] {
        refuse(&[&at, words].concat(), text);
    }
    assert_eq!(swarm.docker(1, &["info", "--format", "{{.Swarm.LocalNodeState}}"]).expect(), "inactive");
    on_host(&swarm, 1, &["ip", "addr", "del", "10.97.0.1/24", "dev", "eth0"]);
    swarm.docker(1, &["swarm", "init", "--listen-addr", "eth0"]).expect();
    assert_eq!(swarm.docker(1, &["info", "--format", "{{.Swarm.NodeAddr}}"]).expect(), address);
}

#[test]
fn settings_of_init_and_update_take_effect() {
    let Some(mut swarm) = Swarm::start(1) else { return };
    let address = swarm.address(1);
    let init = "swarm init --availability drain --cert-expiry 48h --dispatcher-heartbeat 7s --task-history-limit 2 \
                --default-addr-pool 10.30.0.0/16 --default-addr-pool-mask-length 26 --data-path-port 5000 \
                --snapshot-interval 20 --max-snapshots 2 --advertise-addr";
    let words: Vec<&str> = init.split_whitespace().chain([address.as_str()]).collect();
    swarm.docker(1, &words).expect();
    let cluster = |template: &str| swarm.docker(1, &["info", "--format", template]).expect();
    let settings = "{{with .Swarm.Cluster}}{{.DefaultAddrPool}} {{.SubnetSize}} {{.DataPathPort}} {{with .Spec}}\
                    {{.CAConfig.NodeCertExpiry}} {{.Dispatcher.HeartbeatPeriod}} \
                    {{.Orchestration.TaskHistoryRetentionLimit}} {{.Raft.SnapshotInterval}} {{.Raft.KeepOldSnapshots}}\
                    {{end}}{{end}}";
    assert_eq!(cluster(settings), "[10.30.0.0/16] 26 5000 48h0m0s 7s 2 20 2");
    assert_eq!(swarm.docker(1, &["node", "inspect", "self", "-f", "{{.Spec.Availability}}"]).expect(), "drain");

    let update = "swarm update --cert-expiry 30h --dispatcher-heartbeat 3s --task-history-limit 1 --snapshot-interval 10 \
                  --max-snapshots 1";
    assert_eq!(swarm.docker(1, &update.split_whitespace().collect::<Vec<_>>()).expect(), "Swarm updated.");
    assert_eq!(cluster(settings), "[10.30.0.0/16] 26 5000 30h0m0s 3s 1 10 1");
    let refusal = swarm.docker(1, &["swarm", "update", "--cert-expiry", "10s"]).expect_failure();
    assert!(refusal.contains("minimum certificate expiry time is: 1h0m0s"), "{refusal}");

    // Snapshots are taken as often as said, and one old one is kept beside the newest.
    for count in 0..35 {
        swarm.node_update(1, &["--label-add", &format!("count={count}"), "h1"]);
    }
    let raft = swarm.host(1).directory().join("data/swarm/raft");
    wait_until("two snapshots", || {
        let names: Vec<String> = std::fs::read_dir(&raft)
            .expect("the log's directory")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter(|name| name.ends_with(".snap"))
            .collect();
        if names.len() == 2 { Ok(()) } else { Err(format!("{names:?}")) }
    });
    swarm.kill_daemon(1);
    swarm.start_daemon(1);
    wait_for("the manager to lead again", || swarm.leader(1).as_deref() == Some("h1"));
    assert_eq!(swarm.docker(1, &["node", "inspect", "self", "-f", "{{.Spec.Labels.count}}"]).expect(), "34");
}

#[test]
fn keys_and_the_root_certificate_are_shown_and_turned() {
    let Some(swarm) = Swarm::start(1) else { return };
    swarm.init();
    assert_eq!(swarm.docker(1, &["swarm", "unlock-key"]).expect_failure(), "no unlock key is set");
    let said = swarm.docker(1, &["swarm", "update", "--autolock=true"]).expect();
    let key = swarm.docker(1, &["swarm", "unlock-key", "-q"]).expect();
    assert!(key.starts_with("SWMKEY-1-") && said.contains(&key), "{said}");
    let turned = swarm.docker(1, &["swarm", "unlock-key", "--rotate", "-q"]).expect();
    assert!(turned.starts_with("SWMKEY-1-") && turned != key, "{turned}");
    assert_eq!(swarm.skep(1, &["swarm", "unlock-key", "-q"]).expect(), turned);
    let root = swarm.docker(1, &["swarm", "ca"]).expect();
    assert!(root.starts_with("-----BEGIN CERTIFICATE-----"), "{root}");
    assert_eq!(swarm.skep(1, &["swarm", "ca"]).expect(), root);
    let next = swarm.skep(1, &["swarm", "ca", "--rotate"]).expect();
    assert!(next.contains("-----BEGIN CERTIFICATE-----") && !next.contains(&root), "{next}");
    swarm.docker(1, &["swarm", "ca", "--rotate", "--detach"]).expect();
    wait_until("the root after that", || {
        let last = swarm.docker(1, &["swarm", "ca"]).expect();
        if next.contains(&last) { Err(last) } else { Ok(()) }
    });
    swarm.docker(1, &["swarm", "update", "--autolock=false"]).expect();
    assert_eq!(swarm.docker(1, &["swarm", "unlock-key"]).expect_failure(), "no unlock key is set");
}

#[test]
fn an_even_number_of_managers_gets_advice() {
    let Some(swarm) = Swarm::formed(2, 2) else { return };
    let warnings = |number| swarm.docker(number, &["info", "--format", "{{json .Warnings}}"]).expect();
    assert!(warnings(1).contains("Running Swarm in a two-manager configuration"), "{}", warnings(1));
    swarm.docker(1, &["node", "promote", "h3"]).expect();
    wait_until("three managers", || {
        let warnings = warnings(1);
        if warnings.contains("manager") { Err(warnings) } else { Ok(()) }
    });
    swarm.docker(1, &["node", "promote", "h4"]).expect();
    wait_until("advice to four managers", || {
        let warnings = warnings(2);
        if warnings.contains("even number") { Ok(()) } else { Err(warnings) }
    });
}

/// Where the clock shows half a minute more: a library that is loaded before the system's own.
const FAST_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *ts) {
    int result = syscall(SYS_clock_gettime, id, ts);
    if (result == 0 && id == CLOCK_REALTIME) ts->tv_sec += 30;
    return result;
}
"#;

#[test]
fn clocks_that_differ_are_told_of() {
    let Some(mut swarm) = Swarm::start(2) else { return };
    let (source, library) = (swarm.lab.directory().join("clock.c"), swarm.lab.directory().join("clock.so"));
    std::fs::write(&source, FAST_CLOCK).expect("a file");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().expect("cc");
    assert!(built.success());
    swarm.stop_daemon(2);
    swarm.start_daemon_through(2, &["env", &format!("LD_PRELOAD={}", library.display())], &[]);
    swarm.init();
    swarm.join(2, "worker");
    let id = swarm.docker(2, &["info", "--format", "{{.Swarm.NodeID}}"]).expect();
    for (number, other, difference) in [(1, &id, "+30"), (1, &id, "+"), (2, &id, "-")] {
        let warnings = || swarm.docker(number, &["info", "--format", "{{json .Warnings}}"]).out;
        wait_until("a warning of clocks", || {
            let warnings = warnings();
            if warnings.contains("the clock of node") && warnings.contains(difference) { Ok(()) } else { Err(warnings) }
        });
        assert_eq!(warnings().contains(other.as_str()), number == 1, "{}", warnings());
    }
    let said = swarm.skep(1, &["node", "ls"]);
    assert!(format!("{}{}", said.out, said.err).contains("the clock of node"), "{}{}", said.out, said.err);
}

#[test]
fn a_backup_of_the_state_directory_brings_the_swarm_back() {
    let Some(mut swarm) = Swarm::formed(1, 1) else { return };
    swarm.docker(1, &["config", "create", "kept", "/etc/hostname"]).expect();
    let (data, backup) = (swarm.host(1).directory().join("data"), swarm.lab.directory().join("backup.tar"));
    let id = swarm.docker(1, &["info", "--format", "{{.Swarm.NodeID}}"]).expect();
    assert_eq!(swarm.stop_daemon(1), Some(0));
    tar(&["-C", &data.display().to_string(), "-cpf", &backup.display().to_string(), "swarm"]);
    // The disk is lost.
    std::fs::remove_dir_all(&data).expect("the data root");
    std::fs::create_dir_all(&data).expect("the data root");
    tar(&["-C", &data.display().to_string(), "-xpf", &backup.display().to_string()]);
    swarm.start_daemon(1);
    let address = swarm.address(1);
    swarm.docker(1, &["swarm", "init", "--force-new-cluster", "--advertise-addr", &address]).expect();
    wait_for("the manager to lead again", || swarm.leader(1).as_deref() == Some("h1"));
    assert_eq!(swarm.docker(1, &["info", "--format", "{{.Swarm.NodeID}}"]).expect(), id);
    assert_eq!(swarm.docker(1, &["config", "ls", "--format", "{{.Name}}"]).expect(), "kept");
    wait_until("the worker to come back", || {
        let list = swarm.docker(1, &["node", "ls", "--format", "{{.Hostname}} {{.Status}}"]).out;
        if list.contains("h2 Ready") { Ok(()) } else { Err(list) }
    });
    swarm.docker(1, &["config", "create", "more", "/etc/hostname"]).expect();
}

#[test]
fn both_clients_print_the_same() {
    let Some(swarm) = Swarm::formed(2, 1) else { return };
    swarm.load_busybox(1..=3);
    let create =
        "service create --detach --no-resolve-image --name web --replicas 3 --label tier=front busybox sleep 1000";
    swarm.docker(1, &create.split_whitespace().collect::<Vec<_>>()).expect();
    swarm.wait_running(1, "web", 3);
    let task = swarm.docker(1, &["service", "ps", "-q", "--no-trunc", "web"]).expect();
    let task = task.lines().next().expect("a task").to_owned();
    for words in [
        "node ls",
        "node ls -q",
        "node ls --filter role=worker --format {{.Hostname}}:{{.TLSStatus}}",
        "node ls --format json",
        "node inspect self h3",
        "node inspect --pretty h2",
        "node inspect --format {{.Description.Hostname}} h3",
        "node ls --filter colour=red",
        "node inspect nobody",
        "node rm h3",
        "node demote h3",
        "service ls",
        "service ls -q",
        "service ls --format json",
        "service ls --filter name=web --format {{.Name}}={{.Replicas}}",
        "service ps web -q --no-trunc",
        "service ps web --format {{.Name}}@{{.Node}}/{{.DesiredState}}",
        "service ps nothing",
        "service inspect --pretty web",
        "service inspect --format {{json.Spec.Labels}} web",
        "swarm join-token worker",
        "swarm join-token manager",
        "swarm join-token -q worker",
        "swarm join-token other",
        "swarm ca",
        "swarm leave",
        "swarm init",
        "info --format {{.Swarm.NodeID}}/{{.Swarm.Cluster.ID}}/{{.Swarm.LocalNodeState}}",
        "info --format {{.Swarm.Nodes}}/{{.Swarm.Managers}}/{{.ServerVersion}}",
    ] {
        let words: Vec<String> = words.split_whitespace().map(|word| word.replace("{{json.", "{{json .")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        // What moves on its own may do so between the two.
        wait_until(&format!("the same answer to {words:?}"), || {
            let (docker, skep) = (swarm.docker(1, &words), swarm.skep(1, &words));
            let told = |said: &Said| (said.ok, said.out.clone(), said.err.trim_end().to_owned());
            if told(&docker) == told(&skep) {
                Ok(())
            } else {
                Err(format!("docker: {:?}\nskep:   {:?}", told(&docker), told(&skep)))
            }
        });
    }
    // Docker's client looks for a name among all kinds of things.
    assert!(swarm.docker(1, &["inspect", &task]).expect().contains(&task));
}

#[test]
fn the_playground_ends_well() {
    if Swarm::start(0).is_none() {
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_skep"))
        .args(["playground", "--once"])
        .stdin(Stdio::null())
        .output()
        .expect("the playground starts");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Leader") && said.contains("Reachable"), "{said}");
}

fn on_host(swarm: &Swarm, number: usize, words: &[&str]) {
    let status = swarm.host(number).command(words[0]).args(&words[1..]).status().expect("it runs");
    assert!(status.success(), "{words:?}");
}

fn tar(words: &[&str]) {
    assert!(Path::new("/bin/tar").exists() && Command::new("tar").args(words).status().expect("tar runs").success());
}
