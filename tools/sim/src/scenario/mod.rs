//! What will happen in a run, decided beforehand from the seed: so that a failing run can be tried again with fewer
//! faults.

mod faults;
mod kind;
mod wishes;

use std::time::Duration;

use skep_model::Time;

pub use faults::{Fault, Mood, Target};
pub use kind::Kind;
pub use wishes::{BroughtRoot, Wish};

use crate::codec::Codec;
use crate::dice::{Dice, Purpose};

/// The world stands still and whole this long, so that the first hosts can join.
pub(crate) const CALM_SECONDS: u64 = 12;
/// How long faults go on.
const LENGTH_SECONDS_MIN: u64 = 40;
const LENGTH_SECONDS_MAX: u64 = 150;
/// One seed in so many sends its messages through the real codec.
const CODEC_SHARE: u64 = 8;
/// See [`Plan::clocks_agree`].
const CLOCKS_AGREE_MS: u64 = 5_000;
/// See [`Plan::of_many_leaders`].
const LEADER_DOWN: Duration = Duration::from_millis(900);
/// What a run of a given length keeps for the time after the faults.
const HEALING_SECONDS: u64 = 60;

/// Something that happens at a time.
#[derive(Clone, Debug)]
pub struct Scheduled<T> {
    /// When.
    pub at: Time,
    /// What.
    pub what: T,
}

/// A run, decided beforehand.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where all dice come from.
    pub seed: u64,
    /// What it is about.
    pub kind: Kind,
    /// Managers at the beginning.
    pub managers: usize,
    /// Other hosts at the beginning.
    pub workers: usize,
    /// Hosts join one after another, so far apart, in microseconds.
    pub join_every_us: u64,
    /// What breaks.
    pub faults: Vec<Scheduled<Fault>>,
    /// What is asked for.
    pub wishes: Vec<Scheduled<Wish>>,
    /// When everything is mended.
    pub heal_at: Time,
    /// How long after that everything must be as it should be.
    pub bound: Duration,
    /// The run does not end before this.
    pub end_at: Time,
    /// How often convergence is looked for, in microseconds.
    pub look_every_us: u64,
    /// Log entries between snapshots.
    pub snapshot_interval: u64,
    /// How far the wall clocks of two hosts may be apart when the run begins, in milliseconds.
    pub skew_ms: u64,
    /// How messages travel.
    pub codec: Codec,
    /// Some secrets have drivers.
    pub drivers: bool,
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed, Purpose::Plan);
        let managers = dice.pick(&[1, 3, 3, 3, 3, 5]).unwrap_or(3);
        let workers = dice.between(1, 4) as usize;
        let length = dice.between(LENGTH_SECONDS_MIN, LENGTH_SECONDS_MAX);
        Self::diced(seed, managers, workers, length, &mut dice)
    }

    /// A run of so many nodes that lasts so many seconds: as much happens as in the longest ordinary one, spread out.
    pub fn sized(seed: u64, nodes: usize, seconds: u64) -> Self {
        let mut dice = Dice::new(seed, Purpose::Plan);
        let managers = nodes.min(3);
        let length = seconds.saturating_sub(CALM_SECONDS + HEALING_SECONDS).max(1);
        let plan = Self::diced(seed, managers, nodes - managers, length, &mut dice);
        Self { end_at: Time(seconds * 1_000_000), ..plan }
    }

    fn diced(seed: u64, managers: usize, workers: usize, length: u64, dice: &mut Dice) -> Self {
        let kind = Kind::of(dice);
        let intensity = dice.between(0, 3);
        let usual = length.min(LENGTH_SECONDS_MAX);
        let mut faults = faults::plan(dice, kind, length, usual * intensity / 12);
        let count = dice.between(usual / 4, usual);
        let mut wishes = wishes::plan(dice, kind, length, count);
        wishes.extend(wishes::roots(seed, length));
        let moods = faults::moods(seed, length);
        let drivers = moods.is_some();
        faults.extend(moods.into_iter().flatten());
        let codec = if dice.below(CODEC_SHARE) == 0 { Codec::Encoded } else { Codec::Decoded };
        Self {
            kind,
            managers,
            workers,
            faults,
            wishes,
            heal_at: Time((CALM_SECONDS + length) * 1_000_000),
            bound: kind.bound(),
            snapshot_interval: dice.pick(&[20, 60, 200, 10_000]).unwrap_or(200),
            skew_ms: dice.pick(&[0, 200, 200, 5_000, 3_600_000]).unwrap_or(0),
            codec,
            drivers,
            ..Self::calm(seed, managers, workers)
        }
    }

    /// The same, but leaders do not last: for what only who has followed will do.
    pub fn of_many_leaders(mut self, leaders_last: Duration) -> Self {
        let mut at = Time(CALM_SECONDS * 1_000_000);
        while at < self.heal_at {
            let what = Fault::Kill { target: Target::Leader, power: false, down: LEADER_DOWN };
            self.faults.push(Scheduled { at, what });
            at = at.after(leaders_last);
        }
        self
    }

    /// The same, but operators bring roots, and call that off.
    pub fn of_brought_roots(mut self) -> Self {
        self.wishes.extend(wishes::brought_roots(self.seed, self.heal_at));
        self
    }

    /// Whether wall clocks are never more than some seconds apart.
    pub fn clocks_agree(&self) -> bool {
        let jumps = |fault: &Scheduled<Fault>| matches!(fault.what, Fault::WallJump { .. });
        self.skew_ms <= CLOCKS_AGREE_MS && !self.faults.iter().any(jumps)
    }

    /// Nothing breaks and nobody asks for anything: for tests that say themselves what happens.
    pub fn calm(seed: u64, managers: usize, workers: usize) -> Self {
        Self {
            seed,
            kind: Kind::Everything,
            managers,
            workers,
            join_every_us: 400_000,
            faults: Vec::new(),
            wishes: Vec::new(),
            heal_at: Time(CALM_SECONDS * 1_000_000),
            bound: Duration::from_secs(120),
            end_at: Time(0),
            look_every_us: 2_000_000,
            snapshot_interval: 200,
            skew_ms: 200,
            codec: Codec::Decoded,
            drivers: false,
        }
    }

    /// Very many nodes and tasks, and one fail-over amid them: what a big swarm weighs.
    pub fn large(seed: u64, nodes: usize, tasks: u64) -> Self {
        let joined = 2_000_000 + nodes as u64 * LARGE_JOIN_US;
        let services = tasks.div_ceil(LARGE_SERVICE_TASKS);
        let at = |number: u64| Time(joined + number * LARGE_SERVICE_US);
        let wish = |number: u64| {
            let replicas = LARGE_SERVICE_TASKS.min(tasks - number * LARGE_SERVICE_TASKS);
            Scheduled { at: at(number), what: Wish::CreateMany { replicas } }
        };
        let kill = Fault::Kill { target: Target::Leader, power: true, down: Duration::from_secs(5) };
        Self {
            join_every_us: LARGE_JOIN_US,
            wishes: (0..services).map(wish).collect(),
            faults: vec![Scheduled { at: at(services / 2), what: kill }],
            heal_at: at(services + 5),
            bound: Duration::from_secs(600),
            look_every_us: 10_000_000,
            snapshot_interval: 400,
            ..Self::calm(seed, 3.min(nodes), nodes.saturating_sub(3))
        }
    }
}

/// Tasks of one service of a large run.
const LARGE_SERVICE_TASKS: u64 = 1_000;
/// A service this often.
const LARGE_SERVICE_US: u64 = 500_000;
/// A node this often.
const LARGE_JOIN_US: u64 = 5_000;

pub(crate) fn moment(dice: &mut Dice, length: u64) -> Time {
    Time(CALM_SECONDS * 1_000_000 + dice.below(length * 1_000_000))
}
