//! Pure functions over what lies on disk: the first member, a lone survivor, and the check before raft is started.

use std::collections::BTreeSet;

use bytes::Bytes;
use raft::eraftpb;
use skep_model::RaftId;

use crate::effect::Persist;
use crate::error::RecoverError;
use crate::member::{Member, Membership, MembershipChange};
use crate::membership_entry;
use crate::state::{EntryKind, HardState, LogEntry, Recovered};

/// The term of the entry that makes the first member (as SwarmKit's bootstrap has it, interop §12).
const BOOTSTRAP_TERM: u64 = 1;

/// The state of the first member of a new group: itself, as the committed entry 1 of term 1. Write it, then start from it.
pub fn bootstrap(member: &Member, request_id: u64) -> (Recovered, Persist) {
    let entry = LogEntry {
        index: 1,
        term: BOOTSTRAP_TERM,
        kind: EntryKind::MembershipChange,
        data: membership_entry::encode(request_id, &MembershipChange::Add(member.clone())),
    };
    let hard_state = HardState { term: BOOTSTRAP_TERM, vote: 0, commit: 1 };
    let persist =
        Persist { sync: true, hard_state: Some(hard_state), entries: vec![entry.clone()], ..Persist::default() };
    (Recovered { hard_state, entries: vec![entry], ..Recovered::default() }, persist)
}

/// Makes `own` the only member after the others are lost: `swarm init --force-new-cluster`. Write the result, then start
/// from it.
///
/// Entries that were appended but not known as committed are kept, unlike SwarmKit, which cuts them: the commit index on
/// disk may lag, so that cutting could lose an acknowledged write; keeping an unacknowledged one loses nothing.
/// The new entries carry a new term, so that a lost member that comes back cannot mistake them for its own.
pub fn force_new_cluster(
    mut recovered: Recovered,
    own: &Member,
    mut request_id: impl FnMut() -> u64,
) -> Result<(Recovered, Persist), RecoverError> {
    check(&recovered)?;
    let mut membership = Membership::new(recovered.members.iter().cloned(), recovered.removed.clone());
    let mut voters = recovered.snapshot.conf.voters.clone();
    for entry in recovered.entries.iter().filter(|entry| entry.index > recovered.snapshot.index) {
        let Some(change) = membership_entry::decode_entry(entry) else { continue };
        change.apply_to_voters(&mut voters);
        if let Ok(change) = &change.for_table {
            membership.apply(change);
        }
    }
    let mut changes = Vec::new();
    if membership.is_removed(own.raft_id) {
        return Err(RecoverError::Inconsistent { reason: "this member was removed from the group".to_owned() });
    }
    match membership.get(own.raft_id) {
        Some(known) if voters.contains(&own.raft_id) && known.addr == own.addr => {}
        Some(_) if voters.contains(&own.raft_id) => changes.push(MembershipChange::Update(own.clone())),
        _ => changes.push(MembershipChange::Add(own.clone())),
    }
    let others = membership.iter().map(|member| member.raft_id).chain(voters.iter().copied());
    let others: BTreeSet<RaftId> = others.filter(|&id| id != own.raft_id).collect();
    changes.extend(others.into_iter().map(MembershipChange::Remove));

    let term = recovered.hard_state.term + 1;
    let last = last_index(&recovered);
    let entries: Vec<LogEntry> = (last + 1..)
        .zip(&changes)
        .map(|(index, change)| LogEntry {
            index,
            term,
            kind: EntryKind::MembershipChange,
            data: membership_entry::encode(request_id(), change),
        })
        .collect();
    recovered.hard_state = HardState { term, vote: 0, commit: last + entries.len() as u64 };
    recovered.entries.extend(entries.iter().cloned());
    let persist = Persist { sync: true, hard_state: Some(recovered.hard_state), entries, ..Persist::default() };
    Ok((recovered, persist))
}

pub(crate) fn last_index(recovered: &Recovered) -> u64 {
    recovered.entries.last().map_or(0, |entry| entry.index).max(recovered.snapshot.index)
}

/// Refuses loudly what cannot have been written by an undisturbed member. A lost tail shows as a commit index beyond
/// the log: it was acknowledged, so starting without it could lose what a quorum relied on.
pub(crate) fn check(recovered: &Recovered) -> Result<(), RecoverError> {
    let refuse = |reason: String| Err(RecoverError::Inconsistent { reason });
    let snapshot = &recovered.snapshot;
    let mut previous: Option<&LogEntry> = None;
    for entry in &recovered.entries {
        let follows = previous.is_none_or(|before| before.index + 1 == entry.index && before.term <= entry.term);
        if !follows || entry.index == 0 || entry.term == 0 {
            return refuse(format!("entry {} of term {} does not follow the one before it", entry.index, entry.term));
        }
        if entry.index == snapshot.index && entry.term != snapshot.term {
            return refuse(format!("entry {} contradicts the snapshot", entry.index));
        }
        previous = Some(entry);
    }
    if let Some(first) = recovered.entries.first().filter(|first| first.index > snapshot.index + 1) {
        return refuse(format!("entries {} to {} are missing", snapshot.index + 1, first.index - 1));
    }
    let last = last_index(recovered);
    if recovered.hard_state.commit > last {
        let commit = recovered.hard_state.commit;
        return refuse(format!("entries {} to {commit} are missing although they were committed", last + 1));
    }
    let last_term = previous.map_or(0, |entry| entry.term).max(snapshot.term);
    if recovered.hard_state.term < last_term {
        return refuse(format!("an entry of term {last_term} but the term is {}", recovered.hard_state.term));
    }
    if snapshot.index > 0 && snapshot.conf.voters.is_empty() {
        return refuse("the snapshot has no members".to_owned());
    }
    Ok(())
}

/// The base of the log in memory, and the entries that follow it. A log that begins before the snapshot's end gives its
/// first entry as the base, since the term before that is not known.
pub(crate) fn base(recovered: &Recovered) -> ((u64, u64), Vec<eraftpb::Entry>) {
    let snapshot = (recovered.snapshot.index, recovered.snapshot.term);
    let entries = &recovered.entries;
    let (base, rest) = match entries.split_first() {
        Some((first, rest)) if first.index <= snapshot.0 => {
            if rest.last().unwrap_or(first).index < snapshot.0 {
                (snapshot, &[][..])
            } else {
                ((first.index, first.term), rest)
            }
        }
        _ => (snapshot, &entries[..]),
    };
    (base, rest.iter().map(crate::wire::entry_to_raft).collect())
}

impl Recovered {
    /// A member that joins an existing group: nothing yet, everything comes from the leader.
    pub fn empty() -> Self {
        Self::default()
    }
}

/// The bytes of a change of membership as they stand in an entry, for tests of other crates and tools.
pub fn change_bytes(request_id: u64, change: &MembershipChange) -> Bytes {
    membership_entry::encode(request_id, change)
}
