//! The world: hosts, the network between them, and one queue of what is going to happen.
//!
//! It must never decide anything that the core decides: it carries inputs to the core and performs its effects, with
//! faults in between. Start reading at `step`, then `manager` and `worker`.

mod answers;
pub(crate) mod calls;
mod clients;
mod drivers;
mod faults;
mod heal;
pub(crate) mod lives;
mod locks;
mod manager;
mod membership;
mod nodes;
mod roots;
pub(crate) mod specs;
mod streams;
pub(crate) mod tamper;
mod wishes;
mod worker;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use skep_consensus::{LogRange, PeerMessage};
use skep_dispatch::worker::{Input, RunId};
use skep_manager::{Inquiry, RootRequest, Signing};
use skep_model::pb::types::JoinTokens;
use skep_model::{ClusterId, NodeId, Now, RaftId, TaskId, Time};

use skep_store::Event;

use crate::dice::{Dice, Purpose};
use crate::encode_once::EncodeOnce;
use crate::engine::Troubles;
use crate::host::Host;
use crate::invariants::no_busy_loop::NoBusyLoop;
use crate::invariants::{Verdict, Violation};
use crate::journal::Journal;
use crate::network::{HostId, Network};
use crate::oracle::Oracle;
use crate::plant::Plant;
use crate::queue::Queue;
use crate::read_once::ReadOnce;
use crate::scenario::Plan;

use calls::{Call, Reply};
use clients::Clients;
use drivers::{DriverAnswer, Drivers};
use streams::Streams;

/// How often whole stores are compared.
const COMPARE_EVERY_US: u64 = 30_000_000;

/// Something that is going to happen.
pub(crate) enum Happening {
    Tick { host: HostId, life: u64 },
    Turn { host: HostId, life: u64 },
    DiskDone { host: HostId, life: u64 },
    RaftMessage { from: HostId, to: HostId, message: PeerMessage },
    SnapshotOutcome { host: HostId, life: u64, peer: RaftId, arrived: bool },
    Reachable { host: HostId, life: u64, peer: RaftId, reachable: bool, reset: bool },
    ToldRemoved { host: HostId, life: u64 },
    Signed { host: HostId, life: u64, signing: Box<Signing>, chain: Bytes },
    RootMade { host: HostId, life: u64, request: Box<RootRequest> },
    Inquired { host: HostId, life: u64, number: u64, inquiry: Box<Inquiry> },
    RootTaken { host: HostId, life: u64, root: Bytes },
    Fetched { host: HostId, life: u64, range: LogRange },
    Call(Box<Call>),
    Answer(Box<Reply>),
    DriverAnswers(Box<DriverAnswer>),
    StreamGone { manager: HostId, life: u64, stream: u64, reset: bool },
    ToWorker { host: HostId, life: u64, input: Box<Input> },
    WorkerWake { host: HostId, life: u64 },
    VerbEnds { host: HostId, life: u64, task: TaskId, run: RunId },
    ContainerExits { host: HostId, task: TaskId, start: u64, code: i32 },
    Start { host: HostId, life: u64 },
    Stop { host: HostId, life: u64, down: Duration },
    Leaving { host: HostId, life: u64, looks: u64, again: bool },
    OutcastLeaves { host: HostId, life: u64, again: bool },
    Unlock { host: HostId, life: u64 },
    FollowKey { host: HostId, life: u64 },
    StopManager { host: HostId, life: u64 },
    ErrandDue { host: HostId, life: u64, number: u64 },
    FaultBegins(usize),
    FaultEnds(usize, HostId, u64),
    Wish(usize),
    ClientTimeout(u64),
    Compare,
    Look,
}

/// The dice, by purpose.
pub(crate) struct AllDice {
    pub network: Dice,
    pub disks: Dice,
    pub containers: Dice,
    pub hosts: Dice,
    pub drivers: Dice,
}

/// The world.
pub struct World {
    pub(crate) plan: Plan,
    pub(crate) plant: Option<Plant>,
    pub(crate) time: Time,
    pub(crate) queue: Queue<Happening>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) network: Network,
    pub(crate) streams: Streams,
    pub(crate) dice: AllDice,
    pub(crate) troubles: Troubles,
    pub(crate) journal: Journal,
    pub(crate) oracle: Oracle,
    pub(crate) read_once: ReadOnce,
    pub(crate) encode_once: EncodeOnce,
    /// What the manager whose turn it is has changed, by index.
    pub(crate) changed: BTreeMap<u64, Vec<Event>>,
    pub(crate) clients: Clients,
    pub(crate) drivers: Drivers,
    pub(crate) tokens: JoinTokens,
    /// Roots that were made, counted.
    pub(crate) roots: u64,
    /// Roots that operators brought, counted.
    pub(crate) brought: u64,
    pub(crate) seats: BTreeMap<RaftId, HostId>,
    pub(crate) cluster: Option<ClusterId>,
    /// Nodes whose host is gone for good.
    pub(crate) gone: Vec<NodeId>,
    /// What the operator did after the faults, counted.
    pub(crate) operations: u64,
    pub(crate) rest: NoBusyLoop,
    pub(crate) addresses: BTreeMap<String, HostId>,
    /// Whom to answer, by the number that the manager was given.
    pub(crate) requests: BTreeMap<u64, Call>,
    pub(crate) last_number: u64,
    pub(crate) healed: bool,
    pub(crate) done: bool,
    pub(crate) violation: Option<Violation>,
    /// Events taken off the queue.
    pub events: u64,
}

impl World {
    /// The world of a plan, before its first event.
    pub fn new(plan: Plan, plant: Option<Plant>, journal: bool) -> Self {
        let plan = match plant.and_then(Plant::leaders_last) {
            Some(lasts) => plan.of_many_leaders(lasts),
            None => plan,
        };
        let seed = plan.seed;
        let dice = AllDice {
            network: Dice::new(seed, Purpose::Network),
            disks: Dice::new(seed, Purpose::Disks),
            containers: Dice::new(seed, Purpose::Containers),
            hosts: Dice::new(seed, Purpose::Hosts),
            drivers: Dice::new(seed, Purpose::Answers),
        };
        let read_once = ReadOnce::new(plan.codec);
        let encode_once = EncodeOnce::new(plan.codec);
        let mut world = Self {
            plant,
            time: Time(1),
            queue: Queue::default(),
            hosts: Vec::new(),
            network: Network::default(),
            streams: Streams::default(),
            dice,
            troubles: Troubles::default(),
            journal: Journal::new(journal),
            oracle: Oracle::new(read_once.clone(), plan.clocks_agree()),
            read_once,
            encode_once,
            changed: BTreeMap::new(),
            clients: Clients::default(),
            drivers: Drivers::default(),
            tokens: JoinTokens::default(),
            roots: 0,
            brought: 0,
            seats: BTreeMap::new(),
            addresses: BTreeMap::new(),
            requests: BTreeMap::new(),
            last_number: 0,
            healed: false,
            done: false,
            violation: None,
            events: 0,
            cluster: None,
            gone: Vec::new(),
            operations: 0,
            rest: NoBusyLoop::default(),
            plan,
        };
        world.found();
        world.schedule();
        world
    }

    fn schedule(&mut self) {
        for (number, fault) in self.plan.faults.iter().enumerate() {
            self.queue.put(fault.at, Happening::FaultBegins(number));
        }
        for (number, wish) in self.plan.wishes.iter().enumerate() {
            self.queue.put(wish.at, Happening::Wish(number));
        }
        self.queue.put(self.plan.heal_at, Happening::Look);
        self.queue.put(Time(COMPARE_EVERY_US), Happening::Compare);
    }

    /// Lets everything happen until the end, or until `until`.
    pub fn run(&mut self, until: Time) {
        while self.violation.is_none() && !self.done {
            let Some((at, what)) = self.queue.take().filter(|(at, _)| *at <= until) else { return };
            self.count(at);
            self.step(what);
        }
    }

    fn count(&mut self, at: Time) {
        self.time = self.time.max(at);
        self.events += 1;
        let verdict = self.rest.event(self.time, self.hosts.len());
        self.check(verdict);
    }

    /// What was violated first.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Now, in the world's time.
    pub fn time(&self) -> Time {
        self.time
    }

    /// The log of events.
    pub fn into_journal(self) -> String {
        self.journal.into_text()
    }

    fn step(&mut self, what: Happening) {
        if let Some(host) = host_of(&what)
            && let Some(until) = self.hosts.get(host).map(|host| host.stalled_until).filter(|until| *until > self.time)
        {
            self.queue.put(until, what);
            return;
        }
        match what {
            Happening::Tick { host, life } => self.tick(host, life),
            Happening::Turn { host, life } => self.turn(host, life),
            Happening::DiskDone { host, life } => self.disk_done(host, life),
            Happening::RaftMessage { from, to, message } => self.raft_arrives(from, to, message),
            Happening::SnapshotOutcome { host, life, peer, arrived } => {
                self.snapshot_outcome(host, life, peer, arrived)
            }
            Happening::Reachable { host, life, peer, reachable, reset } => {
                self.peer_seen(host, life, peer, reachable, reset);
            }
            Happening::ToldRemoved { host, life } | Happening::StopManager { host, life } => {
                self.stop_manager(host, life);
            }
            Happening::Signed { host, life, signing, chain } => self.signed(host, life, &signing, chain),
            Happening::RootMade { host, life, request } => self.root_made(host, life, &request),
            Happening::Inquired { host, life, number, inquiry } => self.inquired(host, life, number, &inquiry),
            Happening::RootTaken { host, life, root } => self.take_root(host, life, root),
            Happening::Fetched { host, life, range } => self.fetched(host, life, &range),
            Happening::Call(call) => self.call_arrives(*call),
            Happening::Answer(reply) => self.answer_arrives(*reply),
            Happening::DriverAnswers(answer) => self.driver_answers(*answer),
            Happening::StreamGone { manager, life, stream, reset } => self.stream_gone(manager, life, stream, reset),
            Happening::ToWorker { host, life, input } => self.tell_worker(host, life, *input),
            Happening::WorkerWake { host, life } => self.worker_wakes(host, life),
            Happening::VerbEnds { host, life, task, run } => self.verb_ends(host, life, &task, run),
            Happening::ContainerExits { host, task, start, code } => self.container_exits(host, &task, start, code),
            Happening::Start { host, life } => self.start_daemon(host, life),
            Happening::Stop { host, life, down } => self.stop(host, life, down),
            Happening::Leaving { host, life, looks, again } => self.leaving(host, life, looks, again),
            Happening::OutcastLeaves { host, life, again } => self.outcast_leaves(host, life, again),
            Happening::Unlock { host, life } => self.unlock(host, life),
            Happening::FollowKey { host, life } => self.follow_key(host, life),
            Happening::ErrandDue { host, life, number } => self.errand_due(host, life, number),
            Happening::FaultBegins(number) => self.fault_begins(number),
            Happening::FaultEnds(number, host, mask) => self.fault_ends(number, host, mask),
            Happening::Wish(number) => self.wish(number),
            Happening::ClientTimeout(number) => self.client_timeout(number),
            Happening::Compare => {
                self.compare();
                self.queue.put(Time(self.time.0 + COMPARE_EVERY_US), Happening::Compare);
            }
            Happening::Look => self.look(),
        }
    }

    /// Writes a line into the log.
    pub(crate) fn say(&mut self, line: impl FnOnce() -> String) {
        self.journal.say(self.time, line);
    }

    /// A law is broken; only the first one counts.
    pub(crate) fn broken(&mut self, violation: Violation) {
        self.say(|| format!("VIOLATION {violation}"));
        self.violation.get_or_insert(violation);
    }

    pub(crate) fn check(&mut self, verdict: Verdict) {
        if let Err(violation) = verdict {
            self.broken(violation);
        }
    }

    pub(crate) fn now_at(&self, host: HostId) -> Now {
        self.hosts[host].clock.now(self.time)
    }

    pub(crate) fn after_us(&mut self, micros: u64, what: Happening) {
        self.queue.put(Time(self.time.0 + micros), what);
    }

    pub(crate) fn after(&mut self, delay: Duration, what: Happening) {
        self.queue.put(self.time.after(delay), what);
    }

    pub(crate) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Who leads; the highest term, if two think so.
    pub(crate) fn leader(&self) -> Option<HostId> {
        let leading = (0..self.hosts.len()).filter(|&host| self.hosts[host].leads());
        leading.max_by_key(|&host| self.hosts[host].manager.as_ref().map(|manager| manager.role().term))
    }
}

/// At whose place it happens: a host that stands still sees it later.
fn host_of(what: &Happening) -> Option<HostId> {
    match what {
        Happening::Tick { host, .. }
        | Happening::Turn { host, .. }
        | Happening::DiskDone { host, .. }
        | Happening::RaftMessage { to: host, .. }
        | Happening::SnapshotOutcome { host, .. }
        | Happening::Reachable { host, .. }
        | Happening::Signed { host, .. }
        | Happening::RootMade { host, .. }
        | Happening::Inquired { host, .. }
        | Happening::RootTaken { host, .. }
        | Happening::Fetched { host, .. }
        | Happening::StreamGone { manager: host, .. }
        | Happening::ToWorker { host, .. }
        | Happening::WorkerWake { host, .. }
        | Happening::VerbEnds { host, .. }
        | Happening::ContainerExits { host, .. }
        | Happening::FollowKey { host, .. }
        | Happening::ErrandDue { host, .. } => Some(*host),
        Happening::Call(call) => Some(call.at),
        Happening::DriverAnswers(answer) => Some(answer.host()),
        _ => None,
    }
}
