//! What breaks.

use std::time::Duration;

use super::{Kind, Scheduled, moment};
use crate::dice::{Dice, Purpose};
use skep_model::Time;

/// Whom a fault hits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// A host by number, modulo as many as there are.
    Host(u64),
    /// Whoever leads then.
    Leader,
}

/// How a secret's driver feels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mood {
    /// It answers.
    #[default]
    Well,
    /// It takes seconds.
    Late,
    /// It says no, or gives what is no secret's data.
    Refusing,
    /// It is not there.
    Away,
    /// It takes questions and forgets them.
    Silent,
}

/// A fault. Those with `lasts` end by themselves.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Fault {
    /// The daemon dies, with the whole machine if `power`: then unsynced writes are lost, the last one perhaps torn.
    Kill { target: Target, power: bool, down: Duration },
    /// The daemon dies in the middle of what a turn wanted done.
    KillAmidEffects { target: Target, effects: u64, down: Duration },
    /// The daemon is restarted in good order: it says goodbye first.
    Restart { target: Target, down: Duration },
    /// Hosts whose bit is set and the others cannot talk; `one_way`: the others still reach them.
    Partition { group: u64, one_way: bool, lasts: Duration },
    /// One host cannot talk to any other.
    Isolate { target: Target, one_way: bool, lasts: Duration },
    /// Messages get lost and doubled.
    Loss { permille: u64, lasts: Duration },
    /// Messages come late and overtake each other.
    Delay { longest: Duration, lasts: Duration },
    /// All connections of a host are reset.
    Reset { target: Target },
    /// Writes take long.
    SlowDisk { target: Target, lasts: Duration },
    /// Writes fail: the disk is full, or breaks.
    FullDisk { target: Target, lasts: Duration },
    /// The disk is gone with everything on it, and with it the machine. Only where the others can do without.
    DeadDisk { target: Target },
    /// The host stands still, and does not notice.
    Stall { target: Target, lasts: Duration },
    /// The wall clock jumps.
    WallJump { target: Target, seconds: i64 },
    /// The clocks run fast or slow, in millionths.
    ClockPace { target: Target, ppm: i64, lasts: Duration },
    /// Containers crash soon after they start.
    Crashes { permille: u64, lasts: Duration },
    /// Images cannot be had.
    NoImages { permille: u64, lasts: Duration },
    /// Containers hang when they are started or stopped.
    Hangs { permille: u64, lasts: Duration },
    /// The drivers of a host are in a mood.
    Moods { target: Target, mood: Mood, lasts: Duration },
}

/// Runs in which secrets have drivers, in a thousand.
const DRIVERS_PERMILLE: u64 = 150;
/// Moods in such a run at most.
const MOODS_MAX: u64 = 12;

/// Where some secrets have drivers, in which moods those are; they come on top of what else breaks.
pub(super) fn moods(seed: u64, length: u64) -> Option<Vec<Scheduled<Fault>>> {
    let mut dice = Dice::new(seed, Purpose::Drivers);
    let dice = &mut dice;
    if !dice.permille(DRIVERS_PERMILLE) {
        return None;
    }
    let moods = [Mood::Late, Mood::Late, Mood::Refusing, Mood::Away, Mood::Silent];
    let count = dice.between(0, MOODS_MAX);
    let fault = |_| {
        let target = if dice.permille(700) { Target::Leader } else { Target::Host(dice.below(64)) };
        let mood = dice.pick(&moods).unwrap_or_default();
        let what = Fault::Moods { target, mood, lasts: seconds(dice, 500, 30_000) };
        Scheduled { at: moment(dice, length), what }
    };
    Some((0..count).map(fault).collect())
}

/// The sorts of faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sort {
    Kill,
    KillAmidEffects,
    Restart,
    Partition,
    Isolate,
    Loss,
    Delay,
    Reset,
    SlowDisk,
    FullDisk,
    DeadDisk,
    Stall,
    WallJump,
    ClockPace,
    Crashes,
    NoImages,
    Hangs,
}

impl Sort {
    const ALL: [Self; 17] = [
        Self::Kill,
        Self::KillAmidEffects,
        Self::Restart,
        Self::Partition,
        Self::Isolate,
        Self::Loss,
        Self::Delay,
        Self::Reset,
        Self::SlowDisk,
        Self::FullDisk,
        Self::DeadDisk,
        Self::Stall,
        Self::WallJump,
        Self::ClockPace,
        Self::Crashes,
        Self::NoImages,
        Self::Hangs,
    ];

    /// How often it comes where it is not what the run is about.
    pub(crate) fn usual(self) -> u64 {
        match self {
            Self::Kill => 6,
            Self::Isolate => 4,
            Self::DeadDisk | Self::ClockPace | Self::WallJump => 1,
            _ => 2,
        }
    }
}

/// The faults of a run.
pub(super) fn plan(dice: &mut Dice, kind: Kind, length: u64, count: u64) -> Vec<Scheduled<Fault>> {
    let weights = Sort::ALL.map(|sort| (kind.weight_of_fault(sort), sort));
    let mut faults = Vec::new();
    for _ in 0..count {
        let at = moment(dice, length);
        let sort = dice.weighted(&weights);
        let what = fault(dice, sort);
        // Some come again and again.
        let again = if dice.permille(100) { dice.between(2, 5) } else { 0 };
        for turn in 0..=again {
            faults.push(Scheduled { at: Time(at.0 + turn * 1_700_000), what });
        }
    }
    faults.sort_by_key(|fault| fault.at);
    faults
}

fn seconds(dice: &mut Dice, low_ms: u64, high_ms: u64) -> Duration {
    Duration::from_millis(dice.between(low_ms, high_ms))
}

fn target(dice: &mut Dice) -> Target {
    if dice.permille(350) { Target::Leader } else { Target::Host(dice.below(64)) }
}

fn fault(dice: &mut Dice, sort: Sort) -> Fault {
    let target = target(dice);
    match sort {
        Sort::Kill => Fault::Kill { target, power: dice.permille(500), down: seconds(dice, 50, 25_000) },
        Sort::KillAmidEffects => {
            Fault::KillAmidEffects { target, effects: dice.below(6), down: seconds(dice, 50, 8_000) }
        }
        Sort::Restart => Fault::Restart { target, down: seconds(dice, 50, 40_000) },
        Sort::Partition => {
            Fault::Partition { group: dice.below(256), one_way: dice.permille(300), lasts: seconds(dice, 200, 25_000) }
        }
        Sort::Isolate => Fault::Isolate { target, one_way: dice.permille(300), lasts: seconds(dice, 200, 25_000) },
        Sort::Loss => Fault::Loss { permille: dice.between(20, 300), lasts: seconds(dice, 500, 20_000) },
        Sort::Delay => Fault::Delay { longest: seconds(dice, 5, 400), lasts: seconds(dice, 500, 20_000) },
        Sort::Reset => Fault::Reset { target },
        Sort::SlowDisk => Fault::SlowDisk { target, lasts: seconds(dice, 500, 15_000) },
        Sort::FullDisk => Fault::FullDisk { target, lasts: seconds(dice, 200, 10_000) },
        Sort::DeadDisk => Fault::DeadDisk { target },
        Sort::Stall => Fault::Stall { target, lasts: seconds(dice, 100, 12_000) },
        Sort::WallJump => Fault::WallJump { target, seconds: dice.between(0, 600) as i64 - 300 },
        Sort::ClockPace => Fault::ClockPace {
            target,
            ppm: dice.between(0, 100_000) as i64 - 50_000,
            lasts: seconds(dice, 500, 30_000),
        },
        Sort::Crashes => Fault::Crashes { permille: dice.between(50, 900), lasts: seconds(dice, 500, 20_000) },
        Sort::NoImages => Fault::NoImages { permille: dice.between(50, 1000), lasts: seconds(dice, 500, 20_000) },
        Sort::Hangs => Fault::Hangs { permille: dice.between(50, 600), lasts: seconds(dice, 500, 20_000) },
    }
}
