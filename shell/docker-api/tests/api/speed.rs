//! A list of 400 services, to its last byte. The figure is printed, never judged: run it with an optimised build.

use std::time::Instant;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::client::post;
use crate::world::World;

const SERVICES: usize = 400;
const ROUNDS: usize = 50;

/// Reads one answer with a length off a kept-alive connection.
async fn answer(stream: &mut UnixStream, buffer: &mut Vec<u8>) -> Vec<u8> {
    buffer.clear();
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
            let length: usize =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
            let mut body = buffer.split_off(end + 4);
            let have = body.len();
            body.resize(length, 0);
            stream.read_exact(&mut body[have..]).await.unwrap();
            return body;
        }
        stream.read_buf(buffer).await.unwrap();
    }
}

#[tokio::test]
async fn four_hundred_services_are_listed_whole() {
    let world = World::manager();
    for index in 0..SERVICES {
        let spec = json!({
            "Name": format!("service-{index}"), "Labels": { "com.example.owner": "bench" },
            "TaskTemplate": {
                "ContainerSpec": { "Image": "busybox:latest", "Args": ["sleep", "1d"], "Env": ["A=1"] },
                "RestartPolicy": { "Condition": "any", "Delay": 5_000_000_000u64, "MaxAttempts": 0 },
            },
            "Mode": { "Replicated": { "Replicas": 1 } },
            "UpdateConfig": { "Parallelism": 1, "MaxFailureRatio": 0 },
            "EndpointSpec": { "Mode": "vip" },
        });
        assert_eq!(post(&world.socket, "/services/create", &spec.to_string()).await.status, 201);
    }
    let mut stream = UnixStream::connect(&world.socket).await.unwrap();
    let mut times = Vec::new();
    let mut buffer = Vec::new();
    let mut body = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        stream.write_all(b"GET /v1.41/services?status=true HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        body = answer(&mut stream, &mut buffer).await;
        times.push(begin.elapsed());
    }
    let list: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(list.as_array().unwrap().len(), SERVICES);
    times.sort();
    eprintln!(
        "{SERVICES} services, {} bytes: first {:?} at most, median {:?}",
        body.len(),
        times[ROUNDS - 1],
        times[ROUNDS / 2]
    );
}
