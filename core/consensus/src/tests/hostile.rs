//! Messages that no honest member sends: refused or ignored, never a panic.

use prost_011::Message as _;
use raft::eraftpb::{ConfState, Entry, Message, MessageType, Snapshot, SnapshotMetadata};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use skep_model::RaftId;

use super::harness::Group;
use crate::wire::{self, Assembler, WireError};
use crate::*;

fn follower() -> (Group, u64, u64) {
    let mut group = Group::of(31, Mode::Skep, 3);
    let leader = group.wait_for_leader();
    for _ in 0..5 {
        group.say(leader).unwrap();
    }
    group.run(5);
    let follower = group.alive().into_iter().find(|&id| id != leader).unwrap();
    (group, leader, follower)
}

fn message(group: &mut Group, kind: MessageType, from: u64, to: u64) -> Message {
    let term = group.consensus(to).role().term;
    Message { msg_type: kind as i32, from, to, term, ..Message::default() }
}

/// As a transport does: what cannot be read is refused, too.
fn take(group: &mut Group, to: u64, bytes: &[u8]) -> Result<(), StepError> {
    group.consensus(to).step(PeerMessage::decode(bytes)?)
}

fn step(group: &mut Group, message: &Message) -> Result<(), StepError> {
    let to = message.to;
    let result = take(group, to, &message.encode_to_vec());
    group.settle(to);
    result
}

#[test]
fn a_commit_beyond_the_log_is_a_loud_refusal() {
    let (mut group, leader, follower) = follower();
    let mut heartbeat = message(&mut group, MessageType::MsgHeartbeat, leader, follower);
    heartbeat.commit = 1_000;
    let error = step(&mut group, &heartbeat).unwrap_err();
    assert!(matches!(error, StepError::Diverged { .. }), "{error}");
    assert!(error.to_string().contains("once acknowledged"));
}

#[test]
fn a_committed_entry_is_never_replaced() {
    let (mut group, leader, follower) = follower();
    let mut append = message(&mut group, MessageType::MsgAppend, leader, follower);
    append.term += 1;
    append.index = 2;
    append.log_term = 1;
    append.entries = vec![Entry { index: 3, term: append.term, ..Entry::default() }];
    assert!(matches!(step(&mut group, &append), Err(StepError::Diverged { .. })));
}

#[test]
fn malformed_messages_are_refused() {
    let (mut group, leader, follower) = follower();
    let refused = |group: &mut Group, message: &Message| {
        let result = step(group, message);
        assert!(matches!(result, Err(StepError::Malformed { .. })), "{message:?} gave {result:?}");
    };
    let append = message(&mut group, MessageType::MsgAppend, leader, follower);
    refused(&mut group, &Message { msg_type: 19, ..append.clone() });
    refused(&mut group, &Message { msg_type: MessageType::MsgHup as i32, ..append.clone() });
    refused(&mut group, &Message { from: 0, ..append.clone() });
    refused(&mut group, &Message { from: follower, ..append.clone() });
    refused(&mut group, &Message { term: 0, ..append.clone() });
    refused(&mut group, &Message { request_snapshot: 1, ..append.clone() });
    let odd_kind = Entry { index: 1, term: 1, entry_type: 7, ..Entry::default() };
    let joint = Entry { index: 1, term: 1, entry_type: 2, ..Entry::default() };
    let gap = Entry { index: 3, term: 1, ..Entry::default() };
    let future = Entry { index: 1, term: u64::MAX, ..Entry::default() };
    for entry in [odd_kind, joint, gap, future] {
        refused(&mut group, &Message { entries: vec![entry], ..append.clone() });
    }
    let snapshot = message(&mut group, MessageType::MsgSnapshot, leader, follower);
    refused(&mut group, &snapshot);
    let with = |voters: Vec<u64>, learners: Vec<u64>, index| {
        let conf_state = Some(ConfState { voters, learners, ..ConfState::default() });
        let metadata = Some(SnapshotMetadata { conf_state, index, term: 1 });
        Message { snapshot: Some(Snapshot { data: vec![], metadata }), ..snapshot.clone() }
    };
    refused(&mut group, &with(vec![], vec![], 90));
    refused(&mut group, &with(vec![1, 1], vec![], 90));
    refused(&mut group, &with(vec![1, 2], vec![2], 90));
    refused(&mut group, &with(vec![0, 2], vec![], 90));
    refused(&mut group, &with(vec![1, 2, 3], vec![], 0));
    let garbage = take(&mut group, follower, b"\xff\xff\xff garbage");
    assert!(matches!(garbage, Err(StepError::Malformed { .. })));
    group.converge();
}

/// Engines before 23.0 send the members as of the snapshot, and the one that joins was none of them.
#[test]
fn a_snapshot_that_does_not_name_its_receiver_is_taken() {
    let mut group = Group::new(32, Mode::Docker);
    group.newcomer(9);
    let conf_state = Some(ConfState { voters: vec![1, 2], ..ConfState::default() });
    let metadata = Some(SnapshotMetadata { conf_state, index: 90, term: 2 });
    let snapshot = Some(Snapshot { data: b"member 1\nmember 2\n".to_vec(), metadata });
    let kind = MessageType::MsgSnapshot as i32;
    let message = Message { msg_type: kind, from: 1, to: 9, term: 3, snapshot, ..Message::default() };
    step(&mut group, &message).unwrap();
    assert_eq!((group.nodes[&9].snapshots_installed, group.consensus(9).applied_index()), (1, 90));
    // What follows it is taken as well.
    let entry = Entry { index: 91, term: 3, ..Entry::default() };
    let kind = MessageType::MsgAppend as i32;
    let append =
        Message { msg_type: kind, from: 1, to: 9, term: 3, index: 90, log_term: 2, commit: 91, ..Message::default() };
    group.sync_disks();
    step(&mut group, &Message { entries: vec![entry], ..append }).unwrap();
    group.sync_disks();
    assert_eq!(group.consensus(9).applied_index(), 91);
}

#[test]
fn writes_and_reads_are_not_taken_and_votes_of_strangers_unseat_nobody() {
    let (mut group, leader, follower) = follower();
    let last = group.consensus(leader).last_index();
    let mut propose = message(&mut group, MessageType::MsgPropose, follower, leader);
    propose.entries = vec![Entry::default()];
    step(&mut group, &propose).unwrap();
    let read = message(&mut group, MessageType::MsgReadIndex, follower, leader);
    step(&mut group, &read).unwrap();
    let handover = message(&mut group, MessageType::MsgTransferLeader, follower, leader);
    step(&mut group, &handover).unwrap();
    group.run(3);
    assert_eq!(group.leader(), Some(leader));
    assert_eq!(group.consensus(leader).last_index(), last);
    let mut vote = message(&mut group, MessageType::MsgRequestVote, 99, leader);
    vote.term += 5;
    step(&mut group, &vote).unwrap();
    group.run(3);
    assert_eq!(group.leader(), Some(leader), "who hears a quorum does not listen to strangers");
}

#[test]
fn random_messages_never_panic() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for _ in 0..30 {
        let (mut group, leader, follower) = follower();
        for _ in 0..200 {
            let small = |rng: &mut ChaCha8Rng| rng.next_u64() % 12;
            let term = group.consensus(follower).role().term;
            let index = small(&mut rng);
            let log_term = small(&mut rng);
            let count = rng.next_u64() % 4;
            let message = Message {
                msg_type: (rng.next_u64() % 21) as i32,
                from: if rng.next_u64().is_multiple_of(2) { leader } else { small(&mut rng) },
                to: follower,
                term: (term + rng.next_u64() % 3).saturating_sub(1),
                index,
                log_term,
                commit: small(&mut rng),
                commit_term: small(&mut rng),
                reject: rng.next_u64().is_multiple_of(2),
                reject_hint: small(&mut rng),
                entries: (1..=count)
                    .map(|step| Entry { index: index + step, term: log_term.max(1), ..Entry::default() })
                    .collect(),
                ..Message::default()
            };
            // Any verdict will do.
            let _verdict = take(&mut group, follower, &message.encode_to_vec());
            let now = group.now;
            let effects = group.consensus(follower).take_effects(now);
            if let Some(persist) = effects.persist {
                group.consensus(follower).persisted(persist.number);
            }
        }
    }
}

#[test]
fn a_snapshot_is_cut_and_joined() {
    let metadata = Some(SnapshotMetadata {
        conf_state: Some(ConfState { voters: vec![1], ..ConfState::default() }),
        index: 9,
        term: 2,
    });
    let whole = Message {
        msg_type: MessageType::MsgSnapshot as i32,
        from: 1,
        to: 2,
        term: 2,
        index: 4,
        snapshot: Some(Snapshot { data: vec![], metadata }),
        ..Message::default()
    };
    let mut data = vec![0u8; 9 * 1024 * 1024];
    ChaCha8Rng::seed_from_u64(1).fill_bytes(&mut data);
    let bytes = PeerMessage::new(whole.clone()).with_snapshot_data(&data).unwrap().encode();
    let pieces = wire::split(&bytes).unwrap();
    assert_eq!(pieces.len(), 3);
    assert!(pieces.iter().all(|piece| piece.len() < wire::SNAPSHOT_CHUNK_BYTES_MAX));
    let mut assembler = Assembler::new(data.len());
    pieces.iter().for_each(|piece| assembler.add(piece).unwrap());
    assert_eq!(assembler.finish().unwrap(), bytes);
    let seen = wire::inspect(&pieces[2]).unwrap();
    assert_eq!((seen.from, seen.to, seen.index), (RaftId(1), RaftId(2), 4));
    assert_eq!(seen.kind, MessageKind::Snapshot { index: 9, term: 2 });

    let mut foreign = Assembler::new(usize::MAX);
    foreign.add(&pieces[0]).unwrap();
    let other = Message { index: 5, ..whole.clone() };
    assert_eq!(foreign.add(&other.encode_to_vec()), Err(WireError::ForeignPiece { expected: 4, found: 5 }));
    let mut small = Assembler::new(1024);
    small.add(&pieces[0]).unwrap();
    assert_eq!(small.add(&pieces[1]), Err(WireError::TooLarge { bytes_max: 1024 }));
}

/// Go writes zero fields, an empty snapshot in every message (engines up to 29.1), and unpacked numbers (interop §5.3).
#[test]
fn what_go_writes_is_understood() {
    let (mut group, leader, follower) = follower();
    let heartbeat = message(&mut group, MessageType::MsgHeartbeat, leader, follower);
    let mut bytes = vec![
        0x08,
        0x08, // type: heartbeat
        0x10,
        follower as u8,
        0x18,
        leader as u8, // to, from
        0x20,
        heartbeat.term as u8, // term
        0x28,
        0,
        0x30,
        0,
        0x40,
        0, // log term, index, commit
        0x4a,
        0x08,
        0x12,
        0x06,
        0x0a,
        0x00,
        0x10,
        0,
        0x18,
        0, // snapshot: metadata with empty members, 0, 0
        0x50,
        0,
        0x58,
        0, // reject, hint
    ];
    take(&mut group, follower, &bytes).unwrap();
    let now = group.now;
    let answers = group.consensus(follower).take_effects(now).send;
    assert!(answers.iter().any(|answer| answer.to.0 == leader && answer.kind == MessageKind::Heartbeat));

    // A snapshot whose voters are unpacked, as proto2 has them.
    bytes = vec![0x08, 0x07, 0x10, follower as u8, 0x18, leader as u8, 0x20, heartbeat.term as u8, 0x28, 0, 0x30, 0];
    bytes.extend([0x4a, 0x0e, 0x0a, 0, 0x12, 0x0a, 0x0a, 0x04, 0x08, 1, 0x08, follower as u8, 0x10, 90, 0x18, 1]);
    take(&mut group, follower, &bytes).unwrap();
    let effects = group.consensus(follower).take_effects(now);
    assert_eq!(effects.install.map(|installed| installed.index), Some(90));
    let voters = effects.persist.unwrap().snapshot.unwrap().meta.conf.voters;
    assert_eq!(voters, [RaftId(1), RaftId(follower)].into());
}

/// raftpb.ConfChange{ID: 5, Type: UpdateNode, NodeID: 3, Context} and the learner's number, as etcd writes them.
#[test]
fn conf_changes_have_dockers_numbers() {
    let member = super::harness::member(3);
    for (number, change, raft_number) in [
        (0, MembershipChange::Add(member.clone()), Some(0)),
        (2, MembershipChange::Update(member.clone()), None),
        (3, MembershipChange::AddLearner(member.clone()), Some(2)),
    ] {
        let context = member.encode();
        let mut wire = vec![0x08, 5, 0x10, number, 0x18, 3, 0x22, context.len() as u8];
        wire.extend_from_slice(&context);
        let decoded = crate::membership_entry::decode(&wire).unwrap();
        assert_eq!((decoded.request_id, decoded.for_table), (5, Ok(change)));
        assert_eq!(decoded.for_raft.map(|change| change.change_type), raft_number);
    }
    let unknown = crate::membership_entry::decode(&[0x10, 4, 0x18, 3]);
    assert!(unknown.is_err_and(|reason| reason.contains("unknown type 4")));
}
