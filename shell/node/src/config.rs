//! The daemon's settings: dockerd's flags and `daemon.json` keys, merged and checked once, before anything starts.

use std::path::{Path, PathBuf};

use clap::Parser;
use serde::Deserialize;
use skep_model::upkeep::UpkeepPolicy;

/// Where the daemon listens when nothing else is said.
pub const DEFAULT_SOCKET: &str = "unix:///run/skep/skep.sock";
/// Read when it exists, unless another file is named.
pub const DEFAULT_CONFIG_FILE: &str = "/etc/skep/daemon.json";
/// Where plugins are looked for when nothing else is said: our own places, then Docker's.
const PLUGIN_DIRECTORIES: [&str; 5] =
    ["/run/skep/plugins", "/etc/skep/plugins", "/run/docker/plugins", "/etc/docker/plugins", "/usr/lib/docker/plugins"];
/// Images are pruned until the disk is this much emptier than where pruning begins, percent.
const PRUNE_MARGIN_PERCENT: u8 = 5;

/// Flags of `skep daemon`, spelled as dockerd's.
#[derive(Parser, Debug, Default)]
#[command(about = "Run the daemon: Docker's API on a socket, a node of the swarm")]
pub struct Flags {
    /// Socket to listen on: unix://PATH or tcp://ADDRESS:PORT (repeatable)
    #[arg(short = 'H', long = "host", value_name = "URL")]
    pub hosts: Vec<String>,
    /// Ask clients of tcp sockets for a certificate of --tlscacert
    #[arg(long)]
    pub tlsverify: bool,
    /// Authorities whose client certificates are trusted (PEM)
    #[arg(long, value_name = "FILE")]
    pub tlscacert: Option<PathBuf>,
    /// The daemon's certificate for tcp sockets (PEM)
    #[arg(long, value_name = "FILE")]
    pub tlscert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE")]
    pub tlskey: Option<PathBuf>,
    /// Allow tcp sockets without TLS: whoever reaches them is root on this host
    #[arg(long)]
    pub insecure_tcp: bool,
    /// Group that owns the unix socket (default: skep, where it exists)
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
    /// Where state that must survive lives
    #[arg(long, value_name = "DIR")]
    pub data_root: Option<PathBuf>,
    /// Where state of running containers lives
    #[arg(long, value_name = "DIR")]
    pub exec_root: Option<PathBuf>,
    /// File that holds the daemon's process id while it runs
    #[arg(long, value_name = "FILE")]
    pub pidfile: Option<PathBuf>,
    /// Settings as JSON, with the same keys
    #[arg(long, value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// Log at level debug
    #[arg(short = 'D', long)]
    pub debug: bool,
    /// trace, debug, info, warn or error
    #[arg(short = 'l', long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Label of this engine, key=value (repeatable)
    #[arg(long = "label", value_name = "LABEL")]
    pub labels: Vec<String>,
    /// Address or interface that other nodes reach this one by, when a command names none
    #[arg(long, value_name = "ADDRESS")]
    pub swarm_default_advertise_addr: Option<String>,
    /// Resource that tasks may reserve, KIND=VALUE (repeatable)
    #[arg(long = "node-generic-resource", value_name = "KIND=VALUE")]
    pub node_generic_resources: Vec<String>,
    /// What runs containers: embedded
    #[arg(long, value_name = "NAME")]
    pub runtime: Option<String>,
    /// Registry that is asked over plain HTTP (repeatable)
    #[arg(long = "insecure-registry", value_name = "HOST")]
    pub insecure_registries: Vec<String>,
    /// Directory with sockets and addresses of plugins, in place of the usual ones (repeatable)
    #[arg(long = "plugin-dir", value_name = "DIR")]
    pub plugin_dirs: Vec<PathBuf>,
    /// Parent of the containers' control groups
    #[arg(long, value_name = "PATH")]
    pub cgroup_parent: Option<String>,
    /// Subnet of the node-local bridge, in CIDR form
    #[arg(long, value_name = "CIDR")]
    pub bip: Option<String>,
    /// How full the disk may be before unused images go (default: 85; 100 for never)
    #[arg(long, value_name = "PERCENT")]
    pub image_prune_above: Option<u8>,
    /// Images used more recently than this stay: 90s, 30m, 12h (default: 1h)
    #[arg(long, value_name = "AGE")]
    pub image_prune_age: Option<String>,
}

/// `daemon.json`.
#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    hosts: Option<Vec<String>>,
    tlsverify: Option<bool>,
    tlscacert: Option<PathBuf>,
    tlscert: Option<PathBuf>,
    tlskey: Option<PathBuf>,
    insecure_tcp: Option<bool>,
    group: Option<String>,
    data_root: Option<PathBuf>,
    exec_root: Option<PathBuf>,
    pidfile: Option<PathBuf>,
    debug: Option<bool>,
    log_level: Option<String>,
    log_format: Option<String>,
    labels: Option<Vec<String>>,
    swarm_default_advertise_addr: Option<String>,
    node_generic_resources: Option<Vec<String>>,
    runtime: Option<String>,
    insecure_registries: Option<Vec<String>>,
    plugin_dirs: Option<Vec<PathBuf>>,
    cgroup_parent: Option<String>,
    bip: Option<String>,
    image_prune_above: Option<u8>,
    image_prune_age: Option<String>,
}

/// Settings that cannot be used. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("configuration file {path}: {source}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// Said twice.
    #[error("the following directives are specified both as a flag and in the configuration file: {names}")]
    Twice {
        /// Which settings.
        names: String,
    },
    /// One setting has an impossible value.
    #[error("{setting}: {problem}")]
    Value {
        /// Which setting, as the flag is spelled.
        setting: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
}

/// A socket of the HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A file, mode 0660.
    Unix(PathBuf),
    /// `address:port`.
    Tcp(String),
}

/// Files for TLS on tcp sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Trusted authorities of clients; `None` lets every client in that speaks TLS.
    pub authorities: Option<PathBuf>,
    /// The daemon's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// The settings that the daemon runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Config {
    pub listen: Vec<Listen>,
    pub tls: Option<TlsFiles>,
    pub insecure_tcp: bool,
    pub group: Option<String>,
    pub data_root: PathBuf,
    pub exec_root: PathBuf,
    pub pidfile: Option<PathBuf>,
    pub log_level: String,
    pub log_format: LogFormat,
    pub labels: Vec<(String, String)>,
    pub default_advertise_addr: Option<String>,
    pub generic_resources: Vec<(String, String)>,
    pub insecure_registries: Vec<String>,
    pub plugin_dirs: Vec<PathBuf>,
    pub cgroup_parent: String,
    pub bridge_subnet: Option<String>,
    pub upkeep: UpkeepPolicy,
}

impl Config {
    /// Merges flags with the file and checks every value.
    pub fn load(flags: Flags) -> Result<Self, ConfigError> {
        let file = read_file(flags.config_file.as_deref())?;
        let merged = merge(flags, file)?;
        check(merged)
    }
}

fn read_file(named: Option<&Path>) -> Result<File, ConfigError> {
    let path = named.unwrap_or(Path::new(DEFAULT_CONFIG_FILE));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => return Ok(File::default()),
        Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
    };
    if text.trim().is_empty() {
        return Ok(File::default());
    }
    serde_json::from_str(&text).map_err(|source| ConfigError::Parse { path: path.to_owned(), source })
}

/// A setting may stand in one place only, as with dockerd: which one should win is not ours to guess.
fn merge(mut flags: Flags, file: File) -> Result<Flags, ConfigError> {
    let mut twice = Vec::new();
    macro_rules! option {
        ($($field:ident => $name:literal),*) => {$(
            match (&flags.$field, file.$field) {
                (Some(_), Some(_)) => twice.push($name),
                (None, Some(value)) => flags.$field = Some(value),
                _ => {}
            }
        )*};
    }
    macro_rules! list {
        ($($field:ident => $name:literal),*) => {$(
            if let Some(values) = file.$field {
                if flags.$field.is_empty() { flags.$field = values } else { twice.push($name) }
            }
        )*};
    }
    macro_rules! switch {
        ($($field:ident => $name:literal),*) => {$(
            match (flags.$field, file.$field) {
                (true, Some(_)) => twice.push($name),
                (false, Some(value)) => flags.$field = value,
                _ => {}
            }
        )*};
    }
    option!(tlscacert => "tlscacert", tlscert => "tlscert", tlskey => "tlskey", group => "group",
        data_root => "data-root", exec_root => "exec-root", pidfile => "pidfile", log_level => "log-level",
        log_format => "log-format", swarm_default_advertise_addr => "swarm-default-advertise-addr",
        runtime => "runtime", cgroup_parent => "cgroup-parent", bip => "bip",
        image_prune_above => "image-prune-above", image_prune_age => "image-prune-age");
    list!(hosts => "hosts", labels => "labels", node_generic_resources => "node-generic-resources",
        insecure_registries => "insecure-registries", plugin_dirs => "plugin-dirs");
    switch!(tlsverify => "tlsverify", insecure_tcp => "insecure-tcp", debug => "debug");
    if twice.is_empty() { Ok(flags) } else { Err(ConfigError::Twice { names: twice.join(", ") }) }
}

fn check(flags: Flags) -> Result<Config, ConfigError> {
    let hosts = if flags.hosts.is_empty() { vec![DEFAULT_SOCKET.to_owned()] } else { flags.hosts.clone() };
    let listen = hosts.iter().map(|host| parse_host(host)).collect::<Result<Vec<_>, _>>()?;
    let tls = tls_files(&flags)?;
    let plain_tcp = tls.is_none() && listen.iter().any(|listen| matches!(listen, Listen::Tcp(_)));
    if plain_tcp && !flags.insecure_tcp {
        return value(
            "--host",
            "a tcp socket without TLS lets whoever reaches it be root on this host: give --tlsverify, --tlscacert, \
             --tlscert and --tlskey, or --insecure-tcp if that is what you want",
        );
    }
    if let Some(runtime) = flags.runtime.as_deref().filter(|name| *name != "embedded") {
        return value("--runtime", format!("{runtime:?} is not a runtime here: use embedded"));
    }
    let log_level = match (flags.debug, flags.log_level) {
        (true, _) => "debug".to_owned(),
        (false, None) => "info".to_owned(),
        (false, Some(level)) if ["trace", "debug", "info", "warn", "error"].contains(&level.as_str()) => level,
        (false, Some(level)) => {
            return value("--log-level", format!("{level:?} is not trace, debug, info, warn or error"));
        }
    };
    let log_format = match flags.log_format.as_deref() {
        None | Some("text") => LogFormat::Text,
        Some("json") => LogFormat::Json,
        Some(other) => return value("--log-format", format!("{other:?} is not text or json")),
    };
    Ok(Config {
        listen,
        tls,
        insecure_tcp: flags.insecure_tcp,
        group: flags.group,
        data_root: absolute("--data-root", flags.data_root, "/var/lib/skep")?,
        exec_root: absolute("--exec-root", flags.exec_root, "/run/skep")?,
        pidfile: flags.pidfile,
        log_level,
        log_format,
        labels: pairs("--label", &flags.labels)?,
        default_advertise_addr: flags.swarm_default_advertise_addr,
        generic_resources: pairs("--node-generic-resource", &flags.node_generic_resources)?,
        insecure_registries: flags.insecure_registries,
        plugin_dirs: plugin_dirs(flags.plugin_dirs)?,
        cgroup_parent: flags.cgroup_parent.unwrap_or_else(|| "/skep".to_owned()),
        bridge_subnet: flags.bip,
        upkeep: upkeep(flags.image_prune_above, flags.image_prune_age.as_deref())?,
    })
}

fn plugin_dirs(given: Vec<PathBuf>) -> Result<Vec<PathBuf>, ConfigError> {
    if given.is_empty() {
        return Ok(PLUGIN_DIRECTORIES.iter().map(PathBuf::from).collect());
    }
    given.into_iter().map(|directory| absolute("--plugin-dir", Some(directory), "")).collect()
}

fn upkeep(above: Option<u8>, age: Option<&str>) -> Result<UpkeepPolicy, ConfigError> {
    let mut policy = UpkeepPolicy::default();
    if let Some(percent) = above {
        if percent > 100 {
            return value("--image-prune-above", format!("{percent} is not a percentage, 0 to 100"));
        }
        policy.above_percent = percent;
        policy.until_percent = percent.saturating_sub(PRUNE_MARGIN_PERCENT);
    }
    if let Some(text) = age {
        let split = text.len().saturating_sub(1);
        let unit_ms = match text.get(split..) {
            Some("s") => 1000,
            Some("m") => 60 * 1000,
            Some("h") => 60 * 60 * 1000,
            _ => 0u64,
        };
        let number = text.get(..split).and_then(|digits| digits.parse::<u64>().ok()).filter(|_| unit_ms > 0);
        let Some(age_ms) = number.and_then(|number| number.checked_mul(unit_ms)) else {
            return value("--image-prune-age", format!("{text:?} is not a number with s, m or h, like 30m"));
        };
        policy.age_min_ms = age_ms;
    }
    Ok(policy)
}

fn value<T>(setting: &'static str, problem: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError::Value { setting, problem: problem.into() })
}

fn parse_host(host: &str) -> Result<Listen, ConfigError> {
    match host.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => Ok(Listen::Unix(PathBuf::from(path))),
        Some(("tcp", address)) if address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) => {
            Ok(Listen::Tcp(address.to_owned()))
        }
        _ => value("--host", format!("{host:?} is not unix:///PATH or tcp://ADDRESS:PORT")),
    }
}

fn tls_files(flags: &Flags) -> Result<Option<TlsFiles>, ConfigError> {
    match (&flags.tlscert, &flags.tlskey) {
        (Some(certificate), Some(key)) => {
            if flags.tlsverify && flags.tlscacert.is_none() {
                return value("--tlsverify", "needs --tlscacert, the authority of the clients' certificates");
            }
            let authorities = if flags.tlsverify { flags.tlscacert.clone() } else { None };
            Ok(Some(TlsFiles { authorities, certificate: certificate.clone(), key: key.clone() }))
        }
        (None, None) if flags.tlsverify => value("--tlsverify", "needs --tlscacert, --tlscert and --tlskey"),
        (None, None) => Ok(None),
        _ => value("--tlscert", "--tlscert and --tlskey go together"),
    }
}

fn absolute(setting: &'static str, path: Option<PathBuf>, default: &str) -> Result<PathBuf, ConfigError> {
    let path = path.unwrap_or_else(|| PathBuf::from(default));
    if path.is_absolute() { Ok(path) } else { value(setting, format!("{} is not an absolute path", path.display())) }
}

fn pairs(setting: &'static str, items: &[String]) -> Result<Vec<(String, String)>, ConfigError> {
    items
        .iter()
        .map(|item| match item.split_once('=') {
            Some((key, text)) if !key.is_empty() => Ok((key.to_owned(), text.to_owned())),
            _ => value(setting, format!("{item:?} is not key=value")),
        })
        .collect()
}

#[cfg(test)]
mod tests;
