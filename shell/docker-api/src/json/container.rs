//! `ContainerSpec` and what it holds.

use super::{Base64, Map, Text, Texts, empty, shape};

shape!(DnsConfig<'a> {
    nameservers: Texts<'a> => "Nameservers" if "empty",
    search: Texts<'a> => "Search" if "empty",
    options: Texts<'a> => "Options" if "empty",
});

shape!(SeLinuxContext<'a> {
    disable: bool => "Disable",
    user: Text<'a> => "User",
    role: Text<'a> => "Role",
    kind: Text<'a> => "Type",
    level: Text<'a> => "Level",
});

shape!(SeccompOpts<'a> {
    mode: Text<'a> => "Mode" if "empty",
    profile: Base64 => "Profile" if "empty",
});

shape!(AppArmorOpts<'a> {
    mode: Text<'a> => "Mode" if "empty",
});

shape!(CredentialSpec<'a> {
    config: Text<'a> => "Config",
    file: Text<'a> => "File",
    registry: Text<'a> => "Registry",
});

shape!(Privileges<'a> {
    credential_spec: Option<CredentialSpec<'a>> => "CredentialSpec",
    selinux_context: Option<SeLinuxContext<'a>> => "SELinuxContext",
    seccomp: Option<SeccompOpts<'a>> => "Seccomp" if "empty",
    apparmor: Option<AppArmorOpts<'a>> => "AppArmor" if "empty",
    no_new_privileges: bool => "NoNewPrivileges",
});

shape!(FileTarget<'a> {
    name: Text<'a> => "Name",
    uid: Text<'a> => "UID",
    gid: Text<'a> => "GID",
    mode: u32 => "Mode",
});

shape!(SecretReference<'a> {
    file: Option<FileTarget<'a>> => "File",
    secret_id: Text<'a> => "SecretID",
    secret_name: Text<'a> => "SecretName",
});

shape!(RuntimeTarget {});

shape!(ConfigReference<'a> {
    file: Option<FileTarget<'a>> => "File" if "empty",
    runtime: Option<RuntimeTarget> => "Runtime" if "empty",
    config_id: Text<'a> => "ConfigID",
    config_name: Text<'a> => "ConfigName",
});

shape!(BindOptions<'a> {
    propagation: Text<'a> => "Propagation" if "empty",
    non_recursive: bool => "NonRecursive" if "empty",
    create_mountpoint: bool => "CreateMountpoint" if "empty",
    read_only_non_recursive: bool => "ReadOnlyNonRecursive" if "empty",
    read_only_force_recursive: bool => "ReadOnlyForceRecursive" if "empty",
});

shape!(Driver<'a> {
    name: Text<'a> => "Name" if "empty",
    options: Map<'a> => "Options" if "empty",
});

shape!(VolumeOptions<'a> {
    no_copy: bool => "NoCopy" if "empty",
    labels: Map<'a> => "Labels" if "empty",
    subpath: Text<'a> => "Subpath" if "empty",
    driver_config: Option<Driver<'a>> => "DriverConfig" if "empty",
});

shape!(TmpfsOptions {
    size_bytes: i64 => "SizeBytes" if "empty",
    mode: u32 => "Mode" if "empty",
    options: Option<Vec<Vec<String>>> => "Options" if "empty",
});

shape!(Mount<'a> {
    kind: Text<'a> => "Type" if "empty",
    source: Text<'a> => "Source" if "empty",
    target: Text<'a> => "Target" if "empty",
    read_only: bool => "ReadOnly" if "empty",
    consistency: Text<'a> => "Consistency" if "empty",
    bind_options: Option<BindOptions<'a>> => "BindOptions" if "empty",
    volume_options: Option<VolumeOptions<'a>> => "VolumeOptions" if "empty",
    tmpfs_options: Option<TmpfsOptions> => "TmpfsOptions" if "empty",
});

shape!(HealthConfig<'a> {
    test: Texts<'a> => "Test" if "empty",
    interval: i64 => "Interval" if "empty",
    timeout: i64 => "Timeout" if "empty",
    start_period: i64 => "StartPeriod" if "empty",
    start_interval: i64 => "StartInterval" if "empty",
    retries: i32 => "Retries" if "empty",
});

shape!(Ulimit<'a> {
    name: Text<'a> => "Name",
    hard: i64 => "Hard",
    soft: i64 => "Soft",
});

shape!(ContainerSpec<'a> {
    image: Text<'a> => "Image" if "empty",
    labels: Map<'a> => "Labels" if "empty",
    command: Texts<'a> => "Command" if "empty",
    args: Texts<'a> => "Args" if "empty",
    hostname: Text<'a> => "Hostname" if "empty",
    env: Texts<'a> => "Env" if "empty",
    dir: Text<'a> => "Dir" if "empty",
    user: Text<'a> => "User" if "empty",
    groups: Texts<'a> => "Groups" if "empty",
    privileges: Option<Privileges<'a>> => "Privileges" if "empty",
    init: Option<bool> => "Init" if "empty",
    stop_signal: Text<'a> => "StopSignal" if "empty",
    tty: bool => "TTY" if "empty",
    open_stdin: bool => "OpenStdin" if "empty",
    read_only: bool => "ReadOnly" if "empty",
    mounts: Vec<Mount<'a>> => "Mounts" if "empty",
    stop_grace_period: Option<i64> => "StopGracePeriod" if "empty",
    healthcheck: Option<HealthConfig<'a>> => "Healthcheck" if "empty",
    hosts: Texts<'a> => "Hosts" if "empty",
    dns_config: Option<DnsConfig<'a>> => "DNSConfig" if "empty",
    secrets: Vec<SecretReference<'a>> => "Secrets" if "empty",
    configs: Vec<ConfigReference<'a>> => "Configs" if "empty",
    isolation: Text<'a> => "Isolation" if "empty",
    sysctls: Map<'a> => "Sysctls" if "empty",
    capability_add: Texts<'a> => "CapabilityAdd" if "empty",
    capability_drop: Texts<'a> => "CapabilityDrop" if "empty",
    ulimits: Vec<Ulimit<'a>> => "Ulimits" if "empty",
    oom_score_adj: i64 => "OomScoreAdj" if "empty",
});
