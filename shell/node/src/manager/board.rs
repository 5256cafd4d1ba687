//! What other threads may read of the manager without asking its loop: small, and kept up to date with each commit.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use skep_consensus::Member;
use skep_manager::Manager;
use skep_model::pb::types::NodeRole;
use skep_model::{Cluster, NodeId, RaftId};
use skep_pki::RootHeldUp;
use skep_store::{Action, AnyObject, Event, Read as _, Store};

/// Whose key the unlock key is (interop §1.7).
const MANAGER_SUBSYSTEM: &str = "swarm-manager";

/// The loop's notice board.
#[derive(Clone, Default)]
pub struct Board {
    /// Managers: the quorum, and those who join it.
    pub members: BTreeMap<RaftId, Member>,
    /// How many of them count for the quorum.
    pub voters: usize,
    /// Numbers that were members once, and may hear that they are none any more.
    pub removed: BTreeSet<RaftId>,
    /// Roles that the store gives to nodes.
    pub roles: BTreeMap<NodeId, NodeRole>,
    /// Nodes whose certificates are refused.
    pub blacklisted: BTreeSet<NodeId>,
    /// The root certificate bundle, exactly as the tokens' digest was made of it.
    pub root_certificate: Bytes,
    /// The key that opens managers after a restart, empty without autolock; and the cluster version it is of.
    pub unlock_key: (Bytes, u64),
    /// What a change of the swarm's root waits for.
    pub root_held_up: Option<RootHeldUp>,
}

impl Board {
    /// Everything, as it is now.
    pub fn of(manager: &Manager) -> Self {
        Self {
            members: manager.membership().iter().map(|member| (member.raft_id, member.clone())).collect(),
            voters: manager.voters().len(),
            removed: manager.membership().gone().collect(),
            ..Self::of_facts(manager.facts())
        }
    }

    fn of_facts(facts: &Store) -> Self {
        let roles = facts.nodes().iter().map(|node| (node.id.clone(), node.role)).collect();
        let mut board = Self { roles, ..Self::default() };
        if let Some(cluster) = facts.cluster() {
            board.take_cluster(&cluster);
        }
        board.look_at(facts);
        board
    }

    /// What only all facts together say.
    pub fn look_at(&mut self, facts: &Store) {
        self.root_held_up = skep_pki::root_held_up(facts, skep_rpc::identity::read_issuer);
    }

    /// Whether an event changes anything here.
    pub fn concerns(event: &Event) -> bool {
        matches!(event.object, AnyObject::Node(_) | AnyObject::Cluster(_))
    }

    /// Follows one committed change: a swarm of thousands of nodes must not be read anew for each of them.
    pub fn observe(&mut self, event: &Event) {
        match (&event.object, event.action) {
            (AnyObject::Node(node), Action::Remove) => {
                self.roles.remove(&node.id);
            }
            (AnyObject::Node(node), Action::Create | Action::Update) => {
                self.roles.insert(node.id.clone(), node.role);
            }
            (AnyObject::Cluster(cluster), Action::Create | Action::Update) => self.take_cluster(cluster),
            _ => {}
        }
    }

    fn take_cluster(&mut self, cluster: &Cluster) {
        self.blacklisted = cluster.blacklisted_certificates.keys().filter_map(|id| NodeId::optional(id)).collect();
        self.root_certificate = cluster.root_ca.ca_cert.clone();
        let key = cluster.unlock_keys.iter().find(|key| key.subsystem == MANAGER_SUBSYSTEM);
        self.unlock_key = (key.map(|key| key.key.clone()).unwrap_or_default(), cluster.meta.version);
    }
}
