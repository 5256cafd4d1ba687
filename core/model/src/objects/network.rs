//! A network: what the user asked for, and what was allocated for it.

use bytes::Bytes;

use super::{Meta, ObjectError, name_of, object};
use crate::ids::NetworkId;
use crate::kept::Kept;
use crate::pb::objects as pb;
use crate::pb::types;
use crate::verbatim::Verbatim;

/// A network of the swarm.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs)]
pub struct Network {
    pub id: NetworkId,
    pub meta: Meta,
    pub spec: Verbatim<types::NetworkSpec>,
    /// Driver and its options as allocated (VNIs); another engine needs it to be present.
    pub driver_state: Option<types::Driver>,
    /// Subnets and gateways as allocated; another engine needs `driver` inside to be present.
    pub ipam: Option<types::IpamOptions>,
    pub pending_delete: bool,
    pub extra: Option<prost_types::Any>,
    /// Encoded fields of newer versions.
    pub unknown: Bytes,
}

object!(Network, NetworkId, "network", |network| network.name());

impl Network {
    /// The unique name.
    pub fn name(&self) -> &str {
        name_of(self.spec.annotations.as_ref())
    }
}

impl TryFrom<Kept<pb::Network>> for Network {
    type Error = ObjectError;

    fn try_from(kept: Kept<pb::Network>) -> Result<Self, ObjectError> {
        let Kept { value, unknown } = kept;
        Ok(Self {
            id: NetworkId::new(&value.id).map_err(|source| ObjectError::Id { kind: "network", source })?,
            meta: Meta::from(value.meta.as_ref()),
            spec: value.spec.unwrap_or_default(),
            driver_state: value.driver_state,
            ipam: value.ipam,
            pending_delete: value.pending_delete,
            extra: value.extra,
            unknown,
        })
    }
}

impl From<&Network> for Kept<pb::Network> {
    fn from(network: &Network) -> Self {
        Kept {
            value: pb::Network {
                id: network.id.to_string(),
                meta: Some(network.meta.into()),
                spec: Some(network.spec.clone()),
                driver_state: network.driver_state.clone(),
                ipam: network.ipam.clone(),
                pending_delete: network.pending_delete,
                extra: network.extra.clone(),
            },
            unknown: network.unknown.clone(),
        }
    }
}
