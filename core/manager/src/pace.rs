//! The pace of the group, and Docker Engines among the managers (decision 12).
//!
//! The fact is a label on the cluster: with it every Skep manager goes at Docker's pace. The leader writes it before a
//! Docker Engine becomes a manager, and takes it away when every manager is known to be a Skep. Each Skep member says
//! that it follows before a Docker Engine is let in; the leader slows down last.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand_core::RngCore;
use skep_consensus::Mode;
use skep_model::objects::DOCKERS_PACE;
use skep_model::pb::types::NodeRole;
use skep_model::{Cluster, Code, Make, Node, NodeId, Now, RaftId, Refusal, Time};
use skep_store::commands::{check_docker_manager, is_skep};
use skep_store::{Read, Store, Tx};

use crate::effect::{Answer, Effect, RequestId};
use crate::state::Manager;
use crate::waiting::QueuedMembership;

/// How long a Docker Engine that was given a manager's certificate is expected to join.
const EXPECTED_FOR: Duration = Duration::from_secs(60);
/// How long a join waits until the managers follow; below the 20 s after which `docker swarm join` stops waiting.
const JOIN_PATIENCE: Duration = Duration::from_secs(15);
/// A member that did not say that it follows is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Questions for this member's pace that may wait until it has applied what they name.
const QUESTIONS_MAX: usize = 64;

/// A Docker Engine's join that waits until everybody follows.
#[derive(Debug)]
struct WaitingJoin {
    request: RequestId,
    node: NodeId,
    address: String,
    until: Time,
}

/// What this manager knows of engines and pace beyond the facts.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Nodes that said they are Skep.
    pub(crate) skep_nodes: BTreeSet<NodeId>,
    /// Nodes that did not know how to say so.
    docker_nodes: BTreeSet<NodeId>,
    /// Docker Engines that got a manager's certificate, and until when they are expected to join.
    expected: BTreeMap<NodeId, Time>,
    /// Members that said to this leader that they follow.
    following: BTreeSet<RaftId>,
    /// When to ask a member again.
    asked: BTreeMap<RaftId, Time>,
    joins: Vec<WaitingJoin>,
    questions: Vec<(RequestId, u64)>,
    /// Members, nodes, the label or the role changed since the mode was chosen.
    pub(crate) is_stale: bool,
    /// What the members are, as long as nothing is committed or heard that could change it.
    pub(crate) makes: Option<Makes>,
}

/// What the members are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Makes {
    /// One is a Docker Engine.
    docker: bool,
    /// All but this manager are known to be Skep.
    others_are_skep: bool,
}

/// What the leader wants of the label.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wanted {
    Dockers,
    Skeps,
}

impl Pace {
    fn make_of(&self, node: &NodeId, facts: &Store) -> Option<Make> {
        if self.skep_nodes.contains(node) {
            return Some(Make::Skep);
        }
        if self.docker_nodes.contains(node) {
            return Some(Make::Docker);
        }
        facts.node(node)?.make()
    }

    pub(crate) fn is_docker(&self, node: &NodeId, facts: &Store) -> bool {
        self.make_of(node, facts) == Some(Make::Docker)
    }

    fn expects(&self, now: Now) -> bool {
        self.expected.values().any(|until| *until > now.monotonic)
    }

    /// Until the engine is a member, or has not come for a while, the pace is its.
    pub(crate) fn expect(&mut self, node: NodeId, now: Now) {
        self.expected.insert(node, now.monotonic.after(EXPECTED_FOR));
    }

    /// A new leader asks everybody itself.
    pub(crate) fn lead(&mut self) {
        self.following.clear();
        self.asked.clear();
        self.expected.clear();
    }

    /// When the leader has something to do here.
    pub(crate) fn wake_at(&self) -> Option<Time> {
        if self.expected.is_empty() && self.asked.is_empty() && self.joins.is_empty() {
            return None;
        }
        let joins = self.joins.iter().map(|join| join.until);
        self.expected.values().copied().chain(self.asked.values().copied()).chain(joins).min()
    }
}

/// Whether the facts say Docker's pace.
pub(crate) fn is_dockers(facts: &impl Read) -> bool {
    facts.cluster().is_some_and(|cluster| cluster.has_dockers_pace())
}

impl Manager {
    /// A node said what it is, or did not know how to.
    pub fn met(&mut self, node: NodeId, make: Make) {
        let (is, was) = match make {
            Make::Skep => (&mut self.pace.skep_nodes, &mut self.pace.docker_nodes),
            Make::Docker => (&mut self.pace.docker_nodes, &mut self.pace.skep_nodes),
        };
        was.remove(&node);
        if is.insert(node) {
            self.pace.makes = None;
            self.dirty = true;
            self.follow_pace();
        }
    }

    /// The pace at which this manager goes.
    pub fn mode(&self) -> Mode {
        self.consensus.mode()
    }

    /// Whether every manager is a Skep, and none is about to be another.
    pub(crate) fn only_skep(&self) -> bool {
        let facts = self.facts();
        !is_dockers(facts) && self.pace.expected.is_empty() && self.pace.joins.is_empty() && !self.docker_manages()
    }

    fn docker_manages(&self) -> bool {
        self.makes().docker
    }

    fn makes(&self) -> Makes {
        if let Some(known) = self.pace.makes {
            return known;
        }
        let mut makes = Makes { docker: false, others_are_skep: true };
        for member in self.membership().iter() {
            let make = self.pace.make_of(&member.node_id, self.facts());
            makes.docker |= make == Some(Make::Docker);
            makes.others_are_skep &= make == Some(Make::Skep) || member.raft_id == self.member.raft_id;
        }
        makes
    }

    /// Members that must follow and have not said so.
    fn not_following(&self) -> Vec<RaftId> {
        let others = self.membership().iter().filter(|member| member.raft_id != self.member.raft_id);
        others
            .filter(|member| !self.pace.is_docker(&member.node_id, self.facts()))
            .map(|member| member.raft_id)
            .filter(|id| !self.pace.following.contains(id))
            .collect()
    }

    /// Whether a Docker Engine may be let in: the fact is committed, and every Skep member said that it follows.
    pub(crate) fn takes_docker(&self) -> bool {
        self.leading && is_dockers(self.facts()) && self.not_following().is_empty()
    }

    /// Goes at the pace that the facts say. A leader slows down once the others have: until then its heartbeats are
    /// what a follower of the fast pace expects.
    pub(crate) fn follow_pace(&mut self) {
        self.pace.makes = Some(self.makes());
        let mode = match is_dockers(self.facts()) || self.docker_manages() {
            true if self.leading && !self.docker_manages() && !self.takes_docker() => return,
            true => Mode::Docker,
            false => Mode::Skep,
        };
        if mode != self.consensus.mode() {
            self.consensus.set_mode(mode);
            self.effects.push(Effect::Pace(mode));
        }
    }

    /// Another manager, which leads, asks whether this one goes at Docker's pace once it has applied so much.
    pub fn asked_for_pace(&mut self, request: RequestId, applied: u64) {
        if self.pace.questions.len() >= QUESTIONS_MAX {
            let (oldest, _) = self.pace.questions.remove(0);
            self.reply(oldest, Err(Refusal::new(Code::ResourceExhausted, "too many questions for the pace")));
        }
        self.pace.questions.push((request, applied));
    }

    /// What waits for facts about the pace, after they may have changed.
    pub(crate) fn look_at_pace(&mut self) {
        if std::mem::take(&mut self.pace.is_stale) {
            self.pace.makes = None;
            self.follow_pace();
        }
        self.answer_for_pace();
    }

    fn answer_for_pace(&mut self) {
        if self.pace.questions.is_empty() {
            return;
        }
        let applied = self.applied;
        let due: Vec<_> = self.pace.questions.extract_if(.., |(_, wanted)| *wanted <= applied).collect();
        for (request, _) in due {
            let mode = self.consensus.mode();
            self.reply(request, Ok(Answer::Pace(mode)));
        }
    }

    /// What a member answered to `Effect::AskPace`; nothing when it could not be asked.
    pub fn pace_answered(&mut self, member: RaftId, mode: Option<Mode>) {
        if self.leading && mode == Some(Mode::Docker) && is_dockers(self.facts()) {
            self.pace.following.insert(member);
            self.pace.asked.remove(&member);
            self.dirty = true;
        }
    }

    /// The leader's own work on the pace, before the deciders' turn.
    pub(crate) fn keep_pace(&mut self, now: Now, rng: &mut dyn RngCore) {
        if !self.pace.expected.is_empty() {
            let members: BTreeSet<NodeId> = self.membership().iter().map(|member| member.node_id.clone()).collect();
            self.pace.expected.retain(|node, until| *until > now.monotonic && !members.contains(node));
        }
        if is_dockers(self.facts()) {
            let missing: BTreeSet<RaftId> = self.not_following().into_iter().collect();
            self.pace.asked.retain(|id, _| missing.contains(id));
            for id in missing {
                self.ask_for_pace(id, now);
            }
        } else {
            self.pace.following.clear();
            self.pace.asked.clear();
        }
        self.follow_pace();
        self.settle_joins(now, rng);
    }

    fn ask_for_pace(&mut self, id: RaftId, now: Now) {
        let waits = self.pace.asked.get(&id).is_some_and(|again| *again > now.monotonic);
        let Some(member) = self.membership().get(id).filter(|_| !waits) else { return };
        let ask = Effect::AskPace { member: id, address: member.addr.clone(), applied: self.applied };
        self.effects.push(ask);
        self.pace.asked.insert(id, now.monotonic.after(ASK_AGAIN));
    }

    /// Whether a node may join as what it is; a Docker Engine that must wait is kept until everybody follows.
    pub(crate) fn may_join(&mut self, request: RequestId, node: &NodeId, address: &str, now: Now) -> bool {
        if !self.withholds_membership(node) {
            return true;
        }
        if let Err(refusal) = check_docker_manager(self.facts(), &self.member_views(), &self.pace.skep_nodes) {
            self.reply(request, Err(refusal));
            return false;
        }
        let until = now.monotonic.after(JOIN_PATIENCE);
        let (node, address) = (node.clone(), address.to_owned());
        // Also while its membership is in flight: the label may not go before it is there.
        self.expect_docker(node.clone(), now);
        self.pace.joins.push(WaitingJoin { request, node, address, until });
        self.dirty = true;
        false
    }

    fn settle_joins(&mut self, now: Now, rng: &mut dyn RngCore) {
        if self.pace.joins.is_empty() {
            return;
        }
        if self.takes_docker() {
            for WaitingJoin { request, node, address, .. } in std::mem::take(&mut self.pace.joins) {
                self.waiting.membership_queue.push_back(QueuedMembership::Join(request, node, address));
            }
            return self.next_membership(rng);
        }
        let late: Vec<_> = self.pace.joins.extract_if(.., |join| join.until <= now.monotonic).collect();
        for join in late {
            let silent: Vec<String> = self
                .not_following()
                .iter()
                .filter_map(|id| self.membership().get(*id))
                .map(|m| m.addr.clone())
                .collect();
            let message = format!(
                "a Docker Engine cannot become a manager: not every manager went over to its pace in time ({})",
                silent.join(", ")
            );
            self.pace.expected.remove(&join.node);
            self.reply(join.request, Err(Refusal::new(Code::FailedPrecondition, message)));
        }
    }

    /// Who waits for a join hears that this manager does not lead any more.
    pub(crate) fn give_up_joins(&mut self) {
        for join in std::mem::take(&mut self.pace.joins) {
            self.reply(join.request, Err(Refusal::no_leader()));
        }
    }

    /// A Docker Engine gets a manager's certificate, or asks to join.
    pub(crate) fn expect_docker(&mut self, node: NodeId, now: Now) {
        self.pace.docker_nodes.insert(node.clone());
        self.pace.makes = None;
        self.pace.is_stale = true;
        self.pace.expect(node, now);
        self.dirty = true;
    }

    /// Whether this node is a Docker Engine that is no member, and the quorum cannot take it yet: neither a manager's
    /// certificate nor membership is given to it.
    pub(crate) fn withholds_membership(&self, node: &NodeId) -> bool {
        let docker = self.pace.is_docker(node, self.facts());
        docker && self.membership().by_node(node).is_none() && !self.takes_docker()
    }
}

/// Facts for the label's transaction, gathered before it.
#[derive(Debug)]
pub(crate) struct PaceTurn {
    wanted: Option<Wanted>,
    all_skep: bool,
}

impl PaceTurn {
    /// What the leader knows before its turn.
    pub(crate) fn gather(manager: &Manager, now: Now) -> Self {
        let makes = manager.makes();
        let expects = manager.pace.expects(now) || !manager.pace.joins.is_empty();
        let wanted = (expects || makes.docker).then_some(Wanted::Dockers);
        Self { wanted, all_skep: makes.others_are_skep }
    }

    /// Writes the label or takes it away. `waiting`: Docker Engines whose promotion waits for it.
    pub(crate) fn write(
        &self,
        now: Now,
        tx: &mut Tx<'_>,
        pace: &mut Pace,
        waiting: &BTreeSet<NodeId>,
    ) -> Result<(), Refusal> {
        // They are promoted as soon as everybody follows, and then have to join.
        waiting.iter().for_each(|node| pace.expect(node.clone(), now));
        let Some(cluster) = tx.cluster() else { return Ok(()) };
        let skep_nodes = &pace.skep_nodes;
        let wanted = match self.wanted {
            _ if !waiting.is_empty() => Wanted::Dockers,
            Some(wanted) => wanted,
            None if cluster.has_dockers_pace() && self.all_skep && !promoted(tx, skep_nodes) => Wanted::Skeps,
            None => return Ok(()),
        };
        let pace = match wanted {
            Wanted::Dockers => Some(DOCKERS_PACE),
            Wanted::Skeps => None,
        };
        if cluster.pace() == pace {
            return Ok(());
        }
        let mut cluster: Cluster = (*cluster).clone();
        cluster.set_pace(pace);
        tx.update(cluster)
    }
}

/// Whether a Docker Engine has been promoted and is there to join.
fn promoted(tx: &Tx<'_>, skep_nodes: &BTreeSet<NodeId>) -> bool {
    let comes = |node: &Node| {
        node.role == NodeRole::Manager
            && node.spec.desired_role() == NodeRole::Manager
            && node.is_ready()
            && node.make().is_some()
            && !is_skep(node, skep_nodes)
    };
    tx.nodes().iter().any(|node| comes(node))
}
