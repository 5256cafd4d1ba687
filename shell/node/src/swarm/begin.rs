//! Making a swarm, and joining one.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use skep_disk::{DataKey, NodeSettings, UnlockKey};
use skep_docker_api as api;
use skep_manager::Genesis;
use skep_model::defaults::{CLUSTER_PORT, SUBNET_SIZE};
use skep_model::pb::types::{CaConfig, NodeRole, Peer, RootCa};
use skep_model::{Cluster, ClusterId, Code, NodeId, Refusal};
use skep_pki::Obstacle;
use skep_rpc::client::{fetch_root, request_certificate, unlock_key};
use skep_rpc::identity::{Signer, create_root};
use skep_rpc::{Credentials, ExternalCas, Membership, NodeIdentity, PrivateKey, Trust};

use super::member::{Member, Start};
use super::node::{State, SwarmNode, already_member, internal};
use crate::advertise;
use crate::manager::{Authority, ROOT_READER};

/// How long a command waits for the node to be ready; then it goes on in the background (Docker's text says so).
const READY_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a manager that joins may take to get the log: longer than the others wait for one that is silent, so that
/// their verdict is heard.
const COUNTED_TIMEOUT: Duration = Duration::from_secs(20);
/// Data path ports that may be chosen (interop §8).
const DATA_PATH_PORTS: std::ops::RangeInclusive<u32> = 1024..=49151;

/// The longest prefix of a network's subnet: eight addresses, several of which the network itself takes.
const SUBNET_SIZE_MAX: u32 = 29;

/// Addresses as they will be used.
struct Addresses {
    listen: String,
    advertise: String,
    data_path: String,
}

impl SwarmNode {
    /// `swarm init`.
    pub(super) async fn init(self: &Arc<Self>, request: api::InitRequest) -> Result<NodeId, Refusal> {
        let node_id = {
            let _one = self.lifecycle.lock().await;
            match request.force_new_cluster {
                true => self.force_new(request).await?,
                false => self.init_new(request).await?,
            }
        };
        self.wait_ready().await?;
        Ok(node_id)
    }

    async fn init_new(self: &Arc<Self>, request: api::InitRequest) -> Result<NodeId, Refusal> {
        if !matches!(self.state(), State::Inactive) {
            return Err(already_member());
        }
        check_init(&request)?;
        let addresses = self.addresses(&request.listen_addr, &request.advertise_addr, &request.data_path_addr)?;
        let begun = self.found(&request, &addresses).await;
        if begun.is_err() {
            self.set(State::Inactive);
            self.files.wipe().map_err(internal)?;
        }
        begun
    }

    async fn found(self: &Arc<Self>, request: &api::InitRequest, addresses: &Addresses) -> Result<NodeId, Refusal> {
        let (now, mut rng) = (self.deps.clock.now().wall, self.deps.clock.rng());
        let mut spec = skep_pki::default_cluster_spec();
        request.settings.merge_into(&mut spec);
        skep_store::commands::check_cluster(&spec)?;
        let locks = request.auto_lock_managers
            || spec.encryption_config.as_ref().is_some_and(|encryption| encryption.auto_lock_managers);
        spec.encryption_config.get_or_insert_default().auto_lock_managers = locks;
        let asked = spec.ca_config.clone().unwrap_or_default();
        if let Some(config) = &mut spec.ca_config {
            // What comes of them is in the cluster's root.
            config.signing_ca_cert = bytes::Bytes::new();
            config.signing_ca_key = bytes::Bytes::new();
        }
        let unlock_key = locks.then(|| skep_pki::UnlockKey::generate(&mut rng));
        let (root, root_key) = create_root(now, &mut rng).map_err(internal)?;
        let node_id = NodeId::random(&mut rng);
        let cluster_id = ClusterId::random(&mut rng);
        let key = PrivateKey::generate().map_err(internal)?;
        let signer = Signer::new(root.pem(), root_key.to_pem(), bytes::Bytes::new()).map_err(internal)?;
        let subject = Membership { node: node_id.clone(), role: NodeRole::Manager, cluster: cluster_id.clone() };
        let life = spec.ca_config.as_ref().and_then(|config| config.node_cert_expiry.as_ref());
        let life = life.map_or(skep_model::defaults::NODE_CERTIFICATE_EXPIRY, skep_model::time::duration);
        let chain = signer.sign(&key.csr().map_err(internal)?, &subject, life, now, &mut rng).map_err(internal)?;
        let identity = NodeIdentity::new(root.clone(), chain, key).map_err(internal)?;
        let settings = skep_pki::ClusterSettings {
            id: cluster_id,
            spec,
            root_certificate: root.pem().clone(),
            root_key: bytes::Bytes::copy_from_slice(root_key.to_pem().as_bytes()),
            unlock_key: unlock_key.clone(),
            address_pools: request.default_addr_pool.clone(),
            subnet_size: request.subnet_size,
            vxlan_udp_port: request.data_path_port,
        };
        let mut cluster = skep_pki::default_cluster(settings, &mut rng);
        cluster.root_ca = self.root_asked_for(&cluster, &asked, &identity).await?;
        let genesis = Genesis {
            cluster,
            node: skep_pki::first_node(node_id.clone(), request.availability, request.data_path_port),
        };
        self.files.begin().map_err(internal)?;
        let lock = unlock_key.as_ref().and_then(|key| UnlockKey::from_bytes(key.bytes()));
        self.save_new(&identity, lock, &self.node_settings(addresses, "", request.data_path_port))?;
        let opening = unlock_key.and_then(|key| UnlockKey::from_bytes(key.bytes()));
        self.open(opening.as_ref(), Start::Found(Box::new(genesis))).await?;
        if let Err(error) = self.files.begun() {
            // A start that finds the mark would take a swarm that was answered for for one that was never made.
            if let Some(member) = self.member() {
                member.stop_loops().await;
            }
            return Err(internal(error));
        }
        Ok(node_id)
    }

    /// The new swarm's root under the settings that it is made with, as an update would have it.
    async fn root_asked_for(
        &self,
        cluster: &Cluster,
        config: &CaConfig,
        identity: &NodeIdentity,
    ) -> Result<RootCa, Refusal> {
        let credentials = Credentials::new(identity.clone()).map_err(internal)?;
        let authority = Authority::new(ExternalCas::new(credentials), self.deps.clock);
        let mut findings = skep_pki::Findings::new();
        loop {
            let now = self.deps.clock.now().wall;
            match skep_pki::root_under(cluster, config, ROOT_READER, now, &findings) {
                Ok(root) => return Ok(root),
                Err(Obstacle::Refused(refusal)) => return Err(refusal),
                Err(Obstacle::Unknown(inquiry)) => {
                    let finding = authority.find((*inquiry).clone()).await;
                    findings.push((*inquiry, finding));
                }
            }
        }
    }

    /// `swarm init --force-new-cluster`: this manager's state, without the other managers.
    async fn force_new(self: &Arc<Self>, request: api::InitRequest) -> Result<NodeId, Refusal> {
        if matches!(self.state(), State::Inactive) {
            // As Docker: nothing is there that could be lost.
            tracing::warn!("there is no swarm state on this node to make a new cluster of: a new swarm is made");
            return self.init_new(request).await;
        }
        // Nothing is stopped before it is known what comes instead.
        let mut settings = self.settings()?;
        if !request.advertise_addr.is_empty() || settings.advertise_addr.is_empty() {
            let addresses = self.addresses(&request.listen_addr, &request.advertise_addr, &request.data_path_addr)?;
            settings.listen_addr = addresses.listen;
            settings.advertise_addr = addresses.advertise;
            settings.data_path_addr = addresses.data_path;
        }
        let unlock = match self.state() {
            State::Active(member) => {
                if member.manager_handle().is_none() {
                    return Err(crate::engine::a_worker());
                }
                self.files.save_settings(&settings).map_err(internal)?;
                let key =
                    member.key_file.lock().unwrap_or_else(std::sync::PoisonError::into_inner).unlock_key().cloned();
                self.set(State::Pending);
                member.stop_loops().await;
                key
            }
            State::Locked => {
                return Err(Refusal::new(
                    Code::Unavailable,
                    "Swarm is encrypted and needs to be unlocked before it can be used. Please use \"docker swarm \
                     unlock\" to unlock it.",
                ));
            }
            State::Failed(_) => {
                self.files.save_settings(&settings).map_err(internal)?;
                None
            }
            State::Inactive | State::Pending => {
                return Err(Refusal::new(
                    Code::FailedPrecondition,
                    "there is no swarm state on this node to make a new cluster of",
                ));
            }
        };
        if let Err(refusal) = self.open(unlock.as_ref(), Start::ForceNew).await {
            self.set(State::Failed(refusal.message.clone()));
            return Err(refusal);
        }
        let member = self.member().ok_or_else(|| {
            Refusal::new(Code::FailedPrecondition, "there is no swarm state on this node to make a new cluster of")
        })?;
        Ok(member.node_id.clone())
    }

    /// `swarm join`.
    pub(super) async fn join(self: &Arc<Self>, request: api::JoinRequest) -> Result<(), Refusal> {
        {
            let _one = self.lifecycle.lock().await;
            self.join_any(&request).await?;
        }
        self.wait_ready().await?;
        self.wait_counted().await
    }

    /// Waits until a manager that joins counts for the quorum. One that the others took out again before it did is in no
    /// swarm, and its operator is told why.
    async fn wait_counted(self: &Arc<Self>) -> Result<(), Refusal> {
        let Some(member) = self.member() else { return Ok(()) };
        let Some(handle) = member.manager_handle() else { return Ok(()) };
        let mut status = handle.status();
        let counted = async {
            let end = status.wait_for(|status| status.role.votes || status.role.is_removed).await;
            // Its loop ends when it hears that it was removed.
            end.is_ok_and(|status| status.role.votes)
        };
        match tokio::time::timeout(COUNTED_TIMEOUT, counted).await {
            Err(_) => Err(joins_in_background()),
            Ok(true) => Ok(()),
            Ok(false) => self.join_in_vain(&member).await,
        }
    }

    async fn join_in_vain(self: &Arc<Self>, member: &Arc<Member>) -> Result<(), Refusal> {
        let _one = self.lifecycle.lock().await;
        if !self.member().is_some_and(|present| Arc::ptr_eq(&present, member)) {
            // Something else has been decided about this node meanwhile.
            return Err(joins_in_background());
        }
        self.finish_leaving(Some(Arc::clone(member)), false).await?;
        Err(Refusal::new(
            Code::FailedPrecondition,
            "the managers took this node out again before it counted for their quorum: it did not get the swarm's log \
             from them in time, or was demoted meanwhile. It is in no swarm now; look at its disk and its way to the \
             managers, then join again",
        ))
    }

    async fn join_any(self: &Arc<Self>, request: &api::JoinRequest) -> Result<(), Refusal> {
        if !matches!(self.state(), State::Inactive) {
            return Err(already_member());
        }
        if request.remote_addrs.is_empty() {
            return Err(Refusal::invalid("at least one RemoteAddr is required to join"));
        }
        check_own_addresses(request)?;
        let token = skep_pki::token::parse(&request.join_token).map_err(|error| Refusal::invalid(error.to_string()))?;
        let mut last = Refusal::invalid("at least one RemoteAddr is required to join");
        for remote in &request.remote_addrs {
            let (host, port) = advertise::split_port(remote, CLUSTER_PORT)?;
            let remote = advertise::join_port(&host, port);
            match self.join_through(request, &token, &remote).await {
                Ok(()) => return Ok(()),
                Err(refusal) => {
                    // Nothing half-joined stays: the next address, or the next command, begins anew.
                    self.set(State::Inactive);
                    self.files.wipe().map_err(internal)?;
                    last = Refusal::new(refusal.code, format!("{} (manager {remote})", refusal.message));
                }
            }
        }
        Err(last)
    }

    async fn join_through(
        self: &Arc<Self>,
        request: &api::JoinRequest,
        token: &skep_pki::ParsedToken,
        remote: &str,
    ) -> Result<(), Refusal> {
        let addresses = self.join_addresses(request, remote).await?;
        let now = self.deps.clock.now().wall;
        let root = fetch_root(remote, &token.root, now).await.map_err(|error| error.refusal())?;
        let key = PrivateKey::generate().map_err(internal)?;
        let trust = Trust::Newcomer(root.clone());
        let identity = request_certificate(remote, trust, &root, Some(&request.join_token), key, request.availability)
            .await
            .map_err(|error| error.refusal())?;
        let is_manager = identity.membership().role == NodeRole::Manager;
        let mut lock = None;
        if is_manager {
            let credentials = Credentials::new(identity.clone()).map_err(internal)?;
            let answer = unlock_key(remote, credentials).await.map_err(|error| error.refusal())?;
            lock = answer.and_then(|answer| UnlockKey::from_bytes(&answer.unlock_key));
        }
        let opening = lock.as_ref().and_then(|key| UnlockKey::from_bytes(key.expose()));
        self.files.save_remotes(&[Peer { node_id: String::new(), addr: remote.to_owned() }]).map_err(internal)?;
        self.save_new(&identity, lock, &self.node_settings(&addresses, remote, 0))?;
        self.open(opening.as_ref(), Start::Joined(vec![remote.to_owned()])).await
    }

    fn save_new(
        &self,
        identity: &NodeIdentity,
        lock: Option<UnlockKey>,
        settings: &NodeSettings,
    ) -> Result<(), Refusal> {
        let mut key_file = self.files.new_key_file(identity.key()).map_err(internal)?;
        if identity.membership().role == NodeRole::Manager {
            key_file.headers.data_key = Some(DataKey::generate().map_err(internal)?);
        }
        if lock.is_some() {
            key_file.set_unlock_key(lock, 0);
            // The data key is new: it never lay in the clear.
            key_file.headers.needs_rotation = false;
        }
        self.files.save_settings(settings).map_err(internal)?;
        self.files.save(identity, &mut key_file).map_err(internal)
    }

    fn node_settings(&self, addresses: &Addresses, remote: &str, data_path_port: u32) -> NodeSettings {
        NodeSettings {
            remote_addr: remote.to_owned(),
            listen_addr: addresses.listen.clone(),
            advertise_addr: addresses.advertise.clone(),
            data_path_addr: addresses.data_path.clone(),
            data_path_port,
            ..NodeSettings::default()
        }
    }

    fn addresses(&self, listen: &str, wanted: &str, data_path: &str) -> Result<Addresses, Refusal> {
        let known = advertise::interface_addresses()?;
        let (listen_host, listen_port) = advertise::listen_address(listen, &known, CLUSTER_PORT)?;
        let default = self.deps.config.default_advertise_addr.as_deref();
        let (host, port) = advertise::advertise_address(wanted, default, &listen_host, listen_port, &known)?;
        let data_path = match data_path {
            "" => host.clone(),
            asked => advertise::data_path_address(asked, &known)?.to_string(),
        };
        Ok(Addresses {
            listen: advertise::join_port(&listen_host, listen_port),
            advertise: advertise::join_port(&host, port),
            data_path,
        })
    }

    /// Where nothing is said, a joining node is reached by the address that it reaches the manager from.
    async fn join_addresses(&self, request: &api::JoinRequest, remote: &str) -> Result<Addresses, Refusal> {
        let wanted = if request.advertise_addr.is_empty() && self.deps.config.default_advertise_addr.is_none() {
            own_address_towards(remote).await?
        } else {
            request.advertise_addr.clone()
        };
        self.addresses(&request.listen_addr, &wanted, &request.data_path_addr)
    }

    /// Waits until the node has a session with a manager.
    async fn wait_ready(&self) -> Result<(), Refusal> {
        let Some(member) = self.member() else { return Ok(()) };
        let mut session = member.session.clone();
        let ready = session.wait_for(|state| state.session.is_some());
        match tokio::time::timeout(READY_TIMEOUT, ready).await {
            Ok(_) => Ok(()),
            Err(_) => Err(joins_in_background()),
        }
    }
}

/// What is said of this node must hold, whoever the managers are.
fn check_own_addresses(request: &api::JoinRequest) -> Result<(), Refusal> {
    let known = advertise::interface_addresses()?;
    let (host, port) = advertise::listen_address(&request.listen_addr, &known, CLUSTER_PORT)?;
    if !request.data_path_addr.is_empty() {
        advertise::data_path_address(&request.data_path_addr, &known)?;
    }
    if !request.advertise_addr.is_empty() {
        advertise::advertise_address(&request.advertise_addr, None, &host, port, &known)?;
    }
    Ok(())
}

/// Docker's text.
fn joins_in_background() -> Refusal {
    Refusal::new(
        Code::Unavailable,
        "Timeout was reached before node joined. The attempt to join the swarm will continue in the background. Use the \
         \"docker info\" command to see the current swarm status of your node.",
    )
}

async fn own_address_towards(remote: &str) -> Result<String, Refusal> {
    let failed = |error: std::io::Error| {
        Refusal::new(Code::Unavailable, format!("there is no way from here to {remote}: {error}"))
    };
    let probe = tokio::net::UdpSocket::bind(if remote.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" })
        .await
        .map_err(failed)?;
    // Connecting a datagram socket sends nothing; it only chooses the route.
    probe.connect(remote).await.map_err(failed)?;
    Ok(probe.local_addr().map_err(failed)?.ip().to_string())
}

/// Networks get their subnets from these: one that no subnet fits into would be noticed only when a service needs it.
fn check_pools(pools: &[String], subnet_size: u32) -> Result<(), Refusal> {
    let size = if subnet_size == 0 { SUBNET_SIZE } else { subnet_size };
    if size > SUBNET_SIZE_MAX {
        return Err(Refusal::invalid(format!("subnet size is out of range: {size}")));
    }
    let mut earlier: Vec<(&str, std::ops::RangeInclusive<u32>)> = Vec::new();
    for pool in pools {
        let parsed = pool
            .split_once('/')
            .and_then(|(address, length)| Some((address.parse::<Ipv4Addr>().ok()?, length.parse::<u32>().ok()?)))
            .filter(|(_, length)| (1..=32).contains(length));
        let Some((address, length)) = parsed else {
            return Err(Refusal::invalid(format!("invalid default address pool {pool:?}: not an IPv4 subnet")));
        };
        if size < length {
            return Err(Refusal::invalid(format!("invalid CIDR: {pool:?}. Subnet size is too small for pool: {size}")));
        }
        let first = u32::from(address) & (u32::MAX << (32 - length));
        let range = first..=first | (u32::MAX.checked_shr(length).unwrap_or(0));
        let overlaps = |(_, other): &&(&str, std::ops::RangeInclusive<u32>)| {
            range.start() <= other.end() && other.start() <= range.end()
        };
        if let Some((other, _)) = earlier.iter().find(overlaps) {
            return Err(Refusal::invalid(format!("default address pools {other} and {pool} overlap")));
        }
        earlier.push((pool, range));
    }
    Ok(())
}

fn check_init(request: &api::InitRequest) -> Result<(), Refusal> {
    let settings = &request.settings;
    if !settings.name.is_empty() && settings.name != "default" {
        return Err(Refusal::invalid("swarm spec must be named \"default\""));
    }
    if request.data_path_port != 0 && !DATA_PATH_PORTS.contains(&request.data_path_port) {
        return Err(Refusal::invalid(format!(
            "invalid data path port number {}: the valid range is 1024 to 49151",
            request.data_path_port
        )));
    }
    check_pools(&request.default_addr_pool, request.subnet_size)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_pools_that_cannot_work_are_refused() {
        let check = |pools: &[&str], size| {
            let pools: Vec<String> = pools.iter().map(|&pool| pool.to_owned()).collect();
            check_pools(&pools, size).map_err(|refusal| refusal.message)
        };
        assert_eq!(check(&[], 0), Ok(()));
        assert_eq!(check(&["10.30.0.0/16", "10.31.0.0/16"], 26), Ok(()));
        assert_eq!(
            check(&["10.30.0.0/32"], 29).unwrap_err(),
            r#"invalid CIDR: "10.30.0.0/32". Subnet size is too small for pool: 29"#
        );
        assert_eq!(check(&["10.30.0.0/16"], 30).unwrap_err(), "subnet size is out of range: 30");
        assert!(check(&["10.30.0.0/16", "10.30.8.0/24"], 24).unwrap_err().contains("overlap"));
        assert!(check(&["2001:db8::/32"], 0).unwrap_err().contains("not an IPv4 subnet"));
        assert!(check(&["10.0.0.0/0"], 0).unwrap_err().contains("not an IPv4 subnet"));
    }
}
