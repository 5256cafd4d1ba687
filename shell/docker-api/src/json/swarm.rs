//! The cluster, and the requests that make, join and open it.

use super::{Driver, Map, Stamp, Text, Texts, TlsInfo, Version, empty, shape};

shape!(Orchestration {
    history_limit: Option<i64> => "TaskHistoryRetentionLimit" if "empty",
});

shape!(Raft {
    snapshot_interval: u64 => "SnapshotInterval" if "empty",
    keep_old_snapshots: Option<u64> => "KeepOldSnapshots" if "empty",
    slow_followers: u64 => "LogEntriesForSlowFollowers" if "empty",
    election_tick: u32 => "ElectionTick",
    heartbeat_tick: u32 => "HeartbeatTick",
});

shape!(Dispatcher {
    heartbeat_period: i64 => "HeartbeatPeriod" if "empty",
});

shape!(ExternalCa<'a> {
    protocol: Text<'a> => "Protocol",
    url: Text<'a> => "URL",
    options: Map<'a> => "Options" if "empty",
    ca_cert: Text<'a> => "CACert",
});

shape!(CaConfig<'a> {
    node_cert_expiry: i64 => "NodeCertExpiry" if "empty",
    external_cas: Vec<ExternalCa<'a>> => "ExternalCAs" if "empty",
    signing_ca_cert: Text<'a> => "SigningCACert" if "empty",
    signing_ca_key: Text<'a> => "SigningCAKey" if "empty",
    force_rotate: u64 => "ForceRotate" if "empty",
});

shape!(TaskDefaults<'a> {
    log_driver: Option<Driver<'a>> => "LogDriver" if "empty",
});

shape!(Encryption {
    auto_lock: bool => "AutoLockManagers",
});

shape!(Spec<'a> {
    name: Text<'a> => "Name" if "empty",
    labels: Map<'a> => "Labels",
    orchestration: Orchestration => "Orchestration",
    raft: Raft => "Raft",
    dispatcher: Dispatcher => "Dispatcher",
    ca_config: CaConfig<'a> => "CAConfig",
    task_defaults: TaskDefaults<'a> => "TaskDefaults",
    encryption: Encryption => "EncryptionConfig",
});

shape!(JoinTokens<'a> {
    worker: Text<'a> => "Worker",
    manager: Text<'a> => "Manager",
});

shape!(ClusterInfo<'a> {
    id: Text<'a> => "ID",
    version: Version => "Version",
    created_at: Stamp => "CreatedAt",
    updated_at: Stamp => "UpdatedAt",
    spec: Spec<'a> => "Spec",
    tls_info: TlsInfo<'a> => "TLSInfo",
    root_rotation: bool => "RootRotationInProgress",
    address_pool: Texts<'a> => "DefaultAddrPool",
    subnet_size: u32 => "SubnetSize",
    data_path_port: u32 => "DataPathPort",
    // Only in `GET /swarm`.
    join_tokens: Option<JoinTokens<'a>> => "JoinTokens" if "empty",
});

shape!(InitRequest<'a> {
    listen_addr: String => "ListenAddr",
    advertise_addr: String => "AdvertiseAddr",
    data_path_addr: String => "DataPathAddr",
    data_path_port: u32 => "DataPathPort",
    force_new_cluster: bool => "ForceNewCluster",
    spec: Spec<'a> => "Spec",
    auto_lock: bool => "AutoLockManagers",
    availability: String => "Availability",
    address_pool: Vec<String> => "DefaultAddrPool",
    subnet_size: u32 => "SubnetSize",
});

shape!(JoinRequest {
    listen_addr: String => "ListenAddr",
    advertise_addr: String => "AdvertiseAddr",
    data_path_addr: String => "DataPathAddr",
    remote_addrs: Vec<String> => "RemoteAddrs",
    join_token: String => "JoinToken",
    availability: String => "Availability",
});

shape!(UnlockKey {
    key: String => "UnlockKey",
});

shape!(Peer<'a> {
    node_id: Text<'a> => "NodeID",
    addr: Text<'a> => "Addr",
});

shape!(SwarmInfo<'a> {
    node_id: Text<'a> => "NodeID",
    node_addr: Text<'a> => "NodeAddr",
    state: Text<'a> => "LocalNodeState",
    control_available: bool => "ControlAvailable",
    error: Text<'a> => "Error",
    managers_known: Option<Vec<Peer<'a>>> => "RemoteManagers",
    nodes: usize => "Nodes" if "empty",
    managers: usize => "Managers" if "empty",
    cluster: Option<ClusterInfo<'a>> => "Cluster" if "empty",
    warnings: Vec<String> => "Warnings" if "empty",
});
