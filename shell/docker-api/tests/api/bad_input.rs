//! Damage of every kind gets an answer or a closed connection; the server lives on.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::client::{PATIENCE, get, parse, post, raw, send};
use crate::world::World;

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[tokio::test]
async fn malformed_json_is_refused_with_the_field() {
    let world = World::manager();
    for (body, expected) in [
        ("", "invalid JSON: got EOF while reading request body"),
        ("{", "invalid JSON: EOF while parsing"),
        ("{\"Name\":5}", "invalid JSON: field Name: invalid type"),
        ("{\"TaskTemplate\":{\"ContainerSpec\":{\"Env\":[1]}}}", "field TaskTemplate.ContainerSpec.Env[0]"),
        ("{\"Mode\":{\"Replicated\":{\"Replicas\":-1}}}", "field Mode.Replicated.Replicas"),
        ("{}x", "unexpected content after JSON"),
        ("{}", "mismatched Runtime and *Spec fields"),
    ] {
        let answer = post(&world.socket, "/v1.41/services/create", body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.message().contains(expected), "{body}: {}", answer.message());
    }
    let form = send(&world.socket, "POST", "/services/create", &[("Content-Type", "text/plain")], b"{}").await;
    assert_eq!(form.status, 400);
    assert!(form.message().starts_with("unsupported Content-Type header (text/plain)"));
}

/// Docker knows its words only as it writes them.
#[tokio::test]
async fn words_of_specs_are_taken_as_they_are_written() {
    let world = World::manager();
    for (part, expected) in [
        (r#""UpdateConfig":{"Order":"Stop-first"}"#, "unrecognized update order Stop-first"),
        (r#""UpdateConfig":{"FailureAction":"Pause"}"#, "unrecognized update failure action Pause"),
        (r#""RollbackConfig":{"FailureAction":"Pause"}"#, "unrecognized update failure action Pause"),
        (r#""EndpointSpec":{"Mode":"VIP"}"#, "invalid resolution mode: \"VIP\""),
    ] {
        let body = format!(r#"{{"Name":"a","TaskTemplate":{{"ContainerSpec":{{"Image":"a"}}}},{part}}}"#);
        let answer = post(&world.socket, "/services/create", &body).await;
        assert_eq!((answer.status, answer.message()), (400, expected.to_owned()), "{part}");
    }
    let body = r#"{"Name":"a","TaskTemplate":{"ContainerSpec":{"Image":"a"},"RestartPolicy":{"Condition":"Any"}}}"#;
    let answer = post(&world.socket, "/services/create", body).await;
    assert_eq!((answer.status, answer.message()), (400, "invalid RestartCondition: \"Any\"".to_owned()));
    assert!(world.control.0.lock().unwrap().services.is_empty());
}

#[tokio::test]
async fn oversized_requests_are_refused() {
    let world = World::manager();
    let body = vec![b' '; 5 << 20];
    let answer = send(&world.socket, "POST", "/configs/create", &[JSON], &body).await;
    assert_eq!(answer.status, 413);
    let long = "x".repeat(200 * 1024);
    let answer = raw(&world.socket, format!("GET /_ping HTTP/1.1\r\nHost: x\r\nLong: {long}\r\n\r\n").as_bytes()).await;
    assert_eq!(parse(&answer).status, 431);
    // Without a length, by what comes.
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, " ".repeat(1 << 20));
    let head = "POST /configs/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    let answer = raw(&world.socket, [head, &chunk.repeat(5), "0\r\n\r\n"].concat().as_bytes()).await;
    assert_eq!(parse(&answer).status, 413);
    assert_eq!(get(&world.socket, "/_ping").await.status, 200);
}

#[tokio::test]
async fn garbage_and_broken_off_requests_do_no_harm() {
    let world = World::manager();
    let garbage = raw(&world.socket, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03garbage\r\n\r\n").await;
    assert_eq!(parse(&garbage).status, 400);
    for torn in [
        &b"GET /_pi"[..],
        b"POST /services/create HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"Name\"",
        b"POST /services/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"N",
    ] {
        let mut stream = UnixStream::connect(&world.socket).await.unwrap();
        stream.write_all(torn).await.unwrap();
        // Half-closed: no more will come.
        stream.shutdown().await.unwrap();
        drop(stream);
    }
    assert_eq!(get(&world.socket, "/_ping").await.status, 200);
    assert!(world.control.0.lock().unwrap().services.is_empty());
}

#[tokio::test]
async fn who_closed_its_side_after_a_whole_request_is_answered() {
    let world = World::manager();
    let spec = r#"{"Name":"half","TaskTemplate":{"ContainerSpec":{"Image":"a"}}}"#;
    let create = format!(
        "POST /services/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{spec}",
        spec.len()
    );
    let unread = "POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc".to_owned();
    for (request, status) in [("GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 200), (create, 201), (unread, 404)]
    {
        let mut stream = UnixStream::connect(&world.socket).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // The connection ends with the answer: no other request can come.
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server hangs").unwrap();
        assert_eq!(parse(&answer).status, status, "{request}");
    }
    assert_eq!(world.control.0.lock().unwrap().services.len(), 1);
    // Who is still writing when the answer is known is not cut off in the middle.
    let mut stream = UnixStream::connect(&world.socket).await.unwrap();
    let head = "POST /containers/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..100 {
        stream.write_all(&[b' '; 1000]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server hangs").unwrap();
    assert_eq!(parse(&answer).status, 501);
    // A stream without an end has lost its listener.
    let mut stream = UnixStream::connect(&world.socket).await.unwrap();
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the stream goes on").unwrap();
    assert_eq!(parse(&answer).status, 200);
}

/// However the end of what the client writes meets the request: with its head, with its body, or after both.
#[tokio::test(flavor = "multi_thread")]
async fn no_half_close_is_too_early() {
    const TRIES: usize = 300;
    let world = World::manager();
    for (head, body, status) in [
        ("POST /services/create HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n", "{bad", 400),
        ("POST /services/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\n", "{bad", 400),
        ("POST /services/create HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", "{bad", 400),
        ("POST /nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\n", "abc", 404),
    ] {
        for attempt in 0..TRIES {
            let mut stream = UnixStream::connect(&world.socket).await.unwrap();
            let apart = attempt % 3 == 0;
            if apart {
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.write_all(body.as_bytes()).await.unwrap();
            } else {
                stream.write_all([head, body].concat().as_bytes()).await.unwrap();
            }
            for _ in 0..attempt % 7 {
                tokio::task::yield_now().await;
            }
            stream.shutdown().await.unwrap();
            let mut answer = Vec::new();
            tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server hangs").unwrap();
            assert!(!answer.is_empty(), "no answer to {head}{body}, attempt {attempt}");
            assert_eq!(parse(&answer).status, status, "{head}{body}");
        }
    }
}

#[tokio::test]
async fn odd_paths_and_parameters_are_refused() {
    let world = World::manager();
    for (path, status) in [
        ("/services/", 404),
        ("//services", 404),
        ("/v1.41", 404),
        ("/services?filters=%7B", 400),
        ("/services?filters=%7B%22name%22%3A%7B%22x%22%3A1%7D%7D", 400),
        ("/services?filters=%7B%22name%22%3Anull%7D", 200),
        ("/services?filters=%7B%22bad%22%3A%5B%22x%22%5D%7D", 400),
        ("/services?status=maybe", 400),
        ("/services/x?insertDefaults=2", 400),
        ("/events?since=yesterday", 400),
        ("/events?since=20&until=10", 400),
        ("/services/%zz", 404),
        ("/nodes/%2e%2e%2f", 404),
        ("/containers/json?limit=x", 400),
    ] {
        let answer = get(&world.socket, path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
}

#[tokio::test]
async fn slow_clients_are_not_waited_for() {
    let world = World::impatient();
    // A head that never ends: the connection is closed.
    raw(&world.socket, b"GET /_ping HTTP/1.1\r\nHost:").await;
    // A body that never ends: the client is told.
    let torn = b"POST /services/create HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"Name\"";
    let answer = parse(&raw(&world.socket, torn).await);
    assert_eq!(answer.status, 408);
    assert!(answer.message().contains("did not come within 300ms"), "{}", answer.message());
}
