//! The stock `docker` client against the server. Each client that is found is used; without one the tests say so.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::client::PATIENCE;
use crate::world::World;

fn clients() -> Vec<PathBuf> {
    let found: Vec<PathBuf> =
        ["/usr/local/bin/docker", "/usr/bin/docker"].iter().map(PathBuf::from).filter(|path| path.exists()).collect();
    if found.is_empty() {
        eprintln!("SKIPPED: no docker client in /usr/local/bin or /usr/bin");
    }
    found
}

async fn run_with(client: &Path, world: &World, arguments: &[&str], input: &[u8]) -> Output {
    let home = world.socket.parent().unwrap();
    let mut child = Command::new(client)
        .arg("-H")
        .arg(format!("unix://{}", world.socket.display()))
        .args(arguments)
        .env_clear()
        .env("HOME", home)
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input).await.unwrap();
    drop(stdin);
    tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("the client hangs").unwrap()
}

async fn run(client: &Path, world: &World, arguments: &[&str]) -> String {
    let output = run_with(client, world, arguments, b"").await;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{} {arguments:?}: {out}{err}", client.display());
    out.into_owned()
}

#[tokio::test]
async fn the_swarm_through_the_stock_client() {
    for client in clients() {
        let world = World::manager();
        let info = run(&client, &world, &["info"]).await;
        assert!(info.contains("Swarm: active") && info.contains("Is Manager: true"), "{info}");
        assert!(info.contains("Managers: 1") && info.contains("Server Version: 0.1.0"), "{info}");
        let nodes = run(&client, &world, &["node", "ls"]).await;
        assert!(nodes.contains("node1 *") && nodes.contains("Leader"), "{nodes}");
        let tokens = run(&client, &world, &["swarm", "join-token", "worker"]).await;
        assert!(tokens.contains("docker swarm join --token SWMTKN-1-worker 10.1.0.1:2377"), "{tokens}");

        let create = ["service", "create", "-d", "--name", "web", "--replicas", "3", "--network", "blue", "-l", "a=b"];
        let image = ["registry.example/busybox:1", "sleep", "1d"];
        let id = run(&client, &world, &[&create[..], &image[..]].concat()).await;
        assert_eq!(id.trim(), "service000000000000000000");
        let services = run(&client, &world, &["service", "ls"]).await;
        assert!(services.contains("web") && services.contains("2/3"), "{services}");
        // The client has asked for the digest and put it into the spec.
        assert!(services.contains("registry.example/busybox:1"), "{services}");
        let spec = run(&client, &world, &["service", "inspect", "web"]).await;
        assert!(spec.contains("registry.example/busybox:1@sha256:1111"), "{spec}");
        run(&client, &world, &["service", "inspect", "--pretty", "web"]).await;
        run(&client, &world, &["service", "scale", "-d", "web=5"]).await;
        let spec = run(&client, &world, &["service", "inspect", "-f", "{{.Spec.Mode.Replicated.Replicas}}", "web"]);
        assert_eq!(spec.await.trim(), "5");
        let tasks = run(&client, &world, &["service", "ps", "-q", "web"]).await;
        assert_eq!(tasks, "");
        run(&client, &world, &["node", "inspect", "--pretty", "node1"]).await;
        run(&client, &world, &["network", "ls"]).await;
        run(&client, &world, &["network", "inspect", "blue"]).await;
        run(&client, &world, &["service", "rm", "web"]).await;
        let gone = run_with(&client, &world, &["service", "inspect", "web"], b"").await;
        let text = String::from_utf8_lossy(&gone.stderr).to_lowercase();
        assert!(!gone.status.success() && text.contains("no such service: web"), "{text}");
        let events = run(&client, &world, &["events", "--since", "10", "--until", "20"]).await;
        assert_eq!(events, "");
    }
}

#[tokio::test]
async fn the_engine_through_the_stock_client() {
    for client in clients() {
        let world = World::manager();
        let containers = run(&client, &world, &["ps"]).await;
        assert!(containers.contains("web.1.task1") && containers.contains("0.0.0.0:8080->80/tcp"), "{containers}");
        let echoed = run_with(&client, &world, &["exec", "-i", "c0ffee", "cat"], b"to and fro").await;
        assert_eq!(String::from_utf8_lossy(&echoed.stdout), "to and frobye\n");
        assert_eq!(String::from_utf8_lossy(&echoed.stderr), "ready\n");
        // The client ends with the code of the process.
        assert_eq!(echoed.status.code(), Some(3));
        let logs = run_with(&client, &world, &["logs", "c0ffee"], b"").await;
        assert_eq!(String::from_utf8_lossy(&logs.stderr), "oh\n");
        assert!(run(&client, &world, &["images"]).await.contains("busybox"));
        run(&client, &world, &["inspect", "c0ffee"]).await;
        run(&client, &world, &["image", "inspect", "busybox"]).await;
        assert!(run(&client, &world, &["top", "c0ffee"]).await.contains("sleep"));
        assert!(run(&client, &world, &["stats", "--no-stream", "c0ffee"]).await.contains("web.1.task1"));
        run(&client, &world, &["tag", "busybox", "other:1"]).await;
        run(&client, &world, &["system", "df"]).await;
        run(&client, &world, &["version"]).await;
        let pulled = run_with(&client, &world, &["pull", "missing:1"], b"").await;
        assert!(String::from_utf8_lossy(&pulled.stderr).contains("manifest unknown"));
        let built = run_with(&client, &world, &["run", "busybox"], b"").await;
        assert!(String::from_utf8_lossy(&built.stderr).contains("create a service"), "{built:?}");
    }
}
