//! The manager and its parts.

use std::collections::{BTreeMap, BTreeSet};

use rand_core::RngCore;
use skep_consensus::{Consensus, Member, Membership, Mode, RecoverError, Recovered, Role};
use skep_dispatch::manager::Dispatcher;
use skep_model::pb::types::{Peer, WeightedPeer};
use skep_model::{RaftId, Time, WallTime};
use skep_network::Allocator;
use skep_orchestrator::Orchestrator;
use skep_pki::{
    Issuance, IssuerIdentity, NetworkKeys, Newcomers, RaftFacts, RaftMemberFacts, RoleManager, RootChange, RootReader,
};
use skep_scheduler::Scheduler;
use skep_store::commands::MemberView;
use skep_store::{Ledger, Read as _, Reader, Store};

use crate::effect::Effect;
use crate::genesis::Genesis;
use crate::learners::Learner;
use crate::listing::Lists;
use crate::pace::{self, Pace};
use crate::snapshot::SnapshotEncoder;
use crate::waiting::Waiting;

/// Weight of every manager in the list that workers get (interop §4.2).
const MANAGER_WEIGHT: i64 = 10;

/// Who this manager is, and how it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// This member: number, node, `host:port` of its cluster API.
    pub member: Member,
    /// Set for the first manager of a new swarm.
    pub genesis: Option<Genesis>,
    /// Reads until when a certificate (PEM) is valid: X.509 is the shell's, the function is pure.
    pub certificate_expiry: fn(&[u8]) -> Option<WallTime>,
    /// Reads whose name and key the certificates carry that a root (PEM) issues.
    pub read_issuer: fn(&[u8]) -> Option<IssuerIdentity>,
    /// Reads roots that an operator brings.
    pub roots: RootReader,
    /// How entries of the log are read.
    pub reader: Reader,
    /// How small snapshots are encoded.
    pub snapshot_encoder: SnapshotEncoder,
}

/// How a manager stands, for people and for routing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Who leads.
    pub role: Role,
    /// The leader as a member, when it is known.
    pub leader: Option<Member>,
    /// Last applied index.
    pub applied: u64,
}

/// One manager.
pub struct Manager {
    pub(crate) member: Member,
    pub(crate) consensus: Consensus,
    pub(crate) ledger: Ledger,
    pub(crate) snapshot_encoder: SnapshotEncoder,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) orchestrator: Orchestrator,
    pub(crate) scheduler: Scheduler,
    pub(crate) network: Allocator,
    pub(crate) roles: RoleManager,
    pub(crate) issuance: Issuance,
    pub(crate) newcomers: Newcomers,
    pub(crate) keys: NetworkKeys,
    pub(crate) root_change: RootChange,
    pub(crate) genesis: Option<Genesis>,
    pub(crate) certificate_expiry: fn(&[u8]) -> Option<WallTime>,
    pub(crate) read_issuer: fn(&[u8]) -> Option<IssuerIdentity>,
    pub(crate) roots: RootReader,
    pub(crate) pace: Pace,
    pub(crate) waiting: Waiting,
    pub(crate) lists: Lists,
    pub(crate) effects: Vec<Effect>,
    pub(crate) role: Role,
    /// Leads, and has applied everything that was acknowledged before: the deciders run.
    pub(crate) leading: bool,
    /// Something happened since the last turn of the deciders.
    pub(crate) dirty: bool,
    /// The deciders' last changes were not taken: they rest until then.
    pub(crate) paused_until: Time,
    /// Nor before this index is applied.
    pub(crate) paused_below: u64,
    pub(crate) applied: u64,
    pub(crate) next_read: u64,
    /// The time of the last turn.
    pub(crate) latest: Time,
    pub(crate) members_told: (Vec<Member>, BTreeSet<RaftId>),
    /// Connections that the transport cannot make now.
    pub(crate) unreachable: BTreeSet<RaftId>,
    /// Members that answered within the election timeout, as of the last tick: Raft forgets them all at each timeout,
    /// and knows them again only when they answered once more.
    pub(crate) heard: BTreeSet<RaftId>,
    /// Since when each member answers.
    pub(crate) active_since: BTreeMap<RaftId, Time>,
    /// Members that asked to be members no more. They go whether or not the quorum could spare them.
    pub(crate) departing: BTreeSet<RaftId>,
    /// Members that do not vote yet, as this leader has seen them.
    pub(crate) learners: BTreeMap<RaftId, Learner>,
}

impl Manager {
    /// A manager from what lay on disk. `facts` are the store as of the recovered snapshot (empty without one).
    pub fn new(
        config: Config,
        recovered: Recovered,
        facts: Store,
        rng: &mut dyn RngCore,
    ) -> Result<Self, RecoverError> {
        let applied = recovered.snapshot.index;
        let mode = if pace::is_dockers(&facts) { Mode::Docker } else { Mode::Skep };
        let consensus_config = skep_consensus::Config::new(config.member.raft_id, mode);
        let mut pace = Pace::default();
        pace.skep_nodes.insert(config.member.node_id.clone());
        let consensus = Consensus::new(consensus_config, recovered, rng)?;
        let mut manager = Self {
            dispatcher: Dispatcher::new(config.member.node_id.clone()),
            member: config.member,
            consensus,
            ledger: Ledger::reading(facts, config.reader),
            snapshot_encoder: config.snapshot_encoder,
            orchestrator: Orchestrator::new(),
            scheduler: Scheduler::new(),
            network: Allocator::new(),
            roles: RoleManager::new(),
            issuance: Issuance::new(),
            newcomers: Newcomers::new(),
            keys: NetworkKeys::new(),
            root_change: RootChange::new(),
            genesis: config.genesis,
            certificate_expiry: config.certificate_expiry,
            read_issuer: config.read_issuer,
            roots: config.roots,
            pace,
            waiting: Waiting::default(),
            lists: Lists::default(),
            effects: Vec::new(),
            role: Role::default(),
            leading: false,
            dirty: true,
            paused_until: Time::default(),
            paused_below: 0,
            applied,
            next_read: 0,
            latest: Time::default(),
            members_told: Default::default(),
            unreachable: BTreeSet::new(),
            heard: BTreeSet::new(),
            active_since: BTreeMap::new(),
            departing: BTreeSet::new(),
            learners: BTreeMap::new(),
        };
        manager.read_snapshot_policy();
        manager.tell_members();
        Ok(manager)
    }

    /// How this manager stands.
    pub fn status(&self) -> Status {
        let leader = self.role.leader.and_then(|id| self.membership().get(id)).cloned();
        Status { role: self.role, leader, applied: self.applied }
    }

    /// Who leads, as far as this manager knows.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The last index that was applied.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Who the managers are: the quorum, and those who join it.
    pub fn membership(&self) -> &Membership {
        self.consensus.membership()
    }

    /// Members that count for the quorum; the others have joined and do not have the log yet.
    pub fn voters(&self) -> BTreeSet<RaftId> {
        self.consensus.voters()
    }

    /// This member.
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// Committed facts.
    pub fn facts(&self) -> &Store {
        self.ledger.committed()
    }

    /// Whether the deciders run here.
    pub fn is_leading(&self) -> bool {
        self.leading
    }

    /// The quorum as commands see it.
    pub(crate) fn member_views(&self) -> Vec<MemberView> {
        let leader = self.role.leader;
        let (reachable, voters) = (self.reachable_members(), self.voters());
        self.membership()
            .iter()
            .map(|member| MemberView {
                raft_id: member.raft_id,
                node_id: member.node_id.clone(),
                addr: member.addr.clone(),
                leader: leader == Some(member.raft_id),
                // Nobody can count on one that does not count yet.
                reachable: reachable.contains(&member.raft_id) && voters.contains(&member.raft_id),
                votes: voters.contains(&member.raft_id),
            })
            .collect()
    }

    /// Members that answer, this one included. The leader hears all of them; a follower knows only what its transport
    /// says.
    pub(crate) fn reachable_members(&self) -> BTreeSet<RaftId> {
        let heard_now = self.heard_now();
        let answers = |id: &RaftId| {
            let others = || match self.role.is_leader {
                true => heard_now.contains(id) || self.heard.contains(id),
                false => !self.unreachable.contains(id),
            };
            *id == self.member.raft_id || others()
        };
        self.membership().iter().map(|member| member.raft_id).filter(answers).collect()
    }

    /// Members that a quorum may be built on: they answer, and do not leave. Nor does this one count that is about to go.
    pub(crate) fn staying_members(&self) -> BTreeSet<RaftId> {
        let has_left = |id: &RaftId| {
            let member = self.membership().get(*id);
            member.and_then(|member| self.facts().node(&member.node_id)).is_some_and(|node| node.has_left())
        };
        let leaves = |id: &RaftId| self.departing.contains(id) || has_left(id);
        self.reachable_members().into_iter().filter(|id| !leaves(id)).collect()
    }

    pub(crate) fn heard_now(&self) -> BTreeSet<RaftId> {
        self.consensus.active()
    }

    /// The quorum as the role manager sees it.
    pub(crate) fn raft_facts(&self) -> RaftFacts {
        let (staying, voters) = (self.staying_members(), self.voters());
        let facts = |member: &Member| RaftMemberFacts {
            votes: voters.contains(&member.raft_id),
            id: member.raft_id,
            node: member.node_id.clone(),
            staying: staying.contains(&member.raft_id),
            active_since: self.active_since.get(&member.raft_id).copied().unwrap_or_default(),
        };
        RaftFacts {
            me: self.member.raft_id,
            members: self.membership().iter().map(facts).collect(),
            takes_docker: self.takes_docker(),
            skep_nodes: self.pace.skep_nodes.clone(),
        }
    }

    /// How often `tick` is to be called.
    pub fn tick_interval(&self) -> std::time::Duration {
        self.consensus.tick_interval()
    }

    /// Tells the transport and the workers who the managers are, if that changed.
    pub(crate) fn tell_members(&mut self) {
        // Who goes is answered until it may go.
        let members: Vec<Member> = self.membership().iter().chain(self.membership().leaving()).cloned().collect();
        let told = (members, self.voters());
        if told == self.members_told {
            return;
        }
        self.members_told.clone_from(&told);
        let (members, voters) = told;
        // Who has no log yet can tell workers nothing.
        let peers = members.iter().filter(|member| voters.contains(&member.raft_id)).map(|member| WeightedPeer {
            peer: Some(Peer { node_id: member.node_id.to_string(), addr: member.addr.clone() }),
            weight: MANAGER_WEIGHT,
        });
        self.dispatcher.set_managers(peers.collect());
        self.unreachable.retain(|id| members.iter().any(|member| member.raft_id == *id));
        self.effects.push(Effect::Members(members));
    }

    /// An id for a log entry or a change of membership.
    pub(crate) fn request_number(rng: &mut dyn RngCore) -> u64 {
        // 0 means absent on the wire.
        rng.next_u64() | 1
    }
}
