//! Gaining and losing leadership, and the deciders' turn in its fixed order.

use std::time::Duration;

use rand_core::RngCore;
use skep_consensus::Role;
use skep_model::{Now, Refusal};
use skep_network::Allocator;
use skep_orchestrator::Orchestrator;
use skep_scheduler::Scheduler;
use skep_store::{AnyObject, Event, Read as _, Tx};

use crate::effect::Effect;
use crate::handover::{FATE_PATIENCE, lost_leadership};
use crate::pace::PaceTurn;
use crate::state::Manager;

/// How often the order allocate → orchestrate → schedule is repeated within one turn. Two carry a new service's task
/// from NEW to ASSIGNED; a third settles what scheduling made possible.
const DECIDER_ROUNDS_MAX: usize = 3;

/// What was refused (too much waits for a quorum) is decided again after this.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_millis(100);

impl Manager {
    pub(crate) fn change_role(&mut self, role: Role, now: Now, rng: &mut dyn RngCore) {
        let was_leading = self.leading;
        let same_term = self.role.term == role.term;
        self.role = role;
        self.leading = role.is_leader && role.is_ready;
        self.pace.is_stale = true;
        if was_leading && (!self.leading || !same_term) {
            self.step_down();
        }
        if self.leading && (!was_leading || !same_term) {
            self.lead(now, rng);
        }
        self.effects.push(Effect::Role(role));
    }

    fn lead(&mut self, now: Now, rng: &mut dyn RngCore) {
        self.ledger.abandon();
        self.dispatcher.lead();
        self.orchestrator.lead();
        self.scheduler.lead();
        self.network.lead();
        self.roles.lead();
        self.issuance.lead();
        self.newcomers.lead();
        self.keys.lead();
        self.root_change.lead();
        self.pace.lead();
        self.departing.clear();
        self.paused_below = 0;
        self.tell_members();
        self.dirty = true;
        self.found(now, rng);
    }

    /// The default objects, as far as they are missing (interop §3.2).
    fn found(&mut self, now: Now, rng: &mut dyn RngCore) {
        let genesis = self.genesis.take().filter(|_| self.ledger.committed().cluster().is_none());
        let last_index = self.consensus.last_index();
        let number = Self::request_number(rng);
        let done = self.ledger.transact(now, last_index, number, |tx| {
            let fresh = genesis.is_some();
            if let Some(genesis) = genesis {
                tx.create(genesis.cluster)?;
                tx.create(genesis.node)?;
            }
            skep_pki::create_missing_networks(tx, rng, fresh)
        });
        let proposed = match done {
            Ok(((), Some(entry))) => self.propose(vec![entry]),
            Ok(((), None)) => Ok(()),
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = proposed {
            self.effects.push(Effect::Warn(format!("the default objects could not be created: {refusal}")));
        }
    }

    fn step_down(&mut self) {
        self.effects.extend(self.dispatcher.step_down().into_iter().map(Effect::Dispatch));
        self.give_up_joins();
        self.void_proposals(&Refusal::no_leader());
    }

    /// Nothing that is in flight counts any more. What was proposed may come true all the same: the log tells.
    pub(crate) fn void_proposals(&mut self, refusal: &Refusal) {
        self.ledger.abandon();
        let until = self.latest.after(FATE_PATIENCE);
        for (request, result) in self.waiting.give_up(refusal, &lost_leadership(), until) {
            self.effects.push(Effect::Reply { request, result });
        }
        self.look_again();
    }

    /// What the deciders decided came to nothing: they look at the facts anew.
    pub(crate) fn look_again(&mut self) {
        if !self.leading {
            return;
        }
        self.effects.extend(self.dispatcher.start_over().into_iter().map(Effect::Dispatch));
        self.orchestrator.lead();
        self.scheduler.lead();
        self.network.lead();
        self.roles.lead();
        self.issuance.lead();
        self.root_change.lead();
        self.dirty = true;
    }

    /// allocate → orchestrate → schedule, repeated while it moves, then the dispatcher's own writes. Whether anything
    /// was proposed.
    pub(crate) fn leaders_turn(&mut self, now: Now, rng: &mut dyn RngCore) -> bool {
        let raft = (!self.roles.is_idle()).then(|| self.raft_facts());
        let pace_turn = PaceTurn::gather(self, now);
        let mut actions = Vec::new();
        let mut troubles = Vec::new();
        let mut never_came = Vec::new();
        let mut new_root = None;
        let waits = self.newcomers.wake_at().is_some();
        let managers = self.membership().iter().filter(|_| waits).map(|member| member.node_id.clone()).collect();
        let Self {
            ledger,
            consensus,
            network,
            orchestrator,
            scheduler,
            dispatcher,
            roles,
            keys,
            root_change,
            newcomers,
            pace,
            read_issuer,
            ..
        } = self;
        let last_index = consensus.last_index();
        let mut number_source = NumberSource { first: Self::request_number(rng) };
        let entries = ledger.turn(now, last_index, &mut || number_source.next(), |tx| {
            let begin = tx.mark();
            match raft.map(|raft| roles.turn(now, &raft, tx)) {
                Some(Ok(wanted)) => actions = wanted,
                Some(Err(refusal)) => troubles.push(refusal),
                None => {}
            }
            troubles.extend(pace_turn.write(now, tx, pace, roles.waiting_for_pace()).err());
            troubles.extend(keys.turn(now, rng, tx).err());
            match root_change.turn(now, *read_issuer, rng, tx) {
                Ok(wanted) => new_root = wanted,
                Err(refusal) => troubles.push(refusal),
            }
            dispatcher.turn(now, rng, tx);
            match newcomers.turn(now, &managers, tx) {
                Ok(gone) => never_came = gone,
                Err(refusal) => troubles.push(refusal),
            }
            tell_of_nodes(tx, begin, network, orchestrator, scheduler);
            for _ in 0..DECIDER_ROUNDS_MAX {
                let mark = tx.mark();
                network.turn(now, rng, tx);
                tell(tx, mark, |event| {
                    orchestrator.observe(event);
                    scheduler.observe(event);
                });
                let middle = tx.mark();
                orchestrator.turn(now, rng, tx);
                tell(tx, middle, |event| {
                    network.observe(event);
                    scheduler.observe(event);
                });
                let late = tx.mark();
                scheduler.turn(now, rng, tx);
                tell(tx, late, |event| {
                    network.observe(event);
                    orchestrator.observe(event);
                });
                if tx.mark() == mark {
                    break;
                }
            }
        });
        troubles.extend(orchestrator.take_refusals());
        troubles.extend(scheduler.take_refusals());
        for trouble in network.take_network_troubles() {
            let text = format!("network {} cannot be allocated: {}", trouble.network, trouble.why);
            self.effects.push(Effect::Warn(text));
        }
        for refusal in troubles {
            self.effects.push(Effect::Warn(format!("a decision could not be written: {refusal}")));
        }
        for node in never_came {
            let message = format!("node {node} joined and never came: it is taken off the list until it does");
            self.effects.push(Effect::Warn(message));
        }
        let held_up = self.root_change.take_news().map(|held_up| Effect::Warn(held_up.to_string()));
        self.effects.extend(held_up);
        self.effects.extend(new_root.map(Effect::MakeRoot));
        self.act_on_roles(actions, rng);
        if entries.is_empty() {
            return false;
        }
        let is_long = entries.len() > 1;
        let proposed = self.propose(entries);
        if is_long || proposed.is_err() {
            // Deciding more before half of it has committed would take the time that committing needs, and come to more
            // than may be in flight.
            self.paused_below = self.consensus.last_index().saturating_sub(self.ledger.in_flight() as u64 / 2);
        }
        if let Err(refusal) = proposed {
            self.effects.push(Effect::Warn(format!("the deciders' changes were not taken: {refusal}")));
            self.paused_until = now.monotonic.after(PAUSE_AFTER_REFUSAL);
            return false;
        }
        true
    }

    pub(crate) fn flush_dispatcher(&mut self, now: Now) {
        if !self.leading {
            return;
        }
        let effects = self.dispatcher.flush(now, self.ledger.committed());
        self.effects.extend(effects.into_iter().map(Effect::Dispatch));
    }
}

/// Numbers for the entries of one turn: a random start, then counting.
struct NumberSource {
    first: u64,
}

impl NumberSource {
    fn next(&mut self) -> u64 {
        self.first = self.first.wrapping_add(2);
        self.first
    }
}

/// Who reads facts sees a lost or removed node at once: who remembers nodes must not send tasks there meanwhile.
pub(crate) fn tell_of_nodes(
    tx: &Tx<'_>,
    since: usize,
    network: &mut Allocator,
    orchestrator: &mut Orchestrator,
    scheduler: &mut Scheduler,
) {
    tell(tx, since, |event| {
        if matches!(event.object, AnyObject::Node(_)) {
            network.observe(event);
            orchestrator.observe(event);
            scheduler.observe(event);
        }
    });
}

/// What one decider wrote in this turn marks the others' dirt at once, not only when it is committed.
fn tell(tx: &Tx<'_>, since: usize, mut observe: impl FnMut(&Event)) {
    for event in tx.written_since(since) {
        observe(&event);
    }
}
