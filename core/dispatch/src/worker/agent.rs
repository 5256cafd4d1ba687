//! The session: which manager to talk to, when to register again, heartbeats, statuses on their way (interop §4).

mod messages;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand_core::RngCore;
use skep_model::pb::messages::update_task_status_request::TaskStatusUpdate;
use skep_model::pb::messages::{AssignmentsMessage, HeartbeatRequest, SessionRequest, UpdateTaskStatusRequest};
use skep_model::pb::types::{EncryptionKey, NodeDescription, Peer, TaskStatus};
use skep_model::{Node, Refusal, TaskId, Time, Verbatim};

use super::effect::Effect;
use super::input::{Attempt, Input, Opening};
use super::remotes::Remotes;

/// A manager has this long for the first message of a session, and for the answer to a heartbeat or to statuses.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// First pause after every known manager failed.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Longest pause.
pub const BACKOFF_MAX: Duration = Duration::from_secs(8);
/// A session that lasted this long was a good one; shorter ones count as failures in a row.
pub const STEADY: Duration = Duration::from_secs(1);
/// A leader that could not be kept as our manager is not tried again for this long.
pub const MOVE_PAUSE: Duration = Duration::from_secs(60);
/// Statuses in one call.
pub const STATUS_BATCH: usize = 1024;

/// What the agent passes on to the task machine.
#[derive(Debug)]
pub enum News {
    /// A session began: managers have to hear all statuses again.
    Registered,
    /// What to run.
    Assignments(AssignmentsMessage),
}

/// Where we stand with the present session.
#[derive(Debug)]
enum State {
    /// Before the first tick, or between two attempts.
    Idle { until: Time },
    /// Asked; no message yet.
    Opening { peer: Peer, deadline: Time },
    /// Registered.
    Open(Box<Open>),
    /// Left for good.
    Left,
}

#[derive(Debug)]
struct Open {
    peer: Peer,
    since: Time,
    opening: Opening,
    /// `results_in` of the last message of assignments.
    reference: String,
    heartbeat: Call,
    /// Statuses that were sent and not answered yet.
    sent: BTreeMap<TaskId, TaskStatus>,
    sent_deadline: Time,
}

/// A heartbeat that waits for its time or for its answer.
#[derive(Clone, Copy, Debug)]
enum Call {
    Due(Time),
    Asked { deadline: Time },
}

/// The session side of a worker.
#[derive(Debug)]
pub struct Agent {
    remotes: Remotes,
    description: Verbatim<NodeDescription>,
    root: Bytes,
    root_told: Bytes,
    node: Option<Arc<Node>>,
    keys: Vec<EncryptionKey>,
    attempt: Attempt,
    state: State,
    session_id: String,
    /// Failures in a row.
    failures: u32,
    /// The manager that failed last.
    avoid: Option<String>,
    /// The leader to which we moved last, and when.
    moved: Option<(String, Time)>,
    reports: BTreeMap<TaskId, TaskStatus>,
}

impl Agent {
    /// An agent that opens its first session with the first tick.
    pub fn new(remotes: Vec<Peer>, description: Verbatim<NodeDescription>, root: Bytes) -> Self {
        Self {
            remotes: Remotes::new(remotes),
            description,
            root_told: root.clone(),
            root,
            node: None,
            keys: Vec::new(),
            attempt: Attempt::default(),
            state: State::Idle { until: Time::default() },
            session_id: String::new(),
            failures: 0,
            avoid: None,
            moved: None,
            reports: BTreeMap::new(),
        }
    }

    /// Takes one input (verbs are not its business) and does what is due.
    pub fn step(&mut self, now: Time, rng: &mut dyn RngCore, input: Input, effects: &mut Vec<Effect>) -> Vec<News> {
        let mut news = Vec::new();
        match input {
            Input::Session { attempt, message } if attempt == self.attempt => {
                self.session_message(now, *message, effects, &mut news);
            }
            Input::Assignments { attempt, opening, message } if attempt == self.attempt => {
                self.assignments(opening, message, effects, &mut news);
            }
            Input::HeartbeatReply { attempt, response } if attempt == self.attempt => self.beat(now, &response),
            Input::StatusReply { attempt } if attempt == self.attempt => {
                if let State::Open(open) = &mut self.state {
                    open.sent.clear();
                }
            }
            Input::Failed { attempt, refusal } if attempt == self.attempt => self.fail(now, rng, &refusal, effects),
            Input::Described(description) => self.describe(now, description, effects),
            Input::RootSaved(root) => self.root = root,
            Input::Leave => self.leave(effects),
            // Of an earlier session, or nothing to learn.
            Input::Session { .. }
            | Input::Assignments { .. }
            | Input::HeartbeatReply { .. }
            | Input::StatusReply { .. }
            | Input::Failed { .. }
            | Input::Tick
            | Input::VerbDone { .. } => {}
        }
        self.tick(now, rng, effects);
        news
    }

    /// A status to be told; a later one replaces it if it did not go yet.
    pub fn report(&mut self, task: TaskId, status: TaskStatus) {
        self.reports.insert(task, status);
    }

    /// Sends what there is to report, one call at a time.
    pub fn send_reports(&mut self, now: Time, effects: &mut Vec<Effect>) {
        let State::Open(open) = &mut self.state else { return };
        if !open.sent.is_empty() || self.reports.is_empty() {
            return;
        }
        while open.sent.len() < STATUS_BATCH {
            let Some((task, status)) = self.reports.pop_first() else { break };
            open.sent.insert(task, status);
        }
        open.sent_deadline = now.after(CALL_TIMEOUT);
        let update = |(task, status): (&TaskId, &TaskStatus)| TaskStatusUpdate {
            task_id: task.to_string(),
            status: Some(status.clone()),
        };
        let request = UpdateTaskStatusRequest {
            session_id: self.session_id.clone(),
            updates: open.sent.iter().map(update).collect(),
        };
        effects.push(Effect::SendStatus { attempt: self.attempt, request });
    }

    /// When something is due.
    pub fn wake_at(&self) -> Option<Time> {
        match &self.state {
            State::Idle { until } => (self.remotes.len() > 0).then_some(*until),
            State::Opening { deadline, .. } => Some(*deadline),
            State::Open(open) => {
                let heartbeat = match open.heartbeat {
                    Call::Due(at) => at,
                    Call::Asked { deadline } => deadline,
                };
                Some(if open.sent.is_empty() { heartbeat } else { heartbeat.min(open.sent_deadline) })
            }
            State::Left => None,
        }
    }

    /// Manager and session that we are registered with.
    pub fn session(&self) -> Option<(Attempt, &Peer, &str)> {
        match &self.state {
            State::Open(open) => Some((self.attempt, &open.peer, &self.session_id)),
            _ => None,
        }
    }

    /// The managers that we know.
    pub fn remotes(&self) -> Vec<Peer> {
        self.remotes.peers()
    }

    fn tick(&mut self, now: Time, rng: &mut dyn RngCore, effects: &mut Vec<Effect>) {
        let late = match &mut self.state {
            State::Opening { deadline, .. } if *deadline <= now => Some("the manager did not open a session in time"),
            State::Open(open) => match open.heartbeat {
                _ if !open.sent.is_empty() && open.sent_deadline <= now => {
                    Some("the manager did not take statuses in time")
                }
                Call::Asked { deadline } if deadline <= now => Some("the manager did not answer a heartbeat in time"),
                Call::Due(at) if at <= now => {
                    open.heartbeat = Call::Asked { deadline: now.after(CALL_TIMEOUT) };
                    let request = HeartbeatRequest { session_id: self.session_id.clone() };
                    effects.push(Effect::Heartbeat { attempt: self.attempt, request });
                    None
                }
                _ => None,
            },
            _ => None,
        };
        if let Some(message) = late {
            self.fail(now, rng, &Refusal::new(skep_model::Code::DeadlineExceeded, message), effects);
        }
        if matches!(self.state, State::Idle { until } if until <= now)
            && let Some(peer) = self.remotes.select(rng, self.avoid.as_deref())
        {
            self.open(now, peer, effects);
        }
    }

    fn open(&mut self, now: Time, peer: Peer, effects: &mut Vec<Effect>) {
        self.attempt.0 += 1;
        let request =
            SessionRequest { description: Some(self.description.clone()), session_id: self.session_id.clone() };
        effects.push(Effect::OpenSession { attempt: self.attempt, peer: peer.clone(), request });
        self.state = State::Opening { peer, deadline: now.after(CALL_TIMEOUT) };
    }

    /// The session is over: another manager at once; a pause when all of them failed in a row.
    fn fail(&mut self, now: Time, rng: &mut dyn RngCore, refusal: &Refusal, effects: &mut Vec<Effect>) {
        if matches!(&self.state, State::Open(open) if now.since(open.since) >= STEADY) {
            self.failures = 0;
        }
        let Some(peer) = self.close(effects) else { return };
        self.remotes.blame(&peer);
        self.avoid = Some(peer.addr);
        if matches!(refusal.code, skep_model::Code::NotFound | skep_model::Code::InvalidArgument) {
            // That manager does not know the session any more.
            self.session_id.clear();
        }
        self.failures = self.failures.saturating_add(1);
        let known = u32::try_from(self.remotes.len().max(1)).unwrap_or(u32::MAX);
        let rounds = self.failures.saturating_sub(known);
        let pause = if self.failures < known { Duration::ZERO } else { backoff(rounds) };
        let micros = u64::try_from(pause.as_micros()).unwrap_or(0);
        let jitter = if micros == 0 { 0 } else { rng.next_u64() % (micros / 2) };
        self.state = State::Idle { until: now.after(pause - Duration::from_micros(jitter)) };
    }

    /// Ends the present session; the manager of it.
    fn close(&mut self, effects: &mut Vec<Effect>) -> Option<Peer> {
        let peer = match std::mem::replace(&mut self.state, State::Left) {
            State::Opening { peer, .. } => peer,
            State::Open(open) => {
                for (task, status) in open.sent {
                    self.reports.entry(task).or_insert(status);
                }
                open.peer
            }
            other => {
                self.state = other;
                return None;
            }
        };
        effects.push(Effect::CloseSession { attempt: self.attempt });
        Some(peer)
    }

    fn leave(&mut self, effects: &mut Vec<Effect>) {
        self.close(effects);
        self.state = State::Left;
    }

    /// Says it to the same manager by coming back to the same session.
    fn describe(&mut self, now: Time, description: Verbatim<NodeDescription>, effects: &mut Vec<Effect>) {
        if self.description == description {
            return;
        }
        self.description = description;
        if let Some(peer) = self.close(effects) {
            self.open(now, peer, effects);
        }
    }
}

/// The pause after `rounds` failures beyond the first round over all managers.
fn backoff(rounds: u32) -> Duration {
    BACKOFF_FIRST.saturating_mul(1 << rounds.min(7)).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests;
