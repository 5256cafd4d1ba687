//! Rolling updates, rollbacks, jobs and placement, as the stock CLI shows them while it waits.

use crate::support::{Said, Swarm, wait_until};

/// A service of busybox that nothing but itself ends.
fn create(swarm: &Swarm, words: &[&str]) -> Said {
    // PID 1 of its namespace ends by no other signal unless it asks for it.
    let mut all = vec!["service", "create", "--no-resolve-image", "--stop-signal", "KILL"];
    all.extend(words);
    swarm.docker(1, &all)
}

fn inspect(swarm: &Swarm, service: &str, format: &str) -> String {
    swarm.docker(1, &["service", "inspect", service, "--format", format]).expect()
}

/// `docker service ps` in a format of ours.
fn tasks(swarm: &Swarm, service: &str, format: &str) -> String {
    swarm.docker(1, &["service", "ps", "--no-trunc", service, "--format", format]).out
}

#[track_caller]
fn wait_told(swarm: &Swarm, service: &str, reason: &str) {
    wait_until(&format!("{service} to say {reason:?}"), || {
        let said = tasks(swarm, service, "{{.Name}} {{.CurrentState}} {{.Error}}");
        if said.contains(reason) { Ok(()) } else { Err(said) }
    });
}

#[test]
fn updates_roll_converge_fail_and_roll_back() {
    let Some(swarm) = Swarm::formed(1, 1) else { return };
    swarm.load_busybox(1..=2);
    let said = create(
        &swarm,
        &[
            "--name",
            "web",
            "--replicas",
            "3",
            "--update-monitor",
            "1s",
            "--update-failure-action",
            "rollback",
            "--rollback-monitor",
            "1s",
            "--restart-delay",
            "500ms",
            "--health-cmd",
            "test -e /tmp/healthy",
            "--health-interval",
            "100ms",
            "--health-retries",
            "3",
            "--health-start-period",
            "1s",
            "busybox",
            "sh",
            "-c",
            "[ \"$BROKEN\" = 1 ] || touch /tmp/healthy; exec sleep 1000",
        ],
    );
    assert!(said.out.contains(" converged"), "{}{}", said.out, said.err);
    assert_eq!(swarm.running(1, "web").len(), 3, "create waits for all of them, healthy");

    let said = swarm.docker(1, &["service", "update", "--env-add", "COLOUR=green", "--update-parallelism", "2", "web"]);
    assert!(said.ok && said.out.contains(" converged"), "{}{}", said.out, said.err);
    let state = "{{.UpdateStatus.State}}: {{.UpdateStatus.Message}} {{.Spec.TaskTemplate.ContainerSpec.Env}}";
    assert_eq!(inspect(&swarm, "web", state), "completed: update completed [COLOUR=green]");

    // A release that never gets healthy: health gates it, and the update ends where it began.
    let said = swarm.docker(1, &["service", "update", "--env-add", "BROKEN=1", "web"]);
    let why = "rollback: update rolled back due to failure or early termination of task ";
    assert!(said.ok && said.out.contains(why) && said.out.contains(" converged"), "{}{}", said.out, said.err);
    assert_eq!(inspect(&swarm, "web", state), "rollback_completed: rollback completed [COLOUR=green]");
    swarm.wait_running(1, "web", 3);
    wait_told(&swarm, "web", "unhealthy container");

    // Nobody is brought back to what failed.
    let refusal = swarm.docker(1, &["service", "rollback", "web"]).expect_failure();
    assert!(refusal.contains("does not have a previous spec"), "{refusal}");
    swarm.docker(1, &["service", "rm", "web"]).expect();
}

#[test]
fn a_failed_update_pauses_and_is_taken_back_by_hand() {
    let Some(swarm) = Swarm::formed(1, 0) else { return };
    swarm.load_busybox([1]);
    let quick = ["--update-monitor", "500ms", "--rollback-monitor", "500ms", "--restart-delay", "300ms"];
    let mut words = vec!["--name", "web", "--replicas", "2", "--update-order", "start-first"];
    words.extend(quick);
    words.extend(["busybox", "sleep", "1000"]);
    let said = create(&swarm, &words);
    assert!(said.ok && said.out.contains(" converged"), "{}{}", said.out, said.err);
    let said = swarm.docker(1, &["service", "update", "--args", "false", "web"]);
    assert!(!said.ok && said.err.contains("service update paused"), "{}{}", said.out, said.err);
    let status = inspect(&swarm, "web", "{{.UpdateStatus.State}} {{.UpdateStatus.Message}}");
    assert!(status.starts_with("paused update paused due to failure or early termination of task "), "{status}");
    let said = swarm.docker(1, &["service", "rollback", "web"]);
    assert!(said.ok && said.out.contains(" converged"), "{}{}", said.out, said.err);
    let status = inspect(&swarm, "web", "{{.UpdateStatus.State}} {{.Spec.TaskTemplate.ContainerSpec.Args}}");
    assert_eq!(status, "rollback_completed [sleep 1000]");
    swarm.wait_running(1, "web", 2);

    // Another go with the same spec, and scaling, waited for.
    let said = swarm.docker(1, &["service", "update", "--force", "web"]);
    assert!(said.ok && said.out.contains(" converged"), "{}{}", said.out, said.err);
    let said = swarm.docker(1, &["service", "scale", "web=4"]);
    assert!(said.ok && said.out.contains(" converged"), "{}{}", said.out, said.err);
    swarm.wait_running(1, "web", 4);
}

#[test]
fn jobs_complete_are_counted_once_and_run_again() {
    let Some(swarm) = Swarm::formed(1, 1) else { return };
    swarm.load_busybox(1..=2);
    let replicas = |name: &str| {
        swarm
            .docker(1, &["service", "ls", "--filter", &format!("name={name}"), "--format", "{{.Mode}} {{.Replicas}}"])
            .out
    };
    let said = create(
        &swarm,
        &[
            "--name",
            "batch",
            "--mode",
            "replicated-job",
            "--replicas",
            "5",
            "--max-concurrent",
            "2",
            "--restart-condition",
            "on-failure",
            "--restart-delay",
            "100ms",
            "busybox",
            "sh",
            "-c",
            "echo part {{.Task.Slot}}; exit 0",
        ],
    );
    assert!(said.ok && said.out.contains("job complete"), "{}{}", said.out, said.err);
    assert_eq!(replicas("batch").trim(), "replicated job 0/2 (5/5 completed)");
    let said = create(&swarm, &["--name", "everywhere", "--mode", "global-job", "busybox", "true"]);
    assert!(said.ok && said.out.contains("job complete"), "{}{}", said.out, said.err);
    assert_eq!(tasks(&swarm, "everywhere", "{{.Node}} {{.CurrentState}}").matches("Complete").count(), 2);

    // Again: a new iteration takes the place of the old one, which becomes history.
    let said = swarm.docker(1, &["service", "update", "--force", "batch"]);
    assert!(said.ok && said.out.contains("job complete"), "{}{}", said.out, said.err);
    assert_eq!(replicas("batch").trim(), "replicated job 0/2 (5/5 completed)");
    wait_until("the tasks of both iterations", || {
        let said = tasks(&swarm, "batch", "{{.DesiredState}} {{.CurrentState}}");
        let count = |wanted: &str| said.lines().filter(|line| line.starts_with(wanted)).count();
        let all = said.lines().count() == 10;
        if all && count("Complete Complete") == 5 && count("Shutdown Complete") == 5 { Ok(()) } else { Err(said) }
    });
    assert_eq!(inspect(&swarm, "batch", "{{.JobStatus.JobIteration.Index}}"), "1");

    // One that fails is tried again as often as it may, and then no more.
    create(
        &swarm,
        &[
            "--name",
            "failing",
            "--detach",
            "--mode",
            "replicated-job",
            "--restart-condition",
            "on-failure",
            "--restart-max-attempts",
            "2",
            "--restart-delay",
            "100ms",
            "busybox",
            "false",
        ],
    )
    .expect();
    wait_until("three attempts", || {
        let said = tasks(&swarm, "failing", "{{.CurrentState}} {{.Error}}");
        let failed = said.lines().filter(|line| line.contains("non-zero exit (1)")).count();
        if failed == 3 { Ok(()) } else { Err(said) }
    });
    let refusal =
        create(&swarm, &["--name", "wrong", "--detach", "--mode", "global-job", "--replicas", "2", "busybox", "true"]);
    assert!(refusal.expect_failure().contains("replicas can only be used with replicated or replicated-job mode"));
}

#[test]
fn placement_follows_labels_resources_and_limits_and_says_what_it_lacks() {
    let Some(mut swarm) = Swarm::start(1) else { return };
    swarm.init();
    for (number, resource) in [(2, "GPU=card0"), (3, "GPU=card1")] {
        assert_eq!(swarm.add_bare_host(), number);
        swarm.start_daemon_with(number, &["--node-generic-resource", resource, "--node-generic-resource", "SSD=2"]);
        swarm.join(number, "worker");
    }
    swarm.load_busybox(1..=3);
    for (host, zone) in [("h1", "east"), ("h2", "west"), ("h3", "west")] {
        swarm.node_update(1, &["--label-add", &format!("zone={zone}"), host]);
    }
    let run = |name: &str, words: &[&str]| {
        let mut all = vec!["--detach", "--name", name];
        all.extend(words);
        all.extend(["busybox", "sleep", "1000"]);
        create(&swarm, &all).expect();
    };
    let count = |service: &str, host: &str| {
        swarm.running(1, service).iter().filter(|line| line.split_whitespace().next() == Some(host)).count()
    };

    run("pinned", &["--replicas", "3", "--constraint", "node.hostname==h2"]);
    run("spread", &["--replicas", "4", "--placement-pref", "spread=node.labels.zone"]);
    run("limited", &["--replicas", "4", "--replicas-max-per-node", "1"]);
    run("gpu", &["--replicas", "3", "--generic-resource", "GPU=1"]);
    run("ssd", &["--replicas", "2", "--generic-resource", "SSD=2"]);
    run("alone", &["--replicas", "4", "--publish", "mode=host,target=80,published=8088"]);
    swarm.wait_running(1, "pinned", 3);
    assert_eq!(count("pinned", "h2"), 3);
    swarm.wait_running(1, "spread", 4);
    assert_eq!(count("spread", "h1"), 2, "half of them in each zone: {:?}", swarm.running(1, "spread"));
    for (service, fit, reason) in [
        ("limited", 3, "no suitable node (max replicas per node limit exceed)"),
        ("gpu", 2, "no suitable node (insufficient resources on 3 nodes)"),
        ("alone", 3, "no suitable node (host-mode port already in use on 3 nodes)"),
    ] {
        swarm.wait_running(1, service, fit);
        wait_told(&swarm, service, reason);
    }
    swarm.wait_running(1, "ssd", 2);
    let env = |number: usize, service: &str| {
        let filter = format!("label=com.docker.swarm.service.name={service}");
        let container = swarm.docker(number, &["ps", "-q", "--filter", &filter]).expect();
        swarm.docker(number, &["exec", &container, "sh", "-c", "env | grep DOCKER_RESOURCE"]).expect()
    };
    assert_eq!(env(2, "gpu"), "DOCKER_RESOURCE_GPU=card0");
    assert_eq!(env(3, "gpu"), "DOCKER_RESOURCE_GPU=card1");
    assert_eq!(env(2, "ssd"), "DOCKER_RESOURCE_SSD=2");

    // A label that goes takes its tasks along; where there is no place, it is said.
    run("east", &["--constraint", "node.labels.zone==east"]);
    swarm.wait_running(1, "east", 1);
    swarm.node_update(1, &["--label-add", "zone=north", "h1"]);
    wait_told(&swarm, "east", "no suitable node (scheduling constraints not satisfied on 3 nodes)");
    swarm.node_update(1, &["--label-add", "zone=east", "h3"]);
    wait_until("the task on its new node", || {
        if count("east", "h3") == 1 {
            Ok(())
        } else {
            Err(tasks(&swarm, "east", "{{.Node}} {{.CurrentState}} {{.Error}}"))
        }
    });
}

#[test]
fn a_monitor_that_is_too_short_to_see_anything_is_warned_of() {
    let Some(swarm) = Swarm::formed(1, 0) else { return };
    let probe = ["--replicas", "0", "--health-cmd", "true", "--health-interval", "10s", "--health-retries", "2"];
    let short = swarm.create_service("short", &probe, &[]);
    let warning = "the update monitor is by default 5s, but the health check needs 20s (retries x interval)";
    assert!(short.ok && short.err.contains(warning) && short.err.contains("--update-monitor"), "{}", short.err);
    let long = swarm.create_service("long", &[&probe[..], &["--update-monitor", "20s"]].concat(), &[]);
    assert!(long.ok && long.err.is_empty(), "{}", long.err);
    // An update that makes it too short is warned of, one that mends it is not.
    let update = |service: &str, monitor: &str| {
        swarm.docker(1, &["service", "update", "--detach", "--no-resolve-image", "--update-monitor", monitor, service])
    };
    let shorter = update("long", "19s");
    assert!(shorter.ok && shorter.err.contains("the update monitor is 19s"), "{}", shorter.err);
    let mended = update("short", "30s");
    assert!(mended.ok && mended.err.is_empty(), "{}", mended.err);
}
