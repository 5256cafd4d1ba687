//! More to be decided than may be in flight at a time.

use super::*;

/// Labels of the service, which each task carries.
const LABEL_BYTES: usize = 40_000;
/// So many tasks with them are more than may be in flight.
const REPLICAS: u64 = 600;

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

#[test]
fn what_was_not_taken_is_decided_again_when_there_is_room_not_before() {
    let mut group = Group::found(12);
    let spec = types::ServiceSpec {
        annotations: Some(types::Annotations {
            name: "large".into(),
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
        mode: Some(types::service_spec::Mode::Replicated(types::ReplicatedService { replicas: REPLICAS })),
        ..Default::default()
    };
    let command = ControlRequest::from(m::CreateServiceRequest { spec: Some(Verbatim::new(spec)) });
    group.warned = Some(Vec::new());
    group.with_leader(|manager, now, rng| manager.control(RequestId(901), command, now, rng));
    let service = group.lone_turn().expect("the service is written");
    group.managers.get_mut(&RaftId(1)).unwrap().persisted(service);

    // The service is there, and so are its tasks, as many as there is room for; the disk takes its time.
    let mut tasks = group.lone_turn();
    for _ in 0..20 {
        group.time += TICK_MICROS;
        tasks = group.lone_turn().max(tasks);
    }
    let warned = group.warned.take().unwrap();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].contains("too many changes wait"), "{warned:?}");

    group.warned = Some(Vec::new());
    group.managers.get_mut(&RaftId(1)).unwrap().persisted(tasks.expect("tasks are written"));
    group.until(|group| group.tasks(RaftId(1)).len() as u64 == REPLICAS);
}
