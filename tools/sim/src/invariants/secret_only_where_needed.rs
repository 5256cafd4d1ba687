//! A worker is sent a secret only while a task that it is sent needs it. Source: interop §4.4.

use std::collections::{BTreeMap, BTreeSet};

use skep_model::SecretId;
use skep_model::pb::messages::AssignmentsMessage;
use skep_model::pb::messages::assignment::Item;
use skep_model::pb::messages::assignment_change::AssignmentAction;
use skep_model::pb::messages::assignments_message::Type;

use super::{Violation, secrets_of};

#[derive(Default)]
struct Shelf {
    secrets: BTreeSet<String>,
    needs: BTreeMap<String, Vec<SecretId>>,
}

/// See the file's head.
#[derive(Default)]
pub struct SecretOnlyWhereNeeded {
    streams: BTreeMap<u64, Shelf>,
}

impl SecretOnlyWhereNeeded {
    /// A message goes out on a stream.
    pub fn sent(&mut self, stream: u64, message: &AssignmentsMessage) -> Result<(), Violation> {
        let shelf = self.streams.entry(stream).or_default();
        if message.r#type() == Type::Complete {
            *shelf = Shelf::default();
        }
        for change in &message.changes {
            let removal = change.action() == AssignmentAction::Remove;
            match change.assignment.as_ref().and_then(|assignment| assignment.item.as_ref()) {
                Some(Item::Secret(secret)) if removal => drop(shelf.secrets.remove(&secret.value.id)),
                Some(Item::Secret(secret)) => drop(shelf.secrets.insert(secret.value.id.clone())),
                Some(Item::Task(task)) if removal => drop(shelf.needs.remove(&task.value.id)),
                Some(Item::Task(task)) => {
                    let needs = task.value.spec.as_ref().map(|spec| secrets_of(spec)).unwrap_or_default();
                    shelf.needs.insert(task.value.id.clone(), needs);
                }
                _ => {}
            }
        }
        if shelf.secrets.is_empty() {
            return Ok(());
        }
        let needed: BTreeSet<&str> = shelf.needs.values().flatten().map(|secret| secret.as_str()).collect();
        // What a driver gave for one task alone is called by both.
        let is_needed = |secret: &&String| match secret.split_once('.') {
            Some((secret, task)) => {
                shelf.needs.get(task).is_some_and(|needs| needs.iter().any(|need| need.as_str() == secret))
            }
            None => needed.contains(secret.as_str()),
        };
        match shelf.secrets.iter().find(|secret| !is_needed(secret)) {
            Some(secret) => {
                let detail = format!("stream {stream} carries secret {secret}, which no task on it needs");
                Err(Violation::new("secret_only_where_needed", detail))
            }
            None => Ok(()),
        }
    }

    /// The stream has ended.
    pub fn ended(&mut self, stream: u64) {
        self.streams.remove(&stream);
    }
}
