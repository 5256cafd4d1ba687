//! The manager's loop: one thread that owns the machine, feeds it what was asked, and performs its effects in order.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use skep_disk::DataKey;
use skep_docker_api::TaskPart;
use skep_manager::{Answer, DispatchEffect, Effect, Manager, RequestId, Status};
use skep_model::{Code, NodeId, Now, Refusal, Time};
use skep_store::{AnyObject, Event, Read as _};
use tokio::sync::{mpsc, watch};

use super::Trouble;
use super::ask::{Ask, Handle, Reply, Request};
use super::board::Board;
use super::feeds::Feeds;
use super::outside::Outside;
use super::queue::{Asked, queue};
use crate::clock::Clock;

/// Asks taken before the machine has its turn: they share one fsync.
const BATCH_MAX: usize = 1024;
/// What follows from what was asked is done for so long before more is heard: work that belongs together goes out
/// together, and nobody waits long.
const UNHEARD_MAX: Duration = Duration::from_millis(50);
/// A stream that ended waits so long for news of its connection, which may say that it was reset; a manager that
/// passed it on tells so in a call of its own.
const FEED_CLOSED_GRACE: Duration = Duration::from_millis(1000);
/// Writes that wait for a disk that takes nothing; with more, the other members' messages are not taken either.
const UNWRITTEN_MAX: usize = 64;
/// Pause before a failed write to disk is tried again.
const DISK_RETRY: Duration = Duration::from_millis(500);

/// The loop's own state.
pub(super) struct Loop {
    manager: Manager,
    outside: Outside,
    clock: Clock,
    rng: ChaCha20Rng,
    asked: Asked,
    replies: BTreeMap<RequestId, Reply<Answer>>,
    /// Where the others of a list's tasks go.
    lists: BTreeMap<RequestId, mpsc::Sender<TaskPart>>,
    last_request: u64,
    feeds: Feeds,
    closing_feeds: Vec<(Time, skep_manager::StreamId)>,
    watchers: Vec<mpsc::Sender<Arc<Vec<Event>>>>,
    board: Arc<RwLock<Board>>,
    status: watch::Sender<Status>,
    next_tick: Instant,
    /// Not on disk yet, oldest first; more than one only while the disk takes nothing.
    unwritten: Vec<skep_consensus::Persist>,
    /// When what the disk did not take is tried again.
    disk_retry_at: Option<Instant>,
    /// Why the loop must end.
    fatal: Option<String>,
}

/// Starts the loop on a thread of its own.
pub fn spawn(
    manager: Manager,
    outside: Outside,
    clock: Clock,
) -> std::io::Result<(Handle, std::thread::JoinHandle<()>)> {
    let (asks, asked) = queue();
    let (status, watched) = watch::channel(manager.status());
    let board = Arc::new(RwLock::new(Board::default()));
    let handle = Handle { asks, board: Arc::clone(&board), status: watched };
    let mut state = Loop {
        manager,
        outside: outside.with_handle(handle.clone()),
        clock,
        rng: clock.rng(),
        asked,
        replies: BTreeMap::new(),
        lists: BTreeMap::new(),
        last_request: 0,
        feeds: Feeds::default(),
        closing_feeds: Vec::new(),
        watchers: Vec::new(),
        board,
        status,
        next_tick: Instant::now(),
        unwritten: Vec::new(),
        disk_retry_at: None,
        fatal: None,
    };
    state.refresh_board();
    let troubles = state.outside.troubles();
    let run = move || {
        // What a broken law left of the machine is not touched again: it is dropped with the loop.
        if std::panic::catch_unwind(AssertUnwindSafe(|| state.run())).is_err() {
            let reason = "the manager's loop failed; what it said is in the daemon's log".to_owned();
            troubles.try_send(Trouble::Fatal(reason)).ok();
        }
    };
    let thread = std::thread::Builder::new().name("manager".to_owned()).spawn(run)?;
    Ok((handle, thread))
}

impl Loop {
    fn run(mut self) {
        let mut is_done = true;
        loop {
            let mut next = if is_done { self.asked.next_within(self.patience()) } else { self.asked.next_now() };
            let mut taken = 0;
            while let Some(ask) = next {
                if matches!(ask, Ask::Stop) {
                    return self.stop();
                }
                self.take(ask);
                taken += 1;
                next = if taken < BATCH_MAX { self.asked.next_now() } else { None };
            }
            self.tick();
            let until = Instant::now() + UNHEARD_MAX;
            is_done = self.turn();
            while !is_done && Instant::now() < until {
                is_done = self.turn();
            }
            if let Some(reason) = self.fatal.take() {
                self.outside.give_up(&reason);
                return self.stop();
            }
        }
    }

    /// How long nothing needs to be done.
    fn patience(&self) -> Duration {
        let tick = self.next_tick.saturating_duration_since(Instant::now());
        let now = self.clock.now().monotonic;
        let wake = self.manager.wake_at().map(|at| at.since(now));
        let feeds = self.closing_feeds.iter().map(|(at, _)| at.since(now)).min();
        let disk = self.disk_retry_at.map(|at| at.saturating_duration_since(Instant::now()));
        [wake, feeds, disk].into_iter().flatten().fold(tick, Duration::min)
    }

    fn tick(&mut self) {
        let interval = self.manager.tick_interval();
        let late = Instant::now();
        if late >= self.next_tick {
            self.manager.tick(self.clock.now());
            // After a long pause one tick is enough: many at once would look like silence of the others.
            self.next_tick = (self.next_tick + interval).max(late);
        }
        let now = self.clock.now();
        let due: Vec<_> = self.closing_feeds.extract_if(.., |(at, _)| *at <= now.monotonic).collect();
        for (_, stream) in due {
            if self.feeds.remove(stream).is_some() {
                self.manager.stream_closed(stream, false, false, now);
            }
        }
    }

    /// Performs what follows, writes included. Whether nothing did.
    fn turn(&mut self) -> bool {
        self.write();
        let effects = self.manager.turn(self.clock.now(), &mut self.rng);
        if effects.is_empty() {
            self.manager.prepare_reads(self.clock.now(), &mut self.rng);
            return true;
        }
        for effect in effects {
            match effect {
                Effect::Persist(persist) => self.unwritten.push(persist),
                Effect::Fatal(reason) => {
                    self.fatal = Some(reason);
                    return true;
                }
                other => self.perform(other),
            }
        }
        self.write();
        false
    }

    /// Writes what waits. A disk that takes nothing is tried again later; until then reads are answered, and whatever
    /// needs the disk is refused or waits.
    fn write(&mut self) {
        let Some(last) = self.unwritten.last().map(|write| write.number) else { return };
        if self.disk_retry_at.is_some_and(|at| at > Instant::now()) {
            return;
        }
        match self.outside.write(&self.unwritten) {
            Ok(()) => {
                if self.disk_retry_at.take().is_some() {
                    tracing::info!("the raft log can be written again");
                }
                self.unwritten.clear();
                self.manager.persisted(last);
            }
            Err(error) => {
                self.manager.persist_failed(&error.to_string());
                self.disk_retry_at = Some(Instant::now() + DISK_RETRY);
            }
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send(message) => self.outside.send(message),
            // Taken by the turn itself.
            Effect::Persist(_) | Effect::Fatal(_) => {}
            Effect::FetchLog(range) => {
                let entries = self.outside.fetch(range);
                self.manager.log_fetched(range.low, &entries);
            }
            Effect::Reply { request, result } => {
                let Some(reply) = self.replies.remove(&request) else { return };
                let goes_on = matches!(&result, Ok(Answer::Tasks { is_last: false, .. }));
                let heard = reply.send(result).is_ok();
                if !heard {
                    tracing::debug!("who asked has gone");
                }
                self.follow_list(request, heard && goes_on);
            }
            Effect::EncodeSnapshot(job) => self.outside.encode_snapshot(job),
            Effect::MoreTasks { request, tasks, is_last } => {
                let Some(list) = self.lists.get(&request) else { return };
                let taken = list.try_send(TaskPart { tasks, is_last }).is_ok();
                self.follow_list(request, taken && !is_last);
            }
            Effect::Dispatch(DispatchEffect::FetchSecret { fetch, request }) => {
                self.outside.fetch_secret(fetch, request);
            }
            Effect::Dispatch(effect) => {
                if let Some(stream) = self.feeds.perform(effect) {
                    self.feeds.remove(stream);
                    self.manager.stream_closed(stream, false, false, self.clock.now());
                }
            }
            Effect::MakeRoot(request) => self.outside.make_root(request),
            Effect::Inquire(number, inquiry) => self.outside.inquire(number, inquiry),
            Effect::Sign(signing) => self.outside.sign(signing, self.manager.facts()),
            Effect::Changed { events, .. } => self.changed(events),
            Effect::Replaced => self.refresh_board(),
            Effect::Members(members) => {
                self.outside.members(&members);
                self.refresh_board();
            }
            Effect::Pace(mode) => {
                tracing::info!(?mode, "the managers' pace");
                // The next tick is as far away as the new pace has it, not the old one.
                self.next_tick = Instant::now() + self.manager.tick_interval();
            }
            Effect::AskPace { member, address, applied } => self.outside.ask_pace(member, address, applied),
            Effect::Role(role) => {
                tracing::info!(term = role.term, leader = ?role.leader, leads = role.is_leader, "raft role");
                self.status.send_replace(self.manager.status());
            }
            Effect::Warn(message) => tracing::warn!("{message}"),
        }
    }

    /// A list that does not go on, or that nobody reads, is forgotten.
    fn follow_list(&mut self, request: RequestId, goes_on: bool) {
        if !goes_on && self.lists.remove(&request).is_some() {
            self.manager.end_list(request);
        }
    }

    fn changed(&mut self, events: Vec<Event>) {
        if events.iter().any(Board::concerns) {
            self.follow_board(&events);
        }
        if self.watchers.is_empty() {
            return;
        }
        let events = Arc::new(events);
        // A watcher that does not keep up is dropped; its reader sees the end of the stream and asks anew.
        self.watchers.retain(|watcher| watcher.try_send(Arc::clone(&events)).is_ok());
    }

    fn follow_board(&mut self, events: &[Event]) {
        let removed: BTreeSet<NodeId> = {
            let mut board = self.board.write().unwrap_or_else(PoisonError::into_inner);
            let before = board.blacklisted.clone();
            events.iter().for_each(|event| board.observe(event));
            board.look_at(self.manager.facts());
            board.blacklisted.difference(&before).cloned().collect()
        };
        // Who waits for something on the board looks again.
        self.status.send_replace(self.manager.status());
        if !removed.is_empty() {
            self.outside.disconnect(&removed);
        }
        if events.iter().any(|event| matches!(event.object, AnyObject::Cluster(_))) {
            self.follow_snapshot_policy();
        }
    }

    /// How often there is a snapshot is the core's business, how many stay is the disk's.
    fn follow_snapshot_policy(&mut self) {
        let cluster = self.manager.facts().cluster();
        let kept = cluster.and_then(|cluster| cluster.spec.raft.as_ref().map(|raft| raft.keep_old_snapshots));
        self.outside.keep_old_snapshots(kept.unwrap_or_default());
    }

    fn refresh_board(&mut self) {
        let board = Board::of(&self.manager);
        *self.board.write().unwrap_or_else(PoisonError::into_inner) = board;
        self.follow_snapshot_policy();
        self.status.send_replace(self.manager.status());
    }

    fn take(&mut self, ask: Ask) {
        let now = self.clock.now();
        match ask {
            Ask::Peer(..) if self.unwritten.len() >= UNWRITTEN_MAX => {}
            Ask::Peer(message) => {
                self.manager.heard_from(message.from);
                if let Err(refusal) = self.manager.peer_message(*message) {
                    tracing::debug!("{refusal}");
                }
            }
            Ask::Reachable(peer, reachable) => self.manager.peer_reachable(peer, reachable, now),
            Ask::SnapshotSent(peer, arrived) => self.manager.snapshot_sent(peer, arrived),
            Ask::Met(node, make) => self.manager.met(node, make),
            Ask::PaceAnswered(member, mode) => self.manager.pace_answered(member, mode),
            Ask::PeerLost(peer) => self.manager.peer_connection_lost(peer, now),
            Ask::Request(request, reply) => self.request(request, reply, now),
            Ask::List(filters, applied, others, reply) => {
                let id = self.number(reply);
                self.lists.insert(id, others);
                match applied {
                    Some(applied) => self.manager.list_tasks_at(id, filters, applied),
                    None => self.manager.list_tasks(id, filters),
                }
            }
            Ask::Session(caller, connection, request, sender, reply) => {
                let stream = self.feeds.fresh();
                let result = self.manager.register(&caller, request, stream, now, &mut self.rng);
                if result.is_ok() {
                    let watch = self.watch_feed(stream, &sender);
                    self.feeds.add_session(stream, caller.node, connection, sender, watch);
                }
                answer(reply, result.map(drop));
            }
            Ask::Heartbeat(caller, request, reply) => {
                answer(reply, self.manager.heartbeat(&caller, &request, now, &mut self.rng));
            }
            Ask::TaskStatus(caller, request, reply) => {
                answer(reply, self.manager.update_task_status(&caller, request, now).map(drop));
            }
            Ask::Assignments(caller, connection, request, sender, reply) => {
                let stream = self.feeds.fresh();
                let result = self.manager.open_assignments(&caller, &request, stream);
                if result.is_ok() {
                    let watch = self.watch_feed(stream, &sender);
                    self.feeds.add_assignments(stream, caller.node, connection, sender, watch);
                }
                answer(reply, result);
            }
            Ask::Leave(caller, request, reply) => answer(reply, self.manager.leave(&caller, &request, now).map(drop)),
            Ask::FeedClosed(stream) => self.closing_feeds.push((now.monotonic.after(FEED_CLOSED_GRACE), stream)),
            Ask::ConnectionClosed(connection, ending) => self.connection_closed(&connection, ending, now),
            Ask::SnapshotEncoded(point, encoded) => {
                let data = encoded.map(|(data, prepared)| {
                    if let Some(prepared) = prepared {
                        self.outside.snapshot_prepared(prepared);
                    }
                    data
                });
                self.manager.snapshot_encoded(point, data);
            }
            Ask::Signed(signing, result) => self.manager.signed(&signing, result, now, &mut self.rng),
            Ask::RootMade(request, made) => self.manager.root_made(&request, made, now, &mut self.rng),
            Ask::Inquired(number, finding) => self.manager.inquired(number, finding, now, &mut self.rng),
            Ask::SecretFetched(fetch, result) => self.manager.secret_fetched(fetch, result, now),
            Ask::SignOwn(csr, reply) => {
                self.outside.sign_own(csr, self.manager.member().node_id.clone(), self.manager.facts(), reply);
            }
            Ask::RotateKey(key, reply) => answer(reply, self.rotate_key(&key)),
            Ask::Watch(watcher) => self.watchers.push(watcher),
            Ask::HandOver(reply) => {
                let handing = self.manager.hand_over();
                if reply.send(handing).is_err() {
                    tracing::debug!("who asked for a handover has gone");
                }
            }
            Ask::Stop => {}
        }
    }

    fn number(&mut self, reply: Reply<Answer>) -> RequestId {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        self.replies.insert(id, reply);
        id
    }

    fn request(&mut self, request: Request, reply: Reply<Answer>, now: Now) {
        let id = self.number(reply);
        match request {
            Request::Control(command) => self.manager.control(id, command, now, &mut self.rng),
            Request::ReadPoint => self.manager.read_point(id),
            Request::Join(node, address) => self.manager.join_raft(id, node, address, now, &mut self.rng),
            Request::Pace(applied) => self.manager.asked_for_pace(id, applied),
            Request::Leave(node) => self.manager.leave_raft(id, node, &mut self.rng),
            Request::Issue(caller, make, request) => {
                self.manager.issue_certificate(id, caller.as_ref(), make, &request, now, &mut self.rng);
            }
            Request::CertificateStatus(request) => self.manager.certificate_status(id, request),
        }
    }

    fn connection_closed(
        &mut self,
        connection: &skep_rpc::backend::ConnectionId,
        ending: skep_rpc::backend::Ending,
        now: Now,
    ) {
        let reset = ending == skep_rpc::backend::Ending::Reset;
        let gone: Vec<_> = self.feeds.remove_connection(connection);
        let closed: BTreeSet<_> = gone.iter().map(|(stream, _)| *stream).collect();
        self.closing_feeds.retain(|(_, stream)| !closed.contains(stream));
        for (stream, node) in gone {
            self.manager.stream_closed(stream, reset, self.outside.is_skep(&node), now);
        }
    }

    fn rotate_key(&mut self, key: &DataKey) -> Result<(), Refusal> {
        if !self.unwritten.is_empty() {
            return Err(Refusal::new(Code::Unavailable, "the raft log cannot be written now"));
        }
        self.outside.rotate_key(key).map_err(|error| Refusal::new(Code::Internal, error.to_string()))
    }

    /// Tells the loop when the transport drops a stream's receiver.
    fn watch_feed<T: Send + 'static>(
        &self,
        stream: skep_manager::StreamId,
        sender: &mpsc::Sender<T>,
    ) -> Option<tokio::task::AbortHandle> {
        let sender = sender.clone();
        self.outside.spawn_feed_watch(stream, async move { sender.closed().await })
    }

    fn stop(mut self) {
        // Who waits hears that the manager stops: their senders are dropped with the loop.
        self.replies.clear();
        self.lists.clear();
        self.outside.close();
    }
}

pub(super) fn answer<T>(reply: Reply<T>, result: Result<T, Refusal>) {
    if reply.send(result).is_err() {
        tracing::debug!("who asked has gone");
    }
}
