//! A swarm's root, its members' identities, and managers that serve.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use skep_model::pb::types::NodeRole;
use skep_model::{ClusterId, NodeId, WallTime};
use skep_rpc::identity::{Signer, Subject, create_root};
use skep_rpc::{Clients, Credentials, Leader, NodeIdentity, PrivateKey, Server, TrustRoot};
use tokio::net::TcpListener;

use crate::fake::Fake;

/// Nothing on loopback takes this long; a test that waits for it has failed.
pub const LIMIT: Duration = Duration::from_secs(20);

pub fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    WallTime(i64::try_from(since.as_nanos()).expect("before 2262"))
}

pub fn rng() -> ChaCha20Rng {
    ChaCha20Rng::from_os_rng()
}

/// A root and the members that it signs.
pub struct Swarm {
    pub root: TrustRoot,
    pub key: PrivateKey,
    pub cluster: ClusterId,
}

impl Swarm {
    pub fn new() -> Self {
        let (root, key) = create_root(now(), &mut rng()).expect("a root can be made");
        Self { root, key, cluster: ClusterId::random(&mut rng()) }
    }

    pub fn signer(&self) -> Signer {
        Signer::new(self.root.pem(), self.key.to_pem(), Default::default()).expect("the root signs")
    }

    pub fn identity(&self, role: NodeRole) -> NodeIdentity {
        self.identity_of(NodeId::random(&mut rng()), role)
    }

    pub fn identity_of(&self, node: NodeId, role: NodeRole) -> NodeIdentity {
        let key = PrivateKey::generate().expect("a key");
        let subject = Subject { node, role, cluster: self.cluster.clone() };
        let csr = key.csr().expect("a request");
        let chain = self.signer().sign(&csr, &subject, Duration::from_secs(86400), now(), &mut rng()).expect("signed");
        NodeIdentity::new(self.root.clone(), chain, key).expect("fits")
    }

    pub fn credentials(&self, role: NodeRole) -> Arc<Credentials> {
        Credentials::new(self.identity(role)).expect("TLS takes it")
    }

    pub fn clients(&self, role: NodeRole) -> Arc<Clients> {
        Clients::new(self.credentials(role))
    }

    /// A manager that serves on loopback and leads.
    pub async fn manager(&self) -> Manager {
        self.manager_at("127.0.0.1:0").await
    }

    /// The same at a given address.
    pub async fn manager_at(&self, address: &str) -> Manager {
        let credentials = self.credentials(NodeRole::Manager);
        let node = credentials.identity().membership().node.clone();
        let clients = Clients::new(Arc::clone(&credentials));
        let fake = Fake::new(self);
        let listener = TcpListener::bind(address).await.expect("a free address");
        let backend = Arc::clone(&fake);
        let server = Server::start(listener, Arc::clone(&credentials), clients, backend).expect("serves");
        let address = server.local_addr().to_string();
        Manager { server, fake, address, node, credentials }
    }

    /// The same as a follower of another.
    pub async fn follower(&self, leader: &Manager) -> Manager {
        let manager = self.manager().await;
        manager.fake.lead(Leader::Other { node: leader.node.clone(), address: leader.address.clone() });
        manager
    }
}

/// A manager that serves.
pub struct Manager {
    pub server: Server,
    pub fake: Arc<Fake>,
    pub address: String,
    pub node: NodeId,
    pub credentials: Arc<Credentials>,
}

/// Waits until something is so.
pub async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let wait = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Fails instead of hanging.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("an answer in time")
}
