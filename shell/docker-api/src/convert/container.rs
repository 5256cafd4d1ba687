//! What a task's container is to be.

use skep_model::Refusal;
use skep_model::pb::types::{self, config_reference, container_spec, secret_reference};

use super::{duration, map, mount, nanos, privileges, text, texts, words};
use crate::json;

/// Outwards. Pull options carry credentials and are never shown.
pub(crate) fn out(spec: &types::ContainerSpec) -> json::ContainerSpec<'_> {
    json::ContainerSpec {
        image: text(&spec.image),
        labels: map(&spec.labels),
        command: texts(&spec.command),
        args: texts(&spec.args),
        hostname: text(&spec.hostname),
        env: texts(&spec.env),
        dir: text(&spec.dir),
        user: text(&spec.user),
        groups: texts(&spec.groups),
        privileges: spec.privileges.as_ref().map(privileges::out),
        init: spec.init,
        stop_signal: text(&spec.stop_signal),
        tty: spec.tty,
        open_stdin: spec.open_stdin,
        read_only: spec.read_only,
        mounts: spec.mounts.iter().map(mount::out).collect(),
        stop_grace_period: spec.stop_grace_period.as_ref().map(nanos),
        healthcheck: spec.healthcheck.as_ref().map(health_out),
        hosts: texts(&spec.hosts),
        dns_config: spec.dns_config.as_ref().map(|dns| json::DnsConfig {
            nameservers: texts(&dns.nameservers),
            search: texts(&dns.search),
            options: texts(&dns.options),
        }),
        secrets: spec.secrets.iter().filter_map(secret_out).collect(),
        configs: spec.configs.iter().filter_map(config_out).collect(),
        isolation: text(words::word(spec.isolation())),
        sysctls: map(&spec.sysctls),
        capability_add: texts(&spec.capability_add),
        capability_drop: texts(&spec.capability_drop),
        ulimits: spec
            .ulimits
            .iter()
            .map(|limit| json::Ulimit { name: text(&limit.name), hard: limit.hard, soft: limit.soft })
            .collect(),
        oom_score_adj: spec.oom_score_adj,
    }
}

/// Inwards; `pids_limit` comes from the task's resources.
pub(crate) fn into(spec: json::ContainerSpec<'_>, pids_limit: i64) -> Result<types::ContainerSpec, Refusal> {
    Ok(types::ContainerSpec {
        image: spec.image.into_owned(),
        labels: spec.labels.into_owned(),
        command: spec.command.into_owned(),
        args: spec.args.into_owned(),
        env: spec.env.into_owned(),
        dir: spec.dir.into_owned(),
        user: spec.user.into_owned(),
        mounts: spec.mounts.into_iter().map(mount::into).collect::<Result<_, _>>()?,
        stop_grace_period: spec.stop_grace_period.map(duration),
        pull_options: None,
        groups: spec.groups.into_owned(),
        secrets: spec.secrets.into_iter().map(secret_in).collect(),
        tty: spec.tty,
        hostname: spec.hostname.into_owned(),
        dns_config: spec.dns_config.map(dns_in).transpose()?,
        healthcheck: spec.healthcheck.map(health_in),
        hosts: spec.hosts.into_owned(),
        open_stdin: spec.open_stdin,
        read_only: spec.read_only,
        stop_signal: spec.stop_signal.into_owned(),
        configs: spec.configs.into_iter().map(config_in).collect::<Result<_, _>>()?,
        privileges: spec.privileges.map(privileges::into).transpose()?,
        init: spec.init,
        isolation: words::parse(&spec.isolation).unwrap_or(container_spec::Isolation::Default).into(),
        pids_limit,
        sysctls: spec.sysctls.into_owned(),
        capability_add: spec.capability_add.into_owned(),
        capability_drop: spec.capability_drop.into_owned(),
        ulimits: spec
            .ulimits
            .into_iter()
            .map(|limit| container_spec::Ulimit { name: limit.name.into_owned(), soft: limit.soft, hard: limit.hard })
            .collect(),
        oom_score_adj: spec.oom_score_adj,
    })
}

fn dns_in(dns: json::DnsConfig<'_>) -> Result<container_spec::DnsConfig, Refusal> {
    for server in dns.nameservers.iter() {
        server.parse::<std::net::IpAddr>().map_err(|_| {
            Refusal::invalid(format!("TaskTemplate.ContainerSpec.DNSConfig.Nameservers: {server:?} is not an address"))
        })?;
    }
    Ok(container_spec::DnsConfig {
        nameservers: dns.nameservers.into_owned(),
        search: dns.search.into_owned(),
        options: dns.options.into_owned(),
    })
}

/// Docker shows absent durations as zero.
pub(crate) fn health_out(health: &types::HealthConfig) -> json::HealthConfig<'_> {
    let nanos = |value: &Option<prost_types::Duration>| value.as_ref().map_or(0, nanos);
    json::HealthConfig {
        test: texts(&health.test),
        interval: nanos(&health.interval),
        timeout: nanos(&health.timeout),
        start_period: nanos(&health.start_period),
        start_interval: nanos(&health.start_interval),
        retries: health.retries,
    }
}

/// Docker stores every duration, zero ones as empty messages.
fn health_in(health: json::HealthConfig<'_>) -> types::HealthConfig {
    types::HealthConfig {
        test: health.test.into_owned(),
        interval: Some(duration(health.interval)),
        timeout: Some(duration(health.timeout)),
        retries: health.retries,
        start_period: Some(duration(health.start_period)),
        start_interval: Some(duration(health.start_interval)),
    }
}

fn target_out(target: &types::FileTarget) -> json::FileTarget<'_> {
    json::FileTarget { name: text(&target.name), uid: text(&target.uid), gid: text(&target.gid), mode: target.mode }
}

fn target_in(target: json::FileTarget<'_>) -> types::FileTarget {
    types::FileTarget {
        name: target.name.into_owned(),
        uid: target.uid.into_owned(),
        gid: target.gid.into_owned(),
        mode: target.mode,
    }
}

/// Only file targets can be shown.
fn secret_out(reference: &types::SecretReference) -> Option<json::SecretReference<'_>> {
    let secret_reference::Target::File(file) = reference.target.as_ref()?;
    Some(json::SecretReference {
        file: Some(target_out(file)),
        secret_id: text(&reference.secret_id),
        secret_name: text(&reference.secret_name),
    })
}

fn secret_in(reference: json::SecretReference<'_>) -> types::SecretReference {
    types::SecretReference {
        secret_id: reference.secret_id.into_owned(),
        secret_name: reference.secret_name.into_owned(),
        target: reference.file.map(|file| secret_reference::Target::File(target_in(file))),
    }
}

fn config_out(reference: &types::ConfigReference) -> Option<json::ConfigReference<'_>> {
    let (file, runtime) = match reference.target.as_ref()? {
        config_reference::Target::File(file) => (Some(target_out(file)), None),
        config_reference::Target::Runtime(_) => (None, Some(json::RuntimeTarget {})),
    };
    Some(json::ConfigReference {
        file,
        runtime,
        config_id: text(&reference.config_id),
        config_name: text(&reference.config_name),
    })
}

fn config_in(reference: json::ConfigReference<'_>) -> Result<types::ConfigReference, Refusal> {
    let target = match (reference.file, reference.runtime) {
        (None, None) => return Err(Refusal::invalid("invalid Config: either File or Runtime should be set")),
        (Some(_), Some(_)) => return Err(Refusal::invalid("invalid Config: cannot specify both File and Runtime")),
        (Some(file), None) => config_reference::Target::File(target_in(file)),
        (None, Some(_)) => config_reference::Target::Runtime(types::RuntimeTarget {}),
    };
    Ok(types::ConfigReference {
        config_id: reference.config_id.into_owned(),
        config_name: reference.config_name.into_owned(),
        target: Some(target),
    })
}
