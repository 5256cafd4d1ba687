//! Small files beside the log: the node's settings and the managers it knows. Names and fields are Docker's
//! (interop §1.6), so that an operator finds what he is used to.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::atomic::{read_file, remove_file, write_file};
use crate::error::DiskError;

/// What the node was told when it came into the swarm (`docker-state.json`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeSettings {
    /// The address that leads to the manager it joined.
    pub local_addr: String,
    /// The manager it joined.
    pub remote_addr: String,
    /// Where the cluster API listens.
    pub listen_addr: String,
    /// What others are told to call.
    pub advertise_addr: String,
    /// Where overlay traffic goes.
    pub data_path_addr: String,
    /// Pools for subnets, at the time of init.
    pub default_address_pool: Option<Vec<String>>,
    /// Size of a subnet in them, in bits.
    pub subnet_size: u32,
    /// UDP port of the overlay.
    pub data_path_port: u32,
    /// A join has begun and not ended: after a restart it goes on.
    pub join_in_progress: bool,
}

/// A manager that this node knows (`state.json`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Remote {
    /// Its node id.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// host:port of its cluster API.
    pub addr: String,
}

fn settings_path(state_dir: &Path) -> PathBuf {
    state_dir.join("docker-state.json")
}

fn remotes_path(state_dir: &Path) -> PathBuf {
    state_dir.join("state.json")
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>, DiskError> {
    let Some(bytes) = read_file(path)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| DiskError::damaged(path, error.to_string()))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), DiskError> {
    let bytes = serde_json::to_vec(value).map_err(|error| DiskError::damaged(path, error.to_string()))?;
    write_file(path, &bytes)
}

impl NodeSettings {
    /// Reads them; `None` on a node that is in no swarm.
    pub fn load(state_dir: &Path) -> Result<Option<Self>, DiskError> {
        read_json(&settings_path(state_dir))
    }

    /// Writes them.
    pub fn save(&self, state_dir: &Path) -> Result<(), DiskError> {
        write_json(&settings_path(state_dir), self)
    }

    /// Forgets them.
    pub fn remove(state_dir: &Path) -> Result<(), DiskError> {
        remove_file(&settings_path(state_dir))
    }
}

impl Remote {
    /// Reads the managers that are known.
    pub fn load_all(state_dir: &Path) -> Result<Vec<Self>, DiskError> {
        Ok(read_json(&remotes_path(state_dir))?.unwrap_or_default())
    }

    /// Writes them.
    pub fn save_all(state_dir: &Path, remotes: &[Self]) -> Result<(), DiskError> {
        write_json(&remotes_path(state_dir), &remotes)
    }
}
