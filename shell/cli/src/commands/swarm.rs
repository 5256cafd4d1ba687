//! `swarm`: making, joining and leaving one, its tokens, keys and settings.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use http::Method;

use super::labels::LabelChanges;
use crate::api::{Payload, escape};
use crate::arguments::{GoDuration, csv_fields};
use crate::context::Context;
use crate::failure::Failure;
use crate::terminal;
use crate::value::Value;

const DEFAULT_LISTEN_HOST: &str = "0.0.0.0";
const DEFAULT_PORT: &str = "2377";
const DEFAULT_SUBNET_SIZE: u64 = 24;

#[derive(Debug, Subcommand)]
pub enum SwarmCommand {
    /// Initialize a swarm
    Init(Box<InitArguments>),
    /// Join a swarm as a node and/or manager
    Join(JoinArguments),
    /// Manage join tokens
    JoinToken(JoinTokenArguments),
    /// Leave the swarm
    Leave(LeaveArguments),
    /// Update the swarm
    Update(UpdateArguments),
    /// Unlock swarm
    Unlock,
    /// Manage the unlock key
    UnlockKey(UnlockKeyArguments),
    /// Display and rotate the root CA
    Ca(CaArguments),
}

/// Settings that `init` and `update` share.
#[derive(Debug, Args)]
pub struct SpecArguments {
    /// Change manager autolocking setting (requiring an unlock key to start a stopped manager)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    autolock: Option<bool>,
    /// Validity period for node certificates (ns|us|ms|s|m|h)
    #[arg(long)]
    cert_expiry: Option<GoDuration>,
    /// Dispatcher heartbeat period (ns|us|ms|s|m|h)
    #[arg(long)]
    dispatcher_heartbeat: Option<GoDuration>,
    /// Specifications of one or more certificate signing endpoints
    #[arg(long)]
    external_ca: Vec<String>,
    /// Number of additional Raft snapshots to retain
    #[arg(long)]
    max_snapshots: Option<u64>,
    /// Number of log entries between Raft snapshots
    #[arg(long)]
    snapshot_interval: Option<u64>,
    /// Task history retention limit
    #[arg(long)]
    task_history_limit: Option<i64>,
}

#[derive(Debug, Args)]
pub struct InitArguments {
    /// Advertised address (format: "<ip|interface>[:port]")
    #[arg(long, default_value = "")]
    advertise_addr: String,
    /// Availability of the node ("active", "pause", "drain")
    #[arg(long)]
    availability: Option<String>,
    /// Address or interface to use for data path traffic (format: "<ip|interface>")
    #[arg(long, default_value = "")]
    data_path_addr: String,
    /// Port number to use for data path traffic (1024 - 49151)
    #[arg(long, default_value_t = 0)]
    data_path_port: u64,
    /// Default address pool in CIDR format
    #[arg(long, value_delimiter = ',')]
    default_addr_pool: Vec<String>,
    /// Default address pool subnet mask length
    #[arg(long, default_value_t = DEFAULT_SUBNET_SIZE)]
    default_addr_pool_mask_length: u64,
    /// Force create a new cluster from current state
    #[arg(long)]
    force_new_cluster: bool,
    /// Listen address (format: "<ip|interface>[:port]")
    #[arg(long, default_value = "")]
    listen_addr: String,
    #[command(flatten)]
    spec: SpecArguments,
}

#[derive(Debug, Args)]
pub struct JoinArguments {
    /// Advertised address (format: "<ip|interface>[:port]")
    #[arg(long, default_value = "")]
    advertise_addr: String,
    /// Availability of the node ("active", "pause", "drain")
    #[arg(long)]
    availability: Option<String>,
    /// Address or interface to use for data path traffic (format: "<ip|interface>")
    #[arg(long, default_value = "")]
    data_path_addr: String,
    /// Listen address (format: "<ip|interface>[:port]")
    #[arg(long, default_value = "")]
    listen_addr: String,
    /// Token for entry into the swarm
    #[arg(long, default_value = "")]
    token: String,
    /// A manager of the swarm
    #[arg(value_name = "HOST:PORT")]
    remote: String,
}

#[derive(Debug, Args)]
pub struct JoinTokenArguments {
    /// Only display token
    #[arg(short, long)]
    quiet: bool,
    /// Rotate join token
    #[arg(long)]
    rotate: bool,
    /// worker or manager
    #[arg(value_name = "(worker|manager)")]
    role: String,
}

#[derive(Debug, Args)]
pub struct LeaveArguments {
    /// Force this node to leave the swarm, ignoring warnings
    #[arg(short, long)]
    force: bool,
    /// Take this node off the list of nodes, too (Skep's own)
    #[arg(long)]
    remove: bool,
}

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct UpdateArguments {
    #[command(flatten)]
    spec: SpecArguments,
    #[command(flatten)]
    labels: LabelChanges,
}

#[derive(Debug, Args)]
pub struct UnlockKeyArguments {
    /// Only display token
    #[arg(short, long)]
    quiet: bool,
    /// Rotate unlock key
    #[arg(long)]
    rotate: bool,
}

#[derive(Debug, Args)]
pub struct CaArguments {
    /// Path to the PEM-formatted root CA certificate to use for the new cluster
    #[arg(long)]
    ca_cert: Option<PathBuf>,
    /// Path to the PEM-formatted root CA key to use for the new cluster
    #[arg(long)]
    ca_key: Option<PathBuf>,
    /// Validity period for node certificates (ns|us|ms|s|m|h)
    #[arg(long)]
    cert_expiry: Option<GoDuration>,
    /// Exit immediately instead of waiting for the root rotation to converge
    #[arg(short, long)]
    detach: bool,
    /// Specifications of one or more certificate signing endpoints
    #[arg(long)]
    external_ca: Vec<String>,
    /// Suppress progress output
    #[arg(short, long)]
    quiet: bool,
    /// Rotate the swarm CA - if no certificate or key are provided, new ones will be generated
    #[arg(long)]
    rotate: bool,
}

pub async fn execute(context: &Context, command: SwarmCommand) -> Result<(), Failure> {
    match command {
        SwarmCommand::Init(arguments) => init(context, *arguments).await,
        SwarmCommand::Join(arguments) => join(context, arguments).await,
        SwarmCommand::JoinToken(arguments) => join_token(context, arguments).await,
        SwarmCommand::Leave(arguments) => leave(context, arguments).await,
        SwarmCommand::Update(arguments) => update(context, arguments).await,
        SwarmCommand::Unlock => unlock(context).await,
        SwarmCommand::UnlockKey(arguments) => unlock_key(context, arguments).await,
        SwarmCommand::Ca(arguments) => ca(context, arguments).await,
    }
}

async fn init(context: &Context, arguments: InitArguments) -> Result<(), Failure> {
    let mut spec = Value::map([
        ("Labels", Value::Null),
        ("Orchestration", Value::empty_map()),
        ("Raft", Value::map([("ElectionTick", Value::from(0_u64)), ("HeartbeatTick", Value::from(0_u64))])),
        ("Dispatcher", Value::empty_map()),
        ("CAConfig", Value::empty_map()),
        ("TaskDefaults", Value::empty_map()),
        ("EncryptionConfig", Value::map([("AutoLockManagers", Value::Bool(false))])),
    ]);
    let autolock = arguments.spec.autolock.unwrap_or(false);
    merge(&mut spec, &arguments.spec, "")?;
    let request = Value::map([
        ("ListenAddr", Value::from(listen_address(&arguments.listen_addr))),
        ("AdvertiseAddr", Value::from(arguments.advertise_addr)),
        ("DataPathAddr", Value::from(arguments.data_path_addr)),
        ("DataPathPort", Value::from(arguments.data_path_port)),
        ("ForceNewCluster", Value::Bool(arguments.force_new_cluster)),
        ("Spec", spec),
        ("AutoLockManagers", Value::Bool(autolock)),
        ("Availability", Value::from(availability(arguments.availability.as_deref())?)),
        ("DefaultAddrPool", Value::from(arguments.default_addr_pool)),
        ("SubnetSize", Value::from(arguments.default_addr_pool_mask_length)),
    ]);
    let answer = context.client.post("/swarm/init", &[], Payload::Json(request)).await.map_err(|mut failure| {
        let text = &failure.message;
        if text.contains("could not choose an IP address to advertise")
            || text.contains("could not find the system's IP address")
        {
            failure.message.push_str(" - specify one with --advertise-addr");
        }
        failure
    })?;
    let node = answer.as_text().unwrap_or_default().to_owned();
    context.line(format!("Swarm initialized: current node ({node}) is now a manager.\n"))?;
    print_join_command(context, &node, "worker").await?;
    context
        .line("To add a manager to this swarm, run 'docker swarm join-token manager' and follow the instructions.")?;
    if autolock {
        print_unlock_key(context).await?;
    }
    Ok(())
}

async fn join(context: &Context, arguments: JoinArguments) -> Result<(), Failure> {
    let request = Value::map([
        ("ListenAddr", Value::from(listen_address(&arguments.listen_addr))),
        ("AdvertiseAddr", Value::from(arguments.advertise_addr)),
        ("DataPathAddr", Value::from(arguments.data_path_addr)),
        ("RemoteAddrs", Value::from(vec![arguments.remote])),
        ("JoinToken", Value::from(arguments.token)),
        ("Availability", Value::from(availability(arguments.availability.as_deref())?)),
    ]);
    context.client.post("/swarm/join", &[], Payload::Json(request)).await?;
    let info = context.client.get("/info", &[]).await?;
    let role = if info.bool("Swarm.ControlAvailable") { "manager" } else { "worker" };
    context.line(format!("This node joined a swarm as a {role}."))
}

async fn join_token(context: &Context, arguments: JoinTokenArguments) -> Result<(), Failure> {
    let role = arguments.role.as_str();
    let (flag, member) = match role {
        "worker" => ("rotateWorkerToken", "JoinTokens.Worker"),
        "manager" => ("rotateManagerToken", "JoinTokens.Manager"),
        other => return Err(Failure::new(format!("unknown role {other}"))),
    };
    if arguments.rotate {
        let swarm = context.client.get("/swarm", &[]).await?;
        update_swarm(context, &swarm, swarm.at("Spec").clone(), Some(flag)).await?;
        if !arguments.quiet {
            context.line(format!("Successfully rotated {role} join token.\n"))?;
        }
    }
    if arguments.quiet {
        return context.line(context.client.get("/swarm", &[]).await?.text(member));
    }
    let info = context.client.get("/info", &[]).await?;
    print_join_command(context, info.text("Swarm.NodeID"), role).await
}

async fn print_join_command(context: &Context, node: &str, role: &str) -> Result<(), Failure> {
    let node = context.client.get(&format!("/nodes/{}", escape(node)), &[]).await?;
    let swarm = context.client.get("/swarm", &[]).await?;
    if !node.has("ManagerStatus") {
        return Ok(());
    }
    let token = swarm.text(if role == "worker" { "JoinTokens.Worker" } else { "JoinTokens.Manager" });
    let address = node.text("ManagerStatus.Addr");
    context.line(format!(
        "To add a {role} to this swarm, run the following command:\n\n    docker swarm join --token {token} {address}\n"
    ))
}

/// `--remove` is told to the daemon as a query of its own, which other daemons ignore.
async fn leave(context: &Context, arguments: LeaveArguments) -> Result<(), Failure> {
    let mut query = Vec::new();
    if arguments.force {
        query.push(("force", "1".to_owned()));
    }
    if arguments.remove {
        query.push(("remove", "1".to_owned()));
    }
    context.client.send(Method::POST, "/swarm/leave", &query, &[], Payload::Nothing).await?;
    context.line("Node left the swarm.")
}

async fn update(context: &Context, arguments: UpdateArguments) -> Result<(), Failure> {
    let swarm = context.client.get("/swarm", &[]).await?;
    let mut spec = swarm.at("Spec").clone();
    merge(&mut spec, &arguments.spec, swarm.text("TLSInfo.TrustRoot"))?;
    arguments.labels.apply(&mut spec, "swarm")?;
    let newly_locked =
        spec.bool("EncryptionConfig.AutoLockManagers") && !swarm.bool("Spec.EncryptionConfig.AutoLockManagers");
    update_swarm(context, &swarm, spec, None).await?;
    context.line("Swarm updated.")?;
    if newly_locked {
        print_unlock_key(context).await?;
    }
    Ok(())
}

async fn update_swarm(context: &Context, swarm: &Value, spec: Value, rotate: Option<&str>) -> Result<(), Failure> {
    let on = |name: &str| (rotate == Some(name)).to_string();
    let query = [
        ("version", swarm.uint("Version.Index").to_string()),
        ("rotateWorkerToken", on("rotateWorkerToken")),
        ("rotateManagerToken", on("rotateManagerToken")),
        ("rotateManagerUnlockKey", on("rotateManagerUnlockKey")),
    ];
    context.client.post("/swarm/update", &query, Payload::Json(spec)).await.map(drop)
}

async fn unlock(context: &Context) -> Result<(), Failure> {
    let info = context.client.get("/info", &[]).await?;
    match info.text("Swarm.LocalNodeState") {
        "inactive" => return Err(Failure::new("Error: This node is not part of a swarm")),
        "locked" => {}
        _ => return Err(Failure::new("Error: swarm is not locked")),
    }
    let key = terminal::read_secret_line("Enter unlock key: ")?;
    let request = Value::map([("UnlockKey", Value::from(key))]);
    context.client.post("/swarm/unlock", &[], Payload::Json(request)).await.map(drop)
}

async fn unlock_key(context: &Context, arguments: UnlockKeyArguments) -> Result<(), Failure> {
    if arguments.rotate {
        let swarm = context.client.get("/swarm", &[]).await?;
        if !swarm.bool("Spec.EncryptionConfig.AutoLockManagers") {
            return Err(Failure::new("cannot rotate because autolock is not turned on"));
        }
        update_swarm(context, &swarm, swarm.at("Spec").clone(), Some("rotateManagerUnlockKey")).await?;
        if !arguments.quiet {
            context.line("Successfully rotated manager unlock key.")?;
        }
    }
    let key = fetch_unlock_key(context).await?;
    if key.is_empty() {
        return Err(Failure::new("no unlock key is set"));
    }
    if arguments.quiet { context.line(key) } else { print_key(context, &key) }
}

async fn fetch_unlock_key(context: &Context) -> Result<String, Failure> {
    let answer = context.client.get("/swarm/unlockkey", &[]).await.map_err(|mut failure| {
        failure.message = format!("could not fetch unlock key: {}", failure.message);
        failure
    })?;
    Ok(answer.text("UnlockKey").to_owned())
}

async fn print_unlock_key(context: &Context) -> Result<(), Failure> {
    let key = fetch_unlock_key(context).await?;
    if key.is_empty() { Ok(()) } else { print_key(context, &key) }
}

fn print_key(context: &Context, key: &str) -> Result<(), Failure> {
    context.line(format!(
        "To unlock a swarm manager after it restarts, run the `docker swarm unlock`\n\
         command and provide the following key:\n\n    {key}\n\n\
         Remember to store this key in a password manager, since without it you\n\
         will not be able to restart the manager."
    ))
}

async fn ca(context: &Context, arguments: CaArguments) -> Result<(), Failure> {
    let swarm = context.client.get("/swarm", &[]).await?;
    if !arguments.rotate {
        let given = [
            ("ca-cert", arguments.ca_cert.is_some()),
            ("ca-key", arguments.ca_key.is_some()),
            ("cert-expiry", arguments.cert_expiry.is_some()),
            ("external-ca", !arguments.external_ca.is_empty()),
        ];
        if let Some((flag, _)) = given.iter().find(|(_, given)| *given) {
            return Err(Failure::new(format!("`--{flag}` flag requires the `--rotate` flag to update the CA")));
        }
        return print_root(context, &swarm);
    }
    if arguments.ca_cert.is_some() && arguments.external_ca.is_empty() && arguments.ca_key.is_none() {
        return Err(Failure::new(
            "the --ca-cert flag requires that a --ca-key flag and/or --external-ca flag be provided as well",
        ));
    }
    if !arguments.external_ca.is_empty() && arguments.ca_cert.is_none() {
        return Err(Failure::new(
            "rotating to an external CA requires the `--ca-cert` flag to specify the external CA's cert - to add an \
             external CA with the current root CA certificate, use the `update` command instead",
        ));
    }
    let mut spec = swarm.at("Spec").clone();
    let certificate = read_pem(arguments.ca_cert.as_ref())?;
    let key = read_pem(arguments.ca_key.as_ref())?;
    if let Some(expiry) = arguments.cert_expiry {
        spec.set("CAConfig.NodeCertExpiry", expiry);
    }
    if !arguments.external_ca.is_empty() {
        spec.set("CAConfig.ExternalCAs", external_cas(&arguments.external_ca, &certificate)?);
    }
    if certificate.is_empty() && key.is_empty() {
        let rotations = spec.uint("CAConfig.ForceRotate");
        spec.set("CAConfig.ForceRotate", rotations + 1);
    }
    spec.set("CAConfig.SigningCACert", certificate);
    spec.set("CAConfig.SigningCAKey", key);
    update_swarm(context, &swarm, spec, None).await?;
    if arguments.detach {
        return Ok(());
    }
    wait_for_rotation(context, arguments.quiet).await
}

const ROTATION_POLL: std::time::Duration = std::time::Duration::from_millis(200);

async fn wait_for_rotation(context: &Context, quiet: bool) -> Result<(), Failure> {
    let mut last = String::new();
    loop {
        let swarm = context.client.get("/swarm", &[]).await?;
        if !swarm.bool("RootRotationInProgress") {
            return if quiet { Ok(()) } else { print_root(context, &swarm) };
        }
        let nodes = context.client.get("/nodes", &[]).await?;
        let all = nodes.list_itself();
        let issuer = swarm.text("TLSInfo.CertIssuerPublicKey");
        let done = all.iter().filter(|node| node.text("Description.TLSInfo.CertIssuerPublicKey") == issuer).count();
        let progress = format!("rotated CA certificates: {done}/{} nodes", all.len());
        if !quiet && progress != last {
            context.line(&progress)?;
            last = progress;
        }
        tokio::time::sleep(ROTATION_POLL).await;
    }
}

fn print_root(context: &Context, swarm: &Value) -> Result<(), Failure> {
    match swarm.text("TLSInfo.TrustRoot") {
        "" => Err(Failure::new("no CA information available")),
        root => context.line(root.trim()),
    }
}

/// Only what was asked for changes.
fn merge(spec: &mut Value, arguments: &SpecArguments, trust_root: &str) -> Result<(), Failure> {
    if let Some(limit) = arguments.task_history_limit {
        spec.set("Orchestration.TaskHistoryRetentionLimit", limit);
    }
    if let Some(period) = arguments.dispatcher_heartbeat {
        spec.set("Dispatcher.HeartbeatPeriod", period);
    }
    if let Some(count) = arguments.max_snapshots {
        spec.set("Raft.KeepOldSnapshots", count);
    }
    if let Some(interval) = arguments.snapshot_interval {
        spec.set("Raft.SnapshotInterval", interval);
    }
    if let Some(autolock) = arguments.autolock {
        spec.set("EncryptionConfig.AutoLockManagers", autolock);
    }
    if let Some(expiry) = arguments.cert_expiry {
        spec.set("CAConfig.NodeCertExpiry", expiry);
    }
    if !arguments.external_ca.is_empty() {
        spec.set("CAConfig.ExternalCAs", external_cas(&arguments.external_ca, trust_root)?);
    }
    Ok(())
}

fn external_cas(given: &[String], default_certificate: &str) -> Result<Vec<Value>, Failure> {
    given.iter().map(|text| external_ca(text, default_certificate)).collect()
}

fn external_ca(text: &str, default_certificate: &str) -> Result<Value, Failure> {
    let mut ca = Value::map([("Protocol", Value::Null), ("URL", Value::Null)]);
    let mut certificate = default_certificate.to_owned();
    for field in csv_fields(text)? {
        let Some((key, value)) = field.split_once('=') else {
            return Err(Failure::new(format!("invalid field '{field}' must be a key=value pair")));
        };
        match key.to_lowercase().as_str() {
            "protocol" if value.eq_ignore_ascii_case("cfssl") => ca.set("Protocol", "cfssl"),
            "protocol" => return Err(Failure::new(format!("unrecognized external CA protocol {value}"))),
            "url" => ca.set("URL", value),
            "cacert" => certificate = read_pem(Some(&PathBuf::from(value)))?,
            _ => *ca.place(&format!("Options.{key}")) = Value::from(value),
        }
    }
    for (member, name) in [("Protocol", "protocol"), ("URL", "url")] {
        if !ca.has(member) {
            return Err(Failure::new(format!("the external-ca option needs a {name}= parameter")));
        }
    }
    ca.set("CACert", certificate);
    Ok(ca)
}

fn read_pem(path: Option<&PathBuf>) -> Result<String, Failure> {
    let Some(path) = path else { return Ok(String::new()) };
    let text = fs::read_to_string(path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    if text.contains("-----BEGIN ") { Ok(text) } else { Err(Failure::new("file contents must be in PEM format")) }
}

/// What is not given is the default's.
fn listen_address(given: &str) -> String {
    let given = given.strip_prefix("tcp://").unwrap_or(given);
    match given.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && !port.ends_with(']') => {
            format!("{}:{port}", if host.is_empty() { DEFAULT_LISTEN_HOST } else { host })
        }
        _ if given.is_empty() => format!("{DEFAULT_LISTEN_HOST}:{DEFAULT_PORT}"),
        _ => format!("{given}:{DEFAULT_PORT}"),
    }
}

fn availability(given: Option<&str>) -> Result<String, Failure> {
    let Some(given) = given else { return Ok(String::new()) };
    match given.to_lowercase().as_str() {
        lower @ ("active" | "pause" | "drain") => Ok(lower.to_owned()),
        _ => Err(Failure::new(format!("invalid availability {given:?}, only active, pause and drain are supported"))),
    }
}
