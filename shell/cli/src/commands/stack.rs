//! `stack`: services, secrets, configs and networks that one Compose file made, told together by a label.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::FilterArguments;
use super::service::list as service_list;
use super::task::{self, PsArguments};
use crate::api::{Filters, escape};
use crate::arguments::Filter;
use crate::context::Context;
use crate::failure::Failure;
use crate::format::Columns;
use crate::human::natural_order;
use crate::value::Value;

/// Names the stack of an object.
const NAMESPACE: &str = "com.docker.stack.namespace";
/// Between two looks at the tasks of a removed stack.
const POLL: Duration = Duration::from_millis(500);
/// States from which a task does not go on.
const ENDED: [&str; 6] = ["complete", "shutdown", "failed", "rejected", "remove", "orphaned"];

#[derive(Debug, Subcommand)]
pub enum StackCommand {
    /// Deploy a new stack or update an existing stack (with docker's client)
    #[command(alias = "up")]
    Deploy(ElsewhereArguments),
    /// Outputs the final config file, after doing merges and interpolations (with docker's client)
    Config(ElsewhereArguments),
    /// List stacks
    #[command(alias = "list")]
    Ls(ListArguments),
    /// List the tasks in the stack
    Ps(StackPsArguments),
    /// Remove one or more stacks
    #[command(aliases = ["remove", "down"])]
    Rm(RemoveArguments),
    /// List the services in the stack
    Services(ServicesArguments),
}

/// Whatever docker's client would take.
#[derive(Debug, Args)]
pub struct ElsewhereArguments {
    /// As docker's client takes them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ListArguments {
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long)]
    format: Option<String>,
}

#[derive(Debug, Args)]
pub struct StackPsArguments {
    #[command(flatten)]
    ps: PsArguments,
    /// The stack
    stack: String,
}

#[derive(Debug, Args)]
pub struct ServicesArguments {
    #[command(flatten)]
    filter: FilterArguments,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long)]
    format: Option<String>,
    /// Only display IDs
    #[arg(short, long)]
    quiet: bool,
    /// The stack
    stack: String,
}

#[derive(Debug, Args)]
pub struct RemoveArguments {
    /// Do not wait for stack removal
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true",
          action = clap::ArgAction::Set)]
    detach: bool,
    /// Stacks
    #[arg(required = true, value_name = "STACK")]
    stacks: Vec<String>,
}

const COLUMNS: Columns = Columns {
    fields: &[("Name", "NAME"), ("Services", "SERVICES")],
    table: "{{.Name}}\t{{.Services}}",
    quiet: "{{.Name}}",
};

pub async fn execute(context: &Context, command: StackCommand) -> Result<(), Failure> {
    match command {
        StackCommand::Deploy(arguments) => elsewhere("deploy", &arguments.arguments),
        StackCommand::Config(arguments) => elsewhere("config", &arguments.arguments),
        StackCommand::Ls(arguments) => list(context, arguments).await,
        StackCommand::Ps(arguments) => ps(context, arguments).await,
        StackCommand::Rm(arguments) => remove(context, arguments).await,
        StackCommand::Services(arguments) => services(context, arguments).await,
    }
}

fn elsewhere(command: &str, arguments: &[String]) -> Result<(), Failure> {
    let rest = arguments.iter().map(|argument| format!(" {argument}")).collect::<String>();
    Err(Failure::new(format!(
        "skep does not read Compose files: use docker's client, with DOCKER_HOST naming this daemon: docker stack {command}{rest}"
    )))
}

fn of(stack: &str, more: &[Filter]) -> Filters {
    let mut filters = Filters::from_arguments(more);
    filters.add("label", &format!("{NAMESPACE}={stack}"));
    filters
}

async fn list(context: &Context, arguments: ListArguments) -> Result<(), Failure> {
    let mut filters = Filters::default();
    filters.add("label", NAMESPACE);
    let services = context.client.get("/services", &filters.query()).await?;
    let mut counts = BTreeMap::<&str, u64>::new();
    for service in services.list_itself() {
        let labels = service.entries("Spec.Labels");
        let Some((_, name)) = labels.iter().find(|(key, _)| key == NAMESPACE) else { continue };
        *counts.entry(name.as_text().unwrap_or_default()).or_default() += 1;
    }
    let mut stacks: Vec<_> = counts.into_iter().collect();
    stacks.sort_by(|(left, _), (right, _)| natural_order(left, right));
    let rows = stacks
        .into_iter()
        .map(|(name, count)| vec![("Name", Value::from(name)), ("Services", Value::from(count.to_string()))])
        .collect();
    COLUMNS.show(context, arguments.format.as_deref(), false, rows)
}

async fn ps(context: &Context, arguments: StackPsArguments) -> Result<(), Failure> {
    let filters = of(&arguments.stack, &arguments.ps.filter.filter);
    let Value::List(tasks) = context.client.get("/tasks", &filters.query()).await? else { return Ok(()) };
    if tasks.is_empty() {
        return Err(Failure::new(format!("nothing found in stack: {}", arguments.stack)));
    }
    task::show(context, tasks, &arguments.ps, task::Ids::Short).await
}

async fn services(context: &Context, arguments: ServicesArguments) -> Result<(), Failure> {
    let filters = of(&arguments.stack, &arguments.filter.filter);
    let found = service_list::fetch(context, &filters, arguments.quiet).await?;
    if found.is_empty() {
        return context.warn(format!("Nothing found in stack: {}", arguments.stack));
    }
    service_list::show(context, found, arguments.format.as_deref(), arguments.quiet)
}

async fn remove(context: &Context, arguments: RemoveArguments) -> Result<(), Failure> {
    let mut failures = Vec::new();
    for stack in &arguments.stacks {
        if stack.is_empty() || stack.contains(char::is_whitespace) {
            return Err(Failure::new(format!("invalid stack name: {stack:?}")));
        }
        let filters = of(stack, &[]).query();
        let mut parts = Vec::new();
        for (kind, path, id, name) in [
            ("service", "/services", "ID", "Spec.Name"),
            ("secret", "/secrets", "ID", "Spec.Name"),
            ("config", "/configs", "ID", "Spec.Name"),
            ("network", "/networks", "Id", "Name"),
        ] {
            let Value::List(mut found) = context.client.get(path, &filters).await? else { continue };
            found.sort_by(|left, right| natural_order(left.text(name), right.text(name)));
            let part = |object: &Value| (kind, path, object.text(id).to_owned(), object.text(name).to_owned());
            parts.extend(found.iter().map(part));
        }
        if parts.is_empty() {
            context.warn(format!("Nothing found in stack: {stack}"))?;
            continue;
        }
        let mut failed = false;
        for (kind, path, id, name) in parts {
            context.line(format!("Removing {kind} {name}"))?;
            if let Err(failure) = context.client.delete(&format!("{path}/{}", escape(&id)), &[]).await {
                context.warn(format!("Failed to remove {kind} {id}: {}", failure.message))?;
                failed = true;
            }
        }
        if failed {
            failures.push(Failure::new(format!("Failed to remove some resources from stack: {stack}")));
        } else if !arguments.detach {
            wait(context, &filters).await?;
        }
    }
    Failure::join(failures)
}

/// Until no task of the stack goes on.
async fn wait(context: &Context, filters: &[(&'static str, String)]) -> Result<(), Failure> {
    loop {
        let tasks = context.client.get("/tasks", filters).await?;
        if tasks.list_itself().iter().all(|task| ENDED.contains(&task.text("Status.State"))) {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}
