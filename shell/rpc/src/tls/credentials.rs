//! What this node presents and trusts, swapped as a whole when its certificate or its root changes.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, ServerConfig};
use tokio::sync::watch;

use crate::identity::{IdentityError, NodeIdentity, TrustRoot};

/// gRPC's protocol name.
const ALPN: &[u8] = b"h2";

/// Why TLS cannot be set up with an identity.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The identity's key or certificate.
    #[error("the node's identity cannot be used for TLS")]
    Identity(#[from] IdentityError),
    /// The library refused it.
    #[error("TLS cannot be set up with the node's certificate")]
    Setup(#[from] rustls::Error),
    /// The root bundle cannot serve as a trust anchor.
    #[error("the root bundle cannot be used to verify peers")]
    Root(#[from] rustls::server::VerifierBuilderError),
}

/// The node's identity as every connection sees it: replaced at once for all connections made afterwards. Those that
/// live go on; who drops a root closes them (`Server::disconnect`).
pub struct Credentials {
    current: ArcSwap<Current>,
    changes: watch::Sender<Arc<NodeIdentity>>,
}

pub(crate) struct Current {
    pub(crate) identity: Arc<NodeIdentity>,
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

impl Credentials {
    /// Starts with an identity.
    pub fn new(identity: NodeIdentity) -> Result<Arc<Self>, TlsError> {
        let current = Current::new(identity)?;
        let (changes, _) = watch::channel(Arc::clone(&current.identity));
        Ok(Arc::new(Self { current: ArcSwap::from_pointee(current), changes }))
    }

    /// Takes a renewed certificate or another root into use. On an error nothing changes.
    pub fn replace(&self, identity: NodeIdentity) -> Result<(), TlsError> {
        let current = Current::new(identity)?;
        let identity = Arc::clone(&current.identity);
        self.current.store(Arc::new(current));
        self.changes.send_replace(identity);
        Ok(())
    }

    /// What is in use now.
    pub fn identity(&self) -> Arc<NodeIdentity> {
        Arc::clone(&self.current.load().identity)
    }

    /// Sees every change.
    pub fn changes(&self) -> watch::Receiver<Arc<NodeIdentity>> {
        self.changes.subscribe()
    }

    pub(crate) fn current(&self) -> Arc<Current> {
        self.current.load_full()
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Credentials").field(self.identity().membership()).finish()
    }
}

impl Current {
    fn new(identity: NodeIdentity) -> Result<Self, TlsError> {
        let identity = Arc::new(identity);
        let roots = Arc::new(identity.root().store());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider())
            .allow_unauthenticated()
            .build()?;
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(identity.chain().to_vec(), identity.key().der()?)?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session would carry an identity past a change of root.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider()).build()?;
        let client = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_webpki_verifier(verifier)
            .with_client_auth_cert(identity.chain().to_vec(), identity.key().der()?)?;
        Ok(Self { identity, server: Arc::new(server), client: Arc::new(finish(client)) })
    }
}

/// A client that verifies the server but has no certificate yet.
pub(super) fn newcomer(root: &TrustRoot) -> Result<ClientConfig, TlsError> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(root.store()), provider()).build()?;
    let client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_webpki_verifier(verifier)
        .with_no_client_auth();
    Ok(finish(client))
}

pub(super) fn finish(mut client: ClientConfig) -> ClientConfig {
    client.alpn_protocols = vec![ALPN.to_vec()];
    client.resumption = Resumption::disabled();
    client
}

/// ring, with ECDHE and AEAD suites alone.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
