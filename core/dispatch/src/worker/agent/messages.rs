//! What managers say: session messages, assignments, answers to heartbeats.

use std::collections::BTreeMap;
use std::sync::Arc;

use skep_model::pb::messages::{AssignmentsMessage, AssignmentsRequest, HeartbeatResponse, SessionMessage};
use skep_model::pb::types::{Peer, WeightedPeer};
use skep_model::time::duration;
use skep_model::{Node, Time, defaults};

use super::{Agent, Call, MOVE_PAUSE, News, Open, State};
use crate::worker::effect::Effect;
use crate::worker::input::Opening;

impl Agent {
    /// Registered, or something changed for this node.
    pub(super) fn session_message(
        &mut self,
        now: Time,
        message: SessionMessage,
        effects: &mut Vec<Effect>,
        news: &mut Vec<News>,
    ) {
        if let State::Opening { peer, .. } = &self.state {
            self.session_id = message.session_id.clone();
            self.avoid = None;
            let opening = Opening(1);
            let request = AssignmentsRequest { session_id: self.session_id.clone() };
            effects.push(Effect::OpenAssignments { attempt: self.attempt, opening, request });
            self.state = State::Open(Box::new(Open {
                peer: peer.clone(),
                since: now,
                opening,
                reference: String::new(),
                heartbeat: Call::Due(now),
                sent: BTreeMap::new(),
                sent_deadline: now,
            }));
            news.push(News::Registered);
        }
        if !matches!(self.state, State::Open(_)) {
            return;
        }
        if self.remotes.replace(&message.managers) {
            effects.push(Effect::SaveRemotes(self.remotes.peers()));
        }
        if !message.root_ca.is_empty() && message.root_ca != self.root && message.root_ca != self.root_told {
            self.root_told = message.root_ca.clone();
            effects.push(Effect::RootChanged(message.root_ca));
        }
        // A node that cannot be read is another version's; what we know stays.
        let node = message.node.and_then(|node| Node::try_from(node).ok()).map(Arc::new);
        if let Some(node) = node.filter(|node| self.node.as_ref().is_none_or(|known| !same_to_us(known, node))) {
            effects.push(Effect::NodeChanged(Arc::clone(&node)));
            self.node = Some(node);
        }
        if !message.network_bootstrap_keys.is_empty() && message.network_bootstrap_keys != self.keys {
            self.keys = message.network_bootstrap_keys;
            effects.push(Effect::NetworkKeys(self.keys.clone()));
        }
        if let Some(leader) = leader_of(&message.managers) {
            self.move_to(now, leader, effects);
        }
    }

    /// Takes the session to the leader, when another manager passes it on: the leader then notices at once when we
    /// die. Not again to the same one for a while, in case that it cannot be reached from here.
    fn move_to(&mut self, now: Time, leader: &Peer, effects: &mut Vec<Effect>) {
        let State::Open(open) = &self.state else { return };
        let there = open.peer.addr == leader.addr || open.peer.node_id == leader.node_id;
        let tried = self.moved.as_ref().is_some_and(|(addr, at)| *addr == leader.addr && now.since(*at) < MOVE_PAUSE);
        if there || tried {
            return;
        }
        self.moved = Some((leader.addr.clone(), now));
        self.close(effects);
        self.open(now, leader.clone(), effects);
    }

    /// A gap in the sequence opens the stream again, and the whole set follows.
    pub(super) fn assignments(
        &mut self,
        opening: Opening,
        message: AssignmentsMessage,
        effects: &mut Vec<Effect>,
        news: &mut Vec<News>,
    ) {
        let State::Open(open) = &mut self.state else { return };
        if open.opening != opening {
            return;
        }
        if message.applies_to != open.reference {
            open.opening.0 += 1;
            open.reference.clear();
            let request = AssignmentsRequest { session_id: self.session_id.clone() };
            effects.push(Effect::OpenAssignments { attempt: self.attempt, opening: open.opening, request });
            return;
        }
        open.reference = message.results_in.clone();
        news.push(News::Assignments(message));
    }

    /// The next heartbeat goes when the manager says.
    pub(super) fn beat(&mut self, now: Time, response: &HeartbeatResponse) {
        let State::Open(open) = &mut self.state else { return };
        if matches!(open.heartbeat, Call::Asked { .. }) {
            let period = response.period.as_ref().map(duration).filter(|period| !period.is_zero());
            open.heartbeat = Call::Due(now.after(period.unwrap_or(defaults::HEARTBEAT_PERIOD)));
        }
    }
}

/// Whether nothing changed that this node would act on: its own status and the version do not count.
fn same_to_us(known: &Node, told: &Node) -> bool {
    let told = Node { meta: known.meta, status: known.status.clone(), ..told.clone() };
    *known == told
}

/// The one manager that weighs more than all others; Docker managers do not say who leads.
fn leader_of(managers: &[WeightedPeer]) -> Option<&Peer> {
    let heaviest = managers.iter().map(|manager| manager.weight).max()?;
    let mut leaders = managers.iter().filter(|manager| manager.weight == heaviest);
    let leader = leaders.next().filter(|_| leaders.next().is_none() && managers.len() > 1)?;
    leader.peer.as_ref().filter(|peer| !peer.addr.is_empty() && !peer.node_id.is_empty())
}
