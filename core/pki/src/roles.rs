//! From desired roles to actual ones (interop §3.4): a promotion is a change of role, a demotion first takes the member
//! out of Raft, and nothing may cost the quorum.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skep_model::pb::types::NodeRole;
use skep_model::{Node, NodeId, Now, RaftId, Refusal, Time};
use skep_store::commands::is_skep;
use skep_store::{Event, Read, Tx};

/// How long an action may take before it is asked for again.
const RETRY_PERIOD: Duration = Duration::from_secs(5);

/// The leader's view of Raft's membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftFacts {
    /// The leader itself.
    pub me: RaftId,
    /// All members, the leader included.
    pub members: Vec<RaftMemberFacts>,
    /// The quorum can take a Docker Engine now: everybody goes at its pace.
    pub takes_docker: bool,
    /// Nodes that said they are Skep.
    pub skep_nodes: BTreeSet<NodeId>,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftMemberFacts {
    /// Its number.
    pub id: RaftId,
    /// Its node.
    pub node: NodeId,
    /// Whether the leader hears it, or is it, and it does not leave.
    pub staying: bool,
    /// Since when, if it does: the longest heard takes over.
    pub active_since: Time,
    /// Whether it counts for the quorum.
    pub votes: bool,
}

/// What consensus shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleAction {
    /// Take a member out.
    RemoveMember(RaftId),
    /// Let another member lead: the leader is to be demoted, which the next leader then does.
    TransferLeadership(RaftId),
}

impl RaftFacts {
    fn of_node(&self, node: &NodeId) -> Option<&RaftMemberFacts> {
        self.members.iter().find(|member| member.node == *node)
    }

    /// Whether the voters that remain, stay and can be heard are a majority of those that remain. One without a vote can
    /// always go.
    pub fn can_remove(&self, id: RaftId) -> bool {
        if self.members.iter().any(|member| member.id == id && !member.votes) {
            return true;
        }
        let rest = self.members.iter().filter(|member| member.id != id && member.votes);
        let (count, staying) =
            rest.fold((0, 0), |(count, staying), member| (count + 1, staying + usize::from(member.staying)));
        count > 0 && staying > count / 2
    }

    /// A Docker Engine becomes a manager only once the quorum can take it: its certificate follows from its role.
    fn may_promote(&self, node: &Node) -> bool {
        self.takes_docker || self.of_node(&node.id).is_some() || is_skep(node, &self.skep_nodes)
    }

    fn successor(&self) -> Option<RaftId> {
        let others = self.members.iter().filter(|member| member.id != self.me && member.staying && member.votes);
        others.min_by_key(|member| (member.active_since, member.id)).map(|member| member.id)
    }
}

/// Brings roles to what users asked for.
#[derive(Clone, Debug, Default)]
pub struct RoleManager {
    everything: bool,
    pending: BTreeSet<NodeId>,
    /// Promotions that wait until the quorum can take a Docker Engine.
    waiting_for_pace: BTreeSet<NodeId>,
    /// Actions that were asked for, and when to ask again.
    asked: BTreeMap<NodeId, Time>,
}

impl RoleManager {
    /// Nothing to do yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new term: look at every node and every member.
    pub fn lead(&mut self) {
        *self = Self { everything: true, ..Self::default() };
    }

    /// A committed change.
    pub fn observe(&mut self, event: &Event) {
        if let Some(node) = event.object.get::<Node>() {
            self.pending.insert(node.id.clone());
        }
    }

    /// Nodes whose promotion waits, as of the last turn, until the quorum can take a Docker Engine.
    pub fn waiting_for_pace(&self) -> &BTreeSet<NodeId> {
        &self.waiting_for_pace
    }

    /// Whether a turn would change nothing, whatever Raft says.
    pub fn is_idle(&self) -> bool {
        !self.everything && self.pending.is_empty()
    }

    /// When to try again what did not happen.
    pub fn wake_at(&self) -> Option<Time> {
        self.asked.values().min().copied()
    }

    /// Changes roles that may change now; says what consensus must do for the others, one removal at a time. To be
    /// called again when the membership has changed.
    pub fn turn(&mut self, now: Now, facts: &RaftFacts, tx: &mut Tx<'_>) -> Result<Vec<RoleAction>, Refusal> {
        if std::mem::take(&mut self.everything) {
            self.pending.extend(tx.nodes().iter().map(|node| node.id.clone()));
            self.pending.extend(facts.members.iter().map(|member| member.node.clone()));
        }
        self.waiting_for_pace.clear();
        let mut actions = Vec::new();
        for id in self.pending.clone() {
            let settled = match tx.node(&id) {
                None => self.evict(now, &id, facts, &mut actions),
                // Nobody has to demote what is gone.
                Some(node) if node.role == node.spec.desired_role() => {
                    !node.has_left() || self.evict(now, &id, facts, &mut actions)
                }
                Some(node) if node.spec.desired_role() == NodeRole::Manager => {
                    let may = facts.may_promote(&node);
                    if may {
                        set_role(tx, &node, NodeRole::Manager)?;
                    } else {
                        self.waiting_for_pace.insert(id.clone());
                    }
                    may
                }
                Some(node) => {
                    let gone = self.evict(now, &id, facts, &mut actions);
                    if gone {
                        set_role(tx, &node, NodeRole::Worker)?;
                    }
                    gone
                }
            };
            if settled {
                self.pending.remove(&id);
                self.asked.remove(&id);
            }
        }
        Ok(actions)
    }

    /// Whether a node is no member of Raft; asks for what makes it so.
    fn evict(&mut self, now: Now, node: &NodeId, facts: &RaftFacts, actions: &mut Vec<RoleAction>) -> bool {
        let Some(member) = facts.of_node(node) else { return true };
        let waits = self.asked.get(node).is_some_and(|again| *again > now.monotonic);
        if waits || !actions.is_empty() {
            return false;
        }
        self.asked.insert(node.clone(), now.monotonic.after(RETRY_PERIOD));
        if !facts.can_remove(member.id) {
            return false;
        }
        if member.id == facts.me {
            actions.extend(facts.successor().map(RoleAction::TransferLeadership));
        } else {
            actions.push(RoleAction::RemoveMember(member.id));
        }
        false
    }
}

fn set_role(tx: &mut Tx<'_>, node: &Node, role: NodeRole) -> Result<(), Refusal> {
    let mut node = node.clone();
    node.role = role;
    tx.update(node)
}
