//! Every "no" of this crate.

use skep_model::{Code, RaftId, Refusal};

/// Why something was not proposed. Nothing was appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another member leads, or none.
    #[error("this member is not the leader of the swarm")]
    NotLeader {
        /// The leader, when known.
        leader: Option<RaftId>,
    },
    /// The decision was made in an older term.
    #[error("decided in term {decided}, but the term is {current} now")]
    StaleTerm {
        /// The term given with the proposal.
        decided: u64,
        /// The current term.
        current: u64,
    },
    /// Leadership is being handed over.
    #[error("leadership is being handed over; try again")]
    Transferring,
    /// Too many bytes in flight.
    #[error("too many changes wait for a quorum; try again")]
    Overloaded,
    /// Larger than Docker's managers accept (text: SwarmKit's).
    #[error("raft: raft message is too large and can't be sent")]
    TooLarge,
    /// The log cannot be written.
    #[error("the log cannot be written (is the disk full?); no change is accepted until it can")]
    DiskFailing,
    /// One change of membership at a time.
    #[error("another change of the managers is in progress; try again")]
    MembershipPending,
    /// A number can be used once.
    #[error("raft member {id} is or was in use already")]
    MemberExists {
        /// Which.
        id: RaftId,
    },
    /// No such member.
    #[error("can't find manager in raft memberlist")]
    MemberUnknown {
        /// Which.
        id: RaftId,
    },
    /// The group would be empty.
    #[error("attempting to remove the last manager of the swarm")]
    LastMember,
}

impl From<ProposeError> for Refusal {
    fn from(error: ProposeError) -> Self {
        let code = match &error {
            ProposeError::NotLeader { leader: None } => return Self::no_leader(),
            ProposeError::NotLeader { .. } | ProposeError::Transferring | ProposeError::MembershipPending => {
                Code::Unavailable
            }
            ProposeError::StaleTerm { .. } => Code::Aborted,
            ProposeError::Overloaded | ProposeError::TooLarge | ProposeError::DiskFailing => Code::ResourceExhausted,
            ProposeError::MemberExists { .. } => Code::AlreadyExists,
            ProposeError::MemberUnknown { .. } => Code::NotFound,
            ProposeError::LastMember => Code::FailedPrecondition,
        };
        Self::new(code, error.to_string())
    }
}

/// Why a message from a peer was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// Not a raftpb.Message, or one that no member of this protocol sends.
    #[error("raft message refused: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// The sender was removed (text: SwarmKit's; NotFound tells it to shut its manager down).
    #[error("raft: member was removed from the cluster")]
    Removed {
        /// The sender.
        from: RaftId,
    },
    /// Members contradict each other about what is committed: a state directory went back in time or was mixed up.
    /// Going on would lose acknowledged writes.
    #[error("this manager's log contradicts the swarm's: {reason}; demote this manager and let it join again")]
    Diverged {
        /// What was seen.
        reason: String,
    },
}

impl From<StepError> for Refusal {
    fn from(error: StepError) -> Self {
        let code = match &error {
            StepError::Removed { .. } => Code::NotFound,
            StepError::Malformed { .. } => Code::InvalidArgument,
            StepError::Diverged { .. } => Code::Internal,
        };
        Self::new(code, error.to_string())
    }
}

/// Why a handover of leadership was not started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// Only the leader hands over.
    #[error("this member is not the leader of the swarm")]
    NotLeader,
    /// Not a voter, or this member itself.
    #[error("raft member {to} cannot take over")]
    NotEligible {
        /// Whom.
        to: RaftId,
    },
}

/// Why a linearizable read cannot be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Only the leader answers.
    #[error("this member is not the leader of the swarm")]
    NotLeader,
    /// The leader has no committed entry of its own term yet.
    #[error("the new leader is not ready yet; try again")]
    NotReady,
    /// Too many reads wait.
    #[error("too many reads wait for a quorum; try again")]
    Overloaded,
}

/// Why recovered state is refused. Nothing of it was used.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The parts contradict each other.
    #[error("the raft state on disk is not usable: {reason}")]
    Inconsistent {
        /// How.
        reason: String,
    },
    /// The raft library refused it.
    #[error("the raft state on disk was refused")]
    Refused(#[source] raft::Error),
}
