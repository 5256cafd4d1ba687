//! `info`: the daemon and its place in a swarm.

use clap::Args;

use crate::context::Context;
use crate::failure::Failure;
use crate::human::{binary_size, duration};
use crate::template::Template;
use crate::value::Value;

#[derive(Debug, Args)]
pub struct InfoArguments {
    /// Format output using a custom template: 'json' or a Go template
    #[arg(short, long)]
    format: Option<String>,
}

const NANOS_PER_SECOND: i64 = 1_000_000_000;

pub async fn info(context: &Context, arguments: InfoArguments) -> Result<(), Failure> {
    let info = context.client.get("/info", &[]).await?;
    match arguments.format.as_deref() {
        None | Some("") => {}
        Some("json") => return context.line(info.to_json()),
        Some(source) => {
            let failed = |problem| Failure::with_code(format!("template parsing error: {problem}"), 64);
            let rendered = Template::parse(source).map_err(failed)?.render(&info);
            return context
                .line(rendered.map_err(|problem| Failure::new(format!("template parsing error: {problem}")))?);
        }
    }
    let mut page = Page::default();
    page.line(0, "Client:");
    page.always(1, "Version:   ", env!("CARGO_PKG_VERSION"));
    page.always(1, "Context:   ", "default");
    page.always(1, "Debug Mode:", "false");
    page.line(0, "");
    page.line(0, "Server:");
    head(&mut page, &info);
    swarm(&mut page, info.at("Swarm"));
    runtimes(&mut page, &info);
    host(&mut page, &info);
    page.line(0, "");
    context.write(page.0)?;
    info.texts("Warnings").into_iter().try_for_each(|warning| context.warn(warning))
}

/// Lines, each with its depth.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, depth: usize, text: impl AsRef<str>) {
        self.0.push_str(&" ".repeat(depth));
        self.0.push_str(text.as_ref());
        self.0.push('\n');
    }

    fn always(&mut self, depth: usize, title: &str, value: impl std::fmt::Display) {
        self.line(depth, format!("{title} {value}"));
    }

    fn given(&mut self, depth: usize, title: &str, value: &str) {
        if !value.is_empty() {
            self.always(depth, title, value);
        }
    }
}

fn head(page: &mut Page, info: &Value) {
    page.always(1, "Containers:", info.int("Containers"));
    page.always(2, "Running:", info.int("ContainersRunning"));
    page.always(2, "Paused:", info.int("ContainersPaused"));
    page.always(2, "Stopped:", info.int("ContainersStopped"));
    page.always(1, "Images:", info.int("Images"));
    page.given(1, "Server Version:", info.text("ServerVersion"));
    page.given(1, "Storage Driver:", info.text("Driver"));
    for pair in info.list("DriverStatus") {
        if let Value::List(pair) = pair {
            let word = |index: usize| pair.get(index).and_then(Value::as_text).unwrap_or("");
            page.line(2, format!("{}: {}", word(0), word(1)));
        }
    }
    page.given(1, "Logging Driver:", info.text("LoggingDriver"));
    page.given(1, "Cgroup Driver:", info.text("CgroupDriver"));
    page.given(1, "Cgroup Version:", info.text("CgroupVersion"));
    page.line(1, "Plugins:");
    page.always(2, "Volume:", info.texts("Plugins.Volume").join(" "));
    page.always(2, "Network:", info.texts("Plugins.Network").join(" "));
    page.given(2, "Authorization:", &info.texts("Plugins.Authorization").join(" "));
    page.always(2, "Log:", info.texts("Plugins.Log").join(" "));
    let directories = info.texts("CDISpecDirs");
    if !directories.is_empty() {
        page.line(1, "CDI spec directories:");
        directories.iter().for_each(|directory| page.line(2, directory));
    }
    page.always(1, "Swarm:", info.text("Swarm.LocalNodeState"));
}

fn swarm(page: &mut Page, swarm: &Value) {
    let state = swarm.text("LocalNodeState");
    if matches!(state, "inactive" | "locked" | "") {
        return;
    }
    page.always(2, "NodeID:", swarm.text("NodeID"));
    page.given(2, "Error:", swarm.text("Error"));
    page.always(2, "Is Manager:", swarm.bool("ControlAvailable"));
    let healthy = swarm.text("Error").is_empty() && state != "error";
    if swarm.has("Cluster") && swarm.bool("ControlAvailable") && healthy {
        cluster(page, swarm);
    }
    page.always(2, "Node Address:", swarm.text("NodeAddr"));
    let mut managers: Vec<&str> = swarm.list("RemoteManagers").iter().map(|manager| manager.text("Addr")).collect();
    managers.sort_unstable();
    if !managers.is_empty() {
        page.line(2, "Manager Addresses:");
        managers.iter().for_each(|address| page.line(3, address));
    }
}

fn cluster(page: &mut Page, swarm: &Value) {
    let cluster = swarm.at("Cluster");
    page.always(2, "ClusterID:", cluster.text("ID"));
    page.always(2, "Managers:", swarm.int("Managers"));
    page.always(2, "Nodes:", swarm.int("Nodes"));
    if cluster.has("DefaultAddrPool") {
        let pools: String = cluster.texts("DefaultAddrPool").iter().map(|pool| format!("{pool}  ")).collect();
        page.always(2, "Default Address Pool:", pools);
        page.always(2, "SubnetSize:", cluster.int("SubnetSize"));
    }
    if cluster.int("DataPathPort") > 0 {
        page.always(2, "Data Path Port:", cluster.int("DataPathPort"));
    }
    let spec = cluster.at("Spec");
    page.line(2, "Orchestration:");
    page.always(3, "Task History Retention Limit:", spec.int("Orchestration.TaskHistoryRetentionLimit"));
    page.line(2, "Raft:");
    page.always(3, "Snapshot Interval:", spec.int("Raft.SnapshotInterval"));
    if spec.has("Raft.KeepOldSnapshots") {
        page.always(3, "Number of Old Snapshots to Retain:", spec.int("Raft.KeepOldSnapshots"));
    }
    page.always(3, "Heartbeat Tick:", spec.int("Raft.HeartbeatTick"));
    page.always(3, "Election Tick:", spec.int("Raft.ElectionTick"));
    page.line(2, "Dispatcher:");
    page.always(3, "Heartbeat Period:", duration(spec.int("Dispatcher.HeartbeatPeriod") / NANOS_PER_SECOND));
    page.line(2, "CA Configuration:");
    page.always(3, "Expiry Duration:", duration(spec.int("CAConfig.NodeCertExpiry") / NANOS_PER_SECOND));
    page.always(3, "Force Rotate:", spec.int("CAConfig.ForceRotate"));
    let certificate = spec.text("CAConfig.SigningCACert").trim();
    if !certificate.is_empty() {
        page.line(3, format!("Signing CA Certificate: \n{certificate}\n"));
    }
    if !spec.list("CAConfig.ExternalCAs").is_empty() {
        page.line(3, "External CAs:");
        for ca in spec.list("CAConfig.ExternalCAs") {
            page.line(5, format!("{}: {}", ca.text("Protocol"), ca.text("URL")));
        }
    }
    page.always(2, "Autolock Managers:", spec.bool("EncryptionConfig.AutoLockManagers"));
    page.always(2, "Root Rotation In Progress:", cluster.bool("RootRotationInProgress"));
}

fn runtimes(page: &mut Page, info: &Value) {
    let names: Vec<&str> = info.entries("Runtimes").iter().map(|(name, _)| name.as_str()).collect();
    if !names.is_empty() {
        page.always(1, "Runtimes:", names.join(" "));
        page.always(1, "Default Runtime:", info.text("DefaultRuntime"));
    }
    if info.text("OSType") != "linux" {
        return;
    }
    page.always(1, "Init Binary:", info.text("InitBinary"));
    page.always(1, "containerd version:", info.text("ContainerdCommit.ID"));
    page.always(1, "runc version:", info.text("RuncCommit.ID"));
    page.always(1, "init version:", info.text("InitCommit.ID"));
    let options = info.texts("SecurityOptions");
    if options.is_empty() {
        return;
    }
    page.line(1, "Security Options:");
    for option in options {
        let fields = || option.split(',').map(|field| field.split_once('=').unwrap_or(("name", field)));
        fields().filter(|(key, _)| *key == "name").for_each(|(_, name)| page.line(2, name));
        fields().filter(|(key, _)| *key == "profile").for_each(|(_, profile)| page.always(3, "Profile:", profile));
    }
}

fn host(page: &mut Page, info: &Value) {
    page.given(1, "Kernel Version:", info.text("KernelVersion"));
    page.given(1, "Operating System:", info.text("OperatingSystem"));
    page.given(1, "OSType:", info.text("OSType"));
    page.given(1, "Architecture:", info.text("Architecture"));
    page.always(1, "CPUs:", info.int("NCPU"));
    page.always(1, "Total Memory:", binary_size(info.float("MemTotal")));
    page.given(1, "Name:", info.text("Name"));
    page.given(1, "ID:", info.text("ID"));
    page.always(1, "Docker Root Dir:", info.text("DockerRootDir"));
    page.always(1, "Debug Mode:", info.bool("Debug"));
    if info.bool("Debug") {
        page.always(2, "File Descriptors:", info.int("NFd"));
        page.always(2, "Goroutines:", info.int("NGoroutines"));
        page.always(2, "System Time:", info.text("SystemTime"));
        page.always(2, "EventsListeners:", info.int("NEventsListener"));
    }
    page.given(1, "HTTP Proxy:", info.text("HttpProxy"));
    page.given(1, "HTTPS Proxy:", info.text("HttpsProxy"));
    page.given(1, "No Proxy:", info.text("NoProxy"));
    let labels = info.texts("Labels");
    if !labels.is_empty() {
        page.line(1, "Labels:");
        labels.iter().for_each(|label| page.line(2, label));
    }
    page.always(1, "Experimental:", info.bool("ExperimentalBuild"));
    registries(page, info);
    page.always(1, "Live Restore Enabled:", info.bool("LiveRestoreEnabled"));
    page.given(1, "Product License:", info.text("ProductLicense"));
    let pools = info.list("DefaultAddressPools");
    if !pools.is_empty() {
        page.line(1, "Default Address Pools:");
        pools.iter().for_each(|pool| page.line(3, format!("Base: {}, Size: {}", pool.text("Base"), pool.int("Size"))));
    }
    if info.has("FirewallBackend") {
        page.always(1, "Firewall Backend:", info.text("FirewallBackend.Driver"));
    }
}

fn registries(page: &mut Page, info: &Value) {
    let indexes = info.entries("RegistryConfig.IndexConfigs");
    let networks = info.texts("RegistryConfig.InsecureRegistryCIDRs");
    if !indexes.is_empty() || !networks.is_empty() {
        page.line(1, "Insecure Registries:");
        for (_, index) in indexes.iter().filter(|(_, index)| !index.bool("Secure")) {
            page.line(2, index.text("Name"));
        }
        networks.iter().for_each(|network| page.line(2, network));
    }
    let mirrors = info.texts("RegistryConfig.Mirrors");
    if !mirrors.is_empty() {
        page.line(1, "Registry Mirrors:");
        mirrors.iter().for_each(|mirror| page.line(2, mirror));
    }
}
