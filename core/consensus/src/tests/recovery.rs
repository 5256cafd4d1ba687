//! What is refused at start, and the lone survivor.

use std::collections::BTreeSet;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use skep_model::{RaftId, Time};

use super::harness::{Group, member};
use crate::*;

fn entry(index: u64, term: u64) -> LogEntry {
    LogEntry { index, term, kind: EntryKind::Normal, data: Bytes::from_static(b"said") }
}

fn refusal(recovered: Recovered) -> String {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    match Consensus::new(Config::new(RaftId(1), Mode::Skep), recovered, &mut rng) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("started"),
    }
}

#[test]
fn contradictions_on_disk_are_refused() {
    let hard_state = HardState { term: 2, vote: 0, commit: 2 };
    let good = Recovered { hard_state, entries: vec![entry(1, 1), entry(2, 2)], ..Recovered::default() };
    let with = |edit: fn(&mut Recovered)| {
        let mut recovered = good.clone();
        edit(&mut recovered);
        refusal(recovered)
    };
    assert!(with(|it| it.hard_state.commit = 3).contains("entries 3 to 3 are missing although they were committed"));
    assert!(with(|it| it.entries[1].index = 3).contains("does not follow"));
    assert!(with(|it| it.entries[0].term = 3).contains("does not follow"));
    assert!(with(|it| it.hard_state.term = 1).contains("term is 1"));
    assert!(with(|it| drop(it.entries.remove(0))).contains("entries 1 to 1 are missing"));
    assert!(with(|it| it.snapshot.index = 1).contains("contradicts the snapshot"));
    assert!(
        with(|it| {
            it.snapshot.index = 2;
            it.snapshot.term = 2;
        })
        .contains("no members")
    );
}

#[test]
fn a_survivor_keeps_everything_and_stands_alone() {
    let mut group = Group::of(21, Mode::Skep, 3);
    let leader = group.wait_for_leader();
    for _ in 0..5 {
        group.say(leader).unwrap();
    }
    group.run(5);
    let survivor = group.alive().into_iter().find(|&id| id != leader).unwrap();
    for id in group.alive() {
        group.crash(id);
    }
    let recovered = group.nodes[&survivor].disk.recovered();
    let own = Member { addr: "10.9.9.1:2377".to_owned(), ..member(survivor) };
    let mut request = 100;
    let (alone, persist) = force_new_cluster(recovered.clone(), &own, || {
        request += 1;
        request
    })
    .unwrap();
    assert!(alone.hard_state.term > recovered.hard_state.term);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut consensus = Consensus::new(Config::new(RaftId(survivor), Mode::Skep), alone, &mut rng).unwrap();
    let mut said = Vec::new();
    for _ in 0..5 {
        let effects = consensus.take_effects(Time(1));
        said.extend(effects.committed.into_iter().filter_map(|committed| match committed.payload {
            Payload::Data(data) => Some(data),
            _ => None,
        }));
        if let Some(persist) = effects.persist {
            consensus.persisted(persist.number);
        }
    }
    assert_eq!(said, group.acknowledged);
    assert!(consensus.role().is_ready);
    assert_eq!(consensus.membership().iter().collect::<Vec<_>>(), vec![&own]);
    let removed: BTreeSet<RaftId> = (1..=3).filter(|&id| id != survivor).map(RaftId).collect();
    assert_eq!(consensus.membership().removed(), &removed);
    // What is written equals what was started from.
    let mut disk = group.nodes[&survivor].disk.clone();
    disk.write(&persist);
    assert_eq!(disk.recovered().entries.len(), recovered.entries.len() + persist.entries.len());
}

#[test]
fn entries_beyond_the_known_commit_survive_the_survivor() {
    let (first, _) = bootstrap(&member(1), 1);
    let mut recovered = first;
    recovered.entries.push(entry(2, 1));
    recovered.entries.push(entry(3, 1));
    let (alone, _) = force_new_cluster(recovered, &member(1), || 9).unwrap();
    assert_eq!(alone.hard_state.commit, 3);
}

#[test]
fn a_removed_member_cannot_start_over() {
    let (mut recovered, _) = bootstrap(&member(1), 1);
    let data = change_bytes(2, &MembershipChange::Remove(RaftId(1)));
    recovered.entries.push(LogEntry { index: 2, term: 1, kind: EntryKind::MembershipChange, data });
    let error = force_new_cluster(recovered, &member(1), || 9).unwrap_err();
    assert!(error.to_string().contains("was removed"));
}

#[test]
fn a_log_that_begins_before_the_snapshot_is_used() {
    let mut group = Group::of(22, Mode::Skep, 1);
    group.consensus(1).set_snapshot_policy(10, 3);
    for _ in 0..15 {
        group.say(1).unwrap();
        group.run(1);
    }
    let disk = group.nodes[&1].disk.clone();
    let first = *disk.entries.keys().next().unwrap();
    let snapshot = disk.snapshot.as_ref().unwrap().meta.index;
    assert!(first <= snapshot, "entries {first}.. do not reach before snapshot {snapshot}");
    group.crash(1);
    group.start(1);
    group.converge();
}
