//! The placeholders that a service's spec may hold in its environment, host name and mounts: `{{.Task.Slot}}` and the
//! like (Docker's documented list; a small part of Go's template language).

use skep_model::{Refusal, Task};

use crate::controller::NodeFacts;

/// What placeholders stand for.
pub struct Context<'a> {
    /// Whose container it is.
    pub task: &'a Task,
    /// Where it runs.
    pub node: &'a NodeFacts,
}

impl Context<'_> {
    /// The text with its placeholders replaced; `field` names it in a refusal.
    pub fn expand(&self, field: &str, text: &str) -> Result<String, Refusal> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find("{{") {
            out.push_str(&rest[..start]);
            let inside = &rest[start + 2..];
            let end = inside.find("}}").ok_or_else(|| {
                Refusal::invalid(format!("{field}: {text:?} opens a placeholder with {{{{ and does not close it"))
            })?;
            out.push_str(&self.value(field, inside[..end].trim_matches('-').trim())?);
            rest = &inside[end + 2..];
        }
        out.push_str(rest);
        Ok(out)
    }

    fn value(&self, field: &str, expression: &str) -> Result<String, Refusal> {
        let task = self.task;
        let service = task.service_id.as_ref().map(ToString::to_string).unwrap_or_default();
        Ok(match expression {
            ".Service.ID" => service,
            ".Service.Name" => task.service_annotations.name.clone(),
            ".Task.ID" => task.id.to_string(),
            ".Task.Name" => task.annotations.name.clone(),
            ".Task.Slot" if task.slot == 0 => self.node.id.to_string(),
            ".Task.Slot" => task.slot.to_string(),
            ".Node.ID" => self.node.id.to_string(),
            ".Node.Hostname" => self.node.hostname.clone(),
            ".Node.Platform.OS" => self.node.os.clone(),
            ".Node.Platform.Architecture" => self.node.architecture.clone(),
            other => self.label(other).ok_or_else(|| {
                Refusal::invalid(format!(
                    "{field}: the placeholder {{{{{other}}}}} is not known; there are .Service.ID, .Service.Name, \
                     .Service.Labels, .Node.ID, .Node.Hostname, .Node.Platform.OS, .Node.Platform.Architecture, \
                     .Task.ID, .Task.Name and .Task.Slot"
                ))
            })?,
        })
    }

    /// `index .Service.Labels "name"` or `.Service.Labels.name`; a label that is not there is empty, as in Go.
    fn label(&self, expression: &str) -> Option<String> {
        let labels = &self.task.service_annotations.labels;
        let name = match expression.strip_prefix(".Service.Labels.") {
            Some(name) => name,
            None => expression.strip_prefix("index .Service.Labels")?.trim().strip_prefix('"')?.strip_suffix('"')?,
        };
        Some(labels.get(name).cloned().unwrap_or_default())
    }
}
