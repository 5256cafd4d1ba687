//! `secret` and `config`: the same commands over two kinds of object.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};

use super::FilterArguments;
use super::inspect::{InspectArguments, inspect};
use crate::api::{Filters, Payload, escape};
use crate::arguments::pairs;
use crate::context::Context;
use crate::failure::Failure;
use crate::format::Columns;
use crate::human::{ago, go_time, natural_order};
use crate::value::Value;

/// Largest secret or config that a swarm takes.
const MAX_BYTES: u64 = 1_000_000;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Secret,
    Config,
}

#[derive(Debug, Subcommand)]
pub enum DependencyCommand {
    /// Create one from a file or STDIN as content
    Create(CreateArguments),
    /// List
    #[command(alias = "list")]
    Ls(ListArguments),
    /// Display detailed information on one or more
    Inspect(InspectArguments),
    /// Remove one or more
    #[command(alias = "remove")]
    Rm(RemoveArguments),
}

#[derive(Debug, Args)]
pub struct CreateArguments {
    /// Labels
    #[arg(short, long)]
    label: Vec<String>,
    /// Driver (secrets only)
    #[arg(short, long, default_value = "")]
    driver: String,
    /// Template driver
    #[arg(long, default_value = "")]
    template_driver: String,
    /// Its name
    name: String,
    /// A file, or - for standard input
    #[arg(value_name = "file|-")]
    file: Option<String>,
}

#[derive(Debug, Args)]
pub struct ListArguments {
    #[command(flatten)]
    filter: FilterArguments,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long)]
    format: Option<String>,
    /// Only display IDs
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Args)]
pub struct RemoveArguments {
    /// Names or ids
    #[arg(required = true)]
    names: Vec<String>,
}

const SECRETS: Columns = Columns {
    fields: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("CreatedAt", "CREATED"),
        ("UpdatedAt", "UPDATED"),
        ("Labels", "LABELS"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.CreatedAt}}\t{{.UpdatedAt}}",
    quiet: "{{.ID}}",
};
const CONFIGS: Columns = Columns {
    fields: &[("ID", "ID"), ("Name", "NAME"), ("CreatedAt", "CREATED"), ("UpdatedAt", "UPDATED"), ("Labels", "LABELS")],
    table: "{{.ID}}\t{{.Name}}\t{{.CreatedAt}}\t{{.UpdatedAt}}",
    quiet: "{{.ID}}",
};

impl Kind {
    fn path(self) -> &'static str {
        if self == Self::Secret { "/secrets" } else { "/configs" }
    }

    fn name(self) -> &'static str {
        if self == Self::Secret { "secret" } else { "config" }
    }
}

pub async fn execute(context: &Context, kind: Kind, command: DependencyCommand) -> Result<(), Failure> {
    match command {
        DependencyCommand::Create(arguments) => create(context, kind, arguments).await,
        DependencyCommand::Ls(arguments) => list(context, kind, arguments).await,
        DependencyCommand::Inspect(arguments) => show(context, kind, arguments).await,
        DependencyCommand::Rm(arguments) => remove(context, kind, arguments).await,
    }
}

async fn create(context: &Context, kind: Kind, arguments: CreateArguments) -> Result<(), Failure> {
    let mut spec = Value::map([("Name", Value::from(arguments.name.as_str())), ("Labels", pairs(&arguments.label))]);
    if arguments.driver.is_empty() {
        let Some(file) = &arguments.file else {
            let name = kind.name();
            return Err(Failure::new(format!("\"{name} create\" needs a file, or - for standard input")));
        };
        spec.set("Data", STANDARD.encode(read(file, kind.name())?));
    } else if arguments.file.is_some() {
        return Err(Failure::new("When using secret driver secret data must be empty"));
    } else {
        spec.set("Driver.Name", arguments.driver);
    }
    if !arguments.template_driver.is_empty() {
        spec.set("Templating.Name", arguments.template_driver);
    }
    let answer = context.client.post(&format!("{}/create", kind.path()), &[], Payload::Json(spec)).await?;
    context.line(answer.text("ID"))
}

fn read(file: &str, kind: &str) -> Result<Vec<u8>, Failure> {
    let mut content = Vec::new();
    let failed = |error: std::io::Error| Failure::new(format!("error reading content from {file:?}: {error}"));
    match file {
        "-" => std::io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut content).map_err(failed)?,
        path => std::fs::File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut content))
            .map_err(failed)?,
    };
    if content.len() as u64 > MAX_BYTES {
        return Err(Failure::new(format!("the {kind} is larger than {MAX_BYTES} bytes")));
    }
    Ok(content)
}

async fn list(context: &Context, kind: Kind, arguments: ListArguments) -> Result<(), Failure> {
    let filters = Filters::from_arguments(&arguments.filter.filter);
    let Value::List(mut objects) = context.client.get(kind.path(), &filters.query()).await? else { return Ok(()) };
    objects.sort_by(|left, right| natural_order(left.text("Spec.Name"), right.text("Spec.Name")));
    let rows = objects
        .iter()
        .map(|object| {
            let mut row = vec![
                ("ID", Value::from(object.text("ID"))),
                ("Name", Value::from(object.text("Spec.Name"))),
                ("CreatedAt", Value::from(ago(object.text("CreatedAt")))),
                ("UpdatedAt", Value::from(ago(object.text("UpdatedAt")))),
                ("Labels", Value::from(label_list(object.entries("Spec.Labels")))),
                ("Label", object.at("Spec.Labels").clone()),
            ];
            if kind == Kind::Secret {
                row.push(("Driver", Value::from(object.text("Spec.Driver.Name"))));
            }
            row
        })
        .collect();
    let columns = if kind == Kind::Secret { &SECRETS } else { &CONFIGS };
    columns.show(context, arguments.format.as_deref(), arguments.quiet, rows)
}

/// `a=1,b=2`.
pub fn label_list(labels: &[(String, Value)]) -> String {
    let mut pairs: Vec<String> =
        labels.iter().map(|(key, value)| format!("{key}={}", value.as_text().unwrap_or(""))).collect();
    pairs.sort();
    pairs.join(",")
}

async fn show(context: &Context, kind: Kind, arguments: InspectArguments) -> Result<(), Failure> {
    let fetch = async |name: &str| context.client.get_raw(&format!("{}/{}", kind.path(), escape(name)), &[]).await;
    if !arguments.pretty {
        return inspect(context, &arguments.references, arguments.format.as_deref(), fetch).await;
    }
    for name in &arguments.references {
        let object = Value::parse(&fetch(name).await?)?;
        // Docker's tables put the same spaces there.
        let (id, name) = (object.text("ID"), object.text("Spec.Name"));
        let mut lines = match kind {
            Kind::Secret => vec![format!("ID:              {id}"), format!("Name:              {name}")],
            Kind::Config => vec![format!("ID:\t\t\t{id}"), format!("Name:\t\t\t{name}")],
        };
        if !object.entries("Spec.Labels").is_empty() {
            lines.push("Labels:".to_owned());
        }
        for (key, value) in object.entries("Spec.Labels") {
            lines.push(format!(" - {key}={}", value.as_text().unwrap_or("")));
        }
        let stamp = |member: &str| go_time(object.text(member)).to_lowercase();
        if kind == Kind::Secret {
            lines.push(format!("Driver:            {}", object.text("Spec.Driver.Name")));
        }
        let gap = if kind == Kind::Secret { "        " } else { "            \t" };
        lines.push(format!("Created at:{gap}{}", stamp("CreatedAt")));
        lines.push(format!("Updated at:{gap}{}", stamp("UpdatedAt")));
        if kind == Kind::Config {
            let data = STANDARD.decode(object.text("Spec.Data")).unwrap_or_default();
            lines.push(format!("Data:\n{}", String::from_utf8_lossy(&data)));
        }
        context.line(lines.join("\n"))?;
    }
    Ok(())
}

async fn remove(context: &Context, kind: Kind, arguments: RemoveArguments) -> Result<(), Failure> {
    let mut failures = Vec::new();
    for name in &arguments.names {
        match context.client.delete(&format!("{}/{}", kind.path(), escape(name)), &[]).await {
            Ok(_) => context.line(name)?,
            Err(failure) => failures.push(failure),
        }
    }
    Failure::join(failures)
}
