//! Options of the connection, and the values that docker's flags take.

use std::path::PathBuf;

use crate::failure::Failure;
use crate::value::Value;

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_HOST: &str = "unix:///run/skep/skep.sock";

/// Where and how to reach a daemon.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Connection {
    /// Daemon socket to connect to (unix://PATH, tcp://HOST:PORT); else SKEP_HOST, DOCKER_HOST
    #[arg(short = 'H', long, value_name = "URL")]
    pub host: Option<String>,
    /// Use TLS; implied by --tlsverify
    #[arg(long)]
    pub tls: bool,
    /// Use TLS and verify the daemon
    #[arg(long)]
    pub tlsverify: bool,
    /// Trust certs signed only by this CA
    #[arg(long, value_name = "FILE")]
    pub tlscacert: Option<PathBuf>,
    /// Path to TLS certificate file
    #[arg(long, value_name = "FILE")]
    pub tlscert: Option<PathBuf>,
    /// Path to TLS key file
    #[arg(long, value_name = "FILE")]
    pub tlskey: Option<PathBuf>,
}

/// Where a daemon is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    Unix(PathBuf),
    Tcp { host: String, port: u16 },
}

/// Files for TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    pub verify: bool,
    pub ca: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

/// A connection with everything decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As the user wrote it, for messages.
    pub url: String,
    pub endpoint: Endpoint,
    pub tls: Option<Tls>,
    /// `DOCKER_API_VERSION`.
    pub api_version: Option<String>,
}

const TLS_PORT: u16 = 2376;
const PLAIN_PORT: u16 = 2375;

impl Connection {
    /// Options, then the environment, then the default.
    pub fn resolve(self) -> Result<Target, Failure> {
        let from = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let url = self.host.or_else(|| from("SKEP_HOST")).or_else(|| from("DOCKER_HOST"));
        let url = url.unwrap_or_else(|| DEFAULT_HOST.to_owned());
        let verify = self.tlsverify || from("DOCKER_TLS_VERIFY").is_some();
        let wanted = self.tls || verify || self.tlscacert.is_some() || self.tlscert.is_some();
        let directory = from("DOCKER_CERT_PATH").map(PathBuf::from);
        let file =
            |given: Option<PathBuf>, name: &str| given.or_else(|| directory.as_ref().map(|path| path.join(name)));
        let tls = wanted.then(|| Tls {
            verify: verify || !self.tls,
            ca: file(self.tlscacert, "ca.pem"),
            certificate: file(self.tlscert, "cert.pem"),
            key: file(self.tlskey, "key.pem"),
        });
        let endpoint = parse_endpoint(&url, tls.is_some())?;
        let tls = tls.filter(|_| matches!(endpoint, Endpoint::Tcp { .. }));
        Ok(Target { url, endpoint, tls, api_version: from("DOCKER_API_VERSION") })
    }
}

fn parse_endpoint(url: &str, tls: bool) -> Result<Endpoint, Failure> {
    let bad = || Failure::new(format!("unable to parse docker host `{url}`"));
    if let Some(path) = url.strip_prefix("unix://") {
        return Ok(Endpoint::Unix(PathBuf::from(path)));
    }
    if url.starts_with('/') {
        return Ok(Endpoint::Unix(PathBuf::from(url)));
    }
    let address = url.strip_prefix("tcp://").or_else(|| url.strip_prefix("http://")).ok_or_else(bad)?;
    let address = address.trim_end_matches('/');
    let default_port = if tls { TLS_PORT } else { PLAIN_PORT };
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') => (host, port.parse().map_err(|_| bad())?),
        _ => (address, default_port),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    Ok(Endpoint::Tcp { host: host.to_owned(), port })
}

/// Go's durations: `1h30m`, `1.5s`, `250ms`, `0`. Nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoDuration(pub i64);

impl From<GoDuration> for Value {
    fn from(duration: GoDuration) -> Self {
        Value::from(duration.0)
    }
}

impl std::str::FromStr for GoDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("time: invalid duration {text:?}");
        let (negative, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if rest == "0" {
            return Ok(Self(0));
        }
        if rest.is_empty() {
            return Err(bad());
        }
        let mut total = 0.0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
            rest = &rest[digits..];
            let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
            let unit = match &rest[..letters] {
                "ns" => 1.0,
                "us" | "µs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                "" => return Err(format!("time: missing unit in duration {text:?}")),
                _ => return Err(format!("time: unknown unit {:?} in duration {text:?}", &rest[..letters])),
            };
            total += number * unit;
            rest = &rest[letters..];
        }
        Ok(Self(if negative { -total } else { total } as i64))
    }
}

/// Sizes of memory: `512`, `512m`, `1.5GiB`. Powers of 1024, as docker reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryBytes(pub i64);

impl std::str::FromStr for MemoryBytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("invalid size: '{text}'");
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let number: f64 = text[..digits].parse().map_err(|_| bad())?;
        let unit = text[digits..].trim().to_ascii_lowercase();
        let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
        let power = match unit {
            "" => 0,
            "k" => 1,
            "m" => 2,
            "g" => 3,
            "t" => 4,
            "p" => 5,
            _ => return Err(bad()),
        };
        Ok(Self((number * 1024_f64.powi(power)) as i64))
    }
}

/// Processors as a decimal: `0.5`. Billionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NanoCpus(pub i64);

impl std::str::FromStr for NanoCpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number: f64 = text.parse().map_err(|_| format!("failed to parse {text} as a rational number"))?;
        let nanos = number * 1e9;
        if nanos.fract() != 0.0 {
            return Err("value is too precise".to_owned());
        }
        Ok(Self(nanos as i64))
    }
}

/// `--filter key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub key: String,
    pub value: String,
}

impl std::str::FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("bad format of filter (expected name=value)")?;
        Ok(Self { key: key.trim().to_lowercase(), value: value.trim().to_owned() })
    }
}

/// `key=value`; without `=` the value is empty.
pub fn pairs(list: &[String]) -> Value {
    Value::Map(
        list.iter()
            .map(|entry| {
                let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
                (key.to_owned(), Value::from(value))
            })
            .fold(Vec::new(), |mut map, (key, value)| {
                map.retain(|(known, _): &(String, Value)| *known != key);
                map.push((key, value));
                map
            }),
    )
}

/// Fields of one comma-separated value, quotes as in CSV.
pub fn csv_fields(text: &str) -> Result<Vec<String>, Failure> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let Some(field) = fields.last_mut() else { break };
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    if quoted { Err(Failure::new(format!("extraneous or missing \" in {text:?}"))) } else { Ok(fields) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_go_durations() {
        for (text, nanos) in
            [("1h30m", 5_400_000_000_000), ("1.5s", 1_500_000_000), ("250ms", 250_000_000), ("0", 0), ("-2us", -2000)]
        {
            assert_eq!(text.parse::<GoDuration>().unwrap().0, nanos, "{text}");
        }
        for text in ["", "5", "5x", "s"] {
            assert!(text.parse::<GoDuration>().is_err(), "{text}");
        }
    }

    #[test]
    fn reads_sizes_and_processors() {
        assert_eq!("512m".parse::<MemoryBytes>().unwrap().0, 512 << 20);
        assert_eq!("1.5GiB".parse::<MemoryBytes>().unwrap().0, 3 << 29);
        assert_eq!("100".parse::<MemoryBytes>().unwrap().0, 100);
        assert!("12q".parse::<MemoryBytes>().is_err());
        assert_eq!("0.25".parse::<NanoCpus>().unwrap().0, 250_000_000);
    }

    #[test]
    fn reads_endpoints() {
        assert_eq!(parse_endpoint("unix:///a/b", false).unwrap(), Endpoint::Unix("/a/b".into()));
        assert_eq!(parse_endpoint("tcp://h:1", false).unwrap(), Endpoint::Tcp { host: "h".into(), port: 1 });
        assert_eq!(parse_endpoint("tcp://h", true).unwrap(), Endpoint::Tcp { host: "h".into(), port: 2376 });
        assert_eq!(parse_endpoint("tcp://[::1]:5", true).unwrap(), Endpoint::Tcp { host: "::1".into(), port: 5 });
        assert!(parse_endpoint("ssh://x", false).is_err());
    }

    #[test]
    fn reads_csv() {
        assert_eq!(csv_fields(r#"a=b,"c=d,e",f"#).unwrap(), ["a=b", "c=d,e", "f"]);
        assert!(csv_fields("\"a").is_err());
    }
}
