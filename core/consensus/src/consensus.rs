//! One member of the group: what it holds and what can be asked of it. Its inputs are in `pace.rs` (time), `intake.rs`
//! (peers), `propose.rs` (the manager) and `durable.rs` (the disk); what they bring about is collected in `turn.rs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use raft::{GetEntriesContext, RawNode, StateRole};
use rand_core::RngCore;
use skep_model::{RaftId, Time};

use crate::effect::{PeerMessage, ReadReady, Role, SnapshotToSave};
use crate::error::RecoverError;
use crate::log::{LOG_CACHE_BYTES_MAX, Log};
use crate::member::Membership;
use crate::state::{HardState, Recovered, SnapshotMeta};
use crate::timing::{ELECTION_RAFT_TICKS, HEARTBEAT_RAFT_TICKS, Mode};
use crate::{recovery, wire};

/// Entries in one append message; SwarmKit's MaxSizePerMsg.
const APPEND_BYTES_MAX: u64 = 65_535;

/// Unanswered append messages per follower; SwarmKit's MaxInflightMsgs.
const APPENDS_IN_FLIGHT_MAX: usize = 256;

/// Proposed bytes without a quorum yet; beyond it proposals are refused.
const UNCOMMITTED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Committed bytes handed out at once; the rest follows in the same turn.
const COMMITTED_BYTES_MAX: u64 = 4 * 1024 * 1024;

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
    /// The log agrees up to here, durably on its side.
    pub matched_index: u64,
    /// It counts for the quorum; a learner does not yet.
    pub votes: bool,
    /// It has everything that is committed.
    pub caught_up: bool,
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
    pub(crate) rng: SplitMix,
    pub(crate) timer_of: (u64, StateRole),
    pub(crate) hint_at: Option<Time>,
    pub(crate) hints_left: u8,

    pub(crate) outbox: Vec<PeerMessage>,
    pub(crate) last_number: u64,
    pub(crate) outstanding: VecDeque<Outstanding>,
    pub(crate) written: HardState,
    pub(crate) write_commit: bool,
    pub(crate) disk_failing: bool,

    pub(crate) handed_out: (u64, u64),
    pub(crate) told: Role,
    pub(crate) joined_bytes: usize,
    /// The last mark of a removal that this member proposed: its index and term.
    pub(crate) mark: Option<(u64, u64)>,

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
pub(crate) struct SplitMix(u64);

impl SplitMix {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

fn raft_config(config: &Config, applied: u64) -> raft::Config {
    raft::Config {
        id: config.id.0,
        election_tick: ELECTION_RAFT_TICKS,
        heartbeat_tick: HEARTBEAT_RAFT_TICKS,
        applied,
        max_size_per_msg: APPEND_BYTES_MAX,
        max_inflight_msgs: APPENDS_IN_FLIGHT_MAX,
        check_quorum: true,
        pre_vote: config.mode.pre_vote(),
        read_only_option: raft::ReadOnlyOption::Safe,
        batch_append: true,
        max_uncommitted_size: UNCOMMITTED_BYTES_MAX,
        max_committed_size_per_ready: COMMITTED_BYTES_MAX,
        ..raft::Config::default()
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
        let log =
            Log::new(wire::hard_state_to_raft(&hard_state), snapshot, compacted, entries, config.log_cache_bytes_max);
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&raft_config(&config, applied.0), log, &logger).map_err(RecoverError::Refused)?;
        let mut consensus = Self {
            raw,
            config,
            membership: Membership::new(recovered.members, recovered.removed).with_leaving(recovered.leaving),
            rng: SplitMix(rng.next_u64()),
            // No term is this one: the first look sets the timer from our source.
            timer_of: (u64::MAX, StateRole::Leader),
            hint_at: None,
            hints_left: 0,
            outbox: Vec::new(),
            last_number: 0,
            outstanding: VecDeque::new(),
            written: recovered.hard_state,
            write_commit: false,
            disk_failing: false,
            handed_out: applied,
            told: Role::default(),
            joined_bytes: 0,
            mark: None,
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

    /// The member best suited to take over: active, and furthest in the log.
    pub fn successor(&self) -> Option<RaftId> {
        let voters = self.raw.raft.prs().conf().voters();
        let fit = |peer: &PeerStatus| peer.id != self.config.id && peer.recently_active && voters.contains(peer.id.0);
        self.peers().into_iter().filter(fit).max_by_key(|peer| (peer.matched_index, peer.id)).map(|peer| peer.id)
    }

    /// Members that answered this leader within the last election timeout, itself included; none on a follower.
    pub fn active(&self) -> BTreeSet<RaftId> {
        self.active_ids().collect()
    }

    /// As [`Self::active`], in no order.
    pub fn active_ids(&self) -> impl Iterator<Item = RaftId> {
        let progress = (self.raw.raft.state == StateRole::Leader).then(|| self.raw.raft.prs().iter());
        let active = progress.into_iter().flatten();
        active.filter(|(id, progress)| progress.recent_active || **id == self.config.id.0).map(|(&id, _)| RaftId(id))
    }

    /// All members as the leader sees them, by number; empty on a follower, which sees nobody.
    pub fn peers(&self) -> Vec<PeerStatus> {
        if self.raw.raft.state != StateRole::Leader {
            return Vec::new();
        }
        let (progress, committed) = (self.raw.raft.prs(), self.commit_index());
        let mut peers: Vec<PeerStatus> = progress
            .iter()
            .map(|(&id, progress_of)| PeerStatus {
                id: RaftId(id),
                recently_active: progress_of.recent_active || id == self.config.id.0,
                matched_index: progress_of.matched,
                votes: progress.conf().voters().contains(id),
                caught_up: progress_of.matched >= committed,
            })
            .collect();
        peers.sort_by_key(|peer| peer.id);
        peers
    }

    /// Whether a member does not vote.
    pub fn has_learners(&self) -> bool {
        let conf = self.raw.raft.prs().conf();
        !conf.learners().is_empty() || !conf.learners_next().is_empty()
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
            is_removed: self.membership.is_gone(self.config.id),
            votes: self.is_voter(),
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

    /// Who counts for the quorum, as of the last entry handed out. Members that are not here are learners.
    pub fn voters(&self) -> BTreeSet<RaftId> {
        self.raw.raft.prs().conf().voters().ids().iter().map(RaftId).collect()
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
}
