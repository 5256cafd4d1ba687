//! Inputs from the network.

use raft::SnapshotStatus;
use raft::eraftpb::{Message, MessageType};
use skep_model::RaftId;

use crate::consensus::Consensus;
use crate::effect::PeerMessage;
use crate::error::StepError;
use crate::screen::{self, Verdict};

/// Docker Engines before 23.0 send a snapshot with the members as of when it was taken (interop §11); raft would ignore
/// one that does not name its receiver, for ever. The entry that added the receiver is committed, or nobody would send
/// it anything, and follows: until then it counts one member more than there were, itself, which can win no vote.
fn add_receiver(message: &mut Message) {
    let to = message.to;
    let meta = message.snapshot.as_mut().and_then(|snapshot| snapshot.metadata.as_mut());
    let Some(conf) = meta.and_then(|meta| meta.conf_state.as_mut()) else { return };
    if message.msg_type == MessageType::MsgSnapshot as i32 && !conf.voters.contains(&to) && !conf.learners.contains(&to)
    {
        conf.voters.push(to);
    }
}

impl Consensus {
    /// A message from a peer. An error is for the sender's ears (`StepError::Removed`) or the log; this member goes on.
    /// Somebody unknown may ask for a vote: members that were added while this one was away can need it for their
    /// quorum (Raft dissertation, 4.1: a vote goes by the candidate's configuration; SwarmKit refuses, and such a group
    /// never has a leader again). Who hears a leader gives none, and a log that lacks what is committed here gets none.
    pub fn step(&mut self, message: PeerMessage) -> Result<(), StepError> {
        let PeerMessage { from, mut message, .. } = message;
        if self.membership.is_gone(from) {
            return Err(StepError::Removed { from });
        }
        if screen::form(&message, self.config.id)? == Verdict::Drop {
            return Ok(());
        }
        add_receiver(&mut message);
        screen::agreement(&message, self.raw.raft.term, &self.raw.raft.raft_log)?;
        let takes_over = message.msg_type == MessageType::MsgTimeoutNow as i32;
        if takes_over && !self.may_campaign() {
            return Ok(());
        }
        match self.raw.step(*message) {
            // An answer from somebody who is no member any more.
            Err(raft::Error::StepPeerNotFound) | Ok(()) => {}
            Err(error) => return Err(StepError::Malformed { reason: error.to_string() }),
        }
        self.settle();
        Ok(())
    }

    /// A message to `peer` could not be sent.
    pub fn report_unreachable(&mut self, peer: RaftId) {
        self.raw.report_unreachable(peer.0);
    }

    /// The outcome of sending a snapshot: each must be told, or the peer gets nothing more.
    pub fn report_snapshot(&mut self, peer: RaftId, arrived: bool) {
        let status = if arrived { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.raw.report_snapshot(peer.0, status);
    }
}
