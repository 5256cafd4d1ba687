//! The keys with which nodes' gossip and overlay traffic is encrypted: made by the first leader, replaced one at a time
//! (interop §4.8).

use std::time::Duration;

use bytes::Bytes;
use rand_core::RngCore;
use skep_model::pb::types::EncryptionKey;
use skep_model::{Cluster, Now, Refusal, Time};
use skep_store::{Read, Tx};

/// How often the oldest key of each subsystem gives way to a new one.
pub const ROTATION_PERIOD: Duration = Duration::from_secs(12 * 3600);
const SUBSYSTEMS: [&str; 2] = ["networking:gossip", "networking:ipsec"];
/// Keys kept per subsystem: the one in use, the one before and the one to come.
const KEYS_PER_SUBSYSTEM: usize = 3;
const KEY_BYTES: usize = 16;

/// When to replace keys. A new leader starts the period anew, as SwarmKit's does.
#[derive(Clone, Debug, Default)]
pub struct NetworkKeys {
    rotate_at: Option<Time>,
}

impl NetworkKeys {
    /// Nothing planned.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new term.
    pub fn lead(&mut self) {
        self.rotate_at = None;
    }

    /// When it wants its turn.
    pub fn wake_at(&self) -> Option<Time> {
        self.rotate_at
    }

    /// Makes the keys that are missing; replaces some when it is time.
    pub fn turn(&mut self, now: Now, rng: &mut dyn RngCore, tx: &mut Tx<'_>) -> Result<(), Refusal> {
        let Some(stored) = tx.cluster() else { return Ok(()) };
        let due = self.rotate_at.is_some_and(|at| at <= now.monotonic);
        if due || self.rotate_at.is_none() {
            self.rotate_at = Some(now.monotonic.after(ROTATION_PERIOD));
        }
        let missing = stored.network_bootstrap_keys.is_empty();
        if !missing && !due {
            return Ok(());
        }
        let mut cluster = (*stored).clone();
        if missing {
            cluster.encryption_key_lamport_clock = u64::from(rng.next_u32() & 0xffff);
            for subsystem in SUBSYSTEMS {
                for _ in 0..KEYS_PER_SUBSYSTEM {
                    add_key(&mut cluster, subsystem, rng);
                }
            }
        } else {
            SUBSYSTEMS.iter().for_each(|subsystem| replace_oldest(&mut cluster, subsystem, rng));
        }
        tx.update(cluster)
    }
}

fn replace_oldest(cluster: &mut Cluster, subsystem: &str, rng: &mut dyn RngCore) {
    let mine = || cluster.network_bootstrap_keys.iter().enumerate().filter(|(_, key)| key.subsystem == subsystem);
    if mine().count() >= KEYS_PER_SUBSYSTEM {
        let oldest = mine().min_by_key(|(_, key)| key.lamport_time).map(|(index, _)| index);
        if let Some(oldest) = oldest {
            cluster.network_bootstrap_keys.remove(oldest);
        }
    }
    add_key(cluster, subsystem, rng);
}

fn add_key(cluster: &mut Cluster, subsystem: &str, rng: &mut dyn RngCore) {
    let mut key = [0u8; KEY_BYTES];
    rng.fill_bytes(&mut key);
    cluster.encryption_key_lamport_clock += 1;
    cluster.network_bootstrap_keys.push(EncryptionKey {
        subsystem: subsystem.to_owned(),
        key: Bytes::copy_from_slice(&key),
        lamport_time: cluster.encryption_key_lamport_clock,
        ..Default::default()
    });
}
