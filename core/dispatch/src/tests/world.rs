//! Two workers and a leader in one thread, with a network between them that may lose and delay.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use skep_model::pb::messages as m;
use skep_model::pb::types::{Peer, TaskState};
use skep_model::{Refusal, Task, TaskId, Time};
use skep_store::{Ledger, Read};

use crate::manager::{Effect as Sent, StreamId};
use crate::testing::{self, Leader};
use crate::worker::{Attempt, Effect, Input, Opening, Outcome, RunId, Start, Verb, Worker};

/// Something on its way.
enum Parcel {
    ToWorker(usize, Input),
    Session { worker: usize, attempt: Attempt, request: m::SessionRequest },
    Assignments { worker: usize, attempt: Attempt, opening: Opening, request: m::AssignmentsRequest },
    Heartbeat { worker: usize, attempt: Attempt, request: m::HeartbeatRequest },
    Status { worker: usize, attempt: Attempt, request: m::UpdateTaskStatusRequest },
    Closed { stream: StreamId },
}

/// The worker's end of a stream.
#[derive(Clone, Copy)]
struct End {
    worker: usize,
    attempt: Attempt,
    /// Absent for session streams.
    opening: Option<Opening>,
}

struct Host {
    name: &'static str,
    worker: Worker,
    /// What survives a restart.
    disk: BTreeMap<TaskId, Task>,
}

pub struct World {
    pub leader: Leader,
    pub history: Vec<String>,
    /// Tasks made.
    pub made: usize,
    hosts: Vec<Host>,
    rng: ChaCha8Rng,
    /// In the order of arrival; the number keeps equals apart.
    parcels: BTreeMap<(Time, u64), Parcel>,
    streams: BTreeMap<StreamId, End>,
    /// When the last message of a stream arrives: a stream keeps its order.
    tails: BTreeMap<StreamId, Time>,
    next: u64,
    /// One message in so many is lost; 0 for none.
    loss: u64,
}

const NAMES: [&str; 2] = ["a", "b"];
/// How much later a message comes that lost its place in a stream.
const OVERTAKEN: Duration = Duration::from_millis(20);

impl World {
    pub fn new(seed: u64, loss: u64) -> Self {
        let host = |name| Host { name, worker: start(name, Vec::new()), disk: BTreeMap::new() };
        let mut world = Self {
            leader: Leader::new(),
            history: Vec::new(),
            made: 0,
            hosts: NAMES.map(host).into(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            parcels: BTreeMap::new(),
            streams: BTreeMap::new(),
            tails: BTreeMap::new(),
            next: 1,
            loss,
        };
        for worker in 0..NAMES.len() {
            world.give(worker, Input::Tick);
        }
        world
    }

    /// The scheduler puts a new task on a node.
    pub fn assign(&mut self, node: &str) {
        self.made += 1;
        let task = testing::task(&format!("t{}", self.made), node, TaskState::Assigned);
        self.leader.create(task);
        self.deliver();
    }

    /// Something happens: tasks come, end or go, connections break, leaders and daemons change.
    pub fn disturb(&mut self) {
        let worker = self.pick(NAMES.len());
        match self.pick(8) {
            0..=2 => self.assign(NAMES[worker]),
            3 => self.change_task(|task| task.desired_state = TaskState::Shutdown),
            4 => self.remove_task(),
            5 => self.break_connection(worker),
            6 => self.change_leader(),
            _ => self.restart_daemon(worker),
        }
    }

    /// Nothing is lost any more.
    pub fn heal(&mut self) {
        self.loss = 0;
    }

    /// What is not as it should be.
    pub fn trouble(&self) -> Option<String> {
        let store = self.leader.ledger.committed();
        for host in &self.hosts {
            let here: BTreeMap<TaskId, TaskState> =
                host.worker.tasks().map(|task| (task.id.clone(), task.state())).collect();
            let there: BTreeMap<TaskId, TaskState> = store
                .tasks_on_node(&testing::node_id(host.name))
                .iter()
                .map(|task| (task.id.clone(), task.state()))
                .collect();
            if here != there {
                return Some(format!("{}: worker {here:?}, store {there:?}", host.name));
            }
            for task in store.tasks_on_node(&testing::node_id(host.name)) {
                let wanted = task.desired_state == TaskState::Running;
                let fine = if wanted { task.state() == TaskState::Running } else { task.has_ended() };
                if !fine {
                    return Some(format!("{} is {:?}, wanted {:?}", task.id, task.state(), task.desired_state));
                }
            }
            let kept: Vec<&TaskId> = host.disk.keys().collect();
            if kept != here.keys().collect::<Vec<_>>() {
                return Some(format!("{}: {kept:?} on disk", host.name));
            }
        }
        None
    }

    /// Lets time pass, event by event.
    pub fn run(&mut self, duration: Duration) {
        let end = self.leader.now.monotonic.after(duration);
        loop {
            let arrival = self.parcels.first_key_value().map(|((at, _), _)| *at);
            let wakes = self.hosts.iter().filter_map(|host| host.worker.wake_at());
            let next = wakes.chain(arrival).chain(self.leader.dispatcher.wake_at()).min();
            let Some(next) = next.filter(|at| *at <= end) else { break };
            self.set_time(next.max(self.leader.now.monotonic));
            self.leader.turn();
            self.deliver();
            while let Some(entry) = self.parcels.first_entry().filter(|entry| entry.key().0 <= next) {
                let parcel = entry.remove();
                self.open_parcel(parcel);
            }
            for worker in 0..self.hosts.len() {
                if self.hosts[worker].worker.wake_at().is_some_and(|at| at <= self.leader.now.monotonic) {
                    self.give(worker, Input::Tick);
                }
            }
        }
        self.set_time(end);
    }

    fn set_time(&mut self, now: Time) {
        let passed = now.since(self.leader.now.monotonic);
        self.leader.now.monotonic = now;
        self.leader.now.wall.0 += i64::try_from(passed.as_nanos()).expect("a short time");
    }

    fn pick(&mut self, count: usize) -> usize {
        usize::try_from(self.rng.next_u64() % count as u64).expect("a small number")
    }

    fn change_task(&mut self, change: impl FnOnce(&mut Task)) {
        let tasks = self.leader.ledger.committed().tasks();
        if tasks.is_empty() {
            return;
        }
        let mut task = (*tasks[self.pick(tasks.len())]).clone();
        change(&mut task);
        self.leader.update(task);
        self.deliver();
    }

    fn remove_task(&mut self) {
        let tasks = self.leader.ledger.committed().tasks();
        let ended: Vec<_> = tasks.iter().filter(|task| task.has_ended()).collect();
        if !ended.is_empty() {
            let id = ended[self.pick(ended.len())].id.clone();
            self.leader.remove::<Task>(&id);
            self.deliver();
        }
    }

    /// Both ends notice at once, by reset.
    fn break_connection(&mut self, worker: usize) {
        let ends: Vec<(StreamId, End)> =
            self.streams.iter().filter(|(_, end)| end.worker == worker).map(|(stream, end)| (*stream, *end)).collect();
        for (stream, end) in ends {
            self.streams.remove(&stream);
            self.leader.dispatcher.stream_closed(self.leader.now, stream, true, true);
            let refusal = Refusal::new(skep_model::Code::Unavailable, "connection reset");
            self.send(Parcel::ToWorker(worker, Input::Failed { attempt: end.attempt, refusal }));
        }
    }

    /// The leader loses its term and a fresh one takes over the committed facts.
    fn change_leader(&mut self) {
        let effects = self.leader.dispatcher.step_down();
        self.leader.effects.extend(effects);
        self.deliver();
        let ledger = Ledger::new(self.leader.ledger.committed().clone());
        let mut next = Leader::over(ledger);
        next.now = self.leader.now;
        next.dispatcher.lead();
        self.leader = next;
        self.history.push("leader".to_owned());
    }

    /// The daemon is killed and starts with what is on its disk.
    fn restart_daemon(&mut self, worker: usize) {
        self.break_connection(worker);
        let host = &mut self.hosts[worker];
        host.worker = start(host.name, host.disk.values().cloned().collect());
        self.parcels.retain(|_, parcel| !matches!(parcel, Parcel::ToWorker(to, _) if *to == worker));
        self.history.push(format!("restart {}", self.hosts[worker].name));
        self.give(worker, Input::Tick);
    }

    /// Puts something on its way; calls may overtake each other.
    fn send(&mut self, parcel: Parcel) {
        let delay = Duration::from_micros(200 + self.rng.next_u64() % 5000);
        self.send_at(self.leader.now.monotonic.after(delay), parcel);
    }

    fn send_at(&mut self, at: Time, parcel: Parcel) {
        self.next += 1;
        self.parcels.insert((at, self.next), parcel);
    }

    fn lost(&mut self) -> bool {
        self.loss > 0 && self.rng.next_u64().is_multiple_of(self.loss)
    }

    /// Passes an input to a worker and does what it asks for.
    fn give(&mut self, worker: usize, input: Input) {
        let now = self.leader.now;
        let effects = self.hosts[worker].worker.step(now, &mut self.rng, input);
        for effect in effects {
            self.perform(worker, effect);
        }
    }

    fn perform(&mut self, worker: usize, effect: Effect) {
        match effect {
            Effect::OpenSession { attempt, request, .. } => self.send(Parcel::Session { worker, attempt, request }),
            Effect::CloseSession { attempt } => {
                let gone = self.streams.extract_if(.., |_, end| end.worker == worker && end.attempt == attempt);
                let gone: Vec<StreamId> = gone.map(|(stream, _)| stream).collect();
                for stream in gone {
                    self.send(Parcel::Closed { stream });
                }
            }
            Effect::OpenAssignments { attempt, opening, request } => {
                self.send(Parcel::Assignments { worker, attempt, opening, request });
            }
            Effect::Heartbeat { attempt, request } => self.send(Parcel::Heartbeat { worker, attempt, request }),
            Effect::SendStatus { attempt, request } => self.send(Parcel::Status { worker, attempt, request }),
            Effect::Run(run) => {
                self.history.push(format!("{} {} {:?}", self.hosts[worker].name, run.task, run.verb));
                // Containers run until they are told to end.
                if run.verb != Verb::Wait {
                    self.answer(worker, run.task, run.run, Outcome::done());
                }
            }
            Effect::Cancel { task, run } => self.answer(worker, task, run, Outcome::Cancelled),
            Effect::Persist(task) => {
                self.hosts[worker].disk.insert(task.id.clone(), (*task).clone());
            }
            Effect::Forget(task) => {
                self.hosts[worker].disk.remove(&task);
            }
            Effect::SaveRemotes(_) | Effect::RootChanged(_) | Effect::NodeChanged(_) | Effect::NetworkKeys(_) => {}
        }
    }

    fn answer(&mut self, worker: usize, task: TaskId, run: RunId, outcome: Outcome) {
        self.send(Parcel::ToWorker(worker, Input::VerbDone { task, run, outcome }));
    }

    /// Sends what the leader has to send; a message of a stream may come late, or get lost with its connection.
    fn deliver(&mut self) {
        let mut broken = Vec::new();
        for effect in std::mem::take(&mut self.leader.effects) {
            let (stream, end) = match &effect {
                Sent::Session { stream, .. } | Sent::Assignments { stream, .. } | Sent::Close { stream, .. } => {
                    (*stream, self.streams.get(stream).copied())
                }
                Sent::FetchSecret { request, .. } => panic!("{request:?}"),
                Sent::Warn(text) => panic!("{text}"),
            };
            let Some(End { worker, attempt, opening }) = end else { continue };
            let input = match (effect, opening) {
                (Sent::Session { message, .. }, None) => Input::Session { attempt, message },
                (Sent::Assignments { message, .. }, Some(opening)) => Input::Assignments { attempt, opening, message },
                (Sent::Close { refusal, .. }, _) => {
                    self.streams.remove(&stream);
                    Input::Failed { attempt, refusal }
                }
                (other, opening) => panic!("{other:?} on a stream of {opening:?}"),
            };
            let delay = Duration::from_micros(200 + self.rng.next_u64() % 5000);
            let tail = self.tails.get(&stream).copied().unwrap_or_default();
            let at = self.leader.now.monotonic.after(delay).max(tail);
            if !self.lost() {
                self.tails.insert(stream, at);
                self.send_at(at, Parcel::ToWorker(worker, input));
            } else if self.pick(2) == 0 {
                // Overtaken by what follows: the worker has to notice the gap.
                self.send_at(at.after(OVERTAKEN), Parcel::ToWorker(worker, input));
            } else {
                broken.push(worker);
            }
        }
        for worker in broken {
            self.break_connection(worker);
        }
    }

    fn open_parcel(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::ToWorker(worker, input) => self.give(worker, input),
            // What is lost is noticed by its deadline alone.
            Parcel::Session { .. } | Parcel::Heartbeat { .. } | Parcel::Status { .. } if self.lost() => {}
            Parcel::Session { worker, attempt, request } => self.open_session(worker, attempt, request),
            Parcel::Assignments { worker, attempt, opening, request } => {
                let stream = StreamId(self.next);
                self.next += 1;
                self.streams.insert(stream, End { worker, attempt, opening: Some(opening) });
                let caller = testing::caller(NAMES[worker]);
                let result = self.leader.dispatcher.open_assignments(&caller, &request, stream);
                self.refused(worker, attempt, result.map(|()| None));
            }
            Parcel::Heartbeat { worker, attempt, request } => {
                let result = self.leader.heartbeat(NAMES[worker], &request.session_id);
                let reply = result.map(|response| Some(Input::HeartbeatReply { attempt, response }));
                self.refused(worker, attempt, reply);
            }
            Parcel::Status { worker, attempt, request } => {
                let Leader { dispatcher, ledger, now, .. } = &mut self.leader;
                let caller = testing::caller(NAMES[worker]);
                let result = dispatcher.update_task_status(*now, ledger.committed(), &caller, request);
                self.refused(worker, attempt, result.map(|_| Some(Input::StatusReply { attempt })));
            }
            Parcel::Closed { stream } => {
                self.leader.dispatcher.stream_closed(self.leader.now, stream, false, true);
            }
        }
        self.leader.turn();
        self.deliver();
    }

    fn open_session(&mut self, worker: usize, attempt: Attempt, request: m::SessionRequest) {
        let stream = StreamId(self.next);
        self.next += 1;
        self.streams.insert(stream, End { worker, attempt, opening: None });
        let Leader { dispatcher, ledger, now, rng, .. } = &mut self.leader;
        let caller = testing::caller(NAMES[worker]);
        let result = dispatcher.register(*now, rng, ledger.committed(), &caller, request, stream);
        self.refused(worker, attempt, result.map(|_| None));
    }

    fn refused(&mut self, worker: usize, attempt: Attempt, result: Result<Option<Input>, Refusal>) {
        match result {
            Ok(None) => {}
            Ok(Some(input)) => self.send(Parcel::ToWorker(worker, input)),
            Err(refusal) => self.send(Parcel::ToWorker(worker, Input::Failed { attempt, refusal })),
        }
    }
}

fn start(name: &str, tasks: Vec<Task>) -> Worker {
    let peer = |addr: &str| Peer { node_id: String::new(), addr: addr.to_owned() };
    Worker::new(Start {
        remotes: vec![peer("m1:2377"), peer("m2:2377"), peer("m3:2377")],
        description: testing::description(name),
        root: "root".into(),
        tasks,
    })
}
