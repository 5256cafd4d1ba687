//! Membership, the cluster, nodes, secrets, networks, info.

use serde_json::{Value, json};
use skep_docker_api::{Availability, LeaveRequest, Standing};
use skep_model::ControlRequest;
use skep_model::pb::types;

use crate::client::{get, post, send};
use crate::world::World;

#[tokio::test]
async fn init_hands_on_what_the_user_set() {
    let world = World::new(Standing::Inactive);
    let body = json!({
        "ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": "eth0", "ForceNewCluster": true, "AutoLockManagers": true,
        "Availability": "drain", "DefaultAddrPool": ["10.20.0.0/16"], "SubnetSize": 26, "DataPathPort": 7777,
        "Spec": { "Labels": null, "Orchestration": { "TaskHistoryRetentionLimit": 2 }, "Raft": {},
            "Dispatcher": { "HeartbeatPeriod": 3_000_000_000u64 }, "CAConfig": { "NodeCertExpiry": 0 },
            "EncryptionConfig": { "AutoLockManagers": true } },
    });
    let answer = post(&world.socket, "/v1.41/swarm/init", &body.to_string()).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "\"node1\"\n"));
    let init = world.swarm.init.lock().unwrap().clone().unwrap();
    assert_eq!((init.advertise_addr.as_str(), init.subnet_size, init.data_path_port), ("eth0", 26, 7777));
    assert!(init.force_new_cluster && init.auto_lock_managers && init.availability == Availability::Drain);
    assert_eq!(init.default_addr_pool, ["10.20.0.0/16"]);

    // Over the defaults: what was not set stays.
    let mut spec = types::ClusterSpec {
        raft: Some(types::RaftConfig { snapshot_interval: 10_000, ..Default::default() }),
        orchestration: Some(types::OrchestrationConfig { task_history_retention_limit: 5 }),
        ..Default::default()
    };
    init.settings.merge_into(&mut spec);
    assert_eq!(spec.annotations.unwrap().name, "default");
    assert_eq!(spec.raft.unwrap().snapshot_interval, 10_000);
    assert_eq!(spec.orchestration.unwrap().task_history_retention_limit, 2);
    assert_eq!(spec.dispatcher.unwrap().heartbeat_period, Some(prost_types::Duration { seconds: 3, nanos: 0 }));
    assert!(spec.ca_config.unwrap().node_cert_expiry.is_none());
    assert!(spec.encryption_config.unwrap().auto_lock_managers);
}

#[tokio::test]
async fn wrong_inits_and_joins_are_refused_by_name() {
    let world = World::new(Standing::Inactive);
    for (path, body, expected) in [
        ("init", json!({ "ListenAddr": "" }), "invalid ListenAddr \"\""),
        ("init", json!({ "ListenAddr": "x", "Spec": { "Name": "mine" } }), "swarm spec must be named \"default\""),
        ("init", json!({ "ListenAddr": "x", "Availability": "lazy" }), "invalid Availability: \"lazy\""),
        ("init", json!({ "ListenAddr": "x", "SubnetSize": "24" }), "field SubnetSize"),
        ("join", json!({ "ListenAddr": "x" }), "at least 1 RemoteAddr is required to join"),
    ] {
        let answer = post(&world.socket, &format!("/swarm/{path}"), &body.to_string()).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.message().contains(expected), "{body}: {}", answer.message());
    }
    assert!(world.swarm.init.lock().unwrap().is_none());
    let body = json!({ "ListenAddr": "0.0.0.0:2377", "RemoteAddrs": ["10.1.0.1:2377"], "JoinToken": "SWMTKN-1-x-y" });
    assert_eq!(post(&world.socket, "/swarm/join", &body.to_string()).await.status, 200);
    let join = world.swarm.join.lock().unwrap().clone().unwrap();
    assert_eq!(join.remote_addrs, ["10.1.0.1:2377"]);
    assert!(!format!("{join:?}").contains("SWMTKN"));
}

#[tokio::test]
async fn leaving_unlocking_and_keys() {
    let world = World::manager();
    assert_eq!(post(&world.socket, "/swarm/leave", "").await.status, 503);
    assert_eq!(post(&world.socket, "/swarm/leave?force=1&remove=1", "").await.status, 200);
    assert_eq!(*world.swarm.left.lock().unwrap(), Some(LeaveRequest { force: true, remove: true }));
    assert_eq!(get(&world.socket, "/swarm/unlockkey").await.json(), json!({ "UnlockKey": "SWMKEY-1-good" }));
    let unlock = |key: &str| json!({ "UnlockKey": key }).to_string();
    let open = post(&world.socket, "/swarm/unlock", &unlock("x")).await;
    assert_eq!((open.status, open.message().as_str()), (409, "swarm is not locked"));
    *world.swarm.standing.lock().unwrap() = Standing::Locked;
    let wrong = post(&world.socket, "/swarm/unlock", &unlock("x")).await;
    assert_eq!((wrong.status, wrong.message().as_str()), (401, "swarm could not be unlocked: invalid key provided"));
    assert_eq!(post(&world.socket, "/swarm/unlock", &unlock("SWMKEY-1-good")).await.status, 200);
}

#[tokio::test]
async fn the_cluster_is_shown_without_its_keys_and_updated_whole() {
    let world = World::manager();
    let shown = get(&world.socket, "/swarm").await;
    assert!(!shown.text().contains("secret-key"));
    let swarm = shown.json();
    assert_eq!(swarm["JoinTokens"], json!({ "Worker": "SWMTKN-1-worker", "Manager": "SWMTKN-1-manager" }));
    assert_eq!(swarm["DefaultAddrPool"], json!(["10.0.0.0/8"]));
    assert_eq!((&swarm["SubnetSize"], &swarm["DataPathPort"]), (&json!(24), &json!(4789)));
    assert_eq!(swarm["Spec"]["Labels"], json!({}));

    let path = "/swarm/update?version=5&rotateWorkerToken=true&rotateManagerToken=false";
    assert_eq!(post(&world.socket, path, &swarm["Spec"].to_string()).await.status, 200);
    let state = world.control.0.lock().unwrap();
    let Some(ControlRequest::UpdateCluster(update)) = state.requests.last() else { panic!() };
    assert_eq!(update.cluster_version, Some(types::Version { index: 5 }));
    let rotation = update.rotation.unwrap();
    assert!(rotation.worker_join_token && !rotation.manager_join_token && !rotation.manager_unlock_key);
    assert_eq!(update.spec.as_ref().unwrap().annotations.as_ref().unwrap().name, "default");
}

#[tokio::test]
async fn nodes_are_found_by_hostname_and_updated() {
    let world = World::manager();
    let alpha = get(&world.socket, "/nodes/alpha").await.json();
    assert_eq!((alpha["ID"].as_str(), alpha["Spec"]["Role"].as_str()), (Some("node1"), Some("manager")));
    assert_eq!(alpha["ManagerStatus"], json!({ "Leader": true, "Reachability": "reachable", "Addr": "10.1.0.1:2377" }));
    assert!(get(&world.socket, "/nodes/node2").await.json().get("ManagerStatus").is_none());
    let vague = get(&world.socket, "/nodes/beta").await;
    assert_eq!((vague.status, vague.message().as_str()), (400, "node beta is ambiguous (2 matches found)"));
    let body = json!({ "Role": "worker", "Availability": "drain", "Labels": { "x": "y" } }).to_string();
    assert_eq!(post(&world.socket, "/nodes/node2/update?version=3", &body).await.status, 200);
    {
        let state = world.control.0.lock().unwrap();
        let Some(ControlRequest::UpdateNode(update)) = state.requests.last() else { panic!() };
        let spec = update.spec.as_ref().unwrap();
        assert_eq!(spec.availability(), types::node_spec::Availability::Drain);
        assert_eq!(spec.membership(), types::node_spec::Membership::Accepted);
    }
    let wrong = post(&world.socket, "/nodes/node2/update?version=3", "{\"Role\":\"king\"}").await;
    assert_eq!((wrong.status, wrong.message().as_str()), (400, "invalid Role: \"king\""));
}

#[tokio::test]
async fn without_a_leader_reads_are_marked_and_writes_refused() {
    let world = World::manager();
    assert_eq!(get(&world.socket, "/nodes").await.header("skep-stale"), "");
    world.control.0.lock().unwrap().leaderless = true;
    for path in ["/nodes", "/services", "/tasks", "/swarm", "/nodes/node1", "/nodes/alpha", "/networks"] {
        let answer = get(&world.socket, path).await;
        assert_eq!((answer.status, answer.header("skep-stale")), (200, "true"), "{path}");
    }
    let unknown = get(&world.socket, "/nodes/omega").await;
    assert_eq!(unknown.status, 500);
    assert!(unknown.message().starts_with("The swarm does not have a leader."), "{}", unknown.message());
    let body = json!({ "TaskTemplate": { "ContainerSpec": { "Image": "x" } } }).to_string();
    let write = post(&world.socket, "/services/create", &body).await;
    assert_eq!(write.status, 500);
    assert!(write.message().contains("The swarm does not have a leader. It's possible that too few managers are"));
    let info = get(&world.socket, "/info").await.json();
    assert!(info["Warnings"].to_string().contains("may be out of date"), "{}", info["Warnings"]);
}

#[tokio::test]
async fn secrets_come_in_and_never_out() {
    let world = World::manager();
    let created = post(&world.socket, "/secrets/create", "{\"Name\":\"key\",\"Data\":\"aHVudGVyMg==\"}").await;
    assert_eq!((created.status, created.json()), (201, json!({ "ID": "secret0000000000000000000" })));
    let stored = world.control.0.lock().unwrap().secrets[0].value.spec.clone().unwrap();
    assert_eq!(&stored.data[..], b"hunter2");
    let shown = get(&world.socket, "/secrets/key").await;
    assert_eq!(shown.json()["Spec"], json!({ "Name": "key", "Labels": {} }));
    let bad = post(&world.socket, "/secrets/create", "{\"Data\":\"%%%\"}").await;
    assert_eq!(bad.status, 400);
    assert!(bad.message().contains("field Data"), "{}", bad.message());
    let bad = post(&world.socket, "/secrets/key/update?version=x", "{}").await;
    assert_eq!((bad.status, bad.message().as_str()), (400, "invalid secret version"));
}

#[tokio::test]
async fn networks_of_swarm_and_node_are_one_list() {
    let world = World::manager();
    let list = get(&world.socket, "/networks").await.json();
    let names: Vec<&str> = list.as_array().unwrap().iter().filter_map(|network| network["Name"].as_str()).collect();
    assert_eq!(names, ["blue", "bridge", "mine"]);
    let blue = &list[0];
    assert_eq!(
        blue["IPAM"],
        json!({ "Driver": "default", "Options": null,
        "Config": [{ "Subnet": "10.0.1.0/24", "Gateway": "10.0.1.1" }] })
    );
    assert_eq!((&blue["Labels"], &blue["Scope"], &blue["EnableIPv4"]), (&Value::Null, &json!("swarm"), &json!(true)));
    let swarm = get(&world.socket, "/networks?filters=%7B%22scope%22%3A%5B%22swarm%22%5D%7D").await.json();
    assert_eq!(swarm.as_array().unwrap().len(), 1);

    let create = |name: &str, driver: &str| json!({ "Name": name, "Driver": driver, "IPAM": { "Config": null } });
    let made = post(&world.socket, "/networks/create", &create("green", "overlay").to_string()).await;
    assert_eq!((made.status, made.json()["Warning"].as_str()), (201, Some("")));
    let taken = post(&world.socket, "/networks/create", &create("blue", "overlay").to_string()).await;
    assert_eq!((taken.status, taken.message().as_str()), (409, "network with name blue already exists"));
    let own = post(&world.socket, "/networks/create", &create("host", "overlay").to_string()).await;
    assert_eq!((own.status, own.message().as_str()), (403, "host is a pre-defined network and cannot be created"));
    assert_eq!(post(&world.socket, "/networks/create", &create("x", "bridge").to_string()).await.status, 501);
    let bad = json!({ "Name": "x", "Driver": "overlay", "IPAM": { "Config": [{ "Subnet": "10.0.0.0/99" }] } });
    let bad = post(&world.socket, "/networks/create", &bad.to_string()).await;
    assert_eq!(bad.status, 400);
    assert!(bad.message().contains("IPAM.Config.Subnet"));
    assert_eq!(send(&world.socket, "DELETE", "/networks/bridge", &[], b"").await.status, 403);
    let dangling = get(&world.socket, "/networks?filters=%7B%22dangling%22%3A%5B%22true%22%5D%7D").await.json();
    let names: Vec<&str> = dangling.as_array().unwrap().iter().filter_map(|network| network["Name"].as_str()).collect();
    assert_eq!(names, ["blue", "green", "mine"]);
    let pruned = post(&world.socket, "/networks/prune?filters=%7B%22label%22%3A%5B%22x%22%5D%7D", "").await;
    assert_eq!(pruned.json()["NetworksDeleted"], Value::Null);
    assert_eq!(get(&world.socket, "/networks/nope").await.message(), "network nope not found");
}

#[tokio::test]
async fn info_tells_of_host_and_swarm() {
    let world = World::manager();
    let info = get(&world.socket, "/info").await.json();
    let swarm = &info["Swarm"];
    assert_eq!((swarm["LocalNodeState"].as_str(), swarm["Nodes"].as_u64()), (Some("active"), Some(3)));
    assert_eq!((swarm["Managers"].as_u64(), swarm["NodeID"].as_str()), (Some(1), Some("node1")));
    assert_eq!(swarm["Cluster"]["ID"], "cluster1");
    assert!(swarm["Cluster"].get("JoinTokens").is_none());
    assert_eq!((info["Containers"].as_u64(), info["ServerVersion"].as_str()), (Some(1), Some("0.1.0")));
    *world.swarm.standing.lock().unwrap() = Standing::Inactive;
    let info = get(&world.socket, "/info").await.json();
    let inactive = json!({ "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": false,
        "Error": "", "RemoteManagers": null });
    assert_eq!(info["Swarm"], inactive);
    let version = get(&world.socket, "/version").await.json();
    assert_eq!((version["Arch"].as_str(), version["MinAPIVersion"].as_str()), (Some("amd64"), Some("1.24")));
}
