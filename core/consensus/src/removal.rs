//! Taking a voter out without losing the group, should others fail just then.
//!
//! A member goes by the configuration that it has applied, and it applies a removal when it learns that the entry is
//! committed, not when it holds it. Two things follow.
//!
//! - **Whoever is removed is needed until the others know.** Those that have not heard of the commit still count its
//!   vote. So it hears that it may go only once a *mark* is committed: a later entry that the leader proposed after it
//!   had applied the removal. An append carries the commit index, and both are written at once: whoever holds the mark
//!   knows for good that the removal is committed, and a majority of those who stay holds it. Among any majority of
//!   them the newest log has the mark, hence goes by the new members, hence can lead.
//! - **Those who stay must be there before.** Once the removal is committed only they count. Who was heard half a
//!   second ago may be gone; who has since written a *probe* was there when it was asked for.
//!
//! Both are one kind of entry: empty, and not the first of its term, proposed while no change of membership is under
//! way; so every member knows a mark when it applies it. A change of membership is a mark as well: nobody proposes one
//! before the last is applied. (etcd's raft writes an empty entry in place of a change of membership that it refuses:
//! a mark too early, where Docker's managers lead, who tell at once anyhow.)

use raft::StateRole;
use raft::eraftpb::Entry;
use skep_model::RaftId;

use crate::consensus::Consensus;
use crate::error::ProposeError;
use crate::member::MembershipChange;

impl Consensus {
    /// Appends an empty entry, decided in `term`, and returns its index: who holds it was there after this call.
    pub fn probe(&mut self, term: u64) -> Result<u64, ProposeError> {
        self.may_propose(term)?;
        if self.raw.raft.has_pending_conf() {
            return Err(ProposeError::MembershipPending);
        }
        self.raw.propose(Vec::new(), Vec::new()).map_err(|_| ProposeError::Overloaded)?;
        Ok(self.raw.raft.raft_log.last_index())
    }

    /// Whether a majority of the voters without `id` has the entry at `index` on disk, as far as this leader knows.
    pub fn held_without(&self, id: RaftId, index: u64) -> bool {
        let rest = || self.peers().into_iter().filter(|peer| peer.votes && peer.id != id);
        2 * rest().filter(|peer| peer.matched_index >= index).count() > rest().count()
    }

    /// Whether this leader has applied a removal whose mark is not on its way.
    pub(crate) fn owes_mark(&self) -> bool {
        let raft = &self.raw.raft;
        self.membership.leaving().next().is_some()
            && raft.state == StateRole::Leader
            && self.handed_out.1 == raft.term
            && self.mark.is_none_or(|(index, term)| term != raft.term || index <= self.handed_out.0)
            && !raft.has_pending_conf()
            && self.may_propose(raft.term).is_ok()
    }

    /// Proposes the mark that is owed. Whether it did.
    pub(crate) fn propose_mark(&mut self) -> bool {
        if !self.owes_mark() {
            return false;
        }
        let term = self.raw.raft.term;
        let Ok(index) = self.probe(term) else { return false };
        self.mark = Some((index, term));
        true
    }

    /// An entry that says nothing is handed out; `before` is the term of the one before it.
    pub(crate) fn see_mark(&mut self, entry: &Entry, before: u64) {
        if entry.term == before {
            self.membership.settle();
        }
    }

    /// A change of membership is about to be in force.
    pub(crate) fn see_change(&mut self, change: &MembershipChange, voted: bool) {
        self.membership.settle();
        self.membership.apply(change);
        if let MembershipChange::Remove(id) = change
            && !voted
        {
            self.membership.settle_one(*id);
        }
    }
}
