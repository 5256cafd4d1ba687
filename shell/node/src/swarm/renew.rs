//! Renewing the node's certificate: when it is time, when a manager asks, when the role changed.

use std::sync::{Arc, PoisonError};

use skep_model::pb::types::node_spec::Availability;
use skep_model::pb::types::{NodeDescription, NodeRole, NodeTlsInfo};
use skep_model::{Code, Refusal};
use skep_rpc::client::request_certificate;
use skep_rpc::{NodeIdentity, PrivateKey, Trust};

use super::member::Member;
use super::node::{SwarmNode, internal};
use crate::clock::wall;
use crate::manager::{Ask, Beginning, Handle};

/// What the node says of itself, with its certificate's issuer and its root as they are now.
pub(super) fn described(node: &SwarmNode, tls_info: NodeTlsInfo) -> NodeDescription {
    NodeDescription { tls_info: Some(tls_info), ..crate::host::node_description(&node.deps.config) }
}

impl Member {
    /// Asks for a new certificate, and takes up the role that it says.
    pub(super) async fn renew(&self, node: &Arc<SwarmNode>) -> Result<(), Refusal> {
        let current = self.credentials.identity();
        let before = current.membership().role;
        let identity = match self.manager_handle() {
            // Nobody believes an expired certificate, so nobody can be asked; the CA's key is in our own store.
            Some(handle) if current.not_after() < wall() => self.sign_own(&handle).await?,
            _ => self.ask_for_certificate().await?,
        };
        let after = identity.membership().role;
        {
            let mut key_file = self.key_file.lock().unwrap_or_else(PoisonError::into_inner);
            self.files.save(&identity, &mut key_file).map_err(internal)?;
        }
        let tls_info = identity.tls_info();
        self.credentials.replace(identity).map_err(internal)?;
        self.clients.forget();
        if let Some(agent) = self.agent.lock().await.as_ref() {
            agent.described(described(node, tls_info)).await;
        }
        tracing::info!(?before, ?after, "the node's certificate was renewed");
        // Also after an earlier try that got the certificate but did not become what it says.
        if (after == NodeRole::Manager) != self.manager_handle().is_some() {
            self.take_role(node, after).await?;
        }
        Ok(())
    }

    async fn ask_for_certificate(&self) -> Result<NodeIdentity, Refusal> {
        let current = self.credentials.identity();
        let mut last = Refusal::new(Code::Unavailable, "no manager is known");
        for address in self.manager_addresses() {
            let key = PrivateKey::generate().map_err(internal)?;
            let trust = Trust::Issuer(Arc::clone(&self.credentials));
            let address = self.clients.way_to(&address);
            match request_certificate(address, trust, current.root(), None, key, Availability::Active).await {
                Ok(identity) => return Ok(identity),
                Err(error) => last = error.refusal(),
            }
        }
        Err(last)
    }

    /// A manager whose certificate ran out while the swarm was off signs its own.
    async fn sign_own(&self, handle: &Handle) -> Result<NodeIdentity, Refusal> {
        let key = PrivateKey::generate().map_err(internal)?;
        let csr = key.csr().map_err(internal)?;
        let chain = handle.ask(|reply| Ask::SignOwn(csr, reply)).await?;
        NodeIdentity::new(self.credentials.identity().root().clone(), chain, key).map_err(internal)
    }

    async fn take_role(&self, node: &Arc<SwarmNode>, role: NodeRole) -> Result<(), Refusal> {
        match role {
            NodeRole::Manager => {
                if self.manager_handle().is_none() {
                    self.files.wipe_raft().map_err(internal)?;
                    let addresses = self.manager_addresses();
                    self.start_manager(node, Beginning::Join(addresses)).await.map_err(internal)?;
                }
            }
            NodeRole::Worker => {
                self.stop_manager().await;
                self.files.wipe_raft().map_err(internal)?;
            }
        }
        Ok(())
    }

    /// Managers to ask: the one of the session first.
    pub(super) fn manager_addresses(&self) -> Vec<String> {
        let state = self.session.borrow().clone();
        let own = &self.settings.advertise_addr;
        let mut addresses: Vec<String> = Vec::new();
        let known = state.session.iter().map(|(peer, _)| &peer.addr).chain(state.remotes.iter().map(|peer| &peer.addr));
        for address in known {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        if self.manager_handle().is_some() && !addresses.contains(own) {
            addresses.push(own.clone());
        }
        addresses
    }
}
