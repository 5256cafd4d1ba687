//! This node's containers and images.

use serde_json::{Value, json};

use crate::client::{get, post, send};
use crate::fake_engine::{CONTAINER, DIGEST};
use crate::world::World;

#[tokio::test]
async fn containers_are_listed_and_found() {
    let world = World::manager();
    let list = get(&world.socket, "/containers/json").await.json();
    assert_eq!(list[0]["Names"], json!(["/web.1.task1"]));
    assert_eq!(list[0]["Labels"]["com.docker.swarm.service.name"], "web");
    assert_eq!(list[0]["Ports"][0]["PublicPort"], 8080);
    assert!(list[0]["Status"].as_str().unwrap().starts_with("Up "));
    let filtered = get(&world.socket, "/containers/json?filters=%7B%22name%22%3A%5B%22db%22%5D%7D").await;
    assert_eq!(filtered.text(), "[]\n");
    for name in [CONTAINER, "c0ffee", "web.1.task1", "/web.1.task1"] {
        let path = format!("/containers/{}/json", name.replace('/', "%2F"));
        let shown = get(&world.socket, &path).await.json();
        assert_eq!((shown["Id"].as_str(), shown["State"]["Pid"].as_u64()), (Some(CONTAINER), Some(42)), "{name}");
    }
    let gone = get(&world.socket, "/containers/nope/json").await;
    assert_eq!((gone.status, gone.message().as_str()), (404, "No such container: nope"));
}

#[tokio::test]
async fn containers_are_stopped_killed_and_watched() {
    let world = World::manager();
    assert_eq!(post(&world.socket, "/containers/c0ffee/stop?t=3&signal=INT", "").await.status, 204);
    assert_eq!(post(&world.socket, "/containers/c0ffee/kill?signal=HUP", "").await.status, 204);
    assert_eq!(post(&world.socket, "/containers/c0ffee/stop?t=soon", "").await.status, 400);
    let calls = world.engine.calls.lock().unwrap().clone();
    assert_eq!(calls, [format!("stop {CONTAINER} Some(\"INT\") Some(3s)"), format!("kill {CONTAINER} HUP")]);
    let top = get(&world.socket, "/containers/c0ffee/top").await.json();
    assert_eq!(top["Processes"][0], json!(["42", "sleep -ef"]));
    let stats = get(&world.socket, "/containers/c0ffee/stats?stream=0&one-shot=1").await.json();
    assert_eq!(stats["memory_stats"]["usage"], 1000);
}

#[tokio::test]
async fn a_pull_passes_credentials_on_and_tells_its_progress() {
    let world = World::manager();
    let headers = [("X-Registry-Auth", "eyJ1c2VybmFtZSI6ImEiLCJwYXNzd29yZCI6ImIifQ==")];
    let path = "/images/create?fromImage=registry.example%2Fbusybox&tag=1.36&platform=linux%2Farm64";
    let pulled = send(&world.socket, "POST", path, &headers, b"").await;
    let lines: Vec<Value> = pulled.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines[0],
        json!({ "status": "Downloading", "id": "abc", "progressDetail": { "current": 5, "total": 10 } })
    );
    assert_eq!(lines[1]["errorDetail"]["message"], "manifest unknown");
    assert_eq!(world.engine.calls.lock().unwrap()[0], "pull registry.example/busybox:1.36 Some(\"linux/arm64\")");
    assert_eq!(world.engine.auth.lock().unwrap().as_ref().unwrap().password, "b");
    // What fails before anything came has its own status.
    let missing = post(&world.socket, "/images/create?fromImage=missing&tag=1", "").await;
    assert_eq!((missing.status, missing.message().as_str()), (404, "manifest unknown"));
    let bad = send(&world.socket, "POST", path, &[("X-Registry-Auth", "%%")], b"").await;
    assert_eq!(bad.status, 400);
}

#[tokio::test]
async fn archives_come_through_whole() {
    let world = World::manager();
    let archive: Vec<u8> = (0..6_000_000u32).map(|at| (at % 251) as u8).collect();
    let tar = [("Content-Type", "application/x-tar")];
    let loaded = send(&world.socket, "POST", "/images/load?quiet=1", &tar, &archive).await;
    assert_eq!(loaded.status, 200);
    assert!(loaded.text().contains("Loaded image: web:1\\n") && loaded.text().contains("Loaded image ID: sha256:"));
    assert!(*world.engine.archive.lock().unwrap() == archive);
    let path = "/images/create?fromSrc=-&repo=base&tag=1&changes=CMD%20%5B%22a%22%5D&changes=ENV%20A=1";
    let imported = send(&world.socket, "POST", path, &tar, b"layer").await;
    assert_eq!(imported.text(), format!("{{\"status\":\"{DIGEST}\"}}\r\n"));
    let import = world.engine.import.lock().unwrap().clone().unwrap();
    assert_eq!((import.reference.as_str(), import.changes.len()), ("base:1", 2));
    assert_eq!(import.changes[0], "CMD [\"a\"]");
    assert_eq!(post(&world.socket, "/images/create?fromSrc=http%3A%2F%2Fx", "").await.status, 501);
}

#[tokio::test]
async fn images_are_shown_named_and_removed() {
    let world = World::manager();
    assert_eq!(get(&world.socket, "/images/json").await.json()[0]["RepoTags"], json!(["busybox:latest"]));
    let none = get(&world.socket, "/images/json?filters=%7B%22dangling%22%3A%5B%22true%22%5D%7D").await;
    assert_eq!(none.text(), "[]\n");
    let shown = get(&world.socket, "/images/busybox/json").await.json();
    assert_eq!(shown["Config"]["ExposedPorts"], json!({ "80/tcp": {} }));
    let gone = get(&world.socket, "/images/reg.example:5000/a/b/json").await;
    assert_eq!((gone.status, gone.message().as_str()), (404, "No such image: reg.example:5000/a/b"));
    assert_eq!(post(&world.socket, "/images/a/b/tag?repo=c&tag=1", "").await.status, 201);
    let removed = send(&world.socket, "DELETE", "/images/a/b:1?force=1", &[], b"").await.json();
    assert_eq!(removed, json!([{ "Untagged": "a/b:1" }, { "Deleted": DIGEST }]));
    let pruned = post(&world.socket, "/images/prune", "").await.json();
    assert_eq!(pruned, json!({ "ImagesDeleted": null, "SpaceReclaimed": 7 }));
    assert_eq!(*world.engine.calls.lock().unwrap(), ["tag a/b c:1", "remove a/b:1 true", "prune true"]);
    let found = get(&world.socket, "/distribution/reg.example/a:1/json").await.json();
    assert_eq!(found["Descriptor"]["digest"], DIGEST);
    assert_eq!(found["Platforms"], json!([{ "architecture": "amd64", "os": "linux" }]));
    let usage = get(&world.socket, "/system/df").await.json();
    assert_eq!((usage["LayersSize"].as_u64(), usage["Images"][0]["Containers"].as_i64()), (Some(1234), Some(1)));
    assert_eq!(usage.get("BuilderSize"), None);
    assert_eq!(get(&world.socket, "/v1.41/system/df").await.json()["BuilderSize"], 0);
}

#[tokio::test]
async fn logins_are_shown_to_their_registry() {
    let world = World::manager();
    let login = async |body: &str| post(&world.socket, "/v1.41/auth", body).await;
    let right = login(r#"{"username":"a","password":"secret","serveraddress":"reg.example:5000"}"#).await;
    assert_eq!((right.status, right.json()["Status"].as_str()), (200, Some("Login Succeeded")));
    let wrong = login(r#"{"auth":"YTp3cm9uZw==","serveraddress":"reg.example:5000"}"#).await;
    assert_eq!((wrong.status, wrong.message().contains("unauthorized")), (401, true));
    assert_eq!(*world.engine.calls.lock().unwrap(), ["login reg.example:5000", "login reg.example:5000"]);
    for (body, named) in [("{}", "username"), (r#"{"auth":"***"}"#, "auth")] {
        let refusal = login(body).await;
        assert_eq!((refusal.status, refusal.message().contains(named)), (400, true), "{body}");
    }
}
