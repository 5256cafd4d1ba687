//! Random histories: the laws that `World::check` and `World::report` assert hold after every turn; in the end, when
//! nothing happens any more, there is what the spec asks for.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use skep_model::Service;
use skep_model::pb::types::node_spec::Availability;
use skep_model::pb::types::node_status::State;
use skep_model::pb::types::service_spec::Mode;
use skep_model::pb::types::update_config::{FailureAction, UpdateOrder};
use skep_model::pb::types::{GlobalService, TaskState, UpdateConfig};

use super::world::{World, image, replicas, seconds, spec};

const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];
const SEEDS: u64 = 40;
const STEPS: usize = 60;

struct Dice(ChaCha8Rng);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        (self.0.next_u64() % limit as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

#[test]
fn converges_after_whatever_happened() {
    for seed in 0..SEEDS {
        let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
        let global = seed % 4 == 3;
        let mut world = World::new(&NODES);
        let mut spec = spec("v0", if global { Mode::Global(GlobalService {}) } else { replicas(5) });
        spec.update = Some(UpdateConfig {
            parallelism: dice.below(3) as u64,
            delay: Some(seconds(dice.below(2) as i64)),
            monitor: Some(seconds(1)),
            failure_action: FailureAction::Continue.into(),
            order: dice.one_of(&[UpdateOrder::StopFirst, UpdateOrder::StartFirst]).into(),
            ..Default::default()
        });
        world.create(spec);
        let mut wanted = if global { NODES.len() } else { 5 };
        for step in 0..STEPS {
            happen(&mut world, &mut dice, step, global, &mut wanted);
            world.pass(dice.one_of(&[0, 100, 700, 3000]));
        }
        for name in NODES {
            world.set_state(name, State::Ready);
            world.set_availability(name, Availability::Active);
        }
        world.pass(200_000);
        let images = world.images();
        let newest = image_of(&world);
        assert_eq!((images.len(), world.wanted().len()), (wanted, wanted), "seed {seed}: {:?}", world.status());
        assert!(images.iter().all(|image| *image == newest), "seed {seed}: {images:?} instead of {newest}");
        let mut places: Vec<_> = world.wanted().iter().map(|task| (task.slot, task.node_id.clone())).collect();
        places.dedup_by_key(|(slot, node)| (*slot, if *slot == 0 { node.clone() } else { None }));
        assert_eq!(places.len(), wanted, "seed {seed}");
        assert!(world.tasks().len() <= wanted * 5, "seed {seed}: history is bounded");
        let service = world.service().id.clone();
        world.write(|tx| tx.remove::<Service>(&service));
        world.pass(1000);
        assert_eq!(world.tasks().len(), 0, "seed {seed}: no task outlives its service");
    }
}

fn image_of(world: &World) -> String {
    let service = world.service();
    let task = service.spec.task.clone().unwrap_or_default();
    match task.runtime {
        Some(skep_model::pb::types::task_spec::Runtime::Container(container)) => container.image,
        _ => String::new(),
    }
}

fn happen(world: &mut World, dice: &mut Dice, step: usize, global: bool, wanted: &mut usize) {
    let node = dice.one_of(&NODES);
    match dice.below(10) {
        0 | 1 => {
            let open: Vec<_> = world.tasks().into_iter().filter(|task| !task.has_ended()).collect();
            let open: Vec<_> = open.into_iter().filter(|task| task.state() >= TaskState::Assigned).collect();
            if !open.is_empty() {
                let task = &open[dice.below(open.len())];
                assert!(!image(task).is_empty());
                world.report(&task.id, dice.one_of(&[TaskState::Failed, TaskState::Complete, TaskState::Rejected]));
            }
        }
        2 => world.set_state(node, State::Down),
        3 | 4 => world.set_state(node, State::Ready),
        5 => world.set_availability(node, dice.one_of(&[Availability::Drain, Availability::Pause])),
        6 => world.set_availability(node, Availability::Active),
        7 if !global => {
            *wanted = dice.below(8);
            let count = *wanted as u64;
            world.update(|spec| spec.mode = Some(replicas(count)));
        }
        8 => world.set_image(&format!("v{step}")),
        _ => world.new_leader(),
    }
}
