//! Members that join without a vote, and get it when they have the log.

use std::collections::BTreeSet;

use skep_model::RaftId;

use super::harness::{Group, member};
use crate::*;

fn change(group: &mut Group, leader: u64, change: &MembershipChange) -> Result<u64, ProposeError> {
    let term = group.consensus(leader).role().term;
    let proposed = group.consensus(leader).propose_membership(term, 9, change);
    group.settle(leader);
    group.run(2);
    proposed
}

fn peer(group: &mut Group, leader: u64, id: u64) -> PeerStatus {
    group.consensus(leader).peers().into_iter().find(|peer| peer.id.0 == id).expect("a peer")
}

#[test]
fn a_newcomer_counts_for_nothing_until_it_has_the_log() {
    let mut group = Group::of(31, Mode::Skep, 1);
    change(&mut group, 1, &MembershipChange::AddLearner(member(2))).unwrap();
    // It never came to life, and nothing waits for it.
    for _ in 0..3 {
        group.say(1).unwrap();
        group.run(2);
    }
    assert_eq!(group.acknowledged.len(), 3);
    assert_eq!(group.consensus(1).voters(), BTreeSet::from([RaftId(1)]));
    let status = peer(&mut group, 1, 2);
    assert!(!status.votes && !status.caught_up, "{status:?}");

    group.newcomer(2);
    group.run(30);
    let status = peer(&mut group, 1, 2);
    assert!(!status.votes && status.caught_up && status.recently_active, "{status:?}");
    assert!(!group.consensus(2).role().votes);
    change(&mut group, 1, &MembershipChange::Add(member(2))).unwrap();
    assert!(peer(&mut group, 1, 2).votes);
    assert!(group.consensus(2).role().votes);
    // Now it counts: without it there is no quorum.
    group.crash(2);
    group.say(1).unwrap();
    group.run(5);
    assert_eq!(group.acknowledged.len(), 3);
    group.converge();
}

#[test]
fn what_a_learner_has_not_written_it_does_not_have() {
    let mut group = Group::of(32, Mode::Skep, 1);
    group.newcomer(2);
    change(&mut group, 1, &MembershipChange::AddLearner(member(2))).unwrap();
    group.slow_disks = true;
    for _ in 0..200 {
        let committed = group.consensus(1).commit_index();
        let status = peer(&mut group, 1, 2);
        let written = group.nodes[&2].disk.entries.keys().next_back().copied().unwrap_or(0);
        assert!(status.matched_index <= written, "{status:?}, but only {written} is on its disk");
        assert_eq!(status.caught_up, status.matched_index >= committed);
        if status.caught_up {
            return;
        }
        group.say(1);
        group.run(1);
    }
    panic!("the learner never caught up");
}

#[test]
fn a_learner_neither_leads_nor_is_led_into_it() {
    let mut group = Group::of(33, Mode::Skep, 2);
    group.newcomer(3);
    let leader = group.wait_for_leader();
    change(&mut group, leader, &MembershipChange::AddLearner(member(3))).unwrap();
    group.run(10);
    assert_eq!(
        group.consensus(leader).transfer_leadership(RaftId(3)),
        Err(TransferError::NotEligible { to: RaftId(3) })
    );
    assert_ne!(group.consensus(leader).successor(), Some(RaftId(3)));
    group.kill(leader);
    group.run(50);
    assert_eq!(group.leader(), None, "one of two voters and a learner make no quorum");
    group.converge();
}

#[test]
fn a_learner_that_was_removed_unheard_asks_and_is_told() {
    let mut group = Group::of(34, Mode::Skep, 1);
    group.newcomer(2);
    change(&mut group, 1, &MembershipChange::AddLearner(member(2))).unwrap();
    group.run(10);
    group.isolate(2);
    change(&mut group, 1, &MembershipChange::Remove(RaftId(2))).unwrap();
    let now = group.now;
    let mut said = Vec::new();
    for _ in 0..60 {
        group.consensus(2).tick(now);
        said.extend(group.consensus(2).take_effects(now).send);
    }
    assert!((1..=3).contains(&said.len()), "it speaks up, and not all the time: {}", said.len());
    assert_eq!(group.consensus(1).step(said.remove(0)), Err(StepError::Removed { from: RaftId(2) }));
    assert_eq!(
        change(&mut group, 1, &MembershipChange::AddLearner(member(2))),
        Err(ProposeError::MemberExists { id: RaftId(2) })
    );
}

#[test]
fn the_last_voter_stays_beside_learners() {
    let mut group = Group::of(35, Mode::Skep, 1);
    change(&mut group, 1, &MembershipChange::AddLearner(member(2))).unwrap();
    assert_eq!(change(&mut group, 1, &MembershipChange::Remove(RaftId(1))), Err(ProposeError::LastMember));
    change(&mut group, 1, &MembershipChange::Remove(RaftId(2))).unwrap();
}

#[test]
fn a_survivor_alone_removes_learners_too() {
    let (mut recovered, _) = bootstrap(&member(1), 1);
    let data = change_bytes(2, &MembershipChange::AddLearner(member(2)));
    // On the wire a learner is etcd's type 3.
    assert!(data.windows(2).any(|pair| pair == [0x10, 3]), "{data:?}");
    recovered.entries.push(LogEntry { index: 2, term: 1, kind: EntryKind::MembershipChange, data });
    let (_, persist) = force_new_cluster(recovered, &member(1), || 9).unwrap();
    assert_eq!(persist.entries.len(), 1);
    assert_eq!(persist.entries[0].data, change_bytes(9, &MembershipChange::Remove(RaftId(2))));
}
