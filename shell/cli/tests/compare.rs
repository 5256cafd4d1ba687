//! The real `docker` client and this one against the same recorded daemon: the same words out, the same requests in.
//! Where no `docker` is new enough, that is said, and this client's half still runs.

#![recursion_limit = "256"]

mod support;

use support::{Daemon, docker, skep};

/// Both clients, each command line: same output, same exit code, same requests (`/_ping`, `/info`, `/version` aside).
fn same(commands: &[&[&str]]) {
    let differences: Vec<String> = commands.iter().flat_map(|command| differences(command)).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn differences(command: &[&str]) -> Vec<String> {
    let daemon = Daemon::start();
    let own = skep(&daemon, command);
    let own_requests = daemon.take_requests();
    let Some(theirs) = docker(&daemon, command) else { return Vec::new() };
    let their_requests = daemon.take_requests();
    let mut found = Vec::new();
    if own.out != theirs.out && !same_json(&own.out, &theirs.out) {
        found.push(format!("{command:?} says\n{}\ndocker says\n{}", own.out, theirs.out));
    }
    if own.code != theirs.code {
        found.push(format!(
            "{command:?} ends with {}: {}\ndocker with {}: {}",
            own.code, own.error, theirs.code, theirs.error
        ));
    }
    // What changes something is the same in the same order; what is read, docker reads too.
    let writes =
        |requests: &[String]| requests.iter().filter(|line| !line.starts_with("GET")).cloned().collect::<Vec<_>>();
    let reads_more = own_requests.iter().any(|line| !their_requests.contains(line));
    if writes(&own_requests) != writes(&their_requests) || reads_more {
        found.push(format!(
            "{command:?} asks\n{}\ndocker asks\n{}",
            own_requests.join("\n"),
            their_requests.join("\n")
        ));
    }
    found
}

/// The recorded daemon sorts members, docker does not: order is not compared, since a real daemon's is kept.
fn same_json(left: &str, right: &str) -> bool {
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    parse(left).is_some_and(|left| Some(left) == parse(right))
}

#[test]
fn lists() {
    same(&[
        &["node", "ls"][..],
        &["node", "ls", "-q"],
        &["node", "ls", "--format", "{{.ID}} {{.Hostname}} {{.ManagerStatus}} {{.Self}} {{.TLSStatus}}"],
        &["node", "ls", "--format", "table {{.Hostname}}\\t{{.Status | upper}}"],
        &["node", "ls", "--format", "json"],
        &["node", "ls", "--filter", "role=manager", "-f", "name=a"],
        &["service", "ls"],
        &["service", "ls", "-q"],
        &["service", "ls", "--format", "json"],
        &["service", "ls", "--format", "{{.Name}}: {{.Replicas}}"],
        &["service", "ps", "web"],
        &["service", "ps", "--no-trunc", "web"],
        &["service", "ps", "-q", "web"],
        &["service", "ps", "--no-resolve", "--format", "{{.Name}} {{.Node}} {{.Error}}", "web"],
        &["service", "ps", "nope"],
        &["service", "ps", "-q", "--no-trunc", "web"],
        &["node", "ps", "self"],
        &["node", "ps", "-q", "self"],
        &["node", "ls", "--format", "{{json .}}"],
        &["stack", "ls"],
        &["stack", "ls", "--format", "{{.Name}}: {{.Services}}"],
        &["stack", "ps", "st"],
        &["stack", "ps", "-q", "st"],
        &["stack", "ps", "--no-trunc", "--no-resolve", "--format", "{{.Name}} {{.Image}}", "st"],
        &["stack", "ps", "nope"],
        &["stack", "services", "st"],
        &["stack", "services", "-q", "st"],
        &["stack", "services", "nope"],
        &["system", "df"],
        &["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Size}}"],
        &["secret", "ls"],
        &["config", "ls"],
        &["network", "ls"],
        &["network", "ls", "--no-trunc", "-q"],
        &["ps"],
        &["ps", "-a", "--no-trunc"],
        &["ps", "--format", "{{.Names}}|{{.Label \"com.docker.swarm.task.name\"}}|{{.Ports}}|{{.Labels}}"],
        &["ps", "-q"],
        &["images"],
        &["images", "-q"],
        &["image", "ls", "--digests", "--no-trunc"],
        &["top", "c1"],
    ]);
}

#[test]
fn inspections() {
    same(&[
        &["node", "inspect", "self"][..],
        &["node", "inspect", "--format", "{{.Spec.Role}} {{.Description.Hostname}} {{json .Spec.Labels}}", "self"],
        &["node", "inspect", "--format", "json", "self"],
        &["node", "inspect", "--pretty", "self"],
        &["node", "inspect", "nope"],
        &["service", "inspect", "web"],
        &["service", "inspect", "-f", "{{range .Endpoint.Ports}}{{.PublishedPort}}->{{.TargetPort}} {{end}}", "web"],
        &["service", "inspect", "--pretty", "web"],
        &["service", "inspect", "nope"],
        &["service", "inspect", "web", "nope"],
        &["secret", "inspect", "--pretty", "s1"],
        &["inspect", "web"],
        &["inspect", "net1", "s1"],
        &["inspect", "--type", "network", "-f", "{{.Name}}", "net1"],
        &["inspect", "nope"],
        &["inspect", "--type", "king", "net1"],
        &["network", "inspect", "net1"],
        &["image", "inspect", "busybox"],
        &["container", "inspect", "c1"],
    ]);
}

#[test]
fn swarm_commands() {
    same(&[
        &["swarm", "init", "--advertise-addr", "192.0.2.1"][..],
        &[
            "swarm",
            "init",
            "--autolock",
            "--availability",
            "drain",
            "--cert-expiry",
            "2h",
            "--task-history-limit",
            "3",
            "--dispatcher-heartbeat",
            "7s",
            "--default-addr-pool",
            "10.20.0.0/16",
            "--default-addr-pool-mask-length",
            "26",
            "--snapshot-interval",
            "500",
            "--max-snapshots",
            "2",
            "--data-path-port",
            "7777",
            "--listen-addr",
            "192.0.2.1",
        ],
        &["swarm", "join", "--token", "SWMTKN-1-x", "192.0.2.1:2377"],
        &["swarm", "join-token", "worker"],
        &["swarm", "join-token", "-q", "manager"],
        &["swarm", "join-token", "--rotate", "worker"],
        &["swarm", "join-token", "boss"],
        &["swarm", "leave"],
        &["swarm", "leave", "--force"],
        &["swarm", "update", "--task-history-limit", "9", "--autolock=false"],
        &["swarm", "update", "--autolock"],
        &["swarm", "unlock-key"],
        &["swarm", "unlock-key", "-q"],
        &["swarm", "unlock-key", "--rotate"],
        &["swarm", "ca"],
        &["node", "promote", "worker1"],
        &["node", "promote", "self1"],
        &["node", "demote", "self1"],
        &["node", "update", "--availability", "drain", "--label-add", "a=b", "--label-rm", "zone", "worker1"],
        &["node", "update", "--label-rm", "absent", "worker1"],
        &["node", "rm", "worker1"],
        &["node", "rm", "-f", "worker1", "nope"],
    ]);
}

/// Every flag of `service create`, split at spaces.
const CREATE: &str = "service create -d --no-resolve-image --name big -e A=1 -e B=2 -l x=y --container-label c=d -p 8080:80 \
    -p mode=host,published=53,target=5353,protocol=udp --constraint node.role==worker \
    --placement-pref spread=node.labels.zone --limit-cpu 0.5 --limit-memory 64m --reserve-cpu 0.1 \
    --reserve-memory 32MiB --limit-pids 100 --restart-condition on-failure --restart-delay 3s \
    --restart-max-attempts 4 --update-parallelism 2 --update-delay 1s --rollback-order start-first \
    --stop-grace-period 3s --stop-signal SIGINT --mount type=bind,src=/a,dst=/b,ro \
    --mount type=volume,source=v,target=/v,volume-driver=local,volume-opt=o=bind --health-cmd true \
    --health-interval 5s --health-retries 2 --hostname h -u 1000 -w /srv --read-only -t --init \
    --cap-add net_admin --cap-drop CAP_CHOWN --dns 192.0.2.53 --host db:192.0.2.7 --network net1 --secret s1 \
    --config source=c1,target=/etc/c,mode=0400 --ulimit nofile=1024:2048 --sysctl net.core.somaxconn=9 \
    --log-driver json-file --log-opt max-size=1m --endpoint-mode dnsrr --entrypoint sh --replicas-max-per-node 2 \
    --generic-resource gpu=2 --group g busybox:1 echo hi";

/// Variables are all replaced, since docker sends several back in no order.
const UPDATE: &str = "service update -d --image busybox:2 --env-add NEW=1 --env-rm OLD --env-rm KEEP --label-add l=m \
    --publish-add 9090:90 --publish-rm 80 --constraint-add node.id!=x --args a --replicas 3 \
    --update-order start-first --limit-memory 1g --mount-rm /old web";

#[test]
fn service_specs() {
    let words = |line: &'static str| line.split_whitespace().collect::<Vec<_>>();
    same(&[&words(CREATE), &words(UPDATE)]);
}

#[test]
fn service_commands() {
    same(&[
        &["service", "create", "-d", "--name", "web", "--replicas", "6", "busybox", "httpd", "-f"],
        &["service", "create", "-d", "--no-resolve-image", "--name", "all", "--mode", "global", "busybox:1"],
        &["service", "create", "--mode", "wrong", "busybox"],
        &["service", "scale", "-d", "web=9"],
        &["service", "scale", "-d", "web=x"],
        &["service", "rollback", "-d", "web"],
        &["service", "rm", "web", "nope"],
        &["service", "update", "-d", "--force", "web"],
        &["service", "update", "-d", "--args", "a 'b c'", "web"],
        &["service", "update", "-d", "--rollback", "web"],
        &["service", "logs", "web"],
        &["service", "logs", "--no-trunc", "--timestamps", "web"],
        &["service", "logs", "--raw", "--tail", "5", "web"],
        &["service", "logs", "nope"],
    ]);
}

#[test]
fn others() {
    same(&[
        &["logs", "c1"][..],
        &["logs", "-t", "--tail", "3", "c1"],
        &["stop", "-t", "3", "c1"],
        &["kill", "-s", "HUP", "c1"],
        &["kill", "nope"],
        &["secret", "rm", "s1"],
        &["config", "rm", "nope"],
        &["network", "create", "-d", "overlay", "--attachable", "--subnet", "10.9.0.0/24", "--label", "a=b", "net2"],
        &["network", "rm", "net1"],
        &["network", "prune", "-f"],
        &["network", "prune", "-f", "--filter", "label=a"],
        &["stack", "rm", "st"],
        &["stack", "rm", "nope"],
        &["rmi", "busybox"],
        &["tag", "busybox", "localhost:5000/b:2"],
        &["image", "prune", "-f"],
        &["pull", "busybox"],
        &["events", "--since", "1", "--until", "2"],
        &["events", "--since", "1", "--until", "2", "--format", "json"],
        &["stats", "--no-stream", "c1"],
        &["exec", "-e", "A=1", "-w", "/tmp", "c1", "ls", "-l"],
    ]);
}

#[test]
fn info_of_the_server() {
    let daemon = Daemon::start();
    let server = |text: &str| text.split_once("\nServer:\n").map(|(_, server)| server.to_owned()).unwrap_or_default();
    let own = skep(&daemon, &["info"]);
    assert!(own.out.contains(" Swarm: active\n") && own.error.contains("WARNING: No swap limit support"));
    if let Some(theirs) = docker(&daemon, &["info"]) {
        assert_eq!(server(&own.out), server(&theirs.out));
    }
    for format in ["{{.Swarm.LocalNodeState}}", "{{.ServerVersion}} {{.NCPU}}"] {
        let own = skep(&daemon, &["info", "--format", format]);
        if let Some(theirs) = docker(&daemon, &["info", "--format", format]) {
            assert_eq!(own.out, theirs.out);
        }
    }
}

#[test]
fn waiting_shows_how_it_ends() {
    let daemon = Daemon::start();
    let own = skep(&daemon, &["service", "update", "--force", "quick"]);
    assert_eq!(own.code, 0, "{}", own.error);
    let lines: Vec<&str> = own.out.lines().collect();
    assert_eq!(lines.first(), Some(&"quick"));
    assert!(lines.contains(&"overall progress: 2 out of 2 tasks"), "{}", own.out);
    assert_eq!(lines.last(), Some(&"verify: Service quick converged"), "{}", own.out);
    let own = skep(&daemon, &["service", "rollback", "stuck"]);
    assert_eq!(own.code, 1);
    assert!(own.error.ends_with("service update paused: too many failures\n"), "{}", own.error);
}

#[test]
fn a_command_line_that_makes_no_sense() {
    let daemon = Daemon::start();
    let usage = "skep service create [OPTIONS] IMAGE [COMMAND] [ARG...]";
    for (command, code, first) in [
        (&["nope"][..], 1, "skep: unknown command: skep nope"),
        (&["node", "nope"], 1, "skep: unknown command: skep node nope"),
        (&["node", "ls", "--nope"], 125, "unknown flag: --nope"),
        (&["node", "ls", "-z"], 125, "unknown shorthand flag: 'z' in -z"),
        (&["node", "ls", "x"], 1, "skep: 'skep node ls' accepts no arguments"),
        (&["service", "create"], 1, "skep: 'skep service create' requires at least 1 argument"),
        (&["service", "rm"], 1, "skep: 'skep service rm' requires at least 1 argument"),
        (&["swarm", "join"], 1, "skep: 'skep swarm join' requires 1 argument"),
        (&["secret", "create"], 1, "skep: 'skep secret create' requires at least 1 and at most 2 arguments"),
        (
            &["service", "create", "--replicas", "x", "busybox"],
            125,
            "invalid argument \"x\" for \"--replicas\" flag: strconv.ParseUint: parsing \"x\": invalid syntax",
        ),
        (&["service", "create", "--replicas"], 125, "flag needs an argument: --replicas"),
        (
            &["service", "create", "-p", "80:x", "busybox"],
            125,
            "invalid argument \"80:x\" for \"-p, --publish\" flag: invalid containerPort: x",
        ),
        (
            &["service", "create", "--mount", "foo", "busybox"],
            125,
            "invalid argument \"foo\" for \"--mount\" flag: invalid field 'foo' must be a key=value pair",
        ),
        (
            &["node", "ls", "-f", "foo"],
            125,
            "invalid argument \"foo\" for \"-f, --filter\" flag: bad format of filter (expected name=value)",
        ),
    ] {
        let own = skep(&daemon, command);
        assert_eq!((own.code, own.error.lines().next()), (code, Some(first)), "{command:?}: {}", own.error);
        assert!(own.out.is_empty(), "{command:?}: {}", own.out);
        if command.starts_with(&["service", "create"]) {
            assert!(own.error.contains(usage), "{}", own.error);
        }
        let Some(theirs) = docker(&daemon, command) else { continue };
        assert_eq!(own.code, theirs.code, "{command:?}: docker says {}", theirs.error);
        // The newer client says it in the same words; the older one in others.
        if theirs.error.contains("docker: '") || theirs.error.contains("docker: unknown") || code == 125 {
            let theirs = theirs.error.replace("docker", "skep");
            assert_eq!(own.error.lines().next(), theirs.lines().next(), "{command:?}");
        }
    }
    for bare in [&["node"][..], &["service"], &["swarm", "update"], &[]] {
        assert_eq!(skep(&daemon, bare).code, 0, "{bare:?}");
    }
    let version = skep(&daemon, &["--version"]);
    assert_eq!((version.code, version.out.as_str()), (0, concat!("Skep version ", env!("CARGO_PKG_VERSION"), "\n")));
    let own = support::skep_at("unix:///nonexistent/socket", &["node", "ls"]);
    assert_eq!(own.code, 1);
    assert!(own.error.contains("/nonexistent/socket"), "{}", own.error);
}
