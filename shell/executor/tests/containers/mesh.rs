//! Ports of the routing mesh: the containers of a service on this host share them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use skep_executor::{Controller, Executor, TaskOrder};
use skep_model::pb::objects;
use skep_model::pb::types::{ContainerSpec, HealthConfig, PortConfig, port_config};
use skep_model::time::proto_duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::lab::{Lab, PATIENCE, id, run, run_twice, shell};
use crate::{fetch, plain};

const PORT: u16 = 8080;

/// Says its name to whoever asks, after a while of dying gently when it is told to.
fn server(lab: &mut Lab, name: &str, health: Option<HealthConfig>) -> TaskOrder {
    let script = format!(
        "trap 'touch /tmp/leaving; sleep 5; exit 0' TERM; mkdir -p /tmp/w; echo {name} > /tmp/w/index.html; \
         httpd -f -p 80 -h /tmp/w & nc -ll -p 81 -e cat & echo ready; while :; do sleep 0.1; done"
    );
    lab.order_with(ContainerSpec { args: shell(&script), healthcheck: health, ..plain() }, |task| publish(task, PORT))
}

fn publish(task: &mut objects::Task, published: u16) {
    let port = |published_port: u16, target_port: u32| PortConfig {
        protocol: port_config::Protocol::Tcp.into(),
        target_port,
        published_port: published_port.into(),
        publish_mode: port_config::PublishMode::Ingress.into(),
        ..Default::default()
    };
    task.endpoint =
        Some(objects::Endpoint { ports: vec![port(published, 80), port(published + 1, 81)], ..Default::default() });
}

async fn start(lab: &Lab, order: TaskOrder) -> Arc<dyn Controller> {
    let controller = lab.start_order(order).await;
    lab.hears(&id(&controller), "ready").await;
    controller
}

/// Everybody who answers, in so many tries.
async fn answers(tries: usize) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for host in std::iter::repeat_n(["127.0.0.1", "[::1]"], tries).flatten() {
        let text = fetch(&format!("{host}:{PORT}")).await;
        found.insert(text.lines().last().unwrap_or_default().to_owned());
    }
    found
}

/// Until exactly these answer.
async fn answered_by(names: &[&str]) {
    let wanted: BTreeSet<String> = names.iter().map(ToString::to_string).collect();
    let look = async {
        while answers(4).await != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, look).await.is_err() {
        panic!("{:?} answer, not {names:?}", answers(4).await);
    }
}

#[test]
fn containers_of_a_service_share_a_port_and_no_flow_breaks() {
    run(async |lab| {
        let (one, two) = (server(lab, "one", None), server(lab, "two", None));
        let one = start(lab, one).await;
        answered_by(&["one"]).await;
        assert!(one.report().ports.is_none(), "a port of the mesh is no port of the task's own");
        let shown = lab.runtime().container(&id(&one)).expect("known");
        assert!(shown.ports.is_empty(), "{:?}", shown.ports);
        let mut talk = tokio::net::TcpStream::connect(("127.0.0.1", PORT + 1)).await.expect("connected");
        let two = start(lab, two).await;
        answered_by(&["one", "two"]).await;
        echo(&mut talk, b"while another one comes").await;
        // Who is told to end gets nobody new, and finishes what it has begun.
        let leaving = tokio::spawn({
            let one = Arc::clone(&one);
            async move { one.shutdown().await }
        });
        answered_by(&["two"]).await;
        echo(&mut talk, b"while it is ending").await;
        leaving.await.expect("it ends").expect("stopped");
        two.remove().await.expect("removed");
        one.remove().await.expect("removed");
        answered_by(&[""]).await;
        assert!(!lab.rules().contains(&PORT.to_string()), "{}", lab.rules());
    });
}

async fn echo(talk: &mut tokio::net::TcpStream, words: &[u8]) {
    talk.write_all(words).await.expect("sent");
    let mut heard = vec![0; words.len()];
    let read = tokio::time::timeout(PATIENCE, talk.read_exact(&mut heard)).await;
    read.expect("an answer").expect("still connected");
    assert_eq!(heard, words);
}

#[test]
fn connections_reach_a_container_once_it_is_healthy() {
    run(async |lab| {
        let health = HealthConfig {
            test: vec!["CMD-SHELL".to_owned(), "test -e /tmp/ok".to_owned()],
            interval: Some(proto_duration(Duration::from_millis(50))),
            retries: 1000,
            ..Default::default()
        };
        let order = server(lab, "one", Some(health));
        let controller = lab.runtime().controller(order);
        controller.prepare().await.expect("prepared");
        let starting = tokio::spawn({
            let controller = Arc::clone(&controller);
            async move { controller.start().await }
        });
        lab.hears(&id(&controller), "ready").await;
        answered_by(&[""]).await;
        lab.exec(&id(&controller), "touch /tmp/ok").await;
        starting.await.expect("it goes on").expect("started");
        answered_by(&["one"]).await;
        controller.terminate().await.expect("killed");
        controller.remove().await.expect("removed");
    });
}

#[test]
fn the_port_answers_after_the_daemon_was_killed() {
    let first = async |lab: &mut Lab| {
        let (one, two) = (server(lab, "one", None), server(lab, "two", None));
        start(lab, one.clone()).await;
        start(lab, two.clone()).await;
        answered_by(&["one", "two"]).await;
        (one, two)
    };
    run_twice(first, async |lab, (one, two)| {
        answered_by(&["one", "two"]).await;
        let [one, two] = [one, two].map(|order| lab.runtime().controller(order));
        one.remove().await.expect("removed");
        answered_by(&["two"]).await;
        // Another service that has the port now: the manager gave it away.
        let mut other = server(lab, "other", None);
        let mut task = (*other.task).clone();
        task.service_id = skep_model::ServiceId::optional("service2");
        other.task = Arc::new(task);
        let other = start(lab, other).await;
        answered_by(&["other"]).await;
        two.remove().await.expect("removed");
        answered_by(&["other"]).await;
        other.remove().await.expect("removed");
    });
}

#[test]
fn a_port_of_the_hosts_own_stays_its_own() {
    run(async |lab| {
        let _own = tokio::net::TcpListener::bind(("0.0.0.0", PORT)).await.expect("bound");
        let order = server(lab, "one", None);
        let controller = lab.runtime().controller(order);
        controller.prepare().await.expect("prepared");
        let refusal = controller.start().await.expect_err("held").to_string();
        assert!(refusal.contains("published port 8080/tcp is held by a process of this host"), "{refusal}");
        controller.remove().await.expect("removed");
    });
}

/// Whoever sends datagrams from one port all the time finds the containers that come and go.
#[test]
fn datagrams_find_who_is_there() {
    run(async |lab| {
        let idle = |lab: &mut Lab| {
            let spec = ContainerSpec { args: shell("echo ready; exec sleep 1000"), ..plain() };
            lab.order_with(spec, |task| {
                let port = PortConfig {
                    protocol: port_config::Protocol::Udp.into(),
                    target_port: 53,
                    published_port: PORT.into(),
                    publish_mode: port_config::PublishMode::Ingress.into(),
                    ..Default::default()
                };
                task.endpoint = Some(objects::Endpoint { ports: vec![port], ..Default::default() });
            })
        };
        let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("bound");
        let (one, two) = (idle(lab), idle(lab));
        let one = start(lab, one).await;
        answer(lab, &one, "one");
        heard(&client, "one").await;
        one.terminate().await.expect("killed");
        one.remove().await.expect("removed");
        // With nobody there they lead nowhere, and that is a flow as well.
        let sent = client.send_to(b"hello", ("127.0.0.1", PORT)).await;
        println!("into the void: {sent:?}");
        let two = start(lab, two).await;
        answer(lab, &two, "two");
        heard(&client, "two").await;
        two.terminate().await.expect("killed");
        two.remove().await.expect("removed");
    });
}

/// Answers datagrams in a container's place, since busybox cannot, as long as the test runs.
fn answer(lab: &Lab, controller: &Arc<dyn Controller>, name: &'static str) {
    let namespace = std::fs::File::open(lab.path("run/netns").join(id(controller))).expect("a namespace");
    let bind = move || {
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).expect("entered");
        std::net::UdpSocket::bind("0.0.0.0:53").expect("bound")
    };
    let socket = std::thread::spawn(bind).join().expect("bound");
    socket.set_nonblocking(true).expect("set");
    let socket = tokio::net::UdpSocket::from_std(socket).expect("a socket");
    tokio::spawn(async move {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut buffer).await {
            socket.send_to(name.as_bytes(), from).await.expect("answered");
        }
    });
}

async fn heard(client: &tokio::net::UdpSocket, name: &str) {
    let ask = async {
        loop {
            // That nobody is there is told, too.
            let sent = client.send_to(b"hello", ("127.0.0.1", PORT)).await;
            let mut buffer = [0; 64];
            let answer = tokio::time::timeout(Duration::from_millis(100), client.recv(&mut buffer)).await;
            let length = answer.map_or(0, |received| received.unwrap_or(0));
            if sent.is_ok() && buffer[..length].starts_with(name.as_bytes()) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, ask).await.unwrap_or_else(|_| panic!("nothing of {name}"));
}
