//! Nodes that are taken off the list while other things go on.

use skep_store::Read as _;

use super::*;

/// Asks without waiting for an answer, and gives the number of the write that is to be acknowledged.
fn ask(group: &mut Group, command: impl Into<ControlRequest>) -> u64 {
    group.requests += 1;
    let number = group.requests;
    group.with_leader(|manager, now, rng| {
        manager.control(RequestId(number), command.into(), now, rng);
        let written = manager.turn(now, rng).into_iter().find_map(|effect| match effect {
            Effect::Persist(persist) => Some(persist.number),
            _ => None,
        });
        written.expect("something is written")
    })
}

fn service(replicas: u64) -> ControlRequest {
    let container = types::ContainerSpec { image: "busybox".into(), ..Default::default() };
    let spec = types::ServiceSpec {
        annotations: Some(types::Annotations { name: "web".into(), ..Default::default() }),
        task: Some(types::TaskSpec {
            runtime: Some(types::task_spec::Runtime::Container(container)),
            ..Default::default()
        }),
        mode: Some(types::service_spec::Mode::Replicated(types::ReplicatedService { replicas })),
        ..Default::default()
    };
    m::CreateServiceRequest { spec: Some(Verbatim::new(spec)) }.into()
}

#[test]
fn a_node_whose_removal_is_on_its_way_is_given_no_task() {
    let mut group = Group::found(71);
    group.register(1);
    group.admit(skep_pki::first_node(node(2), types::node_spec::Availability::Active, 0));
    group.register(2);
    group.until(|group| group.managers[&RaftId(1)].facts().nodes().iter().all(|node| node.is_ready()));
    // The removal is proposed before the service is committed, and its tasks before the removal is.
    let created = ask(&mut group, service(4));
    let removed = ask(&mut group, m::RemoveNodeRequest { node_id: node(2).to_string(), force: true });
    assert!(created < removed);
    group.with_leader(|manager, _, _| manager.persisted(created));
    group.turn(RaftId(1));
    assert!(group.managers[&RaftId(1)].facts().node(&node(2)).is_some(), "not yet committed");
    group.with_leader(|manager, _, _| manager.persisted(removed));
    group.until(|group| group.tasks(RaftId(1)).len() >= 4);
    assert!(group.managers[&RaftId(1)].facts().node(&node(2)).is_none());
    for task in group.tasks(RaftId(1)) {
        assert_eq!(task.node_id, Some(node(1)), "{task:?}");
    }
}
