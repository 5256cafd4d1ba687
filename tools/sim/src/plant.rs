//! Known bugs, kept behind switches: each is a mistake of the shell that a real system has made, and each must be
//! caught. None is in the core.

/// A planted bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plant {
    /// A write is acknowledged to Raft before it is on the disk.
    EarlyAcknowledgement,
    /// The disk says that it synced, and did not.
    LostSync,
    /// Term and vote are written as they were before.
    VoteForgotten,
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
}

impl Plant {
    /// All of them.
    pub const ALL: [Plant; 13] = [
        Plant::EarlyAcknowledgement,
        Plant::LostSync,
        Plant::VoteForgotten,
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
    ];

    /// By its name, as `Debug` prints it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plant| format!("{plant:?}").eq_ignore_ascii_case(name))
    }
}
