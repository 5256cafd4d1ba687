//! Services of real containers on several hosts.

use crate::support::{Swarm, wait_for, wait_until};

#[test]
fn a_service_runs_everywhere_heals_scales_and_drains() {
    let Some(mut swarm) = Swarm::formed(1, 2) else { return };
    swarm.load_busybox(1..=3);
    swarm.create_service("web", &["--replicas", "6"], &["sleep", "1000"]).expect();
    swarm.wait_running(1, "web", 6);
    let running = swarm.running(1, "web");
    for host in ["h1", "h2", "h3"] {
        assert_eq!(running.iter().filter(|line| line.starts_with(host)).count(), 2, "{running:?}");
    }
    let list = swarm.docker(1, &["service", "ls", "--format", "{{.Name}} {{.Mode}} {{.Replicas}} {{.Image}}"]).expect();
    assert_eq!(list, "web replicated 6/6 busybox:latest");

    // A killed container is replaced, and the history says what happened.
    let victim = swarm.docker(2, &["ps", "-q"]).expect();
    let victim = victim.lines().next().expect("a container").to_owned();
    swarm.docker(2, &["kill", &victim]).expect();
    wait_until("the history of the killed task", || {
        let history =
            swarm.docker(1, &["service", "ps", "web", "--format", "{{.Name}} {{.CurrentState}} {{.Error}}"]).out;
        if history.contains("non-zero exit (137)") { Ok(()) } else { Err(history) }
    });
    swarm.wait_running(1, "web", 6);

    swarm.docker(1, &["service", "scale", "--detach", "web=3"]).expect();
    swarm.wait_running(1, "web", 3);

    swarm.node_update(1, &["--availability", "drain", "h3"]);
    wait_until("h3 to be empty", || {
        let running = swarm.running(1, "web");
        let on_h3 = running.iter().any(|line| line.starts_with("h3"));
        if running.len() == 3 && !on_h3 { Ok(()) } else { Err(format!("{running:?}")) }
    });
    swarm.node_update(1, &["--availability", "active", "h3"]);

    // A lost host: its tasks move.
    swarm.power_off(2);
    wait_until("tasks to leave the lost host", || {
        let running = swarm.running(1, "web");
        let lost = running.iter().any(|line| line.starts_with("h2"));
        if running.len() == 3 && !lost { Ok(()) } else { Err(format!("{running:?}")) }
    });

    swarm.docker(1, &["service", "rm", "web"]).expect();
    wait_for("all containers to go", || swarm.docker(1, &["ps", "-aq"]).out.trim().is_empty());
}

#[test]
fn what_cannot_be_is_refused_with_a_sentence() {
    let Some(swarm) = Swarm::formed(1, 0) else { return };
    let refusal = swarm.create_service("bad_name!", &[], &[]).expect_failure();
    assert!(refusal.contains("name must be valid as a DNS name component"), "{refusal}");
    swarm.create_service("there", &["--replicas", "0"], &[]).expect();
    let refusal = swarm.create_service("there", &[], &[]).expect_failure();
    assert!(refusal.contains("name conflicts with an existing object: service there already exists"), "{refusal}");
    swarm.create_service("mesh", &["--replicas", "0", "--publish", "8080:80"], &[]).expect();
    let refusal = swarm.create_service("rival", &["--publish", "8080:80"], &[]).expect_failure();
    assert!(refusal.contains("port '8080' is already in use by service 'mesh'"), "{refusal}");
}

#[test]
fn host_ports_logs_and_exec_work_as_users_know_them() {
    let Some(swarm) = Swarm::formed(1, 1) else { return };
    swarm.load_busybox(1..=2);
    let publish = ["--replicas", "2", "--publish", "mode=host,published=8081,target=81"];
    let script = "echo ready; mkdir -p /www; hostname > /www/index.html; httpd -f -p 81 -h /www";
    swarm.create_service("echo", &publish, &["sh", "-c", script]).expect();
    swarm.wait_running(1, "echo", 2);
    for number in 1..=2 {
        let address = swarm.address(number);
        wait_for("the published port to answer", || {
            std::process::Command::new("curl")
                .args(["-sf", "-m", "2", &format!("http://{address}:8081/")])
                .output()
                .is_ok_and(|output| output.status.success())
        });
    }
    wait_until("a line of every task", || {
        let logs = swarm.docker(1, &["service", "logs", "--raw", "echo"]).out;
        if logs.lines().filter(|line| *line == "ready").count() == 2 { Ok(()) } else { Err(logs) }
    });
    let container = swarm.docker(1, &["ps", "-q"]).expect();
    let said = swarm.docker(1, &["exec", &container, "sh", "-c", "echo inside; exit 3"]);
    assert_eq!(said.out.trim(), "inside");
    assert!(!said.ok);
}

#[test]
fn containers_outlive_their_daemon_and_tasks_stay_where_they_are() {
    let Some(mut swarm) = Swarm::formed(1, 1) else { return };
    swarm.load_busybox(1..=2);
    swarm.create_service("steady", &["--replicas", "2"], &["sleep", "1000"]).expect();
    swarm.wait_running(1, "steady", 2);
    let tasks = |swarm: &Swarm| {
        let mut ids: Vec<String> = swarm
            .docker(1, &["service", "ps", "-q", "--no-trunc", "steady"])
            .expect()
            .lines()
            .map(str::to_owned)
            .collect();
        ids.sort();
        ids
    };
    let (before, container) = (tasks(&swarm), swarm.docker(2, &["ps", "-q"]).expect());
    assert_eq!(swarm.stop_daemon(2), Some(0));
    swarm.start_daemon(2);
    wait_for("h2 to be ready again", || {
        swarm.docker(1, &["node", "ls", "--format", "{{.Hostname}} {{.Status}}"]).out.contains("h2 Ready")
    });
    swarm.wait_running(1, "steady", 2);
    assert_eq!(tasks(&swarm), before, "tasks were not replaced");
    assert_eq!(swarm.docker(2, &["ps", "-q"]).expect(), container, "the container is the same");
}

#[test]
fn a_host_that_reboots_comes_back_with_its_tasks() {
    let Some(mut swarm) = Swarm::formed(1, 0) else { return };
    swarm.load_busybox([1]);
    swarm.create_service("back", &["--replicas", "2"], &["sleep", "1000"]).expect();
    swarm.wait_running(1, "back", 2);
    swarm.reboot(1);
    wait_for("the manager to lead", || swarm.leader(1).as_deref() == Some("h1"));
    // Until the node has reported, the managers' word is what ran before the boot: the host itself is asked.
    wait_until("two containers after the boot", || {
        let containers = swarm.docker(1, &["ps", "-q"]).expect();
        if containers.lines().count() == 2 { Ok(()) } else { Err(containers) }
    });
    swarm.wait_running(1, "back", 2);
}
