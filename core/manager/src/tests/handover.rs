//! Writes while leadership moves: none is refused, none is lost, none is carried out twice.

use skep_store::Read as _;

use super::*;

fn config_named(name: &str) -> ControlRequest {
    let spec = types::ConfigSpec {
        annotations: Some(types::Annotations { name: name.into(), ..Default::default() }),
        data: Bytes::from_static(b"data"),
        ..Default::default()
    };
    ControlRequest::from(m::CreateConfigRequest { spec: Some(Verbatim::new(spec)) })
}

/// Asks without carrying any mail.
fn ask(group: &mut Group, at: RaftId, name: &str) -> u64 {
    group.requests += 1;
    let (number, now) = (group.requests, group.now());
    let manager = group.managers.get_mut(&at).unwrap();
    manager.control(RequestId(number), config_named(name), now, &mut group.rng);
    number
}

#[test]
fn writes_around_a_handover_are_answered_or_may_be_asked_of_the_next_leader() {
    let mut group = Group::found(41);
    group.join(2);
    group.join(3);
    let old = group.leader().unwrap();
    let before = ask(&mut group, old, "before");
    assert!(group.managers.get_mut(&old).unwrap().hand_over());
    let during: Vec<u64> = ["one", "two"].iter().map(|name| ask(&mut group, old, name)).collect();
    assert!(group.replies.is_empty(), "{:?}", group.replies);
    group.until(|group| group.leader().is_some_and(|leader| leader != old));
    group.until(|group| group.replies.contains_key(&before) && during.iter().all(|it| group.replies.contains_key(it)));
    assert!(group.replies[&before].is_ok(), "{:?}", group.replies[&before]);
    for number in during {
        assert_eq!(group.replies[&number], Err(Refusal::no_leader()), "what was not carried out may be asked again");
    }
    let facts = group.managers[&group.leader().unwrap()].facts();
    assert!(facts.config_by_name("before").is_some());
    assert!(facts.config_by_name("one").is_none() && facts.config_by_name("two").is_none());
}

#[test]
fn a_handover_that_comes_to_nothing_lets_waiting_writes_through() {
    let mut group = Group::found(42);
    group.join(2);
    group.join(3);
    let old = group.leader().unwrap();
    let manager = group.managers.get_mut(&old).unwrap();
    let to = manager.consensus.successor().unwrap();
    group.cut = Some(to);
    assert!(group.managers.get_mut(&old).unwrap().hand_over());
    let number = ask(&mut group, old, "patient");
    group.until(|group| group.replies.contains_key(&number));
    assert!(group.replies[&number].is_ok(), "{:?}", group.replies[&number]);
    assert_eq!(group.leader(), Some(old));
}

#[test]
fn what_lost_its_place_in_the_log_is_said_not_to_have_come_true() {
    let mut group = Group::found(43);
    group.join(2);
    group.join(3);
    let old = group.leader().unwrap();
    group.cut = Some(old);
    let lost = ask(&mut group, old, "lost");
    group.until(|group| group.leader().is_some_and(|leader| leader != old));
    group.create("meanwhile", 1);
    group.cut = None;
    group.until(|group| group.replies.contains_key(&lost));
    // Within the patience the log has told; after it nobody knows. Never that it came true.
    assert!(group.replies[&lost].is_err());
    group.until(|group| group.managers[&old].facts().service_by_name("meanwhile").is_some());
    assert!(group.managers[&old].facts().config_by_name("lost").is_none());
}

/// A worker asks for its certificate, with its token, without carrying any mail.
fn ask_for_certificate(group: &mut Group, at: RaftId) -> u64 {
    let tokens = group.managers[&at].facts().cluster().unwrap().root_ca.join_tokens.clone().unwrap();
    let csr = Bytes::from_static(b"request");
    let wanted = m::IssueNodeCertificateRequest { csr, token: tokens.worker, ..Default::default() };
    group.requests += 1;
    let (number, now) = (group.requests, group.now());
    let manager = group.managers.get_mut(&at).unwrap();
    manager.issue_certificate(RequestId(number), None, skep_model::Make::Skep, &wanted, now, &mut group.rng);
    number
}

#[test]
fn a_request_for_a_certificate_waits_for_the_end_of_a_handover() {
    for (seed, comes_to_nothing) in [(44, true), (45, false)] {
        let mut group = Group::found(seed);
        group.join(2);
        group.join(3);
        let old = group.leader().unwrap();
        let to = group.managers[&old].consensus.successor().unwrap();
        group.cut = comes_to_nothing.then_some(to);
        assert!(group.managers.get_mut(&old).unwrap().hand_over());
        let number = ask_for_certificate(&mut group, old);
        assert!(group.replies.is_empty(), "{:?}", group.replies);
        group.until(|group| group.replies.contains_key(&number));
        let answer = group.replies.remove(&number).unwrap();
        if comes_to_nothing {
            assert!(matches!(answer, Ok(Answer::Issued(_))), "{answer:?}");
        } else {
            assert_eq!(answer, Err(Refusal::no_leader()), "it may be asked of the next leader");
        }
    }
}
