//! Following a member's news: managers to remember, roots and roles that change, certificates that run out.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use skep_disk::UnlockKey;
use skep_model::Node;
use skep_model::pb::types::issuance_status::State as Issuance;
use skep_rpc::TrustRoot;
use tokio::sync::mpsc;

use super::member::Member;
use super::node::SwarmNode;
use crate::agent::News;
use crate::clock::wall;

/// First pause before a renewal that failed is tried again; it grows fourfold.
const RENEW_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause between tries.
const RENEW_PAUSE_MAX: Duration = Duration::from_secs(300);
/// How often the manager's board is looked at for a changed unlock key.
const KEY_LOOK: Duration = Duration::from_secs(1);

/// Runs until it is aborted.
pub(super) async fn follow(
    node: Arc<SwarmNode>,
    member: Arc<Member>,
    mut news: mpsc::Receiver<News>,
    mut removed: mpsc::Receiver<()>,
) {
    let mut wanted = false;
    let mut pause = RENEW_PAUSE;
    let mut renew_at = next_renewal(&node, &member);
    let mut looks = tokio::time::interval(KEY_LOOK);
    loop {
        let timer = if wanted { pause } else { until(renew_at) };
        tokio::select! {
            told = news.recv() => match told {
                Some(News::Node(own)) => {
                    let due = needs_renewal(&member, &own);
                    if due && !wanted {
                        wanted = true;
                        pause = RENEW_PAUSE;
                        match try_renew(&node, &member).await {
                            true => wanted = false,
                            false => tracing::debug!("the renewal will be tried again"),
                        }
                        renew_at = next_renewal(&node, &member);
                    }
                }
                Some(News::Remotes(peers)) => {
                    if let Err(error) = member.files.save_remotes(&peers) {
                        tracing::warn!("the managers' addresses could not be saved: {error}");
                    }
                }
                Some(News::Root(root)) => take_root(&member, root).await,
                None => return,
            },
            told = removed.recv() => {
                if told.is_some() {
                    tracing::info!("this manager was removed from the quorum");
                    member.stop_manager().await;
                    if let Err(error) = member.files.wipe_raft() {
                        tracing::warn!("the raft log could not be removed: {error}");
                    }
                    wanted = true;
                }
            }
            () = tokio::time::sleep(timer) => {
                match try_renew(&node, &member).await {
                    true => wanted = false,
                    false => {
                        wanted = true;
                        pause = (pause * 4).min(RENEW_PAUSE_MAX);
                    }
                }
                renew_at = next_renewal(&node, &member);
            }
            _ = looks.tick() => follow_unlock_key(&member),
        }
    }
}

async fn try_renew(node: &Arc<SwarmNode>, member: &Arc<Member>) -> bool {
    match member.renew(node).await {
        Ok(()) => true,
        Err(refusal) => {
            tracing::warn!("the node's certificate could not be renewed: {refusal}");
            false
        }
    }
}

/// A manager asked for it, or the role in the store is another one than the certificate's.
fn needs_renewal(member: &Member, own: &Node) -> bool {
    let state = own.certificate.status.as_ref().map_or(Issuance::Unknown, |status| status.state());
    state == Issuance::Rotate || own.role != member.credentials.identity().membership().role
}

fn next_renewal(node: &SwarmNode, member: &Member) -> skep_model::WallTime {
    member.credentials.identity().renew_at(&mut node.deps.clock.rng())
}

fn until(at: skep_model::WallTime) -> Duration {
    Duration::from_nanos(u64::try_from(at.0.saturating_sub(wall().0)).unwrap_or(0))
}

/// Another trust root, from a verified manager: it must verify our own certificate before it is taken.
async fn take_root(member: &Arc<Member>, root: Bytes) {
    let taken =
        TrustRoot::from_pem(root.clone(), wall()).and_then(|root| member.credentials.identity().with_root(root));
    let identity = match taken {
        Ok(identity) => identity,
        Err(error) => return tracing::warn!("the root that a manager sent is not taken: {error}"),
    };
    let saved = {
        let mut key_file = member.key_file.lock().unwrap_or_else(PoisonError::into_inner);
        member.files.save(&identity, &mut key_file)
    };
    if let Err(error) = saved {
        return tracing::warn!("the swarm's new root could not be saved: {error}");
    }
    if let Err(error) = member.credentials.replace(identity) {
        return tracing::warn!("the swarm's new root could not be taken into use: {error}");
    }
    member.clients.forget();
    // Connections made under the old root would outlive it.
    if let Some(role) = member.manager.lock().await.as_ref() {
        role.server().disconnect_where(|_| true);
    }
    if let Some(agent) = member.agent.lock().await.as_ref() {
        agent.root_saved(root).await;
    }
}

/// Autolock went on or off, or its key was rotated: the key file is wrapped anew.
fn follow_unlock_key(member: &Member) {
    let Some(handle) = member.manager_handle() else { return };
    let (key, version) = handle.read(|board| board.unlock_key.clone());
    if version == 0 {
        return;
    }
    let key = UnlockKey::from_bytes(&key);
    let mut key_file = member.key_file.lock().unwrap_or_else(PoisonError::into_inner);
    let same = key_file.unlock_key().map(UnlockKey::expose) == key.as_ref().map(UnlockKey::expose);
    if same {
        return;
    }
    key_file.set_unlock_key(key, version);
    match key_file.save() {
        Ok(()) => tracing::info!("the node's key file was wrapped with the swarm's present unlock key"),
        Err(error) => tracing::warn!("the node's key file could not be wrapped anew: {error}"),
    }
}
