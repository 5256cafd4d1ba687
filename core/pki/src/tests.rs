//! The decisions over a real ledger.

mod authority;
mod certificates;
mod newcomers;
mod roles;
mod root_change;
mod tokens;

use bytes::Bytes;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use skep_model::pb::messages::IssueNodeCertificateRequest;
use skep_model::pb::types::node_spec::Availability;
use skep_model::pb::types::{JoinTokens, NodeRole};
use skep_model::{Caller, ClusterId, NodeId, Now, Refusal, Time};
use skep_store::{Event, Ledger, Read, Tx};

use crate::{ClusterSettings, create_missing_networks, default_cluster, default_cluster_spec, first_node, issue};

/// One swarm with one manager, every transaction committed at once.
pub(crate) struct Swarm {
    pub(crate) ledger: Ledger,
    pub(crate) rng: ChaCha20Rng,
    pub(crate) now: Now,
    index: u64,
}

impl Swarm {
    pub(crate) fn new() -> Self {
        let mut swarm =
            Self { ledger: Ledger::default(), rng: ChaCha20Rng::seed_from_u64(7), now: Now::default(), index: 1 };
        let mut rng = ChaCha20Rng::seed_from_u64(8);
        let settings = ClusterSettings {
            id: ClusterId::random(&mut rng),
            spec: default_cluster_spec(),
            root_certificate: Bytes::from_static(b"-----BEGIN CERTIFICATE-----\nroot\n-----END CERTIFICATE-----\n"),
            root_key: Bytes::from_static(b"key"),
            unlock_key: None,
            address_pools: Vec::new(),
            subnet_size: 0,
            vxlan_udp_port: 4799,
        };
        let first = first_node(NodeId::random(&mut rng), Availability::Active, 4799);
        swarm.change(|tx, rng| {
            tx.create(default_cluster(settings, rng))?;
            tx.create(first)?;
            create_missing_networks(tx, rng, true)
        });
        swarm
    }

    pub(crate) fn try_change<R>(
        &mut self,
        change: impl FnOnce(&mut Tx<'_>, &mut ChaCha20Rng) -> Result<R, Refusal>,
    ) -> Result<R, Refusal> {
        let Self { ledger, rng, now, index } = self;
        let (result, entry) = ledger.transact(*now, *index, *index, |tx| change(tx, rng))?;
        if let Some(entry) = entry {
            ledger.commit(&entry).expect("what the ledger proposed fits");
            *index += 1;
        }
        Ok(result)
    }

    /// The events of a change.
    pub(crate) fn change_seen(&mut self, change: impl FnOnce(&mut Tx<'_>) -> Result<(), Refusal>) -> Vec<Event> {
        let Self { ledger, now, index, .. } = self;
        let ((), entry) = ledger.transact(*now, *index, *index, change).expect("the change is allowed");
        *index += 1;
        entry.map(|entry| ledger.commit(&entry).expect("what the ledger proposed fits")).unwrap_or_default()
    }

    pub(crate) fn change<R>(&mut self, change: impl FnOnce(&mut Tx<'_>, &mut ChaCha20Rng) -> Result<R, Refusal>) -> R {
        self.try_change(change).expect("the change is allowed")
    }

    pub(crate) fn tokens(&self) -> JoinTokens {
        let cluster = self.ledger.committed().cluster().expect("there is a cluster");
        cluster.root_ca.join_tokens.clone().expect("with tokens")
    }

    pub(crate) fn join(&mut self, token: &str) -> Result<NodeId, Refusal> {
        let request = IssueNodeCertificateRequest {
            csr: Bytes::from_static(b"csr"),
            token: token.to_owned(),
            ..Default::default()
        };
        let response = self.try_change(|tx, rng| issue(tx, None, &request, rng))?;
        Ok(NodeId::new(&response.node_id).expect("a node id"))
    }

    pub(crate) fn join_manager(&mut self) -> NodeId {
        let token = self.tokens().manager;
        self.join(&token).expect("the token is right")
    }

    pub(crate) fn desire(&mut self, node: &NodeId, role: NodeRole) {
        self.change(|tx, _| {
            let mut node = (*tx.node(node).expect("there")).clone();
            node.spec = node.spec.edit(|spec| spec.set_desired_role(role));
            tx.update(node)
        });
    }

    pub(crate) fn role(&self, node: &NodeId) -> NodeRole {
        self.ledger.committed().node(node).expect("there").role
    }

    pub(crate) fn pass(&mut self, time: std::time::Duration) {
        self.now.monotonic = self.now.monotonic.after(time);
    }
}

pub(crate) fn caller(node: &NodeId, role: NodeRole) -> Caller {
    Caller { node: node.clone(), role, forwarded_by: None, address: "192.0.2.1".to_owned() }
}

pub(crate) fn time(seconds: u64) -> Time {
    Time(seconds * 1_000_000)
}
