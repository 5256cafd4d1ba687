//! `node`: the members of a swarm.

use bytes::Bytes;
use clap::{Args, Subcommand};

use super::FilterArguments;
use super::inspect::{InspectArguments, inspect};
use super::labels::LabelChanges;
use super::task::{self, PsArguments};
use crate::api::{Filters, Payload, escape};
use crate::context::Context;
use crate::failure::Failure;
use crate::format::Columns;
use crate::human::{binary_size, capitalise, go_time, natural_order};
use crate::value::Value;

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List nodes in the swarm
    #[command(alias = "list")]
    Ls(ListArguments),
    /// Display detailed information on one or more nodes
    Inspect(InspectArguments),
    /// List tasks running on one or more nodes, defaults to current node
    Ps(NodePsArguments),
    /// Update a node
    Update(UpdateArguments),
    /// Promote one or more nodes to manager in the swarm
    Promote(NodesArguments),
    /// Demote one or more nodes from manager in the swarm
    Demote(NodesArguments),
    /// Remove one or more nodes from the swarm
    #[command(alias = "remove")]
    Rm(RemoveArguments),
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
pub struct NodePsArguments {
    #[command(flatten)]
    ps: PsArguments,
    /// Nodes, or self
    nodes: Vec<String>,
}

#[derive(Debug, Args)]
pub struct NodesArguments {
    /// Nodes
    #[arg(required = true)]
    nodes: Vec<String>,
}

#[derive(Debug, Args)]
pub struct UpdateArguments {
    /// Availability of the node ("active", "pause", "drain")
    #[arg(long)]
    availability: Option<String>,
    #[command(flatten)]
    labels: LabelChanges,
    /// Role of the node ("worker", "manager")
    #[arg(long)]
    role: Option<String>,
    /// The node
    node: String,
}

#[derive(Debug, Args)]
pub struct RemoveArguments {
    /// Force remove a node from the swarm
    #[arg(short, long)]
    force: bool,
    /// Nodes
    #[arg(required = true)]
    nodes: Vec<String>,
}

const COLUMNS: Columns = Columns {
    fields: &[
        ("ID", "ID"),
        ("Self", ""),
        ("Hostname", "HOSTNAME"),
        ("Status", "STATUS"),
        ("Availability", "AVAILABILITY"),
        ("ManagerStatus", "MANAGER STATUS"),
        ("EngineVersion", "ENGINE VERSION"),
        ("TLSStatus", "TLS STATUS"),
    ],
    table: "{{.ID}} {{if .Self}}*{{else}} {{end}}\t{{.Hostname}}\t{{.Status}}\t{{.Availability}}\t{{.ManagerStatus}}\t{{.EngineVersion}}",
    quiet: "{{.ID}}",
};

pub async fn execute(context: &Context, command: NodeCommand) -> Result<(), Failure> {
    match command {
        NodeCommand::Ls(arguments) => list(context, arguments).await,
        NodeCommand::Inspect(arguments) => inspect_nodes(context, arguments).await,
        NodeCommand::Ps(arguments) => ps(context, arguments).await,
        NodeCommand::Update(arguments) => update(context, arguments).await,
        NodeCommand::Promote(arguments) => change_role(context, &arguments.nodes, "manager").await,
        NodeCommand::Demote(arguments) => change_role(context, &arguments.nodes, "worker").await,
        NodeCommand::Rm(arguments) => remove(context, arguments).await,
    }
}

async fn list(context: &Context, arguments: ListArguments) -> Result<(), Failure> {
    let filters = Filters::from_arguments(&arguments.filter.filter);
    let answer = context.client.get("/nodes", &filters.query()).await?;
    let mut nodes: Vec<&Value> = answer.list_itself().iter().collect();
    nodes.sort_by(|left, right| natural_order(left.text("Description.Hostname"), right.text("Description.Hostname")));
    let info = if nodes.is_empty() || arguments.quiet { Value::Null } else { context.client.get("/info", &[]).await? };
    let rows = nodes
        .into_iter()
        .map(|node| {
            vec![
                ("ID", Value::from(node.text("ID"))),
                ("Self", Value::Bool(node.text("ID") == info.text("Swarm.NodeID"))),
                ("Hostname", Value::from(node.text("Description.Hostname"))),
                ("Status", Value::from(capitalise(node.text("Status.State")))),
                ("Availability", Value::from(capitalise(node.text("Spec.Availability")))),
                ("ManagerStatus", Value::from(manager_status(node))),
                ("EngineVersion", Value::from(node.text("Description.Engine.EngineVersion"))),
                ("TLSStatus", Value::from(tls_status(node, &info))),
            ]
        })
        .collect();
    COLUMNS.show(context, arguments.format.as_deref(), arguments.quiet, rows)?;
    for warning in info.texts("Warnings").into_iter().filter(|warning| warning.contains("clock")) {
        context.warn(warning)?;
    }
    Ok(())
}

fn manager_status(node: &Value) -> String {
    if node.bool("ManagerStatus.Leader") {
        "Leader".to_owned()
    } else {
        capitalise(node.text("ManagerStatus.Reachability"))
    }
}

fn tls_status(node: &Value, info: &Value) -> &'static str {
    let (own, swarms) = (node.at("Description.TLSInfo"), info.at("Swarm.Cluster.TLSInfo"));
    let is_empty = |tls: &Value| tls.text("TrustRoot").is_empty() && tls.text("CertIssuerSubject").is_empty();
    let members = ["TrustRoot", "CertIssuerSubject", "CertIssuerPublicKey"];
    if is_empty(own) || is_empty(swarms) {
        "Unknown"
    } else if members.iter().all(|member| own.text(member) == swarms.text(member)) {
        "Ready"
    } else {
        "Needs Rotation"
    }
}

/// `self` is this daemon's own node.
pub async fn resolve(context: &Context, reference: &str) -> Result<String, Failure> {
    if reference != "self" {
        return Ok(reference.to_owned());
    }
    let info = context.client.get("/info", &[]).await?;
    let id = info.text("Swarm.NodeID");
    if id.is_empty() {
        // The daemon knows best why it is on no list of nodes.
        context.client.get("/nodes", &[]).await?;
        return Err(Failure::new("node ID not found in /info"));
    }
    Ok(id.to_owned())
}

async fn fetch(context: &Context, reference: &str) -> Result<Bytes, Failure> {
    let reference = resolve(context, reference).await?;
    context.client.get_raw(&format!("/nodes/{}", escape(&reference)), &[]).await
}

async fn inspect_nodes(context: &Context, arguments: InspectArguments) -> Result<(), Failure> {
    let pretty = arguments.pretty || arguments.format.as_deref() == Some("pretty");
    if !pretty {
        let fetch = async |reference: &str| fetch(context, reference).await;
        return inspect(context, &arguments.references, arguments.format.as_deref(), fetch).await;
    }
    for reference in &arguments.references {
        let node = Value::parse(&fetch(context, reference).await?)?;
        context.line(pretty_node(&node))?;
    }
    Ok(())
}

fn pretty_node(node: &Value) -> String {
    let mut lines = vec![format!("ID:\t\t\t{}", node.text("ID"))];
    if !node.text("Spec.Name").is_empty() {
        lines.push(format!("Name:\t\t\t{}", node.text("Spec.Name")));
    }
    let labels = |title: &str, path: &str| -> Vec<String> {
        let mut labels: Vec<_> = node.entries(path).iter().collect();
        labels.sort_by(|left, right| left.0.cmp(&right.0));
        let head = (!labels.is_empty()).then(|| title.to_owned());
        let rest = labels.iter().map(|(key, value)| match value.as_text().unwrap_or("") {
            "" => format!(" - {key}"),
            value => format!(" - {key}={value}"),
        });
        head.into_iter().chain(rest).collect()
    };
    lines.extend(labels("Labels:", "Spec.Labels"));
    lines.push(format!("Hostname:              \t{}", node.text("Description.Hostname")));
    lines.push(format!("Joined at:             \t{}", go_time(node.text("CreatedAt")).to_lowercase()));
    lines.push("Status:".to_owned());
    lines.push(format!(" State:\t\t\t{}", capitalise(node.text("Status.State"))));
    if !node.text("Status.Message").is_empty() {
        lines.push(format!(" Message:              \t{}", capitalise(node.text("Status.Message"))));
    }
    lines.push(format!(" Availability:         \t{}", capitalise(node.text("Spec.Availability"))));
    if !node.text("Status.Addr").is_empty() {
        lines.push(format!(" Address:\t\t{}", node.text("Status.Addr")));
    }
    if node.has("ManagerStatus") {
        lines.push("Manager Status:".to_owned());
        lines.push(format!(" Address:\t\t{}", node.text("ManagerStatus.Addr")));
        lines.push(format!(" Raft Status:\t\t{}", capitalise(node.text("ManagerStatus.Reachability"))));
        lines.push(format!(" Leader:\t\t{}", if node.bool("ManagerStatus.Leader") { "Yes" } else { "No" }));
    }
    lines.push("Platform:".to_owned());
    lines.push(format!(" Operating System:\t{}", node.text("Description.Platform.OS")));
    lines.push(format!(" Architecture:\t\t{}", node.text("Description.Platform.Architecture")));
    lines.push("Resources:".to_owned());
    lines.push(format!(" CPUs:\t\t\t{}", node.int("Description.Resources.NanoCPUs") / 1_000_000_000));
    let memory = node.int("Description.Resources.MemoryBytes");
    lines.push(format!(" Memory:\t\t{}", if memory == 0 { String::new() } else { binary_size(memory as f64) }));
    lines.extend(plugins(node));
    lines.push(format!("Engine Version:\t\t{}", node.text("Description.Engine.EngineVersion")));
    lines.extend(labels("Engine Labels:", "Description.Engine.Labels"));
    let tls = node.at("Description.TLSInfo");
    if !tls.text("TrustRoot").is_empty() {
        lines.push(format!("TLS Info:\n TrustRoot:\n{}", tls.text("TrustRoot")));
        lines.push(format!(" Issuer Subject:\t{}", tls.text("CertIssuerSubject")));
        lines.push(format!(" Issuer Public Key:\t{}", tls.text("CertIssuerPublicKey")));
    }
    lines.join("\n")
}

fn plugins(node: &Value) -> Vec<String> {
    let mut by_kind = std::collections::BTreeMap::<&str, Vec<&str>>::new();
    for plugin in node.list("Description.Engine.Plugins") {
        by_kind.entry(plugin.text("Type")).or_default().push(plugin.text("Name"));
    }
    let head = (!by_kind.is_empty()).then(|| "Plugins:".to_owned());
    head.into_iter().chain(by_kind.iter().map(|(kind, names)| format!(" {kind}:\t\t{}", names.join(", ")))).collect()
}

async fn ps(context: &Context, arguments: NodePsArguments) -> Result<(), Failure> {
    let references = if arguments.nodes.is_empty() { vec!["self".to_owned()] } else { arguments.nodes };
    let (mut failures, mut tasks) = (Vec::new(), Vec::new());
    let mut filters = Filters::from_arguments(&arguments.ps.filter.filter);
    for reference in &references {
        let answer: Result<Value, Failure> = async {
            let node = Value::parse(&fetch(context, reference).await?)?;
            filters.add("node", node.text("ID"));
            context.client.get("/tasks", &filters.query()).await
        }
        .await;
        match answer {
            Ok(Value::List(found)) => tasks.extend(found),
            Ok(_) => {}
            Err(failure) => failures.push(failure),
        }
    }
    if failures.is_empty() || !tasks.is_empty() {
        task::show(context, tasks, &arguments.ps, task::Ids::Short).await?;
    }
    Failure::join(failures)
}

async fn update(context: &Context, arguments: UpdateArguments) -> Result<(), Failure> {
    let node = context.client.get(&format!("/nodes/{}", escape(&arguments.node)), &[]).await?;
    let mut spec = node.at("Spec").clone();
    if let Some(role) = &arguments.role {
        spec.set("Role", role.as_str());
    }
    if let Some(availability) = &arguments.availability {
        spec.set("Availability", availability.as_str());
    }
    arguments.labels.apply(&mut spec, "node")?;
    post_spec(context, &node, spec).await?;
    context.line(&arguments.node)
}

async fn post_spec(context: &Context, node: &Value, spec: Value) -> Result<(), Failure> {
    let query = [("version", node.uint("Version.Index").to_string())];
    let path = format!("/nodes/{}/update", escape(node.text("ID")));
    context.client.post(&path, &query, Payload::Json(spec)).await.map(drop)
}

async fn change_role(context: &Context, nodes: &[String], role: &str) -> Result<(), Failure> {
    for reference in nodes {
        let node = context.client.get(&format!("/nodes/{}", escape(reference)), &[]).await?;
        if node.text("Spec.Role") == role {
            context.line(format!("Node {} is already a {role}.", node.text("ID")))?;
            continue;
        }
        let mut spec = node.at("Spec").clone();
        spec.set("Role", role);
        post_spec(context, &node, spec).await?;
        context.line(match role {
            "manager" => format!("Node {reference} promoted to a manager in the swarm."),
            _ => format!("Manager {reference} demoted in the swarm."),
        })?;
    }
    Ok(())
}

async fn remove(context: &Context, arguments: RemoveArguments) -> Result<(), Failure> {
    let query: Vec<(&str, String)> = arguments.force.then(|| ("force", "1".to_owned())).into_iter().collect();
    let mut failures = Vec::new();
    for node in &arguments.nodes {
        match context.client.delete(&format!("/nodes/{}", escape(node)), &query).await {
            Ok(_) => context.line(node)?,
            Err(failure) => failures.push(failure),
        }
    }
    Failure::join(failures)
}
