//! Following a member's news: managers to remember, roots and roles that change, certificates that run out.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use skep_model::pb::types::NodeRole;
use skep_model::pb::types::issuance_status::State as Issuance;
use skep_model::{Node, WallTime};
use skep_rpc::TrustRoot;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::member::Member;
use super::node::SwarmNode;
use crate::agent::News;
use crate::clock::wall;
use crate::manager::Trouble;

/// First pause before a renewal that failed is tried again; it grows fourfold.
const RENEW_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause between tries.
const RENEW_PAUSE_MAX: Duration = Duration::from_secs(60);
/// How often the manager's board is looked at for a changed unlock key.
const KEY_LOOK: Duration = Duration::from_secs(1);

/// Runs until it is aborted.
pub(super) async fn follow(
    node: Arc<SwarmNode>,
    member: Arc<Member>,
    mut news: mpsc::Receiver<News>,
    mut troubles: mpsc::Receiver<Trouble>,
) {
    let mut renewal = Renewal::new(&node, &member);
    let role = member.credentials.identity().membership().role;
    if role == NodeRole::Manager && member.manager_handle().is_none() {
        renewal.soon();
    }
    let mut looks = tokio::time::interval(KEY_LOOK);
    loop {
        let due = renewal.due();
        tokio::select! {
            told = news.recv() => match told {
                Some(News::Node(own)) => {
                    if needs_renewal(&member, &own) && renewal.retry_at.is_none() {
                        renewal.attempt(&node, &member).await;
                    }
                }
                Some(News::Remotes(peers)) => {
                    if let Err(error) = member.files.save_remotes(&peers) {
                        tracing::warn!("the managers' addresses could not be saved: {error}");
                    }
                }
                Some(News::Root(root)) => take_root(&node, &member, root).await,
                None => return,
            },
            told = troubles.recv() => match told {
                Some(Trouble::Removed) => {
                    tracing::info!("this manager was removed from the quorum");
                    member.stop_manager().await;
                    if let Err(error) = member.files.wipe_raft() {
                        tracing::warn!("the raft log could not be removed: {error}");
                    }
                    renewal.soon();
                }
                Some(Trouble::Fatal(reason)) => {
                    // Of its own, for what ends this member ends this task too.
                    tokio::spawn(async move { node.fail(&member, reason).await });
                    return;
                }
                None => {}
            },
            () = tokio::time::sleep_until(due) => renewal.attempt(&node, &member).await,
            _ = looks.tick() => super::keys::follow(&member).await,
        }
    }
}

/// When the node's certificate is to be renewed.
struct Renewal {
    /// A renewal is wanted, and the last try failed.
    retry_at: Option<Instant>,
    pause: Duration,
    /// By the certificate's age.
    renew_at: WallTime,
}

impl Renewal {
    fn new(node: &SwarmNode, member: &Member) -> Self {
        Self { retry_at: None, pause: RENEW_PAUSE, renew_at: next_renewal(node, member) }
    }

    fn due(&self) -> Instant {
        self.retry_at.unwrap_or_else(|| Instant::now() + until(self.renew_at))
    }

    fn soon(&mut self) {
        self.pause = RENEW_PAUSE;
        self.retry_at = Some(Instant::now() + self.pause);
    }

    async fn attempt(&mut self, node: &Arc<SwarmNode>, member: &Arc<Member>) {
        match member.renew(node).await {
            Ok(()) => {
                self.retry_at = None;
                self.pause = RENEW_PAUSE;
            }
            Err(refusal) => {
                tracing::warn!("the node's certificate could not be renewed: {refusal}");
                self.retry_at = Some(Instant::now() + self.pause);
                self.pause = (self.pause * 4).min(RENEW_PAUSE_MAX);
            }
        }
        self.renew_at = next_renewal(node, member);
    }
}

/// A manager asked for it, or the role in the store is another one than the certificate's.
fn needs_renewal(member: &Member, own: &Node) -> bool {
    let state = own.certificate.status.as_ref().map_or(Issuance::Unknown, |status| status.state());
    state == Issuance::Rotate || own.role != member.credentials.identity().membership().role
}

fn next_renewal(node: &SwarmNode, member: &Member) -> WallTime {
    member.credentials.identity().renew_at(&mut node.deps.clock.rng())
}

fn until(at: WallTime) -> Duration {
    Duration::from_nanos(u64::try_from(at.0.saturating_sub(wall().0)).unwrap_or(0))
}

/// Another trust root, from a verified manager: it must verify our own certificate before it is taken.
async fn take_root(node: &SwarmNode, member: &Arc<Member>, root: Bytes) {
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
    let tls_info = identity.tls_info();
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
        agent.described(super::renew::described(node, tls_info)).await;
    }
}
