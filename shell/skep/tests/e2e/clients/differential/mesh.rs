//! Ports of the routing mesh: what is stored and given out, who may have which.

use serde_json::{Value, json};

use super::{Pair, service};

/// No node takes the task, which has its addresses all the same.
fn publishing(name: &str, ports: Value) -> Value {
    let placement = json!({ "Constraints": ["node.labels.nowhere==yes"] });
    service(name, json!({ "EndpointSpec": { "Ports": ports }, "TaskTemplate": { "Placement": placement } }))
}

fn has_ports(service: &Value) -> bool {
    service.pointer("/Endpoint/Ports/0").is_some()
}

pub fn ports_of_the_mesh(pair: &mut Pair) {
    let ports = json!([
        { "TargetPort": 80, "PublishedPort": 8085 },
        { "Name": "dns", "Protocol": "udp", "TargetPort": 53, "PublishedPort": 8085, "PublishMode": "ingress" },
        { "Protocol": "tcp", "TargetPort": 81, "PublishMode": "ingress" },
        { "TargetPort": 82, "PublishedPort": 8086, "PublishMode": "host" },
    ]);
    pair.post("mesh", "/services/create", &publishing("mesh", ports.clone()));
    pair.remember("mesh", "/ID");
    pair.settle("/services/<mesh>", has_ports);
    pair.get("mesh, inspect", "/services/<mesh>");
    pair.get("mesh, defaults", "/services/<mesh>?insertDefaults=true");
    attachments(pair, "mesh");

    for (step, port) in [
        ("ingress", json!({ "TargetPort": 80, "PublishedPort": 8085 })),
        ("by a host", json!({ "TargetPort": 80, "PublishedPort": 8085, "PublishMode": "host" })),
        ("of a host", json!({ "TargetPort": 80, "PublishedPort": 8086 })),
    ] {
        pair.post(&format!("mesh taken {step}"), "/services/create", &publishing("rival", json!([port])));
        pair.clean("/services/rival");
    }
    let other = json!([{ "Protocol": "sctp", "TargetPort": 80, "PublishedPort": 8085 }]);
    pair.post("mesh other protocol", "/services/create", &publishing("other", other));
    pair.settle("/services/other", has_ports);
    pair.get("mesh other protocol, inspect", "/services/other");

    let update = |pair: &mut Pair, step: &str, query: &str, ports: Value| {
        let path = format!("/services/<mesh>/update?version=<version services/(mesh)>{query}");
        pair.post(&format!("mesh {step}"), &path, &publishing("mesh", ports));
        pair.settle_alike("/services/<mesh>", "/Endpoint/Ports");
        pair.get(&format!("mesh {step}, inspect"), "/services/<mesh>");
    };
    let fewer = json!([{ "TargetPort": 81 }, { "TargetPort": 80, "PublishedPort": 9090 }, { "TargetPort": 83 }]);
    update(pair, "other ports", "", fewer.clone());
    update(pair, "taken", "", json!([{ "Protocol": "sctp", "TargetPort": 1, "PublishedPort": 8085 }]));
    update(pair, "rolled back", "&rollback=previous", fewer);
    update(pair, "no ports", "", json!([]));
    update(pair, "ports again", "", ports);

    pair.delete("mesh carries", "/networks/ingress");
    for name in ["mesh", "other"] {
        pair.delete("mesh remove", &format!("/services/{name}"));
    }
}

/// Where the service's task is attached; the rest of it is compared elsewhere.
fn attachments(pair: &mut Pair, name: &str) {
    let path = format!("/tasks?filters=%7B%22service%22%3A%5B%22{name}%22%5D%7D");
    let attached = |tasks: &Value| tasks.pointer("/0/NetworksAttachments").cloned();
    pair.settle(&path, |tasks| attached(tasks).is_some());
    let [docker, skep] = pair.sides.each_ref().map(|side| {
        let answer = crate::clients::http::ask(&side.socket, "GET", &format!("{}{path}", super::VERSION), None, &[]);
        attached(&answer.json()).unwrap_or_default()
    });
    pair.values("mesh attachments", &docker, &skep);
}
