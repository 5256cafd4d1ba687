//! Two paces: fast among Skep managers, Docker's as soon as one of its managers votes (decision 12).

use std::time::Duration;

/// Raft's ticks in one election timeout. raft fixes it when it is made, so both modes share it and a Skep tick counts
/// as two of raft's.
pub(crate) const ELECTION_RAFT_TICKS: usize = 10;

/// Raft's ticks between heartbeats: one tick of Skep's mode. In Docker's mode the leader pings in between.
pub(crate) const HEARTBEAT_RAFT_TICKS: usize = 2;

/// A member without a vote that heard nothing for so long says that it is there: two of the longest election timeouts.
pub(crate) const SPEAK_UP_RAFT_TICKS: usize = 4 * ELECTION_RAFT_TICKS;

/// Who has applied its own removal asks so often whether it may go: others may still need its vote.
pub(crate) const ASK_TO_GO_RAFT_TICKS: usize = 2;

/// A follower that lost its leader's connection waits up to this long before it asks for pre-votes, so that two
/// followers rarely ask at the same moment.
pub const HINT_DELAY_MAX: Duration = Duration::from_millis(50);

/// If nobody leads after that, it asks again after this long and up to as much more: votes were split, or another
/// follower had not noticed yet.
pub(crate) const HINT_RETRY: Duration = Duration::from_millis(100);

/// How often it asks again before it leaves the matter to the election timeout.
pub(crate) const HINT_RETRIES_MAX: u8 = 4;

/// The pace of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Only Skep managers vote: 100 ms ticks, election after 5 to 10 of them, pre-vote.
    #[default]
    Skep,
    /// A Docker manager votes, or might: 1 s ticks, election after 10 to 20, no pre-vote, no hint.
    Docker,
}

impl Mode {
    /// How often to call `Consensus::tick`.
    pub const fn tick_interval(self) -> Duration {
        match self {
            Self::Skep => Duration::from_millis(100),
            Self::Docker => Duration::from_secs(1),
        }
    }

    pub(crate) const fn raft_ticks(self) -> usize {
        match self {
            Self::Skep => 2,
            Self::Docker => 1,
        }
    }

    pub(crate) const fn pre_vote(self) -> bool {
        matches!(self, Self::Skep)
    }
}
