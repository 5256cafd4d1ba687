//! Versions, headers, what is not there, who may ask, keep-alive, draining.

use skep_docker_api::Standing;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::client::{PATIENCE, get, post, raw, send};
use crate::world::World;

#[tokio::test]
async fn ping_tells_clients_what_they_need() {
    let world = World::manager();
    for (method, body) in [("GET", "OK"), ("HEAD", "")] {
        let pong = send(&world.socket, method, "/_ping", &[], b"").await;
        assert_eq!((pong.status, pong.text().as_str()), (200, body));
        assert_eq!(pong.header("api-version"), "1.52");
        assert_eq!(pong.header("ostype"), "linux");
        assert_eq!(pong.header("docker-experimental"), "false");
        assert_eq!(pong.header("swarm"), "active/manager");
        assert_eq!(pong.header("cache-control"), "no-cache, no-store, must-revalidate");
        assert!(pong.header("server").starts_with("Docker/"));
    }
    for (standing, word) in [
        (Standing::Inactive, "inactive"),
        (Standing::Pending, "pending"),
        (Standing::Worker, "active/worker"),
        (Standing::Locked, "locked"),
        (Standing::Error, "error"),
    ] {
        *world.swarm.standing.lock().unwrap() = standing;
        assert_eq!(get(&world.socket, "/_ping").await.header("swarm"), word);
    }
}

#[tokio::test]
async fn versions_outside_the_range_are_refused() {
    let world = World::manager();
    for path in ["/v1.24/version", "/v1.41/version", "/v1.52/version", "/version"] {
        assert_eq!(get(&world.socket, path).await.status, 200, "{path}");
    }
    let old = get(&world.socket, "/v1.12/version").await;
    let text = "client version 1.12 is too old. Minimum supported API version is 1.24, please upgrade your client to a \
                newer version";
    assert_eq!((old.status, old.message().as_str()), (400, text));
    let new = get(&world.socket, "/v1.99/version").await;
    assert_eq!(new.message(), "client version 1.99 is too new. Maximum supported API version is 1.52");
}

#[tokio::test]
async fn what_is_not_there_says_so() {
    let world = World::manager();
    let unknown = get(&world.socket, "/v1.41/no/such/page").await;
    assert_eq!((unknown.status, unknown.message().as_str()), (404, "page not found"));
    for (method, path) in [
        ("POST", "/build"),
        ("POST", "/containers/create"),
        ("POST", "/containers/x/restart"),
        ("POST", "/containers/x/attach"),
        ("GET", "/volumes"),
        ("GET", "/plugins"),
        ("POST", "/images/x/push"),
    ] {
        let answer = send(&world.socket, method, &format!("/v1.41{path}"), &[], b"").await;
        assert_eq!(answer.status, 501, "{path}");
        assert!(answer.message().split(' ').count() > 3, "{path}: {}", answer.message());
    }
}

#[tokio::test]
async fn only_managers_answer_for_the_swarm() {
    let world = World::new(Standing::Inactive);
    let reads = ["/swarm", "/nodes", "/services", "/tasks", "/secrets", "/configs", "/services/x", "/swarm/unlockkey"];
    for (standing, text) in [
        (Standing::Inactive, "This node is not a swarm manager. Use \"docker swarm init\" or"),
        (Standing::Worker, "This node is not a swarm manager. Worker nodes can't be used to view or modify"),
        (Standing::Pending, "This node is not a swarm manager. Manager is being prepared or has trouble"),
        (Standing::Locked, "Swarm is encrypted and needs to be unlocked before it can be used."),
        (Standing::CertificateExpired, "Swarm certificates have expired. To replace them, leave the swarm"),
    ] {
        *world.swarm.standing.lock().unwrap() = standing;
        for path in reads {
            let answer = get(&world.socket, path).await;
            assert_eq!(answer.status, 503, "{path}");
            assert!(answer.message().starts_with(text), "{path}: {}", answer.message());
        }
        let create = post(&world.socket, "/services/create", "{}").await;
        assert_eq!(create.status, 503);
    }
    // Networks of this node are there all the same.
    let networks = get(&world.socket, "/networks").await.json();
    assert_eq!(networks.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let world = World::manager();
    let one = b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answers = raw(&world.socket, &[&one[..], &one[..], &last[..]].concat()).await;
    let answers = String::from_utf8(answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3);
}

#[tokio::test]
async fn stopping_ends_streams_and_idle_connections() {
    let world = World::manager();
    let mut idle = UnixStream::connect(&world.socket).await.unwrap();
    let mut events = UnixStream::connect(&world.socket).await.unwrap();
    events.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    events.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    world.stop.cancel();
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, events.read_to_end(&mut rest)).await.expect("the stream goes on").unwrap();
    tokio::time::timeout(PATIENCE, idle.read_to_end(&mut rest)).await.expect("the connection stays").unwrap();
    tokio::time::timeout(PATIENCE, world.server).await.expect("the server goes on").unwrap();
    assert!(UnixStream::connect(&world.socket).await.is_err());
}
