//! The log in normal life.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use skep_consensus::{
    Config, Consensus, HardState, LogRange, Membership, Mode, Payload, Persist, SnapshotToSave, bootstrap,
};
use skep_model::{RaftId, Time};

use super::{entries, entry, file_names, key, member, mode, snapshot, write_of};
use crate::{DataKey, DiskError, LogStore, RaftDisk, RecoveredLog};

fn reopen(disk: RaftDisk, dir: &Path) -> (RaftDisk, RecoveredLog) {
    let key = disk.key().clone();
    drop(disk);
    let mut disk = RaftDisk::open(dir, &[key]).unwrap().unwrap();
    let recovered = disk.recover().unwrap();
    (disk, recovered)
}

#[test]
fn what_was_written_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let dir = &dir.path().join("raft");
    assert!(RaftDisk::open(dir, &[key(1)]).unwrap().is_none());
    let mut disk = RaftDisk::create(dir, key(1), &member()).unwrap();
    assert_eq!(disk.recover().unwrap(), RecoveredLog::default());
    disk.write(&[write_of(entries(1..=5, 1), 3), write_of(entries(4..=6, 2), 5)]).unwrap();
    let (mut disk, recovered) = reopen(disk, dir);
    assert_eq!(disk.member(), &member());
    assert_eq!(recovered.hard_state, HardState { term: 2, vote: 7, commit: 5 });
    assert_eq!(recovered.entries, [entries(1..=3, 1), entries(4..=6, 2)].concat());
    let range = |low, high, bytes_max| LogRange { low, high, bytes_max };
    assert_eq!(disk.read_entries(range(3, 5, u64::MAX)).unwrap(), [entry(3, 1), entry(4, 2)]);
    assert_eq!(disk.read_entries(range(3, 7, 1)).unwrap(), [entry(3, 1)]);
    assert_eq!(disk.read_entries(range(9, 12, u64::MAX)).unwrap(), []);
    assert_eq!((mode(dir), mode(&dir.join("raft.db"))), (0o700, 0o600));
}

#[test]
fn an_unsynced_commit_index_becomes_durable_with_the_next_write() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = RaftDisk::create(dir.path(), key(1), &member()).unwrap();
    disk.write(&[write_of(entries(1..=2, 1), 0)]).unwrap();
    let commit = HardState { term: 1, vote: 7, commit: 2 };
    disk.write(&[Persist { number: 2, hard_state: Some(commit), ..Persist::default() }]).unwrap();
    assert_eq!(disk.recover().unwrap().hard_state, commit);
    disk.write(&[write_of(entries(3..=3, 1), 2)]).unwrap();
    let (_, recovered) = reopen(disk, dir.path());
    assert_eq!((recovered.hard_state.commit, recovered.entries.len()), (2, 3));
}

#[test]
fn a_snapshot_cuts_the_log_and_replaces_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = RaftDisk::create(dir.path(), key(1), &member()).unwrap();
    disk.write(&[write_of(entries(1..=20, 1), 20)]).unwrap();
    for (index, cut) in [(10, 5), (18, 13)] {
        let data = format!("legible snapshot {index}").repeat(60_000);
        let saved = Some(snapshot(index, 1, data.as_bytes()));
        let write = Persist { sync: true, snapshot: saved, compact_to: Some(cut), ..Persist::default() };
        disk.write(&[write]).unwrap();
    }
    let (mut disk, recovered) = reopen(disk, dir.path());
    let (meta, data) = recovered.snapshot.unwrap();
    assert_eq!(meta, snapshot(18, 1, b"").meta);
    assert_eq!(data, "legible snapshot 18".repeat(60_000));
    assert_eq!(recovered.entries, entries(14..=20, 1));
    let names = file_names(dir.path());
    assert_eq!(names, ["0000000000000001-0000000000000012.0.snap", "raft.db"]);
    assert_eq!(mode(&dir.path().join(&names[0])), 0o600);
    assert_eq!(disk.snapshot_reader().load(18, 1).unwrap(), data);
    assert!(matches!(disk.load_snapshot(10, 1), Err(DiskError::NoSnapshot { index: 10, term: 1 })));
}

#[test]
fn a_snapshot_written_beforehand_is_taken_as_it_lies_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = RaftDisk::create(dir.path(), key(1), &member()).unwrap();
    disk.write(&[write_of(entries(1..=20, 1), 20)]).unwrap();
    let save = |disk: &mut RaftDisk, index: u64| {
        let saved = Some(snapshot(index, 1, format!("state {index}").as_bytes()));
        disk.write(&[Persist { sync: true, snapshot: saved, ..Persist::default() }]).unwrap();
    };
    let prepare = |disk: &mut RaftDisk, index: u64| {
        let prepared =
            disk.snapshot_writer().prepare(&snapshot(index, 1, b"").meta, format!("state {index}").as_bytes());
        disk.prepared(prepared.unwrap());
    };
    let files = || file_names(dir.path()).into_iter().filter(|name| name.ends_with(".snap")).collect::<Vec<_>>();
    prepare(&mut disk, 10);
    let inode = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().ino();
    assert_eq!(files(), ["0000000000000001-000000000000000a.1.snap"]);
    // One that nobody refers to is gone after a restart, and is written again.
    let (mut disk, recovered) = reopen(disk, dir.path());
    assert_eq!((recovered.snapshot, files()), (None, Vec::new()));
    save(&mut disk, 10);
    assert_eq!(files(), ["0000000000000001-000000000000000a.0.snap"]);
    prepare(&mut disk, 12);
    let lies = inode(&files()[1]);
    save(&mut disk, 12);
    assert_eq!((files().len(), inode(&files()[0])), (1, lies), "it is not written again");
    assert_eq!(disk.snapshot_reader().load(12, 1).unwrap(), "state 12");
    // Another snapshot's file, one under another key, and one that is gone are not taken.
    prepare(&mut disk, 13);
    save(&mut disk, 14);
    assert_eq!(disk.snapshot_reader().load(14, 1).unwrap(), "state 14");
    prepare(&mut disk, 15);
    disk.rotate_key(&key(2)).unwrap();
    save(&mut disk, 15);
    assert_eq!(disk.snapshot_reader().load(15, 1).unwrap(), "state 15");
    prepare(&mut disk, 16);
    for file in files().iter().filter(|name| name.contains("10.1.snap")) {
        std::fs::remove_file(dir.path().join(file)).unwrap();
    }
    save(&mut disk, 16);
    assert_eq!(disk.snapshot_reader().load(16, 1).unwrap(), "state 16");
    drop(disk);
    let mut disk = RaftDisk::open(dir.path(), &[key(2)]).unwrap().unwrap();
    assert_eq!(disk.recover().unwrap().snapshot.unwrap().1, "state 16");
}

#[test]
fn old_snapshots_are_kept_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = RaftDisk::create(dir.path(), key(1), &member()).unwrap();
    disk.set_keep_old_snapshots(1);
    for index in 1..=4 {
        let saved = Some(snapshot(index, 1, b"data"));
        disk.write(&[Persist { sync: true, snapshot: saved, ..Persist::default() }]).unwrap();
    }
    let kept: Vec<String> = file_names(dir.path()).into_iter().filter(|name| name.ends_with(".snap")).collect();
    assert_eq!(kept.len(), 2);
    assert!(kept[0].contains("0003.0") && kept[1].contains("0004.0"), "{kept:?}");
}

#[test]
fn a_snapshot_from_the_leader_drops_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = RaftDisk::create(dir.path(), key(1), &member()).unwrap();
    disk.write(&[write_of(entries(1..=9, 1), 4)]).unwrap();
    let received = SnapshotToSave { replaces_log: true, ..snapshot(50, 3, b"state") };
    let mut write = write_of(entries(51..=52, 3), 50);
    write.snapshot = Some(received);
    disk.write(&[write]).unwrap();
    let (_, recovered) = reopen(disk, dir.path());
    assert_eq!(recovered.snapshot.unwrap().0.index, 50);
    assert_eq!(recovered.entries, entries(51..=52, 3));
}

#[test]
fn a_batch_may_be_written_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = RaftDisk::create(dir.path(), key(1), &member()).unwrap();
    let received = SnapshotToSave { replaces_log: true, ..snapshot(5, 1, b"state") };
    let batch = [
        Persist { sync: true, snapshot: Some(received), ..Persist::default() },
        write_of(entries(6..=9, 1), 5),
        write_of(entries(8..=8, 2), 6),
    ];
    disk.write(&batch).unwrap();
    let once = disk.recover().unwrap();
    disk.write(&batch).unwrap();
    assert_eq!(disk.recover().unwrap(), once);
    assert_eq!(once.entries.last(), Some(&entry(8, 2)));
}

#[test]
fn one_log_in_one_place_and_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RaftDisk::create(dir.path(), key(1), &member()).unwrap();
    assert!(matches!(RaftDisk::open(dir.path(), &[key(1)]), Err(DiskError::InUse { .. })));
    drop(disk);
    assert!(matches!(RaftDisk::create(dir.path(), key(1), &member()), Err(DiskError::Exists { .. })));
}

#[test]
fn an_interrupted_creation_counts_as_none() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(".raft.db.tmp"), b"half a database").unwrap();
    assert!(RaftDisk::open(dir.path(), &[key(1)]).unwrap().is_none());
    RaftDisk::create(dir.path(), key(1), &member()).unwrap();
    assert!(RaftDisk::open(dir.path(), &[key(1)]).unwrap().is_some());
}

#[test]
fn the_key_is_changed_under_everything() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = RaftDisk::create(dir.path(), key(1), &member()).unwrap();
    let mut write = write_of(entries(1..=9, 1), 8);
    write.snapshot = Some(snapshot(4, 1, b"state"));
    disk.write(&[write]).unwrap();
    let before = disk.recover().unwrap();
    disk.rotate_key(&key(2)).unwrap();
    assert_eq!(disk.recover().unwrap(), before);
    drop(disk);
    assert!(matches!(RaftDisk::open(dir.path(), &[key(1)]), Err(DiskError::Undecryptable { .. })));
    // As after a crash before the key file was written again: both keys are tried.
    let mut disk = RaftDisk::open(dir.path(), &[key(1), key(2)]).unwrap().unwrap();
    assert_eq!(disk.key(), &key(2));
    assert_eq!(disk.recover().unwrap(), before);
    let moved = skep_consensus::Member { addr: "10.0.0.9:2377".to_owned(), ..member() };
    disk.set_member(&moved).unwrap();
    let (disk, _) = reopen(disk, dir.path());
    assert_eq!(disk.member(), &moved);
}

#[test]
fn nothing_legible_is_on_disk_and_keys_do_not_print() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = RaftDisk::create(dir.path(), key(1), &member()).unwrap();
    let mut write = write_of(entries(1..=50, 1), 8);
    write.snapshot = Some(snapshot(4, 1, b"legible snapshot"));
    disk.write(&[write]).unwrap();
    drop(disk);
    for name in file_names(dir.path()) {
        let bytes = std::fs::read(dir.path().join(name)).unwrap();
        for secret in [&b"legible"[..], b"10.0.0.1", &[1; 32]] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret));
        }
    }
    let generated = DataKey::generate().unwrap();
    assert_ne!(generated, DataKey::generate().unwrap());
    assert_eq!(format!("{generated:?}"), "DataKey(…)");
}

/// Consensus over the real disk: a single member that restarts.
#[test]
fn a_member_lives_through_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let (recovered, persist) = bootstrap(&member(), 1);
    let mut disk = RaftDisk::create_with(dir.path(), key(1), &member(), &[persist]).unwrap();
    assert_eq!(disk.recover().unwrap().into_recovered(&Membership::default()), recovered);
    let mut rng = rand_core::OsRng;
    let mut rng = rand_core::TryRngCore::unwrap_mut(&mut rng);
    for round in 1..=3u64 {
        let (next, log) = reopen(disk, dir.path());
        disk = next;
        let recovered = log.into_recovered(&Membership::default());
        let mut consensus = Consensus::new(Config::new(RaftId(7), Mode::Skep), recovered, &mut rng).unwrap();
        let mut said = Vec::new();
        let mut proposed = false;
        for _ in 0..10 {
            let effects = consensus.take_effects(Time(round));
            said.extend(effects.committed.into_iter().filter_map(|committed| match committed.payload {
                Payload::Data(data) => Some(data),
                _ => None,
            }));
            if let Some(persist) = effects.persist {
                disk.write(std::slice::from_ref(&persist)).unwrap();
                consensus.persisted(persist.number);
            }
            if consensus.role().is_ready && !proposed {
                proposed = true;
                consensus.propose(consensus.role().term, format!("round {round}").into()).unwrap();
            }
        }
        let expected: Vec<bytes::Bytes> = (1..=round).map(|round| format!("round {round}").into()).collect();
        assert_eq!(said, expected);
    }
}

#[test]
fn who_was_joined_is_known_before_the_first_entry_and_under_another_key() {
    let dir = tempfile::tempdir().unwrap();
    let dir = &dir.path().join("raft");
    let disk = RaftDisk::create_joining(dir, key(1), &member(), &[member()]).unwrap();
    let (mut disk, recovered) = reopen(disk, dir);
    assert_eq!(recovered.clone().into_recovered(&Membership::default()).members, [member()]);
    disk.rotate_key(&key(2)).unwrap();
    let (_, recovered) = reopen(disk, dir);
    assert_eq!(recovered.others, [member()]);
    // A snapshot knows better.
    let snapped = RecoveredLog {
        snapshot: Some((skep_consensus::SnapshotMeta { index: 5, ..Default::default() }, bytes::Bytes::new())),
        ..recovered
    };
    assert!(snapped.into_recovered(&Membership::default()).members.is_empty());
}
