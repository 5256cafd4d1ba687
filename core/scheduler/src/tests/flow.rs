use std::collections::BTreeMap;

use skep_model::pb::types::node_spec::Availability;
use skep_model::pb::types::{self, Placement, ResourceRequirements, Resources, TaskSpec, TaskState};
use skep_model::{Node, NodeId, Task};
use skep_store::Read;

use super::world::{World, labelled, node, service, task, with_availability};
use crate::Scheduler;

fn reserving(memory_bytes: i64) -> TaskSpec {
    let reservations = Some(Resources { memory_bytes, ..Default::default() });
    TaskSpec { resources: Some(ResourceRequirements { reservations, ..Default::default() }), ..Default::default() }
}

fn counts(pairs: &[(&str, usize)]) -> BTreeMap<String, usize> {
    pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

/// Spread over the label `zone`.
fn over_zones() -> TaskSpec {
    let spread = types::SpreadOver { spread_descriptor: "node.labels.zone".into() };
    let preference = types::placement_preference::Preference::Spread(spread);
    let preferences = vec![types::PlacementPreference { preference: Some(preference) }];
    TaskSpec { placement: Some(Placement { preferences, ..Default::default() }), ..Default::default() }
}

#[test]
fn a_service_is_balanced_before_the_nodes_are() {
    let mut world = World::new([node("n1"), node("n2"), node("n3")]);
    world.add((1..=4).map(|slot| task("a", slot, TaskSpec::default())));
    world.turn();
    assert_eq!(world.counts(), counts(&[("n1", 2), ("n2", 1), ("n3", 1)]));
    world.add((1..=2).map(|slot| task("b", slot, TaskSpec::default())));
    world.turn();
    assert_eq!(world.counts(), counts(&[("n1", 2), ("n2", 2), ("n3", 2)]), "new services go to the emptiest");
    world.add((5..=6).map(|slot| task("a", slot, TaskSpec::default())));
    world.turn();
    assert_eq!(world.counts(), counts(&[("n1", 2), ("n2", 3), ("n3", 3)]));
}

#[test]
fn spreads_over_labels() {
    let nodes = [labelled("n1", "zone", "a"), labelled("n2", "zone", "b"), labelled("n3", "zone", "b")];
    let mut world = World::new(nodes);
    let spec = over_zones();
    world.add((1..=8).map(|slot| task("web", slot, spec.clone())));
    world.turn();
    assert_eq!(world.counts(), counts(&[("n1", 4), ("n2", 2), ("n3", 2)]));
}

#[test]
fn spreads_over_labels_as_they_are_now() {
    let nodes = [labelled("n1", "zone", "a"), labelled("n2", "zone", "b"), labelled("n3", "zone", "b")];
    let mut world = World::new(nodes);
    let spec = over_zones();
    world.add((1..=4).map(|slot| task("web", slot, spec.clone())));
    world.turn();
    assert_eq!(world.counts(), counts(&[("n1", 2), ("n2", 1), ("n3", 1)]));
    // The third node moves to the first one's zone: 3 run in a, 1 in b.
    world.write(|tx| tx.update(labelled("n3", "zone", "a")));
    world.turn();
    world.add((5..=8).map(|slot| task("web", slot, spec.clone())));
    world.turn();
    assert_eq!(world.counts(), counts(&[("n1", 2), ("n2", 4), ("n3", 2)]), "what runs stays");
}

#[test]
fn nodes_where_the_service_fails_come_last() {
    let mut world = World::new([node("n1"), node("n2")]);
    world.write(|tx| tx.create(service("web")));
    for slot in 1..=5 {
        let mut placed = task("web", slot, TaskSpec::default());
        placed.node_id = NodeId::new("n1").ok();
        placed.status.set_state(TaskState::Running);
        world.add([placed]);
        world.turn();
        world.report(&format!("web-{slot:04}"), TaskState::Failed);
        world.turn();
    }
    world.add([task("web", 6, TaskSpec::default()), task("other", 1, TaskSpec::default())]);
    world.add([task("web", 7, TaskSpec::default())]);
    world.turn();
    assert_eq!(world.node_of("web-0006").as_deref(), Some("n2"));
    assert_eq!(world.node_of("web-0007").as_deref(), Some("n2"), "n1 is empty, but fails");
    assert_eq!(world.node_of("other-0001").as_deref(), Some("n1"));
    // A new leader comes to the same from the history.
    world.scheduler = Scheduler::new();
    world.scheduler.lead();
    world.add([task("web", 8, TaskSpec::default())]);
    world.turn();
    assert_eq!(world.node_of("web-0008").as_deref(), Some("n2"));
    world.pass(6 * 60 * 1000);
    world.add([task("web", 9, TaskSpec::default())]);
    world.turn();
    assert_eq!(world.node_of("web-0009").as_deref(), Some("n1"), "failures are forgotten");
}

#[test]
fn preassigned_tasks_are_confirmed_where_they_are() {
    let mut world = World::new([node("n1"), with_availability(&node("n2"), Availability::Pause)]);
    let on = |name: &str, slot| Task { node_id: NodeId::new(name).ok(), ..task("agent", slot, TaskSpec::default()) };
    world.add([on("n1", 1), on("n2", 2), on("n9", 3)]);
    world.turn();
    let first = world.task("agent-0001");
    assert_eq!(first.status.message, "scheduler confirmed task can run on preassigned node");
    assert_eq!(first.state(), TaskState::Assigned);
    let second = world.task("agent-0002");
    assert_eq!(
        (second.state(), second.status.err.as_str()),
        (TaskState::Pending, "1 node not available for new tasks")
    );
    assert_eq!(world.task("agent-0003").state(), TaskState::Pending);
    world.pass(60);
    world.write(|tx| tx.update(node("n2")).and_then(|()| tx.create(node("n9"))));
    world.turn();
    assert_eq!(world.task("agent-0002").state(), TaskState::Assigned);
    assert_eq!(world.task("agent-0003").state(), TaskState::Assigned);
    assert_eq!(world.task("agent-0002").status.err, "");
}

#[test]
fn what_is_stuck_is_explained_once_and_placed_when_there_is_room() {
    let mut world = World::new([node("n1")]);
    world.add((1..=3).map(|slot| task("web", slot, reserving(400))));
    assert_eq!(world.turn(), 1);
    assert_eq!(world.counts(), counts(&[("n1", 2)]));
    assert_eq!(world.task("web-0003").status.err, "no suitable node (insufficient resources on 1 node)");
    assert_eq!((world.turn(), world.scheduler.wake_at()), (0, None), "nothing new, nothing to do");
    world.pass(100);
    world.desire("web-0001", TaskState::Shutdown);
    world.turn();
    assert_eq!(world.node_of("web-0003"), None, "it still runs, and holds what it holds");
    world.pass(100);
    world.report("web-0001", TaskState::Shutdown);
    world.turn();
    assert_eq!(world.node_of("web-0003").as_deref(), Some("n1"));
    // Retries are spaced.
    world.add([task("web", 4, reserving(400))]);
    world.turn();
    world.report("web-0002", TaskState::Complete);
    world.turn();
    let due = world.scheduler.wake_at().expect("a retry is due");
    assert!(due > world.now.monotonic);
    world.pass(50);
    world.turn();
    assert_eq!(world.node_of("web-0004").as_deref(), Some("n1"));
}

/// SwarmKit waits until 50 ms pass without a change, at most a second. Here what is new is placed at once, and what found
/// no node is tried again after 50 ms whatever happens meanwhile.
#[test]
fn a_storm_of_changes_puts_nothing_off() {
    let mut world = World::new([node("n1")]);
    world.add((1..=3).map(|slot| task("web", slot, reserving(400))));
    world.turn();
    world.pass(100);
    world.report("web-0001", TaskState::Complete);
    world.turn();
    assert_eq!(world.node_of("web-0003").as_deref(), Some("n1"), "the last try is long ago");
    world.add([task("web", 4, reserving(400))]);
    world.turn();
    world.report("web-0002", TaskState::Complete);
    world.turn();
    for number in 1..=4 {
        world.pass(10);
        world.add([task("noise", number, TaskSpec::default())]);
        world.turn();
        assert_eq!(world.node_of(&format!("noise-{number:04}")).as_deref(), Some("n1"), "at once");
        assert_eq!(world.node_of("web-0004"), None, "after {number}0 ms");
    }
    world.pass(10);
    world.add([task("noise", 5, TaskSpec::default())]);
    world.turn();
    assert_eq!(world.node_of("web-0004").as_deref(), Some("n1"));
}

#[test]
fn unwanted_and_removed_tasks_are_not_placed() {
    let mut world = World::new([]);
    world.write(|tx| tx.create(service("web")));
    world.add((1..=3).map(|slot| task("web", slot, TaskSpec::default())));
    world.turn();
    assert_eq!(world.task("web-0001").status.err, "no suitable node");
    world.desire("web-0001", TaskState::Shutdown);
    world.write(|tx| tx.remove::<Task>(&task("web", 2, TaskSpec::default()).id));
    world.write(|tx| tx.create(node("n1")));
    world.pass(60);
    world.turn();
    assert_eq!(world.node_of("web-0001"), None);
    assert_eq!(world.node_of("web-0003").as_deref(), Some("n1"));
}

/// The incremental picture must never differ from one made anew.
#[test]
fn the_picture_stays_true_to_the_facts() {
    use rand_core::{RngCore, SeedableRng};
    for seed in 0..20 {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let mut below = |limit: u64| rng.next_u64() % limit;
        let mut world = World::new((0..4).map(|index| node(&format!("n{index}"))));
        world.write(|tx| ["a", "b", "c"].into_iter().try_for_each(|name| tx.create(service(name))));
        let mut slot = 0;
        for _ in 0..60 {
            match below(6) {
                0 | 1 => {
                    slot += 1;
                    let (name, memory) = [("a", 100), ("b", 170), ("c", 410)][below(3) as usize];
                    world.add([task(name, slot, reserving(memory))]);
                }
                2 => change_some_task(&mut world, below(100), |world, id| world.report(id, TaskState::Running)),
                3 => change_some_task(&mut world, below(100), |world, id| world.report(id, TaskState::Failed)),
                4 => change_some_task(&mut world, below(100), |world, id| world.desire(id, TaskState::Shutdown)),
                _ => {
                    let mut node = node(&format!("n{}", below(4)));
                    node = with_availability(&node, [Availability::Active, Availability::Drain][below(2) as usize]);
                    world.write(|tx| tx.update(node));
                }
            }
            world.pass(20);
            world.turn();
            no_node_is_over_reserved(&world);
        }
        world.pass(100);
        world.turn();
        let mut fresh = Scheduler::new();
        fresh.lead();
        let entries = world.ledger.turn(world.now, 9, &mut || 9, |tx| fresh.turn(world.now, &mut rng, tx));
        assert_eq!(entries, [], "seed {seed}: a new leader finds nothing to do");
        assert_eq!(world.scheduler.summary(), fresh.summary(), "seed {seed}");
    }
}

fn change_some_task(world: &mut World, pick: u64, change: impl FnOnce(&mut World, &str)) {
    let tasks = world.ledger.committed().tasks();
    let open: Vec<_> = tasks.iter().filter(|task| task.node_id.is_some() && !task.has_ended()).collect();
    if let Some(task) = open.get(pick as usize % open.len().max(1)) {
        change(world, task.id.as_str());
    }
}

fn no_node_is_over_reserved(world: &World) {
    let mut used: BTreeMap<NodeId, i64> = BTreeMap::new();
    for task in world.ledger.committed().tasks().iter().filter(|task| !task.has_ended()) {
        let Some(node) = &task.node_id else { continue };
        let reserved = task.spec.resources.as_ref().and_then(|resources| resources.reservations.as_ref());
        *used.entry(node.clone()).or_default() += reserved.map_or(0, |reserved| reserved.memory_bytes);
    }
    assert!(used.values().all(|used| *used <= 1000), "{used:?}");
}

#[test]
fn a_node_that_comes_back_offers_what_is_left() {
    let mut world = World::new([node("n1")]);
    world.add((1..=2).map(|slot| task("web", slot, reserving(400))));
    world.turn();
    let smaller = |name: &str, memory: i64| -> Node {
        super::world::described(name, |description| {
            description.resources = Some(Resources { memory_bytes: memory, ..Default::default() });
        })
    };
    world.write(|tx| tx.update(smaller("n1", 1100)));
    world.add([task("web", 3, reserving(400))]);
    world.turn();
    assert_eq!(world.node_of("web-0003"), None);
    world.pass(60);
    world.write(|tx| tx.update(smaller("n1", 1200)));
    world.turn();
    assert_eq!(world.node_of("web-0003").as_deref(), Some("n1"));
    world.write(|tx| tx.remove::<Node>(&NodeId::new("n1").expect("an id")));
    world.turn();
    world.write(|tx| tx.create(node("n2")));
    world.add([task("web", 4, reserving(900))]);
    world.turn();
    assert_eq!(world.node_of("web-0004").as_deref(), Some("n2"));
}

#[test]
fn what_is_in_flight_is_held() {
    let mut world = World::new([node("n1")]);
    world.add((1..=3).map(|slot| task("web", slot, reserving(400))));
    let entries = world.propose();
    assert_eq!(entries.iter().map(|entry| entry.changes.len()).sum::<usize>(), 3, "two placed, one explained");
    assert_eq!(world.propose(), []);
    world.scheduler.lead();
    assert_eq!(world.propose(), [], "a picture made anew sees what is in flight");
    world.commit(entries);
    world.turn();
    assert_eq!(world.counts(), counts(&[("n1", 2)]));
    assert_eq!(world.task("web-0003").status.err, "no suitable node (insufficient resources on 1 node)");
}
