//! The heartbeat of the machine: take what consensus has, apply it, let the deciders have their turn, repeat.

use std::collections::BTreeSet;

use rand_core::RngCore;
use skep_consensus::{Committed, MembershipChange, Payload, ProposeError, ReadReady};
use skep_model::{Now, RaftId, Refusal, Time};

use crate::effect::Effect;
use crate::state::Manager;

/// Rounds of one turn: proposals make effects, commits make proposals. A single manager commits only after the disk
/// has answered, so few are ever needed; the rest waits for the next turn.
const ROUNDS_MAX: usize = 8;

/// No clock comes so far.
const NEVER: Time = Time(u64::MAX);

impl Manager {
    /// Raft's clock; call it every `Mode::tick_interval`.
    pub fn tick(&mut self, now: Now) {
        let known = |id| self.heard.contains(&id);
        if self.consensus.active_ids().count() != self.heard.len() || !self.consensus.active_ids().all(known) {
            self.heard = self.heard_now();
        }
        self.consensus.tick(now.monotonic);
    }

    /// When `turn` wants to be called even if nothing happens (ticks apart).
    pub fn wake_at(&self) -> Option<Time> {
        let consensus = self.consensus.wake_at();
        if !self.lists.is_empty() {
            return Some(self.latest);
        }
        // What cannot be proposed waits for the disk, for commits or for the handover: nothing is due before.
        if !self.leading || !self.may_decide() {
            return consensus;
        }
        let deciders = self.deciders_due();
        let at = consensus.map_or(deciders, |at| at.min(deciders));
        Some(at).filter(|at| *at != NEVER)
    }

    /// When the deciders want their turn even if nothing happens.
    fn deciders_due(&self) -> Time {
        let due = |at: Option<Time>| at.unwrap_or(NEVER);
        due(self.pace.wake_at())
            .min(due(self.dispatcher.wake_at()))
            .min(due(self.orchestrator.wake_at()))
            .min(due(self.scheduler.wake_at()))
            .min(due(self.network.wake_at()))
            .min(due(self.roles.wake_at()))
            .min(due(self.keys.wake_at()))
            .min(due(self.root_change.wake_at()))
            .min(due(self.issuance.wake_at()))
            .min(due(self.newcomers.wake_at()))
            .max(self.paused_until)
    }

    /// Gathers everything that follows from the inputs since the last turn.
    pub fn turn(&mut self, now: Now, rng: &mut dyn RngCore) -> Vec<Effect> {
        self.latest = now.monotonic;
        self.consensus.wake(now.monotonic);
        for _ in 0..ROUNDS_MAX {
            let moved = self.absorb(now, rng);
            self.release_held(now, rng);
            let proposed = self.decide(now, rng);
            let settled = self.settle_learners(now, rng);
            let removed = self.settle_removals(rng);
            if !moved && !proposed && !settled && !removed {
                break;
            }
        }
        self.list_more();
        self.close_overdue(now.monotonic);
        self.flush_dispatcher(now);
        std::mem::take(&mut self.effects)
    }

    /// What was given to `Effect::Persist` is durable up to and including this number.
    pub fn persisted(&mut self, number: u64) {
        self.consensus.persisted(number);
    }

    /// Takes what consensus has. Whether there was anything.
    fn absorb(&mut self, now: Now, rng: &mut dyn RngCore) -> bool {
        if !self.consensus.has_effects() {
            self.look_at_pace();
            return false;
        }
        let effects = self.consensus.take_effects(now.monotonic);
        self.pace.makes = None;
        let mut moved = !effects.committed.is_empty() || effects.role.is_some() || !effects.reads.is_empty();
        // A message to a member that this very batch adds can only go once the transport has been told of it: lost, it
        // would be sent again no sooner than with the next heartbeat.
        let added: BTreeSet<RaftId> = effects.committed.iter().filter_map(added_member).collect();
        let (late, soon): (Vec<_>, Vec<_>) = match added.is_empty() {
            true => (Vec::new(), effects.send),
            false => effects.send.into_iter().partition(|message| added.contains(&message.to)),
        };
        self.effects.extend(soon.into_iter().map(Effect::Send));
        if let Some(snapshot) = effects.install {
            moved = true;
            self.install(snapshot);
        }
        for committed in effects.committed {
            self.apply(committed, rng);
        }
        if !late.is_empty() {
            self.effects.extend(late.into_iter().map(Effect::Send));
        }
        if let Some(role) = effects.role {
            self.change_role(role, now, rng);
        }
        self.answer_lists();
        for ReadReady { request, index } in effects.reads {
            self.answer_read(request, index, now, rng);
        }
        self.effects.extend(effects.persist.map(Effect::Persist));
        self.effects.extend(effects.fetch.into_iter().map(Effect::FetchLog));
        if effects.take_snapshot {
            self.take_snapshot();
            moved = true;
        }
        self.look_at_pace();
        moved
    }

    /// Whether what is decided now would be taken, as far as that can be told.
    fn may_decide(&self) -> bool {
        self.applied >= self.paused_below && self.consensus.may_propose(self.role.term).is_ok()
    }

    /// Lets the deciders have their turn, if anything happened or is due. Whether something was proposed.
    fn decide(&mut self, now: Now, rng: &mut dyn RngCore) -> bool {
        // Deciding what cannot be proposed would lose what the deciders were told, for nothing.
        if !self.leading || self.paused_until > now.monotonic || !self.may_decide() {
            return false;
        }
        if !self.dirty && self.deciders_due() > now.monotonic {
            return false;
        }
        self.dirty = false;
        self.keep_pace(now, rng);
        self.issuance.wake(now);
        self.sign_waiting();
        let proposed = self.leaders_turn(now, rng);
        self.answer_certificates();
        proposed
    }

    /// Hands what is proposed to consensus. When that refuses an entry, this and the later ones are taken back; what
    /// was proposed before may still be committed, and so stays in flight.
    pub(crate) fn propose(&mut self, entries: Vec<skep_store::Entry>) -> Result<(), Refusal> {
        let mut entries = entries.into_iter();
        while let Some(entry) = entries.next() {
            let error = match self.consensus.propose(self.role.term, entry.encode()) {
                Ok(index) => {
                    if let Some(proposed) = self.waiting.commits.get_mut(&entry.id) {
                        proposed.index = index;
                    }
                    continue;
                }
                Err(error) => error,
            };
            let lost = matches!(error, ProposeError::NotLeader { .. } | ProposeError::StaleTerm { .. });
            let refusal = if lost { Refusal::no_leader() } else { Refusal::from(error) };
            self.ledger.take_back(entry.id);
            for taken_back in std::iter::once(entry).chain(entries) {
                for (request, _) in self.waiting.commits.remove(&taken_back.id).unwrap_or_default().answers {
                    self.reply(request, Err(refusal.clone()));
                }
            }
            match lost {
                true => self.void_proposals(&refusal),
                false => self.look_again(),
            }
            return Err(refusal);
        }
        Ok(())
    }
}

fn added_member(committed: &Committed) -> Option<RaftId> {
    match &committed.payload {
        Payload::Membership {
            change: MembershipChange::Add(member) | MembershipChange::AddLearner(member), ..
        } => Some(member.raft_id),
        _ => None,
    }
}
