//! `service update`: what is given changes, the rest of the spec goes back as it came.

use clap::{Args, Parser};

use super::flags::ServiceFlags;
use super::{WaitArguments, fetch, options, post_update, registry, spec, wait};
use crate::context::Context;
use crate::failure::Failure;
use crate::value::Value;

#[derive(Debug, Args)]
pub struct UpdateArguments {
    #[command(flatten)]
    flags: ServiceFlags,
    #[command(flatten)]
    wait: WaitArguments,
    /// Service command args
    #[arg(long, allow_hyphen_values = true)]
    args: Option<String>,
    /// Add or update a config file on a service
    #[arg(long)]
    config_add: Vec<String>,
    /// Remove a configuration file
    #[arg(long)]
    config_rm: Vec<String>,
    /// Add or update a placement constraint
    #[arg(long)]
    constraint_add: Vec<String>,
    /// Remove a constraint
    #[arg(long)]
    constraint_rm: Vec<String>,
    /// Add or update a container label
    #[arg(long)]
    container_label_add: Vec<String>,
    /// Remove a container label by its key
    #[arg(long)]
    container_label_rm: Vec<String>,
    /// Add or update a custom DNS server
    #[arg(long)]
    dns_add: Vec<String>,
    /// Remove a custom DNS server
    #[arg(long)]
    dns_rm: Vec<String>,
    /// Add or update a DNS option
    #[arg(long)]
    dns_option_add: Vec<String>,
    /// Remove a DNS option
    #[arg(long)]
    dns_option_rm: Vec<String>,
    /// Add or update a custom DNS search domain
    #[arg(long)]
    dns_search_add: Vec<String>,
    /// Remove a DNS search domain
    #[arg(long)]
    dns_search_rm: Vec<String>,
    /// Add or update an environment variable
    #[arg(long)]
    env_add: Vec<String>,
    /// Remove an environment variable
    #[arg(long)]
    env_rm: Vec<String>,
    /// Force update even if no changes require it
    #[arg(long)]
    force: bool,
    /// Add a Generic resource
    #[arg(long, value_parser = options::checked(options::generic_resource))]
    generic_resource_add: Vec<String>,
    /// Remove a Generic resource
    #[arg(long)]
    generic_resource_rm: Vec<String>,
    /// Add an additional supplementary user group to the container
    #[arg(long)]
    group_add: Vec<String>,
    /// Remove a previously added supplementary user group from the container
    #[arg(long)]
    group_rm: Vec<String>,
    /// Add a custom host-to-IP mapping ("host:ip")
    #[arg(long, value_parser = options::checked(options::host))]
    host_add: Vec<String>,
    /// Remove a custom host-to-IP mapping ("host:ip")
    #[arg(long)]
    host_rm: Vec<String>,
    /// Service image tag
    #[arg(long)]
    image: Option<String>,
    /// Add or update a service label
    #[arg(long)]
    label_add: Vec<String>,
    /// Remove a label by its key
    #[arg(long)]
    label_rm: Vec<String>,
    /// Add or update a mount on a service
    #[arg(long, value_parser = options::checked(options::mount))]
    mount_add: Vec<String>,
    /// Remove a mount by its target path
    #[arg(long)]
    mount_rm: Vec<String>,
    /// Add a network
    #[arg(long)]
    network_add: Vec<String>,
    /// Remove a network
    #[arg(long)]
    network_rm: Vec<String>,
    /// Add a placement preference
    #[arg(long, value_parser = options::checked(options::preference))]
    placement_pref_add: Vec<String>,
    /// Remove a placement preference
    #[arg(long)]
    placement_pref_rm: Vec<String>,
    /// Add or update a published port
    #[arg(long, value_parser = options::checked(options::ports))]
    publish_add: Vec<String>,
    /// Remove a published port by its target port
    #[arg(long)]
    publish_rm: Vec<String>,
    /// Rollback to previous specification
    #[arg(long)]
    rollback: bool,
    /// Add or update a secret on a service
    #[arg(long)]
    secret_add: Vec<String>,
    /// Remove a secret
    #[arg(long)]
    secret_rm: Vec<String>,
    /// Add or update a Sysctl option
    #[arg(long)]
    sysctl_add: Vec<String>,
    /// Remove a Sysctl option
    #[arg(long)]
    sysctl_rm: Vec<String>,
    /// Add or update a ulimit option
    #[arg(long, value_parser = options::checked(options::ulimit))]
    ulimit_add: Vec<String>,
    /// Remove a ulimit option
    #[arg(long)]
    ulimit_rm: Vec<String>,
    /// The service
    service: String,
}

pub async fn update(context: &Context, arguments: UpdateArguments) -> Result<(), Failure> {
    if arguments.rollback && has_more(&arguments) {
        return Err(Failure::new("other flags may not be combined with --rollback"));
    }
    let service = fetch(context, &arguments.service).await?;
    let mut changed = service.at("Spec").clone();
    change(context, &mut changed, &arguments).await?;
    let image = changed.text("TaskTemplate.ContainerSpec.Image").to_owned();
    let auth = if arguments.flags.with_registry_auth { Some(registry::credentials(&image)?) } else { None };
    if arguments.image.is_some()
        && !arguments.flags.no_resolve_image
        && let Some(warning) = registry::pin(context, &mut changed, auth.as_deref()).await
    {
        context.warn(warning)?;
    }
    let rollback = if arguments.rollback { "previous" } else { "none" };
    let mut query = vec![("rollback", rollback.to_owned())];
    if auth.is_none() {
        query.push(("registryAuthFrom", "spec".to_owned()));
    }
    let headers: Vec<(&'static str, String)> = auth.map(|auth| ("x-registry-auth", auth)).into_iter().collect();
    post_update(context, &service, changed, &query, &headers).await?;
    context.line(&arguments.service)?;
    wait(context, arguments.wait, &arguments.service).await
}

/// An update of nothing but `--rollback`, to compare with.
#[derive(Debug, Parser)]
struct Alone {
    #[command(flatten)]
    update: UpdateArguments,
}

/// Whether more is asked for than to roll back.
fn has_more(arguments: &UpdateArguments) -> bool {
    let words = ["update", "--rollback", "--", arguments.service.as_str()];
    let Ok(Alone { mut update }) = Alone::try_parse_from(words) else { return false };
    update.wait = arguments.wait;
    format!("{update:?}") != format!("{arguments:?}")
}

async fn change(context: &Context, service: &mut Value, arguments: &UpdateArguments) -> Result<(), Failure> {
    spec::apply(service, &arguments.flags)?;
    if let Some(image) = &arguments.image {
        service.set("TaskTemplate.ContainerSpec.Image", image.as_str());
    }
    if let Some(words) = &arguments.args {
        service.set("TaskTemplate.ContainerSpec.Args", spec::words(words)?);
    }
    if arguments.force {
        let count = service.uint("TaskTemplate.ForceUpdate");
        service.set("TaskTemplate.ForceUpdate", count + 1);
    }
    maps(service, arguments);
    lists(service, arguments)?;
    ports(service, arguments)?;
    attachments(context, service, arguments).await
}

fn maps(service: &mut Value, arguments: &UpdateArguments) {
    for (parent, name, add, remove) in [
        ("", "Labels", &arguments.label_add, &arguments.label_rm),
        ("TaskTemplate.ContainerSpec.", "Labels", &arguments.container_label_add, &arguments.container_label_rm),
        ("TaskTemplate.ContainerSpec.", "Sysctls", &arguments.sysctl_add, &arguments.sysctl_rm),
    ] {
        let path = format!("{parent}{name}");
        for key in remove {
            service.remove(&path, key);
        }
        for entry in add {
            let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
            service.remove(&path, key);
            let place = service.place(&path);
            if !matches!(place, Value::Map(_)) {
                *place = Value::empty_map();
            }
            if let Value::Map(members) = place {
                members.push((key.to_owned(), Value::from(value)));
            }
        }
    }
}

/// Entries are told apart by a key: those with the same key are replaced or removed.
fn edit(service: &mut Value, path: &str, add: Vec<Value>, remove: &[String], key: impl Fn(&Value) -> String) {
    if add.is_empty() && remove.is_empty() {
        return;
    }
    let list = service.list_mut(path);
    list.retain(|entry| {
        let own = key(entry);
        !remove.contains(&own) && !add.iter().any(|new| key(new) == own)
    });
    list.extend(add);
}

fn texts(list: &[String]) -> Vec<Value> {
    list.iter().map(|text| Value::from(text.as_str())).collect()
}

fn lists(service: &mut Value, arguments: &UpdateArguments) -> Result<(), Failure> {
    let itself = |value: &Value| value.as_text().unwrap_or("").to_owned();
    let container = |member: &str| format!("TaskTemplate.ContainerSpec.{member}");
    let environment = options::environment(&[], &arguments.env_add)?;
    let variable = |value: &Value| itself(value).split('=').next().unwrap_or("").to_owned();
    edit(service, &container("Env"), texts(&environment), &arguments.env_rm, variable);
    edit(service, &container("Groups"), texts(&arguments.group_add), &arguments.group_rm, itself);
    edit(service, &container("DNSConfig.Nameservers"), texts(&arguments.dns_add), &arguments.dns_rm, itself);
    edit(service, &container("DNSConfig.Options"), texts(&arguments.dns_option_add), &arguments.dns_option_rm, itself);
    edit(service, &container("DNSConfig.Search"), texts(&arguments.dns_search_add), &arguments.dns_search_rm, itself);
    let hosts = |list: &[String]| list.iter().map(|text| options::host(text)).collect::<Result<Vec<_>, _>>();
    let gone: Vec<String> = hosts(&arguments.host_rm)?.iter().map(itself).collect();
    edit(service, &container("Hosts"), hosts(&arguments.host_add)?, &gone, itself);
    let mounts = arguments.mount_add.iter().map(|text| options::mount(text)).collect::<Result<_, _>>()?;
    edit(service, &container("Mounts"), mounts, &arguments.mount_rm, |mount| mount.text("Target").to_owned());
    let ulimits = arguments.ulimit_add.iter().map(|text| options::ulimit(text)).collect::<Result<_, _>>()?;
    edit(service, &container("Ulimits"), ulimits, &arguments.ulimit_rm, |ulimit| ulimit.text("Name").to_owned());
    let placement = |member: &str| format!("TaskTemplate.Placement.{member}");
    edit(service, &placement("Constraints"), texts(&arguments.constraint_add), &arguments.constraint_rm, itself);
    if !arguments.constraint_add.is_empty() || !arguments.constraint_rm.is_empty() {
        service.list_mut(&placement("Constraints")).sort_by_key(itself);
    }
    let preferences =
        |list: &[String]| list.iter().map(|text| options::preference(text)).collect::<Result<Vec<_>, _>>();
    let spread = |preference: &Value| preference.text("Spread.SpreadDescriptor").to_owned();
    let gone: Vec<String> = preferences(&arguments.placement_pref_rm)?.iter().map(spread).collect();
    edit(service, &placement("Preferences"), preferences(&arguments.placement_pref_add)?, &gone, spread);
    let generic =
        arguments.generic_resource_add.iter().map(|text| options::generic_resource(text)).collect::<Result<_, _>>()?;
    let kind = |resource: &Value| resource.text("DiscreteResourceSpec.Kind").to_owned();
    let path = "TaskTemplate.Resources.Reservations.GenericResources";
    edit(service, path, generic, &arguments.generic_resource_rm, kind);
    Ok(())
}

/// Removed by target port (and protocol); added ones replace those of the same target.
fn ports(service: &mut Value, arguments: &UpdateArguments) -> Result<(), Failure> {
    let parse = |list: &[String]| -> Result<Vec<Value>, Failure> {
        Ok(list.iter().map(|text| options::ports(text)).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    };
    let key = |port: &Value| format!("{}/{}", port.uint("TargetPort"), port.text("Protocol"));
    let gone: Vec<String> = parse(&arguments.publish_rm)?.iter().map(key).collect();
    let whole = |port: &Value| format!("{}/{}", key(port), port.uint("PublishedPort"));
    if !gone.is_empty() {
        service.list_mut("EndpointSpec.Ports").retain(|port| !gone.contains(&key(port)));
    }
    edit(service, "EndpointSpec.Ports", parse(&arguments.publish_add)?, &[], whole);
    Ok(())
}

async fn attachments(context: &Context, service: &mut Value, arguments: &UpdateArguments) -> Result<(), Failure> {
    let mut added = Vec::new();
    for network in &arguments.network_add {
        added.push(options::network(context, network).await?);
    }
    let mut removed = Vec::new();
    for network in &arguments.network_rm {
        removed.push(options::network_id(context, network).await?);
    }
    edit(service, "TaskTemplate.Networks", added, &removed, |network| network.text("Target").to_owned());
    for (kind, member, name, add, remove) in [
        ("secret", "Secrets", "SecretName", &arguments.secret_add, &arguments.secret_rm),
        ("config", "Configs", "ConfigName", &arguments.config_add, &arguments.config_rm),
    ] {
        let added = options::dependencies(context, kind, add).await?;
        let path = format!("TaskTemplate.ContainerSpec.{member}");
        edit(service, &path, added, remove, |reference| reference.text(name).to_owned());
    }
    Ok(())
}
