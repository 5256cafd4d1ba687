//! The cluster object and its settings.

use std::borrow::Cow;
use std::time::Duration;

use skep_model::Refusal;
use skep_model::defaults;
use skep_model::pb::objects as pb;
use skep_model::pb::types::{self, external_ca};

use super::{annotations, driver_in, duration, map, meta, nanos, text};
use crate::json;
use crate::swarm::ClusterSettings;

/// The only name that a swarm's spec may have.
const SPEC_NAME: &str = "default";

/// Outwards; with join tokens only for `GET /swarm`.
pub(crate) fn out(cluster: &pb::Cluster, with_tokens: bool) -> json::ClusterInfo<'_> {
    let (version, created_at, updated_at) = meta(cluster.meta.as_ref());
    let root = cluster.root_ca.as_ref();
    let tokens = root.and_then(|root| root.join_tokens.as_ref());
    json::ClusterInfo {
        id: text(&cluster.id),
        version,
        created_at,
        updated_at,
        spec: cluster.spec.as_deref().map(spec_out).unwrap_or_default(),
        tls_info: root.map(tls_info).unwrap_or_default(),
        root_rotation: root.is_some_and(|root| rotates(cluster, root)),
        address_pool: if cluster.default_address_pool.is_empty() {
            Cow::Owned(vec![defaults::ADDRESS_POOL.to_owned()])
        } else {
            Cow::Borrowed(&cluster.default_address_pool)
        },
        subnet_size: if cluster.subnet_size == 0 { defaults::SUBNET_SIZE } else { cluster.subnet_size },
        data_path_port: if cluster.vxlan_udp_port == 0 { defaults::DATA_PATH_PORT } else { cluster.vxlan_udp_port },
        join_tokens: with_tokens.then(|| json::JoinTokens {
            worker: tokens.map(|tokens| text(&tokens.worker)).unwrap_or_default(),
            manager: tokens.map(|tokens| text(&tokens.manager)).unwrap_or_default(),
        }),
    }
}

/// Whether a change of root is under way, or was asked for and is about to begin.
fn rotates(cluster: &pb::Cluster, root: &types::RootCa) -> bool {
    let config = cluster.spec.as_ref().and_then(|spec| spec.ca_config.as_ref());
    root.root_rotation.is_some() || config.map_or(0, |config| config.force_rotate) != root.last_forced_rotation
}

/// Root certificate, and whose name and key issued certificates must carry (those of the new root in a rotation).
fn tls_info(root: &types::RootCa) -> json::TlsInfo<'_> {
    let issuer = root.root_rotation.as_ref().map_or(&root.ca_cert, |rotation| &rotation.ca_cert);
    let (issuer_subject, issuer_public_key) = issuer_of(issuer).unwrap_or_default();
    json::TlsInfo { trust_root: String::from_utf8_lossy(&root.ca_cert), issuer_subject, issuer_public_key }
}

/// Subject and public key of the first certificate in a PEM file, as they are encoded.
fn issuer_of(pem: &[u8]) -> Option<(json::Base64, json::Base64)> {
    let (_, block) = x509_parser::pem::parse_x509_pem(pem).ok()?;
    let certificate = block.parse_x509().ok()?;
    let copy = |raw: &[u8]| json::Base64(bytes::Bytes::copy_from_slice(raw));
    Some((copy(certificate.subject().as_raw()), copy(certificate.public_key().raw)))
}

/// Settings. The signing certificate and key never leave.
fn spec_out(spec: &types::ClusterSpec) -> json::Spec<'_> {
    let (name, labels) = annotations(spec.annotations.as_ref());
    let raft = spec.raft.unwrap_or_default();
    let ca_config = spec.ca_config.as_ref();
    json::Spec {
        name,
        labels,
        orchestration: json::Orchestration {
            history_limit: Some(
                spec.orchestration.as_ref().map_or(0, |orchestration| orchestration.task_history_retention_limit),
            ),
        },
        raft: json::Raft {
            snapshot_interval: raft.snapshot_interval,
            keep_old_snapshots: Some(raft.keep_old_snapshots),
            slow_followers: raft.log_entries_for_slow_followers,
            election_tick: raft.election_tick,
            heartbeat_tick: raft.heartbeat_tick,
        },
        dispatcher: json::Dispatcher {
            heartbeat_period: spec
                .dispatcher
                .as_ref()
                .and_then(|dispatcher| dispatcher.heartbeat_period.as_ref())
                .map_or(0, nanos),
        },
        ca_config: json::CaConfig {
            node_cert_expiry: ca_config.and_then(|config| config.node_cert_expiry.as_ref()).map_or(0, nanos),
            external_cas: ca_config
                .map(|config| config.external_cas.iter().map(external_ca_out).collect())
                .unwrap_or_default(),
            force_rotate: ca_config.map_or(0, |config| config.force_rotate),
            ..Default::default()
        },
        task_defaults: json::TaskDefaults {
            log_driver: spec
                .task_defaults
                .as_ref()
                .and_then(|defaults| defaults.log_driver.as_ref())
                .map(super::driver),
        },
        encryption: json::Encryption {
            auto_lock: spec.encryption_config.as_ref().is_some_and(|config| config.auto_lock_managers),
        },
    }
}

fn external_ca_out(ca: &types::ExternalCa) -> json::ExternalCa<'_> {
    json::ExternalCa {
        protocol: text("cfssl"),
        url: text(&ca.url),
        options: map(&ca.options),
        ca_cert: String::from_utf8_lossy(&ca.ca_cert),
    }
}

/// Settings, inwards: zero and null mean "as it is", as in Docker.
pub(crate) fn settings_in(spec: json::Spec<'_>) -> Result<ClusterSettings, Refusal> {
    if !spec.name.is_empty() && spec.name != SPEC_NAME {
        return Err(Refusal::invalid("swarm spec must be named \"default\""));
    }
    let period = |field: &str, nanos: i64| match u64::try_from(nanos) {
        Ok(0) => Ok(None),
        Ok(nanos) => Ok(Some(Duration::from_nanos(nanos))),
        Err(_) => Err(Refusal::invalid(format!("{field} must not be negative"))),
    };
    let some = |value: u64| (value != 0).then_some(value);
    let pem = |value: json::Text<'_>| (!value.is_empty()).then(|| bytes::Bytes::from(value.into_owned().into_bytes()));
    Ok(ClusterSettings {
        name: spec.name.into_owned(),
        labels: (!spec.labels.is_empty()).then(|| spec.labels.into_owned()),
        task_history_retention_limit: spec.orchestration.history_limit,
        snapshot_interval: some(spec.raft.snapshot_interval),
        keep_old_snapshots: spec.raft.keep_old_snapshots,
        log_entries_for_slow_followers: some(spec.raft.slow_followers),
        heartbeat_tick: (spec.raft.heartbeat_tick != 0).then_some(spec.raft.heartbeat_tick),
        election_tick: (spec.raft.election_tick != 0).then_some(spec.raft.election_tick),
        heartbeat_period: period("Dispatcher.HeartbeatPeriod", spec.dispatcher.heartbeat_period)?,
        node_cert_expiry: period("CAConfig.NodeCertExpiry", spec.ca_config.node_cert_expiry)?,
        signing_ca_cert: pem(spec.ca_config.signing_ca_cert),
        signing_ca_key: pem(spec.ca_config.signing_ca_key),
        force_rotate: spec.ca_config.force_rotate,
        external_cas: spec.ca_config.external_cas.into_iter().map(external_ca_in).collect::<Result<_, _>>()?,
        log_driver: spec.task_defaults.log_driver.map(driver_in),
        auto_lock_managers: spec.encryption.auto_lock,
    })
}

fn external_ca_in(ca: json::ExternalCa<'_>) -> Result<types::ExternalCa, Refusal> {
    if !ca.protocol.eq_ignore_ascii_case("cfssl") {
        return Err(Refusal::invalid(format!("invalid protocol: {:?}", ca.protocol)));
    }
    Ok(types::ExternalCa {
        protocol: external_ca::CaProtocol::CaprotocolCfssl.into(),
        url: ca.url.into_owned(),
        options: ca.options.into_owned(),
        ca_cert: ca.ca_cert.into_owned().into_bytes().into(),
    })
}

impl ClusterSettings {
    /// Writes what the user set over `spec`: over the defaults at init, over an empty spec for an update (whose sender
    /// has the whole spec). Sub-messages that Docker always stores are there afterwards.
    pub fn merge_into(&self, spec: &mut types::ClusterSpec) {
        let annotations = spec.annotations.get_or_insert_default();
        annotations.name = SPEC_NAME.to_owned();
        if let Some(labels) = &self.labels {
            annotations.labels = labels.clone();
        }
        spec.acceptance_policy.get_or_insert_default();
        let orchestration = spec.orchestration.get_or_insert_default();
        set(&mut orchestration.task_history_retention_limit, self.task_history_retention_limit);
        let raft = spec.raft.get_or_insert_default();
        set(&mut raft.snapshot_interval, self.snapshot_interval);
        set(&mut raft.keep_old_snapshots, self.keep_old_snapshots);
        set(&mut raft.log_entries_for_slow_followers, self.log_entries_for_slow_followers);
        set(&mut raft.heartbeat_tick, self.heartbeat_tick);
        set(&mut raft.election_tick, self.election_tick);
        let dispatcher = spec.dispatcher.get_or_insert_default();
        let wire = |period: Duration| duration(i64::try_from(period.as_nanos()).unwrap_or(i64::MAX));
        if let Some(period) = self.heartbeat_period {
            dispatcher.heartbeat_period = Some(wire(period));
        }
        let ca_config = spec.ca_config.get_or_insert_default();
        if let Some(expiry) = self.node_cert_expiry {
            ca_config.node_cert_expiry = Some(wire(expiry));
        }
        set(&mut ca_config.signing_ca_cert, self.signing_ca_cert.clone());
        set(&mut ca_config.signing_ca_key, self.signing_ca_key.clone());
        ca_config.force_rotate = self.force_rotate;
        ca_config.external_cas.extend(self.external_cas.iter().cloned());
        let task_defaults = spec.task_defaults.get_or_insert_default();
        if self.log_driver.is_some() {
            task_defaults.log_driver = self.log_driver.clone();
        }
        spec.encryption_config.get_or_insert_default().auto_lock_managers = self.auto_lock_managers;
    }
}

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "\
-----BEGIN CERTIFICATE-----
MIIBfTCCASOgAwIBAgIUGjy/SIkuK7WW/ZDl9fVMjJiZh+UwCgYIKoZIzj0EAwIw
EzERMA8GA1UEAwwIc3dhcm0tY2EwIBcNMjYxMTIyMDQ0OTU2WhgPMjEyNjEwMjkw
NDQ5NTZaMBMxETAPBgNVBAMMCHN3YXJtLWNhMFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAEnYglRoAe1n4D3h2iYR/f+Ndu1309tewL0+9+nVogUTAPSxa9jDVXXELk
lJepUtPL16YmSnCX/avzFpmrCBKOXKNTMFEwHQYDVR0OBBYEFBYeqMir85jceKK/
jjnOlbmkVVtgMB8GA1UdIwQYMBaAFBYeqMir85jceKK/jjnOlbmkVVtgMA8GA1Ud
EwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgbqCWLxt5IuSw8EHzSUrkdSWU
rzujKfaadDp/k6se990CIQCDsDq3uRtsFa/rVEaDUYKHMALdviyr4OgL9WlhEQ42
Dw==
-----END CERTIFICATE-----
";

    #[test]
    fn the_issuer_is_shown_as_it_is_encoded() {
        let root = |ca_cert: &'static str| types::RootCa { ca_cert: ca_cert.into(), ..Default::default() };
        let shown = serde_json::to_value(tls_info(&root(ROOT))).unwrap();
        assert_eq!(shown["TrustRoot"], ROOT);
        assert_eq!(shown["CertIssuerSubject"], "MBMxETAPBgNVBAMMCHN3YXJtLWNh");
        // As `openssl x509 -pubkey` prints it.
        let key = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEnYglRoAe1n4D3h2iYR/f+Ndu1309tewL0+9+nVogUTAPSxa9jDVXXELklJepUtPL16Ym\
                   SnCX/avzFpmrCBKOXA==";
        assert_eq!(shown["CertIssuerPublicKey"], key);
        let rotating = types::RootCa {
            root_rotation: Some(types::RootRotation { ca_cert: ROOT.into(), ..Default::default() }),
            ..root("the old one")
        };
        let shown = serde_json::to_value(tls_info(&rotating)).unwrap();
        assert_eq!(
            (shown["TrustRoot"].as_str(), shown["CertIssuerPublicKey"].as_str()),
            (Some("the old one"), Some(key))
        );
    }
}
