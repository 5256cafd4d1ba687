//! Requests for certificates: a newcomer with a token becomes a node, a node asks for its next certificate
//! (interop §3.1).

use rand_core::RngCore;
use skep_model::pb::messages::{
    IssueNodeCertificateRequest, IssueNodeCertificateResponse, NodeCertificateStatusRequest,
    NodeCertificateStatusResponse,
};
use skep_model::pb::types::issuance_status::State;
use skep_model::pb::types::node_spec::Membership;
use skep_model::pb::types::{Certificate, IssuanceStatus, NodeRole, NodeSpec, NodeStatus};
use skep_model::{Caller, Code, Meta, Node, NodeId, Refusal, Verbatim};
use skep_store::{Read, Tx};

use crate::removed::is_removed;
use crate::token;

/// Ids that may already be taken before giving up; with 128 random bits none ever is.
const ID_TRIES: usize = 3;
/// Largest request for a certificate that is stored.
const CSR_BYTES_MAX: usize = 16 << 10;

/// Registers a request. A caller with a certificate of this swarm renews its own; anybody else needs a token.
pub fn issue(
    tx: &mut Tx<'_>,
    caller: Option<&Caller>,
    request: &IssueNodeCertificateRequest,
    rng: &mut dyn RngCore,
) -> Result<IssueNodeCertificateResponse, Refusal> {
    if request.csr.is_empty() || request.csr.len() > CSR_BYTES_MAX {
        return Err(Refusal::invalid(format!("a certificate request has 1 to {CSR_BYTES_MAX} bytes")));
    }
    let cluster = tx.cluster().ok_or_else(|| Refusal::new(Code::Aborted, "CA signer is not ready: try again"))?;
    match caller.filter(|caller| !is_removed(tx, &caller.node)) {
        Some(caller) => renew(tx, caller, request),
        None => {
            let tokens = cluster.root_ca.join_tokens.clone().unwrap_or_default();
            let role = token::role(&tokens, &request.token).ok_or_else(|| {
                Refusal::new(Code::InvalidArgument, "A valid join token is necessary to join this cluster")
            })?;
            register(tx, role, request, cluster.vxlan_udp_port, rng)
        }
    }
}

fn register(
    tx: &mut Tx<'_>,
    role: NodeRole,
    request: &IssueNodeCertificateRequest,
    vxlan_udp_port: u32,
    rng: &mut dyn RngCore,
) -> Result<IssueNodeCertificateResponse, Refusal> {
    let mut id = NodeId::random(rng);
    for _ in 0..ID_TRIES {
        if tx.node(&id).is_none() && !is_removed(tx, &id) {
            break;
        }
        id = NodeId::random(rng);
    }
    let mut spec = NodeSpec::default();
    spec.set_desired_role(role);
    spec.set_membership(Membership::Accepted);
    spec.set_availability(request.availability());
    let node = new_node(id.clone(), role, spec, request_for(&id, role, &request.csr, State::Pending), vxlan_udp_port);
    tx.create(node)?;
    Ok(response(&id, Membership::Accepted))
}

fn renew(
    tx: &mut Tx<'_>,
    caller: &Caller,
    request: &IssueNodeCertificateRequest,
) -> Result<IssueNodeCertificateResponse, Refusal> {
    let id = &caller.node;
    take_back(tx, caller)?;
    let stored = tx.node(id).ok_or_else(|| {
        Refusal::new(Code::NotFound, format!("node {id} not found when attempting to renew certificate"))
    })?;
    let mut node = (*stored).clone();
    node.certificate = request_for(id, node.role, &request.csr, State::Renew);
    let membership = node.spec.membership();
    tx.update(node)?;
    Ok(response(id, membership))
}

/// Gives a node its row again whose certificate is good: it was taken for one that never came (`newcomers`), or it came
/// after the backup that this swarm was restored from. It is asked to renew the certificate, which nobody here has seen.
pub fn take_back(tx: &mut Tx<'_>, caller: &Caller) -> Result<(), Refusal> {
    let id = &caller.node;
    if tx.node(id).is_some() {
        return Ok(());
    }
    if is_removed(tx, id) {
        return Err(Refusal::not_found("node", id.as_str()));
    }
    let cluster = tx.cluster().ok_or_else(|| Refusal::new(Code::Aborted, "CA signer is not ready: try again"))?;
    let mut spec = NodeSpec::default();
    spec.set_desired_role(caller.role);
    spec.set_membership(Membership::Accepted);
    let certificate = request_for(id, caller.role, &bytes::Bytes::new(), State::Rotate);
    tx.create(new_node(id.clone(), caller.role, spec, certificate, cluster.vxlan_udp_port))
}

/// What a node's certificate has come to: `None` until the state is final, or there is a reason why it is not; then ask
/// again after the next commit.
pub fn certificate_status(
    read: &impl Read,
    request: &NodeCertificateStatusRequest,
) -> Result<Option<NodeCertificateStatusResponse>, Refusal> {
    let id = NodeId::new(&request.node_id).map_err(|error| Refusal::invalid(error.to_string()))?;
    let node = read.node(&id).ok_or_else(|| Refusal::not_found("node", id.as_str()))?;
    let status = node.certificate.status.clone().unwrap_or_default();
    let is_final = matches!(status.state(), State::Issued | State::Failed | State::Rotate);
    Ok((is_final || !status.err.is_empty())
        .then(|| NodeCertificateStatusResponse { status: Some(status), certificate: Some(node.certificate.clone()) }))
}

fn request_for(id: &NodeId, role: NodeRole, csr: &bytes::Bytes, state: State) -> Certificate {
    Certificate {
        role: role.into(),
        csr: csr.clone(),
        status: Some(IssuanceStatus { state: state.into(), err: String::new() }),
        certificate: bytes::Bytes::new(),
        cn: id.to_string(),
    }
}

fn response(id: &NodeId, membership: Membership) -> IssueNodeCertificateResponse {
    let mut response = IssueNodeCertificateResponse { node_id: id.to_string(), ..Default::default() };
    response.set_node_membership(membership);
    response
}

/// A node that has not registered with a dispatcher yet.
pub(crate) fn new_node(
    id: NodeId,
    role: NodeRole,
    spec: NodeSpec,
    certificate: Certificate,
    vxlan_udp_port: u32,
) -> Node {
    Node {
        id,
        meta: Meta::default(),
        spec: Verbatim::new(spec),
        description: None,
        status: NodeStatus::default(),
        manager_status: None,
        attachment: None,
        certificate,
        role,
        attachments: Vec::new(),
        vxlan_udp_port,
        unknown: bytes::Bytes::new(),
    }
}
