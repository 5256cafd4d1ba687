//! Nodes that were let in and never came, and their way back.

use skep_model::pb::types::issuance_status::State;
use skep_model::{Code, Make};
use skep_pki::NEWCOMER_PATIENCE;
use skep_store::Read as _;

use super::*;

/// A worker's certificate is asked for, and issued.
fn let_in(group: &mut Group) -> NodeId {
    let leader = group.leader().expect("a leader");
    let tokens = group.managers[&leader].facts().cluster().unwrap().root_ca.join_tokens.clone().unwrap();
    let csr = Bytes::from_static(b"request");
    let wanted = m::IssueNodeCertificateRequest { csr, token: tokens.worker, ..Default::default() };
    let answer = group.request(|manager, request, now, rng| {
        manager.issue_certificate(request, None, Make::Skep, &wanted, now, rng);
    });
    let Ok(Answer::Issued(response)) = answer else { panic!("{answer:?}") };
    let id = NodeId::new(&response.node_id).unwrap();
    group.until(|group| state(group, &id) == Some(State::Issued));
    id
}

fn state(group: &Group, id: &NodeId) -> Option<State> {
    let node = group.managers[&group.leader()?].facts().node(id)?;
    node.certificate.status.as_ref().map(|status| status.state())
}

fn ticks(group: &mut Group, time: std::time::Duration) {
    for _ in 0..time.as_micros() as u64 / TICK_MICROS {
        group.tick();
    }
}

fn open_session(group: &mut Group, id: &NodeId) -> Result<skep_model::SessionId, Refusal> {
    let caller = Caller { node: id.clone(), role: NodeRole::Worker, forwarded_by: None, address: "10.0.0.9".into() };
    let description = Some(Verbatim::new(types::NodeDescription { hostname: "late".into(), ..Default::default() }));
    let request = m::SessionRequest { description, session_id: String::new() };
    let opened = group.with_leader(|manager, now, rng| manager.register(&caller, request, StreamId(7), now, rng));
    group.settle();
    opened
}

#[test]
fn a_join_that_died_half_way_leaves_no_row_for_ever_and_its_node_may_come_late() {
    let mut group = Group::found(61);
    let id = let_in(&mut group);
    ticks(&mut group, NEWCOMER_PATIENCE / 2);
    assert_eq!(state(&group, &id), Some(State::Issued), "it may still come");
    group.warned = Some(Vec::new());
    ticks(&mut group, NEWCOMER_PATIENCE);
    assert_eq!(state(&group, &id), None);
    let warned = group.warned.take().unwrap();
    assert!(warned.iter().any(|text| text.contains("joined and never came")), "{warned:?}");

    let refusal = open_session(&mut group, &id).expect_err("its row comes first");
    assert_eq!(refusal.code, Code::Unavailable, "{refusal}");
    assert_eq!(state(&group, &id), Some(State::Rotate));
    open_session(&mut group, &id).unwrap();
    group.until(|group| {
        let node = group.managers[&group.leader().unwrap()].facts().node(&id);
        node.is_some_and(|node| node.is_ready() && node.hostname() == "late")
    });
    ticks(&mut group, NEWCOMER_PATIENCE * 2);
    assert!(state(&group, &id).is_some(), "it came");
}

#[test]
fn a_new_leader_waits_for_newcomers_anew_and_gives_them_up_too() {
    let mut group = Group::found(62);
    group.join(2);
    group.join(3);
    group.warned = Some(Vec::new());
    let id = let_in(&mut group);
    ticks(&mut group, NEWCOMER_PATIENCE / 2);
    let old = group.leader().unwrap();
    group.cut = Some(old);
    group.until(|group| group.leader().is_some_and(|leader| leader != old));
    ticks(&mut group, NEWCOMER_PATIENCE / 2);
    assert!(state(&group, &id).is_some());
    ticks(&mut group, NEWCOMER_PATIENCE);
    assert_eq!(state(&group, &id), None);
}

#[test]
fn a_removed_node_does_not_come_back() {
    let mut group = Group::found(63);
    let id = let_in(&mut group);
    open_session(&mut group, &id).unwrap();
    group.control(m::RemoveNodeRequest { node_id: id.to_string(), force: true }).unwrap();
    let refusal = open_session(&mut group, &id).expect_err("it was removed");
    assert_eq!(refusal.code, Code::NotFound, "{refusal}");
    assert_eq!(state(&group, &id), None);
}
