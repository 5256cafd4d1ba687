//! Storage that loses power, tears writes, and runs full.

use std::fs::File;
use std::io::{Error, ErrorKind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use redb::StorageBackend;
use redb::backends::FileBackend;
use skep_consensus::{HardState, Persist};

use super::{entries, file_names, key, member, snapshot, write_of};
use crate::database::Opener;
use crate::{DiskError, LogStore, RaftDisk};

const SECTOR_BYTES: usize = 512;

/// A file whose unsynced writes are remembered. At one operation power is lost: of the unsynced writes an arbitrary
/// part, torn at sectors, is kept in `image`.
struct Contents {
    durable: Vec<u8>,
    current: Vec<u8>,
    unsynced: Vec<(u64, Vec<u8>)>,
    operations: u64,
    power_lost_at: u64,
    image: Option<(Vec<u8>, u64)>,
    acknowledged: Arc<AtomicU64>,
    rng: ChaCha8Rng,
}

impl Contents {
    fn step(&mut self) {
        self.operations += 1;
        if self.operations != self.power_lost_at {
            return;
        }
        let mut left = self.durable.clone();
        for (offset, data) in &self.unsynced {
            for (at, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                if self.rng.next_u64().is_multiple_of(2) {
                    let from = *offset as usize + at * SECTOR_BYTES;
                    left[from..from + sector.len()].copy_from_slice(sector);
                }
            }
        }
        self.image = Some((left, self.acknowledged.load(Ordering::SeqCst)));
    }
}

struct Volatile(Arc<Mutex<Contents>>);

impl std::fmt::Debug for Volatile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Volatile")
    }
}

impl StorageBackend for Volatile {
    fn len(&self) -> Result<u64, Error> {
        Ok(self.0.lock().unwrap().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let contents = self.0.lock().unwrap();
        let from = offset as usize;
        out.copy_from_slice(contents.current.get(from..from + out.len()).ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        let mut contents = self.0.lock().unwrap();
        contents.current.resize(len as usize, 0);
        contents.durable.resize(len as usize, 0);
        contents.unsynced.retain(|(offset, data)| offset + data.len() as u64 <= len);
        contents.step();
        Ok(())
    }

    fn sync_data(&self) -> Result<(), Error> {
        let mut contents = self.0.lock().unwrap();
        contents.step();
        contents.durable = contents.current.clone();
        contents.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let mut contents = self.0.lock().unwrap();
        let from = offset as usize;
        contents.current[from..from + data.len()].copy_from_slice(data);
        contents.unsynced.push((offset, data.to_vec()));
        contents.step();
        Ok(())
    }
}

/// Writes batches, some unsynced, until `power_lost_at` has passed; gives the image and what was acknowledged then.
fn live(seed: u64, power_lost_at: u64, start: &[u8], path: &std::path::Path) -> (Option<(Vec<u8>, u64)>, u64) {
    std::fs::write(path.join("raft.db"), start).unwrap();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let contents = Arc::new(Mutex::new(Contents {
        durable: start.to_vec(),
        current: start.to_vec(),
        unsynced: Vec::new(),
        operations: 0,
        power_lost_at,
        image: None,
        acknowledged: Arc::clone(&acknowledged),
        rng: ChaCha8Rng::seed_from_u64(seed),
    }));
    let storage = Arc::clone(&contents);
    let opener: Opener = Arc::new(move |builder, _: File| builder.create_with_backend(Volatile(Arc::clone(&storage))));
    // Another life of the same directory: what an earlier one noted is not of this one.
    std::fs::remove_file(path.join("tail")).unwrap_or_default();
    let mut disk = RaftDisk::open_on(path, &[key(1)], opener).unwrap().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut last = 0;
    for _ in 0..12 {
        let more = last + 1 + rng.next_u64() % 9;
        disk.write(&[write_of(entries(last + 1..=more, 1), last)]).unwrap();
        acknowledged.store(more, Ordering::SeqCst);
        last = more;
        if rng.next_u64().is_multiple_of(3) {
            let hard_state = Some(HardState { term: 1, vote: 7, commit: last });
            disk.write(&[Persist { hard_state, ..Persist::default() }]).unwrap();
        }
    }
    let mut contents = contents.lock().unwrap();
    (contents.image.take(), contents.operations)
}

#[test]
fn power_loss_never_takes_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    drop(RaftDisk::create(dir.path(), key(1), &member()).unwrap());
    let start = std::fs::read(dir.path().join("raft.db")).unwrap();
    let mut cut_short = 0;
    for seed in 0..40 {
        let (_, operations) = live(seed, u64::MAX, &start, dir.path());
        let power_lost_at = 1 + ChaCha8Rng::seed_from_u64(seed + 1000).next_u64() % operations;
        let (image, _) = live(seed, power_lost_at, &start, dir.path());
        let Some((image, acknowledged)) = image else { continue };
        std::fs::write(dir.path().join("raft.db"), image).unwrap();
        // The run went on after the image was taken.
        std::fs::remove_file(dir.path().join("tail")).unwrap_or_default();
        let mut disk = RaftDisk::open(dir.path(), &[key(1)]).unwrap().unwrap();
        let found = disk.recover().unwrap().entries;
        let count = found.len() as u64;
        assert!(count >= acknowledged, "seed {seed}: {count} of {acknowledged} acknowledged entries");
        assert_eq!(found, entries(1..=count, 1), "seed {seed}");
        disk.write(&[write_of(entries(count + 1..=count + 1, 1), 0)]).unwrap();
        assert_eq!(disk.recover().unwrap().entries.len() as u64, count + 1);
        cut_short += u64::from(acknowledged > 0);
    }
    assert!(cut_short > 12, "only {cut_short} runs lost power after an acknowledgement");
}

/// A file on a disk that has `room` bytes in all.
#[derive(Debug)]
struct Narrow {
    file: FileBackend,
    room: Arc<AtomicU64>,
}

impl Narrow {
    fn check(&self, len: u64) -> Result<(), Error> {
        if len > self.room.load(Ordering::SeqCst) { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Narrow {
    fn len(&self) -> Result<u64, Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        self.check(len)?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), Error> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.check(offset + data.len() as u64)?;
        self.file.write(offset, data)
    }
}

#[test]
fn a_full_disk_refuses_and_corrupts_nothing() {
    for room_from_start in [0, 4096, 300_000] {
        let dir = tempfile::tempdir().unwrap();
        let room = Arc::new(AtomicU64::new(u64::MAX));
        let narrow = Arc::clone(&room);
        let opener: Opener = Arc::new(move |builder, file| {
            builder.create_with_backend(Narrow { file: FileBackend::new(file)?, room: Arc::clone(&narrow) })
        });
        let mut disk = RaftDisk::create_on(dir.path(), key(1), &member(), &[], opener).unwrap();
        disk.write(&[write_of(entries(1..=100, 1), 100)]).unwrap();
        let before = disk.recover().unwrap();
        let size = std::fs::metadata(dir.path().join("raft.db")).unwrap().len();
        room.store(if room_from_start == 0 { 1 } else { size + room_from_start }, Ordering::SeqCst);
        let mut acknowledged = 100;
        let refused = loop {
            let more = entries(acknowledged + 1..=acknowledged + 2000, 1);
            match disk.write(&[write_of(more, 100)]) {
                Ok(()) => acknowledged += 2000,
                Err(error) => break error,
            }
            assert!(acknowledged < 1_000_000, "the disk never ran full");
        };
        assert!(refused.is_full(), "{refused:?}");
        // Still full: still refused, and what was acknowledged is there.
        let again = disk.write(&[write_of(entries(acknowledged + 1..=acknowledged + 2000, 1), 100)]);
        assert!(matches!(again, Err(DiskError::Full { .. })), "{again:?}");
        room.store(u64::MAX, Ordering::SeqCst);
        let found = disk.recover().unwrap();
        assert_eq!(found.entries.len() as u64, acknowledged);
        assert_eq!(found.entries[..100], before.entries);
        disk.write(&[write_of(entries(acknowledged + 1..=acknowledged + 2000, 1), 100)]).unwrap();
        drop(disk);
        let mut disk = RaftDisk::open(dir.path(), &[key(1)]).unwrap().unwrap();
        assert_eq!(disk.recover().unwrap().entries.len() as u64, acknowledged + 2000);
    }
}

#[test]
fn a_snapshot_that_cannot_be_written_leaves_the_older_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = RaftDisk::create(dir.path(), key(1), &member()).unwrap();
    disk.write(&[Persist { sync: true, snapshot: Some(snapshot(5, 1, b"older")), ..Persist::default() }]).unwrap();
    // A directory stands where the file would be made.
    let name = "0000000000000001-0000000000000009.0.snap";
    std::fs::create_dir(dir.path().join(format!(".{name}.tmp"))).unwrap();
    let write = Persist {
        sync: true,
        snapshot: Some(snapshot(9, 1, b"newer")),
        entries: entries(10..=11, 1),
        ..Persist::default()
    };
    let refused = disk.write(std::slice::from_ref(&write)).unwrap_err();
    assert!(matches!(refused, DiskError::Write { .. }), "{refused:?}");
    assert_eq!(disk.recover().unwrap().snapshot.unwrap().1, "older");
    assert!(disk.recover().unwrap().entries.is_empty());
    std::fs::remove_dir(dir.path().join(format!(".{name}.tmp"))).unwrap();
    disk.write(&[write]).unwrap();
    assert_eq!(disk.recover().unwrap().snapshot.unwrap().1, "newer");
    assert_eq!(file_names(dir.path()), [name, "raft.db"]);
}
