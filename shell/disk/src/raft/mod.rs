//! The raft log: entries, hard state and the place of the newest snapshot in one database (redb), snapshots in files.
//!
//! Everything is sealed under the data key. One batch of writes is one transaction with one fsync: after a crash either
//! all of it is there or nothing, so a torn tail is one that nobody acknowledged. Every record is authenticated and
//! says its place; what does not fit is refused with a typed error, never skipped: an entry here may be one that a
//! quorum relied on. Snapshots are durable before the transaction that refers to them.

mod codec;
mod snapshot;
mod tail;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, Table, TableDefinition};
use skep_consensus::{
    HardState, LogEntry, LogRange, Member, Membership, Persist, Recovered, SnapshotMeta, SnapshotToSave,
};

use crate::atomic::{create_private_dir, put_in_place, remove_file, temporary};
use crate::database::{Opener, Reopening, on_files};
use crate::error::DiskError;
use crate::seal::{DataKey, Tag};
use codec::SnapshotPlace;
use tail::Tail;

const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entry");
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

const VERSION_KEY: &str = "version";
const MEMBER_KEY: &str = "member";
const COMMITS_KEY: &str = "commits";
const OTHERS_KEY: &str = "others";
const HARD_STATE_KEY: &str = "hard-state";
const SNAPSHOT_KEY: &str = "snapshot";

/// Format of this database; a reader knows its own and older ones.
const VERSION: u32 = 1;

/// Bytes of the database kept in memory: it is written, and hardly ever read (redb's default is 1 GiB).
const CACHE_BYTES: usize = 1024 * 1024;

/// In the name of a file that was written before the log took its snapshot: it is nobody else's.
const PREPARED_GENERATION: u64 = 1;

/// Where consensus keeps what must not be lost.
pub trait LogStore: Send {
    /// Everything, at start.
    fn recover(&mut self) -> Result<RecoveredLog, DiskError>;

    /// Writes a batch, all or nothing, with one fsync if any of it asks for one. After an error the same batch may be
    /// written again.
    fn write(&mut self, writes: &[Persist]) -> Result<(), DiskError>;

    /// Entries for a follower that lags. Empty when they are gone.
    fn read_entries(&mut self, range: LogRange) -> Result<Vec<LogEntry>, DiskError>;

    /// The data of a snapshot.
    fn load_snapshot(&mut self, index: u64, term: u64) -> Result<Bytes, DiskError>;
}

/// What was found at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredLog {
    /// Term, vote and commit index.
    pub hard_state: HardState,
    /// The newest snapshot with its data.
    pub snapshot: Option<(SnapshotMeta, Bytes)>,
    /// The log, without gaps.
    pub entries: Vec<LogEntry>,
    /// The members that were joined, as they were then; a snapshot knows better.
    pub others: Vec<Member>,
}

impl RecoveredLog {
    /// For consensus, with the membership that the caller decoded from the snapshot's data (empty without one).
    pub fn into_recovered(self, membership: &Membership) -> Recovered {
        let (snapshot, snapshot_size_bytes) = match self.snapshot {
            Some((meta, data)) => (meta, data.len() as u64),
            None => (SnapshotMeta::default(), 0),
        };
        let members = if snapshot == SnapshotMeta::default() && !self.others.is_empty() {
            self.others
        } else {
            membership.iter().cloned().collect()
        };
        Recovered {
            hard_state: self.hard_state,
            snapshot,
            snapshot_size_bytes,
            members,
            removed: membership.removed().clone(),
            leaving: membership.leaving().cloned().collect(),
            entries: self.entries,
        }
    }
}

/// The raft log on disk.
pub struct RaftDisk {
    dir: PathBuf,
    key: DataKey,
    database: Reopening,
    member: Member,
    snapshot: Option<SnapshotPlace>,
    keep_old_snapshots: usize,
    /// Commits so far, the one in `tail` included.
    commits: u64,
    tail: Tail,
    /// A snapshot that lies in its file already, and is not the newest one yet.
    prepared: Option<PreparedSnapshot>,
}

/// Writes a snapshot's file before the log takes it, from any thread: that takes long.
#[derive(Clone, Debug)]
pub struct SnapshotWriter {
    dir: PathBuf,
    key: DataKey,
}

/// A snapshot in its file.
#[derive(Clone, Debug)]
pub struct PreparedSnapshot {
    place: SnapshotPlace,
    key: DataKey,
}

impl SnapshotWriter {
    /// Writes the file durably. It counts once [`RaftDisk::prepared`] knows it and the snapshot itself is written.
    pub fn prepare(&self, meta: &SnapshotMeta, data: &[u8]) -> Result<PreparedSnapshot, DiskError> {
        let place = SnapshotPlace { meta: meta.clone(), file: snapshot::file_name(meta, PREPARED_GENERATION) };
        snapshot::write(&self.dir.join(&place.file), &self.key, meta, data)?;
        Ok(PreparedSnapshot { place, key: self.key.clone() })
    }
}

/// Reads snapshots for the transport, from any thread.
#[derive(Clone, Debug)]
pub struct SnapshotReader {
    dir: PathBuf,
    key: DataKey,
    place: Option<SnapshotPlace>,
}

impl SnapshotReader {
    /// The data of a snapshot, if it is still the newest one.
    pub fn load(&self, index: u64, term: u64) -> Result<Bytes, DiskError> {
        let place = self.place.as_ref().filter(|place| place.meta.index == index && place.meta.term == term);
        let place = place.ok_or(DiskError::NoSnapshot { index, term })?;
        snapshot::read(&self.dir.join(&place.file), &self.key, index, term)
    }
}

impl RaftDisk {
    /// Begins an empty log in `dir` for `member`, which joins others. Refused when there is one.
    pub fn create(dir: &Path, key: DataKey, member: &Member) -> Result<Self, DiskError> {
        Self::create_on(dir, key, member, &[], on_files())
    }

    /// Begins an empty log for `member`, which joins `others`. They are remembered until the log itself tells who they
    /// are: a member that dies before its first entry must know whom to answer, or a quorum that needs it never forms.
    pub fn create_joining(dir: &Path, key: DataKey, member: &Member, others: &[Member]) -> Result<Self, DiskError> {
        Self::create_for(dir, key, member, others, &[], on_files())
    }

    /// Begins a log that holds something already: the first member's (`skep_consensus::bootstrap`). Whenever this
    /// process dies, there is either no log or one with `first` in it.
    pub fn create_with(dir: &Path, key: DataKey, member: &Member, first: &[Persist]) -> Result<Self, DiskError> {
        Self::create_on(dir, key, member, first, on_files())
    }

    /// Opens the log in `dir`; `None` when there is none.
    ///
    /// `keys` are the current one and, while a rotation is on its way, the pending one; [`Self::key`] tells which it is.
    pub fn open(dir: &Path, keys: &[DataKey]) -> Result<Option<Self>, DiskError> {
        Self::open_on(dir, keys, on_files())
    }

    pub(crate) fn create_on(
        dir: &Path,
        key: DataKey,
        member: &Member,
        first: &[Persist],
        opener: Opener,
    ) -> Result<Self, DiskError> {
        Self::create_for(dir, key, member, &[], first, opener)
    }

    fn create_for(
        dir: &Path,
        key: DataKey,
        member: &Member,
        others: &[Member],
        first: &[Persist],
        opener: Opener,
    ) -> Result<Self, DiskError> {
        create_private_dir(dir)?;
        let path = database_path(dir);
        if path.exists() {
            return Err(DiskError::Exists { path });
        }
        // Made beside its place: whatever bears the name is whole, even if this process dies here.
        let beside = temporary(&path);
        remove_file(&beside)?;
        snapshot::clean(dir, None, 0);
        let mut tail = Tail::default();
        tail.write(dir, 0)?;
        let sealed = key.seal(Tag::Member, &member.encode())?;
        let sealed_others = key.seal(Tag::Others, &codec::encode_members(others))?;
        let mut database = Reopening::open(&beside, CACHE_BYTES, opener)?;
        database.with(|database| {
            transact(database, &beside, true, |tables| {
                tables.meta.insert(VERSION_KEY, &VERSION.to_be_bytes()[..])?;
                tables.meta.insert(MEMBER_KEY, &sealed[..])?;
                if !others.is_empty() {
                    tables.meta.insert(OTHERS_KEY, &sealed_others[..])?;
                }
                Ok(())
            })
        })?;
        let (owned, named) = (dir.to_owned(), member.clone());
        let mut disk = Self {
            dir: owned,
            key,
            database,
            member: named,
            snapshot: None,
            keep_old_snapshots: 0,
            commits: 0,
            tail,
            prepared: None,
        };
        if !first.is_empty() {
            disk.write(first)?;
        }
        put_in_place(&beside, &path)?;
        disk.database.moved_to(&path);
        Ok(disk)
    }

    pub(crate) fn open_on(dir: &Path, keys: &[DataKey], opener: Opener) -> Result<Option<Self>, DiskError> {
        let path = database_path(dir);
        if !path.exists() {
            return Ok(None);
        }
        let mut database = Reopening::open(&path, CACHE_BYTES, opener)?;
        let sealed = read_meta(&mut database, MEMBER_KEY)?;
        let sealed = sealed.ok_or_else(|| DiskError::damaged(&path, "it names no member"))?;
        let version = read_meta(&mut database, VERSION_KEY)?.and_then(|bytes| <[u8; 4]>::try_from(&bytes[..]).ok());
        match version.map(u32::from_be_bytes) {
            None => return Err(DiskError::damaged(&path, "it has no version")),
            Some(found) if found > VERSION => return Err(DiskError::Version { path, found, known: VERSION }),
            Some(_) => {}
        }
        let opened = keys.iter().find_map(|key| Some((key.clone(), key.open(Tag::Member, &sealed)?)));
        let (key, member) = opened.ok_or_else(|| DiskError::Undecryptable { path: path.clone() })?;
        let member = Member::decode(&member).map_err(|error| DiskError::damaged(&path, error.to_string()))?;
        let commits = read_meta(&mut database, COMMITS_KEY)?.and_then(|bytes| <[u8; 8]>::try_from(&bytes[..]).ok());
        let commits = commits.map_or(0, u64::from_be_bytes);
        if tail::read(dir)?.is_some_and(|noted| noted > commits) {
            return Err(DiskError::damaged(&path, "the last write to it is lost"));
        }
        let mut disk = Self {
            dir: dir.to_owned(),
            key,
            database,
            member,
            snapshot: None,
            keep_old_snapshots: 0,
            commits,
            tail: Tail::default(),
            prepared: None,
        };
        disk.snapshot = disk.read_sealed(SNAPSHOT_KEY, Tag::SnapshotPlace, codec::decode_place)?;
        Ok(Some(disk))
    }

    /// Whether there is a log in `dir`; one that was being made when its process died is none.
    pub fn exists(dir: &Path) -> bool {
        database_path(dir).exists()
    }

    /// The member whose log this is.
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// The key that it is under.
    pub fn key(&self) -> &DataKey {
        &self.key
    }

    /// How many snapshots to keep beside the newest (the cluster's KeepOldSnapshots).
    pub fn set_keep_old_snapshots(&mut self, count: usize) {
        self.keep_old_snapshots = count;
    }

    /// For the transport. Take a new one for each snapshot that is sent.
    pub fn snapshot_reader(&self) -> SnapshotReader {
        SnapshotReader { dir: self.dir.clone(), key: self.key.clone(), place: self.snapshot.clone() }
    }

    /// For a snapshot that is to be written away from the log.
    pub fn snapshot_writer(&self) -> SnapshotWriter {
        SnapshotWriter { dir: self.dir.clone(), key: self.key.clone() }
    }

    /// A snapshot lies in its file: when it is to be written it is there already, unless the key is another one by then.
    pub fn prepared(&mut self, snapshot: PreparedSnapshot) {
        self.prepared = Some(snapshot);
    }

    /// The member has another address now.
    pub fn set_member(&mut self, member: &Member) -> Result<(), DiskError> {
        let sealed = self.key.seal(Tag::Member, &member.encode())?;
        self.transact(true, |tables| tables.meta.insert(MEMBER_KEY, &sealed[..]).map(drop))?;
        self.member = member.clone();
        Ok(())
    }

    /// Puts everything under another key, all or nothing. Order for the caller: write the new key as pending into the
    /// key file, call this, write it as the current one. [`Self::open`] with both keys works at each point in between.
    pub fn rotate_key(&mut self, new: &DataKey) -> Result<(), DiskError> {
        let recovered = self.recover()?;
        let mut place = self.snapshot.clone();
        if let (Some(place), Some((meta, data))) = (&mut place, &recovered.snapshot) {
            let generation = place.file.split('.').nth(1).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
            place.file = snapshot::file_name(meta, generation + 1);
            snapshot::write(&self.dir.join(&place.file), new, meta, data)?;
        }
        let member = new.seal(Tag::Member, &self.member.encode())?;
        let others = new.seal(Tag::Others, &codec::encode_members(&recovered.others))?;
        let hard_state = new.seal(Tag::HardState, &codec::encode_hard_state(&recovered.hard_state))?;
        let sealed_place = match &place {
            Some(place) => Some(new.seal(Tag::SnapshotPlace, &codec::encode_place(place))?),
            None => None,
        };
        let entries = seal_entries(new, &recovered.entries)?;
        self.transact(true, |tables| {
            tables.meta.insert(MEMBER_KEY, &member[..])?;
            tables.meta.insert(OTHERS_KEY, &others[..])?;
            tables.meta.insert(HARD_STATE_KEY, &hard_state[..])?;
            if let Some(sealed) = &sealed_place {
                tables.meta.insert(SNAPSHOT_KEY, &sealed[..])?;
            }
            for (index, sealed) in &entries {
                tables.entries.insert(index, &sealed[..])?;
            }
            Ok(())
        })?;
        self.key = new.clone();
        self.snapshot = place;
        self.clean();
        Ok(())
    }

    fn clean(&self) {
        snapshot::clean(&self.dir, self.snapshot.as_ref().map(|place| place.file.as_str()), self.keep_old_snapshots);
    }

    fn path(&self) -> PathBuf {
        self.database.path().to_owned()
    }

    fn transact(
        &mut self,
        sync: bool,
        action: impl FnOnce(&mut Tables<'_>) -> Result<(), redb::StorageError>,
    ) -> Result<(), DiskError> {
        let (path, number) = (self.path(), self.commits + 1);
        self.database.with(|database| {
            transact(database, &path, sync, |tables| {
                tables.meta.insert(COMMITS_KEY, &number.to_be_bytes()[..])?;
                action(tables)
            })
        })?;
        self.commits = number;
        if sync { self.tail.write(&self.dir, number) } else { Ok(()) }
    }

    fn read_sealed<T>(
        &mut self,
        name: &str,
        tag: Tag,
        decode: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, DiskError> {
        let path = self.path();
        let Some(sealed) = read_meta(&mut self.database, name)? else { return Ok(None) };
        let plain = self.key.open(tag, &sealed).ok_or_else(|| DiskError::Undecryptable { path: path.clone() })?;
        decode(&plain).map(Some).ok_or_else(|| DiskError::damaged(&path, format!("its record {name:?}")))
    }

    fn entries_in(&mut self, range: RangeInclusive<u64>, bytes_max: u64) -> Result<Vec<LogEntry>, DiskError> {
        let (path, key) = (self.path(), self.key.clone());
        self.database.with(|database| read_entries(database, &path, &key, range, bytes_max))
    }

    /// The newest snapshot of a batch, durably in its file.
    fn save_snapshot(&mut self, writes: &[Persist]) -> Result<Option<SnapshotPlace>, DiskError> {
        let newest = writes.iter().filter_map(|write| write.snapshot.as_ref()).next_back();
        let Some(SnapshotToSave { meta, data, .. }) = newest else { return Ok(None) };
        let is_it = |prepared: &&PreparedSnapshot| prepared.place.meta == *meta && prepared.key == self.key;
        if let Some(prepared) = self.prepared.as_ref().filter(is_it)
            && self.dir.join(&prepared.place.file).exists()
        {
            return Ok(Some(prepared.place.clone()));
        }
        let place = SnapshotPlace { meta: meta.clone(), file: snapshot::file_name(meta, 0) };
        snapshot::write(&self.dir.join(&place.file), &self.key, meta, data)?;
        Ok(Some(place))
    }
}

impl LogStore for RaftDisk {
    fn recover(&mut self) -> Result<RecoveredLog, DiskError> {
        let hard_state = self.read_sealed(HARD_STATE_KEY, Tag::HardState, codec::decode_hard_state)?;
        let entries = self.entries_in(0..=u64::MAX, u64::MAX)?;
        let path = self.path();
        for pair in entries.windows(2) {
            if pair[0].index + 1 != pair[1].index {
                let reason = format!("entries {} to {} are missing", pair[0].index + 1, pair[1].index - 1);
                return Err(DiskError::damaged(&path, reason));
            }
        }
        let snapshot = match self.snapshot.as_ref().map(|place| place.meta.clone()) {
            Some(meta) => {
                let data = self.snapshot_reader().load(meta.index, meta.term).map_err(|error| match error {
                    DiskError::NoSnapshot { index, .. } => {
                        DiskError::damaged(&self.dir, format!("the file of snapshot {index} is missing"))
                    }
                    other => other,
                })?;
                Some((meta, data))
            }
            None => None,
        };
        let others = self.read_sealed(OTHERS_KEY, Tag::Others, codec::decode_members)?.unwrap_or_default();
        self.clean();
        Ok(RecoveredLog { hard_state: hard_state.unwrap_or_default(), snapshot, entries, others })
    }

    fn write(&mut self, writes: &[Persist]) -> Result<(), DiskError> {
        let place = self.save_snapshot(writes)?;
        let sealed_place = match &place {
            Some(place) => Some(self.key.seal(Tag::SnapshotPlace, &codec::encode_place(place))?),
            None => None,
        };
        let hard_state = match writes.iter().filter_map(|write| write.hard_state).next_back() {
            Some(state) => Some(self.key.seal(Tag::HardState, &codec::encode_hard_state(&state))?),
            None => None,
        };
        let mut sealed = Vec::with_capacity(writes.len());
        for write in writes {
            sealed.push(seal_entries(&self.key, &write.entries)?);
        }
        let sync = writes.iter().any(|write| write.sync);
        self.transact(sync, |tables| {
            for (write, entries) in writes.iter().zip(&sealed) {
                if write.snapshot.as_ref().is_some_and(|snapshot| snapshot.replaces_log) {
                    tables.entries.retain(|_, _| false)?;
                }
                append(&mut tables.entries, entries)?;
                if let Some(index) = write.compact_to {
                    tables.entries.retain_in(..=index, |_, _| false)?;
                }
            }
            if let Some(sealed) = &hard_state {
                tables.meta.insert(HARD_STATE_KEY, &sealed[..])?;
            }
            if let Some(sealed) = &sealed_place {
                tables.meta.insert(SNAPSHOT_KEY, &sealed[..])?;
            }
            Ok(())
        })?;
        if place.is_some() {
            self.snapshot = place;
            self.prepared = None;
            self.clean();
        }
        Ok(())
    }

    fn read_entries(&mut self, range: LogRange) -> Result<Vec<LogEntry>, DiskError> {
        if range.low >= range.high {
            return Ok(Vec::new());
        }
        let entries = self.entries_in(range.low..=range.high - 1, range.bytes_max)?;
        let whole = entries.iter().zip(range.low..).all(|(entry, index)| entry.index == index);
        Ok(if whole { entries } else { Vec::new() })
    }

    fn load_snapshot(&mut self, index: u64, term: u64) -> Result<Bytes, DiskError> {
        self.snapshot_reader().load(index, term)
    }
}

fn database_path(dir: &Path) -> PathBuf {
    dir.join("raft.db")
}

struct Tables<'transaction> {
    entries: Table<'transaction, u64, &'static [u8]>,
    meta: Table<'transaction, &'static str, &'static [u8]>,
}

fn transact(
    database: &Database,
    path: &Path,
    sync: bool,
    action: impl FnOnce(&mut Tables<'_>) -> Result<(), redb::StorageError>,
) -> Result<(), DiskError> {
    let failed = |error: redb::Error| DiskError::database(path, error);
    let mut transaction = database.begin_write().map_err(|error| failed(error.into()))?;
    let durability = if sync { Durability::Immediate } else { Durability::None };
    transaction.set_durability(durability).map_err(|error| failed(error.into()))?;
    {
        let mut tables = Tables {
            entries: transaction.open_table(ENTRIES).map_err(|error| failed(error.into()))?,
            meta: transaction.open_table(META).map_err(|error| failed(error.into()))?,
        };
        action(&mut tables).map_err(|error| failed(error.into()))?;
    }
    transaction.commit().map_err(|error| failed(error.into()))
}

fn read_meta(database: &mut Reopening, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
    let path = database.path().to_owned();
    let failed = |error: redb::Error| DiskError::database(&path, error);
    database.with(|database| {
        let transaction = database.begin_read().map_err(|error| failed(error.into()))?;
        let table = match transaction.open_table(META) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            other => other.map_err(|error| failed(error.into()))?,
        };
        let value = table.get(name).map_err(|error| failed(error.into()))?;
        Ok(value.map(|value| value.value().to_vec()))
    })
}

fn seal_entries(key: &DataKey, entries: &[LogEntry]) -> Result<Vec<(u64, Vec<u8>)>, DiskError> {
    let seal = |entry: &LogEntry| Ok((entry.index, key.seal(Tag::Entry, &codec::encode_entry(entry))?));
    entries.iter().map(seal).collect()
}

/// Adds entries; what is there from the first one's index on is replaced.
fn append(table: &mut Table<'_, u64, &'static [u8]>, entries: &[(u64, Vec<u8>)]) -> Result<(), redb::StorageError> {
    let Some((first, _)) = entries.first() else { return Ok(()) };
    let last = table.last()?.map(|(index, _)| index.value());
    if last.is_some_and(|last| last >= *first) {
        table.retain_in(*first.., |_, _| false)?;
    }
    for (index, sealed) in entries {
        table.insert(index, &sealed[..])?;
    }
    Ok(())
}

fn read_entries(
    database: &Database,
    path: &Path,
    key: &DataKey,
    range: RangeInclusive<u64>,
    bytes_max: u64,
) -> Result<Vec<LogEntry>, DiskError> {
    let failed = |error: redb::Error| DiskError::database(path, error);
    let transaction = database.begin_read().map_err(|error| failed(error.into()))?;
    let table = match transaction.open_table(ENTRIES) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        other => other.map_err(|error| failed(error.into()))?,
    };
    let mut entries = Vec::new();
    let mut bytes = 0u64;
    for row in table.range(range).map_err(|error| failed(error.into()))? {
        let (index, sealed) = row.map_err(|error| failed(error.into()))?;
        let plain = key.open(Tag::Entry, sealed.value());
        let plain = plain.ok_or_else(|| DiskError::Undecryptable { path: path.to_owned() })?;
        let entry = codec::decode_entry(index.value(), plain);
        let entry = entry.ok_or_else(|| DiskError::damaged(path, format!("entry {}", index.value())))?;
        bytes = bytes.saturating_add(entry.data.len() as u64);
        entries.push(entry);
        if bytes >= bytes_max {
            break;
        }
    }
    Ok(entries)
}
