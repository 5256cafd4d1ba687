//! Stacks: the project's own Compose files, deployed, updated, pruned and removed with the stock CLI.

use std::path::{Path, PathBuf};

use crate::support::{Swarm, wait_for, wait_until};

/// Every example, and what it makes of two nodes of which one is a manager: services with their replicas.
const EXAMPLES: [(&str, &[&str]); 10] = [
    ("web-db-cache-proxy", &["cache 1/1", "db 1/1", "proxy 2/2", "web 3/3"]),
    ("voting-app", &["db 1/1", "redis 1/1", "result 1/1", "vote 2/2", "worker 2/2 (max 2 per node)"]),
    ("monitoring", &["agent 2/2", "collector 1/1", "dashboard 1/1"]),
    ("registry", &["collector 1/1", "registry 1/1"]),
    ("ci-runners", &["coordinator 1/1", "runner 2/2 (max 4 per node)"]),
    ("queue-and-workers", &["dead-letters 0/0", "queue 1/1", "worker 3/3"]),
    ("nightly-jobs", &["clean 0/0 (2/2 completed)", "report 0/4 (4/4 completed)"]),
    ("global-agents", &["logs 2/2", "managers-only 1/1", "probe 2/2"]),
    ("secrets-and-configs", &["app 2/2"]),
    ("host-ports-edge", &["dns 2/2", "http 2/2"]),
];

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(format!("{name}.yml"))
}

fn deploy(swarm: &Swarm, file: &Path, stack: &str, more: &[&str]) -> crate::support::Said {
    let file = file.to_string_lossy().into_owned();
    let mut words = vec!["stack", "deploy", "--resolve-image", "never", "-c", &file];
    words.extend(more);
    words.push(stack);
    swarm.docker(1, &words)
}

/// `name replicas` of a stack's services, sorted, without the stack's name.
fn services(swarm: &Swarm, stack: &str) -> Vec<String> {
    let said = swarm.docker(1, &["stack", "services", stack, "--format", "{{.Name}} {{.Replicas}}"]);
    let prefix = format!("{stack}_");
    let mut lines: Vec<String> = said.out.lines().map(|line| line.trim_start_matches(&prefix).to_owned()).collect();
    lines.sort();
    lines
}

#[track_caller]
fn wait_services(swarm: &Swarm, stack: &str, expected: &[&str]) {
    wait_until(&format!("the services of {stack}"), || {
        let seen = services(swarm, stack);
        if seen == expected {
            return Ok(());
        }
        Err(format!("{seen:?}\n{}", swarm.docker(1, &["stack", "ps", "--no-trunc", stack]).out))
    });
}

/// Removes a stack; nothing of it may stay, on any node.
#[track_caller]
fn remove(swarm: &Swarm, stack: &str) {
    // Not with `--detach=false`: that client counts ended tasks up, and waits for ever when they go between two looks.
    swarm.docker(1, &["stack", "rm", stack]).expect();
    wait_until(&format!("{stack} to be gone"), || {
        let label = format!("label=com.docker.stack.namespace={stack}");
        let mut left = String::new();
        for kind in ["service", "network", "secret", "config"] {
            left += &swarm.docker(1, &[kind, "ls", "-q", "--filter", &label]).out;
        }
        left += &swarm.docker(1, &["ps", "-aq"]).out;
        left += &swarm.docker(2, &["ps", "-aq"]).out;
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn every_example_deploys_runs_and_goes_without_a_trace() {
    let Some(swarm) = Swarm::formed(1, 1) else { return };
    swarm.load_busybox(1..=2);
    for host in ["h1", "h2"] {
        swarm.node_update(1, &["--label-add", "edge=true", "--label-add", "ci=true", host]);
    }
    for (name, expected) in EXAMPLES {
        let said = deploy(&swarm, &example(name), name, &[]);
        assert!(said.ok, "{name}: {}{}", said.out, said.err);
        wait_services(&swarm, name, expected);
        assert!(swarm.docker(1, &["stack", "ls", "--format", "{{.Name}} {{.Services}}"]).expect().contains(name));
        looks_right(&swarm, name);
        remove(&swarm, name);
    }
    assert_eq!(swarm.docker(1, &["stack", "ls", "-q", "--format", "{{.Name}}"]).out.trim(), "");
}

/// What only one of the examples shows.
fn looks_right(swarm: &Swarm, name: &str) {
    let exec = |service: &str, command: &[&str]| {
        let filter = format!("label=com.docker.swarm.service.name={name}_{service}");
        // Where nothing binds it to a node, either may have it.
        let here = |host: usize| {
            let containers = swarm.docker(host, &["ps", "-q", "--filter", &filter]).expect();
            containers.lines().next().map(|container| (host, container.to_owned()))
        };
        let (host, container) = (1..=2).find_map(here).unwrap_or_else(|| panic!("no container of {service}"));
        let mut words = vec!["exec", container.as_str()];
        words.extend(command);
        swarm.docker(host, &words).expect()
    };
    match name {
        "web-db-cache-proxy" => {
            let addresses = "{{range .NetworksAttachments}}{{.Network.Spec.Name}} {{len .Addresses}};{{end}}";
            let task =
                swarm.docker(1, &["stack", "ps", "-q", "--no-trunc", "-f", "name=web-db-cache-proxy_web.1", name]);
            let task = task.expect().lines().next().expect("a task").to_owned();
            let said = swarm.docker(1, &["inspect", "--type", "task", "--format", addresses, &task]).expect();
            assert!(
                said.contains("web-db-cache-proxy_back 1;") && said.contains("web-db-cache-proxy_front 1;"),
                "{said}"
            );
            assert_eq!(exec("db", &["cat", "/run/secrets/db_password"]), "correct-horse");
        }
        "queue-and-workers" => {
            let subnet = "{{(index .IPAM.Config 0).Subnet}}";
            let said = swarm.docker(1, &["network", "inspect", "queue-and-workers_work", "--format", subnet]).expect();
            assert_eq!(said, "10.90.0.0/24");
            assert_eq!(exec("queue", &["hostname"]), "queue");
        }
        "monitoring" => {
            assert_eq!(exec("agent", &["hostname"]), "h1");
            let config = exec("collector", &["cat", "/etc/collector/collector.yml"]);
            assert!(config.contains("node: h1") && config.contains("service: monitoring_collector"), "{config}");
        }
        "voting-app" => {
            for port in [5001, 5002] {
                // The nodes that run a task answer.
                wait_for("a front to answer", || {
                    (1..=2).any(|number| {
                        let url = format!("http://{}:{port}/etc/hostname", swarm.address(number));
                        let said = std::process::Command::new("curl").args(["-sf", "-m", "2", &url]).output();
                        said.is_ok_and(|said| said.status.success())
                    })
                });
            }
        }
        "host-ports-edge" => {
            for number in 1..=2 {
                let url = format!("http://{}/", swarm.address(number));
                wait_until("the edge to answer", || {
                    let said = std::process::Command::new("curl").args(["-sf", "-m", "2", &url]).output();
                    let body = said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned()).unwrap_or_default();
                    if body.trim() == format!("edge of h{number}") { Ok(()) } else { Err(body) }
                });
            }
            let resolv = exec("dns", &["cat", "/etc/resolv.conf", "/etc/hosts"]);
            for line in ["nameserver 192.0.2.53", "search example.test", "gateway.example.test"] {
                assert!(resolv.contains(line), "{line}: {resolv}");
            }
            assert_eq!(exec("http", &["cat", "/proc/sys/net/core/somaxconn"]), "1024");
        }
        _ => {}
    }
}

#[test]
fn a_stack_is_updated_pruned_and_never_stands_still() {
    let Some(swarm) = Swarm::formed(1, 1) else { return };
    swarm.load_busybox(1..=2);
    let file = swarm.lab.directory().join("app.yml");
    let write = |text: &str| std::fs::write(&file, text).expect("a Compose file");
    write(
        r#"
version: "3.8"
services:
  web: {image: "busybox:latest", init: true, command: [sleep, "1000"], deploy: {replicas: 2}}
  old: {image: "busybox:latest", init: true, command: [sleep, "1000"]}
"#,
    );
    let said = deploy(&swarm, &file, "app", &["--detach=false"]);
    assert!(said.ok, "{}{}", said.out, said.err);
    assert_eq!(services(&swarm, "app"), ["old 1/1", "web 2/2"], "a deployment that is waited for has converged");
    let tasks = |swarm: &Swarm| {
        let said = swarm.docker(1, &["service", "ps", "-q", "--no-trunc", "-f", "desired-state=running", "app_web"]);
        let mut tasks: Vec<String> = said.expect().lines().map(str::to_owned).collect();
        tasks.sort();
        tasks
    };
    let before = tasks(&swarm);
    deploy(&swarm, &file, "app", &[]).expect();
    assert_eq!(tasks(&swarm), before, "what did not change is not restarted");

    write(
        r#"
version: "3.8"
services:
  web:
    image: "busybox:latest"
    init: true
    command: [sleep, "1000"]
    environment: {COLOUR: green}
    deploy: {replicas: 3, update_config: {parallelism: 1, delay: 100ms, monitor: 500ms}}
"#,
    );
    let said = deploy(&swarm, &file, "app", &["--prune", "--detach=false"]);
    assert!(said.ok, "{}{}", said.out, said.err);
    let warning = "network app_default: addresses are allocated and kept, but nothing carries overlay networks yet";
    assert!(said.err.contains(warning), "{}", said.err);
    wait_services(&swarm, "app", &["web 3/3"]);
    assert!(tasks(&swarm).iter().all(|task| !before.contains(task)), "every task was replaced");
    let env = "{{.Spec.TaskTemplate.ContainerSpec.Env}} {{.UpdateStatus.State}}";
    assert_eq!(
        swarm.docker(1, &["service", "inspect", "app_web", "--format", env]).expect(),
        "[COLOUR=green] completed"
    );
    let history = swarm.docker(1, &["stack", "ps", "app", "--format", "{{.Name}} {{.DesiredState}}"]).expect();
    assert!(history.contains("app_web.1 Shutdown"), "{history}");

    // Its network is in use until the stack goes.
    let refusal = swarm.docker(1, &["network", "rm", "app_default"]).expect_failure();
    assert!(refusal.contains("is in use by service"), "{refusal}");
    remove(&swarm, "app");
    let said = swarm.docker(1, &["stack", "rm", "app"]);
    assert!(said.err.contains("Nothing found in stack: app"), "{}{}", said.out, said.err);
}
