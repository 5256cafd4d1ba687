//! What a service may be: each spec is sent, and what was stored is read back, plain and with defaults.

use serde_json::{Value, json};

use super::{Pair, service};

pub fn accepted_and_refused(pair: &mut Pair) {
    for (step, spec) in names_and_modes().into_iter().chain(updates_and_restarts()).chain(placement_and_resources()) {
        create(pair, step, "", &spec);
    }
    for (step, spec) in ports().into_iter().chain(containers()).chain(mounts_and_checks()) {
        create(pair, step, "", &spec);
    }
    for (step, spec) in references_and_networks() {
        create(pair, step, "", &spec);
    }
    for version in ["/v1.24", "/v1.29", "/v1.30", "/v1.37", "/v1.39", "/v1.40"] {
        create(pair, &format!("full {version}"), version, &full());
    }
    create(pair, "job of old", "/v1.40", &with("job", json!({ "Mode": { "Replicated": null, "GlobalJob": {} } })));
    bodies(pair);
}

fn create(pair: &mut Pair, step: &str, version: &str, spec: &Value) {
    pair.post(&format!("create {step}"), &format!("{version}/services/create"), spec);
    if pair.both_made() {
        pair.remember("made", "/ID");
        if spec.pointer("/EndpointSpec/Ports/0").is_some() {
            // Docker's allocator comes to it in its own time.
            pair.settle("/services/<made>", |service| service.pointer("/Endpoint/Ports/0").is_some());
        }
        pair.get(&format!("create {step}, inspect"), &format!("{version}/services/<made>"));
        pair.get(&format!("create {step}, defaults"), &format!("{version}/services/<made>?insertDefaults=true"));
        pair.clean("/services/<made>");
    } else if let Some(name) = spec["Name"].as_str().filter(|name| !name.is_empty() && !name.contains(' ')) {
        pair.clean(&format!("/services/{name}"));
    }
}

/// Nothing of these is to run.
fn with(name: &str, more: Value) -> Value {
    let mut spec = service(name, json!({ "Mode": { "Replicated": { "Replicas": 0 } } }));
    super::merge(&mut spec, more);
    spec
}

fn task(name: &str, more: Value) -> Value {
    with(name, json!({ "TaskTemplate": more }))
}

fn container(name: &str, more: Value) -> Value {
    task(name, json!({ "ContainerSpec": more }))
}

fn mode(name: &str, mode: Value) -> Value {
    let mut spec = with(name, json!({}));
    spec["Mode"] = mode;
    spec
}

fn names_and_modes() -> Vec<(&'static str, Value)> {
    vec![
        ("plain", with("plain", json!({}))),
        ("without a name", with("", json!({}))),
        ("bad name", with("-bad", json!({}))),
        ("name with a space", with("a b", json!({}))),
        ("long name", with(&"a".repeat(64), json!({}))),
        ("nothing", json!({})),
        ("null template", json!({ "Name": "x1", "TaskTemplate": null })),
        ("without an image", container("x1", json!({ "Image": "" }))),
        ("bad image", container("x1", json!({ "Image": "Bad::Image" }))),
        ("without a mode", mode("x1", json!({}))),
        ("two modes", mode("x1", json!({ "Replicated": { "Replicas": 1 }, "Global": {} }))),
        ("global", mode("x1", json!({ "Global": {} }))),
        ("replicated job", mode("x1", json!({ "ReplicatedJob": { "MaxConcurrent": 1, "TotalCompletions": 0 } }))),
        (
            "replicated job without numbers",
            with(
                "x1",
                json!({ "Mode": { "Replicated": null, "ReplicatedJob": {} }, "TaskTemplate": { "Placement": { "Constraints": ["node.role==worker"] } } }),
            ),
        ),
        (
            "global job",
            with(
                "x1",
                json!({ "Mode": { "Replicated": null, "GlobalJob": {} }, "TaskTemplate": { "Placement": { "Constraints": ["node.role==worker"] } } }),
            ),
        ),
        (
            "job with update",
            with(
                "x1",
                json!({ "Mode": { "Replicated": null, "GlobalJob": {} }, "UpdateConfig": { "Parallelism": 1 } }),
            ),
        ),
        (
            "replicas left out",
            with(
                "x1",
                json!({ "Mode": { "Replicated": { "Replicas": null } }, "TaskTemplate": { "Placement": { "Constraints": ["node.role==worker"] } } }),
            ),
        ),
        ("negative replicas", mode("x1", json!({ "Replicated": { "Replicas": -1 } }))),
        ("replicas as text", mode("x1", json!({ "Replicated": { "Replicas": "1" } }))),
        ("unknown field", with("x1", json!({ "Foo": 1 }))),
        ("null labels", with("x1", json!({ "Labels": null }))),
        ("labels", with("x1", json!({ "Labels": { "a": "b", "": "x" } }))),
        (
            "spelled in lower case",
            json!({ "name": "lower", "tasktemplate": { "containerspec": { "image": "a" } }, "mode": { "replicated": { "replicas": 0 } } }),
        ),
    ]
}

fn updates_and_restarts() -> Vec<(&'static str, Value)> {
    let update = |config: Value| with("x1", json!({ "UpdateConfig": config }));
    let restart = |policy: Value| task("x1", json!({ "RestartPolicy": policy }));
    vec![
        (
            "updates",
            with(
                "x1",
                json!({
            "UpdateConfig": { "Parallelism": 2, "Delay": 1_000_000_000, "FailureAction": "rollback", "Monitor": 5_000_000_000_u64,
                "MaxFailureRatio": 0.25, "Order": "start-first" },
            "RollbackConfig": { "Parallelism": 1, "FailureAction": "pause", "Order": "stop-first", "MaxFailureRatio": 1 } }),
            ),
        ),
        ("bad failure action", update(json!({ "FailureAction": "explode" }))),
        ("rollback of a rollback", with("x1", json!({ "RollbackConfig": { "FailureAction": "rollback" } }))),
        ("bad order", update(json!({ "Order": "x-first" }))),
        ("ratio above one", update(json!({ "MaxFailureRatio": 2 }))),
        ("ratio below zero", update(json!({ "MaxFailureRatio": -0.1 }))),
        ("small ratio", update(json!({ "MaxFailureRatio": 0.1 }))),
        ("negative delay", update(json!({ "Delay": -1 }))),
        ("negative monitor", update(json!({ "Monitor": -1 }))),
        ("restart", restart(json!({ "Condition": "on-failure", "Delay": 1, "MaxAttempts": 3, "Window": 5 }))),
        ("empty restart", restart(json!({}))),
        ("bad restart", restart(json!({ "Condition": "sometimes" }))),
        ("negative restart delay", restart(json!({ "Delay": -1 }))),
        ("negative restart window", restart(json!({ "Window": -1 }))),
    ]
}

fn placement_and_resources() -> Vec<(&'static str, Value)> {
    let resources = |resources: Value| task("x1", json!({ "Resources": resources }));
    let generic = |list: Value| resources(json!({ "Reservations": { "GenericResources": list } }));
    let placement = |placement: Value| task("x1", json!({ "Placement": placement }));
    vec![
        (
            "resources",
            resources(json!({
            "Limits": { "NanoCPUs": 500_000_000, "MemoryBytes": 67_108_864, "Pids": 100 },
            "Reservations": { "NanoCPUs": 100_000_000, "MemoryBytes": 33_554_432, "GenericResources": [
                { "DiscreteResourceSpec": { "Kind": "gpu", "Value": 2 } }, { "NamedResourceSpec": { "Kind": "ssd", "Value": "s1" } }] } })),
        ),
        ("too little processor", resources(json!({ "Limits": { "NanoCPUs": 1 } }))),
        ("little processor", resources(json!({ "Limits": { "NanoCPUs": 999_999 } }))),
        ("too little memory", resources(json!({ "Limits": { "MemoryBytes": 1 } }))),
        ("negative processor", resources(json!({ "Limits": { "NanoCPUs": -1 } }))),
        ("negative memory", resources(json!({ "Reservations": { "MemoryBytes": -5 } }))),
        ("empty resources", resources(json!({}))),
        ("generic resource without a kind", generic(json!([{}]))),
        ("named generic resource", generic(json!([{ "NamedResourceSpec": { "Kind": "ssd", "Value": "s1" } }]))),
        ("negative generic resource", generic(json!([{ "DiscreteResourceSpec": { "Kind": "gpu", "Value": -2 } }]))),
        (
            "placement",
            placement(json!({ "Constraints": ["node.role==manager", "node.labels.a!=b"], "MaxReplicas": 3,
            "Preferences": [{ "Spread": { "SpreadDescriptor": "node.labels.zone" } }],
            "Platforms": [{ "Architecture": "amd64", "OS": "linux" }] })),
        ),
        ("empty placement", placement(json!({}))),
        ("constraint with one sign", placement(json!({ "Constraints": ["node.role=manager"] }))),
        ("constraint of one word", placement(json!({ "Constraints": ["foo"] }))),
        ("constraint with an odd key", placement(json!({ "Constraints": ["node..role==x"] }))),
        ("empty preference", placement(json!({ "Preferences": [{}] }))),
    ]
}

fn ports() -> Vec<(&'static str, Value)> {
    let endpoint = |endpoint: Value| with("x1", json!({ "EndpointSpec": endpoint }));
    let port = |port: Value| endpoint(json!({ "Ports": [port] }));
    vec![
        ("no ports", endpoint(json!({ "Mode": "vip" }))),
        ("round robin", endpoint(json!({ "Mode": "dnsrr" }))),
        ("bad endpoint mode", endpoint(json!({ "Mode": "x" }))),
        (
            "port of the host",
            port(
                json!({ "Name": "dns", "Protocol": "udp", "TargetPort": 53, "PublishedPort": 5353, "PublishMode": "host" }),
            ),
        ),
        ("port without a protocol", port(json!({ "TargetPort": 53, "PublishedPort": 5353, "PublishMode": "host" }))),
        ("sctp", port(json!({ "Protocol": "sctp", "TargetPort": 53, "PublishedPort": 5353, "PublishMode": "host" }))),
        ("bad protocol", port(json!({ "Protocol": "xtp", "TargetPort": 53, "PublishMode": "host" }))),
        ("bad publish mode", port(json!({ "Protocol": "tcp", "TargetPort": 53, "PublishMode": "zzz" }))),
        ("port without a target", port(json!({ "Protocol": "tcp", "PublishMode": "host" }))),
        (
            "port twice",
            endpoint(json!({ "Ports": [
            { "TargetPort": 53, "PublishedPort": 5353, "PublishMode": "host" },
            { "TargetPort": 54, "PublishedPort": 5353, "PublishMode": "host" }] })),
        ),
        ("high port", port(json!({ "TargetPort": 53, "PublishedPort": 70_000, "PublishMode": "host" }))),
        (
            "round robin and ingress",
            endpoint(
                json!({ "Mode": "dnsrr", "Ports": [{ "TargetPort": 53, "PublishedPort": 5353, "PublishMode": "ingress" }] }),
            ),
        ),
        ("ingress", port(json!({ "TargetPort": 80, "PublishedPort": 8085 }))),
        ("ingress any", port(json!({ "TargetPort": 80 }))),
        ("ingress udp", port(json!({ "Protocol": "udp", "TargetPort": 53, "PublishMode": "ingress" }))),
        (
            "ingress and host",
            endpoint(json!({ "Ports": [
            { "TargetPort": 80, "PublishedPort": 8085, "PublishMode": "host" },
            { "TargetPort": 80, "PublishedPort": 8085, "PublishMode": "ingress" }] })),
        ),
    ]
}

/// Everything that a container may be.
fn full() -> Value {
    json!({ "Name": "full", "Mode": { "Replicated": { "Replicas": 0 } },
        "TaskTemplate": { "LogDriver": { "Name": "json-file", "Options": { "a": "b" } }, "ForceUpdate": 3, "Runtime": "container",
            "Resources": { "Limits": { "Pids": 5 } }, "Placement": { "MaxReplicas": 2 },
            "ContainerSpec": { "Image": "busybox:latest", "Labels": { "a": "b" }, "Command": ["sleep"], "Args": ["100"],
                "Hostname": "h", "Env": ["A=1", "B"], "Dir": "/x", "User": "1000", "Groups": ["g"],
                "Privileges": { "CredentialSpec": null,
                    "SELinuxContext": { "Disable": true, "User": "u", "Role": "r", "Type": "t", "Level": "l" } },
                "Init": true, "StopSignal": "SIGINT", "TTY": true, "OpenStdin": true, "ReadOnly": true,
                "Mounts": [
                    { "Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true, "Consistency": "cached",
                      "BindOptions": { "Propagation": "rslave", "NonRecursive": true } },
                    { "Type": "volume", "Source": "v", "Target": "/v", "VolumeOptions": { "NoCopy": true, "Labels": { "x": "y" },
                      "DriverConfig": { "Name": "local", "Options": { "o": "p" } } } },
                    { "Type": "tmpfs", "Target": "/t", "TmpfsOptions": { "SizeBytes": 1024, "Mode": 511 } }],
                "StopGracePeriod": 5_000_000_000_u64,
                "Healthcheck": { "Test": ["CMD", "true"], "Interval": 1_000_000_000, "Timeout": 1_000_000_000, "Retries": 3,
                    "StartPeriod": 1_000_000_000 },
                "Hosts": ["192.0.2.1 h"], "DNSConfig": { "Nameservers": ["192.0.2.53"], "Search": ["s"], "Options": ["o"] },
                "Isolation": "default", "Sysctls": { "net.core.somaxconn": "9" }, "CapabilityAdd": ["CAP_NET_ADMIN"],
                "CapabilityDrop": ["CAP_CHOWN"], "Ulimits": [{ "Name": "nofile", "Hard": 10, "Soft": 5 }] } } })
}

fn containers() -> Vec<(&'static str, Value)> {
    let privileges = |privileges: Value| container("x1", json!({ "Privileges": privileges }));
    let empty = json!({ "Labels": {}, "Command": [], "Args": [], "Env": [], "Mounts": [], "Hosts": [], "DNSConfig": {},
        "Secrets": [], "Configs": [], "Sysctls": {}, "CapabilityAdd": [], "Ulimits": [], "Healthcheck": {}, "Privileges": {} });
    let mut nothing = empty.clone();
    nothing.as_object_mut().expect("an object").values_mut().for_each(|value| *value = Value::Null);
    vec![
        ("full", full()),
        ("largest force", task("x1", json!({ "ForceUpdate": u64::MAX }))),
        ("negative force", task("x1", json!({ "ForceUpdate": -1 }))),
        (
            "plugin",
            json!({ "Name": "x1", "TaskTemplate": { "Runtime": "plugin", "PluginSpec": { "Name": "x", "Remote": "y/z" } } }),
        ),
        ("bad runtime", task("x1", json!({ "Runtime": "wasm" }))),
        (
            "attachment",
            json!({ "Name": "x1", "TaskTemplate": { "Runtime": "attachment", "NetworkAttachmentSpec": { "ContainerID": "x" } } }),
        ),
        ("empty lists", container("x1", empty)),
        ("nulls for lists", container("x1", nothing)),
        ("isolation", container("x1", json!({ "Isolation": "zzz" }))),
        ("a variable twice", container("x1", json!({ "Env": ["A=1", "A=2"] }))),
        ("odd stop signal", container("x1", json!({ "StopSignal": "SIGFOO" }))),
        ("negative grace", container("x1", json!({ "StopGracePeriod": -1 }))),
        ("empty credentials", privileges(json!({ "CredentialSpec": {} }))),
        ("two credentials", privileges(json!({ "CredentialSpec": { "File": "a", "Registry": "b" } }))),
        ("credentials of a file", privileges(json!({ "CredentialSpec": { "File": "a" } }))),
        ("credentials of a config", privileges(json!({ "CredentialSpec": { "Config": "a" } }))),
        ("template with an unknown field", container("x1", json!({ "Hostname": "{{.Foo}}" }))),
        ("template", container("x1", json!({ "Hostname": "{{.Node.Hostname}}-{{.Task.Slot}}" }))),
        ("broken template", container("x1", json!({ "Env": ["A={{.Foo"] }))),
        ("template with an unknown function", container("x1", json!({ "Env": ["A={{env \"x\"}}"] }))),
        ("empty log driver", task("x1", json!({ "LogDriver": {} }))),
        ("unknown log driver", task("x1", json!({ "LogDriver": { "Name": "nope" } }))),
    ]
}

fn mounts_and_checks() -> Vec<(&'static str, Value)> {
    let mount = |mount: Value| container("x1", json!({ "Mounts": [mount] }));
    let check = |check: Value| container("x1", json!({ "Healthcheck": check }));
    vec![
        ("bad mount type", mount(json!({ "Type": "weird", "Target": "/a" }))),
        ("mount without a target", mount(json!({ "Type": "volume" }))),
        ("relative source", mount(json!({ "Type": "bind", "Source": "a", "Target": "/b" }))),
        ("relative target", mount(json!({ "Type": "bind", "Source": "/a", "Target": "b" }))),
        (
            "target twice",
            container(
                "x1",
                json!({ "Mounts": [{ "Type": "tmpfs", "Target": "/a" }, { "Type": "tmpfs", "Target": "/a" }] }),
            ),
        ),
        ("tmpfs with a source", mount(json!({ "Type": "tmpfs", "Source": "x", "Target": "/a" }))),
        ("pipe", mount(json!({ "Type": "npipe", "Source": "x", "Target": "/a" }))),
        (
            "bad propagation",
            mount(json!({ "Type": "bind", "Source": "/x", "Target": "/a", "BindOptions": { "Propagation": "zz" } })),
        ),
        (
            "bind with options of a volume",
            mount(json!({ "Type": "bind", "Source": "/x", "Target": "/a", "VolumeOptions": {} })),
        ),
        ("mount without a type", mount(json!({ "Source": "/x", "Target": "/a" }))),
        ("no check", check(json!({ "Test": ["NONE"] }))),
        ("negative interval", check(json!({ "Test": ["CMD", "a"], "Interval": -1 }))),
        ("negative retries", check(json!({ "Test": ["CMD", "a"], "Retries": -1 }))),
        ("tiny interval", check(json!({ "Test": ["CMD", "a"], "Interval": 1 }))),
    ]
}

fn references_and_networks() -> Vec<(&'static str, Value)> {
    let file = json!({ "Name": "a", "UID": "0", "GID": "0", "Mode": 292 });
    let network = |target: &str| task("x1", json!({ "Networks": [{ "Target": target }] }));
    let mut legacy = with("x1", json!({ "Networks": [{ "Target": "host" }] }));
    let both = network("host").as_object().map(|spec| {
        let mut spec = Value::from(spec.clone());
        spec["Networks"] = json!([{ "Target": "host" }]);
        spec
    });
    legacy["Labels"] = json!({});
    vec![
        (
            "unknown secret",
            container("x1", json!({ "Secrets": [{ "SecretID": "nope", "SecretName": "nope", "File": file }] })),
        ),
        (
            "secret without a file",
            container("x1", json!({ "Secrets": [{ "SecretID": "nope", "SecretName": "nope" }] })),
        ),
        (
            "unknown config",
            container("x1", json!({ "Configs": [{ "ConfigID": "nope", "ConfigName": "nope", "File": file }] })),
        ),
        (
            "config without a file",
            container("x1", json!({ "Configs": [{ "ConfigID": "nope", "ConfigName": "nope" }] })),
        ),
        (
            "config with two uses",
            container(
                "x1",
                json!({ "Configs": [{ "ConfigID": "nope", "ConfigName": "nope", "Runtime": {}, "File": file }] }),
            ),
        ),
        ("unknown network", network("nope")),
        ("network without a name", network("")),
        ("network bridge", network("bridge")),
        ("network host", network("host")),
        ("network none", network("none")),
        ("network ingress", network("ingress")),
        ("networks in both places", both.unwrap_or_default()),
        ("networks of old", legacy),
    ]
}

fn bodies(pair: &mut Pair) {
    let path = "/services/create";
    for (step, body) in [
        ("half", "{"),
        ("nothing", ""),
        ("two", "{} {}"),
        ("list", "[]"),
        ("null", "null"),
        ("text", "\"x\""),
        ("more behind", r#"{"Name":"-"} x"#),
        ("bad escape", r#"{"Name":"\ud800"}"#),
        ("deep", &"[".repeat(20_000)),
    ] {
        pair.send(&format!("body {step}"), "POST", path, Some(body), &[]);
    }
    for (step, kind) in
        [("text", "text/plain"), ("none", ""), ("charset", "application/json; charset=utf-8"), ("odd", ";;")]
    {
        pair.send(&format!("body of type {step}"), "POST", path, Some(r#"{"Name":"-"}"#), &[("Content-Type", kind)]);
    }
    pair.send("no body", "POST", path, None, &[]);
    for credentials in ["eyJ1c2VybmFtZSI6ImEifQ==", "!!!"] {
        let spec = with("credentials", json!({}));
        let headers = [("X-Registry-Auth", credentials)];
        pair.send(&format!("credentials {credentials}"), "POST", path, Some(&spec.to_string()), &headers);
        pair.clean("/services/credentials");
    }
}
