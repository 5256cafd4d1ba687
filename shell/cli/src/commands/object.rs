//! `inspect` of whatever has the name: kinds are tried in docker's order.

use std::cell::RefCell;

use bytes::Bytes;
use clap::Args;

use super::inspect::inspect;
use crate::api::escape;
use crate::context::Context;
use crate::failure::Failure;

/// Kind, path before and behind the name; in the order in which they are tried.
const KINDS: [(&str, &str, &str); 10] = [
    ("container", "/containers/", "/json"),
    ("image", "/images/", "/json"),
    ("network", "/networks/", ""),
    ("volume", "/volumes/", ""),
    ("service", "/services/", ""),
    ("task", "/tasks/", ""),
    ("node", "/nodes/", ""),
    ("plugin", "/plugins/", "/json"),
    ("secret", "/secrets/", ""),
    ("config", "/configs/", ""),
];

#[derive(Debug, Args)]
pub struct ObjectArguments {
    /// Format output using a custom template: 'json' or a Go template
    #[arg(short, long)]
    format: Option<String>,
    /// Display total file sizes if the type is container
    #[arg(short, long)]
    size: bool,
    /// Only inspect objects of the given type
    #[arg(long = "type")]
    kind: Option<String>,
    /// What to inspect
    #[arg(required = true, value_name = "NAME|ID")]
    names: Vec<String>,
}

pub async fn inspect_any(context: &Context, arguments: ObjectArguments) -> Result<(), Failure> {
    if let Some(kind) = &arguments.kind
        && !KINDS.iter().any(|(known, ..)| known == kind)
    {
        let mut known: Vec<String> = KINDS.iter().map(|(known, ..)| format!("{known:?}")).collect();
        known.sort_unstable();
        return Err(Failure::new(format!("unknown type: {kind:?}: must be one of {}", known.join(", "))));
    }
    let ignored = RefCell::new(Vec::new());
    let fetch = async |name: &str| {
        let (kind, answer) = fetch(context, name, arguments.kind.as_deref(), arguments.size).await?;
        if arguments.size && kind != "container" {
            ignored.borrow_mut().push(kind);
        }
        Ok(answer)
    };
    let result = inspect(context, &arguments.names, arguments.format.as_deref(), fetch).await;
    for kind in ignored.take() {
        context.warn(format!("WARNING: --size ignored for {kind}"))?;
    }
    result
}

/// The first kind that has such an object, and the object.
async fn fetch(
    context: &Context,
    name: &str,
    only: Option<&str>,
    size: bool,
) -> Result<(&'static str, Bytes), Failure> {
    for (kind, before, behind) in KINDS.into_iter().filter(|(kind, ..)| only.is_none_or(|only| only == *kind)) {
        let query = match kind {
            "container" if size => vec![("size", "1".to_owned())],
            "service" => vec![("insertDefaults", "true".to_owned())],
            _ => Vec::new(),
        };
        let path = format!("{before}{}{behind}", escape(name));
        match context.client.get_raw(&path, &query).await {
            Ok(answer) => return Ok((kind, answer)),
            Err(failure) if only.is_some() => return Err(failure),
            // Not there, or no manager to ask.
            Err(failure) if failure.is_not_found() || matches!(failure.status, Some(501 | 503)) => {}
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure::new(format!("Error: No such object: {name}")))
}
