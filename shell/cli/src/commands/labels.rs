//! Labels that an update adds to what is there, or takes away.

use clap::Args;

use crate::failure::Failure;
use crate::value::Value;

#[derive(Debug, Args)]
pub struct LabelChanges {
    /// Add or update a label ("key=value")
    #[arg(long)]
    label_add: Vec<String>,
    /// Remove a label if exists
    #[arg(long)]
    label_rm: Vec<String>,
}

impl LabelChanges {
    /// Changes the labels of a spec. `kind` names the object to the user.
    pub fn apply(&self, spec: &mut Value, kind: &str) -> Result<(), Failure> {
        let labels = spec.place("Labels");
        if !matches!(labels, Value::Map(_)) {
            *labels = Value::empty_map();
        }
        for label in &self.label_add {
            let (key, value) = label.split_once('=').unwrap_or((label, ""));
            spec.remove("Labels", key);
            if let Value::Map(labels) = spec.place("Labels") {
                labels.push((key.to_owned(), Value::from(value)));
            }
        }
        for key in &self.label_rm {
            if !spec.remove("Labels", key) {
                return Err(Failure::new(format!("key {key} doesn't exist in {kind}'s labels")));
            }
        }
        Ok(())
    }
}
