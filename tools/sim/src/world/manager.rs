//! What a manager's shell does: feed it, and perform its effects in order.

use bytes::Bytes;
use prost::Message as _;
use skep_consensus::{LogRange, MessageKind, PeerMessage, Role};
use skep_manager::{Effect, Signing};
use skep_model::pb::messages as m;
use skep_model::{Cluster, Code, RaftId, Time};
use skep_pki::Signatory;
use skep_store::Read as _;

use super::{Happening, World};
use crate::disk;
use crate::host::Host;
use crate::invariants::Violation;
use crate::issuers::Certificate;
use crate::network::HostId;
use crate::plant::Plant;

/// Inputs that come this close together share a turn.
const TURN_AFTER_US: u64 = 40;
/// A write that failed is tried again after this.
const DISK_RETRY_US: u64 = 250_000;

impl World {
    /// The manager of a host, if it is the one that was meant.
    pub(crate) fn is_manager(&self, host: HostId, life: u64) -> bool {
        let host = &self.hosts[host];
        host.up && host.manager.is_some() && host.manager_life == life
    }

    pub(crate) fn tick(&mut self, host: HostId, life: u64) {
        if !self.is_manager(host, life) {
            return;
        }
        let now = self.now_at(host);
        if let Some(manager) = &mut self.hosts[host].manager {
            manager.tick(now);
            let interval = manager.tick_interval();
            self.after(interval, Happening::Tick { host, life });
        }
        self.take_turn(host);
    }

    /// Something happened to the manager: it gets its turn soon.
    pub(crate) fn want_turn(&mut self, host: HostId) {
        let life = self.hosts[host].manager_life;
        if !std::mem::replace(&mut self.hosts[host].turn_due, true) {
            self.after_us(TURN_AFTER_US, Happening::Turn { host, life });
        }
    }

    pub(crate) fn turn(&mut self, host: HostId, life: u64) {
        if !self.is_manager(host, life) {
            return;
        }
        let place = &mut self.hosts[host];
        let woken = place.manager_wake.is_some_and(|at| at <= self.time);
        // It may have had its turn with something else meanwhile.
        if place.turn_due || woken {
            self.take_turn(host);
        }
    }

    fn take_turn(&mut self, host: HostId) {
        let now = self.now_at(host);
        let place = &mut self.hosts[host];
        place.turn_due = false;
        place.manager_wake = place.manager_wake.filter(|at| *at > self.time);
        let Host { manager: Some(manager), dice, dies_after, .. } = place else { return };
        let effects = manager.turn(now, dice.source());
        let dies = dies_after.take();
        if !self.changed.is_empty() {
            self.changed.clear();
        }
        for (count, effect) in effects.into_iter().enumerate() {
            if let Some((_, down)) = dies.filter(|(limit, _)| *limit <= count as u64) {
                self.say(|| format!("h{host} dies after {count} effects"));
                self.kill(host, false, Some(down));
                return;
            }
            self.perform(host, effect);
        }
        if let Some((_, down)) = dies {
            self.kill(host, false, Some(down));
            return;
        }
        self.oracle.turn_done(host);
        self.note_applied(host);
        self.plan_wake(host);
    }

    fn plan_wake(&mut self, host: HostId) {
        let place = &mut self.hosts[host];
        let (Some(manager), life) = (&place.manager, place.manager_life) else { return };
        let Some(at) = manager.wake_at() else { return };
        // Mostly it is woken by then anyway, and need not know more of when.
        let woken = |earlier: Time| place.clock.now(Time(earlier.0.saturating_sub(1))).monotonic < at;
        if place.turn_due || place.manager_wake.is_some_and(woken) {
            return;
        }
        // Never at once again: what is due and did not move waits a little, as it would for a real loop.
        let at = place.clock.world_time(at).max(Time(self.time.0 + 200));
        if place.manager_wake.is_none_or(|earlier| at < earlier) {
            place.manager_wake = Some(at);
            self.queue.put(at, Happening::Turn { host, life });
        }
    }

    fn perform(&mut self, host: HostId, effect: Effect) {
        match effect {
            Effect::Send(message) => self.send_raft(host, message),
            Effect::Persist(persist) => self.persist(host, persist),
            Effect::FetchLog(range) => {
                let delay = self.dice.disks.micros(100, 3_000);
                let life = self.hosts[host].manager_life;
                self.after(delay, Happening::Fetched { host, life, range });
            }
            Effect::Reply { request, result } => self.reply(host, request.0, result),
            Effect::Dispatch(effect) => self.dispatch(host, effect),
            Effect::Sign(signing) => {
                let delay = self.dice.hosts.micros(500, 8_000);
                let life = self.hosts[host].manager_life;
                let Some(chain) = self.chain_for(host) else { return };
                self.after(delay, Happening::Signed { host, life, signing: Box::new(signing), chain });
            }
            Effect::MakeRoot(request) => self.make_root(host, request),
            Effect::Inquire(number, inquiry) => self.inquire(host, number, inquiry),
            Effect::Role(role) => self.note_role(host, role),
            Effect::Warn(text) => {
                self.say(|| format!("h{host} warns: {text}"));
                self.check(crate::invariants::decisions_fit::judge(&text));
            }
            // The simulator damages no snapshot on its way.
            Effect::Fatal(text) => panic!("h{host} cannot go on: {text}"),
            Effect::Changed { index, events } => {
                if events.iter().any(|event| event.object.get::<Cluster>().is_some()) {
                    self.follow_key_soon(host);
                    self.cut_off(host, &events);
                }
                self.changed.insert(index, events);
            }
            Effect::Replaced => self.follow_key_soon(host),
            Effect::EncodeSnapshot(job) => {
                if let Some(manager) = &mut self.hosts[host].manager {
                    manager.snapshot_encoded(job.point().clone(), Some(job.encode()));
                    self.want_turn(host);
                }
            }
            // There is no Docker Engine in here, and so no other pace; nor does anybody ask for tasks as they are stored.
            Effect::MoreTasks { .. } | Effect::Members(_) | Effect::Pace(_) | Effect::AskPace { .. } => {}
        }
    }

    // ---- raft -------------------------------------------------------------------------------------------------

    fn send_raft(&mut self, host: HostId, message: PeerMessage) {
        let life = self.hosts[host].manager_life;
        let Some(&to) = self.seats.get(&message.to) else { return };
        let snapshot = matches!(message.kind, MessageKind::Snapshot { .. });
        let peer = message.to;
        let whole = if snapshot { self.load_snapshot(host, message) } else { Some(message) };
        let delay = self.network.datagram(host, to, &mut self.dice.network);
        let (Some(message), Some(delay)) = (whole, delay) else {
            if snapshot {
                self.after_us(900_000, Happening::SnapshotOutcome { host, life, peer, arrived: false });
            } else if self.dice.network.permille(200) {
                self.after_us(1_500_000, Happening::Reachable { host, life, peer, reachable: false, reset: false });
            }
            return;
        };
        if !snapshot && self.dice.network.permille(self.network.duplicate_permille) {
            let later = delay + self.dice.network.micros(0, 60_000);
            let message = message.clone();
            self.after(later, Happening::RaftMessage { from: host, to, message });
        }
        let message = self.plan.codec.raft(message);
        self.after(delay, Happening::RaftMessage { from: host, to, message });
    }

    fn load_snapshot(&self, host: HostId, message: PeerMessage) -> Option<PeerMessage> {
        let MessageKind::Snapshot { index, .. } = message.kind else { return None };
        let kept = self.hosts[host].disk.seen.snapshot.as_ref().filter(|kept| kept.meta.index == index)?;
        message.with_snapshot_data(&kept.data).ok()
    }

    pub(crate) fn raft_arrives(&mut self, from: HostId, to: HostId, message: PeerMessage) {
        let sender_life = self.hosts[from].manager_life;
        let snapshot = matches!(message.kind, MessageKind::Snapshot { .. });
        let peer = message.to;
        let seated = self.hosts[to].manager.as_ref().is_some_and(|manager| manager.member().raft_id == peer);
        let arrived = self.hosts[to].up && seated && self.know_each_other(from, to);
        if arrived {
            let beat = message.kind == MessageKind::Heartbeat;
            let result = self.hosts[to].manager.as_mut().map_or(Ok(()), |manager| manager.peer_message(message));
            // Nothing comes with a heartbeat that could share its turn.
            if beat {
                self.take_turn(to);
            } else {
                self.want_turn(to);
            }
            if let Err(refusal) = result {
                self.say(|| format!("h{to} refuses a raft message of h{from}: {refusal}"));
                match refusal.code {
                    Code::NotFound if self.network.open(to, from) => {
                        self.after_us(800, Happening::ToldRemoved { host: from, life: sender_life });
                    }
                    Code::NotFound | Code::PermissionDenied => {}
                    _ => self.broken(Violation::new("committed_never_differs", format!("h{to}: {refusal}"))),
                }
            }
        }
        if !self.network.open(to, from) {
            return;
        }
        if snapshot {
            self.after_us(700, Happening::SnapshotOutcome { host: from, life: sender_life, peer, arrived });
        }
        let known = self.hosts[from].reached.contains(&peer);
        if known != arrived {
            let what = Happening::Reachable { host: from, life: sender_life, peer, reachable: arrived, reset: false };
            self.after_us(700, what);
        }
    }

    pub(crate) fn snapshot_outcome(&mut self, host: HostId, life: u64, peer: RaftId, arrived: bool) {
        if self.is_manager(host, life) {
            if let Some(manager) = &mut self.hosts[host].manager {
                manager.snapshot_sent(peer, arrived);
            }
            self.want_turn(host);
        }
    }

    pub(crate) fn peer_seen(&mut self, host: HostId, life: u64, peer: RaftId, reachable: bool, reset: bool) {
        if !self.is_manager(host, life) {
            return;
        }
        let now = self.now_at(host);
        let place = &mut self.hosts[host];
        if reachable {
            place.reached.insert(peer);
        } else {
            place.reached.remove(&peer);
        }
        if let Some(manager) = &mut place.manager {
            manager.peer_reachable(peer, reachable, now);
            if reset {
                manager.peer_connection_lost(peer, now);
            }
        }
        self.want_turn(host);
    }

    fn note_role(&mut self, host: HostId, role: Role) {
        self.say(|| format!("h{host} term {} leads {} ready {}", role.term, role.is_leader, role.is_ready));
        let verdict = self.oracle.role(host, role);
        self.check(verdict);
        if role.is_removed {
            let life = self.hosts[host].manager_life;
            self.after_us(1_000, Happening::StopManager { host, life });
        }
    }

    // ---- disk -------------------------------------------------------------------------------------------------

    fn persist(&mut self, host: HostId, mut persist: skep_consensus::Persist) {
        let verdict = self.oracle.persisting(host, &persist);
        self.check(verdict);
        if self.plant == Some(Plant::MemberForgotten) {
            forget_member(&mut persist);
        }
        if persist.snapshot.as_ref().is_some_and(|snapshot| snapshot.replaces_log) {
            self.hosts[host].log.clear();
        }
        disk::append(&mut self.hosts[host].log, &persist.entries);
        let number = persist.number;
        let idle = self.hosts[host].disk.writing == 0;
        self.hosts[host].disk.give(persist);
        if self.plant == Some(Plant::EarlyAcknowledgement) {
            if let Some(manager) = &mut self.hosts[host].manager {
                manager.persisted(number);
            }
            self.want_turn(host);
        }
        if idle {
            self.start_write(host);
        }
    }

    fn start_write(&mut self, host: HostId) {
        let place = &mut self.hosts[host];
        place.disk.writing = place.disk.queued.len();
        if place.disk.writing == 0 {
            return;
        }
        // Who acknowledges early has no reason to hurry; what is torn was being written.
        let lazy = matches!(self.plant, Some(Plant::EarlyAcknowledgement | Plant::TornWrite));
        let slow = place.disk.slow > 0 || lazy;
        let delay = if slow { self.dice.disks.micros(30_000, 700_000) } else { self.dice.disks.micros(150, 2_500) };
        let life = place.manager_life;
        self.after(delay, Happening::DiskDone { host, life });
    }

    pub(crate) fn disk_done(&mut self, host: HostId, life: u64) {
        if !self.is_manager(host, life) {
            return;
        }
        let plant = self.plant;
        if self.hosts[host].disk.failing > 0 {
            if let Some(manager) = &mut self.hosts[host].manager {
                manager.persist_failed("no space left on device");
            }
            self.after_us(DISK_RETRY_US, Happening::DiskDone { host, life });
            return self.want_turn(host);
        }
        let number = self.hosts[host].disk.written(plant);
        if let (Some(number), Some(manager)) = (number, &mut self.hosts[host].manager) {
            manager.persisted(number);
            self.want_turn(host);
        }
        self.start_write(host);
    }

    pub(crate) fn fetched(&mut self, host: HostId, life: u64, range: &LogRange) {
        if self.is_manager(host, life) {
            let entries = self.hosts[host].disk.read(range);
            if let Some(manager) = &mut self.hosts[host].manager {
                manager.log_fetched(range.low, &entries);
            }
            self.want_turn(host);
        }
    }

    /// What a manager issues by the facts that it has now.
    fn chain_for(&self, host: HostId) -> Option<Bytes> {
        let cluster = self.hosts[host].manager.as_ref()?.facts().cluster()?;
        let Ok(Signatory::Own(issuer)) = skep_pki::signatory(&cluster, Bytes::copy_from_slice) else { return None };
        Some(Certificate::chain(&issuer))
    }

    pub(crate) fn signed(&mut self, host: HostId, life: u64, signing: &Signing, chain: Bytes) {
        if !self.is_manager(host, life) {
            return;
        }
        let now = self.now_at(host);
        let place = &mut self.hosts[host];
        if let Host { manager: Some(manager), dice, .. } = place {
            manager.signed(signing, Ok(chain), now, dice.source());
        }
        self.want_turn(host);
    }

    // ---- what the oracle sees -----------------------------------------------------------------------------------

    /// After a turn: every entry that this manager has applied since the last one.
    fn note_applied(&mut self, host: HostId) {
        let Some(manager) = &self.hosts[host].manager else { return };
        let applied = manager.applied();
        let believes_wrongly = self.plant.is_some_and(Plant::tampers_with_facts);
        let before = std::mem::replace(&mut self.hosts[host].applied, applied);
        for index in before + 1..=applied {
            // What came in a snapshot is not in the log.
            let Some(entry) = self.hosts[host].log.remove(&index) else { continue };
            let events = self.changed.remove(&index).filter(|_| !believes_wrongly);
            let verdict = self.oracle.committed(host, &entry, events, self.time, &mut self.journal);
            self.check(verdict);
            let verdict = self.drivers.law.rests(&entry.data, || format!("entry {index}"));
            self.check(verdict);
            self.judge_new_root();
        }
    }
}

/// The planted bug: the snapshot on disk misses a member.
fn forget_member(persist: &mut skep_consensus::Persist) {
    let Some(snapshot) = persist.snapshot.as_mut() else { return };
    if let Ok(mut decoded) = m::Snapshot::decode(snapshot.data.clone())
        && let Some(membership) = decoded.membership.as_mut()
    {
        membership.members.pop();
        snapshot.data = Bytes::from(decoded.encode_to_vec());
    }
}
