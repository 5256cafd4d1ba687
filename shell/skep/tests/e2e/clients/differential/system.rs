//! The daemon itself, paths and versions, nodes, the swarm.

use serde_json::json;

use super::Pair;

pub fn without_a_swarm(pair: &mut Pair) {
    pair.get("ping", "//_ping");
    pair.send("ping by HEAD", "HEAD", "//_ping", None, &[]);
    for path in [
        "/swarm",
        "/nodes",
        "/nodes/x",
        "/services",
        "/services/x",
        "/tasks",
        "/tasks/x",
        "/secrets",
        "/secrets/x",
        "/configs",
        "/configs/x",
        "/swarm/unlockkey",
        "/services/x/logs?stdout=1",
    ] {
        pair.get(&format!("no swarm {path}"), path);
    }
    for (path, body) in [
        ("/services/create", json!({})),
        ("/secrets/create", json!({ "Name": "a", "Data": "YQ==" })),
        ("/configs/create", json!({ "Name": "a", "Data": "YQ==" })),
        ("/swarm/update?version=1", json!({})),
        ("/swarm/leave", json!({})),
        ("/swarm/leave?force=1", json!({})),
        ("/swarm/unlock", json!({ "UnlockKey": "x" })),
        ("/nodes/x/update?version=1", json!({})),
        ("/networks/create", json!({ "Name": "n", "Driver": "overlay" })),
        ("/swarm/init", json!({})),
        ("/swarm/init", json!({ "ListenAddr": "nope" })),
        ("/swarm/init", json!({ "ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": "192.0.2.99.1" })),
        ("/swarm/init", json!({ "ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": "<address>", "Availability": "zz" })),
        ("/swarm/init", json!({ "ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": "<address>", "DataPathPort": 80 })),
        ("/swarm/init", json!({ "ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": "<address>", "Spec": { "Name": "x" } })),
        ("/swarm/join", json!({})),
        ("/swarm/join", json!({ "ListenAddr": "0.0.0.0:2377" })),
        ("/swarm/join", json!({ "ListenAddr": "0.0.0.0:2377", "RemoteAddrs": [""] })),
        ("/swarm/join", json!({ "ListenAddr": "0.0.0.0:2377", "RemoteAddrs": ["<address>:1"], "JoinToken": "x" })),
    ] {
        pair.post(&format!("no swarm {path} {body}"), path, &body);
    }
    pair.get("info without a swarm", "/info");
}

pub fn facts(pair: &mut Pair) {
    pair.get("version", "/version");
    pair.get("info", "/info");
    pair.post("init again", "/swarm/init", &json!({ "ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": "<address>" }));
    let join = json!({ "ListenAddr": "0.0.0.0:2377", "RemoteAddrs": ["<address>:2377"], "JoinToken": "x" });
    pair.post("join while in a swarm", "/swarm/join", &join);
    pair.post("unlock what is not locked", "/swarm/unlock", &json!({ "UnlockKey": "x" }));
    pair.get("unlock key", "/swarm/unlockkey");
}

pub fn paths_and_versions(pair: &mut Pair) {
    for path in ["/nope", "/services/", "/services/a/b", "/swarm/nope", "/tasks/x/y"] {
        pair.get(&format!("unknown path {path}"), path);
    }
    for (method, path) in [
        ("PUT", "/services/x"),
        ("DELETE", "/swarm"),
        ("POST", "/services"),
        ("DELETE", "/tasks/x"),
        ("POST", "/nodes"),
        ("PATCH", "/info"),
    ] {
        pair.send(&format!("unknown method {method} {path}"), method, path, None, &[]);
    }
    for path in [
        "//",
        "/v1.99/info",
        "/v1.11/info",
        "/v2.0/info",
        "/v1.x/info",
        "/v1/info",
        "/v/info",
        "/v1.24/services",
        "/v1.40/info",
    ] {
        pair.get(&format!("version {path}"), path);
    }
    pair.get("no version", "//services");
}

pub fn nodes(pair: &mut Pair) {
    pair.get("nodes", "/nodes");
    pair.remember("node", "/0/ID");
    pair.get("node", "/nodes/<node>");
    pair.get("no node", "/nodes/nope");
    pair.filtered_by(
        "nodes",
        "/nodes",
        &[
            r#"{"role":["manager"]}"#,
            r#"{"role":["worker"]}"#,
            r#"{"role":["king"]}"#,
            r#"{"membership":["accepted"]}"#,
            r#"{"membership":["king"]}"#,
            r#"{"name":["zzz"]}"#,
            r#"{"id":["zzz"]}"#,
            r#"{"label":["a"]}"#,
            r#"{"node.label":["a"]}"#,
            r#"{"foo":["a"]}"#,
            "null",
            "{}",
        ],
    );
    let update = "/nodes/<node>/update?version=<version nodes/(node)>";
    let spec = |more: &[(&str, serde_json::Value)]| {
        let mut spec = json!({ "Role": "manager", "Availability": "active" });
        more.iter().for_each(|(key, value)| spec[*key] = value.clone());
        spec
    };
    pair.post("node labels", update, &spec(&[("Labels", json!({ "zone": "a" }))]));
    pair.get("node with labels", "/nodes/<node>");
    pair.filtered("nodes by label", "/nodes", r#"{"node.label":["zone=a"]}"#);
    pair.post("node pause", update, &spec(&[("Availability", json!("pause"))]));
    pair.post("node active", update, &spec(&[]));
    pair.post("node bad availability", update, &spec(&[("Availability", json!("lazy"))]));
    pair.post("node bad role", update, &spec(&[("Role", json!("king"))]));
    pair.post("node empty spec", update, &json!({}));
    pair.post("node last manager", update, &spec(&[("Role", json!("worker"))]));
    pair.post("node stale", "/nodes/<node>/update?version=1", &spec(&[]));
    pair.post("node without version", "/nodes/<node>/update", &spec(&[]));
    pair.post("node bad version", "/nodes/<node>/update?version=x", &spec(&[]));
    pair.post("node huge version", "/nodes/<node>/update?version=99999999999999999999", &spec(&[]));
    pair.post("node unknown", "/nodes/nope/update?version=1", &spec(&[]));
    pair.delete("node up", "/nodes/<node>");
    pair.delete("node up by force", "/nodes/<node>?force=1");
    pair.delete("node gone", "/nodes/nope");
}

pub fn the_swarm(pair: &mut Pair) {
    pair.get("swarm", "/swarm");
    pair.post("swarm without version", "/swarm/update", &json!({}));
    pair.post("swarm stale", "/swarm/update?version=1", &json!({ "Name": "default" }));
    let update = "/swarm/update?version=<version swarm>";
    for (step, body) in [
        ("heartbeat", json!({ "Name": "default", "Dispatcher": { "HeartbeatPeriod": 7_000_000_000_u64 } })),
        ("labels", json!({ "Name": "default", "Labels": { "a": "b" } })),
        ("expiry", json!({ "Name": "default", "CAConfig": { "NodeCertExpiry": 7_200_000_000_000_u64 } })),
        ("short expiry", json!({ "Name": "default", "CAConfig": { "NodeCertExpiry": 1 } })),
        ("history", json!({ "Name": "default", "Orchestration": { "TaskHistoryRetentionLimit": 2 } })),
        ("other name", json!({ "Name": "other" })),
        ("raft", json!({ "Name": "default", "Raft": { "SnapshotInterval": 500, "KeepOldSnapshots": 1 } })),
        ("log driver", json!({ "Name": "default", "TaskDefaults": { "LogDriver": { "Name": "json-file" } } })),
        ("autolock", json!({ "Name": "default", "EncryptionConfig": { "AutoLockManagers": true } })),
    ] {
        pair.post(&format!("swarm update {step}"), update, &body);
        pair.get(&format!("swarm after {step}"), "/swarm");
    }
    pair.get("unlock key with autolock", "/swarm/unlockkey");
    pair.post("swarm defaults", update, &json!({ "Name": "default" }));
    pair.post(
        "swarm rotate",
        "/swarm/update?version=<version swarm>&rotateWorkerToken=true",
        &json!({ "Name": "default" }),
    );
    pair.post(
        "swarm bad flag",
        "/swarm/update?version=<version swarm>&rotateWorkerToken=zz",
        &json!({ "Name": "default" }),
    );
    pair.get("swarm at last", "/swarm");
}

pub fn leaving(pair: &mut Pair) {
    pair.post("leave as the last manager", "/swarm/leave", &json!({}));
    pair.post("leave by force", "/swarm/leave?force=1", &json!({}));
    pair.get("nodes after leaving", "/nodes");
}
