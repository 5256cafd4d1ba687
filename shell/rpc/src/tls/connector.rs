//! Dialing a manager: TCP, TLS with what this node presents at that moment, and a watch on how it ends.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use skep_model::defaults::CLUSTER_PORT;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::credentials::{Credentials, TlsError, newcomer};
use super::unverified::unverified;
use super::{Watched, Watcher, prepare};
use crate::identity::{CA, MANAGER, TrustRoot, read_membership};

/// How long TCP and TLS together may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Sent bytes that a manager did not acknowledge for so long end the connection: what was lost is sent anew elsewhere.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(5);

/// Whom to believe, and what to present.
#[derive(Clone)]
pub enum Trust {
    /// A manager of this swarm, by this node's certificate.
    Member(Arc<Credentials>),
    /// A manager that may issue certificates, by this node's certificate.
    Issuer(Arc<Credentials>),
    /// A manager that may issue certificates; nothing to present yet.
    Newcomer(TrustRoot),
    /// Whoever answers: for the root alone, whose digest is checked.
    Nobody,
}

impl Trust {
    fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        Ok(match self {
            Self::Member(credentials) | Self::Issuer(credentials) => Arc::clone(&credentials.current().client),
            Self::Newcomer(root) => Arc::new(newcomer(root)?),
            Self::Nobody => Arc::new(unverified()?),
        })
    }

    fn server_name(&self) -> &'static str {
        match self {
            Self::Member(_) => MANAGER,
            Self::Issuer(_) | Self::Newcomer(_) | Self::Nobody => CA,
        }
    }
}

/// Makes connections for a gRPC channel.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) trust: Trust,
    pub(crate) watcher: Watcher,
}

type Connection = TokioIo<Watched<TlsStream<TcpStream>>>;

impl tower::Service<Uri> for Connector {
    type Response = Connection;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Connection>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            match tokio::time::timeout(CONNECT_TIMEOUT, connector.connect(&uri)).await {
                Ok(result) => result,
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer from {uri}"))),
            }
        })
    }
}

impl Connector {
    async fn connect(&self, uri: &Uri) -> io::Result<Connection> {
        let host = uri.host().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an address without host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let tcp = TcpStream::connect((host, uri.port_u16().unwrap_or(CLUSTER_PORT))).await?;
        prepare(&tcp, UNACKNOWLEDGED_MAX)?;
        let config = self.trust.config().map_err(io::Error::other)?;
        let name = ServerName::try_from(self.trust.server_name()).map_err(io::Error::other)?;
        let tls = TlsConnector::from(config).connect(name, tcp).await?;
        self.check_cluster(&tls)?;
        Ok(TokioIo::new(Watched::new(tls, Arc::clone(&self.watcher))))
    }

    /// The root alone already stands for the swarm; the O is checked too, as SwarmKit's nodes do on every peer.
    fn check_cluster(&self, tls: &TlsStream<TcpStream>) -> io::Result<()> {
        let (Trust::Member(credentials) | Trust::Issuer(credentials)) = &self.trust else { return Ok(()) };
        let leaf = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let leaf = leaf.ok_or_else(|| io::Error::other("the manager showed no certificate"))?;
        let peer = read_membership(leaf).map_err(io::Error::other)?;
        if peer.cluster != credentials.identity().membership().cluster {
            return Err(io::Error::other(format!("the manager belongs to another swarm ({})", peer.cluster)));
        }
        Ok(())
    }
}
