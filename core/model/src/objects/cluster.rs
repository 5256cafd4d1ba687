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
