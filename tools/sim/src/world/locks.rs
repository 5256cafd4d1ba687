//! Autolock: managers that restart wait for the operator's key.

use skep_model::pb::messages as m;
use skep_model::pb::types::EncryptionConfig;
use skep_store::Read as _;

use super::clients::Purposed;
use super::{Happening, World};
use crate::dice::Dice;
use crate::issuers::RootId;
use crate::network::HostId;

/// The shell looks at its board for a changed key after this at the latest.
pub(super) const FOLLOW_KEY_US: u64 = 1_000_000;
/// An operator comes with the key within this.
const UNLOCK_US: u64 = 20_000_000;
/// Whose key the unlock key is.
const MANAGER_SUBSYSTEM: &str = "swarm-manager";

/// What is asked of the cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ClusterChange {
    Autolock(bool),
    RotateUnlockKey,
    RotateRoot,
    /// An operator's root, with its key; the present one again if it is not said which.
    BringRoot(Option<RootId>),
}

impl World {
    /// Changes the cluster, after reading it.
    pub(crate) fn change_cluster(&mut self, change: ClusterChange, dice: &mut Dice) {
        let Some(cluster) = self.cluster.clone() else { return };
        let request = m::GetClusterRequest { cluster_id: cluster.to_string() };
        self.ask(request.into(), Purposed::ReadCluster { change }, dice);
    }

    /// The second half of a change.
    pub(crate) fn follow_cluster(&mut self, response: m::GetClusterResponse, change: ClusterChange, dice: &mut Dice) {
        let Some(cluster) = response.cluster else { return };
        let Some(spec) = cluster.value.spec else { return };
        let spec = match change {
            ClusterChange::Autolock(on) => {
                spec.edit(|spec| spec.encryption_config = Some(EncryptionConfig { auto_lock_managers: on }))
            }
            ClusterChange::RotateUnlockKey => spec,
            ClusterChange::RotateRoot => spec.edit(|spec| spec.ca_config.get_or_insert_default().force_rotate += 1),
            ClusterChange::BringRoot(root) => {
                let present = cluster.value.root_ca.as_ref().and_then(|root| RootId::read(&root.ca_cert));
                let Some(root) = root.or(present) else { return };
                self.say(|| format!("the operator brings {root}, the present one is {present:?}"));
                spec.edit(|spec| {
                    let config = spec.ca_config.get_or_insert_default();
                    config.force_rotate += 1;
                    (config.signing_ca_cert, config.signing_ca_key) = (root.certificate(), root.key());
                })
            }
        };
        let rotates = matches!(change, ClusterChange::RotateUnlockKey);
        let request = m::UpdateClusterRequest {
            cluster_id: cluster.value.id,
            cluster_version: cluster.value.meta.as_ref().and_then(|meta| meta.version),
            spec: Some(spec),
            rotation: Some(m::KeyRotation { manager_unlock_key: rotates, ..m::KeyRotation::default() }),
        };
        self.ask(request.into(), Purposed::Forget, dice);
    }

    /// The cluster changed: its key will be looked at.
    pub(crate) fn follow_key_soon(&mut self, host: HostId) {
        let life = self.hosts[host].manager_life;
        let delay = self.dice.hosts.between(1_000, FOLLOW_KEY_US);
        self.after_us(delay, Happening::FollowKey { host, life });
    }

    /// The key file is wrapped with the swarm's present key.
    pub(crate) fn follow_key(&mut self, host: HostId, life: u64) {
        if !self.is_manager(host, life) {
            return;
        }
        let place = &mut self.hosts[host];
        let Some(cluster) = place.manager.as_ref().and_then(|manager| manager.facts().cluster()) else { return };
        if cluster.meta.version < place.lock.version {
            return;
        }
        let key = cluster.unlock_keys.iter().find(|key| key.subsystem == MANAGER_SUBSYSTEM);
        let key = key.map(|key| key.key.clone());
        if place.lock.key != key {
            place.lock.key = key;
            place.lock.version = cluster.meta.version;
        }
    }

    /// Whether the daemon that starts waits for its key.
    pub(crate) fn is_locked(&mut self, host: HostId) -> bool {
        let place = &mut self.hosts[host];
        let Some(key) = place.lock.key.clone().filter(|_| place.seat.is_some()) else { return false };
        place.lock.locked = true;
        let life = place.life;
        self.say(|| format!("h{host} is locked"));
        let verdict = self.oracle.locked(host, &key);
        self.check(verdict);
        let delay = self.dice.hosts.between(100_000, UNLOCK_US);
        self.after_us(delay, Happening::Unlock { host, life });
        true
    }

    /// The operator brings the key.
    pub(crate) fn unlock(&mut self, host: HostId, life: u64) {
        let place = &mut self.hosts[host];
        if !place.up || place.life != life || !std::mem::take(&mut place.lock.locked) {
            return;
        }
        self.say(|| format!("h{host} is unlocked"));
        self.begin_work(host);
    }
}
