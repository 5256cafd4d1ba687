//! A group in memory: disks that lose what was not synced, a network that drops, delays, duplicates and partitions, one
//! seed for all of it. It checks, at every step, that no two members disagree on an index and no term has two leaders.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use skep_model::{NodeId, RaftId, Time};

use crate::wire::{self, Assembler};
use crate::*;

pub(super) fn member(id: u64) -> Member {
    Member {
        raft_id: RaftId(id),
        node_id: NodeId::new(&format!("node{id}")).unwrap(),
        addr: format!("10.9.0.{id}:2377"),
    }
}

#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) hard_state: HardState,
    pub(super) snapshot: Option<SnapshotToSave>,
    pub(super) entries: BTreeMap<u64, LogEntry>,
}

impl Disk {
    pub(super) fn write(&mut self, persist: &Persist) {
        if let Some(snapshot) = &persist.snapshot {
            if snapshot.replaces_log {
                self.entries.clear();
            }
            self.snapshot = Some(snapshot.clone());
        }
        if let Some(first) = persist.entries.first() {
            self.entries.split_off(&first.index);
            self.entries.extend(persist.entries.iter().map(|entry| (entry.index, entry.clone())));
        }
        if let Some(state) = persist.hard_state {
            self.hard_state = state;
        }
        if let Some(index) = persist.compact_to {
            self.entries = self.entries.split_off(&(index + 1));
        }
    }

    pub(super) fn recovered(&self) -> Recovered {
        let store = self.snapshot.as_ref().map(|snapshot| Store::decode(&snapshot.data)).unwrap_or_default();
        Recovered {
            hard_state: self.hard_state,
            snapshot: self.snapshot.as_ref().map(|snapshot| snapshot.meta.clone()).unwrap_or_default(),
            snapshot_size_bytes: 0,
            members: store.members.clone(),
            removed: store.removed.clone(),
            leaving: store.leaving.clone(),
            entries: self.entries.values().cloned().collect(),
        }
    }
}

/// What entries are applied to: the list of what was said, and the membership beside it for the snapshot.
#[derive(Clone, Default, Debug, PartialEq)]
pub(super) struct Store {
    pub(super) said: Vec<Bytes>,
    members: Vec<Member>,
    removed: BTreeSet<RaftId>,
    leaving: Vec<Member>,
}

impl Store {
    pub(super) fn encode(&self, membership: &Membership) -> Bytes {
        let mut out = String::new();
        for id in membership.removed() {
            out += &format!("removed {}\n", id.0);
        }
        for member in membership.leaving() {
            out += &format!("leaving {}\n", member.raft_id.0);
        }
        for member in membership.iter() {
            out += &format!("member {}\n", member.raft_id.0);
        }
        for said in &self.said {
            out += &format!("said {}\n", String::from_utf8(said.to_vec()).unwrap());
        }
        Bytes::from(out)
    }

    fn decode(data: &[u8]) -> Self {
        let mut store = Self::default();
        for line in std::str::from_utf8(data).unwrap().lines() {
            let (kind, rest) = line.split_once(' ').unwrap();
            match kind {
                "removed" => drop(store.removed.insert(RaftId(rest.parse().unwrap()))),
                "leaving" => store.leaving.push(member(rest.parse().unwrap())),
                "member" => store.members.push(member(rest.parse().unwrap())),
                _ => store.said.push(Bytes::copy_from_slice(rest.as_bytes())),
            }
        }
        store
    }
}

pub(super) struct Node {
    pub(super) consensus: Option<Consensus>,
    pub(super) disk: Disk,
    pub(super) unsynced: VecDeque<Persist>,
    pub(super) store: Store,
    pub(super) role: Role,
    pub(super) snapshots_installed: usize,
    pub(super) fetches: usize,
    pub(super) reads: Vec<ReadReady>,
}

pub(super) struct Flight {
    at: Time,
    message: PeerMessage,
}

pub(super) struct Group {
    pub(super) rng: ChaCha8Rng,
    pub(super) now: Time,
    pub(super) nodes: BTreeMap<u64, Node>,
    pub(super) flights: Vec<Flight>,
    /// Pairs that cannot reach each other, both ways.
    pub(super) cut: BTreeSet<(u64, u64)>,
    pub(super) drop_percent: u64,
    pub(super) slow_disks: bool,
    pub(super) snapshot_interval: u64,
    pub(super) mode: Mode,
    /// index → (term, payload): what any member handed out as committed.
    truth: BTreeMap<u64, (u64, Payload)>,
    leaders: BTreeMap<u64, u64>,
    /// (proposer, index, term) → what was said.
    waiting: BTreeMap<(u64, u64, u64), Bytes>,
    pub(super) acknowledged: Vec<Bytes>,
    next_say: u64,
}

impl Group {
    pub(super) fn new(seed: u64, mode: Mode) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            now: Time(1),
            nodes: BTreeMap::new(),
            flights: Vec::new(),
            cut: BTreeSet::new(),
            drop_percent: 0,
            slow_disks: false,
            snapshot_interval: 10_000,
            mode,
            truth: BTreeMap::new(),
            leaders: BTreeMap::new(),
            waiting: BTreeMap::new(),
            acknowledged: Vec::new(),
            next_say: 0,
        }
    }

    /// A group of members 1 to `count`, grown from the first one through its log.
    pub(super) fn of(seed: u64, mode: Mode, count: u64) -> Self {
        let mut group = Self::new(seed, mode);
        group.first(1);
        group.run(3);
        for id in 2..=count {
            group.join(id);
        }
        group
    }

    pub(super) fn first(&mut self, id: u64) {
        let (_, persist) = bootstrap(&member(id), 7);
        let mut disk = Disk::default();
        disk.write(&persist);
        self.add_node(id, disk);
    }

    fn add_node(&mut self, id: u64, disk: Disk) {
        let node = Node {
            consensus: None,
            disk,
            unsynced: VecDeque::new(),
            store: Store::default(),
            role: Role::default(),
            snapshots_installed: 0,
            fetches: 0,
            reads: Vec::new(),
        };
        self.nodes.insert(id, node);
        self.start(id);
    }

    /// A member that was added through the log and starts with nothing.
    pub(super) fn newcomer(&mut self, id: u64) {
        self.add_node(id, Disk::default());
    }

    /// Adds a member and waits until it votes.
    pub(super) fn join(&mut self, id: u64) {
        for _ in 0..400 {
            let Some(leader) = self.leader() else {
                self.run(1);
                continue;
            };
            let term = self.consensus(leader).role().term;
            let peer = self.consensus(leader).peers().into_iter().find(|peer| peer.id.0 == id);
            let change = match peer {
                None if self.mode == Mode::Skep => MembershipChange::AddLearner(member(id)),
                Some(peer) if !peer.votes && !peer.caught_up => {
                    self.run(1);
                    continue;
                }
                _ => MembershipChange::Add(member(id)),
            };
            let proposed = self.consensus(leader).propose_membership(term, id, &change);
            self.settle(leader);
            if !self.nodes.contains_key(&id) {
                self.add_node(id, Disk::default());
            }
            if matches!(proposed, Err(ProposeError::MemberExists { .. })) && self.consensus(id).is_voter() {
                return;
            }
            self.run(1);
        }
        panic!("member {id} did not join");
    }

    pub(super) fn config(&self, id: u64) -> Config {
        Config {
            snapshot_interval: self.snapshot_interval,
            entries_for_slow_followers: 5,
            log_cache_bytes_max: 600,
            ..Config::new(RaftId(id), self.mode)
        }
    }

    pub(super) fn start(&mut self, id: u64) {
        let config = self.config(id);
        let node = self.nodes.get_mut(&id).unwrap();
        let recovered = node.disk.recovered();
        node.store = node.disk.snapshot.as_ref().map(|kept| Store::decode(&kept.data)).unwrap_or_default();
        node.role = Role::default();
        node.consensus = Some(Consensus::new(config, recovered, &mut self.rng).unwrap());
        self.settle(id);
    }

    /// Power off: of the unsynced writes an arbitrary prefix made it.
    pub(super) fn crash(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).unwrap();
        if node.consensus.take().is_none() {
            return;
        }
        let survive = self.rng.next_u64() as usize % (node.unsynced.len() + 1);
        for persist in std::mem::take(&mut node.unsynced).into_iter().take(survive) {
            node.disk.write(&persist);
        }
        self.waiting.retain(|(proposer, _, _), _| *proposer != id);
    }

    /// The process dies and its peers' connections with it are reset.
    pub(super) fn kill(&mut self, id: u64) {
        self.crash(id);
        // What it sent last was read before the reset was seen, or never.
        self.flights.retain(|flight| flight.message.from.0 != id);
        let now = self.now;
        for other in self.alive() {
            self.consensus(other).leader_connection_lost(now, RaftId(id));
            self.settle(other);
        }
    }

    pub(super) fn alive(&self) -> Vec<u64> {
        self.nodes.iter().filter(|(_, node)| node.consensus.is_some()).map(|(&id, _)| id).collect()
    }

    pub(super) fn consensus(&mut self, id: u64) -> &mut Consensus {
        self.nodes.get_mut(&id).unwrap().consensus.as_mut().unwrap()
    }

    /// The ready leader of the highest term.
    pub(super) fn leader(&self) -> Option<u64> {
        let roles = self.nodes.iter().filter_map(|(&id, node)| Some((node.consensus.as_ref()?.role(), id)));
        roles.filter(|(role, _)| role.is_ready).max_by_key(|(role, _)| role.term).map(|(_, id)| id)
    }

    pub(super) fn wait_for_leader(&mut self) -> u64 {
        for _ in 0..200 {
            if let Some(leader) = self.leader() {
                return leader;
            }
            self.run(1);
        }
        panic!("no leader after 200 ticks");
    }

    /// Proposes one more thing at `id`; acknowledged when it comes back committed at the same index and term.
    pub(super) fn say(&mut self, id: u64) -> Option<Bytes> {
        self.next_say += 1;
        let said = Bytes::from(format!("{}-{}", self.next_say, "x".repeat((self.next_say % 40) as usize)));
        let term = self.consensus(id).role().term;
        let index = self.consensus(id).propose(term, said.clone()).ok()?;
        self.waiting.insert((id, index, term), said.clone());
        self.settle(id);
        Some(said)
    }

    /// `ticks` ticks of every member, with deliveries and disks in between.
    pub(super) fn run(&mut self, ticks: usize) {
        for _ in 0..ticks {
            for _ in 0..10 {
                self.run_briefly();
            }
            for id in self.alive() {
                let now = self.now;
                self.consensus(id).tick(now);
                self.settle(id);
            }
        }
    }

    /// A tenth of a tick: what is on its way arrives, disks write.
    pub(super) fn run_briefly(&mut self) {
        self.now = self.now.after(self.mode.tick_interval() / 10);
        self.deliver();
        self.sync_disks();
        let now = self.now;
        for id in self.alive() {
            if self.consensus(id).wake_at().is_some_and(|at| at <= now) {
                self.consensus(id).wake(now);
                self.settle(id);
            }
        }
    }

    pub(super) fn sync_disks(&mut self) {
        for id in self.alive() {
            let lag = self.slow_disks && !self.rng.next_u64().is_multiple_of(3);
            let node = self.nodes.get_mut(&id).unwrap();
            if lag || node.unsynced.is_empty() {
                continue;
            }
            let mut last = 0;
            for persist in std::mem::take(&mut node.unsynced) {
                node.disk.write(&persist);
                last = persist.number;
            }
            self.consensus(id).persisted(last);
            self.settle(id);
        }
    }

    fn deliver(&mut self) {
        let now = self.now;
        let (due, later) = std::mem::take(&mut self.flights).into_iter().partition(|flight| flight.at <= now);
        self.flights = later;
        let due: Vec<Flight> = due;
        for flight in due {
            self.arrive(flight.message);
        }
    }

    fn arrive(&mut self, message: PeerMessage) {
        let (from, to) = (message.from.0, message.to.0);
        let lost = self.cut.contains(&(from, to))
            || self.rng.next_u64() % 100 < self.drop_percent
            || self.nodes.get(&to).is_none_or(|node| node.consensus.is_none());
        let snapshot = matches!(message.kind, MessageKind::Snapshot { .. });
        let bytes = if snapshot { self.load_snapshot(&message) } else { Some(message.encode()) };
        let arrived = match bytes.filter(|_| !lost) {
            Some(bytes) => {
                // Removed members are told so; nothing else may be refused among honest members.
                let message = PeerMessage::decode(&bytes).unwrap();
                match self.consensus(to).step(message) {
                    Ok(()) | Err(StepError::Removed { .. }) => {}
                    Err(error) => panic!("{from} → {to}: {error}"),
                }
                self.settle(to);
                true
            }
            None => false,
        };
        if let Some(sender) = self.nodes.get_mut(&from).and_then(|node| node.consensus.as_mut()) {
            if snapshot {
                sender.report_snapshot(RaftId(to), arrived);
            } else if !arrived {
                sender.report_unreachable(RaftId(to));
            }
            self.settle(from);
        }
    }

    fn load_snapshot(&self, message: &PeerMessage) -> Option<Bytes> {
        let MessageKind::Snapshot { index, .. } = message.kind else { return None };
        let kept = self.nodes.get(&message.from.0)?.disk.snapshot.as_ref()?;
        if kept.meta.index != index {
            return None;
        }
        let whole = message.clone().with_snapshot_data(&kept.data).unwrap().encode();
        let mut assembler = Assembler::new(usize::MAX);
        for piece in wire::split(&whole).unwrap() {
            assembler.add(&piece).unwrap();
        }
        assembler.finish()
    }

    /// Takes effects until there are none.
    pub(super) fn settle(&mut self, id: u64) {
        for _ in 0..1000 {
            let now = self.now;
            let announced = self.consensus(id).has_effects();
            let effects = self.consensus(id).take_effects(now);
            let quiet = self.perform(id, effects);
            assert!(announced || quiet, "member {id} has effects of which it did not say that it has them");
            if quiet {
                return;
            }
        }
        panic!("member {id} never comes to rest");
    }

    fn perform(&mut self, id: u64, effects: Effects) -> bool {
        let mut quiet = effects.send.is_empty() && effects.committed.is_empty();
        for message in effects.send {
            assert_eq!(message.from.0, id);
            for _ in 0..1 + usize::from(self.drop_percent > 0 && self.rng.next_u64().is_multiple_of(20)) {
                let delay_us = if self.drop_percent > 0 { self.rng.next_u64() % 60_000 } else { 200 };
                let at = Time(self.now.0 + delay_us);
                self.flights.push(Flight { at, message: message.clone() });
            }
        }
        if let Some(installed) = effects.install {
            let store = Store::decode(&installed.data);
            let membership =
                Membership::new(store.members.clone(), store.removed.clone()).with_leaving(store.leaving.clone());
            let node = self.nodes.get_mut(&id).unwrap();
            node.snapshots_installed += 1;
            node.store = store;
            node.consensus.as_mut().unwrap().restore_membership(membership);
        }
        for committed in effects.committed {
            self.apply(id, committed);
        }
        if let Some(role) = effects.role {
            self.note_role(id, role);
        }
        let node = self.nodes.get_mut(&id).unwrap();
        node.reads.extend(effects.reads);
        node.unsynced.extend(effects.persist);
        for range in effects.fetch {
            quiet = false;
            node.fetches += 1;
            let mut disk = node.disk.clone();
            node.unsynced.iter().for_each(|persist| disk.write(persist));
            let entries: Vec<LogEntry> = disk.entries.range(range.low..range.high).map(|(_, e)| e.clone()).collect();
            let entries = if entries.first().is_some_and(|entry| entry.index == range.low) { entries } else { vec![] };
            node.consensus.as_mut().unwrap().log_fetched(range.low, &entries);
        }
        if effects.take_snapshot {
            let consensus = node.consensus.as_mut().unwrap();
            if let Some(point) = consensus.begin_snapshot() {
                let data = node.store.encode(consensus.membership());
                consensus.finish_snapshot(point, data);
                quiet = false;
            }
        }
        quiet
    }

    fn apply(&mut self, id: u64, committed: Committed) {
        let fact = (committed.term, committed.payload.clone());
        let known = self.truth.entry(committed.index).or_insert_with(|| fact.clone());
        assert_eq!(*known, fact, "member {id} disagrees on index {}", committed.index);
        if let Payload::Data(said) = &committed.payload {
            self.nodes.get_mut(&id).unwrap().store.said.push(said.clone());
        }
        if let Some(said) = self.waiting.remove(&(id, committed.index, committed.term)) {
            assert_eq!(committed.payload, Payload::Data(said.clone()));
            self.acknowledged.push(said);
        }
    }

    fn note_role(&mut self, id: u64, role: Role) {
        let node = self.nodes.get_mut(&id).unwrap();
        assert!(role.term >= node.role.term, "member {id} went back from term {} to {}", node.role.term, role.term);
        node.role = role;
        if role.is_leader {
            let leader = *self.leaders.entry(role.term).or_insert(id);
            assert_eq!(leader, id, "two leaders in term {}", role.term);
        }
    }

    pub(super) fn cut(&mut self, one: u64, other: u64) {
        self.cut.insert((one, other));
        self.cut.insert((other, one));
    }

    pub(super) fn isolate(&mut self, id: u64) {
        for other in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.cut(id, other);
        }
    }

    /// Heals everything, restarts everybody, and demands that all members agree and nothing acknowledged is missing.
    pub(super) fn converge(&mut self) {
        self.cut.clear();
        self.drop_percent = 0;
        self.slow_disks = false;
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            if self.nodes[&id].consensus.is_none() {
                self.start(id);
            }
        }
        self.run(60);
        let leader = self.wait_for_leader();
        let last = self.say(leader).expect("a healed group takes a write");
        self.run(60);
        let members: Vec<u64> = self.consensus(leader).membership().iter().map(|member| member.raft_id.0).collect();
        let said = self.nodes[&leader].store.said.clone();
        assert_eq!(said.last(), Some(&last));
        for said_once in &self.acknowledged {
            assert!(said.contains(said_once), "acknowledged and lost: {said_once:?}");
        }
        for id in members {
            assert_eq!(self.nodes[&id].store.said, said, "member {id} differs from the leader {leader}");
        }
    }
}
