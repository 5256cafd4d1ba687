use skep_model::pb::types::node_spec::Availability;
use skep_model::pb::types::node_status::State;
use skep_model::pb::types::service_spec::Mode;
use skep_model::pb::types::{GlobalJob, GlobalService, Placement, TaskState};

use super::world::{World, node, spec};

fn nodes(world: &World) -> Vec<String> {
    let running = world.wanted().into_iter().filter(|task| task.state() == TaskState::Running);
    let mut nodes: Vec<String> = running.filter_map(|task| task.node_id.as_ref().map(ToString::to_string)).collect();
    nodes.sort();
    nodes
}

fn label(world: &mut World, name: &str, value: &str) {
    world.change_node(name, |node| {
        node.spec = node.spec.edit(|spec| {
            spec.annotations.get_or_insert_default().labels.insert("zone".into(), value.into());
        });
    });
}

/// A global service that is for zone `a`, in which only the first node is.
fn in_zone_of_first(names: &[&str]) -> World {
    let mut world = World::new(names);
    label(&mut world, names[0], "a");
    let mut spec = spec("a", Mode::Global(GlobalService {}));
    let constraints = vec!["node.labels.zone==a".to_owned()];
    spec.task.get_or_insert_default().placement = Some(Placement { constraints, ..Default::default() });
    world.create(spec);
    world.pass(500);
    world
}

#[test]
fn follows_the_nodes() {
    let mut world = World::new(&["n1", "n2"]);
    world.create(spec("a", Mode::Global(GlobalService {})));
    world.pass(500);
    assert_eq!(nodes(&world), ["n1", "n2"]);
    let task = world.wanted()[0].clone();
    assert_eq!(task.slot, 0);
    assert_eq!(task.name(), format!("web.{}.{}", task.node_id.as_ref().expect("preset"), task.id));

    let mut late = node("n3");
    late.status.set_state(State::Unknown);
    world.write(|tx| tx.create(late));
    world.pass(500);
    assert_eq!(nodes(&world), ["n1", "n2"], "not before it is ready");
    world.set_state("n3", State::Ready);
    world.pass(500);
    assert_eq!(nodes(&world), ["n1", "n2", "n3"]);

    world.set_availability("n1", Availability::Drain);
    world.set_state("n2", State::Down);
    world.pass(500);
    assert_eq!(nodes(&world), ["n3"]);
    world.set_availability("n1", Availability::Active);
    world.set_state("n2", State::Ready);
    world.pass(500);
    assert_eq!(nodes(&world), ["n1", "n2", "n3"]);

    world.remove_node("n3");
    world.pass(500);
    assert_eq!(nodes(&world), ["n1", "n2"]);
    let on_gone = world.tasks().into_iter().filter(|task| task.node_id.as_ref().is_some_and(|id| id.as_str() == "n3"));
    assert_eq!(on_gone.count(), 0, "no ghosts");
}

#[test]
fn a_paused_node_keeps_its_task_and_gets_no_other() {
    let mut world = World::new(&["n1", "n2"]);
    world.set_availability("n2", Availability::Pause);
    world.create(spec("a", Mode::Global(GlobalService {})));
    world.pass(500);
    assert_eq!(nodes(&world), ["n1"]);
    world.set_availability("n1", Availability::Pause);
    world.pass(6000);
    assert_eq!(nodes(&world), ["n1"]);
    let task = world.wanted()[0].clone();
    world.report(&task.id, TaskState::Failed);
    world.pass(10_000);
    assert_eq!(world.wanted().len(), 0);
    world.set_availability("n1", Availability::Active);
    world.pass(500);
    assert_eq!(nodes(&world), ["n1"]);
}

#[test]
fn constraints_move_it() {
    let mut world = in_zone_of_first(&["n1", "n2"]);
    assert_eq!(nodes(&world), ["n1"]);
    label(&mut world, "n1", "b");
    label(&mut world, "n2", "a");
    world.pass(500);
    assert_eq!(nodes(&world), ["n2"]);
}

/// What a node still runs when it comes back ends before its new task starts, however long that takes.
#[test]
fn a_node_that_comes_back_never_runs_two() {
    for mode in [Mode::Global(GlobalService {}), Mode::GlobalJob(GlobalJob {})] {
        let mut world = World::new(&["n1"]);
        world.create(spec("a", mode));
        world.pass(500);
        let old = world.wanted()[0].clone();
        world.frozen = true;
        world.set_state("n1", State::Down);
        world.pass(500);
        assert_eq!(world.wanted().len(), 0, "nothing is wanted on a node that is down");
        world.set_state("n1", State::Ready);
        world.pass(61_000);
        world.new_leader();
        world.pass(61_000);
        let new = world.wanted();
        assert_eq!((new.len(), new[0].desired_state), (1, TaskState::Ready), "the old one still runs");
        world.report(&old.id, TaskState::Shutdown);
        world.pass(500);
        assert_eq!(world.wanted()[0].id, new[0].id);
        assert!(world.wanted()[0].desired_state > TaskState::Ready, "nothing is in its way any more");
    }
}

/// As above, where it is the node's label that goes and comes back.
#[test]
fn a_label_that_comes_back_never_makes_two_run() {
    let mut world = in_zone_of_first(&["n1"]);
    world.frozen = true;
    label(&mut world, "n1", "b");
    world.pass(500);
    label(&mut world, "n1", "a");
    world.pass(500);
    let new = world.wanted();
    assert_eq!((new.len(), new[0].desired_state), (1, TaskState::Ready));
    world.frozen = false;
    world.pass(500);
    assert_eq!(nodes(&world), ["n1"]);
}
