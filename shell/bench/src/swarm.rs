//! The words of the Engine API that the figures need.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use crate::client::Client;
use crate::fleet::PATIENCE;

/// The port of a swarm's managers.
pub const PORT: u16 = 2377;
/// Stops at once: ending containers is not measured.
const STOP_SIGNAL: &str = "SIGKILL";

/// Makes a swarm.
pub async fn init(client: &mut Client, address: &str) -> anyhow::Result<()> {
    let body =
        json!({"ListenAddr": format!("0.0.0.0:{PORT}"), "AdvertiseAddr": format!("{address}:{PORT}"), "Spec": {}});
    client.post("/swarm/init", &body).await.map(drop)
}

/// Ends a node's membership.
pub async fn leave(client: &mut Client) -> anyhow::Result<()> {
    client.call(Method::POST, "/swarm/leave?force=true", Bytes::new()).await.map(drop)
}

/// The token of `Manager` or `Worker`.
pub async fn token(client: &mut Client, role: &str) -> anyhow::Result<String> {
    text(&client.get("/swarm").await?["JoinTokens"][role])
}

/// Joins the swarm of the manager at `remote`.
pub async fn join(client: &mut Client, address: &str, remote: &str, token: &str) -> anyhow::Result<()> {
    let body = json!({
        "ListenAddr": format!("0.0.0.0:{PORT}"),
        "AdvertiseAddr": format!("{address}:{PORT}"),
        "RemoteAddrs": [format!("{remote}:{PORT}")],
        "JoinToken": token,
    });
    client.post("/swarm/join", &body).await.map(drop)
}

/// Creates a service of the local image; its id.
pub async fn create_service(client: &mut Client, name: &str, replicas: usize) -> anyhow::Result<String> {
    let body = json!({
        "Name": name,
        "Mode": {"Replicated": {"Replicas": replicas}},
        "TaskTemplate": {
            "ContainerSpec": {"Image": "busybox:latest", "Command": ["sleep", "100000"], "StopSignal": STOP_SIGNAL},
            "RestartPolicy": {"Condition": "any", "Delay": 5_000_000_000u64},
        },
    });
    let answer = client.post("/services/create", &body).await?;
    text(&serde_json::from_slice::<Value>(&answer)?["ID"])
}

/// Removes a service; its containers end later.
pub async fn remove_service(client: &mut Client, id: &str) -> anyhow::Result<()> {
    client.call(Method::DELETE, &format!("/services/{id}"), Bytes::new()).await.map(drop)
}

/// A small write.
pub async fn write(client: &mut Client, name: &str) -> anyhow::Result<()> {
    client.post("/configs/create", &json!({"Name": name, "Data": "c21hbGw="})).await.map(drop)
}

/// A node's id by its host's name.
pub async fn node_id(client: &mut Client, hostname: &str) -> anyhow::Result<String> {
    let nodes = client.get("/nodes").await?;
    let node = list(&nodes).iter().find(|node| node["Description"]["Hostname"] == hostname);
    text(&node.with_context(|| format!("{hostname} is no node"))?["ID"])
}

/// The hostname of the leader, as the asked manager sees it.
pub async fn leader(client: &mut Client) -> anyhow::Result<Option<String>> {
    let nodes = client.get("/nodes").await?;
    let leader = list(&nodes).iter().find(|node| node["ManagerStatus"]["Leader"] == true);
    leader.map(|node| text(&node["Description"]["Hostname"])).transpose()
}

/// Whether all nodes are ready, all managers reachable, and one of them leads.
pub async fn is_whole(client: &mut Client, nodes: usize, managers: usize) -> anyhow::Result<bool> {
    let seen = client.get("/nodes").await?;
    let ready = list(&seen).iter().filter(|node| node["Status"]["State"] == "ready").count();
    let reachable = list(&seen).iter().filter(|node| node["ManagerStatus"]["Reachability"] == "reachable").count();
    let leads = list(&seen).iter().any(|node| node["ManagerStatus"]["Leader"] == true);
    Ok(ready == nodes && reachable == managers && leads)
}

/// The node of every task of a service that runs and should.
pub async fn running(client: &mut Client, service: &str) -> anyhow::Result<Vec<String>> {
    // {"service":{"ID":true},"desired-state":{"running":true}}
    let tasks = client
        .get(&format!(
            "/tasks?filters=%7B%22service%22%3A%7B%22{service}%22%3Atrue%7D%2C%22desired-state%22%3A%7B%22running%22%3Atrue%7D%7D"
        ))
        .await?;
    list(&tasks).iter().filter(|task| task["Status"]["State"] == "running").map(|task| text(&task["NodeID"])).collect()
}

/// Removes a service and waits until nothing of it is left.
pub async fn clear_service(client: &mut Client, id: &str) -> anyhow::Result<()> {
    remove_service(client, id).await?;
    // A filter by a service that is gone is refused, so all tasks are looked at.
    until("the tasks of a removed service to go", Duration::from_millis(20), async || {
        Ok(list(&client.get("/tasks").await?).iter().all(|task| task["ServiceID"] != id))
    })
    .await
    .map(drop)
}

/// Looks every `pause` until something holds; when it was first seen. Errors count as "not yet".
pub async fn until(
    what: &str,
    pause: Duration,
    mut holds: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<Instant> {
    let start = Instant::now();
    let mut trouble = String::new();
    loop {
        match holds().await {
            Ok(true) => return Ok(Instant::now()),
            Ok(false) => {}
            Err(error) => trouble = format!(": {error:#}"),
        }
        if start.elapsed() > PATIENCE {
            bail!("waited in vain for {what}{trouble}");
        }
        tokio::time::sleep(pause).await;
    }
}

/// The elements of a JSON list; of anything else, none.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> anyhow::Result<String> {
    value.as_str().map(str::to_owned).with_context(|| format!("expected a text, got {value}"))
}
