use skep_model::objects::version;
use skep_model::pb::messages as m;
use skep_model::pb::types::{self as t, NodeRole};
use skep_model::{Code, Node, TaskState, Verbatim};

use crate::Read;
use crate::fixture::{NOW, Swarm, cluster, id, node, node_id, task, task_id};

fn stored(swarm: &Swarm, text: &str) -> Node {
    (*swarm.ledger.committed().node(&node_id(text)).unwrap()).clone()
}

fn update(swarm: &Swarm, text: &str, change: impl FnOnce(&mut t::NodeSpec)) -> m::UpdateNodeRequest {
    let node = stored(swarm, text);
    m::UpdateNodeRequest {
        node_id: id(text),
        node_version: Some(version(node.meta.version)),
        spec: Some(node.spec.edit(change)),
    }
}

fn demote(spec: &mut t::NodeSpec) {
    spec.desired_role = NodeRole::Worker.into();
}

#[track_caller]
fn refused(swarm: &mut Swarm, request: m::UpdateNodeRequest, code: Code, message: &str) {
    let refusal = swarm.ask(request).unwrap_err();
    assert_eq!((refusal.code, refusal.message.as_str()), (code, message));
}

#[test]
fn availability_labels_and_role_are_updated_and_versions_checked() {
    let mut swarm = Swarm::new().with_manager("m1").with(node("w1", NodeRole::Worker));
    let request = update(&swarm, "w1", |spec| {
        spec.availability = t::node_spec::Availability::Drain.into();
        spec.desired_role = NodeRole::Manager.into();
        spec.annotations.get_or_insert_default().labels.insert("zone".to_owned(), "a".to_owned());
    });
    swarm.ask(request.clone()).unwrap();
    let node = stored(&swarm, "w1");
    assert_eq!(node.availability(), t::node_spec::Availability::Drain);
    assert_eq!(node.spec.desired_role(), NodeRole::Manager);
    assert_eq!(node.role, NodeRole::Worker, "the role itself is not the command's business");
    refused(&mut swarm, request.clone(), Code::Unknown, "update out of sequence");
    let missing = m::UpdateNodeRequest { node_id: id("w9"), ..request.clone() };
    refused(&mut swarm, missing, Code::NotFound, &format!("node {} not found", id("w9")));
    let bare = m::UpdateNodeRequest { spec: None, ..request };
    refused(&mut swarm, bare, Code::InvalidArgument, "invalid argument");
}

#[test]
fn a_docker_engine_is_promoted_only_where_the_quorum_can_take_it() {
    let mut swarm = Swarm::new().with_manager("m1").with_manager("m2").with(node("w1", NodeRole::Worker));
    swarm.members[1].reachable = false;
    let promote = |spec: &mut t::NodeSpec| spec.desired_role = NodeRole::Manager.into();
    swarm.skep_nodes.insert(node_id("m2"));
    let refusal = {
        let request = update(&swarm, "w1", promote);
        swarm.ask(request).unwrap_err()
    };
    assert_eq!(refusal.code, Code::FailedPrecondition);
    assert!(refusal.message.contains("manager m2 (m2:2377) does not answer"), "{refusal}");
    assert_eq!(stored(&swarm, "w1").spec.desired_role(), NodeRole::Worker);

    // A Docker Engine that does not answer need not follow.
    swarm.skep_nodes.clear();
    let request = update(&swarm, "w1", promote);
    swarm.ask(request).unwrap();

    // Nobody has to follow for one of ours.
    let mut swarm = Swarm::new().with_manager("m1").with_manager("m2").with(node("w1", NodeRole::Worker));
    swarm.members[1].reachable = false;
    swarm.skep_nodes.extend([node_id("m2"), node_id("w1")]);
    let request = update(&swarm, "w1", promote);
    swarm.ask(request).unwrap();
}

#[test]
fn the_last_manager_stays() {
    let last = "attempting to demote the last manager of the swarm";
    let mut swarm = Swarm::new().with_manager("m1");
    let request = update(&swarm, "m1", demote);
    refused(&mut swarm, request, Code::FailedPrecondition, last);

    // Two demotions at once may not take both of two managers, though neither has left the quorum yet.
    let mut swarm = Swarm::new().with_manager("m1").with_manager("m2");
    let request = update(&swarm, "m1", demote);
    swarm.ask(request).unwrap();
    let request = update(&swarm, "m2", demote);
    refused(&mut swarm, request, Code::FailedPrecondition, last);
}

#[test]
fn a_demotion_may_not_cost_the_quorum() {
    let mut swarm = Swarm::new().with_manager("m1").with_manager("m2").with_manager("m3");
    swarm.members[2].reachable = false;
    let quorum = "can't remove member from the raft: this would result in a loss of quorum";
    let request = update(&swarm, "m2", demote);
    refused(&mut swarm, request, Code::FailedPrecondition, quorum);
    // The one that does not answer may go.
    let request = update(&swarm, "m3", demote);
    swarm.ask(request).unwrap();
    swarm.members.remove(2);
    swarm.members[1].node_id = node_id("elsewhere");
    let request = update(&swarm, "m2", demote);
    refused(&mut swarm, request, Code::NotFound, "can't find manager in raft memberlist");
}

#[test]
fn the_part_in_the_quorum_is_shown_but_never_stored() {
    let mut swarm = Swarm::new().with_manager("m1").with_manager("m2").with(node("w1", NodeRole::Worker));
    swarm.members[1].reachable = false;
    let nodes = swarm.ask(m::ListNodesRequest { filters: None }).unwrap().nodes;
    let shown: Vec<_> = nodes
        .iter()
        .map(|node| node.value.manager_status.as_ref().map(|status| (status.leader, status.reachability())))
        .collect();
    use t::raft_member_status::Reachability::{Reachable, Unreachable};
    assert_eq!(shown, [Some((true, Reachable)), Some((false, Unreachable)), None]);
    let one = swarm.ask(m::GetNodeRequest { node_id: id("m1") }).unwrap().node.unwrap().value;
    assert_eq!(one.manager_status.unwrap().addr, "m1:2377");
    assert_eq!(stored(&swarm, "m1").manager_status, None);
}

#[test]
fn nodes_are_found_by_every_filter() {
    let mut labelled = node("w1", NodeRole::Worker);
    labelled.spec = Verbatim::new(t::NodeSpec {
        annotations: Some(t::Annotations { labels: [("zone".into(), "a".into())].into(), ..Default::default() }),
        membership: t::node_spec::Membership::Accepted.into(),
        ..Default::default()
    });
    let engine = t::EngineDescription { labels: [("disk".into(), "ssd".into())].into(), ..Default::default() };
    labelled.description = Some(Verbatim::new(t::NodeDescription {
        hostname: "w1".to_owned(),
        engine: Some(engine),
        ..Default::default()
    }));
    let mut swarm = Swarm::new().with_manager("m1").with(labelled).with(node("w2", NodeRole::Worker));
    let mut found = |filters: m::list_nodes_request::Filters| -> Vec<String> {
        let nodes = swarm.ask(m::ListNodesRequest { filters: Some(filters) }).unwrap().nodes;
        nodes.into_iter().map(|node| Node::try_from(node).unwrap().hostname().to_owned()).collect()
    };
    type Filters = m::list_nodes_request::Filters;
    let text = |text: &str| vec![text.to_owned()];
    assert_eq!(found(Filters { names: text("w1"), ..Default::default() }), ["w1"]);
    assert_eq!(found(Filters { name_prefixes: text("w"), ..Default::default() }), ["w1", "w2"]);
    assert_eq!(found(Filters { id_prefixes: text("m1"), ..Default::default() }), ["m1"]);
    assert_eq!(found(Filters { labels: [("disk".into(), "ssd".into())].into(), ..Default::default() }), ["w1"]);
    assert_eq!(found(Filters { node_labels: [("zone".into(), "".into())].into(), ..Default::default() }), ["w1"]);
    assert_eq!(found(Filters { roles: vec![NodeRole::Manager.into()], ..Default::default() }), ["m1"]);
    assert_eq!(found(Filters { memberships: vec![1], ..Default::default() }), ["w1"]);
}

#[test]
fn a_removed_node_takes_its_certificate_and_tasks_along() {
    let mut gone = node("w1", NodeRole::Worker);
    gone.status.state = t::node_status::State::Down.into();
    gone.certificate.certificate = "PEM".into();
    let mut ended = task("t2", "web", 2, Some("w1"));
    ended.status.state = TaskState::Complete.into();
    let mut old = cluster();
    let long_ago = Some(prost_types::Timestamp { seconds: 1_600_000_000, nanos: 0 });
    old.blacklisted_certificates.insert("forgotten".to_owned(), t::BlacklistedCertificate { expiry: long_ago });
    let mut swarm = Swarm::new().with(old).with(gone).with(task("t1", "web", 1, Some("w1"))).with(ended).with(task(
        "t3",
        "web",
        3,
        Some("w2"),
    ));
    swarm.ask(m::RemoveNodeRequest { node_id: id("w1"), force: false }).unwrap();

    let facts = swarm.ledger.committed();
    assert!(facts.node(&node_id("w1")).is_none());
    let state = |text: &str| facts.task(&task_id(text)).unwrap().state();
    assert_eq!((state("t1"), state("t2"), state("t3")), (TaskState::Orphaned, TaskState::Complete, TaskState::Running));
    let listed = &facts.cluster().unwrap().blacklisted_certificates;
    assert_eq!(listed.keys().collect::<Vec<_>>(), [&id("w1")]);
    let expiry = listed[&id("w1")].expiry.as_ref().map(skep_model::WallTime::from).unwrap();
    assert_eq!(expiry.0, NOW.wall.0 + 1);
}

#[test]
fn who_is_up_or_manages_is_not_removed() {
    let mut swarm = Swarm::new().with(cluster()).with_manager("m1").with(node("w1", NodeRole::Worker));
    let up = swarm.ask(m::RemoveNodeRequest { node_id: id("w1"), force: false }).unwrap_err();
    let message = format!("node {} is not down and can't be removed", id("w1"));
    assert_eq!((up.code, up.message), (Code::FailedPrecondition, message));
    let manager = swarm.ask(m::RemoveNodeRequest { node_id: id("m1"), force: true }).unwrap_err();
    assert_eq!(manager.code, Code::FailedPrecondition);
    assert_eq!(
        manager.message,
        format!(
            "node {} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before \
             removal",
            id("m1")
        )
    );
    swarm.ask(m::RemoveNodeRequest { node_id: id("w1"), force: true }).unwrap();
    let missing = swarm.ask(m::RemoveNodeRequest { node_id: id("w1"), force: true }).unwrap_err();
    assert_eq!(missing.message, format!("node {} not found", id("w1")));
}
