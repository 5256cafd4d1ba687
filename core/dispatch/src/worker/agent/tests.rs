use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use skep_model::pb::messages::{HeartbeatResponse, SessionMessage};
use skep_model::pb::objects as pb;
use skep_model::pb::types::WeightedPeer;
use skep_model::time::proto_duration;
use skep_model::{Code, Kept};

use super::*;
use crate::testing::{description, task_id};

struct Bench {
    agent: Agent,
    now: Time,
    rng: ChaCha8Rng,
    news: Vec<News>,
}

fn peer(addr: &str) -> Peer {
    Peer { node_id: String::new(), addr: addr.to_owned() }
}

impl Bench {
    fn new(managers: &[&str]) -> Self {
        let remotes = managers.iter().map(|addr| peer(addr)).collect();
        let agent = Agent::new(remotes, description("a"), "root".into());
        Self { agent, now: Time(1_000_000), rng: ChaCha8Rng::seed_from_u64(3), news: Vec::new() }
    }

    fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        let news = self.agent.step(self.now, &mut self.rng, input, &mut effects);
        self.news.extend(news);
        self.agent.send_reports(self.now, &mut effects);
        effects
    }

    fn wait(&mut self) -> Vec<Effect> {
        self.now = self.agent.wake_at().expect("something to wait for").max(self.now);
        self.step(Input::Tick)
    }

    fn attempt(&self) -> Attempt {
        self.agent.attempt
    }

    fn fail(&mut self, code: Code) -> Vec<Effect> {
        self.step(Input::Failed { attempt: self.attempt(), refusal: Refusal::new(code, "over") })
    }

    fn message(&mut self, message: SessionMessage) -> Vec<Effect> {
        self.step(Input::Session { attempt: self.attempt(), message: Box::new(message) })
    }

    /// Opens a session with whichever manager is chosen.
    fn open(&mut self) -> Vec<Effect> {
        let effects = self.step(Input::Tick);
        assert!(opened(&effects).is_some(), "{effects:?}");
        self.message(session("s1"))
    }

    fn assignments(&mut self, opening: u64, applies_to: &str, results_in: &str) -> Vec<Effect> {
        let message = AssignmentsMessage {
            applies_to: applies_to.to_owned(),
            results_in: results_in.to_owned(),
            ..AssignmentsMessage::default()
        };
        self.step(Input::Assignments { attempt: self.attempt(), opening: Opening(opening), message })
    }
}

fn session(id: &str) -> SessionMessage {
    SessionMessage { session_id: id.to_owned(), ..SessionMessage::default() }
}

/// Address and quoted session of the session that is opened.
fn opened(effects: &[Effect]) -> Option<(String, String)> {
    effects.iter().find_map(|effect| match effect {
        Effect::OpenSession { peer, request, .. } => Some((peer.addr.clone(), request.session_id.clone())),
        _ => None,
    })
}

fn has(effects: &[Effect], wanted: fn(&Effect) -> bool) -> bool {
    effects.iter().any(wanted)
}

#[test]
fn a_first_message_opens_assignments_and_starts_heartbeats() {
    let mut bench = Bench::new(&["m1:2377"]);
    let effects = bench.open();
    assert!(has(
        &effects,
        |effect| matches!(effect, Effect::OpenAssignments { request, .. } if request.session_id == "s1")
    ));
    assert!(has(&effects, |effect| matches!(effect, Effect::Heartbeat { request, .. } if request.session_id == "s1")));
    assert!(matches!(bench.news.as_slice(), [News::Registered]));
    let period = Duration::from_millis(4700);
    let response = HeartbeatResponse { period: Some(proto_duration(period)) };
    bench.step(Input::HeartbeatReply { attempt: bench.attempt(), response });
    assert_eq!(bench.agent.wake_at(), Some(bench.now.after(period)));
    let effects = bench.wait();
    assert!(has(&effects, |effect| matches!(effect, Effect::Heartbeat { .. })));
}

#[test]
fn another_manager_at_once_and_a_growing_pause_when_all_fail() {
    let mut bench = Bench::new(&["m1:2377", "m2:2377", "m3:2377"]);
    let mut tried = vec![opened(&bench.step(Input::Tick)).expect("a session").0];
    for _ in 0..2 {
        let effects = bench.fail(Code::Unavailable);
        assert!(matches!(effects[0], Effect::CloseSession { .. }));
        tried.push(opened(&effects).expect("another at once").0);
    }
    assert_ne!(tried[0], tried[1]);
    assert_ne!(tried[1], tried[2]);
    let mut last = Duration::ZERO;
    for round in 0..12 {
        let effects = bench.fail(Code::Unavailable);
        assert_eq!(opened(&effects), None, "round {round}");
        let pause = bench.agent.wake_at().expect("a time").since(bench.now);
        let longest = backoff(round);
        assert!(pause > longest / 2 && pause <= longest, "{round}: {pause:?} of {longest:?}");
        last = last.max(longest);
        assert!(opened(&bench.wait()).is_some());
    }
    assert_eq!(last, BACKOFF_MAX);
    bench.message(session("s"));
    assert!(opened(&bench.fail(Code::Unavailable)).is_none(), "a session that breaks at once is no better");
    bench.wait();
    bench.message(session("s"));
    bench.now = bench.now.after(STEADY);
    assert!(opened(&bench.fail(Code::Unavailable)).is_some(), "one that lasted starts the count anew");
}

#[test]
fn silence_of_a_manager_is_a_failure() {
    let mut bench = Bench::new(&["m1:2377", "m2:2377"]);
    bench.step(Input::Tick);
    assert!(opened(&bench.wait()).is_some(), "no first message in time");

    let mut bench = Bench::new(&["m1:2377", "m2:2377"]);
    bench.open();
    let start = bench.now;
    assert!(opened(&bench.wait()).is_some(), "no answer to a heartbeat in time");
    assert_eq!(bench.now, start.after(CALL_TIMEOUT));

    let mut bench = Bench::new(&["m1:2377", "m2:2377"]);
    bench.open();
    let response = HeartbeatResponse { period: Some(proto_duration(Duration::from_secs(60))) };
    bench.step(Input::HeartbeatReply { attempt: bench.attempt(), response });
    bench.agent.report(task_id("t"), TaskStatus::default());
    bench.step(Input::Tick);
    assert!(opened(&bench.wait()).is_some(), "statuses not taken in time");
}

#[test]
fn what_belongs_to_an_earlier_session_is_ignored() {
    let mut bench = Bench::new(&["m1:2377", "m2:2377"]);
    bench.open();
    let old = bench.attempt();
    bench.fail(Code::Unavailable);
    bench.news.clear();
    let late = [
        Input::Session { attempt: old, message: Box::new(session("s2")) },
        Input::Failed { attempt: old, refusal: Refusal::invalid("late") },
        Input::StatusReply { attempt: old },
        Input::HeartbeatReply { attempt: old, response: HeartbeatResponse::default() },
    ];
    for input in late {
        assert_eq!(bench.step(input), []);
    }
    assert!(bench.news.is_empty());
}

#[test]
fn the_session_is_quoted_until_a_manager_does_not_know_it() {
    let mut bench = Bench::new(&["m1:2377", "m2:2377"]);
    bench.open();
    bench.now = bench.now.after(STEADY);
    assert_eq!(opened(&bench.fail(Code::Unavailable)).expect("a session").1, "s1");
    bench.message(session("s1"));
    bench.now = bench.now.after(STEADY);
    assert_eq!(opened(&bench.fail(Code::NotFound)).expect("a session").1, "");
}

#[test]
fn a_gap_in_the_assignments_opens_them_again() {
    let mut bench = Bench::new(&["m1:2377"]);
    bench.open();
    bench.assignments(1, "", "1");
    bench.assignments(1, "1", "2");
    bench.news.clear();
    let effects = bench.assignments(1, "3", "4");
    assert!(has(&effects, |effect| matches!(effect, Effect::OpenAssignments { opening: Opening(2), .. })));
    bench.assignments(1, "4", "5");
    assert!(bench.news.is_empty(), "the old stream counts no more");
    bench.assignments(2, "", "1");
    assert!(matches!(bench.news.as_slice(), [News::Assignments(_)]));
}

#[test]
fn what_session_messages_change_is_told_once() {
    let mut bench = Bench::new(&["m1:2377"]);
    bench.step(Input::Tick);
    let manager = WeightedPeer { peer: Some(peer("m2:2377")), weight: 10 };
    let body = pb::Node { id: "a".to_owned(), ..pb::Node::default() };
    let message = SessionMessage {
        session_id: "s".to_owned(),
        node: Some(Kept::new(body.clone())),
        managers: vec![manager],
        network_bootstrap_keys: vec![EncryptionKey::default()],
        root_ca: "new root".into(),
    };
    let effects = bench.message(message.clone());
    let wanted: [fn(&Effect) -> bool; 4] = [
        |effect| matches!(effect, Effect::SaveRemotes(peers) if *peers == [peer("m2:2377")]),
        |effect| matches!(effect, Effect::RootChanged(root) if root == "new root"),
        |effect| matches!(effect, Effect::NodeChanged(_)),
        |effect| matches!(effect, Effect::NetworkKeys(_)),
    ];
    for wanted in wanted {
        assert!(has(&effects, wanted), "{effects:?}");
    }
    assert_eq!(bench.message(message.clone()), []);
    // Only its own status and the version changed: nothing that the node would act on.
    let status = skep_model::pb::types::NodeStatus { state: 2, ..Default::default() };
    let meta = pb::Meta { version: Some(skep_model::objects::version(9)), ..pb::Meta::default() };
    let later = pb::Node { status: Some(status), meta: Some(meta), ..body };
    assert_eq!(bench.message(SessionMessage { node: Some(Kept::new(later.clone())), ..message.clone() }), []);
    let promoted = pb::Node { role: 1, ..later };
    let effects = bench.message(SessionMessage { node: Some(Kept::new(promoted)), ..message });
    assert!(has(&effects, |effect| matches!(effect, Effect::NodeChanged(node) if node.role as i32 == 1)));
}

#[test]
fn a_new_description_comes_back_to_the_same_manager_and_session() {
    let mut bench = Bench::new(&["m1:2377", "m2:2377", "m3:2377"]);
    let first = opened(&bench.step(Input::Tick)).expect("a session").0;
    bench.message(session("s1"));
    assert_eq!(bench.step(Input::Described(description("a"))), [], "nothing new");
    let effects = bench.step(Input::Described(description("renamed")));
    assert!(matches!(effects[0], Effect::CloseSession { .. }));
    assert_eq!(opened(&effects), Some((first, "s1".to_owned())));
}

#[test]
fn a_session_that_is_passed_on_moves_to_the_leader_once() {
    let listed = |id: &str, weight| WeightedPeer {
        peer: Some(Peer { node_id: id.to_owned(), addr: format!("{id}:2377") }),
        weight,
    };
    let message = |leader: &str| SessionMessage {
        managers: ["m1", "m2", "m3"].map(|id| listed(id, if id == leader { 20 } else { 10 })).into(),
        ..session("s1")
    };
    let mut bench = Bench::new(&["m1:2377"]);
    bench.step(Input::Tick);
    assert_eq!(opened(&bench.message(message("none"))), None, "nobody says who leads");
    assert_eq!(opened(&bench.message(message("m1"))), None, "we are there");
    assert_eq!(opened(&bench.message(message("m2"))), Some(("m2:2377".to_owned(), "s1".to_owned())));
    let next = opened(&bench.fail(Code::Unavailable)).expect("another manager").0;
    assert_ne!(next, "m2:2377");
    let effects = bench.message(message("m2"));
    assert_eq!(opened(&effects), None, "it could not be reached a moment ago");
    bench.now = bench.now.after(MOVE_PAUSE);
    assert_eq!(opened(&bench.message(message("m2"))), Some(("m2:2377".to_owned(), "s1".to_owned())));
    let third = if next == "m1:2377" { "m3" } else { "m1" };
    bench.message(message("m2"));
    assert_eq!(opened(&bench.message(message(third))).map(|(addr, _)| addr), Some(format!("{third}:2377")));
}

#[test]
fn statuses_go_one_call_at_a_time_and_are_kept_until_answered() {
    let sent = |effects: &[Effect]| -> Vec<(String, i32)> {
        let request = effects.iter().find_map(|effect| match effect {
            Effect::SendStatus { request, .. } => Some(request.clone()),
            _ => None,
        });
        let update = |update: TaskStatusUpdate| (update.task_id, update.status.unwrap_or_default().state);
        request.map(|request| request.updates.into_iter().map(update).collect()).unwrap_or_default()
    };
    let status = |state| TaskStatus { state, ..TaskStatus::default() };
    let mut bench = Bench::new(&["m1:2377", "m2:2377"]);
    bench.agent.report(task_id("t"), status(256));
    bench.agent.report(task_id("t"), status(320));
    assert_eq!(sent(&bench.open()), [("t".to_owned(), 320)], "only the latest");
    bench.agent.report(task_id("u"), status(320));
    assert_eq!(sent(&bench.step(Input::Tick)), [], "one call at a time");
    let effects = bench.step(Input::StatusReply { attempt: bench.attempt() });
    assert_eq!(sent(&effects), [("u".to_owned(), 320)]);
    bench.fail(Code::Unavailable);
    assert_eq!(sent(&bench.message(session("s2"))), [("u".to_owned(), 320)], "not answered, so told again");
}

#[test]
fn who_left_stays_away() {
    let mut bench = Bench::new(&["m1:2377"]);
    bench.open();
    assert!(bench.agent.session().is_some());
    let effects = bench.step(Input::Leave);
    assert!(matches!(effects.as_slice(), [Effect::CloseSession { .. }]));
    assert_eq!(bench.agent.wake_at(), None);
    assert_eq!(bench.step(Input::Tick), []);
    assert!(bench.agent.session().is_none());
}
