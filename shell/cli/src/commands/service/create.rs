//! `service create`.

use clap::Args;

use super::flags::ServiceFlags;
use super::{WaitArguments, options, registry, spec, wait};
use crate::api::Payload;
use crate::arguments::pairs;
use crate::context::Context;
use crate::failure::Failure;
use crate::value::Value;

#[derive(Debug, Args)]
pub struct CreateArguments {
    #[command(flatten)]
    flags: ServiceFlags,
    #[command(flatten)]
    wait: WaitArguments,
    /// Specify configurations to expose to the service
    #[arg(long)]
    config: Vec<String>,
    /// Placement constraints
    #[arg(long)]
    constraint: Vec<String>,
    /// Container labels
    #[arg(long)]
    container_label: Vec<String>,
    /// Set custom DNS servers
    #[arg(long)]
    dns: Vec<String>,
    /// Set DNS options
    #[arg(long)]
    dns_option: Vec<String>,
    /// Set custom DNS search domains
    #[arg(long)]
    dns_search: Vec<String>,
    /// Set environment variables
    #[arg(short, long)]
    env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long)]
    env_file: Vec<String>,
    /// User defined resources
    #[arg(long, value_parser = options::checked(options::generic_resource))]
    generic_resource: Vec<String>,
    /// Set one or more supplementary user groups for the container
    #[arg(long)]
    group: Vec<String>,
    /// Set one or more custom host-to-IP mappings (host:ip)
    #[arg(long = "host", id = "extra_host", value_parser = options::checked(options::host))]
    extra_host: Vec<String>,
    /// Service labels
    #[arg(short, long)]
    label: Vec<String>,
    /// Service mode ("replicated", "global", "replicated-job", "global-job")
    #[arg(long, default_value = "replicated")]
    mode: String,
    /// Attach a filesystem mount to the service
    #[arg(long, value_parser = options::checked(options::mount))]
    mount: Vec<String>,
    /// Service name
    #[arg(long, default_value = "")]
    name: String,
    /// Network attachments
    #[arg(long)]
    network: Vec<String>,
    /// Add a placement preference
    #[arg(long, value_parser = options::checked(options::preference))]
    placement_pref: Vec<String>,
    /// Publish a port as a node port
    #[arg(short, long, value_parser = options::checked(options::ports))]
    publish: Vec<String>,
    /// Specify secrets to expose to the service
    #[arg(long)]
    secret: Vec<String>,
    /// Sysctl options
    #[arg(long)]
    sysctl: Vec<String>,
    /// Ulimit options
    #[arg(long, value_parser = options::checked(options::ulimit))]
    ulimit: Vec<String>,
    /// Image to run
    image: String,
    /// Command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

pub async fn create(context: &Context, arguments: CreateArguments) -> Result<(), Failure> {
    let mut service = build(context, &arguments).await?;
    let auth = if arguments.flags.with_registry_auth { Some(registry::credentials(&arguments.image)?) } else { None };
    let mut warnings = Vec::new();
    if !arguments.flags.no_resolve_image {
        warnings.extend(registry::pin(context, &mut service, auth.as_deref()).await);
    }
    let headers: Vec<(&'static str, String)> = auth.map(|auth| ("x-registry-auth", auth)).into_iter().collect();
    let answer = context.client.post_with("/services/create", &[], &headers, Payload::Json(service)).await?;
    warnings.extend(answer.texts("Warnings").into_iter().map(str::to_owned));
    for warning in warnings {
        context.warn(warning)?;
    }
    let id = answer.text("ID");
    context.line(id)?;
    wait(context, arguments.wait, id).await
}

async fn build(context: &Context, arguments: &CreateArguments) -> Result<Value, Failure> {
    let container = "TaskTemplate.ContainerSpec";
    let mut service = Value::map([
        ("Name", Value::from(arguments.name.as_str())),
        ("Labels", pairs(&arguments.label)),
        ("TaskTemplate", Value::empty_map()),
        ("Mode", mode(arguments)?),
        ("EndpointSpec", Value::map([("Mode", Value::from("vip"))])),
    ]);
    service
        .set(container, Value::map([("Image", Value::from(arguments.image.as_str())), ("Init", Value::Bool(false))]));
    service.set("TaskTemplate.ContainerSpec.DNSConfig", Value::empty_map());
    service.set("TaskTemplate.Resources.Limits", Value::empty_map());
    service.set("TaskTemplate.Resources.Reservations", Value::empty_map());
    service.set("TaskTemplate.Placement", Value::empty_map());
    let environment = options::environment(&arguments.env_file, &arguments.env)?;
    for (member, list) in [
        ("Args", &arguments.command),
        ("Env", &environment),
        ("Groups", &arguments.group),
        ("DNSConfig.Nameservers", &arguments.dns),
        ("DNSConfig.Search", &arguments.dns_search),
        ("DNSConfig.Options", &arguments.dns_option),
    ] {
        put(
            &mut service,
            &format!("{container}.{member}"),
            list.iter().map(|text| Value::from(text.as_str())).collect(),
        );
    }
    put(&mut service, "TaskTemplate.ContainerSpec.Hosts", each(&arguments.extra_host, options::host)?);
    put(&mut service, "TaskTemplate.ContainerSpec.Mounts", each(&arguments.mount, options::mount)?);
    put(&mut service, "TaskTemplate.ContainerSpec.Ulimits", each(&arguments.ulimit, options::ulimit)?);
    for (member, list) in [("Labels", &arguments.container_label), ("Sysctls", &arguments.sysctl)] {
        if !list.is_empty() {
            service.set(&format!("{container}.{member}"), pairs(list));
        }
    }
    let constraints = arguments.constraint.iter().map(|text| Value::from(text.as_str())).collect();
    put(&mut service, "TaskTemplate.Placement.Constraints", constraints);
    put(&mut service, "TaskTemplate.Placement.Preferences", each(&arguments.placement_pref, options::preference)?);
    let generic = each(&arguments.generic_resource, options::generic_resource)?;
    put(&mut service, "TaskTemplate.Resources.Reservations.GenericResources", generic);
    put(&mut service, "EndpointSpec.Ports", each(&arguments.publish, options::ports)?.into_iter().flatten().collect());
    attach(context, &mut service, arguments).await?;
    spec::apply(&mut service, &arguments.flags)?;
    if arguments.mode == "replicated-job"
        && arguments.flags.max_concurrent.is_none()
        && let Some(replicas) = arguments.flags.replicas
    {
        service.set("Mode.ReplicatedJob.MaxConcurrent", replicas);
    }
    if arguments.mode.ends_with("-job") && (service.has("UpdateConfig") || service.has("RollbackConfig")) {
        return Err(Failure::new("update and rollback configuration is not supported for jobs"));
    }
    Ok(service)
}

/// What has to be looked up: networks, secrets, configs.
async fn attach(context: &Context, service: &mut Value, arguments: &CreateArguments) -> Result<(), Failure> {
    let mut networks = Vec::new();
    for network in &arguments.network {
        networks.push(options::network(context, network).await?);
    }
    networks.sort_by(|left, right| left.text("Target").cmp(right.text("Target")));
    put(service, "TaskTemplate.Networks", networks);
    let secrets = options::dependencies(context, "secret", &arguments.secret).await?;
    put(service, "TaskTemplate.ContainerSpec.Secrets", secrets);
    let configs = options::dependencies(context, "config", &arguments.config).await?;
    put(service, "TaskTemplate.ContainerSpec.Configs", configs);
    Ok(())
}

fn mode(arguments: &CreateArguments) -> Result<Value, Failure> {
    let member = match arguments.mode.as_str() {
        "replicated" => "Replicated",
        "global" => "Global",
        "replicated-job" => "ReplicatedJob",
        "global-job" => "GlobalJob",
        other => return Err(Failure::new(format!("Unknown mode: {other}, only replicated and global supported"))),
    };
    Ok(Value::map([(member, Value::empty_map())]))
}

fn each<T>(texts: &[String], parse: impl Fn(&str) -> Result<T, Failure>) -> Result<Vec<T>, Failure> {
    texts.iter().map(|text| parse(text)).collect()
}

/// What is empty is left out.
fn put(spec: &mut Value, path: &str, list: Vec<Value>) {
    if !list.is_empty() {
        spec.set(path, Value::List(list));
    }
}
