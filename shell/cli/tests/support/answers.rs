//! What the recorded daemon answers.

use serde_json::{Value, json};

pub struct Answer {
    pub status: u16,
    pub kind: &'static str,
    pub body: Vec<u8>,
}

fn ok(body: Value) -> Answer {
    Answer { status: 200, kind: "application/json", body: body.to_string().into_bytes() }
}

fn status(status: u16, body: Value) -> Answer {
    Answer { status, ..ok(body) }
}

fn empty(status: u16) -> Answer {
    Answer { status, kind: "text/plain", body: Vec::new() }
}

fn missing(what: &str) -> Answer {
    status(404, json!({"message": format!("{what} not found")}))
}

const SELF: &str = "9ejbkbj0u4wx2cz4i7xqdukwm";
const WORKER: &str = "b7xqdukwm9ejbkbj0u4wx2cz4";
const STAMP: &str = "2023-03-04T05:06:07.123456789Z";

pub fn answer(method: &str, path: &str, query: &str) -> Answer {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (method, parts.as_slice()) {
        (_, ["_ping"]) => Answer { status: 200, kind: "text/plain", body: b"OK".to_vec() },
        (_, ["info"]) => ok(info()),
        (_, ["swarm"]) => ok(swarm()),
        (_, ["swarm", "init"]) => ok(json!(SELF)),
        (_, ["swarm", "unlockkey"]) => ok(json!({"UnlockKey": "SWMKEY-1-abc"})),
        (_, ["swarm", "leave"]) if !query.contains("force=1") => status(
            503,
            json!({"message": "You are attempting to leave the swarm on a node that is participating as a manager."}),
        ),
        (_, ["swarm", _]) => empty(200),
        ("GET", ["nodes"]) => ok(json!([node("host10", false), node("host2", true), worker()])),
        (_, ["nodes", _, "update"]) => empty(200),
        (_, ["nodes", name]) => match *name {
            "self1" | SELF => ok(node("host2", true)),
            "worker1" | WORKER => ok(worker()),
            other => missing(&format!("node {other}")),
        },
        ("GET", [kind]) if query.contains("stack.namespace") => stack(kind, query),
        ("DELETE", ["services", "serviceid0000000000000001"]) => empty(200),
        ("GET", ["services"]) => services(query),
        ("POST", ["services", "create"]) => status(201, json!({"ID": "newserviceid0000000000000"})),
        ("POST", ["services", _, "update"]) => ok(json!({"Warnings": ["a warning"]})),
        (_, ["services", name, "logs"]) | (_, ["tasks", name, "logs"]) => logs(name, query),
        (_, ["services", name]) => match *name {
            "web" | "serviceid0000000000000001" => ok(service()),
            "quick" => ok(quick("completed_not", 2)),
            "stuck" => ok(quick("paused", 2)),
            other => missing(&format!("service {other}")),
        },
        (_, ["tasks"]) if query.contains("quickid") => ok(quick_tasks()),
        (_, ["tasks"]) => ok(tasks()),
        (_, ["tasks", "taskid00000000000000000a1"]) => ok(task("taskid00000000000000000a1", 1, "running", "", STAMP)),
        (_, ["tasks", name]) => missing(&format!("task {name}")),
        ("GET", ["secrets"]) => ok(json!([dependency("secretid1", "s1"), dependency("secretid2", "a2")])),
        ("GET", ["configs"]) => ok(json!([dependency("configid1", "c1")])),
        ("DELETE", ["secrets" | "configs", "nope"]) => missing("config nope"),
        ("DELETE", ["secrets" | "configs" | "networks", _]) => empty(204),
        ("GET", ["networks"]) => ok(json!([network()])),
        ("POST", ["networks", "create"]) => status(201, json!({"Id": "newnetworkid", "Warning": ""})),
        ("POST", ["networks", "prune"]) => ok(json!({"NetworksDeleted": ["net1", "net2"]})),
        ("GET", ["networks", "nope" | "web" | "s1"]) => missing("network nope"),
        ("GET", ["networks", _]) => ok(network()),
        ("GET", ["secrets", "s1"]) => ok(dependency("secretid1", "s1")),
        _ => engine_answer(method, path, &parts),
    }
}

/// Containers, images and the rest of one node.
fn engine_answer(method: &str, path: &str, parts: &[&str]) -> Answer {
    match (method, parts) {
        ("POST", ["containers", "c1", "exec"]) => status(201, json!({"Id": "e1"})),
        ("POST", ["exec", "e1", "start"]) => Answer { status: 101, ..frames(&[(1, "listed\n"), (2, "complaint\n")]) },
        ("GET", ["exec", "e1", "json"]) => ok(json!({"ID": "e1", "Running": false, "ExitCode": 3})),
        ("GET", ["containers", "json"]) => ok(json!([container(), other_container()])),
        (_, ["system", "df"]) => ok(
            json!({"LayersSize": 4_273_502, "Images": images(), "Containers": [container()], "Volumes": [], "BuildCache": []}),
        ),
        (_, ["containers" | "images", "web" | "net1" | "s1", "json"]) => missing("No such container"),
        (_, ["images" | "plugins", "nope", "json"]) | ("GET", ["volumes", _]) => missing("nothing of that name"),
        (_, ["containers", "nope", ..]) => missing("No such container: nope"),
        ("GET", ["containers", _, "json"]) => {
            ok(json!({"Id": "c1".repeat(32), "Name": "/web.1", "Config": {"Tty": false, "Image": "busybox"}}))
        }
        (_, ["containers", _, "logs"]) => frames(&[(1, "out one\n"), (2, "err\n"), (1, "out two\n")]),
        (_, ["containers", _, "top"]) => ok(
            json!({"Titles": ["PID", "USER", "COMMAND"], "Processes": [["1", "root", "/web serve"], ["22", "nobody", "sh"]]}),
        ),
        (_, ["containers", _, "stats"]) => ok(stats()),
        (_, ["containers", _, "stop" | "kill"]) => empty(204),
        (_, ["images", "json"]) => ok(images()),
        (_, ["images", "create"]) => lines(&[
            json!({"status": "Pulling from library/busybox", "id": "latest"}),
            json!({"status": "Downloading", "progressDetail": {"current": 10, "total": 100}, "progress": "[=> ]", "id": "abc"}),
            json!({"status": "Pull complete", "progressDetail": {}, "id": "abc"}),
            json!({"status": "Digest: sha256:11"}),
            json!({"status": "Status: Downloaded newer image for busybox:latest"}),
        ]),
        (_, ["images", "prune"]) => {
            ok(json!({"ImagesDeleted": [{"Untagged": "a:1"}, {"Deleted": "sha256:22"}], "SpaceReclaimed": 12_345_678}))
        }
        ("DELETE", ["images", ..]) => ok(json!([{"Untagged": "busybox:latest"}, {"Deleted": "sha256:aa"}])),
        ("POST", ["images", .., "tag"]) => empty(201),
        ("GET", ["images", _, "json"]) => ok(json!({"Id": "sha256:aa", "RepoTags": ["busybox:latest"], "Size": 7})),
        (_, ["distribution", ..]) => ok(json!({
            "Descriptor": {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": format!("sha256:{}", "5".repeat(64)), "size": 9},
            "Platforms": [{"architecture": "amd64", "os": "linux"}, {"architecture": "arm", "os": "linux", "variant": "v7"}],
        })),
        (_, ["events"]) => lines(&[
            json!({"Type": "node", "Action": "update", "Actor": {"ID": SELF, "Attributes": {"name": "host2", "state.new": "ready"}},
            "scope": "swarm", "time": 1_700_000_000, "timeNano": 1_700_000_000_123_456_789_i64}),
        ]),
        _ => missing(&format!("page {method} {path}")),
    }
}

fn lines(documents: &[Value]) -> Answer {
    let body: String = documents.iter().map(|document| format!("{document}\r\n")).collect();
    Answer { body: body.into_bytes(), ..ok(Value::Null) }
}

fn frames(pieces: &[(u8, &str)]) -> Answer {
    let mut body = Vec::new();
    for (stream, text) in pieces {
        body.extend([*stream, 0, 0, 0]);
        body.extend((text.len() as u32).to_be_bytes());
        body.extend(text.as_bytes());
    }
    Answer { status: 200, kind: "application/vnd.docker.multiplexed-stream", body }
}

fn logs(name: &str, query: &str) -> Answer {
    if name == "nope" {
        return missing("service nope");
    }
    let time = if query.contains("timestamps=1") { "2023-03-04T05:06:07.000000001Z " } else { "" };
    let ids = format!(
        "com.docker.swarm.node.id={WORKER},com.docker.swarm.service.id=serviceid0000000000000001,com.docker.swarm.task.id=taskid00000000000000000a1,extra=a%20b"
    );
    let details = if query.contains("details=1") { format!("{ids} ") } else { String::new() };
    frames(&[(1, &format!("{time}{details}hello world\n")), (2, &format!("{time}{details}an error\n"))])
}

fn tls() -> Value {
    json!({"TrustRoot": "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n", "CertIssuerSubject": "MBMx", "CertIssuerPublicKey": "MFkw"})
}

fn node(host: &str, own: bool) -> Value {
    json!({"ID": if own { SELF } else { "aaaaaaaaaaaaaaaaaaaaaaaaa" }, "Version": {"Index": 9}, "CreatedAt": STAMP, "UpdatedAt": STAMP,
        "Spec": {"Labels": {"zone": "a", "b": ""}, "Role": "manager", "Availability": "active"},
        "Description": {"Hostname": host, "Platform": {"Architecture": "x86_64", "OS": "linux"},
            "Resources": {"NanoCPUs": 2_000_000_000_i64, "MemoryBytes": 16_645_906_432_i64},
            "Engine": {"EngineVersion": "0.1.0", "Labels": {"l": "v"}, "Plugins": [{"Type": "Network", "Name": "bridge"}, {"Type": "Network", "Name": "overlay"}, {"Type": "Log", "Name": "json-file"}]},
            "TLSInfo": tls()},
        "Status": {"State": "ready", "Addr": "192.0.2.1"},
        "ManagerStatus": {"Leader": own, "Reachability": "reachable", "Addr": "192.0.2.1:2377"}})
}

fn worker() -> Value {
    json!({"ID": WORKER, "Version": {"Index": 11}, "CreatedAt": STAMP, "UpdatedAt": STAMP,
        "Spec": {"Labels": {"zone": "b"}, "Role": "worker", "Availability": "drain"},
        "Description": {"Hostname": "worker1", "Platform": {"Architecture": "x86_64", "OS": "linux"}, "Resources": {}, "Engine": {"EngineVersion": "20.10.24"}, "TLSInfo": {}},
        "Status": {"State": "down", "Message": "heartbeat failure", "Addr": "192.0.2.2"}})
}

fn swarm() -> Value {
    json!({"ID": "clusterid", "Version": {"Index": 42}, "CreatedAt": STAMP, "UpdatedAt": STAMP,
        "Spec": {"Name": "default", "Labels": {}, "Orchestration": {"TaskHistoryRetentionLimit": 5}, "Raft": {"SnapshotInterval": 10000, "KeepOldSnapshots": 0, "LogEntriesForSlowFollowers": 500, "ElectionTick": 10, "HeartbeatTick": 1},
            "Dispatcher": {"HeartbeatPeriod": 5_000_000_000_i64}, "CAConfig": {"NodeCertExpiry": 7_776_000_000_000_000_i64}, "TaskDefaults": {}, "EncryptionConfig": {"AutoLockManagers": true}},
        "TLSInfo": tls(), "RootRotationInProgress": false, "DefaultAddrPool": ["10.0.0.0/8"], "SubnetSize": 24, "DataPathPort": 4789,
        "JoinTokens": {"Worker": "SWMTKN-1-worker", "Manager": "SWMTKN-1-manager"}})
}

fn info() -> Value {
    let mut cluster = swarm();
    cluster.as_object_mut().unwrap().remove("JoinTokens");
    json!({"ID": "daemonid", "Containers": 3, "ContainersRunning": 2, "ContainersPaused": 0, "ContainersStopped": 1, "Images": 4, "Driver": "overlayfs",
        "DriverStatus": [["Backing", "ext4"]], "Plugins": {"Volume": ["local"], "Network": ["bridge", "overlay"], "Authorization": null, "Log": ["json-file"]},
        "LoggingDriver": "json-file", "CgroupDriver": "cgroupfs", "CgroupVersion": "2", "KernelVersion": "6.1", "OperatingSystem": "Debian", "OSType": "linux", "Architecture": "x86_64",
        "NCPU": 2, "MemTotal": 16_645_906_432_i64, "DockerRootDir": "/var/lib/skep", "Name": "host2", "Labels": ["a=b"], "ExperimentalBuild": false, "ServerVersion": "0.1.0",
        "Runtimes": {"embedded": {"path": "skep"}}, "DefaultRuntime": "embedded", "InitBinary": "", "ContainerdCommit": {"ID": ""}, "RuncCommit": {"ID": ""}, "InitCommit": {"ID": ""},
        "SecurityOptions": ["name=seccomp,profile=default"], "Warnings": ["WARNING: No swap limit support"], "LiveRestoreEnabled": false,
        "Swarm": {"NodeID": SELF, "NodeAddr": "192.0.2.1", "LocalNodeState": "active", "ControlAvailable": true, "Error": "", "RemoteManagers": [{"NodeID": SELF, "Addr": "192.0.2.1:2377"}], "Nodes": 3, "Managers": 2, "Cluster": cluster}})
}

fn services(query: &str) -> Answer {
    let mut global = service();
    global["ID"] = json!("serviceid0000000000000002");
    global["Spec"]["Name"] = json!("all");
    global["Spec"]["Mode"] = json!({"Global": {}});
    global["Endpoint"] = json!({});
    global["ServiceStatus"] = json!({"RunningTasks": 1, "DesiredTasks": 3});
    if query.contains("nope") { ok(json!([])) } else { ok(json!([service(), global])) }
}

fn service() -> Value {
    json!({"ID": "serviceid0000000000000001", "Version": {"Index": 77}, "CreatedAt": STAMP, "UpdatedAt": STAMP,
        "Spec": {"Name": "web", "Labels": {"team": "x"},
            "TaskTemplate": {"ContainerSpec": {"Image": format!("busybox:1@sha256:{}", "4".repeat(64)), "Args": ["httpd", "-f"], "Env": ["OLD=1", "KEEP=2"], "Init": false, "StopGracePeriod": 10_000_000_000_i64, "DNSConfig": {},
                    "Mounts": [{"Type": "volume", "Source": "v", "Target": "/old"}], "Isolation": "default"},
                "Resources": {"Limits": {"NanoCPUs": 500_000_000, "MemoryBytes": 67_108_864}, "Reservations": {}}, "RestartPolicy": {"Condition": "any", "Delay": 5_000_000_000_i64, "MaxAttempts": 0},
                "Placement": {"Constraints": ["node.role==worker"], "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.zone"}}], "MaxReplicas": 2}, "ForceUpdate": 1, "Runtime": "container"},
            "Mode": {"Replicated": {"Replicas": 2}}, "UpdateConfig": {"Parallelism": 1, "Delay": 1_000_000_000, "FailureAction": "pause", "Monitor": 5_000_000_000_i64, "MaxFailureRatio": 0.5, "Order": "stop-first"},
            "EndpointSpec": {"Mode": "vip", "Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "ingress"}]}},
        "Endpoint": {"Spec": {"Mode": "vip"}, "Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "ingress"}, {"Protocol": "tcp", "TargetPort": 81, "PublishedPort": 8081, "PublishMode": "ingress"}, {"Protocol": "udp", "TargetPort": 53, "PublishedPort": 53, "PublishMode": "ingress"}]},
        "UpdateStatus": {"State": "completed", "StartedAt": STAMP, "CompletedAt": STAMP, "Message": "update completed"},
        "ServiceStatus": {"RunningTasks": 1, "DesiredTasks": 2, "CompletedTasks": 0}})
}

/// One that converges at once and is watched for no time, or one whose update is paused.
fn quick(state: &str, replicas: u64) -> Value {
    let mut service = service();
    service["ID"] = json!("quickid");
    service["Spec"]["Mode"]["Replicated"]["Replicas"] = json!(replicas);
    service["Spec"]["UpdateConfig"]["Monitor"] = json!(1_000_000);
    service["UpdateStatus"] =
        if state == "paused" { json!({"State": "paused", "Message": "too many failures"}) } else { Value::Null };
    service
}

fn task(id: &str, slot: u64, state: &str, error: &str, created: &str) -> Value {
    json!({"ID": id, "Version": {"Index": 5}, "CreatedAt": created, "UpdatedAt": created, "ServiceID": "serviceid0000000000000001", "Slot": slot, "NodeID": WORKER,
        "Spec": {"ContainerSpec": {"Image": format!("busybox:1@sha256:{}", "4".repeat(64))}},
        "Status": {"Timestamp": created, "State": state, "Err": error, "PortStatus": {"Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 9000, "PublishMode": "host"}]}},
        "DesiredState": if state == "running" { "running" } else { "shutdown" }})
}

fn quick_tasks() -> Value {
    let mut tasks = json!([task("q1", 1, "running", "", STAMP), task("q2", 2, "running", "", STAMP)]);
    tasks.as_array_mut().unwrap().iter_mut().for_each(|task| task["NodeID"] = json!(SELF));
    tasks
}

fn tasks() -> Value {
    json!([
        task(
            "taskid00000000000000000c1",
            1,
            "failed",
            "task: non-zero exit (137): and a long explanation",
            "2022-03-04T05:06:07Z"
        ),
        task("taskid00000000000000000a1", 1, "running", "", STAMP),
        task("taskid00000000000000000b1", 10, "running", "", STAMP),
        task("taskid00000000000000000b2", 2, "running", "", STAMP),
    ])
}

fn dependency(id: &str, name: &str) -> Value {
    json!({"ID": id, "Version": {"Index": 3}, "CreatedAt": STAMP, "UpdatedAt": STAMP, "Spec": {"Name": name, "Labels": {"a": "b"}}})
}

fn network() -> Value {
    json!({"Name": "net1", "Id": "networkid00000000000000001", "Created": STAMP, "Scope": "swarm", "Driver": "overlay", "EnableIPv4": true, "EnableIPv6": false,
        "IPAM": {"Driver": "default", "Options": null, "Config": [{"Subnet": "10.0.1.0/24", "Gateway": "10.0.1.1"}]}, "Internal": false, "Attachable": true, "Ingress": false, "Options": {}, "Labels": {}})
}

fn container() -> Value {
    json!({"Id": "c1".repeat(32), "Names": ["/web.1.taskid00000000000000000a1"], "Image": format!("busybox:1@sha256:{}", "4".repeat(64)), "ImageID": "sha256:aa",
        "Command": "httpd -f -p 8080 -h /srv/www", "Created": 1_677_906_367, "State": "running", "Status": "Up 3 hours", "SizeRw": 0,
        "Ports": [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}, {"IP": "0.0.0.0", "PrivatePort": 81, "PublicPort": 8081, "Type": "tcp"}, {"PrivatePort": 443, "Type": "tcp"}],
        "Labels": {"com.docker.swarm.task.name": "web.1.t", "z": "1"}, "Mounts": [], "NetworkSettings": {"Networks": {"bridge": {}}}})
}

fn other_container() -> Value {
    json!({"Id": "d2".repeat(32), "Names": ["/x"], "Image": "alpine", "ImageID": "sha256:bb", "Command": "sh", "Created": 1_677_906_367, "State": "exited", "Status": "Exited (1) 2 days ago",
        "Ports": [], "Labels": {}, "Mounts": [], "NetworkSettings": {"Networks": {}}})
}

fn images() -> Value {
    json!([
        {"Id": format!("sha256:{}", "a".repeat(64)), "RepoTags": ["busybox:1", "busybox:latest"], "RepoDigests": [format!("busybox@sha256:{}", "4".repeat(64))], "Created": 1_677_906_367, "Size": 4_261_502, "SharedSize": -1, "Containers": -1, "ParentId": "", "Labels": {}},
        {"Id": format!("sha256:{}", "b".repeat(64)), "RepoTags": [], "RepoDigests": [], "Created": 1_577_906_367, "Size": 12_000, "SharedSize": -1, "Containers": -1, "ParentId": "", "Labels": {}}
    ])
}

fn stats() -> Value {
    json!({"id": "c1".repeat(32), "name": "/web.1", "read": STAMP, "preread": STAMP,
        "cpu_stats": {"cpu_usage": {"total_usage": 300_000_000}, "system_cpu_usage": 20_000_000_000_i64, "online_cpus": 2}, "precpu_stats": {"cpu_usage": {"total_usage": 100_000_000}, "system_cpu_usage": 10_000_000_000_i64, "online_cpus": 2},
        "memory_stats": {"usage": 10_485_760, "limit": 1_073_741_824, "stats": {"inactive_file": 1_048_576}}, "pids_stats": {"current": 3}, "networks": {"eth0": {"rx_bytes": 1234, "tx_bytes": 56789}},
        "blkio_stats": {"io_service_bytes_recursive": [{"op": "read", "value": 4096}, {"op": "write", "value": 8192}]}})
}

/// What belongs to the stack `st`; there is no other.
fn stack(kind: &str, query: &str) -> Answer {
    let mut service = service();
    service["Spec"]["Labels"] = json!({"com.docker.stack.namespace": "st"});
    let of_other = query.contains("nope");
    match kind {
        _ if of_other => ok(json!([])),
        "services" => ok(json!([service])),
        "tasks" => ok(tasks()),
        "secrets" => ok(json!([dependency("secretid1", "st_s1")])),
        "configs" => ok(json!([])),
        _ => ok(json!([network()])),
    }
}
