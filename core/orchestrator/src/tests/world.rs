use std::collections::BTreeMap;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use skep_model::constraint::spread_value;
use skep_model::pb::types::node_spec::Availability;
use skep_model::pb::types::placement_preference::Preference;
use skep_model::pb::types::service_spec::Mode;
use skep_model::pb::types::task_spec::Runtime;
use skep_model::pb::types::{self, NodeRole, ServiceSpec, TaskSpec, TaskState, node_status};
use skep_model::{
    ControlCall, Meta, Node, NodeId, Now, Refusal, Service, ServiceId, Task, TaskId, Time, Verbatim, WallTime,
    constraint,
};
use skep_store::commands::{CommandContext, execute};
use skep_store::{AnyObject, Entry, Event, Ledger, Read, Tx};

use crate::Orchestrator;

pub(super) const SERVICE: &str = "web";

pub(super) struct World {
    pub(super) ledger: Ledger,
    pub(super) orchestrator: Orchestrator,
    pub(super) now: Now,
    rng: ChaCha8Rng,
    index: u64,
    /// What agents make of images: the state that their tasks end in, before or after RUNNING.
    pub(super) fate: BTreeMap<String, Fate>,
    /// Agents do nothing.
    pub(super) frozen: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// Fails before it runs.
    Fails,
    /// Rejected: no such image.
    Rejected,
    /// Runs for a step, then completes.
    Completes,
}

pub(super) fn node(name: &str) -> Node {
    Node {
        id: NodeId::new(name).expect("an id"),
        meta: Meta::default(),
        spec: Verbatim::default(),
        description: Some(Verbatim::new(types::NodeDescription {
            hostname: name.to_owned(),
            resources: Some(types::Resources { nano_cpus: 4_000_000_000, memory_bytes: 1000, generic: Vec::new() }),
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

pub(super) fn spec(image: &str, mode: Mode) -> ServiceSpec {
    let container = types::ContainerSpec { image: image.to_owned(), ..Default::default() };
    ServiceSpec {
        annotations: Some(types::Annotations {
            name: SERVICE.to_owned(),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            ..Default::default()
        }),
        task: Some(TaskSpec { runtime: Some(Runtime::Container(container)), ..Default::default() }),
        mode: Some(mode),
        ..Default::default()
    }
}

pub(super) fn replicas(count: u64) -> Mode {
    Mode::Replicated(types::ReplicatedService { replicas: count })
}

pub(super) fn restart(
    condition: types::restart_policy::RestartCondition,
    delay_seconds: i64,
    max_attempts: u64,
) -> types::RestartPolicy {
    let delay = Some(seconds(delay_seconds));
    types::RestartPolicy { condition: condition.into(), delay, max_attempts, window: None }
}

pub(super) fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

impl World {
    pub(super) fn new(nodes: &[&str]) -> Self {
        let now = Now { monotonic: Time(1_000_000_000), wall: WallTime(1_700_000_000_000_000_000) };
        let mut world = Self {
            ledger: Ledger::default(),
            orchestrator: Orchestrator::new(),
            now,
            rng: ChaCha8Rng::seed_from_u64(7),
            index: 1,
            fate: BTreeMap::new(),
            frozen: false,
        };
        world.orchestrator.lead();
        world.write(|tx| nodes.iter().try_for_each(|name| tx.create(node(name))));
        world
    }

    pub(super) fn write(&mut self, change: impl FnOnce(&mut Tx) -> Result<(), Refusal>) {
        self.index += 1;
        let written = self.ledger.transact(self.now, self.index, self.index, change);
        let ((), entry) = written.expect("the change fits");
        self.commit(entry);
    }

    /// As a user asks it.
    pub(super) fn ask<C: ControlCall>(&mut self, request: C) {
        let mut rng = self.rng.clone();
        let (now, request) = (self.now, request.into());
        self.write(|tx| {
            let mut context = CommandContext {
                now,
                rng: &mut rng,
                members: &[],
                certificate_expiry: &|_| None,
                root_under: &|cluster, _| Ok(cluster.root_ca.clone()),
                extended_constraints: true,
                skep_nodes: &Default::default(),
            };
            execute(tx, &mut context, request).map(drop)
        });
        self.rng = rng;
        self.turn();
    }

    pub(super) fn commit(&mut self, entries: impl IntoIterator<Item = Entry>) {
        for entry in entries {
            for event in self.ledger.commit(&entry).expect("it commits") {
                never_goes_back(&event);
                self.orchestrator.observe(&event);
            }
        }
    }

    pub(super) fn create(&mut self, spec: ServiceSpec) {
        self.write(|tx| tx.create(service(SERVICE, spec)));
        self.turn();
    }

    /// As the update command does.
    pub(super) fn update(&mut self, change: impl FnOnce(&mut ServiceSpec)) {
        let mut service = (*self.service()).clone();
        service.previous_spec = Some(service.spec.clone());
        service.previous_spec_version = service.spec_version;
        service.spec = service.spec.edit(change);
        service.spec_version = Some(service.meta.version);
        service.update_status = None;
        if let Some(status) = &mut service.job_status {
            status.job_iteration.get_or_insert_default().index += 1;
        }
        self.write(|tx| tx.update(service));
    }

    pub(super) fn set_image(&mut self, image: &str) {
        self.update(|spec| {
            let task = spec.task.get_or_insert_default();
            if let Some(Runtime::Container(container)) = &mut task.runtime {
                container.image = image.to_owned();
            }
        });
    }

    /// One turn of the orchestrator, repeated while the pretended allocator and scheduler have work.
    pub(super) fn turn(&mut self) {
        let mut next = self.index * 1000;
        let Self { orchestrator, rng, now, .. } = self;
        let now = *now;
        let mut number = || {
            next += 1;
            next
        };
        let entries = self.ledger.turn(now, self.index, &mut number, |tx| {
            orchestrator.turn(now, rng, tx);
            allocate_and_schedule(tx);
        });
        self.index += entries.len() as u64;
        self.commit(entries);
        assert_eq!(self.orchestrator.take_refusals(), []);
        self.check();
    }

    /// A turn whose entries stay in flight.
    pub(super) fn propose(&mut self) -> Vec<Entry> {
        let Self { orchestrator, rng, now, .. } = self;
        let now = *now;
        let mut next = self.index * 1000;
        let mut number = || {
            next += 1;
            next
        };
        let entries = self.ledger.turn(now, self.index, &mut number, |tx| orchestrator.turn(now, rng, tx));
        self.index += 1;
        entries
    }

    /// Lets `milliseconds` pass, with turns when the orchestrator asks for them, and agents at work every 100 ms.
    pub(super) fn pass(&mut self, milliseconds: u64) {
        let end = self.now.monotonic.0 + milliseconds * 1000;
        loop {
            self.turn();
            if !self.frozen {
                self.agents();
                self.turn();
            }
            let left = end - self.now.monotonic.0;
            if left == 0 {
                return;
            }
            let due = self.orchestrator.wake_at().map_or(u64::MAX, |due| due.0.saturating_sub(self.now.monotonic.0));
            self.skip(left.min(due.max(1)).min(100_000));
        }
    }

    pub(super) fn skip(&mut self, microseconds: u64) {
        self.now.monotonic.0 += microseconds;
        self.now.wall.0 += i64::try_from(microseconds).expect("small") * 1000;
    }

    /// Every agent takes every task one step on.
    pub(super) fn agents(&mut self) {
        for task in self.tasks() {
            let alive = task.node_id.as_ref().and_then(|id| self.ledger.committed().node(id));
            let alive = alive.is_some_and(|node| node.is_ready());
            if let Some(state) = self.next_state(&task).filter(|_| alive) {
                self.report(&task.id, state);
            }
        }
    }

    fn next_state(&self, task: &Task) -> Option<TaskState> {
        let state = task.state();
        if !(TaskState::Assigned..=TaskState::Running).contains(&state) {
            return None;
        }
        if task.desired_state > TaskState::Complete {
            return Some(TaskState::Shutdown);
        }
        let fate = self.fate.get(image(task)).copied();
        match (state, fate) {
            (TaskState::Assigned, Some(Fate::Rejected)) => Some(TaskState::Rejected),
            (TaskState::Assigned, _) => Some(TaskState::Ready),
            (TaskState::Ready, _) if task.desired_state == TaskState::Ready => None,
            (TaskState::Ready, Some(Fate::Fails)) => Some(TaskState::Failed),
            (TaskState::Ready, _) => Some(TaskState::Running),
            (TaskState::Running, Some(Fate::Completes)) => Some(TaskState::Complete),
            _ => None,
        }
    }

    /// As the dispatcher writes an agent's report.
    pub(super) fn report(&mut self, id: &TaskId, state: TaskState) {
        let Some(task) = self.ledger.committed().task(id) else { return };
        assert!(task.state() < state && !task.has_ended(), "a state never goes back");
        let mut task = (*task).clone();
        let stamp = Some(self.now.wall.into());
        task.status = types::TaskStatus { state: state.into(), applied_at: stamp, timestamp: stamp, ..task.status };
        self.write(|tx| tx.update(task));
    }

    pub(super) fn change_node(&mut self, name: &str, change: impl FnOnce(&mut Node)) {
        let id = NodeId::new(name).expect("an id");
        let mut node = (*self.ledger.committed().node(&id).expect("it is there")).clone();
        change(&mut node);
        self.write(|tx| tx.update(node));
    }

    pub(super) fn set_availability(&mut self, name: &str, availability: Availability) {
        self.change_node(name, |node| node.spec = node.spec.edit(|spec| spec.set_availability(availability)));
    }

    pub(super) fn set_state(&mut self, name: &str, state: node_status::State) {
        self.change_node(name, |node| node.status.set_state(state));
    }

    /// As the command that removes a node does.
    pub(super) fn remove_node(&mut self, name: &str) {
        let id = NodeId::new(name).expect("an id");
        let stamp = Some(self.now.wall.into());
        self.write(|tx| {
            for task in tx.tasks_on_node(&id).iter().filter(|task| task.state() < TaskState::Complete) {
                let mut task = (**task).clone();
                task.status.set_state(TaskState::Orphaned);
                task.status.timestamp = stamp;
                tx.update(task)?;
            }
            tx.remove::<Node>(&id)
        });
    }

    /// Another manager takes over.
    pub(super) fn new_leader(&mut self) {
        self.orchestrator = Orchestrator::new();
        self.orchestrator.lead();
        self.now.monotonic.0 += 77_000_000_000;
    }

    pub(super) fn service(&self) -> Arc<Service> {
        self.ledger.committed().service(&ServiceId::new(SERVICE).expect("an id")).expect("it is there")
    }

    pub(super) fn tasks(&self) -> Vec<Arc<Task>> {
        let mut tasks = self.ledger.committed().tasks();
        tasks.sort_by_key(|task| (task.slot, task.meta.created_at, task.id.clone()));
        tasks
    }

    pub(super) fn wanted(&self) -> Vec<Arc<Task>> {
        self.tasks().into_iter().filter(|task| crate::facts::is_wanted(task)).collect()
    }

    pub(super) fn running(&self) -> usize {
        self.wanted().iter().filter(|task| task.state() == TaskState::Running).count()
    }

    /// Images of running, wanted tasks in slot order.
    pub(super) fn images(&self) -> Vec<String> {
        let running = self.wanted().into_iter().filter(|task| task.state() == TaskState::Running);
        running.map(|task| image(&task).to_owned()).collect()
    }

    pub(super) fn status(&self) -> (types::update_status::UpdateState, String) {
        let status = self.service().update_status.clone().unwrap_or_default();
        (status.state(), status.message)
    }

    /// Laws that hold after every turn.
    fn check(&self) {
        let start_first = |spec: &ServiceSpec| {
            let configs = [&spec.update, &spec.rollback];
            let start_first = types::update_config::UpdateOrder::StartFirst;
            configs.into_iter().flatten().any(|config| config.order() == start_first)
        };
        let store = self.ledger.committed();
        for service in store.services() {
            let mut places = BTreeMap::new();
            for task in store.tasks_of_service(&service.id).iter().filter(|task| crate::facts::is_wanted(task)) {
                let place = (task.slot, (task.slot == 0).then(|| task.node_id.clone()));
                *places.entry(place).or_insert(0) += 1;
            }
            let most = places.values().copied().max().unwrap_or(0);
            let may_hold_two = start_first(&service.spec)
                || service.previous_spec.as_deref().is_some_and(start_first)
                || crate::rebalance::is_wanted(&service);
            assert!(most <= if may_hold_two { 2 } else { 1 }, "{most} wanted tasks in one slot");
        }
    }
}

pub(super) fn image(task: &Task) -> &str {
    match &task.spec.runtime {
        Some(Runtime::Container(container)) => &container.image,
        _ => "",
    }
}

fn never_goes_back(event: &Event) {
    let (Some(old), Some(new)) = (event.old.as_ref().and_then(AnyObject::get::<Task>), event.object.get::<Task>())
    else {
        return;
    };
    assert!(old.state() <= new.state() && old.desired_state <= new.desired_state, "{old:?}\n{new:?}");
    assert!(old.node_id.is_none() || old.node_id == new.node_id, "an assigned task never moves");
}

/// The network and the scheduler, as far as the orchestrator sees them.
fn allocate_and_schedule(tx: &mut Tx) {
    let nodes: Vec<Arc<Node>> = tx.nodes().into_iter().filter(|node| node.takes_tasks()).collect();
    for task in tx.tasks() {
        let mut task = (*task).clone();
        if task.state() >= TaskState::Assigned || !crate::facts::is_wanted(&task) {
            continue;
        }
        let placement = task.spec.placement.clone().unwrap_or_default();
        let constraints = constraint::parse(&placement.constraints).expect("constraints");
        let suits = |node: &Arc<Node>| constraint::node_matches(&constraints, node);
        // Evens out branches first, where there are spread preferences.
        let branches = |node: &Arc<Node>| -> Vec<usize> {
            let mut same = nodes.clone();
            let descriptors = placement.preferences.iter().filter_map(|preference| preference.preference.as_ref());
            let count = |Preference::Spread(spread): &Preference| {
                let value = |node: &Node| spread_value(&spread.spread_descriptor, node).unwrap_or_default().to_owned();
                same.retain(|other| value(other) == value(node));
                same.iter().map(|other| live_tasks(tx, &other.id)).sum()
            };
            descriptors.map(count).collect()
        };
        let key = |node: &Arc<Node>| (branches(node), live_tasks(tx, &node.id), node.id.clone());
        let mut counts: Vec<(Vec<usize>, usize, NodeId)> = nodes.iter().filter(|node| suits(node)).map(key).collect();
        counts.sort();
        task.status.set_state(TaskState::Pending);
        let chosen = task.node_id.clone().or_else(|| counts.first().map(|(_, _, id)| id.clone()));
        if let Some(node) = chosen.filter(|id| nodes.iter().any(|node| node.id == *id)) {
            task.node_id = Some(node);
            task.status.set_state(TaskState::Assigned);
        }
        tx.update(task).expect("it was just read");
    }
}

fn live_tasks(tx: &Tx, node: &NodeId) -> usize {
    tx.tasks_on_node(node).iter().filter(|task| crate::facts::is_wanted(task)).count()
}

/// A service that was just created.
pub(super) fn service(id: &str, spec: ServiceSpec) -> Service {
    let job = matches!(spec.mode, Some(Mode::ReplicatedJob(_) | Mode::GlobalJob(_)));
    let first_run = types::JobStatus { job_iteration: Some(types::Version { index: 1 }), last_execution: None };
    Service {
        id: ServiceId::new(id).expect("an id"),
        meta: Meta::default(),
        spec: Verbatim::new(spec),
        endpoint: None,
        update_status: None,
        previous_spec: None,
        pending_delete: false,
        spec_version: Some(0),
        previous_spec_version: None,
        job_status: job.then_some(first_run),
        unknown: Default::default(),
    }
}
