use skep_model::objects::version;
use skep_model::pb::messages as m;
use skep_model::pb::types as t;
use skep_model::{Cluster, Code};

use crate::Read;
use crate::fixture::{Swarm, annotations, cluster, id};

fn stored(swarm: &Swarm) -> Cluster {
    (*swarm.ledger.committed().cluster().unwrap()).clone()
}

fn update(swarm: &Swarm, change: impl FnOnce(&mut t::ClusterSpec)) -> m::UpdateClusterRequest {
    let cluster = stored(swarm);
    m::UpdateClusterRequest {
        cluster_id: cluster.id.to_string(),
        cluster_version: Some(version(cluster.meta.version)),
        spec: Some(cluster.spec.edit(change)),
        rotation: None,
    }
}

fn autolock(on: bool) -> impl FnOnce(&mut t::ClusterSpec) {
    move |spec| spec.encryption_config = Some(t::EncryptionConfig { auto_lock_managers: on })
}

#[test]
fn nobody_outside_sees_a_key() {
    let mut secret = cluster();
    secret.spec = secret.spec.edit(|spec| {
        spec.ca_config = Some(t::CaConfig {
            signing_ca_key: "signing key".into(),
            signing_ca_cert: "signing cert".into(),
            ..Default::default()
        });
    });
    secret.unlock_keys = vec![t::EncryptionKey { key: "unlock key".into(), ..Default::default() }];
    secret.network_bootstrap_keys = vec![t::EncryptionKey { key: "gossip key".into(), ..Default::default() }];
    let rotation = t::RootRotation { ca_key: "next key".into(), ca_cert: "next cert".into(), ..Default::default() };
    secret.root_ca.root_rotation = Some(rotation);
    let mut swarm = Swarm::new().with(secret);
    let got = swarm.ask(m::GetClusterRequest { cluster_id: id("cluster") }).unwrap().cluster.unwrap();
    let listed = swarm.ask(m::ListClustersRequest { filters: None }).unwrap().clusters;
    let request = update(&swarm, |_| {});
    // A spec without signing material asks for nothing new.
    let request = m::UpdateClusterRequest { spec: got.value.spec.clone(), ..request };
    let updated = swarm.ask(request).unwrap().cluster.unwrap();
    for shown in [&got, &listed[0], &updated] {
        let bytes = prost::Message::encode_to_vec(shown);
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("key"), "{text:?}");
        assert!(text.contains("the root") && text.contains("SWMTKN-1-"));
        assert_eq!(shown.value.default_address_pool, ["10.0.0.0/8"]);
        assert_eq!((shown.value.subnet_size, shown.value.vxlan_udp_port), (24, 4789));
    }
    assert_eq!(stored(&swarm).root_ca.ca_key, "the key", "and yet it is kept");
}

#[test]
fn a_rotated_token_has_the_same_root_and_another_secret() {
    let mut swarm = Swarm::new().with(cluster());
    let before = stored(&swarm).root_ca.join_tokens.unwrap();
    let rotation = Some(m::KeyRotation { worker_join_token: true, ..Default::default() });
    let request = m::UpdateClusterRequest { rotation, ..update(&swarm, |_| {}) };
    swarm.ask(request).unwrap();
    let after = stored(&swarm).root_ca.join_tokens.unwrap();
    assert_eq!(after.manager, before.manager);
    assert_ne!(after.worker, before.worker);
    let (root, secret) = after.worker.rsplit_once('-').unwrap();
    assert_eq!(root, format!("SWMTKN-1-{}", "d".repeat(50)));
    assert_eq!(secret.len(), 25);
    assert!(secret.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase()), "{secret}");
}

#[test]
fn autolock_makes_keeps_rotates_and_forgets_the_unlock_key() {
    let mut swarm = Swarm::new().with(cluster());
    let key = |swarm: &Swarm| stored(swarm).unlock_keys.first().map(|key| key.key.clone());
    let request = update(&swarm, autolock(true));
    swarm.ask(request).unwrap();
    let first = key(&swarm).unwrap();
    assert_eq!(first.len(), 32);
    assert_eq!(stored(&swarm).unlock_keys[0].subsystem, "swarm-manager");
    let request = update(&swarm, autolock(true));
    swarm.ask(request).unwrap();
    assert_eq!(key(&swarm).as_ref(), Some(&first));
    let rotation = Some(m::KeyRotation { manager_unlock_key: true, ..Default::default() });
    let request = m::UpdateClusterRequest { rotation, ..update(&swarm, autolock(true)) };
    swarm.ask(request).unwrap();
    assert_ne!(key(&swarm).unwrap(), first);
    let request = update(&swarm, autolock(false));
    swarm.ask(request).unwrap();
    assert_eq!(key(&swarm), None);
}

#[test]
fn what_an_update_may_not_do() {
    let mut swarm = Swarm::new().with(cluster());
    let mut refused = |change: &dyn Fn(&mut t::ClusterSpec), code: Code, message: &str| {
        let request = update(&swarm, change);
        let refusal = swarm.ask(request).unwrap_err();
        assert_eq!(refusal.code, code, "{refusal}");
        assert!(refusal.message.starts_with(message), "{refusal}");
    };
    let name = "modification of cluster name is not allowed";
    refused(&|spec| spec.annotations = annotations("other"), Code::InvalidArgument, name);
    let expiry = |seconds| prost_types::Duration { seconds, nanos: 0 };
    refused(
        &|spec| spec.ca_config.get_or_insert_default().node_cert_expiry = Some(expiry(3599)),
        Code::InvalidArgument,
        "minimum certificate expiry time is: 1h0m0s",
    );
    refused(
        &|spec| spec.dispatcher = Some(t::DispatcherConfig { heartbeat_period: Some(expiry(-1)) }),
        Code::InvalidArgument,
        "heartbeat time period cannot be a negative duration",
    );
    let stale = m::UpdateClusterRequest { cluster_version: Some(version(3)), ..update(&swarm, |_| {}) };
    assert_eq!(swarm.ask(stale).unwrap_err().message, "update out of sequence");
    let unknown = m::UpdateClusterRequest { cluster_id: id("other"), ..update(&swarm, |_| {}) };
    assert_eq!(swarm.ask(unknown).unwrap_err().code, Code::NotFound);
}
