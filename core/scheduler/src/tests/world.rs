use std::collections::BTreeMap;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use skep_model::pb::types::node_spec::Availability;
use skep_model::pb::types::{self, NodeRole, TaskSpec, TaskState, node_status};
use skep_model::{Meta, Node, NodeId, Now, Refusal, Service, ServiceId, Task, TaskId, Time, Verbatim, WallTime};
use skep_store::{Entry, Ledger, Read, Tx};

use crate::Scheduler;

pub(super) struct World {
    pub(super) ledger: Ledger,
    pub(super) scheduler: Scheduler,
    pub(super) now: Now,
    rng: ChaCha8Rng,
    index: u64,
}

pub(super) fn node(name: &str) -> Node {
    Node {
        id: NodeId::new(name).expect("an id"),
        meta: Meta::default(),
        spec: Verbatim::default(),
        description: Some(Verbatim::new(types::NodeDescription {
            hostname: name.to_owned(),
            platform: Some(types::Platform { architecture: "x86_64".into(), os: "linux".into() }),
            resources: Some(types::Resources { nano_cpus: 4_000_000_000, memory_bytes: 1000, generic: Vec::new() }),
            engine: Some(types::EngineDescription::default()),
            ..Default::default()
        })),
        status: types::NodeStatus { state: node_status::State::Ready.into(), ..Default::default() },
        manager_status: None,
        attachment: None,
        certificate: Default::default(),
        role: NodeRole::Worker,
        attachments: Vec::new(),
        vxlan_udp_port: 0,
        unknown: Default::default(),
    }
}

pub(super) fn labelled(name: &str, label: &str, value: &str) -> Node {
    let labels = BTreeMap::from([(label.to_owned(), value.to_owned())]);
    let annotations = Some(types::Annotations { labels, ..Default::default() });
    Node { spec: Verbatim::new(types::NodeSpec { annotations, ..Default::default() }), ..node(name) }
}

pub(super) fn with_availability(node: &Node, availability: Availability) -> Node {
    Node { spec: node.spec.edit(|spec| spec.set_availability(availability)), ..node.clone() }
}

pub(super) fn described(name: &str, change: impl FnOnce(&mut types::NodeDescription)) -> Node {
    let node = node(name);
    Node { description: node.description.as_ref().map(|description| description.edit(change)), ..node }
}

pub(super) fn service(name: &str) -> Service {
    let annotations = Some(types::Annotations { name: name.to_owned(), ..Default::default() });
    Service {
        id: ServiceId::new(name).expect("an id"),
        meta: Meta::default(),
        spec: Verbatim::new(types::ServiceSpec { annotations, ..Default::default() }),
        endpoint: None,
        update_status: None,
        previous_spec: None,
        pending_delete: false,
        spec_version: Some(1),
        previous_spec_version: None,
        job_status: None,
        unknown: Default::default(),
    }
}

/// A pending task of a service.
pub(super) fn task(service: &str, slot: u64, spec: TaskSpec) -> Task {
    Task {
        id: TaskId::new(&format!("{service}-{slot:04}")).expect("an id"),
        meta: Meta::default(),
        spec: Verbatim::new(spec),
        service_id: ServiceId::new(service).ok(),
        slot,
        node_id: None,
        annotations: Default::default(),
        service_annotations: Default::default(),
        status: types::TaskStatus {
            state: TaskState::Pending.into(),
            message: "pending task scheduling".into(),
            ..Default::default()
        },
        desired_state: TaskState::Running,
        networks: Default::default(),
        endpoint: None,
        log_driver: None,
        spec_version: Some(1),
        extras: Default::default(),
    }
}

impl World {
    pub(super) fn new(nodes: impl IntoIterator<Item = Node>) -> Self {
        let now = Now { monotonic: Time(1_000_000_000), wall: WallTime(1_700_000_000_000_000_000) };
        let rng = ChaCha8Rng::seed_from_u64(7);
        let mut world = Self { ledger: Ledger::default(), scheduler: Scheduler::new(), now, rng, index: 1 };
        world.scheduler.lead();
        world.write(|tx| nodes.into_iter().try_for_each(|node| tx.create(node)));
        world
    }

    pub(super) fn write(&mut self, change: impl FnOnce(&mut Tx) -> Result<(), Refusal>) {
        self.index += 1;
        let written = self.ledger.transact(self.now, self.index, self.index, change);
        let ((), entry) = written.expect("the change fits");
        self.commit(entry);
    }

    pub(super) fn commit(&mut self, entries: impl IntoIterator<Item = Entry>) {
        for entry in entries {
            for event in self.ledger.commit(&entry).expect("it commits") {
                self.scheduler.observe(&event);
            }
        }
    }

    pub(super) fn add(&mut self, tasks: impl IntoIterator<Item = Task>) {
        self.write(|tx| tasks.into_iter().try_for_each(|task| tx.create(task)));
    }

    /// One turn; gives back how many entries it made.
    pub(super) fn turn(&mut self) -> usize {
        let mut next = self.index * 1000;
        let (scheduler, rng, now) = (&mut self.scheduler, &mut self.rng, self.now);
        let mut number = || {
            next += 1;
            next
        };
        let entries = self.ledger.turn(now, self.index, &mut number, |tx| scheduler.turn(now, rng, tx));
        self.index += entries.len() as u64;
        let count = entries.len();
        self.commit(entries);
        assert_eq!(self.scheduler.take_refusals(), []);
        count
    }

    /// A turn whose entries stay in flight.
    pub(super) fn propose(&mut self) -> Vec<Entry> {
        let (scheduler, rng, now) = (&mut self.scheduler, &mut self.rng, self.now);
        let mut next = self.index * 1000;
        let mut number = || {
            next += 1;
            next
        };
        let entries = self.ledger.turn(now, self.index, &mut number, |tx| scheduler.turn(now, rng, tx));
        self.index += 1;
        entries
    }

    pub(super) fn pass(&mut self, milliseconds: u64) {
        self.now.monotonic.0 += milliseconds * 1000;
        self.now.wall.0 += i64::try_from(milliseconds).expect("small") * 1_000_000;
    }

    pub(super) fn task(&self, id: &str) -> Arc<Task> {
        self.ledger.committed().task(&TaskId::new(id).expect("an id")).expect("it is there")
    }

    pub(super) fn node_of(&self, id: &str) -> Option<String> {
        self.task(id).node_id.as_ref().map(ToString::to_string)
    }

    /// Assigned tasks per node.
    pub(super) fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for task in self.ledger.committed().tasks() {
            if let Some(node) = &task.node_id {
                *counts.entry(node.to_string()).or_default() += 1;
            }
        }
        counts
    }

    /// Reports a task's state, as the dispatcher would.
    pub(super) fn report(&mut self, id: &str, state: TaskState) {
        let mut task = (*self.task(id)).clone();
        let applied_at = Some(self.now.wall.into());
        task.status = types::TaskStatus { state: state.into(), applied_at, ..task.status };
        self.write(|tx| tx.update(task));
    }

    pub(super) fn desire(&mut self, id: &str, desired_state: TaskState) {
        let task = Task { desired_state, ..(*self.task(id)).clone() };
        self.write(|tx| tx.update(task));
    }
}
