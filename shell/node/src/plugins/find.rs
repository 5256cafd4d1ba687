//! Where a plugin listens: `NAME.sock` is its socket, `NAME.spec` and `NAME.json` name its address; each may lie in a
//! directory of its name.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use skep_manager::DriverFailure;

/// Where a plugin listens.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Address {
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
    Tls(TlsAddress),
}

/// `host:port` behind TLS.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct TlsAddress {
    pub authority: String,
    /// Who vouches for the plugin, PEM.
    pub trusted: PathBuf,
    /// What it is shown, with the key, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A `.json` file.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    addr: String,
    #[serde(rename = "TLSConfig", default)]
    tls: Option<TlsFiles>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct TlsFiles {
    #[serde(rename = "CAFile")]
    authority: String,
    #[serde(rename = "CertFile")]
    certificate: String,
    #[serde(rename = "KeyFile")]
    key: String,
}

/// Where the plugin listens: sockets go first, as in Docker.
pub(super) fn address(directories: &[PathBuf], name: &str) -> Result<Address, DriverFailure> {
    if name.is_empty() || name.starts_with('.') || name.contains('/') {
        return Err(not_found(directories, name));
    }
    let is_socket = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if let Some(socket) = candidates(directories, name, &["sock"]).find(is_socket) {
        return Ok(Address::Unix(socket));
    }
    let Some(path) = candidates(directories, name, &["spec", "json"]).find(|path| path.is_file()) else {
        return Err(not_found(directories, name));
    };
    let described = fs::read_to_string(&path).map_err(|error| error.to_string()).and_then(|text| {
        if path.extension().is_some_and(|extension| extension == "json") {
            let described: Described = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            parse(&described.addr, &described.tls.unwrap_or_default())
        } else {
            parse(text.trim(), &TlsFiles::default())
        }
    });
    described.map_err(|reason| DriverFailure::Away { reason: format!("{}: {reason}", path.display()) })
}

fn candidates(directories: &[PathBuf], name: &str, extensions: &[&str]) -> impl Iterator<Item = PathBuf> {
    let in_directory = |directory: &PathBuf| -> Vec<PathBuf> {
        let files = extensions.iter().map(|extension| format!("{name}.{extension}"));
        files.flat_map(|file| [directory.join(&file), directory.join(name).join(&file)]).collect()
    };
    let all: Vec<PathBuf> = directories.iter().flat_map(in_directory).collect();
    all.into_iter()
}

fn parse(address: &str, tls: &TlsFiles) -> Result<Address, String> {
    match address.split_once("://") {
        Some(("unix", path)) if Path::new(path).is_absolute() => Ok(Address::Unix(PathBuf::from(path))),
        Some(("tcp" | "http", authority)) => Ok(Address::Tcp(authority.trim_end_matches('/').to_owned())),
        Some(("https", _)) if tls.authority.is_empty() => {
            Err("https needs a .json file with a TLSConfig that names a CAFile: who else would vouch for it".to_owned())
        }
        Some(("https", authority)) => Ok(Address::Tls(TlsAddress {
            authority: authority.trim_end_matches('/').to_owned(),
            trusted: PathBuf::from(&tls.authority),
            identity: Some((PathBuf::from(&tls.certificate), PathBuf::from(&tls.key)))
                .filter(|(certificate, _)| !certificate.as_os_str().is_empty()),
        })),
        _ => Err(format!("{address:?} is not unix:///PATH, tcp://HOST:PORT or https://HOST:PORT")),
    }
}

fn not_found(directories: &[PathBuf], name: &str) -> DriverFailure {
    let directories: Vec<String> = directories.iter().map(|directory| directory.display().to_string()).collect();
    let directories = directories.join(", ");
    let looked = format!(
        "({name}.sock, {name}.spec or {name}.json in {directories}; what `docker plugin install` installs does not run \
         here)"
    );
    DriverFailure::NotFound { looked }
}
