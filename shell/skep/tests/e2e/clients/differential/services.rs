//! Updates, rollbacks, lists and removal of services.

use serde_json::{Value, json};

use super::{Pair, service};

pub fn updates(pair: &mut Pair) {
    let idle = |more: Value| {
        let mut spec = service("keep", json!({ "Mode": { "Replicated": { "Replicas": 0 } } }));
        super::merge(&mut spec, more);
        spec
    };
    pair.post("service keep", "/services/create", &idle(json!({ "Labels": { "a": "1" } })));
    pair.remember("keep", "/ID");
    let update = |pair: &mut Pair, step: &str, query: &str, spec: &Value| {
        let path = format!("/services/<keep>/update?version=<version services/(keep)>{query}");
        pair.post(&format!("update {step}"), &path, spec);
        if pair.sides.iter().all(|side| side.last.get("message").is_none()) {
            pair.settle("/services/<keep>", is_settled);
        }
        pair.get(&format!("update {step}, inspect"), "/services/<keep>");
    };
    update(pair, "labels", "", &idle(json!({ "Labels": { "b": "2" } })));
    for (step, path) in [
        ("without version", "/services/<keep>/update"),
        ("bad version", "/services/<keep>/update?version=x"),
        ("negative version", "/services/<keep>/update?version=-1"),
        ("huge version", "/services/<keep>/update?version=99999999999999999999999"),
        ("stale", "/services/<keep>/update?version=1"),
        ("unknown", "/services/nope/update?version=1"),
        ("by name", "/services/keep/update?version=<version services/keep>"),
        ("by prefix", "/services/<keep>/update?version=<version services/(keep)>"),
    ] {
        pair.post(&format!("update {step}"), path, &idle(json!({ "Labels": { "b": "2" } })));
    }
    update(pair, "name", "", &idle(json!({ "Name": "other" })));
    update(pair, "no name", "", &idle(json!({ "Name": "" })));
    update(pair, "mode", "", &idle(json!({ "Mode": { "Replicated": null, "Global": {} } })));
    update(pair, "bad rollback", "&rollback=zzz", &idle(json!({})));
    update(pair, "image", "", &idle(json!({ "TaskTemplate": { "ContainerSpec": { "Image": "busybox:1" } } })));
    update(pair, "rollback", "&rollback=previous", &idle(json!({})));
    update(pair, "rollback again", "&rollback=previous", &idle(json!({})));
    update(pair, "credentials of before", "&registryAuthFrom=previous-spec", &idle(json!({})));
    update(pair, "credentials of nobody", "&registryAuthFrom=zzz", &idle(json!({})));
    update(pair, "force", "", &idle(json!({ "TaskTemplate": { "ForceUpdate": 7 } })));
    update(pair, "bad spec", "", &idle(json!({ "TaskTemplate": { "ContainerSpec": { "Image": "" } } })));
    pair.send("update bad JSON", "POST", "/services/<keep>/update?version=1", Some("{"), &[]);
    pair.send("update without a body", "POST", "/services/<keep>/update?version=1", None, &[]);

    pair.post(
        "service fresh",
        "/services/create",
        &service("fresh", json!({ "Mode": { "Replicated": { "Replicas": 0 } } })),
    );
    pair.remember("fresh", "/ID");
    let fresh = service("fresh", json!({ "Mode": { "Replicated": { "Replicas": 0 } } }));
    for query in ["rollback=previous", "registryAuthFrom=previous-spec"] {
        let path = format!("/services/<fresh>/update?version=<version services/(fresh)>&{query}");
        pair.post(&format!("update fresh {query}"), &path, &fresh);
    }
    pair.post("service twice", "/services/create", &fresh);
    lists(pair);
    pair.delete("service remove", "/services/fresh");
    pair.delete("service remove again", "/services/fresh");
    pair.delete("service remove by id", "/services/<keep>");
    pair.get("service removed", "/services/<keep>");
}

/// Updates end in their own time.
fn is_settled(service: &Value) -> bool {
    service
        .pointer("/UpdateStatus/State")
        .and_then(Value::as_str)
        .is_none_or(|state| !matches!(state, "updating" | "rollback_started"))
}

fn lists(pair: &mut Pair) {
    pair.get("services", "/services");
    pair.get("services with status", "/services?status=true");
    pair.get("services with status of old", "/v1.40/services?status=true");
    pair.get("services with bad status", "/services?status=king");
    pair.filtered_by(
        "services",
        "/services",
        &[
            r#"{"name":["keep"]}"#,
            r#"{"name":["ke"]}"#,
            r#"{"name":{"keep":true}}"#,
            r#"{"name":{"keep":false}}"#,
            r#"{"name":["keep","fresh"]}"#,
            r#"{"id":["zzz"]}"#,
            r#"{"label":["b"]}"#,
            r#"{"label":["b=2"]}"#,
            r#"{"label":["b=3"]}"#,
            r#"{"mode":["replicated"]}"#,
            r#"{"mode":["global"]}"#,
            r#"{"mode":["king"]}"#,
            r#"{"runtime":["container"]}"#,
            r#"{"runtime":["plugin"]}"#,
            r#"{"foo":["a"]}"#,
            "null",
            "{}",
        ],
    );
    pair.get("service inspect", "/services/keep");
    pair.get("service inspect with defaults", "/services/keep?insertDefaults=1");
    pair.get("service inspect badly", "/services/keep?insertDefaults=king");
    pair.get("service unknown", "/services/nope");
}
