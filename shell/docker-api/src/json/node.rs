//! `Node` and `NodeSpec`.

use super::{Base64, Map, Platform, Resources, Stamp, Text, Version, empty, shape};

shape!(NodeSpec<'a> {
    name: Text<'a> => "Name" if "empty",
    labels: Map<'a> => "Labels",
    role: Text<'a> => "Role" if "empty",
    availability: Text<'a> => "Availability" if "empty",
});

shape!(PluginDescription<'a> {
    kind: Text<'a> => "Type" if "empty",
    name: Text<'a> => "Name" if "empty",
});

shape!(EngineDescription<'a> {
    version: Text<'a> => "EngineVersion" if "empty",
    labels: Map<'a> => "Labels" if "empty",
    plugins: Vec<PluginDescription<'a>> => "Plugins" if "empty",
});

shape!(TlsInfo<'a> {
    trust_root: Text<'a> => "TrustRoot" if "empty",
    issuer_subject: Base64 => "CertIssuerSubject" if "empty",
    issuer_public_key: Base64 => "CertIssuerPublicKey" if "empty",
});

shape!(Topology<'a> {
    segments: Map<'a> => "Segments" if "empty",
});

shape!(CsiInfo<'a> {
    plugin_name: Text<'a> => "PluginName" if "empty",
    node_id: Text<'a> => "NodeID" if "empty",
    max_volumes: i64 => "MaxVolumesPerNode" if "empty",
    topology: Option<Topology<'a>> => "AccessibleTopology" if "empty",
});

shape!(NodeDescription<'a> {
    hostname: Text<'a> => "Hostname" if "empty",
    platform: Platform<'a> => "Platform",
    resources: Resources<'a> => "Resources",
    engine: EngineDescription<'a> => "Engine",
    tls_info: TlsInfo<'a> => "TLSInfo",
    csi_info: Vec<CsiInfo<'a>> => "CSIInfo" if "empty",
});

shape!(NodeStatus<'a> {
    state: Text<'a> => "State" if "empty",
    message: Text<'a> => "Message" if "empty",
    addr: Text<'a> => "Addr" if "empty",
});

shape!(ManagerStatus<'a> {
    leader: bool => "Leader" if "empty",
    reachability: Text<'a> => "Reachability" if "empty",
    addr: Text<'a> => "Addr" if "empty",
});

shape!(Node<'a> {
    id: Text<'a> => "ID",
    version: Version => "Version",
    created_at: Stamp => "CreatedAt",
    updated_at: Stamp => "UpdatedAt",
    spec: NodeSpec<'a> => "Spec",
    description: NodeDescription<'a> => "Description",
    status: NodeStatus<'a> => "Status",
    manager_status: Option<ManagerStatus<'a>> => "ManagerStatus" if "empty",
});
