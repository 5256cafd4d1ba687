//! Entries as SwarmKit's `InternalRaftRequest` (interop §5.4).

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use prost::encoding::{self, WireType};
use skep_model::Kept;
use skep_model::objects::ObjectError;
use skep_model::pb::messages::store_action::Target;
use skep_model::pb::messages::{InternalRaftRequest, StoreAction, StoreActionKind};

use crate::change::{Action, Change};
use crate::entry::Entry;
use crate::object::AnyObject;

/// A payload of the log that we cannot carry out.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum CodecError {
    /// Not an `InternalRaftRequest`.
    #[error("a log entry cannot be decoded")]
    Decode(#[from] prost::DecodeError),
    /// An object without a usable id.
    #[error("a log entry carries an object that cannot be read")]
    Object(#[from] ObjectError),
    /// A kind of object, or of action, that we do not know.
    #[error("change {index} of log entry {id:x} is of an unknown kind")]
    UnknownAction { id: u64, index: usize },
}

/// The id, which is always the first field that SwarmKit writes; everything else is skipped.
#[derive(Clone, PartialEq, prost::Message)]
struct RequestId {
    #[prost(uint64, tag = "1")]
    id: u64,
}

/// Number and wire type of the id.
const ID_KEY: u8 = 1 << 3;

pub(crate) fn peek_id(payload: &Bytes) -> Result<u64, CodecError> {
    match payload.split_first() {
        Some((&ID_KEY, mut rest)) => Ok(encoding::decode_varint(&mut rest)?),
        _ => Ok(RequestId::decode(payload.clone())?.id),
    }
}

macro_rules! targets {
    ($($kind:ident),*) => {
        fn target(object: &AnyObject) -> Target {
            match object { $(AnyObject::$kind(object) => Target::$kind(Kept::from(&**object)),)* }
        }

        fn object(target: Target) -> Result<AnyObject, ObjectError> {
            Ok(match target { $(Target::$kind(kept) => AnyObject::$kind(Arc::new(kept.try_into()?)),)* })
        }
    };
}

targets!(Node, Service, Task, Network, Cluster, Secret, Resource, Extension, Config, Volume);

fn kind(action: Action) -> StoreActionKind {
    match action {
        Action::Create => StoreActionKind::Create,
        Action::Update => StoreActionKind::Update,
        Action::Remove => StoreActionKind::Remove,
    }
}

fn action(change: &Change) -> StoreAction {
    StoreAction { action: kind(change.action).into(), target: Some(target(&change.object)) }
}

/// Bytes of the field that says what is done.
const ACTION_BYTES: usize = 2;
/// The field of a task within a change.
const TASK_TAG: u32 = 4;
/// The field of a change within an entry.
const CHANGE_TAG: u32 = 2;

/// The payload of an entry. Tasks are many, and so are written without a copy of each.
pub(crate) fn encode(entry: &Entry) -> Bytes {
    let mut out = Vec::with_capacity(ENTRY_ID_BYTES + entry.changes.iter().map(room_for).sum::<usize>());
    if entry.id != 0 {
        encoding::uint64::encode(1, &entry.id, &mut out);
    }
    for change in entry.changes.iter() {
        let AnyObject::Task(task) = &change.object else {
            encoding::message::encode(CHANGE_TAG, &action(change), &mut out);
            continue;
        };
        let body = task.encoded_len();
        encoding::encode_key(CHANGE_TAG, WireType::LengthDelimited, &mut out);
        encoding::encode_varint((ACTION_BYTES + field_len(body)) as u64, &mut out);
        encoding::int32::encode(1, &(kind(change.action) as i32), &mut out);
        encoding::encode_key(TASK_TAG, WireType::LengthDelimited, &mut out);
        encoding::encode_varint(body as u64, &mut out);
        task.encode(&mut out);
    }
    out.shrink_to_fit();
    Bytes::from(out)
}

/// Bytes to set aside for a change. What is no task is rare, and to measure it costs as much as to write it.
fn room_for(change: &Change) -> usize {
    match &change.object {
        AnyObject::Task(_) => change_len(change),
        _ => USUAL_CHANGE_BYTES,
    }
}

/// Most nodes, services and networks fit.
const USUAL_CHANGE_BYTES: usize = 1024;

/// The most that an entry's id takes.
const ENTRY_ID_BYTES: usize = 11;

/// Bytes of a field with a body of so many, below 16.
fn field_len(body: usize) -> usize {
    1 + prost::length_delimiter_len(body) + body
}

/// Bytes that the change takes inside an entry.
pub(crate) fn change_len(change: &Change) -> usize {
    field_len(match &change.object {
        AnyObject::Task(task) => ACTION_BYTES + field_len(task.encoded_len()),
        _ => action(change).encoded_len(),
    })
}

pub(crate) fn decode(payload: Bytes) -> Result<Entry, CodecError> {
    let request = InternalRaftRequest::decode(payload)?;
    let id = request.id;
    let mut changes = Vec::with_capacity(request.action.len());
    for (index, action) in request.action.into_iter().enumerate() {
        let unknown = CodecError::UnknownAction { id, index };
        let kind = match action.action() {
            StoreActionKind::Create => Action::Create,
            StoreActionKind::Update => Action::Update,
            StoreActionKind::Remove => Action::Remove,
            StoreActionKind::Unknown => return Err(unknown),
        };
        let Some(target) = action.target else { return Err(unknown) };
        changes.push(Change { action: kind, object: object(target)? });
    }
    Ok(Entry { id, changes: changes.into() })
}

#[cfg(test)]
mod tests;
