//! One member of the group: its inputs. What they bring about is collected in `turn.rs`.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use prost_011::Message as _;
use raft::eraftpb::Message;
use raft::{GetEntriesContext, RawNode, SnapshotStatus, StateRole};
use rand_core::RngCore;
use skep_model::{RaftId, Time};

use crate::effect::{PeerMessage, Persist, ReadReady, Role, SnapshotPoint, SnapshotToSave};
use crate::error::{ProposeError, ReadError, RecoverError, StepError, TransferError};
use crate::log::{LOG_CACHE_BYTES_MAX, Log};
use crate::member::{Member, Membership, MembershipChange};
use crate::screen::{self, Verdict};
use crate::state::{HardState, LogEntry, Recovered, SnapshotMeta};
use crate::timing::{ELECTION_RAFT_TICKS, HEARTBEAT_RAFT_TICKS, HINT_DELAY_MAX, Mode};
use crate::{membership_entry, recovery, wire};

/// Largest entry that Docker's managers take (interop §5.1).
pub const ENTRY_BYTES_MAX: usize = 3 * 1024 * 1024 / 2;

/// Entries in one append message; SwarmKit's MaxSizePerMsg.
const APPEND_BYTES_MAX: u64 = 65_535;

/// Unanswered append messages per follower; SwarmKit's MaxInflightMsgs.
const APPENDS_IN_FLIGHT_MAX: usize = 256;

/// Proposed bytes without a quorum yet; beyond it proposals are refused.
const UNCOMMITTED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Committed bytes handed out at once; the rest follows in the same turn.
const COMMITTED_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Reads that wait for a quorum.
const READS_WAITING_MAX: usize = 65_536;

/// Joining proposals into one append message stops here, far below gRPC's 4 MiB.
const APPEND_JOINED_BYTES_MAX: usize = 1024 * 1024;

/// A log this large is followed by a snapshot even if it has few entries (unless the last snapshot was larger).
const LOG_BYTES_BEFORE_SNAPSHOT: u64 = 64 * 1024 * 1024;

/// What the member is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its own number.
    pub id: RaftId,
    /// The pace to start with.
    pub mode: Mode,
    /// Entries between snapshots; the cluster's SnapshotInterval.
    pub snapshot_interval: u64,
    /// Entries kept before a snapshot; the cluster's LogEntriesForSlowFollowers.
    pub entries_for_slow_followers: u64,
    /// Bytes of applied entries kept in memory.
    pub log_cache_bytes_max: usize,
}

impl Config {
    /// SwarmKit's defaults: a snapshot every 10,000 entries, 500 entries kept.
    pub fn new(id: RaftId, mode: Mode) -> Self {
        Self {
            id,
            mode,
            snapshot_interval: 10_000,
            entries_for_slow_followers: 500,
            log_cache_bytes_max: LOG_CACHE_BYTES_MAX,
        }
    }
}

/// How a member looks from the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Which.
    pub id: RaftId,
    /// It answered within the last election timeout.
    pub recently_active: bool,
    /// The log agrees up to here.
    pub matched_index: u64,
}

/// What waits for a write.
pub(crate) struct Outstanding {
    pub(crate) number: u64,
    /// raft's number of the newest Ready in the write.
    pub(crate) ready: Option<u64>,
    /// A snapshot from the leader in the write.
    pub(crate) installed: Option<u64>,
    /// A snapshot of our own in the write, and where the log is cut after it.
    pub(crate) own_snapshot: Option<(SnapshotMeta, Option<u64>)>,
    pub(crate) held: Vec<PeerMessage>,
}

/// One member of the group.
pub struct Consensus {
    pub(crate) raw: RawNode<Log>,
    pub(crate) config: Config,
    pub(crate) membership: Membership,
    rng: SplitMix,
    timer_of: (u64, StateRole),
    hint_at: Option<Time>,

    pub(crate) outbox: Vec<PeerMessage>,
    pub(crate) last_number: u64,
    pub(crate) outstanding: VecDeque<Outstanding>,
    pub(crate) written: HardState,
    pub(crate) write_commit: bool,
    pub(crate) disk_failing: bool,

    pub(crate) handed_out: (u64, u64),
    pub(crate) told: Role,
    joined_bytes: usize,

    pub(crate) reads_new: Vec<u64>,
    pub(crate) reads_asked: BTreeMap<u64, Vec<u64>>,
    pub(crate) reads_ready: Vec<ReadReady>,
    pub(crate) reads_sequence: u64,

    pub(crate) fetching: BTreeMap<u64, Vec<GetEntriesContext>>,
    pub(crate) own_snapshot: Option<(SnapshotToSave, Option<u64>)>,
    pub(crate) snapshot_in_progress: bool,
    /// The newest snapshot taken, durable or not.
    pub(crate) snapshot_index: u64,
    pub(crate) log_bytes: u64,
    pub(crate) snapshot_size_bytes: u64,
}

/// Election timers need no secrecy: SplitMix64 (Steele, Lea, Flood 2014), seeded by the caller's source.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

impl Consensus {
    /// Starts from what lies on disk. The first turn hands out what is committed after the snapshot.
    pub fn new(config: Config, recovered: Recovered, rng: &mut dyn RngCore) -> Result<Self, RecoverError> {
        recovery::check(&recovered)?;
        let mut hard_state = recovered.hard_state;
        hard_state.commit = hard_state.commit.max(recovered.snapshot.index);
        hard_state.term = hard_state.term.max(recovered.snapshot.term);
        let (compacted, entries) = recovery::base(&recovered);
        let log_bytes = entries.iter().map(|entry| entry.data.len() as u64).sum();
        let snapshot = recovered.snapshot;
        let applied = (snapshot.index, snapshot.term);
        let raft_config = raft::Config {
            id: config.id.0,
            election_tick: ELECTION_RAFT_TICKS,
            heartbeat_tick: HEARTBEAT_RAFT_TICKS,
            applied: applied.0,
            max_size_per_msg: APPEND_BYTES_MAX,
            max_inflight_msgs: APPENDS_IN_FLIGHT_MAX,
            check_quorum: true,
            pre_vote: config.mode.pre_vote(),
            read_only_option: raft::ReadOnlyOption::Safe,
            batch_append: true,
            max_uncommitted_size: UNCOMMITTED_BYTES_MAX,
            max_committed_size_per_ready: COMMITTED_BYTES_MAX,
            ..raft::Config::default()
        };
        let log =
            Log::new(wire::hard_state_to_raft(&hard_state), snapshot, compacted, entries, config.log_cache_bytes_max);
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&raft_config, log, &logger).map_err(RecoverError::Refused)?;
        let mut consensus = Self {
            raw,
            config,
            membership: Membership::new(recovered.members, recovered.removed),
            rng: SplitMix(rng.next_u64()),
            // No term is this one: the first look sets the timer from our source.
            timer_of: (u64::MAX, StateRole::Leader),
            hint_at: None,
            outbox: Vec::new(),
            last_number: 0,
            outstanding: VecDeque::new(),
            written: recovered.hard_state,
            write_commit: false,
            disk_failing: false,
            handed_out: applied,
            told: Role::default(),
            joined_bytes: 0,
            reads_new: Vec::new(),
            reads_asked: BTreeMap::new(),
            reads_ready: Vec::new(),
            reads_sequence: 0,
            fetching: BTreeMap::new(),
            own_snapshot: None,
            snapshot_in_progress: false,
            snapshot_index: applied.0,
            log_bytes,
            snapshot_size_bytes: recovered.snapshot_size_bytes,
        };
        consensus.settle();
        Ok(consensus)
    }

    // ---- time -------------------------------------------------------------------------------------------------

    /// How often to call `tick` now.
    pub fn tick_interval(&self) -> std::time::Duration {
        self.config.mode.tick_interval()
    }

    /// Once per `tick_interval`.
    pub fn tick(&mut self, now: Time) {
        self.write_commit = true;
        if self.may_campaign() {
            for _ in 0..self.config.mode.raft_ticks() {
                self.raw.tick();
                self.settle();
            }
            // raft's heartbeat comes every second tick of Docker's; its followers expect one each.
            if self.config.mode == Mode::Docker && self.raw.raft.heartbeat_elapsed() != 0 {
                self.raw.ping();
            }
        }
        self.wake(now);
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
        let leaderless = self.raw.raft.leader_id == 0 && self.raw.raft.state == StateRole::Follower;
        if leaderless && self.raw.raft.promotable() && self.may_campaign() {
            self.campaign();
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
        let delay_us = self.rng.below(HINT_DELAY_MAX.as_micros() as u64);
        self.hint_at = Some(now.after(std::time::Duration::from_micros(delay_us)));
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
        voters.contains(self.config.id.0) && voters.ids().len() == 1
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

    // ---- messages ---------------------------------------------------------------------------------------------

    /// A message from a peer. An error is for the sender's ears (`StepError::Removed`) or the log; this member goes on.
    pub fn step(&mut self, bytes: &[u8]) -> Result<(), StepError> {
        let message = Message::decode(bytes).map_err(|error| StepError::Malformed { reason: error.to_string() })?;
        let from = RaftId(message.from);
        if self.membership.is_removed(from) {
            return Err(StepError::Removed { from });
        }
        if screen::form(&message, self.config.id)? == Verdict::Drop {
            return Ok(());
        }
        let kind = wire::kind_of(&message);
        let known = self.raw.raft.prs().get(message.from).is_some();
        if kind == crate::effect::MessageKind::Vote && !known && !self.raw.raft.prs().conf().voters().ids().is_empty() {
            return Err(StepError::UnknownSender { from });
        }
        screen::agreement(&message, self.raw.raft.term, &self.raw.raft.raft_log)?;
        let takes_over = message.msg_type == raft::eraftpb::MessageType::MsgTimeoutNow as i32;
        if takes_over && !self.may_campaign() {
            return Ok(());
        }
        match self.raw.step(message) {
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

    // ---- proposals --------------------------------------------------------------------------------------------

    fn may_propose(&self, term: u64) -> Result<(), ProposeError> {
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
                if matches!(change, MembershipChange::Remove(_)) && self.membership.len() == 1 {
                    return Err(ProposeError::LastMember);
                }
            }
        }
        // raft would append an empty entry instead, silently.
        if self.raw.raft.has_pending_conf() {
            return Err(ProposeError::MembershipPending);
        }
        let change = membership_entry::to_conf_change(request_id, change);
        self.raw.propose_conf_change(Vec::new(), change).map_err(|_| ProposeError::Overloaded)?;
        Ok(self.raw.raft.raft_log.last_index())
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

    // ---- leadership and membership ----------------------------------------------------------------------------

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

    /// The member best suited to take over: active, and furthest in the log.
    pub fn successor(&self) -> Option<RaftId> {
        let voters = self.raw.raft.prs().conf().voters();
        let fit = |peer: &PeerStatus| peer.id != self.config.id && peer.recently_active && voters.contains(peer.id.0);
        self.peers().into_iter().filter(fit).max_by_key(|peer| (peer.matched_index, peer.id)).map(|peer| peer.id)
    }

    /// All members as the leader sees them, by number; empty on a follower, which sees nobody.
    pub fn peers(&self) -> Vec<PeerStatus> {
        if self.raw.raft.state != StateRole::Leader {
            return Vec::new();
        }
        let mut peers: Vec<PeerStatus> = self
            .raw
            .raft
            .prs()
            .iter()
            .map(|(&id, progress)| PeerStatus {
                id: RaftId(id),
                recently_active: progress.recent_active || id == self.config.id.0,
                matched_index: progress.matched,
            })
            .collect();
        peers.sort_by_key(|peer| peer.id);
        peers
    }

    /// Own number.
    pub fn id(&self) -> RaftId {
        self.config.id
    }

    /// The leader of the current term, when known.
    pub fn leader(&self) -> Option<RaftId> {
        Some(RaftId(self.raw.raft.leader_id)).filter(|id| id.0 != 0)
    }

    /// The role as of now.
    pub fn role(&self) -> Role {
        let raft = &self.raw.raft;
        let is_leader = raft.state == StateRole::Leader;
        Role {
            leader: self.leader(),
            term: raft.term,
            is_leader,
            is_ready: is_leader && self.handed_out.1 == raft.term,
            is_removed: self.membership.is_removed(self.config.id),
        }
    }

    /// The members, as of the last entry handed out.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// After `Effects::install`: the membership that the snapshot carries.
    pub fn restore_membership(&mut self, membership: Membership) {
        self.membership = membership;
    }

    /// Whether this member votes.
    pub fn is_voter(&self) -> bool {
        self.raw.raft.prs().conf().voters().contains(self.config.id.0)
    }

    /// The index of the last entry handed out.
    pub fn applied_index(&self) -> u64 {
        self.handed_out.0
    }

    /// The index of the last entry in the log, committed or not. `Meta.Version` of a transaction is this (decision 1).
    pub fn last_index(&self) -> u64 {
        self.raw.raft.raft_log.last_index()
    }

    /// The highest index known to be committed.
    pub fn commit_index(&self) -> u64 {
        self.raw.raft.raft_log.committed
    }

    // ---- disk -------------------------------------------------------------------------------------------------

    /// Everything up to this `Persist::number` is on disk. What waited for it comes out of the next turn.
    pub fn persisted(&mut self, number: u64) {
        self.disk_failing = false;
        while self.outstanding.front().is_some_and(|write| write.number <= number) {
            let Some(write) = self.outstanding.pop_front() else { break };
            if let Some(ready) = write.ready {
                self.raw.on_persist_ready(ready);
            }
            if let Some(index) = write.installed.filter(|&index| index > self.raw.raft.raft_log.applied()) {
                self.raw.advance_apply_to(index);
            }
            if let Some((meta, compact_to)) = write.own_snapshot {
                self.raw.mut_store().snapshot_saved(meta, compact_to);
            }
            self.outbox.extend(write.held);
        }
        self.settle();
    }

    /// The newest write failed (a full disk) and will be tried again: until it succeeds nothing is proposed, and what
    /// waits for it keeps waiting.
    pub fn persist_failed(&mut self) {
        self.disk_failing = true;
    }

    /// Answers an `Effects::fetch`: the entries from `low` on (at least one), or nothing if they cannot be read.
    pub fn log_fetched(&mut self, low: u64, entries: &[LogEntry]) {
        let Some(contexts) = self.fetching.remove(&low) else { return };
        if entries.is_empty() {
            // The follower's next answer to a heartbeat asks again.
            return;
        }
        self.raw.mut_store().set_window(entries.iter().map(wire::entry_to_raft).collect());
        for context in contexts {
            self.raw.on_entries_fetched(context);
        }
        self.raw.mut_store().set_window(Vec::new());
    }

    /// Marks the place of a snapshot of the store as it is now, after everything handed out. Nothing when there is
    /// nothing new. Encode it, even elsewhere, and call `finish_snapshot`; or `abandon_snapshot`.
    pub fn begin_snapshot(&mut self) -> Option<SnapshotPoint> {
        let (index, term) = self.handed_out;
        if self.snapshot_in_progress || index <= self.snapshot_index {
            return None;
        }
        self.snapshot_in_progress = true;
        self.raw.store().snapshot_started();
        let conf = wire::conf_from_raft(&self.raw.raft.prs().conf().to_conf_state());
        Some(SnapshotPoint { meta: SnapshotMeta { index, term, conf } })
    }

    /// The snapshot is encoded: it is written with the next turn, and the log is cut once that is durable.
    pub fn finish_snapshot(&mut self, point: SnapshotPoint, data: Bytes) {
        self.snapshot_in_progress = false;
        if point.meta.index <= self.snapshot_index {
            // A newer one came from the leader meanwhile.
            return;
        }
        self.snapshot_index = point.meta.index;
        let cut = point.meta.index.saturating_sub(self.config.entries_for_slow_followers);
        let compact_to = Some(cut).filter(|&cut| cut > self.raw.store().compacted_index());
        self.snapshot_size_bytes = data.len() as u64;
        self.log_bytes = 0;
        self.own_snapshot = Some((SnapshotToSave { meta: point.meta, data, replaces_log: false }, compact_to));
    }

    /// The snapshot could not be encoded; it is asked for again.
    pub fn abandon_snapshot(&mut self) {
        self.snapshot_in_progress = false;
    }

    /// The cluster's SnapshotInterval and LogEntriesForSlowFollowers changed.
    pub fn set_snapshot_policy(&mut self, interval: u64, entries_for_slow_followers: u64) {
        self.config.snapshot_interval = interval;
        self.config.entries_for_slow_followers = entries_for_slow_followers;
    }

    pub(crate) fn snapshot_due(&self) -> bool {
        if self.snapshot_in_progress {
            return false;
        }
        let entries = self.handed_out.0.saturating_sub(self.snapshot_index);
        let by_count = self.config.snapshot_interval > 0 && entries >= self.config.snapshot_interval;
        let by_size = self.log_bytes > LOG_BYTES_BEFORE_SNAPSHOT.max(self.snapshot_size_bytes);
        entries > 0 && (by_count || by_size || self.raw.store().snapshot_wanted())
    }

    /// A write, numbered, that waits.
    pub(crate) fn await_write(&mut self, mut write: Outstanding, persist: &mut Persist) {
        self.last_number += 1;
        write.number = self.last_number;
        persist.number = self.last_number;
        self.outstanding.push_back(write);
    }
}
