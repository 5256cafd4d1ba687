//! What is dirty and what is pending, and the turn that works it off.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rand_core::RngCore;
use skep_model::{Node, NodeId, Now, Refusal, ServiceId, Task, TaskId, TaskState, Time};
use skep_store::{Action, AnyObject, Event, Handle, Read, Tx};

use crate::assign::{self, Turn};
use crate::group::{self, Unplaced};
use crate::picture::{self, Picture, is_pending};
use crate::queue::{BATCH_WHOLE_GROUP_MAX, Queue, Waiting};
use crate::requirements::Requirements;
use crate::stuck::Stuck;

/// What found no node is tried again at most this often, however often something becomes free.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// How often tasks that were stuck before are told why they are now.
const EXPLAIN_INTERVAL: Duration = Duration::from_millis(50);

/// Places tasks on nodes. One per leader.
#[derive(Debug, Default)]
pub struct Scheduler {
    everything: bool,
    tasks: BTreeSet<TaskId>,
    nodes: BTreeSet<NodeId>,
    gone_services: BTreeSet<ServiceId>,
    picture: Picture,
    /// To be placed in this turn, or in the next ones.
    pending: Queue,
    /// Found no node; to be tried again when something becomes free.
    stuck: Stuck,
    /// Made for their node, to be confirmed.
    preassigned: BTreeSet<TaskId>,
    stuck_preassigned: BTreeSet<TaskId>,
    /// Something became free since what is stuck was tried last.
    room: bool,
    next_retry: Time,
    next_explaining: Time,
    refusals: Vec<Refusal>,
}

impl Scheduler {
    /// A scheduler that knows nothing: call [`Self::lead`] before its first turn.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new term: forgets everything, and will look at everything.
    pub fn lead(&mut self) {
        *self = Self { everything: true, ..Self::default() };
    }

    /// Notes what a change concerns: a committed one, or one that another decider of this turn just made.
    pub fn observe(&mut self, event: &Event) {
        match &event.object {
            // A new task is not pending before it has its addresses.
            AnyObject::Task(task) if event.action != Action::Create || task.state() >= TaskState::Pending => {
                // What this scheduler wrote itself is in its picture already.
                let known = self.picture.placed(&task.id).is_some_and(|known| Arc::ptr_eq(known, task));
                if known && event.action != Action::Remove {
                    return;
                }
                self.tasks.insert(task.id.clone());
            }
            AnyObject::Node(node) => {
                let old = event.old.as_ref().and_then(AnyObject::get::<Node>);
                if event.action != Action::Update || old.is_none_or(|old| differs(old, node)) {
                    self.nodes.insert(node.id.clone());
                }
            }
            AnyObject::Service(service) if event.action == Action::Remove => {
                self.gone_services.insert(service.id.clone());
            }
            AnyObject::Volume(_) => self.room = true,
            _ => {}
        }
    }

    /// Brings the picture in line with the facts, then places what is pending: so much that what is found, placed and
    /// written stays near. The rest follows at once ([`Self::wake_at`]).
    pub fn turn(&mut self, now: Now, _rng: &mut dyn RngCore, tx: &mut Tx) {
        if std::mem::take(&mut self.everything) {
            self.look_at_everything(now, tx);
        }
        self.look_at_nodes(tx);
        self.look_at_tasks(now, tx);
        self.forget_services(tx);
        self.take_up_stuck(now, tx);
        self.place(now, tx);
        self.explain_stuck(now, tx);
    }

    fn look_at_everything(&mut self, now: Now, tx: &Tx) {
        for node in tx.nodes() {
            self.picture.put_node(node);
        }
        for service in tx.services() {
            self.picture.service_number(&service.id);
        }
        let tasks = tx.count::<Task>();
        self.pending.reserve(tasks);
        self.picture.reserve_tasks(tasks);
        tx.each_task_at(|handle, task| {
            if has_failed(task) {
                self.picture.note_failure(now, task);
            }
            self.look_at_task(now, &task.id, Some((handle, task)));
        });
        self.pending.trim();
        self.nodes.clear();
        self.tasks.clear();
    }

    fn look_at_nodes(&mut self, tx: &Tx) {
        for id in std::mem::take(&mut self.nodes) {
            match tx.node(&id) {
                Some(node) => {
                    if self.picture.put_node(node) {
                        // Tasks may have been seen before their node was.
                        self.tasks.extend(tx.tasks_on_node(&id).iter().map(|task| task.id.clone()));
                    }
                }
                None => self.picture.remove_node(&id),
            }
            self.room = true;
        }
    }

    fn forget_services(&mut self, tx: &Tx) {
        for service in std::mem::take(&mut self.gone_services) {
            if tx.service(&service).is_none() {
                self.picture.remove_service(&service);
                self.pending.doubt();
            }
        }
    }

    fn look_at_tasks(&mut self, now: Now, tx: &Tx) {
        if !self.tasks.is_empty() {
            self.pending.doubt();
        }
        for id in std::mem::take(&mut self.tasks) {
            let found = tx.task_at(&id);
            self.look_at_task(now, &id, found.as_ref().map(|(handle, task)| (*handle, task)));
        }
    }

    /// Sorts a task by its state: nothing to do with it, pending, or on a node.
    fn look_at_task(&mut self, now: Now, id: &TaskId, task: Option<(Handle, &Arc<Task>)>) {
        match task {
            Some((handle, task)) if task.state() == TaskState::Pending => self.look_at_pending(handle, task),
            Some((_, task)) if task.state() == TaskState::New => {}
            Some((_, task)) if !task.has_ended() => self.room |= self.picture.put_task(Arc::clone(task)),
            ended => {
                let ended = ended.map(|(_, task)| task);
                if let Some(task) = ended.filter(|task| has_failed(task) && self.picture.placed(id).is_some()) {
                    self.picture.note_failure(now, task);
                }
                self.room |= self.picture.remove_task(id);
                self.forget_pending(id, ended);
            }
        }
    }

    fn look_at_pending(&mut self, handle: Handle, task: &Arc<Task>) {
        // An assignment that was not committed after all holds nothing.
        self.room |= self.picture.remove_task(&task.id);
        if !picture::is_wanted(task) {
            self.forget_pending(&task.id, Some(task));
        } else if task.node_id.is_some() {
            if !self.stuck_preassigned.contains(&task.id) {
                self.preassigned.insert(task.id.clone());
            }
        } else if !self.stuck.contains(task) {
            self.wait(handle, Arc::clone(task));
        }
    }

    fn forget_pending(&mut self, id: &TaskId, task: Option<&Arc<Task>>) {
        self.preassigned.remove(id);
        self.stuck_preassigned.remove(id);
        // Without the task its group is not known: it is left out when what is stuck is tried again.
        if let Some(task) = task {
            self.stuck.remove(task);
        }
    }

    fn wait(&mut self, handle: Handle, task: Arc<Task>) {
        let service = task.service_id.as_ref().map(|id| self.picture.service_number(id));
        self.pending.push(Waiting::new(service, handle, task));
    }

    fn has_stuck(&self) -> bool {
        !self.stuck.is_empty() || !self.stuck_preassigned.is_empty()
    }

    fn take_up_stuck(&mut self, now: Now, tx: &Tx) {
        self.room &= self.has_stuck();
        if self.room && now.monotonic >= self.next_retry {
            self.room = false;
            self.next_retry = now.monotonic.after(RETRY_INTERVAL);
            self.stuck.try_all();
            self.preassigned.append(&mut self.stuck_preassigned);
        }
        // As many as this turn comes to: what becomes of them tells whether more of their group are to be tried.
        let count = BATCH_WHOLE_GROUP_MAX.saturating_sub(self.pending.len());
        for (handle, task) in self.stuck.take(count, tx) {
            self.wait(handle, task);
        }
    }

    fn place(&mut self, now: Now, tx: &mut Tx) {
        let mut turn = Turn { now, tx, refusals: &mut self.refusals, decided: Vec::new() };
        // Tasks that can run in one place only come first.
        for _ in 0..BATCH_WHOLE_GROUP_MAX {
            let Some(id) = self.preassigned.pop_first() else { break };
            let found = turn.tx.task_at(&id).filter(|(_, task)| is_pending(task) && task.node_id.is_some());
            if found.is_some_and(|(handle, task)| !group::confirm(&mut turn, &mut self.picture, handle, &task)) {
                self.stuck_preassigned.insert(id);
            }
        }
        let picture = &mut self.picture;
        let batch = self.pending.take(|Waiting { task, service, .. }| {
            let current = turn.tx.task(&task.id).is_some_and(|stored| Arc::ptr_eq(&stored, task));
            if current {
                *service = task.service_id.as_ref().map(|id| picture.service_number(id));
            }
            current
        });
        turn.decided.reserve(batch.len());
        Task::touch(batch.iter().map(|waiting| &*waiting.task));
        Task::touch_shared(batch.iter().map(|waiting| &*waiting.task));
        // One thing for all groups, then the next: the code for each fits into a processor's cache, and for all does not.
        let mut asks = Vec::with_capacity(batch.len());
        for group in batch.chunk_by(Waiting::is_grouped_with) {
            asks.push(Requirements::of(&group[0].task, group[0].service, &self.picture, turn.tx));
        }
        for (group, wanted) in batch.chunk_by(Waiting::is_grouped_with).zip(&asks) {
            if let Some(Unplaced { from, reason }) = group::place(&mut turn, &mut self.picture, wanted, group) {
                self.stuck.put(&group[from..], reason);
            }
        }
        assign::write_decided(&mut turn, &mut self.picture);
    }

    fn explain_stuck(&mut self, now: Now, tx: &mut Tx) {
        if !self.stuck.has_news() || now.monotonic < self.next_explaining {
            return;
        }
        self.next_explaining = now.monotonic.after(EXPLAIN_INTERVAL);
        let mut turn = Turn { now, tx, refusals: &mut self.refusals, decided: Vec::new() };
        for (id, reason) in self.stuck.tell() {
            if let Some((handle, task)) = turn.tx.task_at(&id).filter(|(_, task)| is_pending(task)) {
                assign::explain(&mut turn, handle, &task, &reason);
            }
        }
    }

    /// When the next turn is due though nothing happens.
    pub fn wake_at(&self) -> Option<Time> {
        if !self.pending.is_empty() || !self.preassigned.is_empty() || self.stuck.has_tries() {
            return Some(Time::default());
        }
        let retry = (self.room && self.has_stuck()).then_some(self.next_retry);
        let explaining = self.stuck.has_news().then_some(self.next_explaining);
        [retry, explaining].into_iter().flatten().min()
    }

    /// Writes that the store refused since the last call: broken laws, for the log.
    pub fn take_refusals(&mut self) -> Vec<Refusal> {
        std::mem::take(&mut self.refusals)
    }
}

#[cfg(test)]
impl Scheduler {
    /// What is held of every node, in words.
    pub(crate) fn summary(&self) -> String {
        self.picture.summary()
    }
}

fn has_failed(task: &Task) -> bool {
    matches!(task.state(), TaskState::Failed | TaskState::Rejected)
}

/// Whether a change of the node can matter to where tasks go.
fn differs(old: &Node, new: &Node) -> bool {
    old.status.state != new.status.state
        || old.status.addr != new.status.addr
        || old.role != new.role
        || old.spec != new.spec
        || old.description != new.description
}
