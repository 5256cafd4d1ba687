//! Members without a vote: a manager that joins counts for nothing until it has the log, and goes again when it never
//! gets it. Facts are Raft's configuration and the progress of each follower; a new leader looks at them anew.

use std::time::Duration;

use rand_core::RngCore;
use skep_consensus::{MembershipChange, Mode, PeerStatus};
use skep_model::pb::types::NodeRole;
use skep_model::{Now, Time};
use skep_store::Read as _;

use crate::effect::Effect;
use crate::state::Manager;
use crate::waiting::MembershipWait;

/// A learner that the leader does not hear for so long goes again: its daemon may restart meanwhile, its host may not.
pub(crate) const LEARNER_SILENCE_MAX: Duration = Duration::from_secs(10);

/// A learner that answers may take so long to get the log: a snapshot of a large swarm over a slow line.
pub(crate) const LEARNER_PATIENCE: Duration = Duration::from_secs(600);

/// A member without a vote, as its leader has seen it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Learner {
    since: Time,
    heard: Time,
}

/// What is to become of a learner.
enum Verdict {
    Waits,
    CaughtUp,
    Silent,
    Slow,
}

impl Manager {
    /// Whether newcomers begin as learners: SwarmKit's managers know no such thing.
    pub(crate) fn learners_first(&self) -> bool {
        self.consensus.mode() == Mode::Skep
    }

    /// Makes a voter of a learner that has the log; takes one out that will not get it. Whether a change was proposed.
    pub(crate) fn settle_learners(&mut self, now: Now, rng: &mut dyn RngCore) -> bool {
        let looks = self.leading && self.consensus.has_learners() && self.consensus.may_propose(self.role.term).is_ok();
        if !looks {
            if !self.learners.is_empty() {
                self.learners.clear();
            }
            return false;
        }
        let seen: Vec<PeerStatus> = self.consensus.peers().into_iter().filter(|peer| !peer.votes).collect();
        self.learners.retain(|id, _| seen.iter().any(|peer| peer.id == *id));
        let mut proposed = false;
        for peer in seen {
            let fresh = Learner { since: now.monotonic, heard: now.monotonic };
            let learner = self.learners.entry(peer.id).or_insert(fresh);
            if peer.recently_active {
                learner.heard = now.monotonic;
            }
            let verdict = judge(*learner, peer, now.monotonic);
            if self.waiting.memberships.is_empty() {
                proposed |= self.settle_learner(peer, &verdict, rng);
            }
        }
        proposed
    }

    fn settle_learner(&mut self, peer: PeerStatus, verdict: &Verdict, rng: &mut dyn RngCore) -> bool {
        let Some(member) = self.membership().get(peer.id).cloned() else { return false };
        let known = self.facts().node(&member.node_id);
        let demoted = known.is_some_and(|node| node.spec.desired_role() != NodeRole::Manager);
        let (change, why) = match verdict {
            // Whoever is to be a worker is taken out by the role manager.
            Verdict::CaughtUp if !demoted => (MembershipChange::Add(member.clone()), None),
            Verdict::Silent => (MembershipChange::Remove(peer.id), Some("it is not heard any more")),
            Verdict::Slow => (MembershipChange::Remove(peer.id), Some("it does not catch up with the log")),
            Verdict::Waits | Verdict::CaughtUp => return false,
        };
        let number = Self::request_number(rng);
        // Refused while another change is under way: the next turn looks again.
        if self.consensus.propose_membership(self.role.term, number, &change).is_err() {
            return false;
        }
        self.waiting.memberships.insert(number, MembershipWait::Learner);
        if let Some(why) = why {
            let (node, addr) = (&member.node_id, &member.addr);
            let message = format!("manager {node} at {addr} is taken out before it counts for the quorum: {why}");
            self.effects.push(Effect::Warn(message));
        }
        true
    }
}

fn judge(learner: Learner, peer: PeerStatus, now: Time) -> Verdict {
    if peer.caught_up && peer.recently_active {
        Verdict::CaughtUp
    } else if now.since(learner.heard) > LEARNER_SILENCE_MAX {
        Verdict::Silent
    } else if now.since(learner.since) > LEARNER_PATIENCE {
        Verdict::Slow
    } else {
        Verdict::Waits
    }
}
