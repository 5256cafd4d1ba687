//! Whatever waits or fails says why: in `service ps`, and in events for those who ask for tasks.

use std::process::Stdio;

use crate::clients::events::Listener;
use crate::support::{Swarm, wait_until};

/// Waits until a task of the service says this, in `service ps` and in an event.
#[track_caller]
fn says(swarm: &Swarm, listener: &mut Listener, service: &str, sentence: &str) {
    wait_until(&format!("{service} to say {sentence:?}"), || {
        let format = "{{.Name}} {{.CurrentState}} {{.Error}}";
        let said = swarm.docker(1, &["service", "ps", "--no-trunc", service, "--format", format]).out;
        if said.contains(sentence) { Ok(()) } else { Err(said) }
    });
    let name = format!("name={service}.");
    listener.wait(|line| line.contains(" task ") && line.contains(&name) && line.contains(sentence));
}

#[test]
fn every_cause_is_told_by_service_ps_and_by_events() {
    let Some(swarm) = Swarm::formed(1, 1) else { return };
    swarm.load_busybox(1..=2);
    let mut listener = Listener::of_tasks(&swarm, 1);
    let host = swarm.host(1);
    // A registry that has nothing.
    let mut registry = host
        .command("/bin/busybox")
        .args(["httpd", "-f", "-p", "127.0.0.1:5000", "-h", "/"])
        .stdin(Stdio::null())
        .spawn()
        .expect("it starts");
    let create = |name: &str, options: &[&str]| swarm.create_service(name, options, &["sleep", "1000"]).expect();
    create("constrained", &["--constraint", "node.labels.zone==mars"]);
    create("greedy", &["--reserve-memory", "900T"]);
    create("cpus", &["--reserve-cpu", "4000"]);
    create("generic", &["--generic-resource", "GPU=1"]);
    create("crowded", &["--replicas", "3", "--replicas-max-per-node", "1"]);
    create("ports", &["--replicas", "3", "--publish", "mode=host,published=8082,target=80"]);
    let once = ["--restart-condition", "none", "--constraint", "node.hostname==h1"];
    create("sourceless", &[&once[..], &["--mount", "type=bind,source=/no/such/place,target=/x"]].concat());
    let image = "127.0.0.1:5000/none:1";
    let words = ["service", "create", "--detach", "--no-resolve-image", "--name", "imageless"];
    swarm.docker(1, &[&words[..], &once, &[image]].concat()).expect();
    for (service, sentence) in [
        ("constrained", "no suitable node (scheduling constraints not satisfied on 2 nodes)"),
        ("greedy", "no suitable node (insufficient resources on 2 nodes)"),
        ("cpus", "no suitable node (insufficient resources on 2 nodes)"),
        ("generic", "no suitable node (insufficient resources on 2 nodes)"),
        ("crowded", "no suitable node (max replicas per node limit exceed)"),
        ("ports", "no suitable node (host-mode port already in use on 2 nodes)"),
        ("sourceless", "invalid mount config for type \"bind\": bind source path does not exist: /no/such/place"),
        ("imageless", "No such image: 127.0.0.1:5000/none:1"),
        ("imageless", "manifest unknown"),
    ] {
        says(&swarm, &mut listener, service, sentence);
    }
    registry.kill().expect("killed");
    registry.wait().expect("ended");
    swarm.node_update(1, &["--availability", "pause", "h2"]);
    create("split", &["--constraint", "node.labels.zone==mars"]);
    says(&swarm, &mut listener, "split", "1 node not available for new tasks");
    says(&swarm, &mut listener, "split", "scheduling constraints not satisfied on 1 node");

    // What is missing is said before anything is made.
    let refusal = swarm.create_service("secretless", &["--secret", "nosuch"], &[]).expect_failure();
    assert!(refusal.contains("secret not found: nosuch"), "{refusal}");
    let refusal = swarm.create_service("configless", &["--config", "nosuch"], &[]).expect_failure();
    assert!(refusal.contains("config not found: nosuch"), "{refusal}");
    let refusal = swarm.create_service("netless", &["--network", "nosuch"], &[]).expect_failure();
    assert!(refusal.contains("network nosuch not found"), "{refusal}");
}

#[test]
fn networks_without_room_say_so_and_heal() {
    let Some(swarm) = Swarm::start(1) else { return };
    // Room for the ingress network and one other, of six addresses each.
    let pool = ["--default-addr-pool", "10.77.0.0/28", "--default-addr-pool-mask-length", "29"];
    let init = ["swarm", "init", "--advertise-addr", &swarm.address(1)];
    swarm.docker(1, &[&init[..], &pool].concat()).expect();
    swarm.load_busybox([1]);
    let mut listener = Listener::of_tasks(&swarm, 1);
    let network = |name: &str, options: &[&str]| {
        let words = ["network", "create", "--driver", "overlay"];
        swarm.docker(1, &[&words[..], options, &[name]].concat()).expect()
    };
    network("first", &[]);
    network("second", &[]);
    network("third", &["--subnet", "10.77.0.8/29"]);
    // Of six addresses the gateway and the virtual address take two.
    let create = |name: &str, network: &str, replicas: &str| {
        let options = ["--network", network, "--replicas", replicas, "--stop-signal", "KILL"];
        swarm.create_service(name, &options, &["sleep", "1000"]).expect();
    };
    create("full", "first", "5");
    create("poolless", "second", "1");
    create("overlapping", "third", "1");
    says(&swarm, &mut listener, "full", "could not find an available IP address in network first");
    says(
        &swarm,
        &mut listener,
        "poolless",
        "network second is not allocated yet: no subnet of size /29 is free in the address pools 10.77.0.0/28; \
         add a pool or remove a network",
    );
    says(
        &swarm,
        &mut listener,
        "overlapping",
        "network third is not allocated yet: subnet 10.77.0.8/29 overlaps with 10.77.0.8/29, which another network uses",
    );
    // Addresses that come free are used at once …
    swarm.docker(1, &["service", "scale", "--detach", "full=1"]).expect();
    swarm.wait_running(1, "full", 1);
    create("other", "first", "1");
    swarm.wait_running(1, "other", 1);
    // … and so is a subnet.
    swarm.docker(1, &["service", "rm", "full", "other", "overlapping"]).expect();
    wait_until("the networks to be unused", || {
        let said = swarm.docker(1, &["network", "rm", "third", "first"]);
        let left = swarm.docker(1, &["network", "ls", "--format", "{{.Name}}"]).out;
        let gone = |name: &str| !left.lines().any(|line| line == name);
        if gone("first") && gone("third") { Ok(()) } else { Err(said.err) }
    });
    swarm.wait_running(1, "poolless", 1);
    let subnet = swarm.docker(1, &["network", "inspect", "second", "--format", "{{(index .IPAM.Config 0).Subnet}}"]);
    assert_eq!(subnet.expect(), "10.77.0.8/29");
}
