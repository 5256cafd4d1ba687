//! What a run is mostly about: everything happens in all of them, but not as often.

use std::time::Duration;

use super::Wish;
use super::faults::Sort;
use crate::dice::Dice;

/// A scenario.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A bit of everything.
    Everything,
    /// Managers come, go and fall silent.
    Quorum,
    /// Services change while their containers fail.
    Updates,
    /// Jobs run while workers fail.
    Jobs,
    /// Autolock goes on and off while managers restart.
    Locks,
    /// Workers are drained, restarted, retired and removed.
    Nodes,
    /// Disks are slow, full, lose and tear writes, and die.
    Disks,
    /// Clocks are wrong.
    Clocks,
}

/// Weights among the seeds.
const WEIGHTS: [(u64, Kind); 8] = [
    (8, Kind::Everything),
    (4, Kind::Quorum),
    (5, Kind::Updates),
    (3, Kind::Jobs),
    (2, Kind::Locks),
    (3, Kind::Nodes),
    (3, Kind::Disks),
    (2, Kind::Clocks),
];

/// What a scenario is about comes this much more often than elsewhere.
const FAVOUR: u64 = 6;

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 8] = [
        Self::Everything,
        Self::Quorum,
        Self::Updates,
        Self::Jobs,
        Self::Locks,
        Self::Nodes,
        Self::Disks,
        Self::Clocks,
    ];

    /// One of them.
    pub(crate) fn of(dice: &mut Dice) -> Self {
        dice.weighted(&WEIGHTS)
    }

    /// How long after the last fault everything must be as it should be.
    ///
    /// The longest single waits: 30 s until a node of an earlier leader is down, 60 s for an old task to stop, then the
    /// delay and the monitored period of each step of an update. Where services rest while managers and disks fail, the
    /// first two are all there is; where updates follow upon updates, each step may need both; a job runs its slots one
    /// after another; a locked manager waits for its operator first.
    pub fn bound(self) -> Duration {
        Duration::from_secs(match self {
            Self::Quorum | Self::Disks | Self::Clocks => 180,
            Self::Everything | Self::Nodes | Self::Locks => 240,
            Self::Updates | Self::Jobs => 300,
        })
    }

    /// How often a fault comes.
    pub(crate) fn weight_of_fault(self, sort: Sort) -> u64 {
        use Sort as S;
        let favoured = match self {
            Self::Everything => false,
            Self::Quorum => matches!(sort, S::Kill | S::KillAmidEffects | S::Partition | S::Isolate | S::Loss),
            Self::Updates => matches!(sort, S::Crashes | S::NoImages | S::Hangs),
            Self::Jobs => matches!(sort, S::Crashes | S::Hangs | S::Isolate | S::Restart),
            Self::Locks => matches!(sort, S::Kill | S::KillAmidEffects | S::Restart),
            Self::Nodes => matches!(sort, S::Restart | S::Reset | S::Isolate | S::Stall),
            Self::Disks => matches!(sort, S::SlowDisk | S::FullDisk | S::DeadDisk | S::Kill),
            Self::Clocks => matches!(sort, S::WallJump | S::ClockPace | S::Stall),
        };
        sort.usual() * if favoured { FAVOUR } else { 1 }
    }

    /// How often something is asked for.
    pub(crate) fn weight_of_wish(self, wish: Wish) -> u64 {
        use Wish as W;
        let favoured = match self {
            Self::Everything | Self::Disks | Self::Clocks => false,
            Self::Quorum => matches!(wish, W::Promote | W::Demote | W::AddHost { .. } | W::Leave { .. }),
            Self::Updates => {
                matches!(wish, W::UpdateService | W::RollBackService | W::UpdateSecret | W::UpdateConfig)
            }
            Self::Jobs => matches!(wish, W::CreateJob | W::RunJobAgain),
            Self::Locks => matches!(wish, W::Autolock { .. } | W::RotateUnlockKey),
            Self::Nodes => {
                matches!(wish, W::Availability | W::Retire | W::RemoveNode | W::ForceOut { .. })
                    || matches!(wish, W::Leave { .. } | W::AddHost { .. })
            }
        };
        wish.usual() * if favoured { FAVOUR } else { 1 }
    }
}
