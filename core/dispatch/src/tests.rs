//! Leader and workers wired together in memory: streams break, calls get lost, leaders change, and in the end every
//! task is where it should be.

mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use skep_model::pb::types::TaskState;
use skep_store::Read;

use world::World;

/// What the store says of the tasks on a node: ids with their states.
fn stored(world: &World, node: &str) -> BTreeSet<(String, TaskState)> {
    let tasks = world.leader.ledger.committed().tasks_on_node(&crate::testing::node_id(node));
    tasks.iter().map(|task| (task.id.to_string(), task.state())).collect()
}

#[test]
fn without_faults_everything_runs_within_a_tenth_of_a_second() {
    let mut world = World::new(1, 0);
    for number in 0..20 {
        world.assign(if number % 2 == 0 { "a" } else { "b" });
    }
    world.run(Duration::from_millis(100));
    assert_eq!(world.trouble(), None);
    assert_eq!(stored(&world, "a").len(), 10);
}

#[test]
fn faults_end_and_everything_is_where_it_should_be() {
    for seed in 0..60 {
        let mut world = World::new(seed, 8);
        for _ in 0..60 {
            world.disturb();
            world.run(Duration::from_millis(300));
        }
        world.heal();
        world.run(Duration::from_secs(60));
        assert_eq!(world.trouble(), None, "seed {seed}");
        assert!(world.made > 3, "seed {seed} disturbed too little to say anything");
    }
}

#[test]
fn one_seed_is_one_history() {
    let history = |seed| {
        let mut world = World::new(seed, 8);
        for _ in 0..20 {
            world.disturb();
            world.run(Duration::from_millis(300));
        }
        world.history
    };
    assert_eq!(history(5), history(5));
    assert_ne!(history(5), history(6));
}
