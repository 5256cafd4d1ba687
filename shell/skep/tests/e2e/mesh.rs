//! Ports of the routing mesh on Skep nodes: each node answers with its own tasks.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Said, Swarm, wait_for, wait_until};

/// Says the task's name; who is told to end lets those finish whom it has accepted.
const SERVER: &str = "trap 'sleep 1; exit 0' TERM; mkdir -p /www; echo $TASK > /www/index.html; \
                      httpd -f -p 80 -h /www & httpd -f -p 81 -h /www & wait";

fn create(swarm: &Swarm, name: &str, options: &[&str]) -> Said {
    let health = ["--health-cmd", "wget -q -O /dev/null http://127.0.0.1:80/", "--health-interval", "200ms"];
    let common = ["--env", "TASK={{.Task.Name}}", "--update-monitor", "1s", "--update-delay", "0s"];
    swarm.create_service(name, &[&health[..], &common, options].concat(), &["sh", "-c", SERVER])
}

fn get(swarm: &Swarm, host: usize, port: u16) -> Result<String, String> {
    let url = format!("http://{}:{port}/", swarm.address(host));
    let said = Command::new("curl").args(["-sSf", "-m", "20", &url]).output().expect("curl is installed");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if said.status.success() { Ok(text(&said.stdout)) } else { Err(text(&said.stderr)) }
}

/// Over IPv6, from the host itself.
fn get_over_ipv6(swarm: &Swarm, host: usize, port: u16) -> Result<String, String> {
    let url = format!("http://[::1]:{port}/");
    let said = swarm.host(host).command("curl").args(["-6", "-sSf", "-m", "20", &url]).output().expect("curl runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if said.status.success() { Ok(text(&said.stdout)) } else { Err(text(&said.stderr)) }
}

/// Tasks of a service that run on a host, by their containers' names.
fn tasks_on(swarm: &Swarm, host: usize, service: &str) -> BTreeSet<String> {
    let filter = format!("label=com.docker.swarm.service.name={service}");
    let names = swarm.docker(host, &["ps", "--filter", &filter, "--format", "{{.Names}}"]).expect();
    names.lines().map(str::to_owned).collect()
}

/// Waits until the port of a host is answered by just the tasks that it runs.
#[track_caller]
fn answers_with_its_own(swarm: &Swarm, host: usize, port: u16, service: &str) {
    wait_until(&format!("h{host} to answer on {port}"), || {
        let own = tasks_on(swarm, host, service);
        let heard: BTreeSet<String> = (0..own.len().max(1) * 2).filter_map(|_| get(swarm, host, port).ok()).collect();
        if heard == own { Ok(()) } else { Err(format!("{heard:?} answered, {own:?} run")) }
    });
}

fn rules(swarm: &Swarm, host: usize) -> String {
    let listed = swarm.host(host).command("nft").args(["list", "ruleset"]).output().expect("nft runs");
    String::from_utf8_lossy(&listed.stdout).into_owned()
}

#[test]
fn each_node_answers_with_its_own_tasks() {
    let Some(mut swarm) = Swarm::formed(1, 1) else { return };
    swarm.load_busybox(1..=2);
    let said = create(&swarm, "web", &["--replicas", "4", "-p", "8080:80", "-p", "81"]);
    assert!(said.ok, "{}", said.err);
    let warning = "published on the routing mesh: port 8080/tcp, any port for 81/tcp: a Skep node answers there while";
    assert!(said.err.contains(warning), "{}", said.err);
    swarm.wait_running(1, "web", 4);
    let list = swarm.docker(1, &["service", "ls", "--format", "{{.Name}} {{.Ports}}"]).expect();
    assert_eq!(list, "web *:8080->80/tcp, *:30000->81/tcp");
    for host in 1..=2 {
        assert_eq!(tasks_on(&swarm, host, "web").len(), 2, "spread");
        answers_with_its_own(&swarm, host, 8080, "web");
        answers_with_its_own(&swarm, host, 30000, "web");
        assert_eq!(swarm.docker(host, &["ps", "--format", "{{.Ports}}"]).expect(), "", "none is a container's own");
    }

    // A task that dies is replaced; the daemon's end and return change nothing.
    let victim = tasks_on(&swarm, 2, "web").pop_first().expect("a task");
    swarm.docker(2, &["kill", &victim]).expect();
    answers_with_its_own(&swarm, 2, 8080, "web");
    swarm.wait_running(1, "web", 4);
    swarm.kill_daemon(2);
    get(&swarm, 2, 8080).expect("an answer without a daemon");
    swarm.start_daemon(2);
    answers_with_its_own(&swarm, 2, 8080, "web");
    wait_until("the same tasks to answer over IPv6", || {
        let own = tasks_on(&swarm, 2, "web");
        let heard: BTreeSet<String> =
            (0..own.len().max(1) * 2).filter_map(|_| get_over_ipv6(&swarm, 2, 8080).ok()).collect();
        if heard == own { Ok(()) } else { Err(format!("{heard:?} answered, {own:?} run")) }
    });

    let said = swarm.docker(1, &["service", "scale", "--detach", "web=1"]);
    assert!(!said.err.contains("routing mesh"), "nothing new is published: {}", said.err);
    swarm.wait_running(1, "web", 1);
    for host in 1..=2 {
        answers_with_its_own(&swarm, host, 8080, "web");
    }

    // Other ports are other tasks.
    let words = ["service", "update", "--detach", "--publish-add", "8090:81", "--publish-rm", "81", "web"];
    let said = swarm.docker(1, &words);
    assert!(said.err.contains("published on the routing mesh: port 8090/tcp: "), "{}", said.err);
    for host in 1..=2 {
        answers_with_its_own(&swarm, host, 8090, "web");
        wait_for("the port that is given back to be silent", || {
            get(&swarm, host, 30000).is_err() && get_over_ipv6(&swarm, host, 30000).is_err()
        });
    }
    let said = swarm.docker(1, &["service", "rollback", "--detach", "web"]);
    assert!(said.err.contains("any port for 81/tcp"), "{}", said.err);
    // Any port will do: the one that it has is kept.
    let list = swarm.docker(1, &["service", "ls", "--format", "{{.Ports}}"]).expect();
    assert_eq!(list, "*:8080->80/tcp, *:8090->81/tcp");
    wait_until("the rollback", || {
        let state = swarm.docker(1, &["service", "inspect", "web", "--format", "{{.UpdateStatus.State}}"]).expect();
        if state == "rollback_completed" { Ok(()) } else { Err(state) }
    });
    for host in 1..=2 {
        answers_with_its_own(&swarm, host, 8090, "web");
    }

    swarm.docker(1, &["service", "rm", "web"]).expect();
    for host in 1..=2 {
        wait_until("nothing to be left", || {
            let (rules, containers) = (rules(&swarm, host), swarm.docker(host, &["ps", "-aq"]).expect());
            let left = ["8080", "8090", "300"].iter().any(|port| rules.contains(port)) || !containers.is_empty();
            if left { Err(format!("{rules}{containers}")) } else { Ok(()) }
        });
        assert!(get(&swarm, host, 8080).is_err());
    }
}

/// Asks all the time until it is dropped; then how often, and what went wrong.
fn ask_all_the_time(url: String) -> impl FnOnce() -> (usize, Vec<String>) {
    let over = Arc::new(AtomicBool::new(false));
    let asking = std::thread::spawn({
        let over = Arc::clone(&over);
        move || {
            let (mut asked, mut wrong) = (0, Vec::new());
            while !over.load(Ordering::Relaxed) {
                let said = Command::new("curl").args(["-sSf", "-m", "20", &url]).output().expect("curl is installed");
                asked += 1;
                wrong.extend((!said.status.success()).then(|| String::from_utf8_lossy(&said.stderr).into_owned()));
            }
            (asked, wrong)
        }
    });
    move || {
        over.store(true, Ordering::Relaxed);
        asking.join().expect("it ends")
    }
}

#[test]
fn an_update_that_starts_first_fails_nobody() {
    let Some(swarm) = Swarm::formed(1, 0) else { return };
    swarm.load_busybox([1]);
    create(&swarm, "web", &["--replicas", "2", "--update-order", "start-first", "-p", "8080:80"]).expect();
    swarm.wait_running(1, "web", 2);
    let before = tasks_on(&swarm, 1, "web");
    let asked = ask_all_the_time(format!("http://{}:8080/", swarm.address(1)));
    swarm.docker(1, &["service", "update", "--detach", "--env-add", "ROUND=2", "web"]).expect();
    wait_until("the update", || {
        let state = swarm.docker(1, &["service", "inspect", "web", "--format", "{{.UpdateStatus.State}}"]).expect();
        let now = tasks_on(&swarm, 1, "web");
        if state == "completed" && now.len() == 2 && now.is_disjoint(&before) { Ok(()) } else { Err(state) }
    });
    let (times, wrong) = asked();
    assert!(times > 0 && wrong.is_empty(), "{} of {times}: {wrong:?}", wrong.len());
}

#[test]
fn a_port_that_cannot_be_had_says_why() {
    let Some(swarm) = Swarm::formed(1, 0) else { return };
    swarm.load_busybox([1]);
    let mut own = swarm.host(1).command("/bin/busybox");
    let mut own = own.args(["nc", "-l", "-p", "8080"]).stdin(Stdio::null()).spawn().expect("it starts");
    create(&swarm, "held", &["-p", "8080:80", "--restart-delay", "100ms"]).expect();
    let errors =
        |service: &str| swarm.docker(1, &["service", "ps", "--no-trunc", service, "--format", "{{.Error}}"]).out;
    wait_until("the reason", || {
        let said = errors("held");
        if said.contains("published port 8080/tcp is held by a process of this host") { Ok(()) } else { Err(said) }
    });
    swarm.host(1).signal(&own, "KILL").expect("killed");
    own.wait().expect("ended");
    answers_with_its_own(&swarm, 1, 8080, "held");

    // The network that carries the mesh stays while it is used, and nothing is published without it.
    let ask = |method: &str, path: &str| {
        let socket = swarm.socket(1).display().to_string();
        let words = ["-sS", "-X", method, "--unix-socket", &socket, &format!("http://skep/v1.41{path}")];
        let said = Command::new("curl").args(words).output().expect("curl is installed");
        String::from_utf8_lossy(&said.stdout).into_owned()
    };
    let refusal = ask("DELETE", "/networks/ingress");
    assert!(refusal.contains("ingress network cannot be removed because service"), "{refusal}");
    swarm.docker(1, &["service", "rm", "held"]).expect();
    assert_eq!(ask("DELETE", "/networks/ingress"), "");
    let refusal = create(&swarm, "without", &["-p", "8080:80"]).expect_failure();
    assert!(refusal.contains("service needs ingress network, but no ingress network is present"), "{refusal}");
    swarm.docker(1, &["network", "create", "--ingress", "--driver", "overlay", "mesh"]).expect();
    create(&swarm, "with", &["-p", "8080:80"]).expect();
    swarm.wait_running(1, "with", 1);
    answers_with_its_own(&swarm, 1, 8080, "with");
    create(&swarm, "odd", &["-p", "8099:80", "--network", "host"]).expect();
    wait_until("the reason", || {
        let said = errors("odd");
        if said.contains("cannot be published on the routing mesh by a task on the network host") {
            Ok(())
        } else {
            Err(said)
        }
    });
}
