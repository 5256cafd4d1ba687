//! Becoming a member: the root by its digest, then a certificate by a token (interop §3.1).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use skep_model::pb::messages as m;
use skep_model::pb::types::issuance_status::State;
use skep_model::pb::types::node_spec::Availability;
use skep_model::{Code, Refusal, WallTime};
use skep_pki::RootDigest;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;

use super::clients::within;
use super::open;
use crate::identity::{IdentityError, NodeIdentity, PrivateKey, TrustRoot};
use crate::server::{LEADER_UNREACHABLE, REVISION};
use crate::tls::{Credentials, Trust};
use crate::wire::swarmkit::ca_client::CaClient;
use crate::wire::swarmkit::node_ca_client::NodeCaClient;

/// Largest root bundle accepted from a manager that is not verified yet.
pub const ROOT_BYTES_MAX: usize = 256 << 10;
/// Each step's own limit.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);
/// First pause between two questions for the certificate; it grows by itself.
const POLL_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between them.
const POLL_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Questions for the certificate before giving up.
const POLLS_MAX: u32 = 12;

/// The managers may be changing their leader for so long; nobody is refused for that.
const LEADER_PATIENCE: Duration = Duration::from_secs(10);
/// Pause before they are asked again.
const LEADER_PAUSE: Duration = Duration::from_millis(250);

/// Why a node did not become a member. Nothing was saved.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The manager did not answer, or refused.
    #[error("{what}: {source}")]
    Call {
        /// What was asked.
        what: &'static str,
        /// Its answer.
        source: Refusal,
    },
    /// Another swarm than the token's, or somebody in between.
    #[error("remote CA does not match fingerprint. Expected: {expected}")]
    Digest {
        /// SHA-256 in hex.
        expected: String,
    },
    /// The root or the certificate that came back.
    #[error("what the manager sent cannot be used")]
    Identity(#[from] IdentityError),
    /// The manager could not sign.
    #[error("the manager refused to issue a certificate: {reason}")]
    Failed {
        /// Its words.
        reason: String,
    },
    /// No certificate after all questions.
    #[error("the manager registered this node but did not issue its certificate in time")]
    Pending,
    /// The same, and the manager says why.
    #[error("the manager registered this node but could not issue its certificate in time: {reason}")]
    Delayed {
        /// Its words.
        reason: String,
    },
}

impl JoinError {
    /// The same for the API.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Call { source, .. } => Refusal::new(source.code, self.to_string()),
            Self::Digest { .. } => Refusal::new(Code::FailedPrecondition, self.to_string()),
            Self::Identity(_) => Refusal::new(Code::Internal, self.to_string()),
            Self::Failed { .. } => Refusal::new(Code::FailedPrecondition, self.to_string()),
            Self::Pending | Self::Delayed { .. } => Refusal::new(Code::DeadlineExceeded, self.to_string()),
        }
    }
}

/// Asks a manager for the root certificate, once, and believes it only if its digest is the token's. Nothing else
/// goes over this connection; the token in particular does not.
pub async fn fetch_root(address: &str, expected: &RootDigest, now: WallTime) -> Result<TrustRoot, JoinError> {
    let what = "could not fetch the swarm's root certificate";
    let call = |source| JoinError::Call { what, source };
    let channel = open(address, Trust::Nobody, |_| ()).map_err(call)?;
    let client = CaClient::new(channel).max_decoding_message_size(ROOT_BYTES_MAX);
    let ask = || {
        let mut client = client.clone();
        async move { within(STEP_TIMEOUT, client.get_root_ca_certificate(m::GetRootCaCertificateRequest {})).await }
    };
    let pem = past_changes_of_leader(ask).await.map_err(call)?.certificate;
    if RootDigest::of(&pem) != *expected {
        return Err(JoinError::Digest { expected: expected.to_hex() });
    }
    Ok(TrustRoot::from_pem(pem, now)?)
}

/// Asks for a certificate and waits until it is issued. With a `token` for a newcomer (`Trust::Newcomer`), without
/// one for a renewal (`Trust::Member`).
pub async fn request_certificate(
    address: &str,
    trust: Trust,
    root: &TrustRoot,
    token: Option<&str>,
    key: PrivateKey,
    availability: Availability,
) -> Result<NodeIdentity, JoinError> {
    let call = |source| JoinError::Call { what: "could not get a certificate", source };
    let csr = key.csr()?;
    let channel = open(address, trust, |_| ()).map_err(call)?;
    let client = NodeCaClient::new(channel.clone());
    let mut request = m::IssueNodeCertificateRequest {
        csr: csr.clone(),
        token: token.unwrap_or_default().to_owned(),
        ..Default::default()
    };
    request.set_availability(availability);
    // Asked twice, a newcomer is registered twice; the node that never comes goes off the list again.
    let ask = || {
        let (mut client, mut request) = (client.clone(), tonic::Request::new(request.clone()));
        request.metadata_mut().insert(REVISION, MetadataValue::from_static("1"));
        async move { within(STEP_TIMEOUT, client.issue_node_certificate(request)).await }
    };
    let issued = past_changes_of_leader(ask).await.map_err(call)?;
    let chain = await_certificate(channel, issued.node_id, &csr).await?;
    Ok(NodeIdentity::new(root.clone(), chain, key)?)
}

/// Asks again as long as the managers say that they change their leader.
async fn past_changes_of_leader<T, A: Future<Output = Result<T, Refusal>>>(ask: impl Fn() -> A) -> Result<T, Refusal> {
    let until = tokio::time::Instant::now() + LEADER_PATIENCE;
    loop {
        match ask().await {
            Err(refusal) if is_change_of_leader(&refusal) && tokio::time::Instant::now() < until => {
                tracing::debug!("the managers are asked for a certificate again: {refusal}");
                tokio::time::sleep(LEADER_PAUSE).await;
            }
            answer => return answer,
        }
    }
}

fn is_change_of_leader(refusal: &Refusal) -> bool {
    // Aborted: cut off by the change, or a leader that is not ready yet.
    refusal.code == Code::Aborted || *refusal == Refusal::no_leader() || refusal.message.starts_with(LEADER_UNREACHABLE)
}

async fn await_certificate(channel: Channel, node_id: String, csr: &Bytes) -> Result<Bytes, JoinError> {
    let mut client = NodeCaClient::new(channel);
    let mut pause = POLL_PAUSE;
    let mut last = JoinError::Pending;
    for _ in 0..POLLS_MAX {
        let request = m::NodeCertificateStatusRequest { node_id: node_id.clone() };
        match within(STEP_TIMEOUT, client.node_certificate_status(request)).await {
            Ok(answer) => {
                let state = answer.status.clone().unwrap_or_default();
                let certificate = answer.certificate.unwrap_or_default();
                // An older certificate of this node answers until our own request is stored.
                let ours = certificate.csr == *csr;
                match state.state() {
                    State::Issued | State::Rotate if ours => return Ok(certificate.certificate),
                    State::Failed if ours => return Err(JoinError::Failed { reason: state.err }),
                    _ if ours && !state.err.is_empty() => last = JoinError::Delayed { reason: state.err },
                    _ => last = JoinError::Pending,
                }
            }
            Err(source) => last = JoinError::Call { what: "could not get the certificate that was requested", source },
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(POLL_PAUSE_MAX);
    }
    Err(last)
}

/// Asks for the key that unlocks managers. `None`: the swarm is not locked, or the manager knows no such thing.
pub async fn unlock_key(
    address: &str,
    credentials: Arc<Credentials>,
) -> Result<Option<m::GetUnlockKeyResponse>, JoinError> {
    let call = |source| JoinError::Call { what: "could not get the swarm's unlock key", source };
    let channel = open(address, Trust::Issuer(credentials), |_| ()).map_err(call)?;
    let mut client = CaClient::new(channel);
    let answer = within(STEP_TIMEOUT, client.get_unlock_key(m::GetUnlockKeyRequest {})).await;
    let answer = super::clients::skep_only(answer).map_err(call)?;
    Ok(answer.filter(|answer| !answer.unlock_key.is_empty()))
}
