//! Writes while leadership moves. One that comes during a handover waits for its end; one that was proposed before it is
//! answered by the log: under its place lies either the write itself, or something else, and then it never comes true.
//! So whoever asked hears what became of it, and may ask the next leader again without doing anything twice.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_core::RngCore;
use skep_model::{Code, Now, Refusal, Time};

use crate::effect::RequestId;
use crate::state::Manager;
use crate::waiting::{Held, HeldWrite, Proposed};

/// A write waits so long for the end of a handover; Raft gives one up after an election timeout.
pub(crate) const HANDOVER_PATIENCE: Duration = Duration::from_secs(5);

/// Who no longer leads looks so long in the log for what became of its proposals.
pub(crate) const FATE_PATIENCE: Duration = Duration::from_secs(5);

impl Manager {
    /// Keeps a write until the handover is over. The caller has seen that there is room.
    pub(crate) fn hold(&mut self, request: RequestId, write: HeldWrite, now: Now) {
        let until = now.monotonic.after(HANDOVER_PATIENCE);
        self.waiting.held.push_back(Held { request, write, until });
    }

    /// The handover is over, one way or the other; or it takes too long.
    pub(crate) fn release_held(&mut self, now: Now, rng: &mut dyn RngCore) {
        if self.waiting.held.is_empty() {
            return;
        }
        let refused = self.consensus.may_propose(self.role.term).err();
        let hands_over = matches!(refused, Some(skep_consensus::ProposeError::Transferring));
        let (kept, free): (Vec<Held>, Vec<Held>) = std::mem::take(&mut self.waiting.held)
            .into_iter()
            .partition(|held| self.leading && hands_over && held.until > now.monotonic);
        self.waiting.held = kept.into();
        for held in free {
            match &refused {
                Some(error) if hands_over && self.leading => {
                    self.reply(held.request, Err(error.clone().into()));
                }
                _ => self.let_through(held, now, rng),
            }
        }
    }

    fn let_through(&mut self, held: Held, now: Now, rng: &mut dyn RngCore) {
        match held.write {
            HeldWrite::Control(command) => self.write(held.request, command, now, rng),
            HeldWrite::Certificate(caller, make, wanted) => {
                self.issue_certificate(held.request, caller.as_ref(), make, &wanted, now, rng);
            }
        }
    }

    /// Everything up to `index` is applied: what was proposed there and is still open lost its place to something else.
    pub(crate) fn close_until(&mut self, index: u64) {
        if self.waiting.open.is_empty() {
            return;
        }
        let lost = self.take_open(|proposed, _| proposed.index <= index);
        self.refuse_proposed(lost, &Refusal::no_leader());
    }

    /// What became of it will not be learned in time.
    pub(crate) fn close_overdue(&mut self, now: Time) {
        if self.waiting.open.is_empty() {
            return;
        }
        let overdue = self.take_open(|_, until| until <= now);
        self.refuse_proposed(overdue, &lost_leadership());
    }

    /// A snapshot came instead of the entries.
    pub(crate) fn close_all(&mut self) {
        let open = std::mem::take(&mut self.waiting.open);
        self.refuse_proposed(open.into_values().map(|(proposed, _)| proposed).collect(), &lost_leadership());
    }

    fn take_open(&mut self, which: impl Fn(&Proposed, Time) -> bool) -> Vec<Proposed> {
        let open = std::mem::take(&mut self.waiting.open);
        let (taken, kept): (BTreeMap<_, _>, BTreeMap<_, _>) =
            open.into_iter().partition(|(_, (proposed, until))| which(proposed, *until));
        self.waiting.open = kept;
        taken.into_values().map(|(proposed, _)| proposed).collect()
    }

    fn refuse_proposed(&mut self, proposed: Vec<Proposed>, refusal: &Refusal) {
        for (request, _) in proposed.into_iter().flat_map(|proposed| proposed.answers) {
            self.reply(request, Err(refusal.clone()));
        }
    }
}

/// SwarmKit's text for a proposal whose fate its proposer will not learn.
pub(crate) fn lost_leadership() -> Refusal {
    Refusal::new(Code::Unknown, "raft: failed to process the request: node lost leader status")
}
