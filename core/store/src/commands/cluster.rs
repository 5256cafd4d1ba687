//! The cluster: its settings, join tokens and unlock key.

use std::time::Duration;

use bytes::Bytes;
use rand_core::RngCore;
use skep_model::ids::base36;
use skep_model::objects::DEFAULT_CLUSTER_NAME;
use skep_model::pb::messages as m;
use skep_model::pb::types::{CaConfig, ClusterSpec, EncryptionKey, RootCa};
use skep_model::{Cluster, Code, Kept, Now, Refusal, Verbatim, WallTime, defaults};

use super::context::CommandContext;
use super::lookup::{self, common_filters, in_sequence, invalid_argument, quoted, required, written};
use super::validate::{is_negative, shorter_than};
use crate::read::Find;
use crate::tx::Tx;

/// Certificates of removed nodes stay listed so much longer than they are valid.
const EXPIRED_CERTIFICATE_GRACE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Whose key the unlock key is.
const MANAGER_SUBSYSTEM: &str = "swarm-manager";
/// Bytes of an unlock key.
const UNLOCK_KEY_BYTES: usize = 32;
/// Random bytes in a join token.
const TOKEN_SECRET_BYTES: usize = 16;
/// Digits that they become in base 36, with leading zeros.
const TOKEN_SECRET_DIGITS: usize = 25;

pub(super) fn get(facts: &impl Find, request: m::GetClusterRequest) -> Result<m::GetClusterResponse, Refusal> {
    let cluster = required::<Cluster>(facts, &request.cluster_id)?;
    Ok(m::GetClusterResponse { cluster: Some(redacted(&cluster)) })
}

pub(super) fn list(facts: &impl Find, request: m::ListClustersRequest) -> m::ListClustersResponse {
    let clusters = common_filters!(request.filters).all(facts, |cluster: &Cluster| cluster.spec.annotations.as_ref());
    m::ListClustersResponse { clusters: clusters.iter().map(|cluster| redacted(cluster)).collect() }
}

pub(super) fn update(
    tx: &mut Tx,
    context: &mut CommandContext,
    request: m::UpdateClusterRequest,
) -> Result<m::UpdateClusterResponse, Refusal> {
    let version = quoted(request.cluster_version.as_ref())?;
    let spec = request.spec.ok_or_else(invalid_argument)?;
    if request.cluster_id.is_empty() {
        return Err(invalid_argument());
    }
    check_cluster(&spec)?;
    let stored = required::<Cluster>(tx, &request.cluster_id)?;
    let mut cluster = (*stored).clone();
    cluster.root_ca = (context.root_under)(&cluster, &spec.ca_config.clone().unwrap_or_default())?;
    cluster.spec = without_keys(&spec);
    // The pace is the managers' own affair: a client that writes labels anew neither sets nor loses it.
    if cluster.pace() != stored.pace() {
        cluster.set_pace(stored.pace());
    }
    forget_expired(&mut cluster, context.now);
    let rotation = request.rotation.unwrap_or_default();
    rotate_tokens(&mut cluster.root_ca, &rotation, context.rng)?;
    rotate_unlock_key(&mut cluster, rotation.manager_unlock_key, context.rng);
    in_sequence(&*stored, version)?;
    let id = cluster.id.clone();
    tx.update(cluster)?;
    Ok(m::UpdateClusterResponse { cluster: Some(redacted(&*written::<Cluster>(tx, &id)?)) })
}

/// What a cluster's settings alone can be refused for; also asked of the first ones, before there is a cluster.
pub fn check_cluster(spec: &ClusterSpec) -> Result<(), Refusal> {
    let expiry = spec.ca_config.as_ref().and_then(|config| config.node_cert_expiry.as_ref());
    if expiry.is_some_and(|expiry| shorter_than(expiry, defaults::NODE_CERTIFICATE_EXPIRY_MIN)) {
        return Err(Refusal::invalid("minimum certificate expiry time is: 1h0m0s"));
    }
    for policy in spec.acceptance_policy.iter().flat_map(|policy| &policy.policies) {
        if let Some(secret) = policy.secret.as_ref().filter(|secret| !secret.alg.eq_ignore_ascii_case("bcrypt")) {
            return Err(Refusal::invalid(format!("hashing algorithm is not supported: {}", secret.alg)));
        }
    }
    if spec.dispatcher.as_ref().and_then(|config| config.heartbeat_period.as_ref()).is_some_and(is_negative) {
        return Err(Refusal::invalid("heartbeat time period cannot be a negative duration"));
    }
    if lookup::name(spec.annotations.as_ref()) != DEFAULT_CLUSTER_NAME {
        return Err(Refusal::invalid("modification of cluster name is not allowed"));
    }
    Ok(())
}

fn rotate_tokens(root: &mut RootCa, rotation: &m::KeyRotation, rng: &mut dyn RngCore) -> Result<(), Refusal> {
    let tokens = root.join_tokens.get_or_insert_default();
    if rotation.worker_join_token {
        tokens.worker = fresh_token(&tokens.worker, rng)?;
    }
    if rotation.manager_join_token {
        tokens.manager = fresh_token(&tokens.manager, rng)?;
    }
    Ok(())
}

/// The token with another secret: `SWMTKN-1-<digest of the root>-<secret>` (interop §1.5).
fn fresh_token(token: &str, rng: &mut dyn RngCore) -> Result<String, Refusal> {
    let (root, _) = token
        .rsplit_once('-')
        .filter(|(root, _)| root.starts_with("SWMTKN-"))
        .ok_or_else(|| Refusal::new(Code::Internal, "the cluster has no join token from which to make another"))?;
    let mut secret = [0; TOKEN_SECRET_BYTES];
    rng.fill_bytes(&mut secret);
    Ok(format!("{root}-{:0>width$}", base36(&secret), width = TOKEN_SECRET_DIGITS))
}

/// With autolock there is one key of the managers', without there is none.
fn rotate_unlock_key(cluster: &mut Cluster, rotate: bool, rng: &mut dyn RngCore) {
    let autolock = cluster.spec.encryption_config.as_ref().is_some_and(|config| config.auto_lock_managers);
    if !autolock {
        cluster.unlock_keys.retain(|key| key.subsystem != MANAGER_SUBSYSTEM);
        return;
    }
    let existing = cluster.unlock_keys.iter_mut().find(|key| key.subsystem == MANAGER_SUBSYSTEM);
    match existing {
        Some(key) if rotate => key.key = fresh_key(rng),
        Some(_) => {}
        None => {
            let key = EncryptionKey {
                subsystem: MANAGER_SUBSYSTEM.to_owned(),
                key: fresh_key(rng),
                ..EncryptionKey::default()
            };
            cluster.unlock_keys.push(key);
        }
    }
}

fn fresh_key(rng: &mut dyn RngCore) -> Bytes {
    let mut key = [0; UNLOCK_KEY_BYTES];
    rng.fill_bytes(&mut key);
    Bytes::copy_from_slice(&key)
}

/// Certificates that could not be used any more need no listing.
pub(super) fn forget_expired(cluster: &mut Cluster, now: Now) {
    let grace = i64::try_from(EXPIRED_CERTIFICATE_GRACE.as_nanos()).unwrap_or(i64::MAX);
    cluster.blacklisted_certificates.retain(|_, certificate| {
        certificate.expiry.as_ref().is_none_or(|expiry| WallTime::from(expiry).0.saturating_add(grace) >= now.wall.0)
    });
}

/// Settings without the root that was asked for and its key: what came of them is in the cluster's root. A Docker
/// manager that led may have left them.
fn without_keys(spec: &Verbatim<ClusterSpec>) -> Verbatim<ClusterSpec> {
    let has_keys = |config: &CaConfig| !config.signing_ca_key.is_empty() || !config.signing_ca_cert.is_empty();
    if !spec.ca_config.as_ref().is_some_and(has_keys) {
        return spec.clone();
    }
    spec.edit(|spec| {
        if let Some(config) = &mut spec.ca_config {
            config.signing_ca_key = Bytes::new();
            config.signing_ca_cert = Bytes::new();
        }
    })
}

/// The cluster without what nobody outside the managers may see; with the defaults that its silence means.
fn redacted(cluster: &Cluster) -> Kept<skep_model::pb::objects::Cluster> {
    let mut shown = cluster.clone();
    shown.spec = without_keys(&shown.spec);
    shown.root_ca.ca_key = Bytes::new();
    if let Some(rotation) = &mut shown.root_ca.root_rotation {
        rotation.ca_key = Bytes::new();
    }
    shown.network_bootstrap_keys = Vec::new();
    shown.encryption_key_lamport_clock = 0;
    shown.unlock_keys = Vec::new();
    // What a newer version added might be a key.
    shown.unknown = Bytes::new();
    if shown.default_address_pool.is_empty() {
        shown.default_address_pool = vec![defaults::ADDRESS_POOL.to_owned()];
        shown.subnet_size = defaults::SUBNET_SIZE;
    }
    if shown.vxlan_udp_port == 0 {
        shown.vxlan_udp_port = defaults::DATA_PATH_PORT;
    }
    Kept::from(&shown)
}
