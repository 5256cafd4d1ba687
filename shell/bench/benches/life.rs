//! The life of one service of many replicas that find no node, in a manager in memory: how much of a processor the
//! manager needs for each part of it, how many turns those are, and how long the longest keeps everybody waiting.
//! Asserts what becomes of the tasks, not how fast.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use skep_manager::consensus::{LogEntry, Member, Persist, Recovered, bootstrap};
use skep_manager::{Config, Effect, Genesis, Manager, RequestId};
use skep_model::pb::messages as m;
use skep_model::pb::types::{self, service_spec::Mode};
use skep_model::{ClusterId, ControlRequest, NodeId, Now, RaftId, Service, Task, TaskState, Time, Verbatim, WallTime};
use skep_store::{Read, Store};

/// Replicas, unless the first argument says otherwise.
const REPLICAS: u64 = 100_000;
/// Turns in which nothing may be left to do at the end.
const TURNS_MAX: usize = 100_000;
const TICK: Duration = Duration::from_millis(100);

fn main() {
    let replicas = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(REPLICAS);
    let mut swarm = Swarm::found();
    println!("{:<26} {:>10} {:>7} {:>12}", "", "processor", "turns", "longest turn");
    swarm.part("create", |swarm| swarm.create(replicas), |swarm| swarm.is_explained(replicas));
    swarm.part("scale to 10", |swarm| swarm.scale(10), |swarm| swarm.is_explained(10));
    swarm.part("scale back", |swarm| swarm.scale(replicas), |swarm| swarm.is_explained(replicas));
    swarm.part("update of all at once", Swarm::force, |swarm| swarm.is_updated(replicas));
    let mut next = swarm.successor();
    next.part("first turns of a leader", |swarm| swarm.create_other(), |swarm| swarm.is_explained(replicas));
    next.part("update, 1000 at once", |swarm| swarm.force_by(1000), |swarm| swarm.updates_done(replicas));
    next.part("remove", Swarm::remove, |swarm| swarm.tasks().is_empty());
}

struct Swarm {
    manager: Manager,
    rng: ChaCha20Rng,
    now_micros: u64,
    log: Vec<LogEntry>,
    requests: u64,
    turns: usize,
    longest: Duration,
    spent: Duration,
}

fn member() -> Member {
    Member { raft_id: RaftId(1), node_id: node_id(), addr: "10.0.0.1:2377".to_owned() }
}

fn node_id() -> NodeId {
    NodeId::new("node000000000000000000001").expect("an id")
}

fn config(genesis: Option<Genesis>) -> Config {
    Config {
        member: member(),
        genesis,
        certificate_expiry: |_| None,
        read_issuer: |_| None,
        roots: skep_pki::RootReader {
            normalized: Bytes::copy_from_slice,
            after_first: |_| Bytes::new(),
            root: |_, _, _| Ok(skep_pki::RootFacts { certificates: 1, expires: WallTime(i64::MAX) }),
            issuer: |_| None,
        },
        reader: Default::default(),
        snapshot_encoder: Default::default(),
    }
}

/// Of this thread.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("procfs");
    Duration::from_nanos(text.split(' ').next().and_then(|first| first.parse().ok()).expect("a number"))
}

impl Swarm {
    fn found() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let settings = skep_pki::ClusterSettings {
            id: ClusterId::random(&mut rng),
            spec: skep_pki::default_cluster_spec(),
            root_certificate: Bytes::from_static(b"root"),
            root_key: Bytes::from_static(b"key"),
            unlock_key: None,
            address_pools: Vec::new(),
            subnet_size: 0,
            vxlan_udp_port: 0,
        };
        let cluster = skep_pki::default_cluster(settings, &mut rng);
        let node = skep_pki::first_node(node_id(), types::node_spec::Availability::Active, 0);
        let (recovered, first) = bootstrap(&member(), 7);
        let genesis = Genesis { cluster, node };
        let manager = Manager::new(config(Some(genesis)), recovered, Store::default(), &mut rng).expect("a manager");
        Self::of(manager, rng, first.entries)
    }

    fn of(manager: Manager, rng: ChaCha20Rng, log: Vec<LogEntry>) -> Self {
        let (turns, longest, spent) = Default::default();
        let mut swarm = Self { manager, rng, now_micros: 1_000_000, log, requests: 0, turns, longest, spent };
        swarm.until(|swarm| swarm.manager.is_leading() && swarm.manager.facts().cluster().is_some());
        swarm
    }

    /// Another manager with the same log, which has yet to lead.
    fn successor(&self) -> Self {
        let (mut recovered, _) = bootstrap(&member(), 7);
        recovered.entries.clone_from(&self.log);
        recovered.hard_state.term = self.log.last().map_or(0, |entry| entry.term);
        recovered.hard_state.commit = self.manager.applied();
        let recovered = Recovered { ..recovered };
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let manager = Manager::new(config(None), recovered, Store::default(), &mut rng).expect("a manager");
        let (turns, longest, spent) = Default::default();
        let log = self.log.clone();
        let mut next =
            Self { manager, rng, now_micros: self.now_micros, log, requests: 1 << 32, turns, longest, spent };
        // Everything is applied before the part that is measured begins.
        while !next.manager.is_leading() {
            next.step();
        }
        next
    }

    fn now(&self) -> Now {
        Now { monotonic: Time(self.now_micros), wall: WallTime(self.now_micros as i64 * 1000) }
    }

    fn part(&mut self, name: &str, act: impl FnOnce(&mut Self), done: impl Fn(&Self) -> bool) {
        (self.turns, self.longest, self.spent) = Default::default();
        act(self);
        self.until(done);
        let (spent, longest) = (self.spent.as_secs_f64(), self.longest.as_secs_f64() * 1e3);
        println!("{name:<26} {spent:>8.2} s {:>7} {longest:>9.1} ms", self.turns);
        // What it left for later is none of the next part's.
        self.until(|swarm| {
            let due = swarm.manager.wake_at();
            due.is_none_or(|due| due.0 > swarm.now_micros + 200_000)
        });
    }

    fn until(&mut self, done: impl Fn(&Self) -> bool) {
        let mut looked = 0;
        for turn in 0..TURNS_MAX {
            let moved = self.step();
            // To look at all tasks after each turn would take longer than the turns.
            if (!moved || turn >= looked + 50) && done(self) {
                return;
            }
            looked = if turn >= looked + 50 { turn } else { looked };
        }
        panic!("it does not end: {:?}", self.status());
    }

    fn status(&self) -> (usize, Option<types::UpdateStatus>) {
        (self.tasks().len(), self.service().and_then(|service| service.update_status.clone()))
    }

    /// One turn, and the disk's answer. Whether anything happened.
    fn step(&mut self) -> bool {
        let (now, start) = (self.now(), processor_time());
        let effects = self.manager.turn(now, &mut self.rng);
        let took = processor_time().saturating_sub(start);
        self.turns += 1;
        self.spent += took;
        self.longest = self.longest.max(took);
        let before = self.now_micros;
        self.now_micros += took.as_micros() as u64 + 1;
        let moved = !effects.is_empty();
        for effect in effects {
            match effect {
                Effect::Persist(persist) => self.persist(persist),
                Effect::EncodeSnapshot(job) => {
                    let data = job.encode();
                    self.manager.snapshot_encoded(job.point().clone(), Some(data));
                }
                Effect::Warn(message) => panic!("{message}"),
                Effect::Reply { result, .. } => drop(result.expect("it is taken")),
                _ => {}
            }
        }
        if !moved && self.manager.wake_at().is_none_or(|at| at.0 > self.now_micros) {
            let tick = (self.now_micros / TICK.as_micros() as u64 + 1) * TICK.as_micros() as u64;
            self.now_micros = self.manager.wake_at().map_or(tick, |at| at.0.min(tick)).max(self.now_micros);
        }
        if self.now_micros / TICK.as_micros() as u64 > before / TICK.as_micros() as u64 {
            self.manager.tick(self.now());
        }
        moved
    }

    fn persist(&mut self, persist: Persist) {
        if let Some(first) = persist.entries.first() {
            self.log.retain(|entry| entry.index < first.index);
        }
        self.log.extend(persist.entries);
        self.manager.persisted(persist.number);
    }

    fn ask(&mut self, command: impl Into<ControlRequest>) {
        self.requests += 1;
        let (request, now) = (RequestId(self.requests), self.now());
        self.manager.control(request, command.into(), now, &mut self.rng);
    }

    fn tasks(&self) -> Vec<Arc<Task>> {
        let Some(service) = self.service() else { return self.manager.facts().tasks() };
        self.manager.facts().tasks_of_service(&service.id)
    }

    fn service(&self) -> Option<Arc<Service>> {
        self.manager.facts().service_by_name("many")
    }

    fn is_explained(&self, replicas: u64) -> bool {
        let tasks = self.tasks();
        let is = |task: &Arc<Task>| task.desired_state == TaskState::Running && !task.status.err.is_empty();
        tasks.len() as u64 == replicas && tasks.iter().all(is)
    }

    fn is_updated(&self, replicas: u64) -> bool {
        self.is_explained(replicas) && self.updated() == replicas as usize
    }

    fn updated(&self) -> usize {
        let version = self.service().and_then(|service| service.spec_version);
        self.tasks().iter().filter(|task| task.spec_version == version && !task.status.err.is_empty()).count()
    }

    fn create(&mut self, replicas: u64) {
        self.ask(m::CreateServiceRequest { spec: Some(Verbatim::new(spec("many", replicas))) });
    }

    fn create_other(&mut self) {
        self.ask(m::CreateServiceRequest { spec: Some(Verbatim::new(spec("other", 0))) });
    }

    fn update(&mut self, change: impl FnOnce(&mut types::ServiceSpec)) {
        let service = self.service().expect("the service");
        let mut spec = (*service.spec).clone();
        change(&mut spec);
        self.ask(m::UpdateServiceRequest {
            service_id: service.id.to_string(),
            service_version: Some(types::Version { index: service.meta.version }),
            spec: Some(Verbatim::new(spec)),
            ..Default::default()
        });
    }

    fn scale(&mut self, replicas: u64) {
        self.update(|spec| spec.mode = Some(Mode::Replicated(types::ReplicatedService { replicas })));
    }

    fn force(&mut self) {
        self.force_by(0);
    }

    fn force_by(&mut self, parallelism: u64) {
        self.update(|spec| {
            spec.task.get_or_insert_default().force_update += 1;
            spec.update.get_or_insert_default().parallelism = parallelism;
        });
    }

    /// None of the new tasks ever runs, so the first ones are all there are.
    fn updates_done(&self, replicas: u64) -> bool {
        self.tasks().len() as u64 == replicas && self.updated() == 1000
    }

    fn remove(&mut self) {
        let service = self.service().expect("the service");
        self.ask(m::RemoveServiceRequest { service_id: service.id.to_string() });
    }
}

fn spec(name: &str, replicas: u64) -> types::ServiceSpec {
    let container = types::ContainerSpec { image: "busybox".into(), ..Default::default() };
    let constraints = vec!["node.labels.none==x".to_owned()];
    types::ServiceSpec {
        annotations: Some(types::Annotations { name: name.into(), ..Default::default() }),
        task: Some(types::TaskSpec {
            runtime: Some(types::task_spec::Runtime::Container(container)),
            placement: Some(types::Placement { constraints, ..Default::default() }),
            ..Default::default()
        }),
        mode: Some(Mode::Replicated(types::ReplicatedService { replicas })),
        update: Some(types::UpdateConfig::default()),
        ..Default::default()
    }
}
