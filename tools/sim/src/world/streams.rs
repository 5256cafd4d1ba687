//! Streams from managers to workers: they keep their order, and end when anything along them does.

use std::collections::BTreeMap;
use std::time::Duration;

use skep_dispatch::worker::{Attempt, Input, Opening};
use skep_manager::{DispatchEffect, StreamId};
use skep_model::{Code, Refusal, Time};

use super::{Happening, World};
use crate::network::HostId;

/// After this long a connection that carries nothing is given up.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// A reset travels this long.
const RESET: Duration = Duration::from_micros(600);

/// One stream, as both ends see it.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub worker: HostId,
    pub life: u64,
    pub attempt: Attempt,
    /// Absent for session streams.
    pub opening: Option<Opening>,
    pub manager: HostId,
    pub manager_life: u64,
    pub via: Option<HostId>,
    /// When the last message arrives.
    pub tail: Time,
}

/// All that are open.
#[derive(Default)]
pub(crate) struct Streams {
    pub open: BTreeMap<u64, Stream>,
}

impl Streams {
    /// The manager refused to open it.
    pub fn forget(&mut self, number: u64) {
        self.open.remove(&number);
    }

    fn having(&self, wanted: impl Fn(&Stream) -> bool) -> Vec<u64> {
        self.open.iter().filter(|(_, stream)| wanted(stream)).map(|(number, _)| *number).collect()
    }
}

impl World {
    /// Performs what the dispatcher asks for.
    pub(crate) fn dispatch(&mut self, host: HostId, effect: DispatchEffect) {
        let (number, ends) = match &effect {
            DispatchEffect::Session { stream, .. } | DispatchEffect::Assignments { stream, .. } => (stream.0, false),
            DispatchEffect::Close { stream, .. } => (stream.0, true),
            DispatchEffect::FetchSecret { fetch, request } => return self.ask_driver(host, *fetch, request),
            DispatchEffect::Warn(text) => {
                self.say(|| format!("h{host} dispatcher warns: {text}"));
                let verdict = crate::invariants::decisions_fit::judge(text);
                return self.check(verdict);
            }
        };
        if let DispatchEffect::Assignments { message, .. } = &effect {
            let verdict = self.oracle.assignments(number, message);
            self.check(verdict);
        }
        let Some(stream) = self.streams.open.get(&number).cloned() else { return };
        let Some(delay) = self.way(stream.manager, stream.via, stream.worker) else {
            // What follows a lost piece cannot arrive either.
            return self.break_stream(number, Some((KEEPALIVE, false)), Some(KEEPALIVE));
        };
        let attempt = stream.attempt;
        let input = match (effect, stream.opening) {
            (DispatchEffect::Session { message, .. }, _) => Input::Session { attempt, message },
            (DispatchEffect::Assignments { message, .. }, Some(opening)) => {
                Input::Assignments { attempt, opening, message }
            }
            (DispatchEffect::Close { refusal, .. }, _) => Input::Failed { attempt, refusal },
            (DispatchEffect::Assignments { .. } | DispatchEffect::FetchSecret { .. } | DispatchEffect::Warn(_), _) => {
                return;
            }
        };
        let input = self.plan.codec.input(input);
        let at = self.time.after(delay).max(stream.tail);
        self.queue.put(at, Happening::ToWorker { host: stream.worker, life: stream.life, input: Box::new(input) });
        if ends {
            self.streams.open.remove(&number);
        } else if let Some(stream) = self.streams.open.get_mut(&number) {
            stream.tail = at;
        }
    }

    /// Ends a stream: `manager` and `worker` say when each end learns of it, and the manager's whether by a reset.
    fn break_stream(&mut self, number: u64, manager: Option<(Duration, bool)>, worker: Option<Duration>) {
        let Some(stream) = self.streams.open.remove(&number) else { return };
        if let Some((delay, reset)) = manager {
            let what =
                Happening::StreamGone { manager: stream.manager, life: stream.manager_life, stream: number, reset };
            self.after(delay, what);
        }
        if let Some(delay) = worker {
            let refusal = Refusal::new(Code::Unavailable, "the connection is gone");
            let input = Box::new(Input::Failed { attempt: stream.attempt, refusal });
            self.after(delay, Happening::ToWorker { host: stream.worker, life: stream.life, input });
        }
    }

    /// A worker drops a session with all its streams.
    pub(crate) fn close_session(&mut self, worker: HostId, life: u64, attempt: Attempt) {
        let mine = |stream: &Stream| stream.worker == worker && stream.life == life && stream.attempt == attempt;
        for number in self.streams.having(mine) {
            let Some(stream) = self.streams.open.get(&number).cloned() else { continue };
            let delay = self.way(worker, stream.via, stream.manager).unwrap_or(KEEPALIVE);
            self.break_stream(number, Some((delay, false)), None);
        }
    }

    /// The host, or its daemon, is gone; `silent` when nobody is told.
    pub(crate) fn break_streams_of(&mut self, host: HostId, silent: bool) {
        let along = |stream: &Stream| stream.worker == host || stream.manager == host || stream.via == Some(host);
        for number in self.streams.having(along) {
            let Some(stream) = self.streams.open.get(&number).cloned() else { continue };
            let reaches = |end: HostId| !silent && self.network.open(host, end);
            let to_manager = if reaches(stream.manager) { RESET } else { KEEPALIVE };
            let to_worker = if reaches(stream.worker) { RESET } else { KEEPALIVE };
            let reset = stream.worker == host && reaches(stream.manager);
            self.break_stream(number, Some((to_manager, reset)), Some(to_worker));
        }
    }

    /// A manager ends what it carries for a worker.
    pub(crate) fn break_streams_between(&mut self, manager: HostId, worker: HostId) {
        let along =
            |stream: &Stream| stream.worker == worker && (stream.manager == manager || stream.via == Some(manager));
        for number in self.streams.having(along) {
            let to_worker = if self.network.open(manager, worker) { RESET } else { KEEPALIVE };
            self.break_stream(number, Some((RESET, false)), Some(to_worker));
        }
    }

    /// The manager's end of a stream is gone.
    pub(crate) fn stream_gone(&mut self, manager: HostId, life: u64, stream: u64, reset: bool) {
        if !self.is_manager(manager, life) {
            return;
        }
        self.oracle.stream_gone(stream);
        let now = self.now_at(manager);
        if let Some(manager) = &mut self.hosts[manager].manager {
            manager.stream_closed(StreamId(stream), reset, true, now);
        }
        self.want_turn(manager);
    }
}
