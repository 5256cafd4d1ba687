//! More to be decided than may be in flight at a time.

use super::*;

/// Labels of the service, which each task carries.
const LABEL_BYTES: usize = 40_000;
/// So many tasks with them are more than may be in flight.
const REPLICAS: u64 = 600;
/// So many services with them are nearly as much.
const SERVICES: u64 = 400;

impl Group {
    /// One turn of the only manager. The number of what it wants written, if anything.
    fn lone_turn(&mut self) -> Option<u64> {
        let now = self.now();
        let effects = self.managers.get_mut(&RaftId(1)).unwrap().turn(now, &mut self.rng);
        let mut written = None;
        for effect in effects {
            match effect {
                Effect::Persist(persist) => written = Some(persist.number),
                Effect::Warn(message) => self.warned.get_or_insert_default().push(message),
                _ => {}
            }
        }
        written
    }
}

fn create(name: &str, replicas: u64) -> ControlRequest {
    let spec = types::ServiceSpec {
        annotations: Some(types::Annotations {
            name: name.into(),
            labels: [("label".to_owned(), "x".repeat(LABEL_BYTES))].into(),
            ..Default::default()
        }),
        task: Some(types::TaskSpec {
            runtime: Some(types::task_spec::Runtime::Container(types::ContainerSpec {
                image: "busybox".into(),
                ..Default::default()
            })),
            ..Default::default()
        }),
        mode: Some(types::service_spec::Mode::Replicated(types::ReplicatedService { replicas })),
        ..Default::default()
    };
    ControlRequest::from(m::CreateServiceRequest { spec: Some(Verbatim::new(spec)) })
}

#[test]
fn tasks_of_a_large_service_are_made_as_fast_as_they_commit() {
    let mut group = Group::found(12);
    group.warned = Some(Vec::new());
    group.with_leader(|manager, now, rng| manager.control(RequestId(901), create("large", REPLICAS), now, rng));
    let mut written = None;
    // The disk takes its time.
    for _ in 0..20 {
        group.time += TICK_MICROS;
        written = group.lone_turn().max(written);
    }
    let in_flight = group.managers[&RaftId(1)].ledger.in_flight();
    assert!((1..20).contains(&in_flight), "{in_flight} entries are in flight");
    group.managers.get_mut(&RaftId(1)).unwrap().persisted(written.expect("something is written"));
    group.until(|group| group.tasks(RaftId(1)).len() as u64 == REPLICAS);
    assert_eq!(group.warned.take().unwrap(), [""; 0], "nothing was decided that there was no room for");
}

#[test]
fn what_was_not_taken_is_decided_again_when_there_is_room_not_before() {
    let mut group = Group::found(12);
    group.warned = Some(Vec::new());
    group.with_leader(|manager, now, rng| manager.control(RequestId(901), create("large", 100), now, rng));
    let service = group.lone_turn().expect("the service is written");
    group.managers.get_mut(&RaftId(1)).unwrap().persisted(service);
    // Its tasks are to be made, but users were faster.
    for number in 0..SERVICES {
        let command = create(&format!("other-{number}"), 0);
        group.with_leader(|manager, now, rng| manager.control(RequestId(1000 + number), command, now, rng));
    }
    let mut written = None;
    for _ in 0..20 {
        group.time += TICK_MICROS;
        written = group.lone_turn().max(written);
    }
    let warned = group.warned.take().unwrap();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].contains("too many changes wait"), "{warned:?}");

    group.warned = Some(Vec::new());
    group.managers.get_mut(&RaftId(1)).unwrap().persisted(written.expect("something is written"));
    group.until(|group| group.tasks(RaftId(1)).len() == 100);
}
