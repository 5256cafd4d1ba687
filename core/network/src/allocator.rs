//! The allocator's turn: what is dirty is brought in line with what the objects ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand_core::RngCore;
use skep_model::{Network, NetworkId, NodeId, Now, Refusal, ServiceId, Task, TaskId, TaskState, Time};
use skep_store::{Action, AnyObject, Event, Read, Tx};

use crate::book::{Book, Holder};
use crate::error::AllocateError;
use crate::{networks, nodes, services, tasks};

/// What could not be allocated is tried again after this, or as soon as something is given back.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(300);
/// After a write that the store refused, everything is read anew from the facts.
const RECOVERY_DELAY: Duration = Duration::from_secs(1);

/// Services, tasks and nodes looked at in one turn. The rest follows in the next one, at once: whoever waits for the leader
/// meanwhile is not kept waiting by 100,000 tasks that wait for an address. As many as the orchestrator makes in a turn.
pub(crate) const LOOKS_MAX: usize = 8192;
/// What a turn leaves over is due so soon.
const NEXT_TURN: Duration = Duration::from_micros(1);

/// Objects to look at.
#[derive(Clone, Debug, Default)]
struct Dirt {
    networks: BTreeSet<NetworkId>,
    services: BTreeSet<ServiceId>,
    tasks: BTreeSet<TaskId>,
    nodes: BTreeSet<NodeId>,
}

impl Dirt {
    fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.services.is_empty() && self.tasks.is_empty() && self.nodes.is_empty()
    }

    fn append(&mut self, mut other: Self) {
        self.networks.append(&mut other.networks);
        self.services.append(&mut other.services);
        self.tasks.append(&mut other.tasks);
        self.nodes.append(&mut other.nodes);
    }
}

/// A network that cannot be allocated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkTrouble {
    /// What users call it.
    pub network: String,
    /// A sentence.
    pub why: String,
}

/// Gives out subnets, addresses, VXLAN numbers and ports.
#[derive(Clone, Debug, Default)]
pub struct Allocator {
    book: Book,
    ingress: Option<NetworkId>,
    /// The book has to be written anew from the facts.
    fresh: bool,
    dirty: Dirt,
    /// What could not be allocated.
    waiting: Dirt,
    /// Why services wait, for their tasks.
    troubles: BTreeMap<ServiceId, AllocateError>,
    /// Why networks wait, not yet told.
    news: Vec<NetworkTrouble>,
    retry_at: Option<Time>,
    /// Something was given back, or came into being: what waits is tried again once all that is dirty is settled.
    has_moved: bool,
    /// When a turn left something over.
    full_at: Option<Time>,
}

impl Allocator {
    /// An allocator that knows nothing; `lead` before the first turn.
    pub fn new() -> Self {
        Self { fresh: true, ..Self::default() }
    }

    /// A new term, or proposals that came to nothing: the next turn reads everything anew.
    pub fn lead(&mut self) {
        *self = Self::new();
    }

    /// Something changed (committed, or earlier in the same transaction): marks what it may concern.
    pub fn observe(&mut self, event: &Event) {
        match &event.object {
            AnyObject::Task(task) if event.old.as_ref().is_some_and(|old| holds_the_same(old, task)) => {}
            AnyObject::Task(task) => {
                let attached = !task.networks.is_empty();
                if attached || tasks::waits(task) || event.action == Action::Remove {
                    self.dirty.tasks.insert(task.id.clone());
                }
                if attached {
                    self.dirty.nodes.extend(task.node_id.clone());
                }
            }
            AnyObject::Service(service) => {
                self.dirty.services.insert(service.id.clone());
            }
            AnyObject::Node(node) => {
                self.dirty.nodes.insert(node.id.clone());
            }
            AnyObject::Network(network) => {
                self.dirty.networks.insert(network.id.clone());
            }
            _ => {}
        }
    }

    /// When the next turn is due though nothing happens.
    pub fn wake_at(&self) -> Option<Time> {
        let waits = !self.waiting.is_empty() || self.fresh;
        let retry = self.retry_at.filter(|_| waits);
        let left_over = self.full_at.map(|at| at.after(NEXT_TURN));
        left_over.into_iter().chain(retry).min()
    }

    /// Networks that turned out to have no room since this was last asked. What waits for them says so too.
    pub fn take_network_troubles(&mut self) -> Vec<NetworkTrouble> {
        std::mem::take(&mut self.news)
    }

    /// Allocates what is asked for and gives back what is not needed any more.
    pub fn turn(&mut self, now: Now, _rng: &mut dyn RngCore, tx: &mut Tx<'_>) {
        // The deciders' further rounds at this instant work off what the first one did.
        if self.full_at == Some(now.monotonic) {
            return;
        }
        self.full_at = None;
        let due = self.retry_at.is_none_or(|at| at <= now.monotonic);
        if self.fresh && due {
            self.read_anew(tx);
        }
        if self.fresh || (self.dirty.is_empty() && (self.waiting.is_empty() || !due)) {
            return;
        }
        if due {
            self.dirty.append(std::mem::take(&mut self.waiting));
            self.retry_at = None;
        }
        if self.settle(now, tx).is_err() {
            // The book and the facts disagree: the facts are right.
            self.fresh = true;
            self.retry_at = Some(now.monotonic.after(RECOVERY_DELAY));
            return;
        }
        self.full_at = (!self.dirty.is_empty()).then_some(now.monotonic);
        if !self.waiting.is_empty() && self.retry_at.is_none() {
            self.retry_at = Some(now.monotonic.after(RETRY_INTERVAL));
        }
    }

    /// Settles what is dirty; then, once more, what waits, if something was given back or came into being meanwhile.
    fn settle(&mut self, now: Now, tx: &mut Tx<'_>) -> Result<(), Refusal> {
        let mut room = LOOKS_MAX;
        loop {
            let moved = self.settle_dirty(now, tx, &mut room)?;
            self.has_moved |= self.book.take_released() || moved;
            if !self.dirty.is_empty() || !std::mem::take(&mut self.has_moved) || self.waiting.is_empty() {
                return Ok(());
            }
            self.dirty.append(std::mem::take(&mut self.waiting));
        }
    }

    /// Notes everything that objects say they hold, before anything is given out; then everything is dirty.
    fn read_anew(&mut self, tx: &mut Tx<'_>) {
        *self = Self::default();
        let cluster = tx.cluster();
        for network in tx.networks() {
            if networks::is_ingress(&network) && self.ingress.is_none() {
                self.ingress = Some(network.id.clone());
            }
            // One that cannot be noted is tried again with those that have nothing yet.
            if networks::is_allocated(&network)
                && networks::settle(&mut self.book, cluster.as_deref(), &network).is_err()
            {
                self.waiting.networks.insert(network.id.clone());
            }
            self.dirty.networks.insert(network.id.clone());
        }
        for node in tx.nodes() {
            self.book.sync(Holder::Node(node.id.clone()), tasks::attachments_held(&node.attachments));
            self.dirty.nodes.insert(node.id.clone());
        }
        for service in tx.services() {
            self.book.sync(Holder::Service(service.id.clone()), services::held(&service));
            self.book.ports.sync(&service.id, services::ports(&service));
            self.dirty.services.insert(service.id.clone());
        }
        tx.each_task(|task| {
            if !task.networks.is_empty() {
                self.book.sync(Holder::Task(task.id.clone()), tasks::held(task));
            }
            if tasks::waits(task) {
                self.dirty.tasks.insert(task.id.clone());
            }
        });
    }

    /// Networks, then services, tasks and nodes, which need them, as many as there is room for. Whether something came
    /// into being that others may have waited for.
    fn settle_dirty(&mut self, now: Now, tx: &mut Tx<'_>, room: &mut usize) -> Result<bool, Refusal> {
        let mut moved = self.settle_networks(tx)?;
        while let Some(id) = next(&mut self.dirty.services, room) {
            moved |= self.settle_service(tx, &id)?;
        }
        while let Some(id) = next(&mut self.dirty.tasks, room) {
            self.settle_task(now, tx, &id)?;
        }
        while let Some(id) = next(&mut self.dirty.nodes, room) {
            self.settle_node(tx, &id)?;
        }
        Ok(moved)
    }

    fn settle_networks(&mut self, tx: &mut Tx<'_>) -> Result<bool, Refusal> {
        let dirty = std::mem::take(&mut self.dirty.networks);
        let mut present = Vec::new();
        for id in dirty {
            match tx.network(&id) {
                Some(network) => present.push(network),
                None => self.forget_network(tx, &id),
            }
        }
        let mut moved = false;
        let cluster = tx.cluster();
        // Ingress before all others, so that it gets the first subnet.
        present.sort_by_key(|network| !networks::is_ingress(network));
        for network in present {
            if networks::is_ingress(&network) && *self.ingress.get_or_insert(network.id.clone()) != network.id {
                // A second ingress network waits until the first is removed.
                let other = self.ingress.as_ref().map(ToString::to_string).unwrap_or_default();
                self.network_waits(&network, AllocateError::SecondIngress { other });
                continue;
            }
            let known = self.book.plan(&network.id).is_some();
            match networks::settle(&mut self.book, cluster.as_deref(), &network) {
                Ok(settled) => {
                    if let Some(settled) = settled {
                        tx.update(settled)?;
                    }
                    if !known {
                        moved = true;
                        self.mark_for_network(tx, &network.id);
                    }
                }
                Err(error) => self.network_waits(&network, error),
            }
        }
        Ok(moved)
    }

    fn network_waits(&mut self, network: &Network, error: AllocateError) {
        let why = error.to_string();
        self.book.name_network(&network.id, network.name());
        self.waiting.networks.insert(network.id.clone());
        if self.book.note_trouble(&network.id, error) {
            self.news.push(NetworkTrouble { network: network.name().to_owned(), why });
        }
    }

    /// A new ingress network is for every node.
    fn mark_for_network(&mut self, tx: &Tx<'_>, network: &NetworkId) {
        if self.ingress.as_ref() == Some(network) {
            self.dirty.nodes.extend(tx.nodes().iter().map(|node| node.id.clone()));
        }
    }

    fn forget_network(&mut self, tx: &Tx<'_>, network: &NetworkId) {
        let was_known = self.book.plan(network).is_some();
        self.book.remove_network(network);
        self.waiting.networks.remove(network);
        if self.ingress.as_ref() == Some(network) {
            self.ingress = None;
        }
        if was_known {
            self.dirty.nodes.extend(tx.nodes().iter().map(|node| node.id.clone()));
        }
    }

    fn settle_service(&mut self, tx: &mut Tx<'_>, id: &ServiceId) -> Result<bool, Refusal> {
        let waited = self.waiting.services.remove(id);
        self.troubles.remove(id);
        let Some(service) = tx.service(id) else {
            self.book.sync(Holder::Service(id.clone()), Vec::new());
            self.book.ports.sync(id, &[]);
            return Ok(false);
        };
        if !services::concerns(&service) {
            return Ok(waited);
        }
        let ingress = self.ingress.as_ref();
        match attempt(&mut self.book, |book| services::settle(book, tx, ingress, &service)) {
            Ok(endpoint) => {
                if service.endpoint.as_ref() == Some(&endpoint) {
                    return Ok(waited);
                }
                let mut service = (*service).clone();
                service.endpoint = Some(endpoint);
                tx.update(service)?;
                Ok(true)
            }
            Err(error) => {
                // Its tasks wait too, and tell the user why.
                let tasks = tx.tasks_of_service(id);
                self.dirty.tasks.extend(tasks.iter().filter(|task| tasks::waits(task)).map(|task| task.id.clone()));
                self.waiting.services.insert(id.clone());
                self.troubles.insert(id.clone(), error);
                Ok(false)
            }
        }
    }

    fn settle_task(&mut self, now: Now, tx: &mut Tx<'_>, id: &TaskId) -> Result<(), Refusal> {
        self.waiting.tasks.remove(id);
        let holder = Holder::Task(id.clone());
        let Some(task) = tx.task(id) else {
            self.book.sync(holder, Vec::new());
            return Ok(());
        };
        if !tasks::waits(&task) {
            if !task.networks.is_empty() && task.state() != TaskState::New {
                self.book.sync(holder, tasks::held(&task));
            }
            return Ok(());
        }
        let service = task.service_id.as_ref().and_then(|service| tx.service(service));
        if let Some(trouble) = task.service_id.as_ref().and_then(|service| self.troubles.get(service)) {
            self.waiting.tasks.insert(id.clone());
            return tell_task(tx, &task, trouble);
        }
        let ingress = self.ingress.as_ref();
        let settled = attempt(&mut self.book, |book| tasks::settle(book, tx, now, ingress, &task, service.as_deref()));
        match settled {
            Ok(settled) => {
                self.dirty.nodes.extend(settled.node_id.clone().filter(|_| !settled.networks.is_empty()));
                tx.update(settled)
            }
            Err(error) => {
                self.waiting.tasks.insert(id.clone());
                tell_task(tx, &task, &error)
            }
        }
    }

    fn settle_node(&mut self, tx: &mut Tx<'_>, id: &NodeId) -> Result<(), Refusal> {
        self.waiting.nodes.remove(id);
        let Some(node) = tx.node(id) else {
            self.book.sync(Holder::Node(id.clone()), Vec::new());
            return Ok(());
        };
        let (changed, trouble) = nodes::settle(&mut self.book, tx, self.ingress.as_ref(), &node);
        if trouble.is_some() {
            self.waiting.nodes.insert(id.clone());
        }
        changed.map_or(Ok(()), |node| tx.update(node))
    }
}

/// The next one to look at, if there is room.
fn next<T: Ord>(dirty: &mut BTreeSet<T>, room: &mut usize) -> Option<T> {
    let next = if *room == 0 { None } else { dirty.pop_first() };
    *room -= usize::from(next.is_some());
    next
}

/// What a failed attempt took and gave back helps nobody.
fn attempt<T>(
    book: &mut Book,
    attempt: impl FnOnce(&mut Book) -> Result<T, AllocateError>,
) -> Result<T, AllocateError> {
    let before = book.take_released();
    let result = attempt(book);
    if result.is_err() {
        book.take_released();
    }
    if before {
        book.note_released();
    }
    result
}

/// Whether a task came on without a change of what it holds, or waits for: most reports of workers are of this kind.
fn holds_the_same(old: &AnyObject, new: &Task) -> bool {
    old.get::<Task>().is_some_and(|old| {
        old.node_id == new.node_id
            && old.has_ended() == new.has_ended()
            && (old.state() == TaskState::New) == (new.state() == TaskState::New)
            && !tasks::waits(old)
            && !tasks::waits(new)
            && old.networks == new.networks
    })
}

/// Why the task does not get on, for `service ps`.
fn tell_task(tx: &mut Tx<'_>, task: &Task, error: &AllocateError) -> Result<(), Refusal> {
    let text = error.to_string();
    if task.status.err == text {
        return Ok(());
    }
    let mut task = task.clone();
    task.status.err = text;
    tx.update(task)
}
