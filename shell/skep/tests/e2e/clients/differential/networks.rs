//! Networks of the swarm.

use serde_json::{Value, json};

use super::{Pair, service};

pub fn networks(pair: &mut Pair) {
    pair.settle("/networks/ingress", |network| network.pointer("/IPAM/Config/0/Subnet").is_some());
    pair.get("networks", "/networks");
    creation(pair);
    let made = json!({ "Name": "dupe", "Driver": "overlay", "IPAM": { "Config": [{ "Subnet": "10.90.0.0/24" }] } });
    pair.post("network dupe", "/networks/create", &made);
    pair.remember("dupe", "/Id");
    pair.settle("/networks/dupe", is_allocated);
    pair.post("network twice", "/networks/create", &json!({ "Name": "dupe", "Driver": "overlay" }));
    reading(pair);
    use_by_a_service(pair);
}

fn is_allocated(network: &Value) -> bool {
    network["Driver"].as_str().is_some_and(|driver| !driver.is_empty())
}

fn creation(pair: &mut Pair) {
    let subnet = |config: Value| json!({ "Driver": "overlay", "IPAM": { "Config": [config] } });
    let overlay = |more: Value| {
        let mut body = json!({ "Driver": "overlay" });
        super::merge(&mut body, more);
        body
    };
    for (name, body) in [
        ("plain", overlay(json!({}))),
        (
            "full",
            json!({ "Driver": "overlay", "Attachable": true, "Internal": true, "Labels": { "a": "b" },
            "Options": { "encrypted": "", "x": "y" },
            "IPAM": { "Driver": "default", "Options": { "p": "q" }, "Config": [{ "Subnet": "10.77.0.0/16",
                "IPRange": "10.77.4.0/24", "Gateway": "10.77.0.9", "AuxiliaryAddresses": { "h": "10.77.0.10" } }] } }),
        ),
        (
            "ipv6",
            json!({ "Driver": "overlay", "EnableIPv6": true,
            "IPAM": { "Config": [{ "Subnet": "10.78.0.0/16" }, { "Subnet": "fd00:1::/64" }] } }),
        ),
        ("check-duplicate", overlay(json!({ "CheckDuplicate": true }))),
        ("scope-swarm", overlay(json!({ "Scope": "swarm" }))),
        ("scope-local", overlay(json!({ "Scope": "local" }))),
        ("-bad-name", overlay(json!({}))),
        ("a b", overlay(json!({}))),
        ("bridge", overlay(json!({}))),
        ("host", overlay(json!({}))),
        ("none", overlay(json!({}))),
        ("default", overlay(json!({}))),
        ("no-such-driver", json!({ "Driver": "nope" })),
        ("second-ingress", overlay(json!({ "Ingress": true }))),
        ("of-one-node", json!({ "Driver": "bridge" })),
        ("bridge-everywhere", json!({ "Driver": "bridge", "Scope": "swarm" })),
        ("macvlan-everywhere", json!({ "Driver": "macvlan", "Scope": "swarm" })),
        ("config-only", json!({ "ConfigOnly": true })),
        ("no-cidr", subnet(json!({ "Subnet": "10.0.0.0/99" }))),
        ("no-subnet", subnet(json!({ "Subnet": "zzz" }))),
        ("gateway-outside", subnet(json!({ "Subnet": "10.79.0.0/24", "Gateway": "10.80.0.1" }))),
        ("no-address", subnet(json!({ "Subnet": "10.79.0.0/24", "Gateway": "zz" }))),
        ("range-outside", subnet(json!({ "Subnet": "10.79.0.0/24", "IPRange": "10.81.0.0/25" }))),
        ("other-ipam", overlay(json!({ "IPAM": { "Driver": "zzz" } }))),
        ("empty-subnet", subnet(json!({}))),
        ("gateway-alone", subnet(json!({ "Gateway": "10.79.0.1" }))),
    ] {
        let mut named = body.clone();
        named["Name"] = Value::from(name);
        pair.post(&format!("network {name}"), "/networks/create", &named);
        if pair.both_made() {
            pair.settle(&format!("/networks/{name}"), is_allocated);
            pair.get(&format!("network {name} inspect"), &format!("/networks/{name}"));
            pair.delete(&format!("network {name} remove"), &format!("/networks/{name}"));
        } else if !["bridge", "host", "none", "a b"].contains(&name) {
            pair.clean(&format!("/networks/{name}"));
        }
    }
    pair.post("network without a name", "/networks/create", &json!({ "Driver": "overlay" }));
    pair.send("network bad JSON", "POST", "/networks/create", Some("{"), &[]);
    let overlap =
        json!({ "Name": "overlap", "Driver": "overlay", "IPAM": { "Config": [{ "Subnet": "10.0.0.0/24" }] } });
    pair.post("network overlap", "/networks/create", &overlap);
    pair.delete("network overlap remove", "/networks/overlap");
}

fn reading(pair: &mut Pair) {
    pair.filtered_by(
        "networks",
        "/networks",
        &[
            r#"{"name":["dupe"]}"#,
            r#"{"name":["dup"]}"#,
            r#"{"driver":["overlay"]}"#,
            r#"{"driver":["nope"]}"#,
            r#"{"scope":["swarm"]}"#,
            r#"{"scope":["zz"]}"#,
            r#"{"type":["zz"]}"#,
            r#"{"dangling":["zz"]}"#,
            r#"{"label":["a"]}"#,
            r#"{"id":["zzz"]}"#,
            r#"{"foo":["x"]}"#,
            r#"{"dangling":["true"],"name":["dupe"]}"#,
            r#"{"dangling":["false"],"name":["dupe"]}"#,
            "null",
        ],
    );
    for query in ["?verbose=true", "?verbose=zz", "?scope=local", "?scope=swarm", "?scope=zz"] {
        pair.get(&format!("network inspect {query}"), &format!("/networks/dupe{query}"));
    }
    pair.get("network by id", "/networks/<dupe>");
    for name in ["ingress", "host", "none", "nope"] {
        pair.get(&format!("network inspect {name}"), &format!("/networks/{name}"));
    }
    for name in ["bridge", "host", "none", "nope"] {
        pair.delete(&format!("network remove {name}"), &format!("/networks/{name}"));
    }
}

fn use_by_a_service(pair: &mut Pair) {
    let user = service(
        "netuser",
        json!({ "TaskTemplate": { "Networks": [{ "Target": "dupe", "Aliases": ["al"], "DriverOpts": { "k": "v" } }] } }),
    );
    pair.post("network used", "/services/create", &user);
    pair.settle("/services/netuser", |service| service.pointer("/Endpoint/VirtualIPs/0/Addr").is_some());
    pair.get("network in a service", "/services/netuser");
    pair.settle("/tasks", |tasks| tasks.pointer("/0/NetworksAttachments/0/Addresses/0").is_some());
    pair.delete("network remove used", "/networks/<dupe>");
    pair.delete("network user remove", "/services/netuser");
    pair.settle("/tasks", |tasks| tasks.as_array().is_some_and(Vec::is_empty));
    pair.delete("network remove", "/networks/<dupe>");
    pair.post("network to prune", "/networks/create", &json!({ "Name": "idle", "Driver": "overlay" }));
    pair.send("network prune", "POST", "/networks/prune", None, &[]);
    pair.get("network pruned", "/networks/idle");
    pair.send("network prune bad filter", "POST", "/networks/prune?filters=%7B%22x%22%3A%5B%22a%22%5D%7D", None, &[]);
}
