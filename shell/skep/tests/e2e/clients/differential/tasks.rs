//! Tasks that run, and what they print.

use serde_json::{Value, json};

use super::{Pair, service};
use crate::clients::http::ask;
use crate::support::wait_until;

pub fn running_ones(pair: &mut Pair) {
    let script = "echo oops >&2; sleep 1; for i in 1 2 3; do echo line $i; done; exec sleep 1000";
    let spec = service(
        "talk",
        json!({ "Mode": { "Replicated": { "Replicas": 2 } }, "TaskTemplate": {
        "ContainerSpec": { "Command": ["sh", "-c", script], "Labels": { "l": "1" } } } }),
    );
    pair.post("service talk", "/services/create", &spec);
    let running = "/tasks?filters=%7B%22service%22%3A%5B%22talk%22%5D%7D";
    pair.settle(running, |tasks| {
        let states = tasks.as_array().into_iter().flatten().filter_map(|task| task.pointer("/Status/State"));
        states.filter(|state| state.as_str() == Some("running")).count() == 2
    });
    // Docker 20.10 keeps tasks of removed jobs for ever, so that the whole list is never the same.
    pair.filtered_by(
        "tasks",
        "/tasks",
        &[
            r#"{"service":["talk"]}"#,
            r#"{"service":["nope"]}"#,
            r#"{"node":["nope"]}"#,
            r#"{"desired-state":["running"],"service":["talk"]}"#,
            r#"{"desired-state":["shutdown"],"service":["talk"]}"#,
            r#"{"desired-state":["accepted"],"service":["talk"]}"#,
            r#"{"desired-state":["king"]}"#,
            r#"{"_up-to-date":["true"],"service":["talk"]}"#,
            r#"{"name":["talk"],"service":["talk"]}"#,
            r#"{"name":["talk.1"],"service":["talk"]}"#,
            r#"{"label":["x"]}"#,
            r#"{"runtime":["container"],"service":["talk"]}"#,
            r#"{"runtime":["plugin"]}"#,
            r#"{"id":["zzz"]}"#,
            r#"{"foo":["a"]}"#,
        ],
    );
    pair.filtered("tasks of slot", "/tasks", r#"{"name":["talk.1"],"service":["talk"]}"#);
    pair.remember("task", "/0/ID");
    pair.get("task", "/tasks/<task>");
    pair.get("task unknown", "/tasks/nope");
    pair.get("services with running tasks", "/services?status=true");
    logs(pair);
    pair.delete("service talk remove", "/services/talk");
    pair.settle("/tasks", nothing_runs);
}

fn nothing_runs(tasks: &Value) -> bool {
    tasks.as_array().into_iter().flatten().all(|task| task.pointer("/Status/State") != Some(&Value::from("running")))
}

fn logs(pair: &mut Pair) {
    // What both tasks printed has reached the lines of both daemons.
    for side in &pair.sides {
        wait_until("the tasks' lines", || {
            let text = ask(&side.socket, "GET", "/v1.41/services/talk/logs?stdout=1&stderr=1", None, &[]).text();
            let whole = text.matches("line 3").count() == 2 && text.matches("oops").count() == 2;
            if whole { Ok(()) } else { Err(text) }
        });
    }
    for query in [
        "stdout=1",
        "stderr=1",
        "stdout=1&tail=1",
        "stdout=1&tail=0",
        "stdout=1&tail=all",
        "stdout=1&tail=2&details=1",
        "stdout=1&since=4102444800",
        "stdout=1&since=1.5",
        "stdout=0&stderr=0",
        "",
        "stdout=1&tail=x",
        "stdout=1&tail=-3",
        "stdout=1&since=x",
    ] {
        pair.get(&format!("logs of a task {query}"), &format!("/tasks/<task>/logs?{query}"));
    }
    pair.get("logs of nothing", "/services/nope/logs?stdout=1");
    pair.get("logs of no task", "/tasks/nope/logs?stdout=1");
    pair.get("logs without a stream", "/services/talk/logs");
    // Lines of two tasks come in no order.
    let [docker, skep] = pair.sides.each_ref().map(|side| {
        let answer = ask(&side.socket, "GET", "/v1.41/services/talk/logs?stdout=1&stderr=1&tail=2", None, &[]);
        let mut frames: Vec<String> = frames(&answer.body);
        frames.sort_unstable();
        Value::from(frames)
    });
    pair.values("logs of a service", &docker, &skep);
}

/// Stream and text of each frame.
fn frames(mut body: &[u8]) -> Vec<String> {
    let mut frames = Vec::new();
    while body.len() >= 8 {
        let length = u32::from_be_bytes([body[4], body[5], body[6], body[7]]) as usize;
        let end = (8 + length).min(body.len());
        frames.push(format!("{} {}", body[0], String::from_utf8_lossy(&body[8..end])));
        body = &body[end..];
    }
    frames
}
