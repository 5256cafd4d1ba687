//! Events of the swarm's objects, as they come.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

use super::{Pair, service};
use crate::clients::http::ask;
use crate::support::PATIENCE;

/// What ends each part: the removal of a secret of this name.
const LAST: &str = "the-last";
/// `{"scope":["swarm"]}`.
const FILTERS: &str = "%7B%22scope%22%3A%5B%22swarm%22%5D%7D";

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
    let heard = streams.each_mut().map(collect);
    let [docker, skep] = heard.each_ref().map(|events| told(events));
    pair.values("events", &docker, &skep);
    // The same again, out of what is kept.
    let sockets = pair.sockets();
    let [docker, skep] = [0, 1].map(|side| {
        let stamps = || heard[side].iter().filter_map(|event| event["timeNano"].as_u64());
        let [since, until] = [stamps().min(), stamps().max()].map(Option::unwrap_or_default).map(seconds);
        let path = format!("/v1.41/events?since={since}&until={until}&filters={FILTERS}");
        let text = ask(&sockets[side], "GET", &path, None, &[]).text();
        told(&text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<Value>>())
    });
    pair.values("events of the past", &docker, &skep);
    for query in ["since=yesterday", "until=tomorrow", "since=20&until=10", "filters=%7B"] {
        pair.get(&format!("events {query}"), &format!("/events?{query}"));
    }
}

/// As the API takes a moment.
fn seconds(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

fn listen(socket: &Path) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(socket).expect("a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = format!("GET /v1.41/events?filters={FILTERS} HTTP/1.1\r\nHost: docker\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the request is taken");
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).expect("the head of an answer");
    }
    reader
}

/// Events until the last one.
fn collect(reader: &mut BufReader<UnixStream>) -> Vec<Value> {
    let mut events = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap_or_else(|error| panic!("the events so far: {events:?}: {error}"));
        let Ok(event) = serde_json::from_str::<Value>(line.trim()) else { continue };
        if !event["Type"].is_string() {
            continue;
        }
        let over = event["Action"] == "remove" && event.pointer("/Actor/Attributes/name") == Some(&Value::from(LAST));
        events.push(event);
        if over {
            return events;
        }
    }
}

/// Each kind of object for itself: their order among each other is nobody's promise.
fn told(events: &[Value]) -> Value {
    let mut events = events.to_vec();
    events.sort_by_key(|event| event["Type"].to_string());
    let texts = events.iter().map(|event| json!([event["Type"], event["Action"], event["Actor"], event["scope"]]));
    Value::from(texts.collect::<Vec<Value>>())
}
