//! Debian's Prometheus finds what to watch through `dockerswarm_sd_configs`.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::clients::peers::{directory, fetched, output};
use crate::support::{Swarm, wait_until};

#[test]
fn it_discovers_nodes_services_and_tasks() {
    let Some(program) = program() else { return };
    let Some(swarm) = Swarm::formed(1, 1) else { return };
    swarm.load_busybox(1..=2);
    swarm.docker(1, &["node", "update", "--label-add", "zone=a", "h2"]).expect();
    swarm.docker(1, &["network", "create", "-d", "overlay", "front"]).expect();
    let create = "service create --detach --no-resolve-image --name web --mode global --network front --label team=blue \
                  --container-label color=red --publish mode=host,published=8088,target=80 busybox sleep 1000";
    swarm.docker(1, &create.split_whitespace().collect::<Vec<_>>()).expect();
    swarm.wait_running(1, "web", 2);
    let prometheus = Prometheus::start(&swarm, &program);

    let nodes = prometheus.wait_for("nodes", 2);
    let node = find(&nodes, "node_hostname", "h1");
    expect(node, "node_role", "manager");
    expect(node, "node_manager_leader", "true");
    expect(node, "node_manager_address", &format!("{}:2377", swarm.address(1)));
    expect(node, "node_availability", "active");
    expect(node, "node_status", "ready");
    let version = swarm.docker(1, &["version", "--format", "{{.Server.Version}}"]).expect();
    expect(node, "node_engine_version", &version);
    let worker = find(&nodes, "node_hostname", "h2");
    expect(worker, "node_label_zone", "a");
    expect(worker, "node_address", &swarm.address(2));

    let services = prometheus.wait_for("services", 1);
    expect(&services[0], "service_name", "web");
    expect(&services[0], "service_mode", "global");
    expect(&services[0], "service_label_team", "blue");
    expect(&services[0], "network_name", "front");
    expect(&services[0], "network_scope", "swarm");

    // One for the published port on each node, one for each address on the network.
    let tasks = prometheus.wait_for("tasks", 4);
    let published: Vec<&Value> = tasks.iter().filter(|task| label(task, "network_name").is_none()).collect();
    assert_eq!(published.len(), 2, "{tasks:?}");
    let mut addresses: Vec<&str> = published.iter().filter_map(|task| task["__address__"].as_str()).collect();
    addresses.sort_unstable();
    assert_eq!(addresses, [format!("{}:8088", swarm.address(1)), format!("{}:8088", swarm.address(2))]);
    for task in &tasks {
        expect(task, "task_port_publish_mode", "host");
        expect(task, "service_name", "web");
        expect(task, "task_state", "running");
        expect(task, "task_desired_state", "running");
        expect(task, "container_label_color", "red");
    }
}

/// Unpacked, not installed: the package would start a daemon of its own.
fn program() -> Option<PathBuf> {
    let directory = directory("prometheus");
    let program = directory.join("usr/bin/prometheus");
    if program.exists() {
        return Some(program);
    }
    let download = || {
        let mut apt = Command::new("apt-get");
        apt.args(["download", "-q", "prometheus"]).current_dir(&directory);
        apt
    };
    // The lists of packages may be old, or not there yet.
    let update = || fetched(Command::new("apt-get").args(["update", "-q"]));
    let there = output(&mut download()).0 || (update() && fetched(&mut download()));
    if !there {
        return None;
    }
    let (ok, said) = output(Command::new("sh").args(["-c", "dpkg-deb -x prometheus_*.deb ."]).current_dir(&directory));
    assert!(ok && program.exists(), "{said}");
    Some(program)
}

struct Prometheus<'a> {
    swarm: &'a Swarm,
    child: Child,
}

impl<'a> Prometheus<'a> {
    fn start(swarm: &'a Swarm, program: &std::path::Path) -> Self {
        let directory = swarm.host(1).directory();
        let socket = swarm.socket(1);
        let job = |role: &str| {
            // Found, but not asked: nothing there would answer.
            format!(
                "- job_name: {role}\n  dockerswarm_sd_configs:\n  - host: unix://{}\n    role: {role}\n    \
                 refresh_interval: 1s\n  relabel_configs:\n  - action: drop\n    source_labels: [__address__]\n",
                socket.display()
            )
        };
        let jobs = ["nodes", "services", "tasks"].map(job).concat();
        let configuration = directory.join("prometheus.yml");
        std::fs::write(&configuration, format!("scrape_configs:\n{jobs}")).expect("a file");
        let child = swarm
            .host(1)
            .command(program)
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("prometheus").display()))
            .arg("--web.listen-address=127.0.0.1:9090")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus starts");
        Self { swarm, child }
    }

    /// Labels of the targets of a role, once there are so many.
    fn wait_for(&self, role: &str, count: usize) -> Vec<Value> {
        let mut found = Vec::new();
        wait_until(&format!("{count} targets of {role}"), || {
            let url = "http://127.0.0.1:9090/api/v1/targets?state=dropped";
            let (_, text) = output(self.swarm.host(1).command("curl").args(["-s", url]));
            let answer: Value = serde_json::from_str(&text).unwrap_or_default();
            let targets = answer.pointer("/data/droppedTargets").and_then(Value::as_array);
            let labels = targets.into_iter().flatten().map(|target| target["discoveredLabels"].clone());
            found = labels.filter(|labels| labels["job"] == role).collect();
            if found.len() == count { Ok(()) } else { Err(text) }
        });
        found
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        self.swarm.host(1).signal(&self.child, "KILL").ok();
        self.child.wait().ok();
    }
}

fn label<'a>(labels: &'a Value, name: &str) -> Option<&'a str> {
    labels[format!("__meta_dockerswarm_{name}")].as_str()
}

#[track_caller]
fn expect(labels: &Value, name: &str, value: &str) {
    assert_eq!(label(labels, name), Some(value), "{name} of {labels}");
}

fn find<'a>(all: &'a [Value], name: &str, value: &str) -> &'a Value {
    all.iter().find(|labels| label(labels, name) == Some(value)).unwrap_or_else(|| panic!("{value} in {all:?}"))
}
