//! Links between hosts: how long a message takes, and whether it arrives.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::dice::Dice;

/// Number of a host, from 0.
pub type HostId = usize;

/// On one host, from process to process.
const LOCAL_US: u64 = 30;
/// A lost segment is sent again after this.
const RETRANSMIT_US: u64 = 200_000;

/// The network as it is now.
#[derive(Debug, Default)]
pub struct Network {
    /// Faults that cut the way from one host to another; counted, since they overlap.
    cuts: BTreeMap<(HostId, HostId), u32>,
    /// Messages lost, in a thousand.
    pub loss_permille: u64,
    /// Raft messages that arrive twice, in a thousand.
    pub duplicate_permille: u64,
    /// Longest delay beyond the usual.
    pub extra_delay_us: u64,
}

impl Network {
    /// One more fault cuts the way.
    pub fn cut(&mut self, from: HostId, to: HostId) {
        *self.cuts.entry((from, to)).or_default() += 1;
    }

    /// One fault less cuts the way.
    pub fn mend(&mut self, from: HostId, to: HostId) {
        if let Some(count) = self.cuts.get_mut(&(from, to)) {
            *count -= 1;
            if *count == 0 {
                self.cuts.remove(&(from, to));
            }
        }
    }

    /// Everything works again.
    pub fn heal(&mut self) {
        *self = Self::default();
    }

    /// Whether the way is open.
    pub fn open(&self, from: HostId, to: HostId) -> bool {
        from == to || !self.cuts.contains_key(&(from, to))
    }

    /// How long one message of its own takes; nothing if it never arrives.
    pub fn datagram(&self, from: HostId, to: HostId, dice: &mut Dice) -> Option<Duration> {
        if !self.open(from, to) || (from != to && dice.permille(self.loss_permille)) {
            return None;
        }
        Some(self.delay(from, to, dice))
    }

    /// How long a piece of a stream takes: losses only delay it. Nothing if the way is cut.
    pub fn segment(&self, from: HostId, to: HostId, dice: &mut Dice) -> Option<Duration> {
        if !self.open(from, to) {
            return None;
        }
        let mut delay = self.delay(from, to, dice);
        if from != to && dice.permille(self.loss_permille) {
            delay += Duration::from_micros(RETRANSMIT_US);
        }
        Some(delay)
    }

    fn delay(&self, from: HostId, to: HostId, dice: &mut Dice) -> Duration {
        if from == to {
            return Duration::from_micros(LOCAL_US);
        }
        // Mostly prompt, now and then late.
        let usual = dice.micros(150, 900);
        let late = if dice.permille(20) { dice.micros(0, 20_000) } else { Duration::ZERO };
        let extra = if self.extra_delay_us > 0 { dice.micros(0, self.extra_delay_us) } else { Duration::ZERO };
        usual + late + extra
    }
}
