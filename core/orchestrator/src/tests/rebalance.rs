//! Services that ask for it even out when capacity returns.

use std::collections::{BTreeMap, BTreeSet};

use skep_model::pb::types::node_spec::Availability;
use skep_model::pb::types::node_status::State;
use skep_model::pb::types::placement_preference::Preference;
use skep_model::pb::types::{Placement, PlacementPreference, ServiceSpec, SpreadOver};
use skep_model::{NodeId, Task, TaskId};

use super::world::{Fate, World, image, node, replicas, spec};

fn asking(count: u64) -> ServiceSpec {
    let mut spec = spec("a", replicas(count));
    spec.annotations.get_or_insert_default().labels.insert("skep.rebalance".to_owned(), "true".to_owned());
    spec
}

/// A world with all tasks on `n1` and an empty `n2`.
fn lopsided(spec: ServiceSpec) -> World {
    let mut world = World::new(&["n1", "n2"]);
    world.set_availability("n2", Availability::Drain);
    world.create(spec);
    world.pass(1000);
    world.set_availability("n2", Availability::Active);
    world
}

fn spread(world: &World) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for task in world.wanted() {
        let node = task.node_id.as_ref().map(ToString::to_string).unwrap_or_default();
        *counts.entry(node).or_default() += 1;
    }
    counts
}

fn expected(pairs: &[(&str, usize)]) -> BTreeMap<String, usize> {
    pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[test]
fn tasks_move_one_at_a_time_and_never_below_the_count() {
    let mut world = lopsided(asking(4));
    assert_eq!(spread(&world), expected(&[("n1", 4)]));
    for _ in 0..200 {
        world.pass(50);
        assert!(world.running() >= 4 && world.wanted().len() <= 5);
    }
    assert_eq!(spread(&world), expected(&[("n1", 2), ("n2", 2)]));
    let before: Vec<_> = world.wanted().iter().map(|task| task.id.clone()).collect();
    world.pass(200_000);
    assert_eq!(world.wanted().iter().map(|task| task.id.clone()).collect::<Vec<_>>(), before, "even is even");
}

#[test]
fn what_has_moved_once_moves_again() {
    let mut world = lopsided(asking(4));
    world.pass(30_000);
    assert_eq!(spread(&world), expected(&[("n1", 2), ("n2", 2)]));
    let even = |world: &mut World, expected: &[usize]| {
        // Longer than the wait after tasks were lost.
        for _ in 0..400 {
            world.pass(250);
            assert!(world.running() >= 4 && world.wanted().len() <= 5);
        }
        let mut counts: Vec<usize> = spread(world).into_values().collect();
        counts.sort_unstable();
        assert_eq!(counts, expected);
    };
    // To and fro, so that each slot moves more than once, whichever is chosen.
    for _ in 0..4 {
        let made = world.tasks().len();
        world.set_availability("n1", Availability::Drain);
        world.pass(1000);
        assert_eq!(spread(&world), expected(&[("n2", 4)]));
        world.set_availability("n1", Availability::Active);
        even(&mut world, &[2, 2]);
        world.write(|tx| tx.create(node("n3")));
        even(&mut world, &[1, 1, 2]);
        world.remove_node("n3");
        even(&mut world, &[2, 2]);
        assert!(world.tasks().len() <= made + 20, "{} tasks", world.tasks().len());
    }
}

/// The emptiest node may be one that the scheduler avoids, because tasks fail there or others fill it (seed 61200 of the
/// simulator: a task moved to and fro for ever).
#[test]
fn a_move_to_no_better_place_is_taken_back_before_a_node_hears_of_it() {
    let mut world = World::new(&["n1", "n2", "n3"]);
    world.set_availability("n3", Availability::Drain);
    world.create(asking(3));
    world.pass(1000);
    let before: Vec<_> = world.wanted().iter().map(|task| task.id.clone()).collect();
    let other = world.wanted()[0].clone();
    world.write(|tx| {
        (0..5).try_for_each(|number| {
            let id = TaskId::new(&format!("other{number}")).expect("an id");
            let node_id = NodeId::new("n3").ok();
            tx.create(Task { id, service_id: None, node_id, ..(*other).clone() })
        })
    });
    world.set_availability("n3", Availability::Active);
    // Two minutes; the orchestrator has its turn before an agent hears of anything.
    let mut tried = BTreeSet::new();
    for _ in 0..1200 {
        world.turn();
        tried.extend(world.tasks().iter().filter(|task| task.service_id.is_some()).map(|task| task.id.clone()));
        world.turn();
        world.agents();
        world.skip(100_000);
    }
    let of_service = world.wanted().into_iter().filter(|task| task.service_id.is_some());
    assert_eq!(of_service.map(|task| task.id.clone()).collect::<Vec<_>>(), before);
    let moves = tried.len() - before.len();
    assert!((1..=3).contains(&moves), "one a minute is tried: {moves}");
}

#[test]
fn nobody_else_moves() {
    let mut world = lopsided(spec("a", replicas(4)));
    world.pass(200_000);
    assert_eq!(spread(&world), expected(&[("n1", 4)]));
    let mut pinned = asking(4);
    let constraints = vec!["node.id==n1".to_owned()];
    pinned.task.get_or_insert_default().placement = Some(Placement { constraints, ..Default::default() });
    let mut world = lopsided(pinned);
    world.pass(200_000);
    assert_eq!(spread(&world), expected(&[("n1", 4)]));
}

#[test]
fn a_node_that_flaps_is_given_nothing() {
    let mut world = lopsided(asking(4));
    for _ in 0..20 {
        world.set_state("n2", State::Down);
        world.pass(1000);
        world.set_state("n2", State::Ready);
        world.pass(1000);
        assert_eq!(spread(&world), expected(&[("n1", 4)]));
    }
}

#[test]
fn a_new_leader_goes_on_with_a_move() {
    let mut world = lopsided(asking(4));
    for _ in 0..40 {
        world.new_leader();
        world.pass(6000);
        assert!(world.running() >= 4 && world.wanted().len() <= 5);
    }
    assert_eq!(spread(&world), expected(&[("n1", 2), ("n2", 2)]));
}

#[test]
fn a_move_that_fails_leaves_the_old_task_and_is_not_repeated_at_once() {
    let mut world = lopsided(asking(2));
    world.fate.insert("a".into(), Fate::Fails);
    world.pass(30_000);
    assert_eq!((spread(&world), world.tasks().len()), (expected(&[("n1", 2)]), 3));
    world.fate.clear();
    world.pass(70_000);
    assert_eq!(spread(&world), expected(&[("n1", 1), ("n2", 1)]));
}

#[test]
fn what_is_lost_in_the_middle_is_replaced_and_an_update_goes_first() {
    let mut world = lopsided(asking(4));
    world.pass(4900);
    world.frozen = true;
    world.pass(500);
    assert_eq!(world.wanted().len(), 5, "a move is under way");
    world.set_state("n1", State::Down);
    world.frozen = false;
    world.pass(10_000);
    assert_eq!((spread(&world), world.running()), (expected(&[("n2", 4)]), 4));
    world.set_state("n1", State::Ready);
    world.set_image("b");
    world.pass(100_000);
    assert!(world.wanted().iter().all(|task| image(task) == "b"));
    assert_eq!((spread(&world), world.running()), (expected(&[("n1", 2), ("n2", 2)]), 4));
}

/// A service that spreads over racks in zones; `nodes` are `name zone rack`.
fn spreading(count: u64, nodes: &[&str]) -> (ServiceSpec, World) {
    let mut spec = asking(count);
    let preference = |label: &str| PlacementPreference {
        preference: Some(Preference::Spread(SpreadOver { spread_descriptor: format!("node.labels.{label}") })),
    };
    let preferences = vec![preference("zone"), preference("rack")];
    spec.task.get_or_insert_default().placement = Some(Placement { preferences, ..Default::default() });
    let names: Vec<&str> = nodes.iter().filter_map(|node| node.split(' ').next()).collect();
    let mut world = World::new(&names);
    for node in nodes {
        let mut words = node.split(' ');
        let [name, zone, rack] = std::array::from_fn(|_| words.next().expect("a word").to_owned());
        let labels = [("zone".to_owned(), zone), ("rack".to_owned(), rack)];
        world.change_node(&name, |node| {
            node.spec = node.spec.edit(|spec| spec.annotations.get_or_insert_default().labels = labels.into());
        });
    }
    (spec, world)
}

#[test]
fn branches_of_spread_preferences_are_evened_out_before_nodes() {
    // The zone `b` comes later: of eight tasks it gets four, however many nodes `a` has.
    let (spec, mut world) = spreading(8, &["n1 a 1", "n2 a 1", "n3 a 2", "n4 b 1", "n5 b 2"]);
    for name in ["n4", "n5"] {
        world.set_availability(name, Availability::Drain);
    }
    world.create(spec);
    world.pass(1000);
    assert_eq!(spread(&world), expected(&[("n1", 2), ("n2", 2), ("n3", 4)]), "half of them in each rack");
    for name in ["n4", "n5"] {
        world.set_availability(name, Availability::Active);
    }
    for _ in 0..400 {
        world.pass(50);
        assert!(world.running() >= 8 && world.wanted().len() <= 9);
    }
    assert_eq!(spread(&world), expected(&[("n1", 1), ("n2", 1), ("n3", 2), ("n4", 2), ("n5", 2)]));
    let before: Vec<_> = world.wanted().iter().map(|task| task.id.clone()).collect();
    world.pass(200_000);
    assert_eq!(world.wanted().iter().map(|task| task.id.clone()).collect::<Vec<_>>(), before, "even is even");
}

#[test]
fn nodes_that_differ_stay_so_while_their_branches_are_even() {
    // Four tasks for each zone: that `n1` has twice as many as the nodes of `b` is as it shall be.
    let (spec, mut world) = spreading(8, &["n1 a 1", "n2 b 1", "n3 b 1"]);
    world.create(spec);
    world.pass(200_000);
    assert_eq!(spread(&world), expected(&[("n1", 4), ("n2", 2), ("n3", 2)]));
    assert!(world.tasks().iter().all(|task| !crate::rebalance::is_move(task)));
}
