//! Opens the sockets of the HTTP API as configured: files with mode 0660 and a group, or tcp with TLS.

use std::net::{Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::socket::{setsockopt, sockopt};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpSocket, UnixListener};

use crate::config::{Config, Listen, TlsFiles};

/// Who may read and write a socket file.
const SOCKET_MODE: u32 = 0o660;
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;
/// Owns the socket where it exists and `--group` names no other.
const DEFAULT_GROUP: &str = "skep";

/// A socket that is open.
pub enum Opened {
    /// A file.
    Unix(UnixListener, PathBuf),
    /// Plain, or with TLS.
    Tcp(TcpListener, Option<Arc<rustls::ServerConfig>>),
}

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The file cannot be made, or is in use.
    #[error("cannot listen on unix://{path}")]
    Unix {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Another daemon answers there.
    #[error("another daemon already listens on unix://{path}")]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// No such group.
    #[error("--group: there is no group {group:?}")]
    Group {
        /// Its name.
        group: String,
    },
    /// The address cannot be bound.
    #[error("cannot listen on tcp://{address}")]
    Tcp {
        /// Which address.
        address: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A TLS file cannot be used.
    #[error("cannot use the TLS file {path}: {problem}")]
    Tls {
        /// Which file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
}

/// Opens every configured socket, or none.
pub async fn open(config: &Config) -> Result<Vec<Opened>, ListenError> {
    let tls = config.tls.as_ref().map(server_config).transpose()?;
    let mut opened = Vec::new();
    for listen in &config.listen {
        opened.push(match listen {
            Listen::Unix(path) => {
                let listener = open_unix(path, config.group.as_deref()).await?;
                Opened::Unix(listener, path.clone())
            }
            Listen::Tcp(address) => {
                let listener =
                    bind(address).await.map_err(|source| ListenError::Tcp { address: address.clone(), source })?;
                Opened::Tcp(listener, tls.clone())
            }
        });
    }
    Ok(opened)
}

/// Listens on `host:port`. As in Docker, `0.0.0.0` stands for all addresses of this host, also those of IPv6.
pub(crate) async fn bind(address: &str) -> std::io::Result<TcpListener> {
    match address.parse::<SocketAddr>() {
        Ok(all) if all.is_ipv4() && all.ip().is_unspecified() => match bind_both(all.port()) {
            // A host without IPv6.
            Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => TcpListener::bind(all).await,
            bound => bound,
        },
        _ => TcpListener::bind(address).await,
    }
}

fn bind_both(port: u16) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v6()?;
    setsockopt(&socket, sockopt::Ipv6V6Only, &false)?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv6Addr::UNSPECIFIED, port).into())?;
    socket.listen(BACKLOG)
}

async fn open_unix(path: &Path, group: Option<&str>) -> Result<UnixListener, ListenError> {
    let failed = |source| ListenError::Unix { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    if path.exists() {
        if tokio::net::UnixStream::connect(path).await.is_ok() {
            return Err(ListenError::InUse { path: path.to_owned() });
        }
        // Nobody answers: it is what a killed daemon left.
        std::fs::remove_file(path).map_err(failed)?;
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
    if let Some(id) = group_id(group)? {
        std::os::unix::fs::chown(path, None, Some(id)).map_err(failed)?;
    }
    Ok(listener)
}

fn group_id(named: Option<&str>) -> Result<Option<u32>, ListenError> {
    let name = named.unwrap_or(DEFAULT_GROUP);
    match nix::unistd::Group::from_name(name) {
        Ok(Some(group)) => Ok(Some(group.gid.as_raw())),
        _ if named.is_some() => Err(ListenError::Group { group: name.to_owned() }),
        _ => Ok(None),
    }
}

fn server_config(files: &TlsFiles) -> Result<Arc<rustls::ServerConfig>, ListenError> {
    let bad = |path: &Path, problem: String| ListenError::Tls { path: path.to_owned(), problem };
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| bad(&files.key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(&files.certificate, error.to_string()))?;
    let builder = match &files.authorities {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = rustls::RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| bad(path, error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| bad(path, error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder.with_single_cert(chain, key).map_err(|error| bad(&files.key, error.to_string()))?;
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ListenError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| ListenError::Tls { path: path.to_owned(), problem: error.to_string() })
}
