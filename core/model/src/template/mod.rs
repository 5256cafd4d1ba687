//! Placeholders in specs, secrets and configs: the part of Go's `text/template` that has a meaning there (interop §7.8).
//!
//! Text, `{{.Service.Name}}`-like fields, variables, `if`, `with`, `range` over labels, comments, trim markers, and the
//! functions of `evaluate`. A label that is not there is an error, as is anything that is not understood: managers
//! check before they store, workers expand before they run. Templates come from users: depth, steps and output are
//! bounded. Flow: text → `lex` → `parse` → `evaluate`. Start reading at `expand` below.

mod container;
mod evaluate;
mod lex;
mod parse;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use container::{container, generic_resource_env};

/// The word that `--template-driver` takes.
pub const DRIVER: &str = "golang";

/// What placeholders stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `.Service.ID`
    pub service_id: String,
    /// `.Service.Name`
    pub service_name: String,
    /// `.Service.Labels`
    pub service_labels: BTreeMap<String, String>,
    /// `.Node.ID`
    pub node_id: String,
    /// `.Node.Hostname`
    pub node_hostname: String,
    /// `.Node.Platform.OS`
    pub node_os: String,
    /// `.Node.Platform.Architecture`
    pub node_architecture: String,
    /// `.Task.ID`
    pub task_id: String,
    /// `.Task.Name`
    pub task_name: String,
    /// `.Task.Slot`; the node's id for tasks without one.
    pub task_slot: String,
}

/// What the text of a secret or config may ask for beside the facts. Errors say what is missing.
pub trait Lookup {
    /// Content of the task's secret with this target.
    fn secret(&self, target: &str) -> Result<String, String>;
    /// Content of the task's config with this target.
    fn config(&self, target: &str) -> Result<String, String>;
    /// A variable of the spec's environment; empty when there is none.
    fn env(&self, name: &str) -> String;
}

/// Why a template has no expansion.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is not a template.
    #[error("template: {0}")]
    Parse(String),
    /// It asks for what is not there.
    #[error("template: {0}")]
    Evaluate(String),
    /// One of the above, in a field of a container's spec.
    #[error("expanding {field}: {source}")]
    Field {
        /// Which, with the text that it holds.
        field: String,
        /// Why not.
        source: Box<TemplateError>,
    },
}

/// The text with its placeholders replaced. `lookup` is there for the texts of secrets and configs alone.
pub fn expand(text: &str, facts: &Facts, lookup: Option<&dyn Lookup>) -> Result<String, TemplateError> {
    if !text.contains("{{") {
        return Ok(text.to_owned());
    }
    let nodes = parse::parse(text, lookup.is_some()).map_err(TemplateError::Parse)?;
    evaluate::run(&nodes, evaluate::root(facts), lookup).map_err(TemplateError::Evaluate)
}

/// The text with `{{.Name}}` and the like replaced by these fields: tags of logs, which know containers alone.
pub fn expand_fields(text: &str, fields: &[(&'static str, &str)]) -> Result<String, TemplateError> {
    let nodes = parse::parse(text, false).map_err(TemplateError::Parse)?;
    evaluate::run(&nodes, evaluate::record(fields), None).map_err(TemplateError::Evaluate)
}

/// Whether the text of a secret or config is a template at all; what it asks for is seen on the worker.
pub fn check_payload(text: &str) -> Result<(), TemplateError> {
    parse::parse(text, true).map(|_| ()).map_err(TemplateError::Parse)
}
