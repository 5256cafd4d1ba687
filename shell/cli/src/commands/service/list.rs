//! `service ls`.

use clap::Args;

use crate::api::{Filters, at_least};
use crate::commands::FilterArguments;
use crate::context::Context;
use crate::failure::Failure;
use crate::format::Columns;
use crate::human::{image_name, natural_order, short_id};
use crate::value::Value;

/// The API version from which the daemon counts the tasks of services.
const STATUS_API_VERSION: &str = "1.41";

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

const COLUMNS: Columns = Columns {
    fields: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("Mode", "MODE"),
        ("Replicas", "REPLICAS"),
        ("Image", "IMAGE"),
        ("Ports", "PORTS"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.Mode}}\t{{.Replicas}}\t{{.Image}}\t{{.Ports}}",
    quiet: "{{.ID}}",
};

pub async fn list(context: &Context, arguments: ListArguments) -> Result<(), Failure> {
    let services = fetch(context, &Filters::from_arguments(&arguments.filter.filter), arguments.quiet).await?;
    show(context, services, arguments.format.as_deref(), arguments.quiet)
}

/// Services, with their tasks counted unless only ids are wanted.
pub async fn fetch(context: &Context, filters: &Filters, quiet: bool) -> Result<Vec<Value>, Failure> {
    let mut query = filters.query();
    let counted = at_least(&context.client.negotiated().await?, STATUS_API_VERSION);
    if counted && !quiet {
        query.push(("status", "true".to_owned()));
    }
    let Value::List(mut services) = context.client.get("/services", &query).await? else { return Ok(Vec::new()) };
    if !counted && !quiet && !services.is_empty() {
        count(context, &mut services).await?;
    }
    Ok(services)
}

/// The table.
pub fn show(context: &Context, mut services: Vec<Value>, format: Option<&str>, quiet: bool) -> Result<(), Failure> {
    services.sort_by(|left, right| natural_order(left.text("Spec.Name"), right.text("Spec.Name")));
    let rows = services
        .iter()
        .map(|service| {
            vec![
                ("ID", Value::from(short_id(service.text("ID")))),
                ("Name", Value::from(service.text("Spec.Name"))),
                ("Mode", Value::from(mode(service))),
                ("Replicas", Value::from(replicas(service))),
                ("Image", Value::from(image_name(service.text("Spec.TaskTemplate.ContainerSpec.Image")))),
                ("Ports", Value::from(ports(service))),
            ]
        })
        .collect();
    COLUMNS.show(context, format, quiet, rows)
}

/// For older daemons: the client counts tasks itself, those on nodes that are down left out.
async fn count(context: &Context, services: &mut [Value]) -> Result<(), Failure> {
    let nodes = context.client.get("/nodes", &[]).await?;
    let is_up =
        |id: &str| nodes.list_itself().iter().any(|node| node.text("ID") == id && node.text("Status.State") != "down");
    let mut filters = Filters::default();
    services.iter().for_each(|service| filters.add("service", service.text("ID")));
    let tasks = context.client.get("/tasks", &filters.query()).await?;
    for service in services {
        let own = || tasks.list_itself().iter().filter(|task| task.text("ServiceID") == service.text("ID"));
        let wanted = own().filter(|task| task.text("DesiredState") != "shutdown").count() as u64;
        let running =
            own().filter(|task| task.text("Status.State") == "running" && is_up(task.text("NodeID"))).count() as u64;
        let desired =
            if service.has("Spec.Mode.Replicated") { service.uint("Spec.Mode.Replicated.Replicas") } else { wanted };
        service.set("ServiceStatus.RunningTasks", running);
        service.set("ServiceStatus.DesiredTasks", desired);
    }
    Ok(())
}

fn mode(service: &Value) -> &'static str {
    let modes = [
        ("Global", "global"),
        ("Replicated", "replicated"),
        ("ReplicatedJob", "replicated job"),
        ("GlobalJob", "global job"),
    ];
    let found = modes
        .into_iter()
        .find(|(member, _)| service.at("Spec.Mode").get(member).is_some_and(|mode| *mode != Value::Null));
    found.map_or("", |(_, name)| name)
}

fn replicas(service: &Value) -> String {
    let status = |member: &str| service.uint(&format!("ServiceStatus.{member}"));
    let (running, desired, completed) = (status("RunningTasks"), status("DesiredTasks"), status("CompletedTasks"));
    match mode(service) {
        "replicated job" => {
            let total = service.uint("Spec.Mode.ReplicatedJob.TotalCompletions");
            format!("{running}/{desired} ({completed}/{total} completed)")
        }
        "global job" => format!("{running}/{desired} ({completed}/{} completed)", desired + completed),
        mode => match service.uint("Spec.TaskTemplate.Placement.MaxReplicas") {
            limit if limit > 0 && mode == "replicated" => format!("{running}/{desired} (max {limit} per node)"),
            _ => format!("{running}/{desired}"),
        },
    }
}

/// Ports of the routing mesh; neighbouring ones as a range.
fn ports(service: &Value) -> String {
    let mut ports: Vec<(&str, u64, u64)> = service
        .list("Endpoint.Ports")
        .iter()
        .filter(|port| port.text("PublishMode") == "ingress")
        .map(|port| (port.text("Protocol"), port.uint("PublishedPort"), port.uint("TargetPort")))
        .collect();
    ports.sort_unstable();
    let mut ranges: Vec<(&str, [u64; 2], [u64; 2])> = Vec::new();
    for (protocol, published, target) in ports {
        if let Some((last_protocol, last_published, last_target)) = ranges.last_mut() {
            let follows = published == last_published[1] + 1 && target == last_target[1] + 1;
            let same_target =
                published == last_published[1] + 1 && target == last_target[1] && last_target[0] == last_target[1];
            if *last_protocol == protocol && (follows || same_target) {
                (last_published[1], last_target[1]) = (published, target);
                continue;
            }
        }
        ranges.push((protocol, [published; 2], [target; 2]));
    }
    let range = |[first, last]: [u64; 2]| if last > first { format!("{first}-{last}") } else { first.to_string() };
    let show = |(protocol, published, target): &(&str, [u64; 2], [u64; 2])| {
        format!("*:{}->{}/{protocol}", range(*published), range(*target))
    };
    ranges.iter().map(show).collect::<Vec<_>>().join(", ")
}
