//! The key file follows the swarm: wrapped under the present unlock key, and the raft log's key replaced once it lay in
//! the clear.

use std::sync::PoisonError;

use skep_disk::{DataKey, DiskError, UnlockKey};

use super::member::Member;
use crate::manager::{Ask, Handle};

/// Looks once, and does what is due. What fails is tried again with the next look.
pub(super) async fn follow(member: &Member) {
    let Some(handle) = member.manager_handle() else { return };
    follow_unlock_key(member, &handle);
    if let Some(pending) = due_data_key(member) {
        rotate_data_key(member, &handle, pending).await;
    }
}

/// Autolock went on or off, or its key was rotated: the key file is wrapped anew.
fn follow_unlock_key(member: &Member, handle: &Handle) {
    let (key, version) = handle.read(|board| board.unlock_key.clone());
    if version == 0 {
        return;
    }
    let key = UnlockKey::from_bytes(&key);
    let mut key_file = member.key_file.lock().unwrap_or_else(PoisonError::into_inner);
    let same = key_file.unlock_key().map(UnlockKey::expose) == key.as_ref().map(UnlockKey::expose);
    if same || version < key_file.headers.kek_version {
        return;
    }
    let before = key_file.clone();
    key_file.set_unlock_key(key, version);
    match key_file.save() {
        Ok(()) => tracing::info!("the node's key file was wrapped with the swarm's present unlock key"),
        Err(error) => {
            *key_file = before;
            tracing::warn!("the node's key file could not be wrapped anew: {error}");
        }
    }
}

/// The key that the log is to be put under: one that is on its way, or a new one when the present one once lay in the
/// clear. It is in the key file, as pending, before the log is touched.
fn due_data_key(member: &Member) -> Option<DataKey> {
    let mut key_file = member.key_file.lock().unwrap_or_else(PoisonError::into_inner);
    if key_file.headers.data_key_pending.is_none() && key_file.headers.needs_rotation {
        let mut next = key_file.clone();
        let saved = DataKey::generate().and_then(|key| {
            next.headers.data_key_pending = Some(key);
            next.save()
        });
        match saved {
            Ok(()) => *key_file = next,
            Err(error) => failed(&error),
        }
    }
    key_file.headers.data_key_pending.clone()
}

async fn rotate_data_key(member: &Member, handle: &Handle, pending: DataKey) {
    let key = pending.clone();
    if let Err(refusal) = handle.ask(|reply| Ask::RotateKey(key, reply)).await {
        return tracing::warn!("the raft log could not be put under another key: {refusal}");
    }
    let mut key_file = member.key_file.lock().unwrap_or_else(PoisonError::into_inner);
    let mut next = key_file.clone();
    next.headers.data_key = Some(pending);
    next.headers.data_key_pending = None;
    next.headers.needs_rotation = false;
    match next.save() {
        Ok(()) => {
            *key_file = next;
            tracing::info!("the raft log was put under another key");
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &DiskError) {
    tracing::warn!("the raft log's key could not be replaced: {error}");
}
