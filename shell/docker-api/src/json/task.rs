//! `Task` and `TaskSpec`.

use super::{
    ContainerSpec, Driver, Map, NetworkAttachmentConfig, PortConfig, Stamp, SwarmNetwork, Text, Texts, Version, empty,
    shape,
};

shape!(NamedResource<'a> {
    kind: Text<'a> => "Kind" if "empty",
    value: Text<'a> => "Value" if "empty",
});

shape!(DiscreteResource<'a> {
    kind: Text<'a> => "Kind" if "empty",
    value: i64 => "Value" if "empty",
});

shape!(GenericResource<'a> {
    named: Option<NamedResource<'a>> => "NamedResourceSpec" if "empty",
    discrete: Option<DiscreteResource<'a>> => "DiscreteResourceSpec" if "empty",
});

shape!(Resources<'a> {
    nano_cpus: i64 => "NanoCPUs" if "empty",
    memory_bytes: i64 => "MemoryBytes" if "empty",
    generic: Vec<GenericResource<'a>> => "GenericResources" if "empty",
});

shape!(Limit {
    nano_cpus: i64 => "NanoCPUs" if "empty",
    memory_bytes: i64 => "MemoryBytes" if "empty",
    pids: i64 => "Pids" if "empty",
});

shape!(ResourceRequirements<'a> {
    limits: Option<Limit> => "Limits" if "empty",
    reservations: Option<Resources<'a>> => "Reservations" if "empty",
    swap_bytes: Option<i64> => "SwapBytes" if "empty",
    memory_swappiness: Option<i64> => "MemorySwappiness" if "empty",
});

shape!(RestartPolicy<'a> {
    condition: Text<'a> => "Condition" if "empty",
    delay: Option<i64> => "Delay" if "empty",
    max_attempts: Option<u64> => "MaxAttempts" if "empty",
    window: Option<i64> => "Window" if "empty",
});

shape!(SpreadOver<'a> {
    descriptor: Text<'a> => "SpreadDescriptor",
});

shape!(PlacementPreference<'a> {
    spread: Option<SpreadOver<'a>> => "Spread",
});

shape!(Platform<'a> {
    architecture: Text<'a> => "Architecture" if "empty",
    os: Text<'a> => "OS" if "empty",
});

shape!(Placement<'a> {
    constraints: Texts<'a> => "Constraints" if "empty",
    preferences: Vec<PlacementPreference<'a>> => "Preferences" if "empty",
    max_replicas: u64 => "MaxReplicas" if "empty",
    platforms: Vec<Platform<'a>> => "Platforms" if "empty",
});

shape!(NetworkAttachmentSpec<'a> {
    container_id: Text<'a> => "ContainerID",
});

shape!(TaskSpec<'a> {
    container_spec: Option<ContainerSpec<'a>> => "ContainerSpec" if "empty",
    plugin_spec: Option<PluginSpec> => "PluginSpec" if "empty",
    attachment_spec: Option<NetworkAttachmentSpec<'a>> => "NetworkAttachmentSpec" if "empty",
    resources: Option<ResourceRequirements<'a>> => "Resources" if "empty",
    restart_policy: Option<RestartPolicy<'a>> => "RestartPolicy" if "empty",
    placement: Option<Placement<'a>> => "Placement" if "empty",
    networks: Vec<NetworkAttachmentConfig<'a>> => "Networks" if "empty",
    log_driver: Option<Driver<'a>> => "LogDriver" if "empty",
    force_update: u64 => "ForceUpdate",
    runtime: Text<'a> => "Runtime" if "empty",
});

shape!(
    /// Read only to be refused by name.
    PluginSpec {}
);

shape!(ContainerStatus<'a> {
    container_id: Text<'a> => "ContainerID",
    pid: i32 => "PID",
    exit_code: i32 => "ExitCode",
});

shape!(PortStatus<'a> {
    ports: Vec<PortConfig<'a>> => "Ports" if "empty",
});

shape!(TaskStatus<'a> {
    timestamp: Stamp => "Timestamp",
    state: Text<'a> => "State" if "empty",
    message: Text<'a> => "Message" if "empty",
    err: Text<'a> => "Err" if "empty",
    container_status: Option<ContainerStatus<'a>> => "ContainerStatus" if "empty",
    port_status: PortStatus<'a> => "PortStatus",
});

shape!(NetworkAttachment<'a> {
    network: SwarmNetwork<'a> => "Network",
    addresses: Texts<'a> => "Addresses" if "empty",
});

shape!(VolumeAttachment<'a> {
    id: Text<'a> => "ID" if "empty",
    source: Text<'a> => "Source" if "empty",
    target: Text<'a> => "Target" if "empty",
});

shape!(Task<'a> {
    id: Text<'a> => "ID",
    version: Version => "Version",
    created_at: Stamp => "CreatedAt",
    updated_at: Stamp => "UpdatedAt",
    labels: Map<'a> => "Labels",
    spec: TaskSpec<'a> => "Spec",
    service_id: Text<'a> => "ServiceID" if "empty",
    slot: u64 => "Slot" if "empty",
    node_id: Text<'a> => "NodeID" if "empty",
    status: TaskStatus<'a> => "Status",
    desired_state: Text<'a> => "DesiredState" if "empty",
    network_attachments: Vec<NetworkAttachment<'a>> => "NetworksAttachments" if "empty",
    generic_resources: Vec<GenericResource<'a>> => "GenericResources" if "empty",
    job_iteration: Option<Version> => "JobIteration" if "empty",
    volumes: Option<Vec<VolumeAttachment<'a>>> => "Volumes",
});
