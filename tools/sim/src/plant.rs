//! Known bugs, kept behind switches: each is a mistake that a real system has made, and each must be caught. None is in
//! the core: the world performs an effect wrongly, or tells the core what a decider with the bug would believe
//! (`world/tamper.rs`).

use std::time::Duration;

/// Leaders come and go.
const LEADER_LASTS: Duration = Duration::from_millis(4_300);
/// Long enough that a leader begins to move tasks: it waits for nodes to settle first.
const LEADER_MOVES: Duration = Duration::from_millis(8_300);

/// A planted bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plant {
    /// A write is acknowledged to Raft before it is on the disk.
    EarlyAcknowledgement,
    /// The disk says that it synced, and did not.
    LostSync,
    /// Term and vote are written as they were before.
    VoteForgotten,
    /// Everything on the disk counts as committed after a restart: the writes of a deposed leader are applied.
    DeposedWrite,
    /// A refusal for want of a leader is told to the client as success.
    RefusalAsSuccess,
    /// A read from a follower's own state is handed out as current.
    StaleRead,
    /// The first task of a new session's whole set is lost on the way to the worker.
    TaskLostOnSession,
    /// Assignments of a session that is over reach the worker as if they were of the present one.
    StaleAssignment,
    /// A removed container leaves its secrets on the host.
    SecretLeftBehind,
    /// A removal is reported as done and does nothing.
    OrphanContainer,
    /// A snapshot on disk forgets one member.
    MemberForgotten,
    /// A manager stops as soon as its demotion is asked for, not when it is out of the quorum.
    EarlyStop,
    /// The answer of a container that started is lost: the update waits for ever.
    LostAnswer,
    /// Clocks count nanoseconds as microseconds: every pause is over at once, every deadline missed.
    WrongClockUnit,
    /// The allocator does not see the addresses of running tasks, and gives them out again.
    AddressForgotten,
    /// The orchestrator does not see a task that runs, and makes a second one for its slot.
    SlotForgotten,
    /// What was wanted of a task is forgotten: it goes back from SHUTDOWN.
    StopForgotten,
    /// The scheduler does not see what running tasks reserve.
    ReservationForgotten,
    /// A task is taken to be on another node.
    NodeMistaken,
    /// A job's completions are forgotten: it runs them again.
    CompletionForgotten,
    /// A rollback goes to another spec than the one before.
    RollbackElsewhere,
    /// The last write before the power went is torn, and taken for whole.
    TornWrite,
    /// A task that starts is taken for one that runs: the update goes on to more slots than it may, a move begins too early.
    StartTakenForRun,
    /// A task that was told to stop is taken for one that has: its successor starts beside it, and it stays when its node
    /// goes.
    StopTakenForEnd,
    /// Tasks are taken to have a secret's new version: the update is over before it began.
    VersionOverlooked,
    /// Earlier versions of secrets and configs are not known as such: who went back to one is given no new data.
    EarlierVersionForgotten,
    /// A task that moves is taken for one that has: what it takes over from stops before it runs.
    MoveTakenForDone,
    /// A node that was asked for a certificate of the new root is taken to have it: the old root is forgotten too early.
    RenewalTakenForDone,
    /// What a secret's driver gives for one task is handed to the next one that asks.
    AnswerOfAnother,
    /// A driver that did not answer in time is not told to be late: its question is never over.
    AnswerForgotten,
}

impl Plant {
    /// All of them.
    pub const ALL: [Plant; 30] = [
        Plant::EarlyAcknowledgement,
        Plant::LostSync,
        Plant::VoteForgotten,
        Plant::DeposedWrite,
        Plant::RefusalAsSuccess,
        Plant::StaleRead,
        Plant::TaskLostOnSession,
        Plant::StaleAssignment,
        Plant::SecretLeftBehind,
        Plant::OrphanContainer,
        Plant::MemberForgotten,
        Plant::EarlyStop,
        Plant::LostAnswer,
        Plant::WrongClockUnit,
        Plant::AddressForgotten,
        Plant::SlotForgotten,
        Plant::StopForgotten,
        Plant::ReservationForgotten,
        Plant::NodeMistaken,
        Plant::CompletionForgotten,
        Plant::RollbackElsewhere,
        Plant::TornWrite,
        Plant::StartTakenForRun,
        Plant::StopTakenForEnd,
        Plant::VersionOverlooked,
        Plant::EarlierVersionForgotten,
        Plant::MoveTakenForDone,
        Plant::RenewalTakenForDone,
        Plant::AnswerOfAnother,
        Plant::AnswerForgotten,
    ];

    /// By its name, as `Debug` prints it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plant| format!("{plant:?}").eq_ignore_ascii_case(name))
    }

    /// It is planted in how followers read the log.
    pub(crate) fn tampers_with_entries(self) -> bool {
        matches!(
            self,
            Self::StartTakenForRun
                | Self::StopTakenForEnd
                | Self::VersionOverlooked
                | Self::EarlierVersionForgotten
                | Self::MoveTakenForDone
                | Self::RenewalTakenForDone
        )
    }

    /// How long a leader lasts where it shows only when managers restart or take over often.
    pub(crate) fn leaders_last(self) -> Option<Duration> {
        let often = self.tampers_with_entries() || matches!(self, Self::DeposedWrite | Self::StopForgotten);
        let lasts = if self == Self::MoveTakenForDone { LEADER_MOVES } else { LEADER_LASTS };
        often.then_some(lasts)
    }

    /// It is planted in what managers believe.
    pub(crate) fn tampers_with_facts(self) -> bool {
        let restarted = matches!(
            self,
            Self::AddressForgotten
                | Self::SlotForgotten
                | Self::StopForgotten
                | Self::ReservationForgotten
                | Self::NodeMistaken
                | Self::CompletionForgotten
                | Self::RollbackElsewhere
        );
        restarted || self.tampers_with_entries()
    }
}
