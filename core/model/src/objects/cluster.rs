//! The cluster object: tokens, keys, defaults. There is one, named `default`; its id is the O of every certificate.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use super::{Meta, ObjectError, name_of, object};
use crate::ids::ClusterId;
use crate::kept::Kept;
use crate::pb::objects as pb;
use crate::pb::types;
use crate::verbatim::Verbatim;

/// The only name a cluster may have.
pub const DEFAULT_CLUSTER_NAME: &str = "default";

/// The label on the cluster that says at which pace the managers go. It replicates through every manager, also
/// Docker's, and so outlives restarts and changes of leader (decision 3).
pub const PACE_LABEL: &str = "skep.pace";
/// Its value while a Docker Engine is a manager or may become one; without the label the pace is Skep's.
pub const DOCKERS_PACE: &str = "docker";

/// The swarm's own settings and secrets.
#[derive(Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Cluster {
    pub id: ClusterId,
    pub meta: Meta,
    pub spec: Verbatim<types::ClusterSpec>,
    pub root_ca: types::RootCa,
    pub network_bootstrap_keys: Vec<types::EncryptionKey>,
    pub encryption_key_lamport_clock: u64,
    pub unlock_keys: Vec<types::EncryptionKey>,
    pub fips: bool,
    pub default_address_pool: Vec<String>,
    pub subnet_size: u32,
    pub vxlan_udp_port: u32,
    /// Certificates of removed nodes, by node id, until they expire.
    pub blacklisted_certificates: BTreeMap<String, types::BlacklistedCertificate>,
    /// Encoded fields of newer versions.
    pub unknown: Bytes,
}

object!(Cluster, ClusterId, "cluster", |cluster| cluster.name());

impl Cluster {
    /// The unique name.
    pub fn name(&self) -> &str {
        name_of(self.spec.annotations.as_ref())
    }

    /// Whether the managers go at Docker's pace.
    pub fn has_dockers_pace(&self) -> bool {
        self.pace() == Some(DOCKERS_PACE)
    }

    /// What the label says.
    pub fn pace(&self) -> Option<&str> {
        self.spec.annotations.as_ref()?.labels.get(PACE_LABEL).map(String::as_str)
    }

    /// Writes the label, or takes it away.
    pub fn set_pace(&mut self, pace: Option<&str>) {
        self.spec = self.spec.edit(|spec| {
            let labels = &mut spec.annotations.get_or_insert_default().labels;
            match pace {
                Some(pace) => drop(labels.insert(PACE_LABEL.to_owned(), pace.to_owned())),
                None => drop(labels.remove(PACE_LABEL)),
            }
        });
    }
}

/// Leaves keys and tokens out.
impl fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Cluster").field("id", &self.id).field("meta", &self.meta).finish_non_exhaustive()
    }
}

impl TryFrom<Kept<pb::Cluster>> for Cluster {
    type Error = ObjectError;

    fn try_from(kept: Kept<pb::Cluster>) -> Result<Self, ObjectError> {
        let Kept { value, unknown } = kept;
        Ok(Self {
            id: ClusterId::new(&value.id).map_err(|source| ObjectError::Id { kind: "cluster", source })?,
            meta: Meta::from(value.meta.as_ref()),
            spec: value.spec.unwrap_or_default(),
            root_ca: value.root_ca.unwrap_or_default(),
            network_bootstrap_keys: value.network_bootstrap_keys,
            encryption_key_lamport_clock: value.encryption_key_lamport_clock,
            unlock_keys: value.unlock_keys,
            fips: value.fips,
            default_address_pool: value.default_address_pool,
            subnet_size: value.subnet_size,
            vxlan_udp_port: value.vxlan_udp_port,
            blacklisted_certificates: value.blacklisted_certificates,
            unknown,
        })
    }
}

impl From<&Cluster> for Kept<pb::Cluster> {
    fn from(cluster: &Cluster) -> Self {
        Kept {
            value: pb::Cluster {
                id: cluster.id.to_string(),
                meta: Some(cluster.meta.into()),
                spec: Some(cluster.spec.clone()),
                root_ca: Some(cluster.root_ca.clone()),
                network_bootstrap_keys: cluster.network_bootstrap_keys.clone(),
                encryption_key_lamport_clock: cluster.encryption_key_lamport_clock,
                unlock_keys: cluster.unlock_keys.clone(),
                fips: cluster.fips,
                default_address_pool: cluster.default_address_pool.clone(),
                subnet_size: cluster.subnet_size,
                vxlan_udp_port: cluster.vxlan_udp_port,
                blacklisted_certificates: cluster.blacklisted_certificates.clone(),
            },
            unknown: cluster.unknown.clone(),
        }
    }
}
