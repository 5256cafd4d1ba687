//! Committed changes as `docker events` tells them.

use std::collections::BTreeMap;

use serde::Serialize;
use skep_model::pb::types::{self, service_spec::Mode, task_spec};
use skep_model::{Meta, Node, Service, Task, WallTime};

use super::words;
use crate::control::{SwarmAction, SwarmEvent, SwarmObject};

/// An event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Message {
    #[serde(rename = "Type")]
    pub(crate) kind: &'static str,
    #[serde(rename = "Action")]
    pub(crate) action: &'static str,
    #[serde(rename = "Actor")]
    pub(crate) actor: Actor,
    scope: &'static str,
    time: i64,
    #[serde(rename = "timeNano")]
    pub(crate) time_nano: i64,
}

/// Whom it is about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Actor {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    #[serde(rename = "Attributes")]
    pub(crate) attributes: BTreeMap<String, String>,
}

/// Puts an event into Docker's words; `None` for kinds that Docker does not tell of. `now` dates removals, which carry
/// no stamp of their own.
pub(crate) fn message(event: &SwarmEvent, now: WallTime) -> Option<Message> {
    let (kind, id, meta, mut attributes) = match &event.object {
        SwarmObject::Node(node) => ("node", node.id.to_string(), &node.meta, named(node_name(node))),
        SwarmObject::Service(service) => ("service", service.id.to_string(), &service.meta, named(service.name())),
        SwarmObject::Network(network) => ("network", network.id.to_string(), &network.meta, named(network.name())),
        SwarmObject::Secret(secret) => {
            ("secret", secret.id.to_string(), &secret.meta, named(name_in(secret.spec.annotations.as_ref())))
        }
        SwarmObject::Config(config) => {
            ("config", config.id.to_string(), &config.meta, named(name_in(config.spec.annotations.as_ref())))
        }
        SwarmObject::Task(_) | SwarmObject::Cluster(_) => return None,
    };
    match (&event.object, &event.old) {
        (SwarmObject::Node(new), Some(SwarmObject::Node(old))) => node_changes(old, new, &mut attributes),
        (SwarmObject::Service(new), Some(SwarmObject::Service(old))) => service_changes(old, new, &mut attributes),
        _ => {}
    }
    let at = stamp(event.action, meta, now);
    Some(Message {
        kind,
        action: action_word(event.action),
        actor: Actor { id, attributes },
        scope: "swarm",
        time: at.0.div_euclid(1_000_000_000),
        time_nano: at.0,
    })
}

/// The same for a task: for those who ask for it. It says where the task is and, in Docker's words of its status, why
/// it waits or failed.
pub(crate) fn task_message(event: &SwarmEvent, now: WallTime) -> Option<Message> {
    let SwarmObject::Task(task) = &event.object else { return None };
    let mut attributes = named(&task_name(task));
    let text = |id: Option<String>| id.unwrap_or_default();
    for (key, value) in [
        ("service", text(task.service_id.as_ref().map(ToString::to_string))),
        ("node", text(task.node_id.as_ref().map(ToString::to_string))),
        ("state", words::word(task.state()).to_owned()),
        ("desiredstate", words::word(task.desired_state).to_owned()),
        ("message", task.status.message.clone()),
        ("error", task.status.err.clone()),
    ] {
        if !value.is_empty() {
            attributes.insert(key.to_owned(), value);
        }
    }
    if let Some(SwarmObject::Task(old)) = &event.old {
        changed(&mut attributes, "state", words::word(old.state()), words::word(task.state()));
    }
    let at = stamp(event.action, &task.meta, now);
    Some(Message {
        kind: "task",
        action: action_word(event.action),
        actor: Actor { id: task.id.to_string(), attributes },
        scope: "swarm",
        time: at.0.div_euclid(1_000_000_000),
        time_nano: at.0,
    })
}

fn task_name(task: &Task) -> String {
    let service = name_in(Some(&task.service_annotations));
    match (task.slot, &task.node_id) {
        (0, Some(node)) => format!("{service}.{node}.{}", task.id),
        (slot, _) => format!("{service}.{slot}.{}", task.id),
    }
}

fn action_word(action: SwarmAction) -> &'static str {
    match action {
        SwarmAction::Create => "create",
        SwarmAction::Update => "update",
        SwarmAction::Remove => "remove",
    }
}

fn stamp(action: SwarmAction, meta: &Meta, now: WallTime) -> WallTime {
    match action {
        SwarmAction::Create => meta.created_at.unwrap_or(now),
        SwarmAction::Update => meta.updated_at.unwrap_or(now),
        SwarmAction::Remove => now,
    }
}

fn name_in(annotations: Option<&types::Annotations>) -> &str {
    annotations.map_or("", |annotations| &annotations.name)
}

fn node_name(node: &Node) -> &str {
    match name_in(node.spec.annotations.as_ref()) {
        "" => node.hostname(),
        name => name,
    }
}

fn named(name: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("name".to_owned(), name.to_owned())])
}

fn changed(attributes: &mut BTreeMap<String, String>, key: &str, old: impl ToString, new: impl ToString) {
    let (old, new) = (old.to_string(), new.to_string());
    if old != new {
        attributes.insert(format!("{key}.old"), old);
        attributes.insert(format!("{key}.new"), new);
    }
}

fn node_changes(old: &Node, new: &Node, attributes: &mut BTreeMap<String, String>) {
    changed(attributes, "availability", words::word(old.availability()), words::word(new.availability()));
    changed(attributes, "role", words::word(old.role), words::word(new.role));
    changed(attributes, "state", words::word(old.status.state()), words::word(new.status.state()));
    if let (Some(old), Some(new)) = (&old.manager_status, &new.manager_status) {
        changed(attributes, "leader", old.leader, new.leader);
        changed(attributes, "reachability", words::word(old.reachability()), words::word(new.reachability()));
    }
}

fn image(spec: &types::ServiceSpec) -> Option<&str> {
    match spec.task.as_ref()?.runtime.as_ref()? {
        task_spec::Runtime::Container(container) => Some(&container.image),
        _ => None,
    }
}

fn service_changes(old: &Service, new: &Service, attributes: &mut BTreeMap<String, String>) {
    if let (Some(old), Some(new)) = (image(&old.spec), image(&new.spec)) {
        changed(attributes, "image", old, new);
    }
    if let (Some(Mode::Replicated(old)), Some(Mode::Replicated(new))) = (&old.spec.mode, &new.spec.mode) {
        changed(attributes, "replicas", old.replicas, new.replicas);
    }
    match (&old.update_status, &new.update_status) {
        (None, Some(new)) => {
            attributes.insert("updatestate.new".to_owned(), words::word(new.state()).to_owned());
        }
        (Some(old), Some(new)) => {
            changed(attributes, "updatestate", words::word(old.state()), words::word(new.state()));
        }
        _ => {}
    }
}
