//! `network`.

use clap::{Args, Subcommand};

use super::FilterArguments;
use super::dependency::label_list;
use super::inspect::inspect;
use crate::api::{Filters, Payload, escape};
use crate::arguments::{Filter, pairs};
use crate::context::Context;
use crate::failure::Failure;
use crate::format::Columns;
use crate::human::{go_time, natural_order, short_id};
use crate::terminal;
use crate::value::Value;

#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// Create a network
    Create(Box<CreateArguments>),
    /// List networks
    #[command(alias = "list")]
    Ls(ListArguments),
    /// Display detailed information on one or more networks
    Inspect(InspectArguments),
    /// Remove all unused networks
    Prune(PruneArguments),
    /// Remove one or more networks
    #[command(alias = "remove")]
    Rm(RemoveArguments),
}

#[derive(Debug, Args)]
pub struct CreateArguments {
    /// Enable manual container attachment
    #[arg(long)]
    attachable: bool,
    /// Auxiliary IPv4 or IPv6 addresses used by Network driver
    #[arg(long)]
    aux_address: Vec<String>,
    /// The network from which to copy the configuration
    #[arg(long)]
    config_from: Option<String>,
    /// Create a configuration only network
    #[arg(long)]
    config_only: bool,
    /// Driver to manage the Network
    #[arg(short, long, default_value = "bridge")]
    driver: String,
    /// IPv4 or IPv6 Gateway for the master subnet
    #[arg(long)]
    gateway: Vec<String>,
    /// Create swarm routing-mesh network
    #[arg(long)]
    ingress: bool,
    /// Restrict external access to the network
    #[arg(long)]
    internal: bool,
    /// Allocate container ip from a sub-range
    #[arg(long)]
    ip_range: Vec<String>,
    /// IP Address Management Driver
    #[arg(long, default_value = "default")]
    ipam_driver: String,
    /// Set IPAM driver specific options
    #[arg(long)]
    ipam_opt: Vec<String>,
    /// Enable or disable IPv4 address assignment
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv4: Option<bool>,
    /// Enable or disable IPv6 networking
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv6: Option<bool>,
    /// Set metadata on a network
    #[arg(long)]
    label: Vec<String>,
    /// Set driver specific options
    #[arg(short, long)]
    opt: Vec<String>,
    /// Control the network's scope
    #[arg(long, default_value = "")]
    scope: String,
    /// Subnet in CIDR format that represents a network segment
    #[arg(long)]
    subnet: Vec<String>,
    /// Its name
    name: String,
}

#[derive(Debug, Args)]
pub struct ListArguments {
    #[command(flatten)]
    filter: FilterArguments,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long)]
    format: Option<String>,
    /// Do not truncate the output
    #[arg(long)]
    no_trunc: bool,
    /// Only display network IDs
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Args)]
pub struct InspectArguments {
    /// Format output using a custom template: 'json' or a Go template
    #[arg(short, long)]
    format: Option<String>,
    /// Verbose output for diagnostics
    #[arg(short, long)]
    verbose: bool,
    /// Networks
    #[arg(required = true)]
    networks: Vec<String>,
}

#[derive(Debug, Args)]
pub struct RemoveArguments {
    /// Do not error if the network does not exist
    #[arg(short, long)]
    force: bool,
    /// Networks
    #[arg(required = true)]
    networks: Vec<String>,
}

#[derive(Debug, Args)]
pub struct PruneArguments {
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

const COLUMNS: Columns = Columns {
    fields: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
    quiet: "{{.ID}}",
};

pub async fn execute(context: &Context, command: NetworkCommand) -> Result<(), Failure> {
    match command {
        NetworkCommand::Create(arguments) => create(context, *arguments).await,
        NetworkCommand::Ls(arguments) => list(context, arguments).await,
        NetworkCommand::Inspect(arguments) => {
            let query: Vec<_> = arguments.verbose.then(|| ("verbose", "true".to_owned())).into_iter().collect();
            let fetch = async |name: &str| context.client.get_raw(&format!("/networks/{}", escape(name)), &query).await;
            inspect(context, &arguments.networks, arguments.format.as_deref(), fetch).await
        }
        NetworkCommand::Prune(arguments) => prune(context, arguments).await,
        NetworkCommand::Rm(arguments) => remove(context, arguments).await,
    }
}

async fn create(context: &Context, arguments: CreateArguments) -> Result<(), Failure> {
    let mut ipam = Value::map([("Driver", Value::from(arguments.ipam_driver.as_str()))]);
    ipam.set("Options", pairs(&arguments.ipam_opt));
    let mut configs = Vec::new();
    for (index, subnet) in arguments.subnet.iter().enumerate() {
        let mut config = Value::map([("Subnet", Value::from(subnet.as_str()))]);
        for (member, list) in [("IPRange", &arguments.ip_range), ("Gateway", &arguments.gateway)] {
            if let Some(value) = list.get(index) {
                config.set(member, value.as_str());
            }
        }
        if index == 0 && !arguments.aux_address.is_empty() {
            config.set("AuxiliaryAddresses", pairs(&arguments.aux_address));
        }
        configs.push(config);
    }
    if arguments.subnet.is_empty() && (!arguments.gateway.is_empty() || !arguments.ip_range.is_empty()) {
        return Err(Failure::new("every ip-range or gateway must have a corresponding subnet"));
    }
    ipam.set("Config", configs);
    let mut request = Value::map([
        ("Name", Value::from(arguments.name)),
        ("Driver", Value::from(arguments.driver)),
        ("Scope", Value::from(arguments.scope)),
        ("IPAM", ipam),
        ("Internal", Value::Bool(arguments.internal)),
        ("Attachable", Value::Bool(arguments.attachable)),
        ("Ingress", Value::Bool(arguments.ingress)),
        ("ConfigOnly", Value::Bool(arguments.config_only)),
        ("Options", pairs(&arguments.opt)),
        ("Labels", pairs(&arguments.label)),
    ]);
    if let Some(ipv4) = arguments.ipv4 {
        request.set("EnableIPv4", ipv4);
    }
    if let Some(ipv6) = arguments.ipv6 {
        request.set("EnableIPv6", ipv6);
    }
    if let Some(from) = arguments.config_from {
        request.set("ConfigFrom.Network", from);
    }
    let answer = context.client.post("/networks/create", &[], Payload::Json(request)).await?;
    if !answer.text("Warning").is_empty() {
        context.warn(format!("WARNING: {}", answer.text("Warning")))?;
    }
    context.line(answer.text("Id"))
}

async fn list(context: &Context, arguments: ListArguments) -> Result<(), Failure> {
    let filters = Filters::from_arguments(&arguments.filter.filter);
    let Value::List(mut networks) = context.client.get("/networks", &filters.query()).await? else { return Ok(()) };
    networks.sort_by(|left, right| natural_order(left.text("Name"), right.text("Name")));
    let rows = networks
        .iter()
        .map(|network| {
            let id = network.text("Id");
            vec![
                ("ID", Value::from(if arguments.no_trunc { id } else { short_id(id) })),
                ("Name", Value::from(network.text("Name"))),
                ("Driver", Value::from(network.text("Driver"))),
                ("Scope", Value::from(network.text("Scope"))),
                ("IPv4", Value::from(network.bool("EnableIPv4").to_string())),
                ("IPv6", Value::from(network.bool("EnableIPv6").to_string())),
                ("Internal", Value::from(network.bool("Internal").to_string())),
                ("Labels", Value::from(label_list(network.entries("Labels")))),
                ("Label", network.at("Labels").clone()),
                ("CreatedAt", Value::from(go_time(network.text("Created")))),
            ]
        })
        .collect();
    COLUMNS.show(context, arguments.format.as_deref(), arguments.quiet, rows)
}

async fn remove(context: &Context, arguments: RemoveArguments) -> Result<(), Failure> {
    let mut failures = Vec::new();
    for name in &arguments.networks {
        match context.client.delete(&format!("/networks/{}", escape(name)), &[]).await {
            Ok(_) => context.line(name)?,
            Err(failure) if arguments.force && failure.is_not_found() => {}
            Err(failure) => failures.push(failure),
        }
    }
    Failure::join(failures)
}

async fn prune(context: &Context, arguments: PruneArguments) -> Result<(), Failure> {
    let warning = "WARNING! This will remove all custom networks not used by at least one container.";
    if !arguments.force && !terminal::confirm(context, warning)? {
        return Err(Failure::new("network prune has been cancelled"));
    }
    let query = Filters::from_arguments(&arguments.filter).query();
    let answer = context.client.post("/networks/prune", &query, Payload::Nothing).await?;
    let removed = answer.texts("NetworksDeleted");
    if removed.is_empty() {
        return Ok(());
    }
    context.line("Deleted Networks:")?;
    removed.into_iter().try_for_each(|name| context.line(name))?;
    context.line("")
}
