//! Events of the swarm's objects, as they come.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

use super::{Pair, service};
use crate::support::PATIENCE;

/// What ends each part: the removal of a secret of this name.
const LAST: &str = "the-last";

pub fn of_the_swarm(pair: &mut Pair) {
    let mut streams = pair.sockets().map(|socket| listen(&socket));
    let idle = |more: Value| {
        let mut spec = service("told", json!({ "Mode": { "Replicated": { "Replicas": 0 } } }));
        super::merge(&mut spec, more);
        spec
    };
    pair.post("events secret", "/secrets/create", &json!({ "Name": "s", "Data": "YQ==" }));
    pair.post(
        "events secret labels",
        "/secrets/s/update?version=<version secrets/s>",
        &json!({ "Name": "s", "Labels": { "a": "b" } }),
    );
    pair.delete("events secret remove", "/secrets/s");
    pair.post("events config", "/configs/create", &json!({ "Name": "c", "Data": "YQ==", "Labels": { "a": "b" } }));
    pair.delete("events config remove", "/configs/c");
    pair.post("events service", "/services/create", &idle(json!({})));
    let path = "/services/told/update?version=<version services/told>";
    pair.post("events service labels", path, &idle(json!({ "Labels": { "a": "b" } })));
    pair.delete("events service remove", "/services/told");
    let node = "/nodes/<node>/update?version=<version nodes/(node)>";
    pair.post("events node pause", node, &json!({ "Role": "manager", "Availability": "pause" }));
    pair.post("events node active", node, &json!({ "Role": "manager", "Availability": "active" }));
    pair.post("events last", "/secrets/create", &json!({ "Name": LAST, "Data": "YQ==" }));
    pair.delete("events last remove", &format!("/secrets/{LAST}"));
    let [docker, skep] = streams.each_mut().map(collect);
    pair.values("events", &docker, &skep);
    for query in ["since=yesterday", "until=tomorrow", "since=20&until=10", "filters=%7B"] {
        pair.get(&format!("events {query}"), &format!("/events?{query}"));
    }
}

fn listen(socket: &Path) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(socket).expect("a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let filters = "%7B%22scope%22%3A%5B%22swarm%22%5D%7D";
    let request = format!("GET /v1.41/events?filters={filters} HTTP/1.1\r\nHost: docker\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the request is taken");
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).expect("the head of an answer");
    }
    reader
}

/// Events until the last one, each kind of object for itself: their order among each other is nobody's promise.
fn collect(reader: &mut BufReader<UnixStream>) -> Value {
    let mut events = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap_or_else(|error| panic!("the events so far: {events:?}: {error}"));
        let Ok(event) = serde_json::from_str::<Value>(line.trim()) else { continue };
        let Some(kind) = event["Type"].as_str().map(str::to_owned) else { continue };
        let over = event["Action"] == "remove" && event.pointer("/Actor/Attributes/name") == Some(&Value::from(LAST));
        events.push((kind, event));
        if over {
            break;
        }
    }
    events.sort_by(|left, right| left.0.cmp(&right.0));
    let texts = events.into_iter().map(|(kind, event)| json!([kind, event["Action"], event["Actor"], event["scope"]]));
    Value::from(texts.collect::<Vec<Value>>())
}
