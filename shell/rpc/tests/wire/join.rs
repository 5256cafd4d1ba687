//! Becoming a member.

use bytes::Bytes;
use skep_model::Code;
use skep_model::pb::messages as m;
use skep_model::pb::types::NodeRole;
use skep_model::pb::types::node_spec::Availability;
use skep_pki::{RootDigest, token};
use skep_rpc::client::{ROOT_BYTES_MAX, channel, fetch_root, request_certificate, unlock_key};
use skep_rpc::wire::swarmkit::node_ca_client::NodeCaClient;
use skep_rpc::{Credentials, JoinError, NodeIdentity, PrivateKey, Trust, TrustRoot};

use crate::swarm::{Manager, Swarm, now, soon};

async fn join(manager: &Manager, token: &str) -> Result<NodeIdentity, JoinError> {
    let parsed = token::parse(token).expect("a token");
    let root = fetch_root(&manager.address, &parsed.root, now()).await?;
    certificate(manager, &root, Some(token)).await
}

async fn certificate(manager: &Manager, root: &TrustRoot, token: Option<&str>) -> Result<NodeIdentity, JoinError> {
    let key = PrivateKey::generate().expect("a key");
    let trust = Trust::Newcomer(root.clone());
    request_certificate(&manager.address, trust, root, token, key, Availability::Active).await
}

#[tokio::test]
async fn a_newcomer_gets_the_role_of_its_token() {
    let swarm = Swarm::new();
    let manager = swarm.manager().await;
    let tokens = manager.fake.tokens();
    for (token, role) in [(tokens.worker, NodeRole::Worker), (tokens.manager, NodeRole::Manager)] {
        let identity = soon(join(&manager, &token)).await.expect("joins");
        assert_eq!(identity.membership().role, role);
        assert_eq!(identity.membership().cluster, swarm.cluster);
        assert_eq!(identity.root(), &swarm.root);
    }
    let visitor = manager.fake.visitors.lock().unwrap()[0].clone();
    assert_eq!((visitor.caller, visitor.address.as_str()), (None, "127.0.0.1"));
}

#[tokio::test]
async fn a_member_renews_with_its_certificate_instead_of_a_token() {
    let swarm = Swarm::new();
    let manager = swarm.manager().await;
    let old = soon(join(&manager, &manager.fake.tokens().worker)).await.expect("joins");
    let node = old.membership().node.clone();
    let credentials = Credentials::new(old).expect("TLS takes it");
    let key = PrivateKey::generate().expect("a key");
    let trust = Trust::Member(credentials);
    let renewed = request_certificate(&manager.address, trust, &swarm.root, None, key, Availability::Active);
    assert_eq!(soon(renewed).await.expect("renews").membership().node, node);
    assert_eq!(manager.fake.nodes(), 1, "no second node");
}

#[tokio::test]
async fn the_wrong_digest_stops_before_the_token_is_told() {
    let swarm = Swarm::new();
    let manager = swarm.manager().await;
    let other = Swarm::new();
    let error = soon(fetch_root(&manager.address, &RootDigest::of(other.root.pem()), now())).await.expect_err("other");
    assert!(matches!(error, JoinError::Digest { .. }), "{error}");
    assert!(error.to_string().starts_with("remote CA does not match fingerprint. Expected: "));
    assert!(manager.fake.visitors.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_wrong_secret_is_refused_with_dockers_text() {
    let swarm = Swarm::new();
    let manager = swarm.manager().await;
    let mut token = manager.fake.tokens().worker;
    let last = if token.ends_with('a') { "b" } else { "a" };
    token.replace_range(token.len() - 1.., last);
    let refusal = soon(join(&manager, &token)).await.expect_err("wrong").refusal();
    assert_eq!(refusal.code, Code::InvalidArgument);
    assert!(refusal.message.contains("A valid join token is necessary to join this cluster"), "{refusal}");
    assert_eq!(manager.fake.nodes(), 0);
}

#[tokio::test]
async fn a_manager_of_another_root_is_not_told_the_token() {
    let swarm = Swarm::new();
    let manager = swarm.manager().await;
    let other = Swarm::new();
    let token = manager.fake.tokens().worker;
    let error = soon(certificate(&manager, &other.root, Some(&token))).await.expect_err("another root");
    assert_eq!(error.refusal().code, Code::Unavailable, "{error}");
    assert!(manager.fake.visitors.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_oversized_root_is_not_read() {
    let swarm = Swarm::new();
    let manager = swarm.manager().await;
    let huge = Bytes::from(vec![b'-'; ROOT_BYTES_MAX + 1]);
    let digest = RootDigest::of(&huge);
    *manager.fake.root.lock().unwrap() = huge;
    let error = soon(fetch_root(&manager.address, &digest, now())).await.expect_err("too large");
    assert!(matches!(error, JoinError::Call { .. }), "{error}");
}

#[tokio::test]
async fn a_request_that_is_not_signed_by_its_key_is_refused() {
    let swarm = Swarm::new();
    let manager = swarm.manager().await;
    let csr = PrivateKey::generate().expect("a key").csr().expect("a request");
    let mut text = String::from_utf8(csr.to_vec()).expect("PEM");
    let middle = text.len() / 2;
    let swapped = if text.as_bytes()[middle] == b'A' { "B" } else { "A" };
    text.replace_range(middle..=middle, swapped);
    assert!(skep_rpc::identity::check_csr(text.as_bytes()).is_err());
    let channel = channel(&manager.address, Trust::Newcomer(swarm.root.clone())).expect("an address");
    let token = manager.fake.tokens().worker;
    let request = m::IssueNodeCertificateRequest { csr: text.into(), token, ..Default::default() };
    let refused = soon(NodeCaClient::new(channel).issue_node_certificate(request)).await;
    assert_eq!(refused.expect_err("a forged request").code(), tonic::Code::InvalidArgument);
    assert_eq!(manager.fake.nodes(), 0);
}

#[tokio::test]
async fn only_managers_get_the_unlock_key() {
    let swarm = Swarm::new();
    let manager = swarm.manager().await;
    let answer = soon(unlock_key(&manager.address, swarm.credentials(NodeRole::Manager))).await.expect("a manager");
    assert_eq!(answer.expect("locked").unlock_key, Bytes::from_static(b"key"));
    let refused = soon(unlock_key(&manager.address, swarm.credentials(NodeRole::Worker))).await;
    assert_eq!(refused.expect_err("a worker").refusal().code, Code::PermissionDenied);
}
