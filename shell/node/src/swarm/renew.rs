//! Renewing the node's certificate: when it is time, when a manager asks, when the role changed.

use std::sync::{Arc, PoisonError};

use skep_model::pb::types::NodeRole;
use skep_model::pb::types::node_spec::Availability;
use skep_model::{Code, Refusal};
use skep_rpc::client::request_certificate;
use skep_rpc::{PrivateKey, Trust};

use super::member::Member;
use super::node::{SwarmNode, internal};
use crate::manager::Beginning;

impl Member {
    /// Asks for a new certificate, and takes up the role that it says.
    pub(super) async fn renew(&self, node: &Arc<SwarmNode>) -> Result<(), Refusal> {
        let current = self.credentials.identity();
        let before = current.membership().role;
        let mut last = Refusal::new(Code::Unavailable, "no manager is known");
        let mut renewed = None;
        for address in self.manager_addresses() {
            let key = PrivateKey::generate().map_err(internal)?;
            let trust = Trust::Issuer(Arc::clone(&self.credentials));
            match request_certificate(&address, trust, current.root(), None, key, Availability::Active).await {
                Ok(identity) => {
                    renewed = Some(identity);
                    break;
                }
                Err(error) => last = error.refusal(),
            }
        }
        let identity = renewed.ok_or(last)?;
        let after = identity.membership().role;
        {
            let mut key_file = self.key_file.lock().unwrap_or_else(PoisonError::into_inner);
            self.files.save(&identity, &mut key_file).map_err(internal)?;
        }
        let tls_info = identity.tls_info();
        self.credentials.replace(identity).map_err(internal)?;
        self.clients.forget();
        let mut description = crate::host::node_description(&node.deps.config);
        description.tls_info = Some(tls_info);
        if let Some(agent) = self.agent.lock().await.as_ref() {
            agent.described(description).await;
        }
        tracing::info!(?before, ?after, "the node's certificate was renewed");
        if before != after {
            self.take_role(node, after).await?;
        }
        Ok(())
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
