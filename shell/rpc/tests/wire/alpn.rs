//! Docker's clients stop naming a protocol after their first renewal, and its older servers do too (interop §1.4).

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use skep_model::pb::types::NodeRole;
use skep_rpc::NodeIdentity;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::swarm::{Swarm, soon};

fn keys(identity: &NodeIdentity) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(identity.chain_pem()).collect();
    let key = PrivateKeyDer::from_pem_slice(identity.key().to_pem().as_bytes());
    (chain.expect("PEM"), key.expect("PEM"))
}

/// A middle that ends TLS on both sides and names no protocol on either.
async fn nameless(swarm: &Swarm, target: &str, version: &'static SupportedProtocolVersion) -> String {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (chain, key) = keys(&swarm.identity(NodeRole::Manager));
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[version]);
    let server = server.expect("known").with_no_client_auth().with_single_cert(chain, key).expect("fits");
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(swarm.root.pem()).map(|root| root.expect("PEM")));
    let (chain, key) = keys(&swarm.identity(NodeRole::Manager));
    let client = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).expect("known");
    let client = client.with_root_certificates(roots).with_client_auth_cert(chain, key).expect("fits");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let target = target.to_owned();
    tokio::spawn(async move {
        let (acceptor, connector) = (TlsAcceptor::from(Arc::new(server)), TlsConnector::from(Arc::new(client)));
        while let Ok((near, _)) = listener.accept().await {
            let (acceptor, connector, target) = (acceptor.clone(), connector.clone(), target.clone());
            tokio::spawn(async move {
                let mut near = acceptor.accept(near).await.expect("our client takes it");
                let far = TcpStream::connect(&target).await.expect("listens");
                let name = ServerName::try_from("swarm-manager").expect("a name");
                let mut far = connector.connect(name, far).await.expect("our server takes it");
                assert_eq!((near.get_ref().1.alpn_protocol(), far.get_ref().1.alpn_protocol()), (None, None));
                // How it ends is not this test's affair.
                drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
            });
        }
    });
    address
}

#[tokio::test]
async fn peers_that_name_no_protocol_are_served_and_called() {
    let swarm = Swarm::new();
    let manager = swarm.manager().await;
    for version in [&TLS12, &TLS13] {
        let address = nameless(&swarm, &manager.address, version).await;
        let clients = swarm.clients(NodeRole::Manager);
        assert!(soon(clients.health(&address, Duration::from_secs(10))).await.expect("answers"), "{version:?}");
    }
}
