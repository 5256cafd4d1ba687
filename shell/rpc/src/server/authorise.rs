//! From a certificate, and from what a forwarding manager says, to a `Caller`; or a refusal (interop §2).

use std::net::SocketAddr;

use http::HeaderMap;
use skep_model::pb::types::NodeRole;
use skep_model::{Caller, ClusterId, Code, Make, NodeId, Refusal};

use super::methods::{Callers, Place};
use crate::backend::{Call, ConnectionId, Standing, Visitor};
use crate::identity::{Membership, read_role};

/// Metadata by which a manager passes on who called it.
pub(super) const FORWARDED: &str = "forwarded_cert";
pub(super) const FORWARDED_CN: &str = "forwarded_cert_cn";
pub(super) const FORWARDED_O: &str = "forwarded_cert_org";
pub(super) const FORWARDED_OU: &str = "forwarded_cert_ou";
pub(super) const REMOTE_ADDRESS: &str = "remote_addr";
pub(super) const REDIRECT: &str = "redirect";
/// Skep's own: the number of the caller's connection to the forwarding manager.
pub(super) const CONNECTION: &str = "skep-connection";
/// Skep's own: a newcomer that asks for a certificate says that it is one, before anybody could ask it.
pub(crate) const REVISION: &str = "skep-revision";

/// Where a request came from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// The other end of the TCP connection.
    pub(super) address: SocketAddr,
    /// Number of the connection.
    pub(super) connection: u64,
    /// What the verified certificate says, if one was shown.
    pub(super) peer: Option<Membership>,
}

/// The caller behind a request, and everything that the handlers get to see.
#[derive(Clone, Debug)]
pub(super) struct Identified {
    caller: Option<Caller>,
    connection: ConnectionId,
    address: String,
}

impl Identified {
    pub(super) fn visitor(self, make: Make) -> Visitor {
        Visitor { caller: self.caller, address: self.address, make }
    }

    pub(super) fn call(self) -> Option<Call> {
        self.caller.map(|caller| Call { caller, connection: self.connection })
    }
}

/// Finds out who calls. `cluster` is ours; `standing` asks the store.
pub(super) fn identify(
    origin: &Origin,
    headers: &HeaderMap,
    cluster: &ClusterId,
    standing: impl Fn(&NodeId) -> Standing,
) -> Result<Identified, Refusal> {
    let address = origin.address.ip().to_canonical().to_string();
    let here = ConnectionId { manager: None, number: origin.connection };
    if !is_forwarded(headers) {
        let Some(peer) = &origin.peer else {
            return Ok(Identified { caller: None, connection: here, address });
        };
        check(peer, cluster, &standing)?;
        let caller = Caller { node: peer.node.clone(), role: peer.role, forwarded_by: None, address: address.clone() };
        return Ok(Identified { caller: Some(caller), connection: here, address });
    }
    let forwarder = origin.peer.as_ref().ok_or_else(|| denied("unauthorized forwarder role: no certificate"))?;
    check(forwarder, cluster, &standing)?;
    if forwarder.role != NodeRole::Manager || standing(&forwarder.node) == Standing::Member(NodeRole::Worker) {
        return Err(denied("unauthorized forwarder role: only managers pass calls on"));
    }
    let address = header(headers, REMOTE_ADDRESS).map_or(address, without_port);
    let number = header(headers, CONNECTION).and_then(|number| number.parse().ok()).unwrap_or(0);
    let connection = ConnectionId { manager: Some(forwarder.node.clone()), number };
    let caller = match forwarded(headers, cluster)? {
        Some(peer) => {
            check(&peer, cluster, &standing)?;
            let forwarded_by = Some(forwarder.node.clone());
            Some(Caller { node: peer.node, role: peer.role, forwarded_by, address: address.clone() })
        }
        None => None,
    };
    Ok(Identified { caller, connection, address })
}

/// Whether the caller may call a method that is open to `callers`.
pub(super) fn authorise(
    identified: &Identified,
    callers: Callers,
    place: Place,
    local: bool,
    standing: impl Fn(&NodeId) -> Standing,
) -> Result<(), Refusal> {
    if callers == Callers::Anyone {
        return Ok(());
    }
    let caller = identified.caller.as_ref();
    let caller = caller.ok_or_else(|| denied("this method needs a certificate of this swarm"))?;
    if callers == Callers::Nodes {
        return Ok(());
    }
    if caller.role != NodeRole::Manager {
        return Err(denied("unauthorized peer role: remote certificate not part of OUs: [swarm-manager]"));
    }
    // A demoted manager's certificate lives on; the store knows better. A follower leaves that to the leader.
    let asks_store = local && place != Place::Raft;
    if asks_store && standing(&caller.node) == Standing::Member(NodeRole::Worker) {
        return Err(denied("unauthorized peer role: this node is not a manager any more"));
    }
    Ok(())
}

pub(super) fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(FORWARDED)
}

/// The identity that a manager passes on; `None` when its caller had none.
fn forwarded(headers: &HeaderMap, cluster: &ClusterId) -> Result<Option<Membership>, Refusal> {
    let name = header(headers, FORWARDED_CN).unwrap_or_default();
    let organisation = header(headers, FORWARDED_O).unwrap_or_default();
    let units: Vec<&str> = headers.get_all(FORWARDED_OU).iter().filter_map(|unit| unit.to_str().ok()).collect();
    let units: Vec<&str> = units.into_iter().filter(|unit| !unit.is_empty()).collect();
    if name.is_empty() && organisation.is_empty() && units.is_empty() {
        return Ok(None);
    }
    let missing = || denied("missing information in forwarded request");
    if organisation.is_empty() {
        return Err(missing());
    }
    if organisation != cluster.as_str() {
        return Err(denied(&format!("organization mismatch, expecting: {cluster}")));
    }
    let node = NodeId::optional(name).ok_or_else(missing)?;
    let role = read_role(&units).ok_or_else(missing)?;
    Ok(Some(Membership { node, role, cluster: cluster.clone() }))
}

fn check(peer: &Membership, cluster: &ClusterId, standing: &impl Fn(&NodeId) -> Standing) -> Result<(), Refusal> {
    if standing(&peer.node) == Standing::Removed {
        return Err(denied(&format!("node {} was removed from swarm", peer.node)));
    }
    if peer.cluster != *cluster {
        return Err(denied(&format!("remote certificate not part of organization: {cluster}")));
    }
    Ok(())
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn without_port(address: &str) -> String {
    address.parse::<SocketAddr>().map_or_else(|_| address.to_owned(), |address| address.ip().to_canonical().to_string())
}

fn denied(reason: &str) -> Refusal {
    Refusal::new(Code::PermissionDenied, format!("Permission denied: {reason}"))
}

#[cfg(test)]
mod tests;
