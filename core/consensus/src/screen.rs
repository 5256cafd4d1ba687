//! What a peer's message must satisfy before raft sees it: raft panics on what it takes for impossible, and a manager
//! of another version, a damaged state directory or an attacker with a certificate could send exactly that.

use raft::eraftpb::{ConfState, EntryType, Message, MessageType, Snapshot};
use raft::{RaftLog, Storage};
use skep_model::RaftId;

use crate::error::StepError;

/// What to do with a decoded message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Step it.
    Take,
    /// Silently ignore it, as SwarmKit does (interop §5.3).
    Drop,
}

fn malformed(reason: impl Into<String>) -> StepError {
    StepError::Malformed { reason: reason.into() }
}

/// Checks that need no state.
pub(crate) fn form(message: &Message, own: RaftId) -> Result<Verdict, StepError> {
    let Some(kind) = MessageType::from_i32(message.msg_type) else {
        return Err(malformed(format!("type {} is none of the protocol's", message.msg_type)));
    };
    if message.from == 0 || message.from == own.0 {
        return Err(malformed("it names no other member as its sender"));
    }
    if message.to != own.0 {
        return Ok(Verdict::Drop);
    }
    match kind {
        MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgUnreachable
        | MessageType::MsgSnapStatus
        | MessageType::MsgCheckQuorum => return Err(malformed("its type never leaves a member")),
        // Writes and reads go through the leader's own interface; a handover is asked of the leader itself.
        MessageType::MsgPropose
        | MessageType::MsgReadIndex
        | MessageType::MsgReadIndexResp
        | MessageType::MsgTransferLeader => return Ok(Verdict::Drop),
        _ => {}
    }
    if message.term == 0 {
        return Err(malformed("it has no term"));
    }
    if message.request_snapshot != 0 || message.deprecated_priority != 0 || message.priority != 0 {
        return Err(malformed("it uses fields that only another raft library has"));
    }
    if kind == MessageType::MsgSnapshot {
        snapshot(message.snapshot.as_ref())?;
    }
    // raft takes term 0 for a match with any index beyond its log.
    if kind == MessageType::MsgAppend && (message.index == 0) != (message.log_term == 0) {
        return Err(malformed("the entry before its entries has no term"));
    }
    entries(message)?;
    Ok(Verdict::Take)
}

fn entries(message: &Message) -> Result<(), StepError> {
    let mut previous = (message.index, message.log_term);
    for entry in &message.entries {
        match EntryType::from_i32(entry.entry_type) {
            Some(EntryType::EntryNormal | EntryType::EntryConfChange) => {}
            _ => return Err(malformed(format!("entry {} has type {}", entry.index, entry.entry_type))),
        }
        if previous.0.checked_add(1) != Some(entry.index) || entry.term < previous.1 || entry.term > message.term {
            return Err(malformed(format!(
                "entry {} of term {} does not follow {previous:?}",
                entry.index, entry.term
            )));
        }
        previous = (entry.index, entry.term);
    }
    Ok(())
}

fn snapshot(snapshot: Option<&Snapshot>) -> Result<(), StepError> {
    let meta = snapshot.and_then(|snapshot| snapshot.metadata.as_ref());
    let meta = meta.filter(|meta| meta.index > 0 && meta.term > 0);
    let meta = meta.ok_or_else(|| malformed("a snapshot without its place in the log"))?;
    let conf = meta.conf_state.as_ref().ok_or_else(|| malformed("a snapshot without its members"))?;
    plain(conf)
}

/// SwarmKit never uses joint configurations (interop §5.1).
fn plain(conf: &ConfState) -> Result<(), StepError> {
    let mut ids: Vec<u64> = conf.voters.iter().chain(&conf.learners).copied().collect();
    ids.sort_unstable();
    let unique = ids.windows(2).all(|pair| pair[0] != pair[1]) && ids.first().is_none_or(|&id| id != 0);
    let simple = conf.voters_outgoing.is_empty() && conf.learners_next.is_empty() && !conf.auto_leave;
    if conf.voters.is_empty() || !unique || !simple {
        return Err(malformed("a snapshot whose members make no plain configuration"));
    }
    Ok(())
}

/// Checks against the own log: what is committed here must be what the leader of this term has.
pub(crate) fn agreement<S: Storage>(message: &Message, own_term: u64, log: &RaftLog<S>) -> Result<(), StepError> {
    if message.term < own_term {
        return Ok(());
    }
    let last = log.last_index();
    match MessageType::from_i32(message.msg_type) {
        Some(MessageType::MsgHeartbeat) if message.commit > last => Err(StepError::Diverged {
            reason: format!("{} entries are missing that this manager once acknowledged", message.commit - last),
        }),
        Some(MessageType::MsgAppend) => {
            let committed = message.entries.iter().filter(|entry| entry.index <= log.committed);
            // An index that was compacted away cannot be compared; it was applied long ago.
            let differs = |index: u64, term: u64| log.term(index).is_ok_and(|own| own != term);
            for entry in committed {
                if entry.index >= log.first_index() && differs(entry.index, entry.term) {
                    return Err(StepError::Diverged { reason: format!("entry {} differs", entry.index) });
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
