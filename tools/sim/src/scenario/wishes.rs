//! What somebody asks for.

use skep_model::Time;

use super::{CALM_SECONDS, Kind, Scheduled, moment};
use crate::dice::{Dice, Purpose};

/// What somebody asks for. Details are diced when it happens, from a stream of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Wish {
    CreateService,
    CreateJob,
    /// A plain service of so many tasks.
    CreateMany {
        replicas: u64,
    },
    UpdateService,
    RunJobAgain,
    RollBackService,
    RemoveService,
    CreateSecret,
    UpdateSecret,
    RemoveSecret,
    CreateConfig,
    UpdateConfig,
    RemoveConfig,
    CreateNetwork,
    RemoveNetwork,
    Read,
    Availability,
    Promote,
    Demote,
    AddHost {
        manager: bool,
    },
    /// A worker is switched off for good; nobody says so.
    Retire,
    /// A node leaves the swarm in good order, and joins it again as a new one if `again`.
    Leave {
        again: bool,
    },
    /// What is gone is taken off the list of nodes.
    RemoveNode,
    /// A worker that runs is taken off the list by force; it leaves a while later, and joins again if `again`.
    ForceOut {
        again: bool,
    },
    /// Autolock on or off.
    Autolock {
        on: bool,
    },
    RotateUnlockKey,
    /// Another root.
    RotateRoot,
    /// A root that an operator has.
    BringRoot(BroughtRoot),
}

/// Which root an operator brings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BroughtRoot {
    /// One that the swarm has not seen.
    Another,
    /// The last one that was brought.
    Last,
    /// The one that the swarm has: a change is called off.
    Present,
}

impl Wish {
    /// What can be asked for at any time; details are diced later.
    const ALL: [Self; 25] = [
        Self::CreateService,
        Self::CreateJob,
        Self::UpdateService,
        Self::RunJobAgain,
        Self::RollBackService,
        Self::RemoveService,
        Self::CreateSecret,
        Self::UpdateSecret,
        Self::RemoveSecret,
        Self::CreateConfig,
        Self::UpdateConfig,
        Self::RemoveConfig,
        Self::CreateNetwork,
        Self::RemoveNetwork,
        Self::Read,
        Self::Availability,
        Self::Promote,
        Self::Demote,
        Self::AddHost { manager: false },
        Self::Retire,
        Self::Leave { again: false },
        Self::RemoveNode,
        Self::ForceOut { again: false },
        Self::Autolock { on: false },
        Self::RotateUnlockKey,
    ];

    /// How often it comes where it is not what the run is about.
    pub(crate) fn usual(self) -> u64 {
        match self {
            Self::UpdateService => 22,
            Self::Read => 18,
            Self::CreateService => 13,
            Self::RemoveService | Self::Availability => 8,
            Self::CreateSecret | Self::CreateConfig | Self::CreateNetwork | Self::CreateJob => 4,
            Self::Promote | Self::Demote | Self::RollBackService => 3,
            Self::Autolock { .. } | Self::RotateUnlockKey | Self::ForceOut { .. } => 1,
            _ => 2,
        }
    }

    fn diced(self, dice: &mut Dice) -> Self {
        match self {
            Self::AddHost { .. } => Self::AddHost { manager: dice.permille(400) },
            Self::Leave { .. } => Self::Leave { again: dice.permille(700) },
            Self::ForceOut { .. } => Self::ForceOut { again: dice.permille(700) },
            Self::Autolock { .. } => Self::Autolock { on: dice.permille(700) },
            whole => whole,
        }
    }
}

/// Runs in which another root is asked for, in a thousand; and those among them in which that happens twice.
const ROOTS_PERMILLE: u64 = 250;
const ROOTS_TWICE_PERMILLE: u64 = 400;

/// A change of root concerns everything, and is rare: it comes on top of what else a run asks for.
pub(super) fn roots(seed: u64, length: u64) -> Vec<Scheduled<Wish>> {
    let mut dice = Dice::new(seed, Purpose::Roots);
    let dice = &mut dice;
    let count = u64::from(dice.permille(ROOTS_PERMILLE)) * (1 + u64::from(dice.permille(ROOTS_TWICE_PERMILLE)));
    (0..count).map(|_| Scheduled { at: moment(dice, length), what: Wish::RotateRoot }).collect()
}

/// How often an operator brings a root, in microseconds; how soon, thereafter, it is called off, or brought again.
const BROUGHT_EVERY_US: u64 = 15_000_000;
const CALLED_OFF_AFTER_US: u64 = 2_500_000;
/// Changes that are called off, in a thousand; and those among them where the same root is brought again.
const CALLED_OFF_PERMILLE: u64 = 800;
const AGAIN_PERMILLE: u64 = 400;

/// Roots that are brought, and mostly called off while nodes are being issued certificates of them.
pub(super) fn brought_roots(seed: u64, end: Time) -> Vec<Scheduled<Wish>> {
    let mut dice = Dice::new(seed, Purpose::BroughtRoots);
    let mut wishes = Vec::new();
    let mut at = Time(CALM_SECONDS * 1_000_000);
    while at < end {
        let mut bring = |at, which| wishes.push(Scheduled { at, what: Wish::BringRoot(which) });
        bring(at, BroughtRoot::Another);
        if dice.permille(CALLED_OFF_PERMILLE) {
            let called_off = Time(at.0 + dice.below(CALLED_OFF_AFTER_US));
            bring(called_off, BroughtRoot::Present);
            if dice.permille(AGAIN_PERMILLE) {
                bring(Time(called_off.0 + dice.below(CALLED_OFF_AFTER_US)), BroughtRoot::Last);
            }
        }
        at = Time(at.0 + dice.below(2 * BROUGHT_EVERY_US));
    }
    wishes
}

/// The wishes of a run.
pub(super) fn plan(dice: &mut Dice, kind: Kind, length: u64, count: u64) -> Vec<Scheduled<Wish>> {
    let weights = Wish::ALL.map(|wish| (kind.weight_of_wish(wish), wish));
    let mut wishes = Vec::new();
    let job = if kind == Kind::Jobs { Wish::CreateJob } else { Wish::CreateService };
    let early = [Wish::CreateNetwork, Wish::CreateSecret, Wish::CreateConfig, Wish::CreateService, job];
    for (number, what) in early.into_iter().enumerate() {
        wishes.push(Scheduled { at: Time((CALM_SECONDS - 4 + number as u64) * 1_000_000), what });
    }
    for _ in 0..count {
        let what = dice.weighted(&weights).diced(dice);
        wishes.push(Scheduled { at: moment(dice, length), what });
    }
    wishes.sort_by_key(|wish| wish.at);
    wishes
}
