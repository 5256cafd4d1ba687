//! Files that somebody or something altered: refused with a typed error, or read as they were written; never a panic,
//! never other content.

use std::path::Path;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use redb::{Database, ReadableDatabase, TableDefinition};
use skep_consensus::Persist;

use super::{entries, file_names, key, member, snapshot, write_of};
use crate::{DiskError, LogStore, RaftDisk, RecoveredLog};

type Entries<'transaction> = redb::Table<'transaction, u64, &'static [u8]>;
type Meta<'transaction> = redb::Table<'transaction, &'static str, &'static [u8]>;

/// A closed log, and what is in it after each of its writes.
fn closed(dir: &Path) -> Vec<RecoveredLog> {
    let mut disk = RaftDisk::create(dir, key(1), &member()).unwrap();
    let mut states = vec![disk.recover().unwrap()];
    for batch in 0..20u64 {
        let range = batch * 10 + 1..=batch * 10 + 10;
        disk.write(&[write_of(entries(range, 1), batch * 10)]).unwrap();
        states.push(disk.recover().unwrap());
    }
    states
}

fn read(dir: &Path) -> Result<RecoveredLog, DiskError> {
    match RaftDisk::open(dir, &[key(1)])? {
        Some(mut disk) => disk.recover(),
        None => panic!("no log at all"),
    }
}

fn is_loud(error: &DiskError) -> bool {
    matches!(
        error,
        DiskError::Damaged { .. }
            | DiskError::Undecryptable { .. }
            | DiskError::Version { .. }
            | DiskError::OpenDatabase { .. }
            | DiskError::Database { .. }
    )
}

#[test]
fn flipped_bits_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let states = closed(dir.path());
    let path = dir.path().join("raft.db");
    let good = std::fs::read(&path).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let used: Vec<usize> = (0..good.len()).filter(|&at| good[at] != 0).collect();
    let mut refused = 0;
    for _ in 0..150 {
        let at = used[rng.next_u64() as usize % used.len()];
        let mut bad = good.clone();
        bad[at] ^= 1 << (rng.next_u64() % 8);
        std::fs::write(&path, &bad).unwrap();
        match read(dir.path()) {
            // The flip hit a page that is not in use any more.
            Ok(found) => assert_eq!(Some(&found), states.last(), "byte {at}"),
            Err(error) => {
                assert!(is_loud(&error), "byte {at}: {error:?}");
                refused += 1;
            }
        }
    }
    assert!(refused > 25, "only {refused} of 150 flips were noticed: most hit nothing");
}

#[test]
fn a_truncated_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let states = closed(dir.path());
    let path = dir.path().join("raft.db");
    let good = std::fs::read(&path).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for _ in 0..100 {
        let length = rng.next_u64() as usize % good.len();
        std::fs::write(&path, &good[..length]).unwrap();
        match read(dir.path()) {
            Ok(found) => assert_eq!(Some(&found), states.last(), "{length} bytes"),
            Err(error) => assert!(is_loud(&error), "{length} bytes: {error:?}"),
        }
    }
}

#[test]
fn records_cannot_stand_in_for_each_other() {
    const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entry");
    const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path());
    let path = dir.path().join("raft.db");
    let good = std::fs::read(&path).unwrap();
    let tamper = |change: &dyn Fn(&mut Entries<'_>, &mut Meta<'_>)| {
        std::fs::write(&path, &good).unwrap();
        let database = Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        change(&mut transaction.open_table(ENTRIES).unwrap(), &mut transaction.open_table(META).unwrap());
        transaction.commit().unwrap();
        drop(database);
        read(dir.path()).unwrap_err()
    };
    let get = |index: u64| {
        let database = Database::open(&path).unwrap();
        let table = database.begin_read().unwrap().open_table(ENTRIES).unwrap();
        table.get(index).unwrap().unwrap().value().to_vec()
    };
    let (first, second) = (get(1), get(2));
    let error = tamper(&|entries, _| drop(entries.insert(1, &second[..]).unwrap()));
    assert!(matches!(error, DiskError::Damaged { .. }), "{error:?}");
    let error = tamper(&|_, meta| drop(meta.insert("hard-state", &first[..]).unwrap()));
    assert!(matches!(error, DiskError::Undecryptable { .. }), "{error:?}");
    let error = tamper(&|entries, _| drop(entries.insert(1, &first[..20]).unwrap()));
    assert!(matches!(error, DiskError::Undecryptable { .. }), "{error:?}");
    let error = tamper(&|entries, _| drop(entries.remove(100).unwrap()));
    assert!(error.to_string().contains("entries 100 to 100 are missing"), "{error}");
    let error = tamper(&|_, meta| drop(meta.insert("version", &9u32.to_be_bytes()[..]).unwrap()));
    assert!(matches!(error, DiskError::Version { found: 9, known: 1, .. }), "{error:?}");
    let error = tamper(&|_, meta| drop(meta.remove("member").unwrap()));
    assert!(matches!(error, DiskError::Damaged { .. }), "{error:?}");
}

#[test]
fn another_key_opens_nothing() {
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path());
    let opened = RaftDisk::open(dir.path(), &[key(2), key(3)]);
    assert!(matches!(opened, Err(DiskError::Undecryptable { .. })));
}

#[test]
fn altered_snapshots_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = RaftDisk::create(dir.path(), key(1), &member()).unwrap();
    let data = vec![5u8; 2 * 1024 * 1024];
    let saved = Some(snapshot(9, 2, &data));
    disk.write(&[Persist { sync: true, snapshot: saved, ..Persist::default() }]).unwrap();
    drop(disk);
    let path = dir.path().join(&file_names(dir.path())[0]);
    let good = std::fs::read(&path).unwrap();
    let with = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let error = read(dir.path()).unwrap_err();
        assert!(is_loud(&error), "{error:?}");
        error
    };
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for _ in 0..8 {
        let mut bad = good.clone();
        bad[rng.next_u64() as usize % good.len()] ^= 1 << (rng.next_u64() % 8);
        with(&bad);
        with(&good[..rng.next_u64() as usize % good.len()]);
    }
    // Two pieces change places: each decrypts well, and says that it belongs elsewhere.
    let (head, piece) = (12, (good.len() - 12) / 2);
    let swapped = [&good[..head], &good[head + piece..head + 2 * piece], &good[head..head + piece]].concat();
    assert!(with(&swapped).to_string().contains("belongs elsewhere"));
    std::fs::remove_file(&path).unwrap();
    assert!(read(dir.path()).unwrap_err().to_string().contains("is missing"));
}

#[test]
fn a_log_that_lost_its_last_write_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = &dir.path().join("raft");
    let mut disk = RaftDisk::create(dir, key(1), &member()).unwrap();
    disk.write(&[write_of(entries(1..=3, 1), 3)]).unwrap();
    let before = std::fs::read(dir.join("raft.db")).unwrap();
    disk.write(&[write_of(entries(4..=4, 1), 4)]).unwrap();
    drop(disk);
    std::fs::write(dir.join("raft.db"), &before).unwrap();
    assert!(matches!(RaftDisk::open(dir, &[key(1)]), Err(DiskError::Damaged { .. })));
    // A note that cannot be read proves nothing.
    std::fs::write(dir.join("tail"), [7; 16]).unwrap();
    assert_eq!(RaftDisk::open(dir, &[key(1)]).unwrap().unwrap().recover().unwrap().entries, entries(1..=3, 1));
}
