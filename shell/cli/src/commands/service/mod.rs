//! `service`: what a swarm runs.

mod create;
mod flags;
pub mod list;
mod logs;
mod options;
mod pretty;
mod progress;
mod registry;
mod spec;
mod update;

use bytes::Bytes;
use clap::{Args, Subcommand};

use super::inspect::{InspectArguments, inspect};
use super::task::{self, PsArguments};
use crate::api::{Filters, Payload, escape};
use crate::context::Context;
use crate::failure::Failure;
use crate::value::Value;

#[derive(Debug, Subcommand)]
pub enum ServiceCommand {
    /// Create a new service
    Create(Box<create::CreateArguments>),
    /// Display detailed information on one or more services
    Inspect(InspectArguments),
    /// Fetch the logs of a service or task
    Logs(logs::LogsArguments),
    /// List services
    #[command(alias = "list")]
    Ls(list::ListArguments),
    /// List the tasks of one or more services
    Ps(ServicePsArguments),
    /// Remove one or more services
    #[command(alias = "remove")]
    Rm(RemoveArguments),
    /// Revert changes to a service's configuration
    Rollback(RollbackArguments),
    /// Scale one or multiple replicated services
    Scale(ScaleArguments),
    /// Update a service
    Update(Box<update::UpdateArguments>),
}

#[derive(Debug, Args)]
pub struct ServicePsArguments {
    #[command(flatten)]
    ps: PsArguments,
    /// Services
    #[arg(required = true)]
    services: Vec<String>,
}

#[derive(Debug, Args)]
pub struct RemoveArguments {
    /// Services
    #[arg(required = true)]
    services: Vec<String>,
}

/// Whether and how to wait.
#[derive(Debug, Clone, Copy, Args)]
pub struct WaitArguments {
    /// Exit immediately instead of waiting for the service to converge
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false",
          action = clap::ArgAction::Set)]
    detach: bool,
    /// Suppress progress output
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Args)]
pub struct RollbackArguments {
    #[command(flatten)]
    wait: WaitArguments,
    /// The service
    service: String,
}

#[derive(Debug, Args)]
pub struct ScaleArguments {
    /// Exit immediately instead of waiting for the service to converge
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false",
          action = clap::ArgAction::Set)]
    detach: bool,
    /// Services and their numbers of tasks
    #[arg(required = true, value_name = "SERVICE=REPLICAS")]
    targets: Vec<String>,
}

pub async fn execute(context: &Context, command: ServiceCommand) -> Result<(), Failure> {
    match command {
        ServiceCommand::Create(arguments) => create::create(context, *arguments).await,
        ServiceCommand::Inspect(arguments) => inspect_services(context, arguments).await,
        ServiceCommand::Logs(arguments) => logs::logs(context, arguments).await,
        ServiceCommand::Ls(arguments) => list::list(context, arguments).await,
        ServiceCommand::Ps(arguments) => ps(context, arguments).await,
        ServiceCommand::Rm(arguments) => remove(context, arguments).await,
        ServiceCommand::Rollback(arguments) => rollback(context, arguments).await,
        ServiceCommand::Scale(arguments) => scale(context, arguments).await,
        ServiceCommand::Update(arguments) => update::update(context, *arguments).await,
    }
}

pub use options::environment;
pub use registry::credentials;

/// One service, by id, name or prefix.
async fn fetch(context: &Context, reference: &str) -> Result<Value, Failure> {
    Value::parse(&fetch_raw(context, reference, false).await?)
}

async fn fetch_raw(context: &Context, reference: &str, defaults: bool) -> Result<Bytes, Failure> {
    let query = [("insertDefaults", defaults.to_string())];
    context.client.get_raw(&format!("/services/{}", escape(reference)), &query).await
}

/// Sends a changed spec, shows warnings.
async fn post_update(
    context: &Context,
    service: &Value,
    spec: Value,
    query: &[(&str, String)],
    headers: &[(&'static str, String)],
) -> Result<(), Failure> {
    let mut all = vec![("version", service.uint("Version.Index").to_string())];
    all.extend(query.iter().cloned());
    let path = format!("/services/{}/update", escape(service.text("ID")));
    let answer = context.client.post_with(&path, &all, headers, Payload::Json(spec)).await?;
    answer.texts("Warnings").into_iter().try_for_each(|warning| context.warn(warning))
}

async fn inspect_services(context: &Context, arguments: InspectArguments) -> Result<(), Failure> {
    let fetch = async |reference: &str| {
        fetch_raw(context, reference, true).await.map_err(|failure| {
            if failure.is_not_found() { Failure::new(format!("Error: no such service: {reference}")) } else { failure }
        })
    };
    if !arguments.pretty && arguments.format.as_deref() != Some("pretty") {
        return inspect(context, &arguments.references, arguments.format.as_deref(), fetch).await;
    }
    for reference in &arguments.references {
        let service = Value::parse(&fetch(reference).await?)?;
        let mut networks = Vec::new();
        for network in service.list("Spec.TaskTemplate.Networks") {
            let target = network.text("Target");
            let found =
                context.client.get(&format!("/networks/{}", escape(target)), &[("scope", "swarm".into())]).await;
            networks.push(found.map_or_else(|_| target.to_owned(), |network| network.text("Name").to_owned()));
        }
        context.write(pretty::page(&service, &networks))?;
    }
    Ok(())
}

async fn ps(context: &Context, arguments: ServicePsArguments) -> Result<(), Failure> {
    let mut filters = Filters::from_arguments(&arguments.ps.filter.filter);
    let (mut by_id, mut by_name) = (Filters::default(), Filters::default());
    for service in &arguments.services {
        by_id.add("id", service);
        by_name.add("name", service);
    }
    let with_id = context.client.get("/services", &by_id.query()).await?;
    let with_name = context.client.get("/services", &by_name.query()).await?;
    let (mut missing, mut found) = (Vec::new(), 0);
    for service in &arguments.services {
        match find(service, with_id.list_itself(), with_name.list_itself())? {
            Some(id) => {
                filters.add("service", id);
                found += 1;
            }
            None => missing.push(Failure::new(format!("no such service: {service}"))),
        }
    }
    if found == 0 {
        return Failure::join(missing);
    }
    for node in filters.take("node") {
        let id = super::node::resolve(context, &node).await?;
        filters.add("node", &id);
    }
    let tasks = context.client.get("/tasks", &filters.query()).await?;
    let Value::List(tasks) = tasks else { return Err(Failure::new("the list of tasks is no list")) };
    task::show(context, tasks, &arguments.ps, task::Ids::Whole).await?;
    Failure::join(missing)
}

/// Full id, full name, then a prefix of an id that fits one only.
fn find<'a>(reference: &str, with_id: &'a [Value], with_name: &'a [Value]) -> Result<Option<&'a str>, Failure> {
    let exact = with_id.iter().find(|service| service.text("ID") == reference);
    let named = || with_name.iter().find(|service| service.text("Spec.Name") == reference);
    if let Some(service) = exact.or_else(named) {
        return Ok(Some(service.text("ID")));
    }
    let mut prefixed = with_id.iter().filter(|service| service.text("ID").starts_with(reference));
    match (prefixed.next(), prefixed.next()) {
        (Some(_), Some(_)) => Err(Failure::new(format!("multiple services found with provided prefix: {reference}"))),
        (found, _) => Ok(found.map(|service| service.text("ID"))),
    }
}

async fn remove(context: &Context, arguments: RemoveArguments) -> Result<(), Failure> {
    let mut failures = Vec::new();
    for service in &arguments.services {
        match context.client.delete(&format!("/services/{}", escape(service)), &[]).await {
            Ok(_) => context.line(service)?,
            Err(failure) => failures.push(failure),
        }
    }
    Failure::join(failures)
}

async fn rollback(context: &Context, arguments: RollbackArguments) -> Result<(), Failure> {
    let service = fetch(context, &arguments.service).await?;
    let spec = service.at("Spec").clone();
    post_update(context, &service, spec, &[("rollback", "previous".to_owned())], &[]).await?;
    context.line(&arguments.service)?;
    wait(context, arguments.wait, &arguments.service).await
}

/// Waits for convergence unless told not to.
async fn wait(context: &Context, wait: WaitArguments, service: &str) -> Result<(), Failure> {
    if wait.detach { Ok(()) } else { progress::follow(context, service, wait.quiet).await }
}

async fn scale(context: &Context, arguments: ScaleArguments) -> Result<(), Failure> {
    let mut targets = Vec::new();
    for target in &arguments.targets {
        let Some((service, count)) = target.split_once('=') else {
            return Err(Failure::new(format!(
                "invalid scale specifier '{target}'.\nSee 'skep service scale --help'.\n\nUsage:  skep service scale \
                 SERVICE=REPLICAS [SERVICE=REPLICAS...]\n\nScale one or multiple replicated services"
            )));
        };
        targets.push((service, count));
    }
    let (mut failures, mut scaled) = (Vec::new(), Vec::new());
    for (service, count) in targets {
        match scale_one(context, service, count).await {
            Ok(()) => scaled.push(service),
            Err(failure) => failures.push(Failure::new(format!("{service}: {}", failure.message))),
        }
    }
    if !arguments.detach {
        for service in scaled {
            if let Err(failure) = progress::follow(context, service, false).await {
                failures.push(Failure::new(format!("{service}: {}", failure.message)));
            }
        }
    }
    Failure::join(failures)
}

async fn scale_one(context: &Context, reference: &str, count: &str) -> Result<(), Failure> {
    let replicas: u64 = count.parse().map_err(|_| {
        Failure::new(format!("invalid replicas value {count}: strconv.ParseUint: parsing {count:?}: invalid syntax"))
    })?;
    let service = fetch(context, reference).await?;
    let mut spec = service.at("Spec").clone();
    if spec.has("Mode.Replicated") {
        spec.set("Mode.Replicated.Replicas", replicas);
    } else if spec.has("Mode.ReplicatedJob") {
        spec.set("Mode.ReplicatedJob.TotalCompletions", replicas);
    } else {
        return Err(Failure::new("scale can only be used with replicated or replicated-job mode"));
    }
    post_update(context, &service, spec, &[], &[]).await?;
    context.line(format!("{reference} scaled to {replicas}"))
}
