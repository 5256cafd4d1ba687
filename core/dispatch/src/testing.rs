//! What the tests of both halves share: objects, and a dispatcher over a ledger whose proposals commit at once.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use skep_model::objects::DEFAULT_CLUSTER_NAME;
use skep_model::pb::messages as m;
use skep_model::pb::objects as pb;
use skep_model::pb::types::{
    Annotations, ClusterSpec, ConfigReference, ConfigSpec, ContainerSpec, Driver, NodeDescription, NodeRole, NodeSpec,
    RootCa, SecretReference, SecretSpec, TaskSpec, TaskState, node_status, task_spec::Runtime,
};
use skep_model::{
    Caller, Cluster, Config, Kept, Node, NodeId, Now, Secret, ServiceId, Task, TaskId, Time, Verbatim, WallTime,
};
use skep_store::{Ledger, Read, Store, Stored};

use crate::manager::{Dispatcher, DriverFailure, Effect, FetchId, SecretRequest, SecretValue, StreamId};

pub fn node_id(text: &str) -> NodeId {
    NodeId::new(text).expect("a node id")
}

pub fn task_id(text: &str) -> TaskId {
    TaskId::new(text).expect("a task id")
}

pub fn annotations(name: &str) -> Annotations {
    Annotations { name: name.to_owned(), ..Annotations::default() }
}

pub fn node(id: &str, role: NodeRole) -> Node {
    let spec = NodeSpec { desired_role: role.into(), ..NodeSpec::default() };
    let body =
        pb::Node { id: id.to_owned(), spec: Some(Verbatim::new(spec)), role: role.into(), ..pb::Node::default() };
    Node::try_from(Kept::new(body)).expect("a node")
}

pub fn cluster(labels: &[(&str, &str)]) -> Cluster {
    let mut annotations = annotations(DEFAULT_CLUSTER_NAME);
    annotations.labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let spec = ClusterSpec { annotations: Some(annotations), ..ClusterSpec::default() };
    let root_ca = RootCa { ca_cert: "root".into(), ..RootCa::default() };
    let body = pb::Cluster {
        id: "cluster".to_owned(),
        spec: Some(Verbatim::new(spec)),
        root_ca: Some(root_ca),
        ..pb::Cluster::default()
    };
    Cluster::try_from(Kept::new(body)).expect("a cluster")
}

pub fn secret(id: &str) -> Secret {
    let spec = SecretSpec { annotations: Some(annotations(id)), data: "hidden".into(), ..SecretSpec::default() };
    let body = pb::Secret { id: id.to_owned(), spec: Some(Verbatim::new(spec)), ..pb::Secret::default() };
    Secret::try_from(Kept::new(body)).expect("a secret")
}

pub fn config(id: &str) -> Config {
    let spec = ConfigSpec { annotations: Some(annotations(id)), data: "open".into(), ..ConfigSpec::default() };
    let body = pb::Config { id: id.to_owned(), spec: Some(Verbatim::new(spec)), ..pb::Config::default() };
    Config::try_from(Kept::new(body)).expect("a config")
}

/// A secret whose data comes from this driver.
pub fn driven(id: &str, driver: &str) -> Secret {
    let mut secret = secret(id);
    let driver = Driver { name: driver.to_owned(), ..Driver::default() };
    secret.spec = secret.spec.edit(|spec| (spec.data, spec.driver) = (Default::default(), Some(driver)));
    secret
}

/// A task on `node` that needs these secrets and configs.
pub fn task_with(id: &str, node: &str, state: TaskState, secrets: &[&str], configs: &[&str]) -> Task {
    let secret = |id: &&str| SecretReference { secret_id: (*id).to_owned(), ..SecretReference::default() };
    let config = |id: &&str| ConfigReference { config_id: (*id).to_owned(), ..ConfigReference::default() };
    let container = ContainerSpec {
        image: "web".to_owned(),
        secrets: secrets.iter().map(secret).collect(),
        configs: configs.iter().map(config).collect(),
        ..ContainerSpec::default()
    };
    let spec = TaskSpec { runtime: Some(Runtime::Container(container)), ..TaskSpec::default() };
    let body = pb::Task {
        id: id.to_owned(),
        spec: Some(Verbatim::new(spec)),
        node_id: node.to_owned(),
        desired_state: TaskState::Running.into(),
        ..pb::Task::default()
    };
    let mut task = Task::try_from(Kept::new(body)).expect("a task");
    task.service_id = ServiceId::optional("service");
    task.status.set_state(state);
    task
}

pub fn task(id: &str, node: &str, state: TaskState) -> Task {
    task_with(id, node, state, &[], &[])
}

pub fn description(hostname: &str) -> Verbatim<NodeDescription> {
    Verbatim::new(NodeDescription { hostname: hostname.to_owned(), ..NodeDescription::default() })
}

pub fn caller(node: &str) -> Caller {
    Caller { node: node_id(node), role: NodeRole::Worker, forwarded_by: None, address: format!("addr-{node}") }
}

/// A leader: its dispatcher, and a ledger in which everything proposed is committed at once.
pub struct Leader {
    pub ledger: Ledger,
    pub dispatcher: Dispatcher,
    pub now: Now,
    pub rng: ChaCha8Rng,
    pub effects: Vec<Effect>,
    index: u64,
}

impl Leader {
    /// Leads over a cluster with a manager `boss` and the workers `a` and `b`, which a first turn has looked at.
    pub fn new() -> Self {
        let mut leader = Self::over(Ledger::new(Store::default()));
        leader.create(cluster(&[]));
        leader.create(node("boss", NodeRole::Manager));
        leader.dispatcher.lead();
        leader.turn();
        leader.create(node("a", NodeRole::Worker));
        leader.create(node("b", NodeRole::Worker));
        leader.effects.clear();
        leader
    }

    /// A manager that does not lead yet.
    pub fn over(ledger: Ledger) -> Self {
        Self {
            ledger,
            dispatcher: Dispatcher::new(node_id("boss")),
            now: Now { monotonic: Time(1_000_000), wall: WallTime(1_700_000_000_000_000_000) },
            rng: ChaCha8Rng::seed_from_u64(7),
            effects: Vec::new(),
            index: 1000,
        }
    }

    pub fn create<T: Stored>(&mut self, object: T) {
        self.write(|tx| tx.create(object));
    }

    pub fn update<T: Stored>(&mut self, object: T) {
        self.write(|tx| tx.update(object));
    }

    pub fn remove<T: Stored>(&mut self, id: &T::Id) {
        self.write(|tx| tx.remove::<T>(id));
    }

    /// Somebody else's transaction, committed; what follows from it is sent.
    fn write(&mut self, change: impl FnOnce(&mut skep_store::Tx<'_>) -> Result<(), skep_model::Refusal>) {
        self.index += 1;
        let (_, entry) = self.ledger.transact(self.now, self.index, self.index, change).expect("a transaction");
        self.commit(entry.into_iter().collect());
        self.flush();
    }

    /// One turn of the dispatcher, committed.
    pub fn turn(&mut self) {
        let Self { ledger, dispatcher, now, rng, index, .. } = self;
        let mut next = *index;
        let mut number = || {
            next += 1;
            next
        };
        let entries = ledger.turn(*now, *index, &mut number, |tx| dispatcher.turn(*now, rng, tx));
        self.index = next;
        self.commit(entries);
        self.flush();
    }

    fn commit(&mut self, entries: Vec<skep_store::Entry>) {
        for entry in entries {
            for event in self.ledger.commit(&entry).expect("a commit") {
                self.dispatcher.observe(&event);
            }
        }
    }

    pub fn flush(&mut self) {
        let effects = self.dispatcher.flush(self.now, self.ledger.committed());
        self.effects.extend(effects);
    }

    /// Lets time pass, with a turn whenever one is due.
    pub fn pass(&mut self, duration: Duration) {
        let end = self.now.monotonic.after(duration);
        loop {
            let next = self.dispatcher.wake_at().filter(|at| *at <= end).map_or(end, |at| at.max(self.now.monotonic));
            let step = next.since(self.now.monotonic);
            self.now.monotonic = next;
            self.now.wall.0 += i64::try_from(step.as_nanos()).expect("a short time");
            self.turn();
            if next == end && self.dispatcher.wake_at().is_none_or(|at| at > end) {
                break;
            }
        }
    }

    pub fn register(&mut self, id: &str, stream: u64) -> String {
        let request = m::SessionRequest { description: Some(description(id)), session_id: String::new() };
        self.try_register(id, request, stream).expect("a registration")
    }

    pub fn try_register(
        &mut self,
        id: &str,
        request: m::SessionRequest,
        stream: u64,
    ) -> Result<String, skep_model::Refusal> {
        let Self { ledger, dispatcher, now, rng, .. } = self;
        let session = dispatcher.register(*now, rng, ledger.committed(), &caller(id), request, StreamId(stream))?;
        self.turn();
        Ok(session.to_string())
    }

    pub fn heartbeat(&mut self, id: &str, session: &str) -> Result<m::HeartbeatResponse, skep_model::Refusal> {
        let request = m::HeartbeatRequest { session_id: session.to_owned() };
        self.dispatcher.heartbeat(self.now, &mut self.rng, &caller(id), &request)
    }

    pub fn open_assignments(&mut self, id: &str, session: &str, stream: u64) -> Result<(), skep_model::Refusal> {
        let request = m::AssignmentsRequest { session_id: session.to_owned() };
        self.dispatcher.open_assignments(&caller(id), &request, StreamId(stream))?;
        self.flush();
        Ok(())
    }

    pub fn node(&self, id: &str) -> Node {
        (*self.ledger.committed().node(&node_id(id)).expect("a node")).clone()
    }

    pub fn state(&self, id: &str) -> node_status::State {
        self.node(id).status.state()
    }

    pub fn task(&self, id: &str) -> Task {
        (*self.ledger.committed().task(&task_id(id)).expect("a task")).clone()
    }

    pub fn sessions(&mut self, stream: u64) -> Vec<m::SessionMessage> {
        let taken = self
            .effects
            .extract_if(.., |effect| matches!(effect, Effect::Session { stream: at, .. } if at.0 == stream));
        let message = |effect| match effect {
            Effect::Session { message, .. } => Some(*message),
            _ => None,
        };
        taken.filter_map(message).collect()
    }

    pub fn assignments(&mut self, stream: u64) -> Vec<m::AssignmentsMessage> {
        let taken = self
            .effects
            .extract_if(.., |effect| matches!(effect, Effect::Assignments { stream: at, .. } if at.0 == stream));
        let message = |effect| match effect {
            Effect::Assignments { message, .. } => Some(message),
            _ => None,
        };
        taken.filter_map(message).collect()
    }

    /// What drivers are asked now.
    pub fn fetches(&mut self) -> Vec<(FetchId, SecretRequest)> {
        let taken = self.effects.extract_if(.., |effect| matches!(effect, Effect::FetchSecret { .. }));
        let fetch = |effect| match effect {
            Effect::FetchSecret { fetch, request } => Some((fetch, *request)),
            _ => None,
        };
        taken.filter_map(fetch).collect()
    }

    /// A driver answers; what follows is sent.
    pub fn fetched(&mut self, fetch: FetchId, result: Result<SecretValue, DriverFailure>) {
        self.dispatcher.secret_fetched(self.now, fetch, result);
        self.turn();
    }

    pub fn warnings(&mut self) -> Vec<String> {
        let taken = self.effects.extract_if(.., |effect| matches!(effect, Effect::Warn(_)));
        let warning = |effect| match effect {
            Effect::Warn(text) => Some(text),
            _ => None,
        };
        taken.filter_map(warning).collect()
    }

    pub fn closed(&mut self) -> Vec<(u64, String)> {
        let taken = self.effects.extract_if(.., |effect| matches!(effect, Effect::Close { .. }));
        let close = |effect| match effect {
            Effect::Close { stream, refusal } => Some((stream.0, refusal.message)),
            _ => None,
        };
        taken.filter_map(close).collect()
    }
}

/// `+task`, `-secret` and so on, in the order of the message.
pub fn changes(message: &m::AssignmentsMessage) -> Vec<String> {
    let change = |change: &m::AssignmentChange| {
        let sign = if change.action == 0 { '+' } else { '-' };
        let (word, id) = match change.assignment.as_ref().and_then(|assignment| assignment.item.as_ref()) {
            Some(m::assignment::Item::Task(task)) => ("task", task.value.id.as_str()),
            Some(m::assignment::Item::Secret(secret)) => ("secret", secret.value.id.as_str()),
            Some(m::assignment::Item::Config(config)) => ("config", config.value.id.as_str()),
            _ => ("other", ""),
        };
        format!("{sign}{word} {id}")
    };
    message.changes.iter().map(change).collect()
}
