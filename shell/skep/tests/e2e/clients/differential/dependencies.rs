//! Secrets and configs.

use serde_json::{Value, json};

use super::{Pair, service};

/// "hi" and "x" in base64.
const HI: &str = "aGk=";
const X: &str = "eA==";

pub fn secrets_and_configs(pair: &mut Pair) {
    for (kind, list) in [("Secret", "secrets"), ("Config", "configs")] {
        creation(pair, list);
        if list == "secrets" {
            // Docker looks for the plugin first.
            pair.clean("/secrets/dr");
            pair.clean("/secrets/dr2");
        }
        reading(pair, list);
        updating(pair, list);
        use_by_services(pair, kind, list);
        for name in ["one", "us", "np", "tm", "dr2", "lnl", "bigmax", "big500"] {
            pair.clean(&format!("/{list}/{name}"));
        }
        pair.clean(&format!("/{list}/{}", "x".repeat(64)));
    }
}

fn creation(pair: &mut Pair, list: &str) {
    let path = format!("/{list}/create");
    let data = |length: usize| {
        "eHh4".repeat(length / 3)
            + if length % 3 == 1 {
                "eA=="
            } else if length % 3 == 2 {
                "eHg="
            } else {
                ""
            }
    };
    for (step, body) in [
        ("plain", json!({ "Name": "one", "Data": HI, "Labels": { "a": "b" } })),
        ("twice", json!({ "Name": "one", "Data": HI })),
        ("without data", json!({ "Name": "nd" })),
        ("empty data", json!({ "Name": "nd", "Data": "" })),
        ("no base64", json!({ "Name": "nd", "Data": "***" })),
        ("base64 for URLs", json!({ "Name": "us", "Data": "_-8=" })),
        ("base64 without padding", json!({ "Name": "np", "Data": "aGk" })),
        ("without a name", json!({ "Data": X })),
        ("bad name", json!({ "Name": "-x", "Data": X })),
        ("long name", json!({ "Name": "x".repeat(65), "Data": X })),
        ("longest name", json!({ "Name": "x".repeat(64), "Data": X })),
        ("too big for a config", json!({ "Name": "big", "Data": data(1_024_000) })),
        ("too big for a secret", json!({ "Name": "big500", "Data": data(512_000) })),
        ("biggest", json!({ "Name": "bigmax", "Data": data(511_999) })),
        ("template", json!({ "Name": "tm", "Data": X, "Templating": { "Name": "golang" } })),
        ("unknown template driver", json!({ "Name": "tm2", "Data": X, "Templating": { "Name": "jinja" } })),
        ("driver", json!({ "Name": "dr", "Driver": { "Name": "vault" } })),
        ("driver and data", json!({ "Name": "dr2", "Data": X, "Driver": { "Name": "vault" } })),
        ("null labels", json!({ "Name": "lnl", "Data": X, "Labels": null })),
    ] {
        pair.post(&format!("{list} create {step}"), &path, &body);
    }
    pair.clean(&format!("/{list}/tm2"));
    pair.send(&format!("{list} create bad JSON"), "POST", &path, Some("{"), &[]);
}

fn reading(pair: &mut Pair, list: &str) {
    pair.get(&format!("{list} list"), &format!("/{list}"));
    pair.get(&format!("{list} list of old"), &format!("/v1.30/{list}"));
    for name in ["one", "tm", "lnl", "nope"] {
        pair.get(&format!("{list} inspect {name}"), &format!("/{list}/{name}"));
    }
    pair.filtered_by(
        &format!("{list} list"),
        &format!("/{list}"),
        &[
            r#"{"name":["one"]}"#,
            r#"{"name":["on"]}"#,
            r#"{"names":["one"]}"#,
            r#"{"label":["a=b"]}"#,
            r#"{"label":["a"]}"#,
            r#"{"label":["a=c"]}"#,
            r#"{"id":["zzz"]}"#,
            r#"{"foo":["a"]}"#,
            "null",
            "{}",
        ],
    );
}

fn updating(pair: &mut Pair, list: &str) {
    let update = format!("/{list}/one/update?version=<version {list}/one>");
    for (step, body) in [
        ("labels", json!({ "Name": "one", "Labels": { "z": "1" } })),
        ("labels with the same data", json!({ "Name": "one", "Data": HI, "Labels": { "z": "2" } })),
        ("name", json!({ "Name": "two", "Labels": { "z": "2" } })),
    ] {
        pair.post(&format!("{list} update {step}"), &update, &body);
        pair.get(&format!("{list} after {step}"), &format!("/{list}/one"));
    }
    for (step, path) in [
        ("without version", format!("/{list}/one/update")),
        ("bad version", format!("/{list}/one/update?version=x")),
        ("stale", format!("/{list}/one/update?version=1")),
        ("unknown", format!("/{list}/nope/update?version=1")),
    ] {
        pair.post(&format!("{list} update {step}"), &path, &json!({ "Name": "one" }));
    }
    pair.post(&format!("{list} to turn"), &format!("/{list}/create"), &json!({ "Name": "turned", "Data": HI }));
    let turn = format!("/{list}/turned/update?version=<version {list}/turned>");
    pair.post(&format!("{list} update data"), &turn, &json!({ "Name": "turned", "Data": X }));
    pair.clean(&format!("/{list}/turned"));
}

fn use_by_services(pair: &mut Pair, kind: &str, list: &str) {
    pair.get(&format!("{list} to use"), &format!("/{list}/one"));
    pair.remember("one", "/ID");
    let reference = |name: &str, target: &str| {
        let (id_key, name_key) = (format!("{kind}ID"), format!("{kind}Name"));
        json!({ id_key: "<one>", name_key: name, "File": { "Name": target, "UID": "1", "GID": "2", "Mode": 292 } })
    };
    let user = |name: &str, references: Value| {
        service(
            name,
            json!({ "TaskTemplate": { "ContainerSpec": { format!("{kind}s"): references } },
                              "Mode": { "Replicated": { "Replicas": 0 } } }),
        )
    };
    pair.post(&format!("{list} used"), "/services/create", &user("user", json!([reference("one", "a")])));
    pair.get(&format!("{list} in a service"), "/services/user");
    pair.delete(&format!("{list} remove used"), &format!("/{list}/one"));
    pair.clean("/services/user");
    for (step, references) in [
        ("wrong name", json!([reference("wrong", "a")])),
        ("one target twice", json!([reference("one", "a"), reference("one", "a")])),
        ("no target", json!([reference("one", "")])),
        ("target above", json!([reference("one", "../../etc/x")])),
    ] {
        pair.post(&format!("{list} used with {step}"), "/services/create", &user("user", references));
        pair.clean("/services/user");
    }
    pair.delete(&format!("{list} remove"), &format!("/{list}/one"));
    pair.delete(&format!("{list} remove again"), &format!("/{list}/one"));
}
