//! `/_ping`, `/version`, `/info`, `/system/df`.

use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, PRAGMA};
use serde_json::{Value, json};
use skep_model::engine::ContainerState;
use skep_model::pb::messages as m;

use super::images::total_size;
use super::now;
use super::swarm::the_cluster;
use crate::api::Api;
use crate::convert::{self, resources::generic_out};
use crate::json::{self, Fraction, rfc3339};
use crate::reply::{self, Answer, Reply};
use crate::request::Request;
use crate::swarm::{HostFacts, LocalState, Standing, SwarmInfo};
use crate::version::{ApiVersion, NEWEST, OLDEST};

/// Docker's text for a swarm that two managers cannot save.
const TWO_MANAGERS: &str = "WARNING: Running Swarm in a two-manager configuration. This configuration provides
         no fault tolerance, and poses a high risk to lose control over the cluster.
         Refer to https://docs.docker.com/engine/swarm/admin_guide/ to configure the
         Swarm for fault-tolerance.";

/// The builder's cache has a list of its own since then.
const WITHOUT_BUILDER_SIZE: ApiVersion = ApiVersion(42);
/// The answer may be out of date.
const STALE: &str = "WARNING: The swarm has no leader. What is shown comes from this manager's own copy and may be \
                     out of date.";

pub(crate) fn ping(api: &Api) -> Answer {
    let mut reply: Reply = reply::empty(StatusCode::OK);
    *reply.body_mut() = reply::full("OK");
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    let swarm = match api.swarm.standing() {
        Standing::Inactive => "inactive",
        Standing::Pending => "pending",
        Standing::Worker => "active/worker",
        Standing::Manager => "active/manager",
        Standing::Locked => "locked",
        Standing::CertificateExpired | Standing::Error => "error",
    };
    headers.insert(HeaderName::from_static("builder-version"), HeaderValue::from_static("1"));
    headers.insert(HeaderName::from_static("swarm"), HeaderValue::from_static(swarm));
    Ok(reply)
}

/// Go's name of an architecture.
fn go_architecture(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "i386" | "i586" | "i686" => "386",
        other => other,
    }
}

pub(crate) async fn version(api: &Api) -> Answer {
    let host = api.swarm.host().await;
    let (newest, oldest) = (NEWEST.to_string(), OLDEST.to_string());
    let architecture = go_architecture(&host.architecture);
    reply::ok(&json!({
        "Platform": { "Name": "Skep" },
        "Components": [{
            "Name": "Engine",
            "Version": host.version,
            "Details": {
                "ApiVersion": newest, "MinAPIVersion": oldest, "Arch": architecture, "BuildTime": host.built_at,
                "Experimental": "false", "GitCommit": host.git_commit, "GoVersion": host.compiler,
                "KernelVersion": host.kernel_version, "Os": "linux",
            },
        }],
        "Version": host.version,
        "ApiVersion": newest,
        "MinAPIVersion": oldest,
        "GitCommit": host.git_commit,
        "GoVersion": host.compiler,
        "Os": "linux",
        "Arch": architecture,
        "KernelVersion": host.kernel_version,
        "BuildTime": host.built_at,
    }))
}

/// What the managers say, for `/info`.
#[derive(Default)]
struct ClusterFacts {
    cluster: Option<skep_model::Kept<skep_model::pb::objects::Cluster>>,
    nodes: usize,
    managers: usize,
    error: Option<String>,
    warnings: Vec<String>,
}

async fn cluster_facts(api: &Api) -> ClusterFacts {
    let mut facts = ClusterFacts::default();
    let mut stale = false;
    match the_cluster(api).await {
        Ok((cluster, is_stale)) => {
            facts.cluster = Some(cluster);
            stale |= is_stale;
        }
        Err(failure) => facts.error = Some(failure.message),
    }
    match api.read(m::ListNodesRequest::default()).await {
        Ok((response, is_stale)) => {
            facts.nodes = response.nodes.len();
            facts.managers = response.nodes.iter().filter(|node| node.value.manager_status.is_some()).count();
            stale |= is_stale;
        }
        Err(refusal) => facts.error = Some(refusal.message),
    }
    match facts.managers {
        2 => facts.warnings.push(TWO_MANAGERS.to_owned()),
        managers if managers > 0 && managers % 2 == 0 => facts.warnings.push(format!(
            "WARNING: The swarm has {managers} managers. An even number tolerates no more failures than one manager \
             fewer: promote or demote one."
        )),
        _ => {}
    }
    if stale {
        facts.warnings.push(STALE.to_owned());
    }
    facts
}

fn swarm_block<'a>(info: &'a SwarmInfo, facts: &'a ClusterFacts) -> json::SwarmInfo<'a> {
    let peers = |(node_id, addr): &'a (String, String)| json::Peer {
        node_id: convert::text(node_id),
        addr: convert::text(addr),
    };
    json::SwarmInfo {
        node_id: convert::text(&info.node_id),
        node_addr: convert::text(&info.node_addr),
        state: convert::text(info.state.as_str()),
        control_available: info.control_available,
        error: convert::text(facts.error.as_deref().unwrap_or(&info.error)),
        managers_known: (!info.managers.is_empty()).then(|| info.managers.iter().map(peers).collect()),
        nodes: facts.nodes,
        managers: facts.managers,
        cluster: facts.cluster.as_ref().map(|cluster| convert::cluster::out(&cluster.value, false)),
        warnings: info.warnings.iter().chain(&facts.warnings).cloned().collect(),
    }
}

pub(crate) async fn info(api: &Api) -> Answer {
    let (host, membership) = (api.swarm.host().await, api.swarm.info().await);
    let facts = if membership.control_available && membership.state == LocalState::Active {
        cluster_facts(api).await
    } else {
        ClusterFacts::default()
    };
    let swarm = swarm_block(&membership, &facts);
    let containers = api.engine.containers().await?;
    let images = api.engine.images().await?.len();
    let running = containers.iter().filter(|container| container.state == ContainerState::Running).count();
    let warnings: Vec<&String> = host.warnings.iter().chain(&swarm.warnings).collect();
    let generic = generic_out(&host.generic_resources);
    let mut value = host_block(&host);
    let Value::Object(fields) = &mut value else { return reply::ok(&value) };
    let counts = json!({
        "Containers": containers.len(), "ContainersRunning": running, "ContainersPaused": 0,
        "ContainersStopped": containers.len() - running, "Images": images,
        "GenericResources": if generic.is_empty() { Value::Null } else { json!(generic) },
        "Warnings": if warnings.is_empty() { Value::Null } else { json!(warnings) },
        "Swarm": swarm,
    });
    if let Value::Object(counts) = counts {
        fields.extend(counts);
    }
    reply::ok(&value)
}

/// Facts about the host and the daemon in Docker's words.
fn host_block(host: &HostFacts) -> Value {
    let mut value = daemon_block(host);
    if let (Value::Object(fields), Value::Object(more)) = (&mut value, kernel_block(host)) {
        fields.extend(more);
    }
    value
}

fn daemon_block(host: &HostFacts) -> Value {
    let commit = json!({ "ID": host.version, "Expected": host.version });
    json!({
        "ID": host.id,
        "Driver": host.storage_driver,
        "DriverStatus": [],
        "Plugins": { "Volume": ["local"], "Network": ["bridge", "host", "null", "overlay"], "Authorization": null,
            "Log": ["json-file", "local"] },
        "Debug": host.debug, "NFd": host.open_files, "NGoroutines": 0, "NEventsListener": 0,
        "SystemTime": rfc3339(now(), Fraction::Trimmed),
        "LoggingDriver": "json-file",
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {
            "AllowNondistributableArtifactsCIDRs": null, "AllowNondistributableArtifactsHostnames": null,
            "InsecureRegistryCIDRs": ["127.0.0.0/8"], "IndexConfigs": {}, "Mirrors": null,
        },
        "DockerRootDir": host.root_dir,
        "HttpProxy": host.http_proxy, "HttpsProxy": host.https_proxy, "NoProxy": host.no_proxy,
        "Labels": host.labels, "ExperimentalBuild": false, "ServerVersion": host.version,
        "Runtimes": { host.default_runtime.as_str(): { "path": "skep" } },
        "DefaultRuntime": host.default_runtime,
        "LiveRestoreEnabled": true,
        "Isolation": "", "InitBinary": "skep",
        "ContainerdCommit": commit, "RuncCommit": commit, "InitCommit": commit,
        "SecurityOptions": host.security_options,
        "CDISpecDirs": [],
    })
}

fn kernel_block(host: &HostFacts) -> Value {
    json!({
        "MemoryLimit": host.memory_limit, "SwapLimit": host.swap_limit, "CpuCfsPeriod": host.cpu_quota,
        "CpuCfsQuota": host.cpu_quota, "CPUShares": host.cpu_quota, "CPUSet": host.cpu_quota,
        "PidsLimit": host.pids_limit, "IPv4Forwarding": host.ipv4_forwarding,
        "BridgeNfIptables": true, "BridgeNfIp6tables": true, "KernelMemory": false, "KernelMemoryTCP": false,
        "OomKillDisable": false,
        "CgroupDriver": host.cgroup_driver, "CgroupVersion": host.cgroup_version,
        "KernelVersion": host.kernel_version, "OperatingSystem": host.operating_system, "OSVersion": host.os_version,
        "OSType": "linux", "Architecture": host.architecture,
        "NCPU": host.cpus, "MemTotal": host.memory_bytes,
        "Name": host.hostname,
    })
}

pub(crate) async fn disk_usage(api: &Api, request: Request) -> Answer {
    let wanted = |kind: &str| {
        let mut kinds = request.query.all("type").peekable();
        kinds.peek().is_none() || kinds.any(|one| one == kind)
    };
    let containers = if wanted("container") { api.engine.containers().await? } else { Vec::new() };
    let images = if wanted("image") { api.engine.images().await? } else { Vec::new() };
    let at = now();
    let used = |id: &str| containers.iter().filter(|container| container.image_id == id).count();
    let image = |image: &skep_model::engine::Image| {
        convert::engine::image_summary(image, i64::try_from(used(&image.id)).unwrap_or(-1))
    };
    let containers_shown: Vec<Value> =
        containers.iter().map(|container| convert::engine::container_summary(container, at)).collect();
    let mut usage = json!({
        "LayersSize": total_size(&images),
        "Images": images.iter().map(image).collect::<Vec<_>>(),
        "Containers": containers_shown,
        "Volumes": [],
        "BuildCache": [],
    });
    if request.version < WITHOUT_BUILDER_SIZE {
        usage["BuilderSize"] = json!(0);
    }
    reply::ok(&usage)
}
