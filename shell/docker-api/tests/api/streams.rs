//! Logs, events and exec.

use std::sync::Arc;

use serde_json::{Value, json};
use skep_docker_api::{SwarmAction, SwarmEvent, SwarmObject};
use skep_model::pb::messages as m;
use skep_model::pb::types;
use skep_model::{Kept, Service, Verbatim};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::client::{PATIENCE, get, parse, post, raw};
use crate::fake_control::meta;
use crate::fake_engine::EXEC;
use crate::world::World;

fn service(image: &str, replicas: u64) -> Service {
    let container = types::ContainerSpec { image: image.to_owned(), ..Default::default() };
    let spec = types::ServiceSpec {
        annotations: Some(types::Annotations { name: "web".to_owned(), ..Default::default() }),
        task: Some(types::TaskSpec {
            runtime: Some(types::task_spec::Runtime::Container(container)),
            ..Default::default()
        }),
        mode: Some(types::service_spec::Mode::Replicated(types::ReplicatedService { replicas })),
        ..Default::default()
    };
    let object = skep_model::pb::objects::Service {
        id: "service1".to_owned(),
        meta: Some(meta(1)),
        spec: Some(Verbatim::new(spec)),
        ..Default::default()
    };
    Service::try_from(Kept::new(object)).unwrap()
}

fn log(stream: m::LogStream, data: &'static str) -> m::LogMessage {
    m::LogMessage {
        context: Some(m::LogContext {
            service_id: "s1".to_owned(),
            node_id: "n1".to_owned(),
            task_id: "t1".to_owned(),
        }),
        timestamp: Some(prost_types::Timestamp { seconds: 1, nanos: 20 }),
        stream: stream.into(),
        data: data.into(),
        attrs: vec![m::LogAttr { key: "x y".to_owned(), value: "1,2".to_owned() }],
    }
}

#[tokio::test]
async fn service_logs_are_framed_with_their_origin() {
    let world = World::manager();
    {
        let mut state = world.control.0.lock().unwrap();
        state.services = vec![Kept::from(&service("busybox", 1))];
        let messages = vec![log(m::LogStream::Stdout, "out\n"), log(m::LogStream::Stderr, "err\n")];
        state.logs = vec![m::SubscribeLogsMessage { messages }];
    }
    let answer = get(&world.socket, "/v1.42/services/web/logs?stdout=1&stderr=1&tail=10&details=1&timestamps=1").await;
    assert_eq!(answer.header("content-type"), "application/vnd.docker.multiplexed-stream");
    let details = "com.docker.swarm.node.id=n1,com.docker.swarm.service.id=s1,com.docker.swarm.task.id=t1,x+y=1%2C2";
    let frame = |source: u8, text: &str| [&[source, 0, 0, 0, 0, 0, 0, text.len() as u8][..], text.as_bytes()].concat();
    let expected = [
        frame(1, &format!("1970-01-01T00:00:01.000000020Z {details} out\n")),
        frame(2, &format!("1970-01-01T00:00:01.000000020Z {details} err\n")),
        frame(3, "Error grabbing logs: node x is gone\n"),
    ]
    .concat();
    assert_eq!(String::from_utf8_lossy(&answer.body), String::from_utf8_lossy(&expected));
    let asked = world.control.0.lock().unwrap().log_request.clone().unwrap();
    assert_eq!(asked.selector.unwrap().service_ids, ["service1"]);
    assert_eq!(asked.options.unwrap().tail, -11);
    let old = get(&world.socket, "/v1.41/services/web/logs?stdout=1").await;
    assert_eq!(old.header("content-type"), "application/vnd.docker.raw-stream");
    assert_eq!(get(&world.socket, "/services/web/logs").await.status, 400);
    let container = get(&world.socket, "/containers/c0ffee/logs?stderr=1&tail=all").await;
    assert_eq!(container.body, b"\x02\0\0\0\0\0\0\x03oh\n");
}

/// Reads chunks until the text holds as many lines, then hangs up.
async fn lines(stream: &mut UnixStream, count: usize) -> Vec<Value> {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let length = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.expect("no event").unwrap();
        assert!(length > 0, "the stream ended early");
        all.extend_from_slice(&buffer[..length]);
        let Some(end) = all.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let text: String = String::from_utf8_lossy(&all[end..]).into_owned();
        let found: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let objects: Vec<Value> = found.into_iter().filter(Value::is_object).collect();
        if objects.len() >= count {
            return objects;
        }
    }
}

async fn watcher(world: &World) -> tokio::sync::mpsc::Sender<SwarmEvent> {
    loop {
        if let Some(sender) = world.control.0.lock().unwrap().watchers.pop() {
            return sender;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn events_tell_what_changed() {
    let world = World::manager();
    let mut stream = UnixStream::connect(&world.socket).await.unwrap();
    let filters = "%7B%22type%22%3A%5B%22service%22%5D%7D";
    let request = format!("GET /v1.41/events?since=1&filters={filters} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let sender = watcher(&world).await;
    let event = |action, image: &str, replicas, old: Option<Service>| SwarmEvent {
        action,
        object: SwarmObject::Service(Arc::new(service(image, replicas))),
        old: old.map(|old| SwarmObject::Service(Arc::new(old))),
    };
    sender.send(event(SwarmAction::Create, "a", 1, None)).await.unwrap();
    sender.send(event(SwarmAction::Update, "b", 2, Some(service("a", 1)))).await.unwrap();
    sender.send(event(SwarmAction::Remove, "b", 2, None)).await.unwrap();
    let events = lines(&mut stream, 3).await;
    assert_eq!(
        events[0],
        json!({ "Type": "service", "Action": "create",
        "Actor": { "ID": "service1", "Attributes": { "name": "web" } }, "scope": "swarm", "time": 1,
        "timeNano": 1_500_000_000u64 })
    );
    let attributes = json!({ "name": "web", "image.old": "a", "image.new": "b", "replicas.old": "1",
        "replicas.new": "2" });
    assert_eq!((&events[1]["Actor"]["Attributes"], &events[1]["timeNano"]), (&attributes, &json!(2_000_000_000u64)));
    assert_eq!(events[2]["Action"], "remove");
    drop(stream);

    // The past is kept, for those who ask for it; the clock of removals is the server's.
    let past = get(&world.socket, "/events?since=1&until=3").await;
    let actions: Vec<Value> = past.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(actions.iter().map(|event| &event["Action"]).collect::<Vec<_>>(), ["create", "update"]);
    let later = get(&world.socket, "/events?since=2&until=3").await;
    assert_eq!(later.text().lines().count(), 1, "{}", later.text());
    let others = get(&world.socket, "/events?since=1&until=3&filters=%7B%22type%22%3A%5B%22node%22%5D%7D").await;
    assert_eq!(others.body, b"");
}

#[tokio::test]
async fn past_events_end_at_once() {
    let world = World::manager();
    assert_eq!(get(&world.socket, "/events?since=1&until=2").await.body, b"");
}

async fn exec(world: &World, tty: bool) {
    let body = json!({ "Cmd": ["cat"], "AttachStdin": true, "AttachStdout": true, "AttachStderr": true, "Tty": tty });
    let created = post(&world.socket, "/containers/web.1.task1/exec", &body.to_string()).await;
    assert_eq!((created.status, created.json()), (201, json!({ "Id": EXEC })));
}

fn start(version: &str, upgrade: &str) -> Vec<u8> {
    let body = "{\"Detach\":false}";
    format!(
        "POST /{version}/exec/{EXEC}/start HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{upgrade}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[tokio::test]
async fn exec_turns_the_connection_into_streams() {
    let world = World::manager();
    exec(&world, false).await;
    let mut stream = UnixStream::connect(&world.socket).await.unwrap();
    stream.write_all(&start("v1.42", "Connection: Upgrade\r\nUpgrade: tcp\r\n")).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    // The client's half-close ends the input; the output still comes.
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("exec hangs").unwrap();
    let answer = parse(&answer);
    assert_eq!((answer.status, answer.header("upgrade")), (101, "tcp"));
    assert_eq!(answer.header("content-type"), "application/vnd.docker.multiplexed-stream");
    let expected = b"\x02\0\0\0\0\0\0\x06ready\n\x01\0\0\0\0\0\0\x05hello\x01\0\0\0\0\0\0\x04bye\n";
    assert_eq!(answer.text(), String::from_utf8_lossy(expected));
    let state = get(&world.socket, &format!("/exec/{EXEC}/json")).await.json();
    assert_eq!((state["ExitCode"].as_i64(), state["Running"].as_bool()), (Some(3), Some(false)));
}

#[tokio::test]
async fn a_terminal_is_raw_and_can_be_resized() {
    let world = World::manager();
    exec(&world, true).await;
    let mut stream = UnixStream::connect(&world.socket).await.unwrap();
    stream.write_all(&start("v1.41", "Connection: Upgrade\r\nUpgrade: tcp\r\n")).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("exec hangs").unwrap();
    assert_eq!(parse(&answer).text(), "ready\nbye\n");
    assert_eq!(post(&world.socket, &format!("/exec/{EXEC}/resize?h=24&w=80"), "").await.status, 200);
    assert_eq!(post(&world.socket, &format!("/exec/{EXEC}/resize?h=tall&w=80"), "").await.status, 400);
    assert!(world.engine.calls.lock().unwrap().contains(&"resize 24 80".to_owned()));
}

#[tokio::test]
async fn without_an_upgrade_the_answer_is_the_output() {
    let world = World::manager();
    exec(&world, false).await;
    let answer = parse(&raw(&world.socket, &start("v1.30", "Connection: close\r\n")).await);
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/vnd.docker.raw-stream"));
    assert!(answer.text().ends_with("bye\n"), "{}", answer.text());
    let gone = post(&world.socket, "/exec/nope/start", "{}").await;
    assert_eq!((gone.status, gone.message().as_str()), (404, "No such exec instance: nope"));
    let empty = post(&world.socket, "/containers/c0ffee/exec", "{\"Cmd\":[]}").await;
    assert_eq!((empty.status, empty.message().as_str()), (400, "No exec command specified"));
}
