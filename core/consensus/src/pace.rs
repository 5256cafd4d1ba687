//! Inputs of time: ticks, the hint that the leader is gone, and the pace itself.

use std::time::Duration;

use raft::StateRole;
use raft::eraftpb::{Message, MessageType};
use skep_model::{RaftId, Time};

use crate::consensus::Consensus;
use crate::timing::{
    ASK_TO_GO_RAFT_TICKS, ELECTION_RAFT_TICKS, HINT_DELAY_MAX, HINT_RETRIES_MAX, HINT_RETRY, Mode, SPEAK_UP_RAFT_TICKS,
};

impl Consensus {
    /// How often to call `tick` now.
    pub fn tick_interval(&self) -> Duration {
        self.config.mode.tick_interval()
    }

    /// Once per `tick_interval`.
    pub fn tick(&mut self, now: Time) {
        self.write_commit = true;
        if self.may_campaign() {
            for _ in 0..self.config.mode.raft_ticks() {
                self.raw.tick();
                self.settle();
                self.speak_up();
            }
            // raft's heartbeat comes every second tick of Docker's; its followers expect one each.
            if self.config.mode == Mode::Docker && self.raw.raft.heartbeat_elapsed() != 0 {
                self.raw.ping();
            }
        }
        self.wake(now);
    }

    /// Who cannot campaign (a learner, or a member whose log says nothing yet) only ever answers. When nobody has asked
    /// anything for long it says that it is there: a leader takes that for an answer to its heartbeat, and whoever
    /// knows that this member was removed says so.
    fn speak_up(&mut self) {
        let raft = &self.raw.raft;
        let removed = self.membership.is_removed(self.config.id);
        let every = if removed { ASK_TO_GO_RAFT_TICKS } else { SPEAK_UP_RAFT_TICKS };
        let silent = raft.election_elapsed > 0 && raft.election_elapsed.is_multiple_of(every);
        if raft.promotable() || raft.state != StateRole::Follower || !silent {
            return;
        }
        let own = self.config.id;
        let others = self.membership.iter().map(|member| member.raft_id).filter(|id| *id != own);
        // Term 0 is no term that a message may have.
        let term = raft.term.max(1);
        let words = others.map(|to| Message {
            msg_type: MessageType::MsgHeartbeatResponse as i32,
            to: to.0,
            from: own.0,
            term,
            ..Message::default()
        });
        let words = self.wrap(words.collect());
        self.outbox.extend(words);
    }

    /// When to call `wake`, apart from ticks.
    pub fn wake_at(&self) -> Option<Time> {
        self.hint_at
    }

    /// Does what was due by `now`.
    pub fn wake(&mut self, now: Time) {
        if self.hint_at.is_none_or(|at| at > now) {
            return;
        }
        self.hint_at = None;
        let leaderless = self.raw.raft.leader_id == 0 && self.raw.raft.state != StateRole::Leader;
        if !leaderless || !self.raw.raft.promotable() {
            return;
        }
        if self.may_campaign() {
            self.campaign();
        }
        // Votes may have been split, or the others may have noticed later: waiting for the timeout would cost half a
        // second and more. Only with pre-votes, which leave the term as it is when they come to nothing.
        if self.hints_left > 0 && self.config.mode.pre_vote() && self.raw.raft.state != StateRole::Leader {
            self.hints_left -= 1;
            self.hint_after(now, HINT_RETRY, HINT_RETRY);
        }
    }

    /// Changes the pace. Followers go to Docker's first and the leader last; back to Skep's the leader goes first.
    pub fn set_mode(&mut self, mode: Mode) {
        if self.config.mode == mode {
            return;
        }
        self.config.mode = mode;
        self.raw.raft.pre_vote = mode.pre_vote();
        // What elapsed was counted in ticks of the other length.
        self.raw.raft.election_elapsed = 0;
    }

    /// The current pace.
    pub fn mode(&self) -> Mode {
        self.config.mode
    }

    /// The connection to `peer` was reset. If it leads, this member stops counting on it and, after a short random
    /// delay, asks for pre-votes; a leader that lives answers with its next heartbeat and nothing happens.
    pub fn leader_connection_lost(&mut self, now: Time, peer: RaftId) {
        if self.config.mode == Mode::Skep
            && self.raw.raft.leader_id == peer.0
            && self.raw.raft.state == StateRole::Follower
        {
            self.end_lease(now);
        }
    }

    pub(crate) fn end_lease(&mut self, now: Time) {
        self.raw.raft.leader_id = 0;
        self.hints_left = HINT_RETRIES_MAX;
        self.hint_after(now, Duration::ZERO, HINT_DELAY_MAX);
    }

    fn hint_after(&mut self, now: Time, least: Duration, spread: Duration) {
        let delay_us = self.rng.below(spread.as_micros() as u64);
        self.hint_at = Some(now.after(least).after(Duration::from_micros(delay_us)));
    }

    /// Campaigning looks at entries that are not applied yet. While a snapshot from the leader is being written they
    /// are gone from the log, and a lone voter would lead before its own log is durable: raft panics in both cases.
    pub(crate) fn may_campaign(&self) -> bool {
        let installing = self.outstanding.iter().any(|write| write.installed.is_some());
        let leads = self.raw.raft.state == StateRole::Leader;
        leads || (!installing && (!self.is_alone() || self.outstanding.is_empty()))
    }

    pub(crate) fn campaign(&mut self) {
        // Refused only for local messages, which this is not.
        if self.raw.campaign().is_ok() {
            self.settle();
        }
    }

    pub(crate) fn is_alone(&self) -> bool {
        let voters = self.raw.raft.prs().conf().voters();
        voters.ids().len() == 1 && voters.contains(self.config.id.0)
    }

    /// After each step of raft: a new term or role takes its election timeout from our source, not from raft's.
    pub(crate) fn settle(&mut self) {
        let raft = &mut self.raw.raft;
        if self.timer_of != (raft.term, raft.state) {
            self.timer_of = (raft.term, raft.state);
            let timeout = ELECTION_RAFT_TICKS as u64 + self.rng.below(ELECTION_RAFT_TICKS as u64);
            raft.set_randomized_election_timeout(timeout as usize);
        }
    }
}
