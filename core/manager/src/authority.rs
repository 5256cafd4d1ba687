//! Settings of the cluster whose fate depends on more than the facts: the shell finds it out, then they are looked at
//! again, against the facts as they are by then.

use rand_core::RngCore;
use skep_model::{Code, Now, Refusal};
use skep_pki::Finding;

use crate::effect::Effect;
use crate::state::Manager;
use crate::waiting::Inquiring;

/// Settings that may wait at the same time: each may keep the shell busy for many seconds.
const INQUIRING_MAX: usize = 16;

impl Manager {
    pub(crate) fn inquire(&mut self, inquiring: Inquiring, rng: &mut dyn RngCore) {
        if self.waiting.inquiring.len() >= INQUIRING_MAX {
            let message = format!("{INQUIRING_MAX} changes of the swarm's settings wait for its CAs; try again later");
            return self.reply(inquiring.request, Err(Refusal::new(Code::ResourceExhausted, message)));
        }
        let number = Self::request_number(rng);
        self.effects.push(Effect::Inquire(number, inquiring.inquiry.clone()));
        self.waiting.inquiring.insert(number, inquiring);
    }

    /// The shell has found something out.
    pub fn inquired(&mut self, number: u64, finding: Finding, now: Now, rng: &mut dyn RngCore) {
        // Who lost leadership meanwhile has answered.
        let Some(mut inquiring) = self.waiting.inquiring.remove(&number) else { return };
        inquiring.findings.push((inquiring.inquiry, finding));
        self.write_knowing(inquiring.request, inquiring.command, inquiring.findings, now, rng);
    }
}

/// Said when the facts change faster than they can be looked into.
pub(crate) fn undecided() -> Refusal {
    Refusal::new(Code::Unavailable, "the swarm's root or its external CAs changed meanwhile; look, and try again")
}
