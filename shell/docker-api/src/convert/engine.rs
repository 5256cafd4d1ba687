//! This node's containers and images as Docker shows them. Whole trees of JSON: these answers are small and rare.

use serde_json::{Map, Value, json};
use skep_model::WallTime;
use skep_model::engine::{
    Container, ContainerState, ContainerStats, ExecState, Health, HealthCheck, Image, ImageConfig, ProbeResult,
    PublishedPort,
};

use crate::engine::ImageChange;
use crate::json::{Fraction, Stamp, rfc3339};

const ZERO_TIME: &str = "0001-01-01T00:00:00Z";
/// What the runtime gives `/dev/shm`.
const SHARED_MEMORY_BYTES: u64 = 64 * 1024 * 1024;

fn stamp(time: Option<WallTime>) -> String {
    time.map_or_else(|| ZERO_TIME.to_owned(), |time| rfc3339(time, Fraction::Trimmed))
}

/// Docker's word for where a container stands.
pub(crate) fn state(state: ContainerState) -> &'static str {
    match state {
        ContainerState::Created => "created",
        ContainerState::Running => "running",
        ContainerState::Exited => "exited",
        ContainerState::Dead => "dead",
    }
}

fn health(value: Health) -> &'static str {
    match value {
        Health::Starting => "starting",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    }
}

/// `Up 5 minutes (healthy)`, `Exited (1) 2 hours ago`.
fn status(container: &Container, now: WallTime) -> String {
    let since = |time: Option<WallTime>| human(now.0.saturating_sub(time.unwrap_or(now).0) / 1_000_000_000);
    match container.state {
        ContainerState::Created => "Created".to_owned(),
        ContainerState::Dead => "Dead".to_owned(),
        ContainerState::Exited => format!("Exited ({}) {} ago", container.exit_code, since(container.finished_at)),
        ContainerState::Running => match container.health {
            None => format!("Up {}", since(container.started_at)),
            Some(Health::Starting) => format!("Up {} (health: starting)", since(container.started_at)),
            Some(value) => format!("Up {} ({})", since(container.started_at), health(value)),
        },
    }
}

/// A span of time in the words of Docker's clients.
fn human(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        _ if minutes < 46 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// The command as `docker ps` shows it, and the path and arguments of an inspection.
fn command(container: &Container) -> Vec<String> {
    container.entrypoint.iter().chain(&container.command).cloned().collect()
}

/// Labels of a container, those that Docker adds for tasks included.
pub(crate) fn labels(container: &Container) -> Map<String, Value> {
    let mut labels: Map<String, Value> =
        container.labels.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect();
    if let Some(origin) = &container.origin {
        let service_id = origin.service_id.as_ref().map(ToString::to_string).unwrap_or_default();
        for (key, value) in [
            ("node.id", origin.node_id.to_string()),
            ("service.id", service_id),
            ("service.name", origin.service_name.clone()),
            ("task", String::new()),
            ("task.id", origin.task_id.to_string()),
            ("task.name", origin.task_name.clone()),
        ] {
            labels.insert(format!("com.docker.swarm.{key}"), Value::from(value));
        }
    }
    labels
}

fn networks(container: &Container) -> Value {
    let Some(address) = container.ip_address.as_deref().filter(|_| !container.network_name.is_empty()) else {
        return json!({});
    };
    let bare = address.split('/').next().unwrap_or_default();
    let length: u32 = address.split('/').nth(1).and_then(|length| length.parse().ok()).unwrap_or(0);
    json!({ container.network_name.as_str(): {
        "IPAMConfig": null, "Links": null, "Aliases": null, "DriverOpts": null, "NetworkID": "", "EndpointID": "",
        "Gateway": "", "IPAddress": bare, "IPPrefixLen": length, "MacAddress": "", "IPv6Gateway": "",
        "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "DNSNames": null,
    }})
}

fn mounts(container: &Container) -> Vec<Value> {
    let mount = |mount: &skep_model::engine::MountPoint| {
        json!({
            "Type": mount.kind, "Name": mount.name, "Source": mount.source, "Destination": mount.destination,
            "Driver": if mount.kind == "volume" { "local" } else { "" }, "Mode": "", "RW": !mount.read_only,
            "Propagation": mount.propagation,
        })
    };
    container.mounts.iter().map(mount).collect()
}

/// An entry of `/containers/json`.
pub(crate) fn container_summary(container: &Container, now: WallTime) -> Value {
    let port = |port: &PublishedPort| {
        json!({ "IP": "0.0.0.0", "PrivatePort": port.container_port, "PublicPort": port.host_port,
            "Type": port.protocol })
    };
    json!({
        "Id": container.id,
        "Names": [format!("/{}", container.name)],
        "Image": container.image,
        "ImageID": container.image_id,
        "Command": command(container).join(" "),
        "Created": container.created_at.0.div_euclid(1_000_000_000),
        "Ports": container.ports.iter().map(port).collect::<Vec<_>>(),
        "Labels": labels(container),
        "State": state(container.state),
        "Status": status(container, now),
        "HostConfig": { "NetworkMode": network_mode(container) },
        "NetworkSettings": { "Networks": networks(container) },
        "Mounts": mounts(container),
    })
}

fn network_mode(container: &Container) -> &str {
    if container.network_name.is_empty() { "default" } else { &container.network_name }
}

/// `/containers/{id}/json`.
pub(crate) fn container_inspect(container: &Container) -> Value {
    let command = command(container);
    let running = container.state == ContainerState::Running;
    let mut state_value = json!({
        "Status": state(container.state), "Running": running, "Paused": false, "Restarting": false,
        "OOMKilled": container.oom_killed, "Dead": container.state == ContainerState::Dead, "Pid": container.pid,
        "ExitCode": container.exit_code, "Error": container.error, "StartedAt": stamp(container.started_at),
        "FinishedAt": stamp(container.finished_at),
    });
    if let Some(value) = container.health {
        let log: Vec<Value> = container.probes.iter().map(probe).collect();
        let streak = container.failing_streak;
        state_value["Health"] = json!({ "Status": health(value), "FailingStreak": streak, "Log": log });
    }
    let mut ports = Map::new();
    for port in &container.ports {
        let key = format!("{}/{}", port.container_port, port.protocol);
        let binding = json!({ "HostIp": "0.0.0.0", "HostPort": port.host_port.to_string() });
        match ports.entry(key).or_insert_with(|| json!([])) {
            Value::Array(bindings) => bindings.push(binding),
            other => *other = json!([binding]),
        }
    }
    json!({
        "Id": container.id,
        "Created": rfc3339(container.created_at, Fraction::Trimmed),
        "Path": command.first().cloned().unwrap_or_default(),
        "Args": command.iter().skip(1).collect::<Vec<_>>(),
        "State": state_value,
        "Image": container.image_id,
        "ResolvConfPath": "", "HostnamePath": "", "HostsPath": "",
        "LogPath": container.log_path,
        "Name": format!("/{}", container.name),
        "RestartCount": 0,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "", "ProcessLabel": "", "AppArmorProfile": container.settings.apparmor_profile,
        "ExecIDs": null,
        "HostConfig": host_config(container, &ports),
        "Mounts": mounts(container),
        "Config": config(container),
        "NetworkSettings": { "SandboxID": "", "SandboxKey": "", "Ports": ports, "Networks": networks(container) },
    })
}

fn host_config(container: &Container, ports: &Map<String, Value>) -> Value {
    let settings = &container.settings;
    let list = |list: &[String]| if list.is_empty() { Value::Null } else { json!(list) };
    let ulimits: Vec<Value> =
        settings.ulimits.iter().map(|(name, soft, hard)| json!({ "Name": name, "Soft": soft, "Hard": hard })).collect();
    json!({
        "NetworkMode": network_mode(container), "Memory": container.memory_limit_bytes,
        "MemoryReservation": settings.memory_reservation_bytes, "MemorySwap": settings.memory_swap_bytes,
        "MemorySwappiness": settings.memory_swappiness, "NanoCpus": container.nano_cpus,
        "PidsLimit": container.pids_limit, "OomScoreAdj": settings.oom_score_adj,
        "LogConfig": { "Type": settings.log_driver, "Config": settings.log_options },
        "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 }, "PortBindings": ports,
        "AutoRemove": false, "Privileged": false, "PublishAllPorts": false, "ReadonlyRootfs": settings.read_only,
        "Init": settings.init, "CapAdd": list(&settings.capability_add), "CapDrop": list(&settings.capability_drop),
        "GroupAdd": list(&settings.groups), "SecurityOpt": list(&settings.security_options),
        "Sysctls": settings.sysctls, "Ulimits": ulimits, "Dns": settings.nameservers,
        "DnsSearch": settings.dns_search, "DnsOptions": settings.dns_options,
        "ExtraHosts": list(&settings.extra_hosts), "Binds": null, "VolumeDriver": "", "IpcMode": "private",
        "PidMode": "", "UTSMode": "", "UsernsMode": "", "CgroupnsMode": "private", "ShmSize": SHARED_MEMORY_BYTES,
        "Runtime": "embedded", "Isolation": "",
    })
}

fn config(container: &Container) -> Value {
    let settings = &container.settings;
    let mut config = json!({
        "Hostname": container.hostname, "Domainname": "", "User": container.user,
        "AttachStdin": false, "AttachStdout": false, "AttachStderr": false, "Tty": container.tty,
        "OpenStdin": container.open_stdin, "StdinOnce": false, "Env": container.env,
        "Cmd": container.command, "Image": container.image, "Volumes": null,
        "WorkingDir": container.working_dir,
        "Entrypoint": if container.entrypoint.is_empty() { Value::Null } else { json!(container.entrypoint) },
        "OnBuild": null, "Labels": labels(container), "StopTimeout": settings.stop_grace.as_secs(),
    });
    if !settings.stop_signal.is_empty() {
        config["StopSignal"] = json!(settings.stop_signal);
    }
    if let Some(check) = &settings.healthcheck {
        config["Healthcheck"] = healthcheck(check);
    }
    config
}

fn probe(result: &ProbeResult) -> Value {
    json!({
        "Start": rfc3339(result.started_at, Fraction::Trimmed), "End": rfc3339(result.ended_at, Fraction::Trimmed),
        "ExitCode": result.exit_code, "Output": result.output,
    })
}

/// `/exec/{id}/json`.
pub(crate) fn exec(state: &ExecState) -> Value {
    json!({
        "ID": state.id,
        "Running": state.running,
        "ExitCode": state.exit_code,
        "ProcessConfig": {
            "tty": state.spec.tty,
            "entrypoint": state.spec.command.first().cloned().unwrap_or_default(),
            "arguments": state.spec.command.iter().skip(1).collect::<Vec<_>>(),
            "privileged": state.spec.privileged,
            "user": state.spec.user,
        },
        "OpenStdin": state.spec.attach_stdin,
        "OpenStderr": state.spec.attach_stderr,
        "OpenStdout": state.spec.attach_stdout,
        "CanRemove": !state.running,
        "ContainerID": state.spec.container_id,
        "DetachKeys": "",
        "Pid": state.pid,
    })
}

/// An entry of `/images/json`.
pub(crate) fn image_summary(image: &Image, containers: i64) -> Value {
    json!({
        "Id": image.id,
        "ParentId": "",
        "RepoTags": image.repo_tags,
        "RepoDigests": image.repo_digests,
        "Created": image.created_at.0.div_euclid(1_000_000_000),
        "Size": image.size_bytes,
        "VirtualSize": image.size_bytes,
        "SharedSize": -1,
        "Labels": if image.config.labels.is_empty() { Value::Null } else { json!(image.config.labels) },
        "Containers": containers,
    })
}

fn keys(names: &[String]) -> Value {
    let keys: Map<String, Value> = names.iter().map(|name| (name.clone(), json!({}))).collect();
    if keys.is_empty() { Value::Null } else { Value::Object(keys) }
}

fn healthcheck(check: &HealthCheck) -> Value {
    let nanos = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    json!({
        "Test": check.test, "Interval": nanos(check.interval), "Timeout": nanos(check.timeout),
        "StartPeriod": nanos(check.start_period), "StartInterval": nanos(check.start_interval),
        "Retries": check.retries,
    })
}

fn image_config(config: &ImageConfig) -> Value {
    let list = |list: &[String]| if list.is_empty() { Value::Null } else { json!(list) };
    let mut out = json!({
        "Hostname": "", "Domainname": "", "User": config.user, "AttachStdin": false, "AttachStdout": false,
        "AttachStderr": false, "Tty": false, "OpenStdin": false, "StdinOnce": false, "Env": list(&config.env),
        "Cmd": list(&config.command), "Image": "", "Volumes": keys(&config.volumes),
        "WorkingDir": config.working_dir, "Entrypoint": list(&config.entrypoint), "OnBuild": null,
        "Labels": if config.labels.is_empty() { Value::Null } else { json!(config.labels) },
    });
    if !config.exposed_ports.is_empty() {
        out["ExposedPorts"] = keys(&config.exposed_ports);
    }
    if let Some(signal) = &config.stop_signal {
        out["StopSignal"] = json!(signal);
    }
    if let Some(check) = &config.healthcheck {
        out["Healthcheck"] = healthcheck(check);
    }
    out
}

/// `/images/{name}/json`.
pub(crate) fn image_inspect(image: &Image) -> Value {
    json!({
        "Id": image.id,
        "RepoTags": image.repo_tags,
        "RepoDigests": image.repo_digests,
        "Parent": "", "Comment": "",
        "Created": Stamp(Some(image.created_at)),
        "Container": "", "DockerVersion": "",
        "Author": image.author,
        "Config": image_config(&image.config),
        "Architecture": image.architecture,
        "Os": image.os,
        "Size": image.size_bytes,
        "VirtualSize": image.size_bytes,
        "GraphDriver": { "Name": "overlay2", "Data": null },
        "RootFS": { "Type": "layers", "Layers": image.diff_ids },
        "Metadata": { "LastTagTime": ZERO_TIME },
    })
}

/// What became of images.
pub(crate) fn image_changes(changes: &[ImageChange]) -> Vec<Value> {
    changes
        .iter()
        .map(|change| match change {
            ImageChange::Untagged(name) => json!({ "Untagged": name }),
            ImageChange::Deleted(id) => json!({ "Deleted": id }),
        })
        .collect()
}

/// A reading of `/containers/{id}/stats`, with the one before it for the client's percentages.
pub(crate) fn stats(container: &Container, now: &ContainerStats, before: Option<&ContainerStats>) -> Value {
    let cpu = |reading: &ContainerStats| {
        json!({
            "cpu_usage": { "total_usage": reading.cpu_total_nanos, "usage_in_usermode": reading.cpu_user_nanos,
                "usage_in_kernelmode": reading.cpu_system_nanos },
            "system_cpu_usage": reading.host_cpu_nanos, "online_cpus": reading.online_cpus,
            "throttling_data": { "periods": 0, "throttled_periods": 0, "throttled_time": 0 },
        })
    };
    let networks: Map<String, Value> = now
        .networks
        .iter()
        .map(|(name, [received, received_packets, sent, sent_packets])| {
            let value = json!({
                "rx_bytes": received, "rx_packets": received_packets, "rx_errors": 0, "rx_dropped": 0,
                "tx_bytes": sent, "tx_packets": sent_packets, "tx_errors": 0, "tx_dropped": 0,
            });
            (name.clone(), value)
        })
        .collect();
    json!({
        "name": format!("/{}", container.name),
        "id": container.id,
        "read": Stamp(Some(now.read_at)),
        "preread": Stamp(before.map(|before| before.read_at)),
        "num_procs": 0,
        "cpu_stats": cpu(now),
        "precpu_stats": before.map_or_else(|| cpu(&ContainerStats::default()), cpu),
        "memory_stats": { "usage": now.memory_usage_bytes, "limit": now.memory_limit_bytes,
            "stats": { "inactive_file": now.memory_cache_bytes, "total_inactive_file": now.memory_cache_bytes } },
        "pids_stats": { "current": now.pids, "limit": now.pids_limit },
        "networks": networks,
        "blkio_stats": { "io_service_bytes_recursive": [
            { "major": 0, "minor": 0, "op": "read", "value": now.block_read_bytes },
            { "major": 0, "minor": 0, "op": "write", "value": now.block_write_bytes },
        ] },
        "storage_stats": {},
    })
}
