//! `container`: those of this node, whatever swarm they belong to.

use clap::{Args, Subcommand};

use super::dependency::label_list;
use super::inspect::inspect;
use super::{FilterArguments, exec, output, stats};
use crate::api::{Filters, Payload, escape};
use crate::context::Context;
use crate::failure::Failure;
use crate::format::{Columns, align};
use crate::human::{decimal_size, duration, ellipsis, seconds_since, short_id};
use crate::value::Value;

/// A command longer than this is cut in a table.
const MAX_COMMAND_CHARACTERS: usize = 20;
const TOP_COLUMN_WIDTH: usize = 20;

#[derive(Debug, Subcommand)]
pub enum ContainerCommand {
    /// List containers
    #[command(aliases = ["list", "ps"])]
    Ls(ListArguments),
    /// Display detailed information on one or more containers
    Inspect(InspectArguments),
    /// Fetch the logs of a container
    Logs(output::LogsArguments),
    /// Display a live stream of container(s) resource usage statistics
    Stats(stats::StatsArguments),
    /// Stop one or more running containers
    Stop(StopArguments),
    /// Kill one or more running containers
    Kill(KillArguments),
    /// Display the running processes of a container
    Top(TopArguments),
    /// Execute a command in a running container
    Exec(exec::ExecArguments),
}

#[derive(Debug, Args)]
pub struct ListArguments {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    filter: FilterArguments,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long)]
    format: Option<String>,
    /// Show n last created containers (includes all states)
    #[arg(short = 'n', long, allow_hyphen_values = true)]
    last: Option<i64>,
    /// Show the latest created container (includes all states)
    #[arg(short, long)]
    latest: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only display container IDs
    #[arg(short, long)]
    quiet: bool,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
}

#[derive(Debug, Args)]
pub struct InspectArguments {
    /// Format output using a custom template: 'json' or a Go template
    #[arg(short, long)]
    format: Option<String>,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

#[derive(Debug, Args)]
pub struct StopArguments {
    /// Signal to send to the container
    #[arg(short, long)]
    signal: Option<String>,
    /// Seconds to wait before killing the container
    #[arg(short, long, visible_alias = "time", allow_hyphen_values = true)]
    timeout: Option<i64>,
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

#[derive(Debug, Args)]
pub struct KillArguments {
    /// Signal to send to the container
    #[arg(short, long)]
    signal: Option<String>,
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

#[derive(Debug, Args)]
pub struct TopArguments {
    /// The container
    container: String,
    /// Options of ps
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

const COLUMNS: Columns = Columns {
    fields: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("State", "STATE"),
        ("Ports", "PORTS"),
        ("Names", "NAMES"),
        ("Labels", "LABELS"),
        ("Mounts", "MOUNTS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Networks", "NETWORKS"),
        ("Size", "SIZE"),
    ],
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
    quiet: "{{.ID}}",
};
const SIZED: Columns = Columns {
    fields: COLUMNS.fields,
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}",
    quiet: COLUMNS.quiet,
};

pub async fn execute(context: &Context, command: ContainerCommand) -> Result<(), Failure> {
    match command {
        ContainerCommand::Ls(arguments) => list(context, arguments).await,
        ContainerCommand::Inspect(arguments) => {
            let query: Vec<_> = arguments.size.then(|| ("size", "1".to_owned())).into_iter().collect();
            let fetch =
                async |name: &str| context.client.get_raw(&format!("/containers/{}/json", escape(name)), &query).await;
            inspect(context, &arguments.containers, arguments.format.as_deref(), fetch).await
        }
        ContainerCommand::Logs(arguments) => output::logs(context, arguments).await,
        ContainerCommand::Stats(arguments) => stats::stats(context, arguments).await,
        ContainerCommand::Stop(arguments) => stop(context, arguments).await,
        ContainerCommand::Kill(arguments) => kill(context, arguments).await,
        ContainerCommand::Top(arguments) => top(context, arguments).await,
        ContainerCommand::Exec(arguments) => exec::exec(context, arguments).await,
    }
}

pub async fn list(context: &Context, arguments: ListArguments) -> Result<(), Failure> {
    let mut query = Filters::from_arguments(&arguments.filter.filter).query();
    if arguments.all {
        query.push(("all", "1".to_owned()));
    }
    let last = if arguments.latest { Some(1) } else { arguments.last.filter(|last| *last > 0) };
    if let Some(last) = last {
        query.push(("limit", last.to_string()));
    }
    if arguments.size {
        query.push(("size", "1".to_owned()));
    }
    let containers = context.client.get("/containers/json", &query).await?;
    let rows = containers.list_itself().iter().map(|container| row(container, !arguments.no_trunc)).collect();
    let columns = if arguments.size { &SIZED } else { &COLUMNS };
    columns.show(context, arguments.format.as_deref(), arguments.quiet, rows)
}

fn row(container: &Value, truncate: bool) -> crate::format::Row {
    let id = container.text("Id");
    let command = container.text("Command");
    let command = if truncate { ellipsis(command, MAX_COMMAND_CHARACTERS) } else { command.to_owned() };
    let created = container.int("Created");
    let created_at = time::OffsetDateTime::from_unix_timestamp(created).ok();
    let names: Vec<&str> = container.texts("Names").iter().map(|name| name.trim_start_matches('/')).collect();
    let names: Vec<&str> =
        if truncate { names.into_iter().filter(|name| !name.contains('/')).collect() } else { names };
    let networks: Vec<String> =
        container.entries("NetworkSettings.Networks").iter().map(|(name, _)| name.clone()).collect();
    let mounts: Vec<&str> = container
        .list("Mounts")
        .iter()
        .map(|mount| if mount.text("Name").is_empty() { mount.text("Source") } else { mount.text("Name") })
        .collect();
    let mounts: Vec<String> =
        mounts.into_iter().map(|mount| if truncate { ellipsis(mount, 15) } else { mount.to_owned() }).collect();
    let volumes = container.list("Mounts").iter().filter(|mount| mount.text("Driver") == "local").count();
    vec![
        ("ID", Value::from(if truncate { short_id(id) } else { id })),
        ("Image", Value::from(image(container, truncate))),
        ("Command", Value::from(format!("{command:?}"))),
        ("CreatedAt", Value::from(created_at.map_or_else(String::new, go_seconds))),
        ("RunningFor", Value::from(format!("{} ago", duration(seconds_since(created_at))))),
        ("Status", Value::from(container.text("Status"))),
        ("State", Value::from(container.text("State"))),
        ("Ports", Value::from(ports(container))),
        ("Names", Value::from(names.join(","))),
        ("Labels", Value::from(label_list(container.entries("Labels")))),
        ("Label", container.at("Labels").clone()),
        ("Mounts", Value::from(mounts.join(","))),
        ("LocalVolumes", Value::from(volumes.to_string())),
        ("Networks", Value::from(networks.join(","))),
        ("Size", Value::from(size(container))),
    ]
}

fn go_seconds(time: time::OffsetDateTime) -> String {
    let (date, clock) = (time.date(), time.time());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} +0000 UTC", clock.hour(), clock.minute(), clock.second())
}

fn size(container: &Value) -> String {
    let own = decimal_size(container.float("SizeRw"));
    match container.float("SizeRootFs") {
        all if all > 0.0 => format!("{own} (virtual {})", decimal_size(all)),
        _ => own,
    }
}

/// An image without a name is shown by its id; one with a tag and a digest, by its tag.
fn image(container: &Value, truncate: bool) -> String {
    let (image, id) = (container.text("Image"), container.text("ImageID"));
    if image.is_empty() {
        return "<no image>".to_owned();
    }
    if !truncate {
        return image.to_owned();
    }
    if !id.is_empty() && (image == id || image == short_id(id)) {
        return short_id(id).to_owned();
    }
    crate::human::image_name(image)
}

/// `443/tcp, 0.0.0.0:8080->80/tcp`: neighbouring ports that keep their number as a range, then those that change it.
fn ports(container: &Value) -> String {
    let mut ports: Vec<(u64, u64, String, String)> = container
        .list("Ports")
        .iter()
        .map(|port| {
            (port.uint("PrivatePort"), port.uint("PublicPort"), port.text("Type").into(), port.text("IP").into())
        })
        .collect();
    ports.sort_by(|left, right| (left.0, &left.3, left.1, &left.2).cmp(&(right.0, &right.3, right.1, &right.2)));
    let host = |ip: &str| if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    let mut groups: Vec<(String, String, u64, u64)> = Vec::new();
    let mut mapped = Vec::new();
    for (private, public, kind, ip) in ports {
        if !ip.is_empty() && public != private {
            mapped.push(format!("{}:{public}->{private}/{kind}", host(&ip)));
            continue;
        }
        match groups.iter_mut().find(|group| group.0 == ip && group.1 == kind && group.3 + 1 == private) {
            Some(group) => group.3 = private,
            None => groups.push((ip, kind, private, private)),
        }
    }
    let show = |(ip, kind, first, last): &(String, String, u64, u64)| {
        let range = if last > first { format!("{first}-{last}") } else { first.to_string() };
        if ip.is_empty() { format!("{range}/{kind}") } else { format!("{}:{range}->{range}/{kind}", host(ip)) }
    };
    groups.iter().map(show).chain(mapped).collect::<Vec<_>>().join(", ")
}

pub async fn stop(context: &Context, arguments: StopArguments) -> Result<(), Failure> {
    let mut query = Vec::new();
    if let Some(timeout) = arguments.timeout {
        query.push(("t", timeout.to_string()));
    }
    if let Some(signal) = arguments.signal {
        query.push(("signal", signal));
    }
    each(context, &arguments.containers, "stop", &query).await
}

pub async fn kill(context: &Context, arguments: KillArguments) -> Result<(), Failure> {
    let query: Vec<_> = arguments.signal.map(|signal| ("signal", signal)).into_iter().collect();
    each(context, &arguments.containers, "kill", &query).await
}

async fn each(context: &Context, containers: &[String], verb: &str, query: &[(&str, String)]) -> Result<(), Failure> {
    let mut failures = Vec::new();
    for container in containers {
        let path = format!("/containers/{}/{verb}", escape(container));
        match context.client.post(&path, query, Payload::Nothing).await {
            Ok(_) => context.line(container)?,
            Err(failure) => failures.push(failure),
        }
    }
    Failure::join(failures)
}

pub async fn top(context: &Context, arguments: TopArguments) -> Result<(), Failure> {
    let options = arguments.options.join(" ");
    let query: Vec<_> = (!options.is_empty()).then_some(("ps_args", options)).into_iter().collect();
    let answer = context.client.get(&format!("/containers/{}/top", escape(&arguments.container)), &query).await?;
    let mut lines = vec![answer.texts("Titles").join("\t")];
    for process in answer.list("Processes") {
        let cells: Vec<&str> = process.list_itself().iter().filter_map(Value::as_text).collect();
        lines.push(cells.join("\t"));
    }
    context.write(align(&lines, TOP_COLUMN_WIDTH))
}
