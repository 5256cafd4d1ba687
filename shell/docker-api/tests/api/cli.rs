//! The stock `docker` client against the server. Each client that is found is used; without one the tests say so.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;

use skep_docker_api::{Standing, SwarmAction, SwarmEvent, SwarmObject};
use skep_model::pb::messages as m;
use skep_model::{Node, Verbatim};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
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

/// Starts a client that goes on until it is dropped.
fn start(client: &Path, world: &World, arguments: &[&str]) -> tokio::process::Child {
    Command::new(client)
        .arg("-H")
        .arg(format!("unix://{}", world.socket.display()))
        .args(arguments)
        .env_clear()
        .env("HOME", world.socket.parent().unwrap())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
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

#[tokio::test]
async fn a_swarm_is_made_through_the_stock_client() {
    for client in clients() {
        let world = World::new(Standing::Inactive);
        let info = run(&client, &world, &["info"]).await;
        assert!(info.contains("Swarm: inactive"), "{info}");
        let early = run_with(&client, &world, &["node", "ls"], b"").await;
        let text = String::from_utf8_lossy(&early.stderr);
        assert!(text.contains("Error response from daemon: This node is not a swarm manager. Use"), "{text}");
        let arguments = ["swarm", "init", "--advertise-addr", "10.1.0.1", "--task-history-limit", "3", "--autolock"];
        let made = run(&client, &world, &arguments).await;
        assert!(made.contains("Swarm initialized: current node (node1) is now a manager."), "{made}");
        assert!(made.contains("SWMTKN-1-worker") && made.contains("SWMKEY-1-good"), "{made}");
        let init = world.swarm.init.lock().unwrap().clone().unwrap();
        assert_eq!((init.advertise_addr.as_str(), init.listen_addr.as_str()), ("10.1.0.1", "0.0.0.0:2377"));
        assert_eq!(init.settings.task_history_retention_limit, Some(3));
        assert!(init.auto_lock_managers);
        run(&client, &world, &["node", "update", "--availability", "drain", "node2"]).await;
        run(&client, &world, &["swarm", "update", "--task-history-limit", "7"]).await;
        run(&client, &world, &["swarm", "leave", "--force"]).await;
    }
}

#[tokio::test]
async fn a_stack_is_deployed_and_its_logs_read_through_the_stock_client() {
    for client in clients() {
        let world = World::manager();
        let file = world.socket.with_file_name("stack.yml");
        let stack = "version: '3.8'\nservices:\n  web:\n    image: registry.example/busybox:1\n    command: sleep 1d\n    \
                     deploy:\n      replicas: 2\n";
        std::fs::write(&file, stack).unwrap();
        run(&client, &world, &["stack", "deploy", "-c", file.to_str().unwrap(), "st"]).await;
        {
            let mut state = world.control.0.lock().unwrap();
            let spec = state.services[0].value.spec.as_ref().unwrap();
            assert_eq!(spec.annotations.as_ref().unwrap().name, "st_web");
            // The network that was made for the stack, by its id.
            assert_eq!(spec.task.as_ref().unwrap().networks[0].target, state.networks[1].value.id);
            let line = m::LogMessage {
                context: Some(m::LogContext::default()),
                stream: m::LogStream::Stdout.into(),
                data: "hello\n".into(),
                ..Default::default()
            };
            state.logs = vec![m::SubscribeLogsMessage { messages: vec![line] }];
        }
        let logs = run_with(&client, &world, &["service", "logs", "--raw", "st_web"], b"").await;
        assert_eq!(String::from_utf8_lossy(&logs.stdout), "hello\n");
    }
}

#[tokio::test]
async fn events_reach_the_stock_client() {
    for client in clients() {
        let world = World::manager();
        let mut child = start(&client, &world, &["events", "--since", "1", "--filter", "type=node"]);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let sender = loop {
            if let Some(sender) = world.control.0.lock().unwrap().watchers.pop() {
                break sender;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        };
        let node = world.control.0.lock().unwrap().nodes[0].clone();
        let old = Node::try_from(node).unwrap();
        let mut new = old.clone();
        new.spec = Verbatim::new(skep_model::pb::types::NodeSpec { availability: 2, ..Default::default() });
        let object = |node: Node| SwarmObject::Node(Arc::new(node));
        let event = SwarmEvent { action: SwarmAction::Update, object: object(new), old: Some(object(old)) };
        sender.send(event).await.unwrap();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("no event").unwrap().unwrap();
        assert!(line.contains("node update node1 (availability.new=drain, availability.old=active"), "{line}");
        child.kill().await.unwrap();
    }
}
