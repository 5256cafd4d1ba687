//! Voters that are taken out while others fail.

use std::collections::BTreeSet;

use skep_model::RaftId;

use super::harness::{Group, member};
use crate::{MembershipChange, Mode, StepError};

/// Proposes the removal of the highest number that does not lead; gives the leader, it, and the two others.
fn begin(group: &mut Group) -> (u64, u64, [u64; 2]) {
    let leader = group.wait_for_leader();
    let mut others: Vec<u64> = group.alive().into_iter().filter(|&id| id != leader).collect();
    let gone = others.pop().unwrap();
    let term = group.consensus(leader).role().term;
    group.consensus(leader).propose_membership(term, 1, &MembershipChange::Remove(RaftId(gone))).unwrap();
    group.settle(leader);
    (leader, gone, [others[0], others[1]])
}

/// What the removed one says next to somebody, and what it hears.
fn hears(group: &mut Group, gone: u64, from: u64) -> Result<(), StepError> {
    let now = group.now;
    for persist in std::mem::take(&mut group.nodes.get_mut(&gone).unwrap().unsynced) {
        group.nodes.get_mut(&gone).unwrap().disk.write(&persist);
        group.consensus(gone).persisted(persist.number);
    }
    for _ in 0..40 {
        group.consensus(gone).tick(now);
        let effects = group.consensus(gone).take_effects(now);
        if let Some(persist) = effects.persist {
            group.consensus(gone).persisted(persist.number);
        }
        if let Some(said) = effects.send.into_iter().find(|message| message.to.0 == from) {
            return group.consensus(from).step(said);
        }
    }
    panic!("it says nothing");
}

/// Of four one is taken out. The leader alone knows that this is committed when it loses power, and the disk of a third
/// dies: the two that are left of three must find a leader, even if they go by the old four.
#[test]
fn a_removed_voter_keeps_its_log_until_those_who_stay_can_do_without() {
    for seed in 0..40 {
        let mut group = Group::of(500 + seed, Mode::Skep, 4);
        group.run(5);
        group.slow_disks = true;
        let (leader, gone, [stays, dies]) = begin(&mut group);
        while !group.consensus(leader).membership().is_removed(RaftId(gone)) {
            group.run_briefly();
        }
        for id in [stays, dies] {
            group.cut(leader, id);
        }
        if hears(&mut group, gone, leader).is_err() {
            group.crash(gone);
        }
        group.crash(leader);
        group.crash(dies);
        group.run(20);
        group.cut.clear();
        group.slow_disks = false;
        group.start(leader);
        let heir = group.wait_for_leader();
        let said = group.say(heir).unwrap();
        group.run(20);
        assert!(group.acknowledged.contains(&said), "seed {seed}");
    }
}

#[test]
fn a_removed_voter_hears_it_from_everybody_as_soon_as_the_others_know() {
    let mut group = Group::of(520, Mode::Skep, 4);
    group.run(5);
    let (leader, gone, [one, other]) = begin(&mut group);
    group.run(2);
    for id in [leader, one, other] {
        assert!(group.consensus(id).membership().is_gone(RaftId(gone)), "member {id}");
        assert_eq!(hears(&mut group, gone, id), Err(StepError::Removed { from: RaftId(gone) }));
    }
}

/// It is left with the removal committed, and alone: it is needed still, and asks until somebody tells it.
#[test]
fn who_has_applied_its_own_removal_stays_until_it_is_told() {
    let mut group = Group::of(521, Mode::Skep, 3);
    group.run(5);
    let leader = group.wait_for_leader();
    let term = group.consensus(leader).role().term;
    group.consensus(leader).propose_membership(term, 1, &MembershipChange::Remove(RaftId(leader))).unwrap();
    group.settle(leader);
    while !group.consensus(leader).membership().is_removed(RaftId(leader)) {
        group.run_briefly();
    }
    assert!(!group.consensus(leader).role().is_removed);
    let heir = group.wait_for_leader();
    group.run(10);
    assert_eq!(hears(&mut group, leader, heir), Err(StepError::Removed { from: RaftId(leader) }));
}

/// Who is gone is known from the log, and from snapshots.
#[test]
fn a_restart_forgets_neither_who_may_hear_nor_who_must_not_yet() {
    let mut group = Group::of(522, Mode::Skep, 4);
    group.run(5);
    let (leader, gone, [one, other]) = begin(&mut group);
    while !group.consensus(leader).membership().is_removed(RaftId(gone)) {
        group.run_briefly();
    }
    // Nobody acknowledges the mark.
    group.isolate(leader);
    let snapshot = |group: &mut Group, id: u64| {
        let point = group.consensus(id).begin_snapshot().unwrap();
        let data = group.nodes[&id].store.encode(group.nodes[&id].consensus.as_ref().unwrap().membership());
        group.consensus(id).finish_snapshot(point, data);
        group.settle(id);
        group.run_briefly();
        group.crash(id);
        group.start(id);
    };
    snapshot(&mut group, leader);
    let membership = group.consensus(leader).membership();
    assert_eq!(membership.leaving().collect::<Vec<_>>(), [&member(gone)]);
    assert!(!membership.is_gone(RaftId(gone)));
    group.cut.clear();
    group.run(30);
    for id in [leader, one, other] {
        assert!(group.consensus(id).membership().is_gone(RaftId(gone)), "member {id}");
        snapshot(&mut group, id);
        assert!(group.consensus(id).membership().is_gone(RaftId(gone)), "member {id} after a restart");
    }
}

#[test]
fn a_learner_that_goes_may_hear_it_at_once() {
    let mut group = Group::of(523, Mode::Skep, 2);
    group.newcomer(3);
    let leader = group.wait_for_leader();
    for change in [MembershipChange::AddLearner(member(3)), MembershipChange::Remove(RaftId(3))] {
        let term = group.consensus(leader).role().term;
        group.consensus(leader).propose_membership(term, 1, &change).unwrap();
        group.settle(leader);
        group.run(2);
    }
    assert_eq!(group.consensus(leader).membership().gone().collect::<BTreeSet<_>>(), [RaftId(3)].into());
}

/// Who was heard a moment ago may be gone: what it holds tells.
#[test]
fn a_probe_is_held_only_by_those_who_are_there() {
    let mut group = Group::of(524, Mode::Skep, 5);
    group.run(5);
    let leader = group.wait_for_leader();
    let others: Vec<u64> = group.alive().into_iter().filter(|&id| id != leader).collect();
    for &id in &others[..2] {
        group.crash(id);
    }
    assert_eq!(group.consensus(leader).active().len(), 5, "nobody has noticed");
    let term = group.consensus(leader).role().term;
    let probe = group.consensus(leader).probe(term).unwrap();
    group.settle(leader);
    group.run(1);
    // Without a living one two of four are there, without a dead one three.
    assert!(!group.consensus(leader).held_without(RaftId(others[2]), probe));
    assert!(group.consensus(leader).held_without(RaftId(others[0]), probe));
}
