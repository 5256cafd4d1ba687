//! How hosts come to life, die and come back.

use std::collections::BTreeSet;
use std::time::Duration;

use skep_consensus::{Member, Recovered, SnapshotMeta, bootstrap};
use skep_dispatch::worker::{Input, Start, Worker};
use skep_manager::{Config, Genesis, Manager};
use skep_model::objects::SKEP_ENGINE_LABEL;
use skep_model::pb::types::{self, NodeRole, Peer};
use skep_model::{ClusterId, NodeId, RaftId, Time, Verbatim};
use skep_store::Store;

use super::{Happening, World, tamper};
use crate::clock::HostClock;
use crate::dice::{Dice, Purpose};
use crate::host::{Errand, Host, Identity, Seat};
use crate::invariants::recovery;
use crate::invariants::worker_runs_what_is_assigned::Assigned;
use crate::issuers::{Certificate, RootId};
use crate::network::HostId;
use crate::scenario::Mood;

/// What each host has to give.
pub(crate) const NANO_CPUS: i64 = 8_000_000_000;
/// See above.
pub(crate) const MEMORY_BYTES: i64 = 16 << 30;

impl World {
    /// The first manager founds the swarm, the others join in turn.
    pub(crate) fn found(&mut self) {
        let total = self.plan.managers.max(1) + self.plan.workers;
        for number in 0..total {
            let role = if number < self.plan.managers.max(1) { NodeRole::Manager } else { NodeRole::Worker };
            self.add_host(role);
        }
        self.found_first();
        for host in 1..total {
            let at = Time(1_500_000 + host as u64 * self.plan.join_every_us);
            self.queue.put(at, Happening::Start { host, life: 0 });
        }
    }

    /// A machine with nothing on it.
    pub(crate) fn add_host(&mut self, role: NodeRole) -> HostId {
        let number = self.hosts.len();
        let address = format!("10.1.0.{}:2377", number + 1);
        let dice = &mut self.dice.hosts;
        let unit = if self.plant == Some(crate::Plant::WrongClockUnit) { 1000 } else { 1 };
        let skew_ns = self.plan.skew_ms * 1_000_000;
        let wall_offset_ns = dice.between(0, skew_ns) as i64 - (skew_ns / 2) as i64;
        let clock = HostClock::new(dice.below(5_000_000_000), dice.between(0, 160) as i64 - 80, wall_offset_ns, unit);
        self.addresses.insert(address.clone(), number);
        let remotes =
            self.hosts.first().map(|first| Peer { node_id: String::new(), addr: first.address.clone() }).into_iter();
        self.hosts.push(Host {
            up: false,
            powered: true,
            life: 0,
            leaving: false,
            retired: false,
            address,
            clock,
            dice: Dice::new(self.plan.seed, Purpose::Core(number as u64)),
            stalled_until: Time(0),
            identity: None,
            trusts: RootId::FIRST,
            told_to_renew: false,
            told_role: None,
            wanted_role: role,
            seat: None,
            lock: Default::default(),
            disk: Default::default(),
            manager: None,
            manager_life: 0,
            turn_due: false,
            manager_wake: None,
            applied: 0,
            log: Default::default(),
            dies_after: None,
            reached: BTreeSet::new(),
            worker: None,
            worker_wake: None,
            assigned: Assigned::default(),
            task_disk: Default::default(),
            remotes: remotes.collect(),
            mood: Mood::default(),
            engine: Default::default(),
            errand: Errand::None,
            errand_number: 0,
            promised: None,
        });
        number
    }

    fn found_first(&mut self) {
        let mut dice = Dice::new(self.plan.seed, Purpose::Clients);
        let (node, raft_id) = (NodeId::random(dice.source()), RaftId::random(dice.source()));
        let mut spec = skep_pki::default_cluster_spec();
        if let Some(raft) = &mut spec.raft {
            raft.snapshot_interval = self.plan.snapshot_interval;
            raft.log_entries_for_slow_followers = self.plan.snapshot_interval / 4;
        }
        let settings = skep_pki::ClusterSettings {
            id: ClusterId::random(dice.source()),
            spec,
            root_certificate: RootId::FIRST.certificate(),
            root_key: RootId::FIRST.key(),
            unlock_key: None,
            address_pools: Vec::new(),
            subnet_size: 0,
            vxlan_udp_port: 0,
        };
        let cluster = skep_pki::default_cluster(settings, dice.source());
        self.cluster = Some(cluster.id.clone());
        self.tokens = cluster.root_ca.join_tokens.clone().unwrap_or_default();
        let first = skep_pki::first_node(node.clone(), types::node_spec::Availability::Active, 0);
        let host = &mut self.hosts[0];
        let member = Member { raft_id, node_id: node.clone(), addr: host.address.clone() };
        let (_, persist) = bootstrap(&member, 7);
        host.disk.format(&persist);
        host.identity =
            Some(Identity { node: node.clone(), role: NodeRole::Manager, certificate: Certificate::of(RootId::FIRST) });
        host.seat = Some(Seat { member, members: Vec::new(), removed: BTreeSet::new() });
        host.remotes = vec![Peer { node_id: node.to_string(), addr: host.address.clone() }];
        self.seats.insert(raft_id, 0);
        self.power_on(0);
        self.start_manager(0, Some(Genesis { cluster, node: first }));
        self.start_worker(0);
    }

    fn power_on(&mut self, host: HostId) {
        let place = &mut self.hosts[host];
        place.up = true;
        place.powered = true;
        place.life += 1;
    }

    /// The daemon starts, with what lies on its disk.
    pub(crate) fn start_daemon(&mut self, host: HostId, life: u64) {
        let place = &self.hosts[host];
        if place.up || place.retired || place.life != life {
            return;
        }
        self.say(|| format!("h{host} starts"));
        self.power_on(host);
        if !self.is_locked(host) {
            self.begin_work(host);
        }
    }

    /// What a daemon does that may read its disk.
    pub(crate) fn begin_work(&mut self, host: HostId) {
        if self.hosts[host].seat.is_some() {
            self.start_manager(host, None);
        }
        if self.hosts[host].identity.is_some() {
            self.start_worker(host);
        }
        self.next_errand(host);
    }

    /// The daemon dies; it comes back after `down`, if that is given.
    pub(crate) fn kill(&mut self, host: HostId, power: bool, down: Option<Duration>) {
        if !self.hosts[host].up {
            return;
        }
        self.say(|| format!("h{host} dies, power {power}"));
        let place = &mut self.hosts[host];
        place.up = false;
        place.powered = !power;
        place.stalled_until = Time(0);
        place.worker = None;
        place.worker_wake = None;
        place.errand = Errand::None;
        place.promised = None;
        place.told_role = None;
        place.told_to_renew = false;
        place.engine.crash(power);
        place.lock.locked = false;
        place.leaving = false;
        place.disk.crash(power, self.plant, &mut self.dice.disks);
        let life = place.life;
        self.forget_manager(host);
        self.break_streams_of(host, power);
        if !power {
            self.reset_peers(host);
        }
        if let Some(down) = down {
            self.after(down, Happening::Start { host, life });
        }
    }

    /// Members learn that their connection with this one was reset.
    pub(crate) fn reset_peers(&mut self, host: HostId) {
        let Some(peer) = self.hosts[host].seat.as_ref().map(|seat| seat.member.raft_id) else { return };
        for other in 0..self.hosts.len() {
            if other == host || self.hosts[other].manager.is_none() || !self.network.open(host, other) {
                continue;
            }
            let life = self.hosts[other].manager_life;
            let what = Happening::Reachable { host: other, life, peer, reachable: false, reset: true };
            let delay = self.dice.network.micros(200, 1_500);
            self.after(delay, what);
        }
    }

    /// The manager's memory is gone, and with it every request that waited there.
    pub(crate) fn forget_manager(&mut self, host: HostId) {
        let place = &mut self.hosts[host];
        place.manager = None;
        place.manager_life += 1;
        place.manager_wake = None;
        place.turn_due = false;
        place.dies_after = None;
        place.reached.clear();
        self.requests.retain(|_, call| call.at != host);
        self.oracle.manager_gone(host);
        self.drivers.law.manager_gone(host);
    }

    /// A manager from what lies on disk.
    pub(crate) fn start_manager(&mut self, host: HostId, genesis: Option<Genesis>) {
        let place = &mut self.hosts[host];
        let Some(seat) = place.seat.clone() else { return };
        let image = &place.disk.seen;
        let mut recovered = Recovered {
            hard_state: image.hard_state,
            snapshot: SnapshotMeta::default(),
            snapshot_size_bytes: 0,
            members: seat.members.clone(),
            removed: seat.removed.clone(),
            leaving: Vec::new(),
            entries: image.entries.values().cloned().collect(),
        };
        let mut facts = Store::default();
        if let Some(snapshot) = &image.snapshot {
            recovered.snapshot = snapshot.meta.clone();
            recovered.snapshot_size_bytes = snapshot.data.len() as u64;
            match Manager::facts_from_snapshot(snapshot.data.clone()) {
                Ok((membership, store)) => {
                    recovered.members = membership.iter().cloned().collect();
                    recovered.removed = membership.removed().clone();
                    recovered.leaving = membership.leaving().cloned().collect();
                    facts = store;
                }
                Err(error) => return self.broken(recovery::fails(host, error)),
            }
        }
        if self.plant == Some(crate::Plant::DeposedWrite)
            && let Some(last) = recovered.entries.last()
        {
            recovered.hard_state.commit = last.index;
        }
        facts = tamper::facts(self.plant, facts);
        let applied = recovered.snapshot.index;
        let reader = self.read_once.reader(self.plant);
        let config = Config {
            member: seat.member,
            genesis,
            certificate_expiry: |_| None,
            read_issuer: |pem| RootId::read(pem).map(RootId::identity),
            roots: super::roots::READER,
            reader,
            snapshot_encoder: self.encode_once.encoder(),
        };
        match Manager::new(config, recovered, facts, place.dice.source()) {
            Ok(manager) => {
                place.manager = Some(Box::new(manager));
                place.manager_life += 1;
                place.applied = applied;
                place.log = place
                    .disk
                    .seen
                    .entries
                    .range(applied + 1..)
                    .map(|(index, entry)| (*index, entry.clone()))
                    .collect();
                place.turn_due = false;
                let life = place.manager_life;
                self.say(|| format!("h{host} manages, from snapshot {applied}"));
                // The daemon looks again and again; a log that tells of no change must not keep it from it.
                self.after_us(super::locks::FOLLOW_KEY_US, Happening::FollowKey { host, life });
                let phase = self.dice.hosts.micros(0, 100_000);
                self.after(phase, Happening::Tick { host, life });
                self.want_turn(host);
            }
            Err(error) => self.broken(recovery::fails(host, error)),
        }
    }

    /// What the host says of itself.
    pub(crate) fn description(&self, host: HostId) -> Verbatim<types::NodeDescription> {
        let resources =
            types::Resources { nano_cpus: NANO_CPUS, memory_bytes: MEMORY_BYTES, ..types::Resources::default() };
        let plugin = |kind: &str, name: &str| types::PluginDescription { r#type: kind.into(), name: name.into() };
        let description = types::NodeDescription {
            hostname: format!("h{host}"),
            platform: Some(types::Platform { os: "linux".into(), architecture: "x86_64".into() }),
            resources: Some(resources),
            engine: Some(types::EngineDescription {
                engine_version: "1".into(),
                labels: [(SKEP_ENGINE_LABEL.to_owned(), "1".to_owned())].into(),
                plugins: vec![plugin("Network", "overlay"), plugin("Volume", "local"), plugin("Log", "json-file")],
            }),
            tls_info: self.tls_info(host),
            ..types::NodeDescription::default()
        };
        Verbatim::new(description)
    }

    pub(crate) fn start_worker(&mut self, host: HostId) {
        let description = self.description(host);
        let place = &mut self.hosts[host];
        let tasks: Vec<_> = place.task_disk.values().map(|task| (**task).clone()).collect();
        place.assigned = Assigned::from_disk(place.task_disk.keys());
        place.worker = Some(Worker::new(Start {
            remotes: place.remotes.clone(),
            description,
            root: place.trusts.certificate(),
            tasks,
        }));
        let life = place.life;
        let delay = self.dice.hosts.micros(1_000, 60_000);
        self.after(delay, Happening::ToWorker { host, life, input: Box::new(Input::Tick) });
    }
}
