//! Inputs from the manager: entries, changes of membership, reads, and the handover of leadership.

use std::collections::BTreeSet;

use bytes::Bytes;
use raft::StateRole;
use raft::eraftpb::{self, EntryType};
use skep_model::RaftId;

use crate::consensus::Consensus;
use crate::error::{ProposeError, ReadError, TransferError};
use crate::member::{Member, MembershipChange};
use crate::membership_entry;

/// Largest entry that Docker's managers take (interop §5.1).
pub const ENTRY_BYTES_MAX: usize = 3 * 1024 * 1024 / 2;

/// Reads that wait for a quorum.
const READS_WAITING_MAX: usize = 65_536;

/// Joining proposals into one append message stops here, far below gRPC's 4 MiB.
const APPEND_JOINED_BYTES_MAX: usize = 1024 * 1024;

impl Consensus {
    /// Whether a proposal decided in `term` would be taken now, its size aside.
    pub fn may_propose(&self, term: u64) -> Result<(), ProposeError> {
        let raft = &self.raw.raft;
        if raft.state != StateRole::Leader {
            return Err(ProposeError::NotLeader { leader: self.leader() });
        }
        if raft.term != term {
            return Err(ProposeError::StaleTerm { decided: term, current: raft.term });
        }
        if raft.lead_transferee.is_some() {
            return Err(ProposeError::Transferring);
        }
        if self.disk_failing {
            return Err(ProposeError::DiskFailing);
        }
        Ok(())
    }

    /// Appends an entry, decided in `term`, and returns its index. It counts only when it comes back as `Committed` with
    /// the same index and term.
    pub fn propose(&mut self, term: u64, data: Bytes) -> Result<u64, ProposeError> {
        self.may_propose(term)?;
        if data.len() > ENTRY_BYTES_MAX {
            return Err(ProposeError::TooLarge);
        }
        self.joined_bytes += data.len();
        if self.joined_bytes > APPEND_JOINED_BYTES_MAX {
            self.raw.set_batch_append(false);
        }
        self.raw.propose(Vec::new(), data.into()).map_err(|_| ProposeError::Overloaded)?;
        Ok(self.raw.raft.raft_log.last_index())
    }

    pub(crate) fn append_messages_taken(&mut self) {
        self.joined_bytes = 0;
        self.raw.set_batch_append(true);
    }

    /// Appends a change of membership, decided in `term`, and returns its index. One at a time: the next is taken once
    /// this one is applied.
    pub fn propose_membership(
        &mut self,
        term: u64,
        request_id: u64,
        change: &MembershipChange,
    ) -> Result<u64, ProposeError> {
        self.may_propose(term)?;
        match change {
            // Promoted: no other number becomes a voter that is a member already.
            MembershipChange::Add(Member { raft_id: id, .. }) if self.is_learner(*id) => {}
            MembershipChange::Add(Member { raft_id: id, .. })
            | MembershipChange::AddLearner(Member { raft_id: id, .. }) => {
                if self.membership.get(*id).is_some() || self.membership.is_removed(*id) || id.0 == 0 {
                    return Err(ProposeError::MemberExists { id: *id });
                }
            }
            MembershipChange::Update(Member { raft_id: id, .. }) | MembershipChange::Remove(id) => {
                if self.membership.get(*id).is_none() {
                    return Err(ProposeError::MemberUnknown { id: *id });
                }
                if matches!(change, MembershipChange::Remove(_)) && self.voters() == BTreeSet::from([*id]) {
                    return Err(ProposeError::LastMember);
                }
            }
        }
        if self.raw.raft.has_pending_conf() {
            return Err(ProposeError::MembershipPending);
        }
        self.append_membership(membership_entry::encode(request_id, change))
    }

    /// What raft's `propose_conf_change` does to an entry, but for reading it: it reads types by its own numbers, and
    /// panics at etcd's for a learner (feasibility §1).
    fn append_membership(&mut self, data: Bytes) -> Result<u64, ProposeError> {
        let entry = eraftpb::Entry {
            entry_type: EntryType::EntryConfChange as i32,
            data: data.into(),
            ..eraftpb::Entry::default()
        };
        let raft = &mut self.raw.raft;
        if !raft.append_entry(&mut [entry]) {
            return Err(ProposeError::Overloaded);
        }
        let index = raft.raft_log.last_index();
        raft.pending_conf_index = index;
        raft.bcast_append();
        Ok(index)
    }

    fn is_learner(&self, id: RaftId) -> bool {
        self.membership.get(id).is_some() && self.raw.raft.prs().conf().learners().contains(&id.0)
    }

    /// Starts a linearizable read; `request` comes back in `Effects::reads`. A change of term or the loss of leadership
    /// (`Effects::role`) drops those that wait.
    pub fn read_index(&mut self, request: u64) -> Result<(), ReadError> {
        if self.raw.raft.state != StateRole::Leader {
            return Err(ReadError::NotLeader);
        }
        if !self.raw.raft.commit_to_current_term() {
            return Err(ReadError::NotReady);
        }
        let waiting = self.reads_new.len() + self.reads_asked.values().map(Vec::len).sum::<usize>();
        if waiting >= READS_WAITING_MAX {
            return Err(ReadError::Overloaded);
        }
        self.reads_new.push(request);
        Ok(())
    }

    /// Hands leadership to `to`; proposals are refused until it took over or an election timeout has passed.
    pub fn transfer_leadership(&mut self, to: RaftId) -> Result<(), TransferError> {
        if self.raw.raft.state != StateRole::Leader {
            return Err(TransferError::NotLeader);
        }
        if to == self.config.id || !self.raw.raft.prs().conf().voters().contains(to.0) {
            return Err(TransferError::NotEligible { to });
        }
        self.raw.transfer_leader(to.0);
        self.settle();
        Ok(())
    }
}
