//! What will happen in a run, decided beforehand from the seed: so that a failing run can be tried again with fewer
//! faults.

use std::time::Duration;

use skep_model::Time;

use crate::dice::{Dice, Purpose};

/// The world stands still and whole this long, so that the first hosts can join.
const CALM_SECONDS: u64 = 12;

/// Something that happens at a time.
#[derive(Clone, Debug)]
pub struct Scheduled<T> {
    /// When.
    pub at: Time,
    /// What.
    pub what: T,
}

/// Whom a fault hits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// A host by number, modulo as many as there are.
    Host(u64),
    /// Whoever leads then.
    Leader,
}

/// A fault. Those with `lasts` end by themselves.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Fault {
    /// The daemon dies, with the whole machine if `power`.
    Kill { target: Target, power: bool, down: Duration },
    /// The daemon dies in the middle of what a turn wanted done.
    KillAmidEffects { target: Target, effects: u64, down: Duration },
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
    /// Writes fail: the disk is full.
    FullDisk { target: Target, lasts: Duration },
    /// The host stands still, and does not notice.
    Stall { target: Target, lasts: Duration },
    /// The wall clock jumps.
    WallJump { target: Target, seconds: i64 },
    /// Containers crash soon after they start.
    Crashes { permille: u64, lasts: Duration },
    /// Images cannot be had.
    NoImages { permille: u64, lasts: Duration },
    /// Containers hang when they are started or stopped.
    Hangs { permille: u64, lasts: Duration },
}

/// What somebody asks for. Details are diced when it happens, from a stream of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Wish {
    CreateService,
    UpdateService,
    RollBackService,
    RemoveService,
    CreateSecret,
    RemoveSecret,
    CreateConfig,
    RemoveConfig,
    CreateNetwork,
    RemoveNetwork,
    Read,
    Availability,
    Promote,
    Demote,
    AddHost { manager: bool },
    Retire,
}

/// A run, decided beforehand.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where all dice come from.
    pub seed: u64,
    /// Managers at the beginning.
    pub managers: usize,
    /// Other hosts at the beginning.
    pub workers: usize,
    /// What breaks.
    pub faults: Vec<Scheduled<Fault>>,
    /// What is asked for.
    pub wishes: Vec<Scheduled<Wish>>,
    /// When everything is mended.
    pub heal_at: Time,
    /// How long after that everything must be as it should be. The longest single waits: 30 s until a node of an
    /// earlier leader is down, 60 s for an old task to stop, then 5 s of delay and the update's monitored periods.
    pub bound: Duration,
    /// Log entries between snapshots.
    pub snapshot_interval: u64,
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed, Purpose::Plan);
        let managers = dice.pick(&[1, 3, 3, 3, 3, 5]).unwrap_or(3);
        let workers = dice.between(1, 4) as usize;
        let length = dice.between(40, 150);
        let heal_at = Time((CALM_SECONDS + length) * 1_000_000);
        let intensity = dice.between(0, 3);
        let faults = faults(&mut dice, length, intensity);
        let wishes = wishes(&mut dice, length);
        let bound = Duration::from_secs(240);
        let snapshot_interval = dice.pick(&[20, 60, 200, 10_000]).unwrap_or(200);
        Self { seed, managers, workers, faults, wishes, heal_at, bound, snapshot_interval }
    }

    /// Nothing breaks and nobody asks for anything: for tests that say themselves what happens.
    pub fn calm(seed: u64, managers: usize, workers: usize) -> Self {
        let (heal_at, bound) = (Time(CALM_SECONDS * 1_000_000), Duration::from_secs(120));
        let (faults, wishes) = (Vec::new(), Vec::new());
        Self { seed, managers, workers, faults, wishes, heal_at, bound, snapshot_interval: 200 }
    }
}

fn moment(dice: &mut Dice, length: u64) -> Time {
    Time(CALM_SECONDS * 1_000_000 + dice.below(length * 1_000_000))
}

fn seconds(dice: &mut Dice, low_ms: u64, high_ms: u64) -> Duration {
    Duration::from_millis(dice.between(low_ms, high_ms))
}

fn target(dice: &mut Dice) -> Target {
    if dice.permille(350) { Target::Leader } else { Target::Host(dice.below(64)) }
}

fn faults(dice: &mut Dice, length: u64, intensity: u64) -> Vec<Scheduled<Fault>> {
    let mut faults = Vec::new();
    for _ in 0..length * intensity / 12 {
        let at = moment(dice, length);
        let what = fault(dice);
        // Some come again and again.
        let again = if dice.permille(100) { dice.between(2, 5) } else { 0 };
        for turn in 0..=again {
            faults.push(Scheduled { at: Time(at.0 + turn * 1_700_000), what });
        }
    }
    faults.sort_by_key(|fault| fault.at);
    faults
}

fn fault(dice: &mut Dice) -> Fault {
    let target = target(dice);
    match dice.below(16) {
        0..=2 => Fault::Kill { target, power: dice.permille(500), down: seconds(dice, 50, 25_000) },
        3 => Fault::KillAmidEffects { target, effects: dice.below(6), down: seconds(dice, 50, 8_000) },
        4 => {
            Fault::Partition { group: dice.below(256), one_way: dice.permille(300), lasts: seconds(dice, 200, 25_000) }
        }
        5 | 6 => Fault::Isolate { target, one_way: dice.permille(300), lasts: seconds(dice, 200, 25_000) },
        7 => Fault::Loss { permille: dice.between(20, 300), lasts: seconds(dice, 500, 20_000) },
        8 => Fault::Delay { longest: seconds(dice, 5, 400), lasts: seconds(dice, 500, 20_000) },
        9 => Fault::Reset { target },
        10 => Fault::SlowDisk { target, lasts: seconds(dice, 500, 15_000) },
        11 => Fault::FullDisk { target, lasts: seconds(dice, 200, 10_000) },
        12 => Fault::Stall { target, lasts: seconds(dice, 100, 12_000) },
        13 => Fault::WallJump { target, seconds: dice.between(0, 600) as i64 - 300 },
        14 => match dice.below(2) {
            0 => Fault::Crashes { permille: dice.between(50, 900), lasts: seconds(dice, 500, 20_000) },
            _ => Fault::NoImages { permille: dice.between(50, 1000), lasts: seconds(dice, 500, 20_000) },
        },
        _ => Fault::Hangs { permille: dice.between(50, 600), lasts: seconds(dice, 500, 20_000) },
    }
}

fn wishes(dice: &mut Dice, length: u64) -> Vec<Scheduled<Wish>> {
    let mut wishes = Vec::new();
    let early = [Wish::CreateNetwork, Wish::CreateSecret, Wish::CreateConfig, Wish::CreateService];
    for (number, what) in early.into_iter().enumerate() {
        wishes.push(Scheduled { at: Time((CALM_SECONDS - 4 + number as u64) * 1_000_000), what });
    }
    let count = dice.between(length / 4, length);
    for _ in 0..count {
        let what = match dice.below(100) {
            0..15 => Wish::CreateService,
            15..37 => Wish::UpdateService,
            37..40 => Wish::RollBackService,
            40..48 => Wish::RemoveService,
            48..52 => Wish::CreateSecret,
            52..54 => Wish::RemoveSecret,
            54..57 => Wish::CreateConfig,
            57..59 => Wish::RemoveConfig,
            59..62 => Wish::CreateNetwork,
            62..64 => Wish::RemoveNetwork,
            64..82 => Wish::Read,
            82..90 => Wish::Availability,
            90..93 => Wish::Promote,
            93..96 => Wish::Demote,
            96..98 => Wish::AddHost { manager: dice.permille(400) },
            _ => Wish::Retire,
        };
        wishes.push(Scheduled { at: moment(dice, length), what });
    }
    wishes.sort_by_key(|wish| wish.at);
    wishes
}
