//! Services: what is stored of what a client sends, and what is shown of what is stored.

use serde_json::{Value, json};
use skep_model::pb::types::{self, service_spec::Mode, task_spec};
use skep_model::{Kept, Verbatim};

use crate::client::{get, post, send};
use crate::fake_control::meta;
use crate::fake_engine::DIGEST;
use crate::world::World;

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn spec() -> Value {
    json!({
        "Name": "web",
        "Labels": { "a": "b" },
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "busybox:latest", "Args": ["sleep", "1d"], "Env": ["A=1"],
                "Mounts": [{ "Type": "tmpfs", "Target": "/t", "TmpfsOptions": { "SizeBytes": 5 } },
                    { "Type": "bind", "Source": "/a", "Target": "/b", "BindOptions": {} }],
                "Healthcheck": { "Test": ["CMD", "true"], "Interval": 1_500_000_000u64 },
                "DNSConfig": {},
            },
            "Resources": { "Limits": { "NanoCPUs": 1_000_000_000, "Pids": 9 }, "Reservations": {} },
            "RestartPolicy": { "Condition": "on-failure", "MaxAttempts": 0 },
            "Placement": { "Constraints": ["node.role==worker"] },
            "Networks": [{ "Target": "blue" }],
            "ForceUpdate": 2,
        },
        "Mode": { "Replicated": { "Replicas": 3 } },
        "UpdateConfig": { "Parallelism": 2, "MaxFailureRatio": 0.25, "Order": "start-first" },
        "EndpointSpec": { "Mode": "vip", "Ports": [{ "Protocol": "udp", "TargetPort": 53, "PublishMode": "host" }] },
    })
}

fn stored(world: &World) -> types::ServiceSpec {
    let state = world.control.0.lock().unwrap();
    types::ServiceSpec::clone(state.services.last().unwrap().value.spec.as_ref().unwrap())
}

fn container(spec: &types::ServiceSpec) -> &types::ContainerSpec {
    match spec.task.as_ref().unwrap().runtime.as_ref().unwrap() {
        task_spec::Runtime::Container(container) => container,
        other => panic!("{other:?}"),
    }
}

/// The spec names an overlay network, of which the user is told that it carries nothing yet.
fn overlay_warning(answer: &serde_json::Value, place: usize) -> bool {
    answer["Warnings"][place].as_str().is_some_and(|text| text.starts_with("network blue: "))
}

#[tokio::test]
async fn a_spec_is_stored_as_docker_would() {
    let world = World::manager();
    let headers = [JSON, ("X-Registry-Auth", "eyJ1c2VybmFtZSI6ImEifQ==")];
    let body = spec().to_string();
    let answer = send(&world.socket, "POST", "/v1.50/services/create", &headers, body.as_bytes()).await;
    assert_eq!((answer.status, overlay_warning(&answer.json(), 0)), (201, true), "{}", answer.text());
    assert_eq!(answer.json()["ID"], "service000000000000000000");

    let spec = stored(&world);
    let task = spec.task.as_ref().unwrap();
    let container = container(&spec);
    let duration = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
    let check = container.healthcheck.as_ref().unwrap();
    assert_eq!((check.interval, check.timeout), (duration(1, 500_000_000), duration(0, 0)));
    assert_eq!(container.pids_limit, 9);
    assert_eq!(container.pull_options.as_ref().unwrap().registry_auth, "eyJ1c2VybmFtZSI6ImEifQ==");
    assert_eq!(container.mounts[0].tmpfs_options.as_ref().unwrap().options, "null");
    assert!(container.mounts[1].bind_options.is_none(), "empty options are not kept");
    assert!(container.dns_config.is_some() && container.privileges.is_none());
    assert!(container.stop_grace_period.is_none() && container.init.is_none());
    let resources = task.resources.as_ref().unwrap();
    assert_eq!(resources.limits.as_ref().unwrap().nano_cpus, 1_000_000_000);
    assert_eq!(resources.reservations, Some(types::Resources::default()));
    let restart = task.restart.as_ref().unwrap();
    assert_eq!(restart.condition(), types::restart_policy::RestartCondition::OnFailure);
    assert!(restart.delay.is_none() && restart.window.is_none());
    assert_eq!(task.networks[0].target, "net1aaaaaaaaaaaaaaaaaaaaa");
    assert!(spec.networks.is_empty() && task.log_driver.is_none() && spec.rollback.is_none());
    let update = spec.update.unwrap();
    assert_eq!((update.delay, update.monitor, update.parallelism), (duration(0, 0), None, 2));
    assert_eq!(spec.mode, Some(Mode::Replicated(types::ReplicatedService { replicas: 3 })));
    assert_eq!(spec.endpoint.unwrap().ports[0].protocol(), types::port_config::Protocol::Udp);
}

#[tokio::test]
async fn the_least_spec_gains_nothing_but_a_mode_and_a_name() {
    let world = World::manager();
    let body = json!({ "TaskTemplate": { "ContainerSpec": { "Image": "busybox" } } }).to_string();
    assert_eq!(post(&world.socket, "/services/create", &body).await.status, 201);
    let mut spec = stored(&world);
    let name = std::mem::take(&mut spec.annotations.as_mut().unwrap().name);
    assert!(name.starts_with("service-") && name.len() > 12, "{name}");
    let least = types::ServiceSpec {
        annotations: Some(types::Annotations::default()),
        task: Some(types::TaskSpec {
            runtime: Some(task_spec::Runtime::Container(types::ContainerSpec {
                image: "busybox".to_owned(),
                ..Default::default()
            })),
            ..Default::default()
        }),
        mode: Some(Mode::Replicated(types::ReplicatedService { replicas: 1 })),
        ..Default::default()
    };
    assert_eq!(spec, least);
}

#[tokio::test]
async fn what_is_stored_is_shown_as_docker_shows_it() {
    let world = World::manager();
    assert_eq!(post(&world.socket, "/services/create", &spec().to_string()).await.status, 201);
    let shown = get(&world.socket, "/services/web").await.json();
    let expected = json!({
        "ID": "service000000000000000000",
        "Version": { "Index": 10 },
        "CreatedAt": "1970-01-01T00:00:01.5Z",
        "UpdatedAt": "1970-01-01T00:00:02Z",
        "Spec": {
            "Name": "web",
            "Labels": { "a": "b" },
            "TaskTemplate": {
                "ContainerSpec": {
                    "Image": "busybox:latest", "Args": ["sleep", "1d"], "Env": ["A=1"],
                    "Mounts": [{ "Type": "tmpfs", "Target": "/t", "TmpfsOptions": { "SizeBytes": 5 } },
                        { "Type": "bind", "Source": "/a", "Target": "/b" }],
                    "Healthcheck": { "Test": ["CMD", "true"], "Interval": 1_500_000_000u64 },
                    "DNSConfig": {},
                    "Isolation": "default",
                },
                "Resources": { "Limits": { "NanoCPUs": 1_000_000_000, "Pids": 9 }, "Reservations": {} },
                "RestartPolicy": { "Condition": "on-failure", "MaxAttempts": 0 },
                "Placement": { "Constraints": ["node.role==worker"] },
                "Networks": [{ "Target": "net1aaaaaaaaaaaaaaaaaaaaa" }],
                "ForceUpdate": 2,
                "Runtime": "container",
            },
            "Mode": { "Replicated": { "Replicas": 3 } },
            "UpdateConfig": { "Parallelism": 2, "FailureAction": "pause", "MaxFailureRatio": 0.25,
                "Order": "start-first" },
            "EndpointSpec": { "Mode": "vip",
                "Ports": [{ "Protocol": "udp", "TargetPort": 53, "PublishMode": "host" }] },
        },
        "Endpoint": { "Spec": {} },
    });
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn lists_carry_statuses_on_request_and_follow_changes() {
    let world = World::manager();
    post(&world.socket, "/services/create", &spec().to_string()).await;
    let list = get(&world.socket, "/v1.41/services").await.json();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert!(list[0].get("ServiceStatus").is_none());
    let with = get(&world.socket, "/v1.41/services?status=true").await.json();
    assert_eq!(with[0]["ServiceStatus"], json!({ "RunningTasks": 2, "DesiredTasks": 3, "CompletedTasks": 0 }));
    assert!(get(&world.socket, "/v1.40/services?status=true").await.json()[0].get("ServiceStatus").is_none());
    // The remembered JSON must not outlive a change, not even one that leaves the version as it is.
    world.control.0.lock().unwrap().services[0].value.spec = Some(Verbatim::new(types::ServiceSpec {
        annotations: Some(types::Annotations { name: "other".to_owned(), ..Default::default() }),
        ..Default::default()
    }));
    assert_eq!(get(&world.socket, "/services").await.json()[0]["Spec"]["Name"], "other");
    let global = get(&world.socket, "/services?filters=%7B%22mode%22%3A%5B%22global%22%5D%7D").await;
    assert_eq!(global.text(), "[]\n");
}

#[tokio::test]
async fn updates_quote_the_version_and_keep_credentials() {
    let world = World::manager();
    let headers = [JSON, ("X-Registry-Auth", "e30=")];
    send(&world.socket, "POST", "/services/create", &headers, spec().to_string().as_bytes()).await;
    let mut next = spec();
    next["TaskTemplate"]["ContainerSpec"]["Image"] = json!("busybox:2");
    let path = |query: &str| format!("/services/web/update?{query}");
    let stale = post(&world.socket, &path("version=9"), &next.to_string()).await;
    let text = "rpc error: code = Unknown desc = update out of sequence";
    assert_eq!((stale.status, stale.message().as_str()), (500, text));
    let missing = post(&world.socket, &path(""), &next.to_string()).await;
    assert_eq!(missing.status, 400);
    assert!(missing.message().starts_with("invalid service version '': "), "{}", missing.message());
    let done = post(&world.socket, &path("version=10&rollback=previous"), &next.to_string()).await;
    assert_eq!((done.status, overlay_warning(&done.json(), 0)), (200, true), "{}", done.text());
    assert_eq!(container(&stored(&world)).pull_options.as_ref().unwrap().registry_auth, "e30=");
    {
        let state = world.control.0.lock().unwrap();
        let Some(skep_model::ControlRequest::UpdateService(update)) = state.requests.last() else { panic!() };
        assert_eq!(update.rollback(), skep_model::pb::messages::update_service_request::Rollback::Previous);
    }
    let wrong = post(&world.socket, &path("version=11&registryAuthFrom=moon"), &next.to_string()).await;
    assert_eq!((wrong.status, wrong.message().as_str()), (500, "unsupported registryAuthFrom value"));
    let shown = get(&world.socket, "/services/web").await;
    assert!(!shown.text().contains("e30="), "credentials are never shown");
}

#[tokio::test]
async fn refusals_keep_dockers_words() {
    let world = World::manager();
    let body = spec().to_string();
    post(&world.socket, "/services/create", &body).await;
    let taken = post(&world.socket, "/services/create", &body).await;
    let text = "rpc error: code = AlreadyExists desc = name conflicts with an existing object: service web already \
                exists";
    assert_eq!((taken.status, taken.message().as_str()), (409, text));
    let gone = get(&world.socket, "/services/nope").await;
    assert_eq!((gone.status, gone.message().as_str()), (404, "service nope not found"));
    let mut other = spec();
    other["Name"] = json!("api");
    post(&world.socket, "/services/create", &other.to_string()).await;
    let vague = get(&world.socket, "/services/service0").await;
    assert_eq!((vague.status, vague.message().as_str()), (400, "service service0 is ambiguous (2 matches found)"));
    let mut local = spec();
    local["TaskTemplate"]["Networks"][0]["Target"] = json!("mine");
    let refused = post(&world.socket, "/services/create", &local.to_string()).await;
    assert_eq!(refused.status, 403);
    assert!(refused.message().starts_with("The network mine cannot be used with services."));
    local["TaskTemplate"]["Networks"][0]["Target"] = json!("bridge");
    let refused = post(&world.socket, "/services/create", &local.to_string()).await;
    let text = "could not find the corresponding predefined swarm network: network bridge not found";
    assert_eq!((refused.status, refused.message().as_str()), (404, text));
    let removed = send(&world.socket, "DELETE", "/services/web", &[], b"").await;
    assert_eq!((removed.status, removed.body.len()), (200, 0));
}

#[tokio::test]
async fn old_clients_get_their_images_pinned() {
    let world = World::manager();
    let answer = post(&world.socket, "/v1.29/services/create", &spec().to_string()).await;
    assert_eq!(answer.status, 201);
    assert_eq!(container(&stored(&world)).image, format!("busybox:latest@{DIGEST}"));
    let mut missing = spec();
    missing["Name"] = json!("m");
    missing["TaskTemplate"]["ContainerSpec"]["Image"] = json!("missing:1");
    let warned = post(&world.socket, "/v1.29/services/create", &missing.to_string()).await.json();
    let warnings: Vec<&str> = warned["Warnings"].as_array().unwrap().iter().filter_map(|text| text.as_str()).collect();
    assert!(warnings.iter().any(|text| text.starts_with("image missing:1 could not be accessed")), "{warnings:?}");
    assert_eq!(container(&stored(&world)).image, "missing:1");
}

#[tokio::test]
async fn tasks_always_carry_a_port_status_and_whole_prefixes() {
    let world = World::manager();
    post(&world.socket, "/services/create", &spec().to_string()).await;
    let task = skep_model::pb::objects::Task {
        id: "task1".to_owned(),
        meta: Some(meta(11)),
        service_id: "service000000000000000000".to_owned(),
        node_id: "node1".to_owned(),
        slot: 1,
        networks: vec![skep_model::pb::objects::NetworkAttachment {
            network: Some(world.control.0.lock().unwrap().networks[0].value.clone().into()),
            addresses: vec!["10.0.1.5/24".to_owned()],
            ..Default::default()
        }],
        status: Some(types::TaskStatus { state: 768, err: "no".to_owned(), ..Default::default() }),
        desired_state: 512,
        ..Default::default()
    };
    world.control.0.lock().unwrap().tasks.push(Kept::new(task));
    // By the names of service and node.
    let filters = "%7B%22service%22%3A%5B%22web%22%5D%2C%22node%22%3A%5B%22alpha%22%5D%7D";
    let list = get(&world.socket, &format!("/tasks?filters={filters}")).await.json();
    let task = &list[0];
    assert_eq!(task["Status"]["PortStatus"], json!({}));
    assert_eq!((task["Status"]["State"].as_str(), task["DesiredState"].as_str()), (Some("rejected"), Some("running")));
    assert_eq!(task["Status"]["Timestamp"], "0001-01-01T00:00:00Z");
    assert_eq!(task["Labels"], json!({}));
    assert_eq!(task["Volumes"], Value::Null);
    assert_eq!(task["NetworksAttachments"][0]["Addresses"], json!(["10.0.1.5/24"]));
    let network = &task["NetworksAttachments"][0]["Network"];
    assert_eq!(network["IPAMOptions"]["Configs"][0], json!({ "Subnet": "10.0.1.0/24", "Gateway": "10.0.1.1" }));
    assert_eq!(network["Spec"]["Scope"], "swarm");
}
