use std::time::Duration;

use skep_model::pb::messages::assignment::Item;
use skep_model::pb::messages::assignment_change::AssignmentAction;
use skep_model::pb::messages::{Assignment, AssignmentChange};
use skep_model::pb::types::task_status::RuntimeStatus;
use skep_model::pb::types::{ContainerStatus, PortConfig, PortStatus, TaskState as S};
use skep_model::{Kept, WallTime};

use super::*;
use crate::testing::{config, secret, task, task_id, task_with};

/// A machine whose verbs the test answers.
struct Bench {
    machine: TaskMachine,
    now: Now,
    /// Verbs on their way.
    runs: Vec<Run>,
    /// Everything else that was asked for, in words.
    said: Vec<String>,
    reports: BTreeMap<TaskId, TaskStatus>,
}

impl Bench {
    fn new(tasks: Vec<Task>) -> Self {
        let now = Now { monotonic: Time(1), wall: WallTime(1_000_000_000) };
        let machine = TaskMachine::new(tasks);
        let mut bench = Self { machine, now, runs: Vec::new(), said: Vec::new(), reports: BTreeMap::new() };
        bench.drive();
        bench
    }

    fn drive(&mut self) {
        let mut effects = Vec::new();
        self.machine.drive(self.now, &mut effects);
        self.reports.extend(self.machine.take_reports());
        for effect in effects {
            match effect {
                Effect::Run(run) => self.runs.push(run),
                Effect::Cancel { task, run } => self.said.push(format!("cancel {task} {}", run.0)),
                Effect::Persist(task) => self.said.push(format!("persist {} {:?}", task.id, task.state())),
                Effect::Forget(task) => self.said.push(format!("forget {task}")),
                other => panic!("the machine asks for {other:?}"),
            }
        }
    }

    fn assign(&mut self, items: Vec<Item>, removed: Vec<Item>, whole: bool) {
        let change = |item, action: AssignmentAction| AssignmentChange {
            assignment: Some(Assignment { item: Some(item) }),
            action: action.into(),
        };
        let updates = items.into_iter().map(|item| change(item, AssignmentAction::Update));
        let removals = removed.into_iter().map(|item| change(item, AssignmentAction::Remove));
        self.machine.assign(self.now, updates.chain(removals).collect(), whole);
        self.drive();
    }

    fn put(&mut self, task: &Task) {
        self.assign(vec![item(task)], Vec::new(), false);
    }

    /// Answers the only verb that is on its way.
    fn answer(&mut self, verb: Verb, outcome: Outcome) -> Run {
        assert_eq!(self.runs.len(), 1, "{:?}", self.runs);
        let run = self.runs.remove(0);
        assert_eq!(run.verb, verb);
        self.machine.verb_done(self.now, &run.task, run.run, outcome);
        self.drive();
        run
    }

    fn done(&mut self, verb: Verb) -> Run {
        self.answer(verb, Outcome::done())
    }

    fn status(&self, id: &str) -> &TaskStatus {
        &self.machine.tasks[&task_id(id)].task.status
    }

    fn state(&self, id: &str) -> S {
        self.status(id).state()
    }

    /// Brings an assigned task to RUNNING, with `Wait` on its way.
    fn running(id: &str) -> Self {
        let mut bench = Self::new(Vec::new());
        bench.put(&task(id, "a", S::Assigned));
        bench.done(Verb::Prepare);
        bench.done(Verb::Start);
        bench
    }
}

fn item(task: &Task) -> Item {
    Item::Task(Kept::from(task))
}

fn wanted(mut task: Task, desired: S) -> Task {
    task.desired_state = desired;
    task
}

#[test]
fn a_task_lives_and_ends() {
    let mut bench = Bench::new(Vec::new());
    bench.put(&task("t", "a", S::Assigned));
    assert_eq!((bench.state("t"), bench.status("t").message.as_str()), (S::Preparing, "preparing"));
    assert_eq!(bench.said, ["persist t Preparing"], "written before the verb runs");
    bench.done(Verb::Prepare);
    assert_eq!((bench.state("t"), bench.status("t").message.as_str()), (S::Starting, "starting"));
    bench.done(Verb::Start);
    assert_eq!((bench.state("t"), bench.status("t").message.as_str()), (S::Running, "started"));
    bench.done(Verb::Wait);
    assert_eq!((bench.state("t"), bench.status("t").message.as_str()), (S::Complete, "finished"));
    assert!(bench.runs.is_empty());
    assert_eq!(bench.reports[&task_id("t")], *bench.status("t"));
    assert_eq!(bench.status("t").timestamp, Some(WallTime(1_000_000_000).into()));
}

#[test]
fn ready_waits_for_running_to_be_wanted() {
    let mut bench = Bench::new(Vec::new());
    bench.put(&wanted(task("t", "a", S::Assigned), S::Ready));
    bench.done(Verb::Prepare);
    assert_eq!((bench.state("t"), bench.status("t").message.as_str()), (S::Ready, "prepared"));
    assert!(bench.runs.is_empty());
    bench.put(&task("t", "a", S::Assigned));
    assert_eq!(bench.runs[0].verb, Verb::Start);
}

#[test]
fn failure_before_the_start_rejects_and_after_it_fails() {
    let mut bench = Bench::new(Vec::new());
    bench.put(&task("t", "a", S::Assigned));
    bench.answer(Verb::Prepare, Outcome::failed("No such image: web"));
    assert_eq!((bench.state("t"), bench.status("t").err.as_str()), (S::Rejected, "No such image: web"));
    assert!(bench.runs.is_empty());

    let mut bench = Bench::running("t");
    let container = ContainerStatus { container_id: "c".to_owned(), pid: 9, exit_code: 0 };
    bench.answer(Verb::Wait, Outcome::exited(7, Observed { container: Some(container), ports: None }));
    assert_eq!((bench.state("t"), bench.status("t").err.as_str()), (S::Failed, "task: non-zero exit (7)"));
    let Some(RuntimeStatus::Container(container)) = &bench.status("t").runtime_status else { panic!("no container") };
    assert_eq!((container.container_id.as_str(), container.exit_code), ("c", 7));
}

#[test]
fn container_and_ports_are_told_from_the_start_on() {
    let mut bench = Bench::new(Vec::new());
    bench.put(&task("t", "a", S::Assigned));
    bench.done(Verb::Prepare);
    let container = ContainerStatus { container_id: "c".to_owned(), pid: 9, exit_code: 0 };
    let ports = PortStatus { ports: vec![PortConfig { published_port: 80, ..PortConfig::default() }] };
    let observed = Observed { container: Some(container.clone()), ports: Some(ports.clone()) };
    bench.answer(Verb::Start, Outcome::Done(observed));
    assert_eq!(bench.status("t").runtime_status, Some(RuntimeStatus::Container(container)));
    assert_eq!(bench.status("t").port_status, Some(ports));
}

#[test]
fn a_temporary_failure_is_told_and_tried_again() {
    let mut bench = Bench::new(Vec::new());
    bench.put(&task("t", "a", S::Assigned));
    let fault = Fault { temporary: true, message: "registry is busy".to_owned(), exit_code: None };
    bench.answer(Verb::Prepare, Outcome::Failed { fault, observed: Observed::default() });
    assert_eq!((bench.state("t"), bench.status("t").err.as_str()), (S::Preparing, "registry is busy"));
    assert!(bench.runs.is_empty());
    let at = bench.machine.wake_at().expect("a time");
    assert_eq!(at, bench.now.monotonic.after(RETRY_DELAY));
    bench.now.monotonic = at;
    bench.drive();
    bench.done(Verb::Prepare);
    assert_eq!(bench.status("t").err, "");
    assert_eq!(bench.machine.wake_at(), None);
}

#[test]
fn shutdown_cancels_what_is_in_its_way() {
    for prepared in [false, true] {
        let mut bench = Bench::new(Vec::new());
        bench.put(&task("t", "a", S::Assigned));
        if prepared {
            bench.done(Verb::Prepare);
        }
        bench.said.clear();
        bench.put(&wanted(task("t", "a", S::Assigned), S::Shutdown));
        let verb = if prepared { Verb::Start } else { Verb::Prepare };
        let run = bench.runs[0].run.0;
        assert!(bench.said.contains(&format!("cancel t {run}")), "{:?}", bench.said);
        bench.drive();
        assert_eq!(bench.runs.len(), 1, "one verb at a time, cancelled once");
        bench.answer(verb, Outcome::Cancelled);
        bench.done(Verb::Shutdown);
        assert_eq!((bench.state("t"), bench.status("t").message.as_str()), (S::Shutdown, "shutdown"));
    }
}

#[test]
fn a_task_that_ended_before_it_was_told_to_shut_down_stays_as_it_ended() {
    let mut bench = Bench::running("t");
    bench.put(&wanted(task("t", "a", S::Assigned), S::Shutdown));
    bench.answer(Verb::Wait, Outcome::exited(1, Observed::default()));
    assert_eq!(bench.state("t"), S::Failed);
    assert!(bench.runs.is_empty());
}

#[test]
fn what_was_never_prepared_shuts_down_without_a_verb() {
    let mut bench = Bench::new(Vec::new());
    bench.put(&wanted(task("t", "a", S::Assigned), S::Shutdown));
    assert_eq!(bench.state("t"), S::Shutdown);
    assert!(bench.runs.is_empty());
}

#[test]
fn a_lower_desired_state_is_an_old_one() {
    let mut bench = Bench::running("t");
    bench.put(&wanted(task("t", "a", S::Assigned), S::Ready));
    assert_eq!(bench.machine.tasks[&task_id("t")].task.desired_state, S::Running);
    assert_eq!(bench.runs[0].verb, Verb::Wait);
}

#[test]
fn our_status_wins_over_the_managers() {
    let mut bench = Bench::running("t");
    bench.put(&wanted(task("t", "a", S::Failed), S::Running));
    assert_eq!(bench.state("t"), S::Running);
}

#[test]
fn a_removed_task_is_ended_deleted_and_forgotten() {
    let mut bench = Bench::running("t");
    bench.said.clear();
    bench.assign(Vec::new(), vec![item(&task("t", "a", S::Assigned))], false);
    bench.answer(Verb::Wait, Outcome::Cancelled);
    bench.done(Verb::Shutdown);
    bench.answer(Verb::Remove, Outcome::failed("busy"));
    assert!(bench.runs.is_empty());
    bench.now.monotonic = bench.machine.wake_at().expect("a time");
    bench.drive();
    bench.done(Verb::Remove);
    assert_eq!(bench.said.last().map(String::as_str), Some("forget t"));
    assert_eq!(bench.machine.tasks().count(), 0);
}

#[test]
fn what_does_not_shut_down_is_terminated() {
    let mut bench = Bench::running("t");
    bench.machine.remove_all();
    bench.drive();
    bench.answer(Verb::Wait, Outcome::Cancelled);
    bench.answer(Verb::Shutdown, Outcome::failed("does not listen"));
    bench.answer(Verb::Terminate, Outcome::failed("nor obey"));
    bench.done(Verb::Remove);
    assert_eq!(bench.machine.tasks().count(), 0);
}

#[test]
fn a_whole_set_removes_what_it_does_not_list() {
    let mut bench = Bench::running("t");
    bench.runs.clear();
    bench.assign(vec![item(&wanted(task("u", "a", S::Assigned), S::Running))], Vec::new(), true);
    assert!(bench.said.iter().any(|said| said.starts_with("cancel t")));
    assert_eq!(bench.runs.iter().map(|run| run.task.as_str()).collect::<Vec<_>>(), ["u"]);
}

#[test]
fn a_task_assigned_again_while_it_is_removed_starts_anew() {
    let mut bench = Bench::running("t");
    bench.assign(Vec::new(), Vec::new(), true);
    bench.put(&task("t", "a", S::Assigned));
    bench.answer(Verb::Wait, Outcome::Cancelled);
    bench.done(Verb::Shutdown);
    bench.done(Verb::Remove);
    assert_eq!(bench.runs[0].verb, Verb::Prepare);
}

#[test]
fn a_restart_goes_on_where_it_was() {
    for (state, verb) in [
        (S::Accepted, Some(Verb::Prepare)),
        (S::Preparing, Some(Verb::Prepare)),
        (S::Starting, Some(Verb::Start)),
        (S::Running, Some(Verb::Wait)),
        (S::Complete, None),
    ] {
        let bench = Bench::new(vec![task("t", "a", state)]);
        assert_eq!(bench.runs.first().map(|run| run.verb), verb, "{state:?}");
    }
    let mut bench = Bench::new(vec![task("t", "a", S::Running), task("u", "a", S::Failed)]);
    bench.machine.report_all();
    assert_eq!(bench.machine.take_reports().len(), 2);
    // The manager's view of the status is older than ours.
    bench.put(&task("u", "a", S::Running));
    assert_eq!(bench.state("u"), S::Failed);
}

#[test]
fn after_a_restart_secrets_have_to_come_first() {
    let needy = task_with("t", "a", S::Preparing, &["s"], &["c"]);
    let mut bench = Bench::new(vec![needy.clone()]);
    assert!(bench.runs.is_empty(), "they are not kept on disk");
    let items = vec![Item::Secret(Kept::from(&secret("s"))), Item::Config(Kept::from(&config("c"))), item(&needy)];
    bench.assign(items, Vec::new(), true);
    let run = bench.done(Verb::Prepare);
    assert_eq!(run.dependencies.secrets[0].id.as_str(), "s");
    assert_eq!(run.dependencies.configs[0].id.as_str(), "c");
}

#[test]
fn a_value_that_is_for_one_task_alone_goes_to_that_task() {
    let mut bench = Bench::new(Vec::new());
    let with = |id: &str, data: &'static str| {
        let mut secret = secret(id);
        secret.spec = secret.spec.edit(|spec| spec.data = data.into());
        Item::Secret(Kept::from(&secret))
    };
    let tasks = ["t1", "t2"].map(|id| item(&task_with(id, "a", S::Assigned, &["s"], &[])));
    let items = [with("s", "everybody's"), with("s.t2", "its own")].into_iter().chain(tasks).collect();
    bench.assign(items, Vec::new(), true);
    let given: Vec<_> = bench
        .runs
        .iter()
        .map(|run| (run.task.as_str(), &run.dependencies.secrets[0]))
        .map(|(task, secret)| (task, secret.id.as_str(), secret.spec.data.clone()))
        .collect();
    assert_eq!(given, [("t1", "s", "everybody's".into()), ("t2", "s", "its own".into())]);
}

#[test]
fn a_secret_that_does_not_exist_rejects_the_task() {
    let mut bench = Bench::new(Vec::new());
    bench.assign(vec![item(&task_with("t", "a", S::Assigned, &["s"], &[]))], Vec::new(), true);
    assert_eq!(bench.state("t"), S::Rejected);
    assert!(bench.status("t").err.contains("secret"), "{}", bench.status("t").err);
}

#[test]
fn a_changed_definition_is_given_to_the_controller() {
    let mut bench = Bench::running("t");
    let mut changed = task("t", "a", S::Assigned);
    changed.service_annotations.edit().labels.insert("colour".to_owned(), "red".to_owned());
    bench.put(&changed);
    bench.answer(Verb::Wait, Outcome::Cancelled);
    let run = bench.done(Verb::Update);
    assert_eq!(run.snapshot.service_annotations, changed.service_annotations);
    assert_eq!(bench.runs[0].verb, Verb::Wait);
}

#[test]
fn answers_to_earlier_runs_are_ignored() {
    let mut bench = Bench::running("t");
    let run = bench.runs[0].run;
    bench.machine.verb_done(bench.now, &task_id("t"), RunId(run.0 - 1), Outcome::done());
    bench.machine.verb_done(bench.now, &task_id("other"), run, Outcome::done());
    bench.drive();
    assert_eq!(bench.state("t"), S::Running);
}

#[test]
fn tasks_run_side_by_side() {
    let mut bench = Bench::new(Vec::new());
    let tasks = ["t", "u", "v"].map(|id| item(&task(id, "a", S::Assigned)));
    bench.assign(tasks.into(), Vec::new(), true);
    assert_eq!(bench.runs.len(), 3);
    bench.now.monotonic = bench.now.monotonic.after(Duration::from_secs(1));
    bench.drive();
    assert_eq!(bench.runs.len(), 3, "one verb per task");
}

fn live(id: &str, data: &'static str) -> Item {
    let mut secret = secret(id);
    secret.spec = secret.spec.edit(|spec| {
        spec.data = data.into();
        let labels = &mut spec.annotations.get_or_insert_default().labels;
        labels.insert(skep_model::labels::RELOAD.to_owned(), "live".to_owned());
    });
    Item::Secret(Kept::from(&secret))
}

/// A machine with a task that runs and has the secret `s`, live or not.
fn running_with(secret: Item) -> Bench {
    let mut bench = Bench::new(Vec::new());
    bench.assign(vec![secret, item(&task_with("t", "a", S::Assigned, &["s"], &[]))], Vec::new(), true);
    bench.done(Verb::Prepare);
    bench.done(Verb::Start);
    bench
}

#[test]
fn live_data_is_given_to_the_controller_and_no_change_is_lost() {
    let mut bench = running_with(live("s", "one"));
    bench.assign(vec![live("s", "two")], Vec::new(), false);
    bench.answer(Verb::Wait, Outcome::Cancelled);
    assert_eq!(bench.runs[0].dependencies.secrets[0].spec.data, "two");
    // Once more while the controller is at it.
    bench.assign(vec![live("s", "three")], Vec::new(), false);
    bench.done(Verb::Update);
    let run = bench.done(Verb::Update);
    assert_eq!(run.dependencies.secrets[0].spec.data, "three");
    assert_eq!(bench.runs[0].verb, Verb::Wait);
    // A whole set with the same data changes nothing.
    bench.assign(vec![live("s", "three"), item(&task_with("t", "a", S::Assigned, &["s"], &[]))], Vec::new(), true);
    assert_eq!(bench.runs[0].verb, Verb::Wait);
    assert!(!bench.machine.tasks[&task_id("t")].updated);
}

#[test]
fn after_a_restart_the_runtime_compares() {
    let mut task = task_with("t", "a", S::Assigned, &["s"], &[]);
    task.status.set_state(S::Running);
    let mut bench = Bench::new(vec![task.clone()]);
    bench.assign(vec![live("s", "one"), item(&task)], Vec::new(), true);
    bench.answer(Verb::Wait, Outcome::Cancelled);
    bench.done(Verb::Update);
    assert_eq!((bench.runs[0].verb, bench.state("t")), (Verb::Wait, S::Running));
}

#[test]
fn data_without_the_label_stays_as_the_task_got_it() {
    let plain = |data: &'static str| {
        let mut secret = secret("s");
        secret.spec = secret.spec.edit(|spec| spec.data = data.into());
        Item::Secret(Kept::from(&secret))
    };
    let mut bench = running_with(plain("one"));
    bench.assign(vec![plain("two")], Vec::new(), false);
    assert_eq!(bench.runs[0].verb, Verb::Wait);
    assert!(bench.said.iter().all(|said| !said.starts_with("cancel")), "{:?}", bench.said);
}

#[test]
fn an_update_that_fails_is_told_and_the_task_goes_on() {
    let mut bench = running_with(live("s", "one"));
    bench.assign(vec![live("s", "two")], Vec::new(), false);
    bench.answer(Verb::Wait, Outcome::Cancelled);
    let fault = Fault { temporary: false, message: "no room".to_owned(), exit_code: None };
    bench.answer(Verb::Update, Outcome::Failed { fault, observed: Observed::default() });
    assert_eq!((bench.state("t"), bench.status("t").err.as_str()), (S::Running, "no room"));
    bench.assign(vec![live("s", "three")], Vec::new(), false);
    bench.answer(Verb::Wait, Outcome::Cancelled);
    bench.done(Verb::Update);
    assert_eq!((bench.state("t"), bench.status("t").err.as_str()), (S::Running, ""));
}

/// A node that was away for longer than its tasks are waited for: the leader has given up the old one, and made another.
#[test]
fn on_a_node_of_its_own_a_task_starts_once_the_one_before_it_has_stopped() {
    for is_listed in [true, false] {
        let mut bench = Bench::running("old");
        bench.runs.clear();
        let old = wanted(task("old", "a", S::Orphaned), S::Shutdown);
        let listed = [&old, &task("new", "a", S::Assigned)];
        bench.assign(listed[usize::from(!is_listed)..].iter().map(|task| item(task)).collect(), Vec::new(), true);
        assert!(bench.said.iter().any(|said| said.starts_with("cancel old")), "{:?}", bench.said);
        let waited = bench.machine.tasks[&task_id("old")].running.expect("it was waited for").run;
        bench.done(Verb::Prepare);
        assert_eq!((bench.state("new"), bench.runs.len()), (S::Starting, 0), "prepared, and held: {is_listed}");
        bench.machine.verb_done(bench.now, &task_id("old"), waited, Outcome::Cancelled);
        bench.drive();
        let stopping = bench.runs[0].clone();
        assert_eq!((bench.runs.len(), stopping.verb, stopping.task.as_str()), (1, Verb::Shutdown, "old"));
        bench.done(Verb::Shutdown);
        let next: Vec<(&str, Verb)> = bench.runs.iter().map(|run| (run.task.as_str(), run.verb)).collect();
        let expected = [("new", Verb::Start), ("old", Verb::Remove)];
        assert_eq!(next, expected[..if is_listed { 1 } else { 2 }]);
    }
}

#[test]
fn a_task_of_another_slot_or_service_waits_for_nobody() {
    let other = |slot, service| {
        let mut other = task("new", "a", S::Assigned);
        (other.slot, other.service_id) = (slot, skep_model::ServiceId::optional(service));
        other
    };
    for other in [other(1, "service"), other(0, "another"), other(0, "")] {
        let mut bench = Bench::running("old");
        bench.runs.clear();
        bench.put(&wanted(task("old", "a", S::Running), S::Shutdown));
        bench.put(&other);
        bench.done(Verb::Prepare);
        assert_eq!(bench.runs[0].verb, Verb::Start);
    }
}
