//! Every field of what clients send, with what it may hold at most, a little more, and what it may not hold at all.

use serde_json::{Value, json};

use super::Pair;

/// Values, as JSON, that a text, a number, … cannot or may just be.
type Values = &'static [&'static str];

const TEXT: Values = &["5", "[]", "{}", "null", r#""""#, r#""\u0000""#, LONG];
/// Stands for a text of 70,000 letters.
const LONG: &str = "LONG";
const BOOL: Values = &[r#""true""#, "1", "null", "[]"];
const UNSIGNED: Values =
    &["-1", "1.5", r#""1""#, "null", "18446744073709551615", "18446744073709551616", "true", "[]", "1e3"];
const SIGNED: Values = &[
    "-1",
    "1.5",
    r#""1""#,
    "null",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "true",
    "[]",
    "0",
];
const LIST: Values = &[r#""x""#, "{}", "[1]", r#"[""]"#, "null", "[null]", "[[]]", "5"];
const MAP: Values = &[r#""x""#, "[]", r#"{"":""}"#, r#"{"a":1}"#, r#"{"a":null}"#, "null", r#"{"a":"1","a":"2"}"#];
const OBJECT: Values = &[r#""x""#, "[]", "null", "5"];

/// A JSON pointer into the body, what every field of its kind is tried with, and what this one is besides.
type Fields = &'static [(&'static str, Values, Values)];

#[rustfmt::skip]
const SERVICE: Fields = &[
    ("/Name", TEXT, &[r#""aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa""#, r#""aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa""#, r#""a--b""#, r#""a_b""#, r#""a.b""#, r#""a-""#, r#""-a""#, r#""\u00e9""#, r#""a\nb""#, r#""a/b""#]),
    ("/Labels", MAP, &[]),
    ("/TaskTemplate", OBJECT, &[]),
    ("/TaskTemplate/ForceUpdate", UNSIGNED, &[]),
    ("/TaskTemplate/Runtime", TEXT, &[r#""container""#, r#""Container""#, r#""attachment""#]),
    ("/TaskTemplate/LogDriver", OBJECT, &[]),
    ("/TaskTemplate/LogDriver/Name", TEXT, &[r#""json-file""#, r#""none""#]),
    ("/TaskTemplate/LogDriver/Options", MAP, &[]),
    ("/TaskTemplate/RestartPolicy", OBJECT, &[]),
    ("/TaskTemplate/RestartPolicy/Condition", TEXT, &[r#""none""#, r#""any""#, r#""on-failure""#, r#""Any""#]),
    ("/TaskTemplate/RestartPolicy/Delay", SIGNED, &[]),
    ("/TaskTemplate/RestartPolicy/Window", SIGNED, &[]),
    ("/TaskTemplate/RestartPolicy/MaxAttempts", UNSIGNED, &[]),
    ("/TaskTemplate/Placement", OBJECT, &[]),
    ("/TaskTemplate/Placement/Constraints", LIST, &[r#"["node.role=="]"#, r#"["==x"]"#, r#"["node.role==manager==x"]"#, r#"["node.ip==300.1.1.1"]"#, r#"["node.ip==10.0.0.0/99"]"#, r#"["node.hostname==*"]"#, r#"["node.labels.==x"]"#, r#"["node.id!="]"#, r#"["node.role == manager"]"#, r#"["node.platform.os==a,b"]"#, r#"["a==b"]"#, r#"["engine.labels.x==y"]"#, r#"["node.role==king"]"#, r#"["node.foo==x"]"#, r#"["node.labels.a==b==c"]"#, r#"["NODE.ROLE==manager"]"#, r#"["node.labels.\u00e9==x"]"#]),
    ("/TaskTemplate/Placement/Preferences", &[r#""x""#, "[1]", "[null]"], &[r#"[{"Spread":null}]"#, "null", r#"[{"Spread":{"SpreadDescriptor":""}}]"#, r#"[{"Spread":{"SpreadDescriptor":"foo"}}]"#, r#"[{"Spread":{}}]"#]),
    ("/TaskTemplate/Placement/MaxReplicas", UNSIGNED, &[]),
    ("/TaskTemplate/Placement/Platforms", &[r#""x""#, "[1]", "[null]"], &["[{}]"]),
    ("/TaskTemplate/Resources", OBJECT, &[]),
    ("/TaskTemplate/Resources/Limits", OBJECT, &[]),
    ("/TaskTemplate/Resources/Reservations", OBJECT, &[]),
    ("/TaskTemplate/Resources/Limits/NanoCPUs", SIGNED, &["999999", "1000000"]),
    ("/TaskTemplate/Resources/Limits/MemoryBytes", SIGNED, &["4194303", "4194304"]),
    ("/TaskTemplate/Resources/Reservations/NanoCPUs", SIGNED, &["999999", "1000000"]),
    ("/TaskTemplate/Resources/Reservations/MemoryBytes", SIGNED, &["4194303", "4194304"]),
    ("/TaskTemplate/Resources/Limits/Pids", SIGNED, &[]),
    ("/TaskTemplate/Resources/Reservations/GenericResources", &[r#""x""#, "[null]", "[[]]"], &["null", r#"[{"NamedResourceSpec":{}}]"#, r#"[{"NamedResourceSpec":{"Kind":"gpu"}}]"#, r#"[{"DiscreteResourceSpec":{"Kind":"gpu","Value":0}}]"#, r#"[{"DiscreteResourceSpec":{"Kind":"gpu","Value":-1}}]"#, r#"[{"DiscreteResourceSpec":{"Kind":"","Value":1}}]"#, r#"[{"DiscreteResourceSpec":{"Kind":"gpu","Value":1}},{"DiscreteResourceSpec":{"Kind":"gpu","Value":2}}]"#, r#"[{"DiscreteResourceSpec":{"Kind":"gpu","Value":9223372036854775807}}]"#, r#"[{"NamedResourceSpec":{"Kind":"gpu","Value":"a"}},{"NamedResourceSpec":{"Kind":"gpu","Value":"a"}}]"#, r#"[{"NamedResourceSpec":{"Kind":"gpu","Value":"a"}},{"DiscreteResourceSpec":{"Kind":"gpu","Value":1}}]"#]),
    ("/TaskTemplate/Networks", &[r#""x""#, "[1]", "[null]"], &["[{}]"]),
    ("/TaskTemplate/ContainerSpec", OBJECT, &[]),
    ("/TaskTemplate/ContainerSpec/Image", TEXT, &[r#""a""#, r#""A""#, r#""a:b:c""#, r#""a@sha256:12""#, r#""a:ttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttt""#, r#""a b""#, r#""http://a""#, r#""localhost:5000/x""#, r#""-a""#, r#""a@sha256:0000000000000000000000000000000000000000000000000000000000000000""#]),
    ("/TaskTemplate/ContainerSpec/Labels", MAP, &[]),
    ("/TaskTemplate/ContainerSpec/Command", LIST, &[]),
    ("/TaskTemplate/ContainerSpec/Args", LIST, &[]),
    ("/TaskTemplate/ContainerSpec/Hostname", TEXT, &[r#""a b""#, r#""aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa""#, r#""a_b""#, r#""-a""#, r#""a.b""#]),
    ("/TaskTemplate/ContainerSpec/Env", LIST, &[r#"["=x"]"#, r#"["a"]"#, r#"["a=b=c"]"#, r#"["a b=c"]"#]),
    ("/TaskTemplate/ContainerSpec/Dir", TEXT, &[r#""rel""#, r#""/x/../y""#]),
    ("/TaskTemplate/ContainerSpec/User", TEXT, &[r#""a:b:c""#, r#""-1""#, r#""4294967296""#, r#""root:""#]),
    ("/TaskTemplate/ContainerSpec/Groups", LIST, &[]),
    ("/TaskTemplate/ContainerSpec/StopSignal", TEXT, &[r#""SIGKILL""#, r#""kill""#, r#""9""#, r#""0""#, r#""65""#, r#""-1""#, r#""SIGRTMAX""#, r#""x""#]),
    ("/TaskTemplate/ContainerSpec/TTY", BOOL, &[]),
    ("/TaskTemplate/ContainerSpec/OpenStdin", BOOL, &[]),
    ("/TaskTemplate/ContainerSpec/ReadOnly", BOOL, &[]),
    ("/TaskTemplate/ContainerSpec/Init", BOOL, &[]),
    ("/TaskTemplate/ContainerSpec/StopGracePeriod", SIGNED, &[]),
    ("/TaskTemplate/ContainerSpec/Healthcheck", OBJECT, &[]),
    ("/TaskTemplate/ContainerSpec/Healthcheck/Test", LIST, &[r#"["x"]"#, r#"["CMD"]"#, r#"["CMD-SHELL"]"#, r#"["CMD-SHELL", "a", "b"]"#, r#"["NONE", "x"]"#]),
    ("/TaskTemplate/ContainerSpec/Healthcheck/Interval", SIGNED, &["999999", "1000000", "1"]),
    ("/TaskTemplate/ContainerSpec/Healthcheck/Timeout", SIGNED, &["999999", "1000000"]),
    ("/TaskTemplate/ContainerSpec/Healthcheck/StartPeriod", SIGNED, &["999999", "1000000"]),
    ("/TaskTemplate/ContainerSpec/Healthcheck/Retries", SIGNED, &["2147483648"]),
    ("/TaskTemplate/ContainerSpec/Hosts", LIST, &[r#"["a b"]"#, r#"["1.2.3.4"]"#, r#"["1.2.3.4 a b"]"#, r#"["a:1.2.3.4"]"#]),
    ("/TaskTemplate/ContainerSpec/DNSConfig", OBJECT, &[]),
    ("/TaskTemplate/ContainerSpec/DNSConfig/Nameservers", LIST, &[r#"["x"]"#, r#"["::1"]"#, r#"["1.2.3.4:53"]"#, r#"["1.1.1.1", "1.1.1.1", "1.1.1.1", "1.1.1.1", "1.1.1.1"]"#]),
    ("/TaskTemplate/ContainerSpec/DNSConfig/Search", LIST, &[]),
    ("/TaskTemplate/ContainerSpec/DNSConfig/Options", LIST, &[]),
    ("/TaskTemplate/ContainerSpec/Sysctls", MAP, &[]),
    ("/TaskTemplate/ContainerSpec/CapabilityAdd", LIST, &[r#"["ALL"]"#, r#"["CAP_FOO"]"#, r#"["net_admin"]"#, r#"["CAP_CHOWN", "CAP_CHOWN"]"#]),
    ("/TaskTemplate/ContainerSpec/CapabilityDrop", LIST, &[r#"["ALL"]"#, r#"["foo"]"#]),
    ("/TaskTemplate/ContainerSpec/Ulimits", &[r#""x""#, "[1]", "[null]", r#"[{"Name":"nofile","Hard":"1"}]"#], &["[{}]", r#"[{"Name":"foo","Hard":1,"Soft":1}]"#, r#"[{"Name":"nofile","Hard":1,"Soft":2}]"#, r#"[{"Name":"nofile","Hard":-1,"Soft":-1}]"#, r#"[{"Name":"nofile","Hard":-2,"Soft":-1}]"#, r#"[{"Name":"nofile","Hard":1},{"Name":"nofile","Hard":2}]"#]),
    ("/TaskTemplate/ContainerSpec/Isolation", TEXT, &[r#""default""#, r#""process""#, r#""hyperv""#]),
    ("/TaskTemplate/ContainerSpec/Privileges", OBJECT, &[]),
    ("/TaskTemplate/ContainerSpec/Privileges/CredentialSpec", OBJECT, &[]),
    ("/TaskTemplate/ContainerSpec/Privileges/SELinuxContext", &[r#"{"Disable":"x"}"#], &[]),
    ("/TaskTemplate/ContainerSpec/Privileges/SELinuxContext", OBJECT, &[]),
    ("/TaskTemplate/ContainerSpec/Mounts", &[r#""x""#, "[1]", "[null]"], &["[{}]"]),
    ("/TaskTemplate/ContainerSpec/Mounts/0/Target", TEXT, &[r#""/""#, r#""/x/../y""#, r#""//a""#]),
    ("/TaskTemplate/ContainerSpec/Mounts/0/Source", TEXT, &[r#""a""#, r#""/a""#, r#""a/b""#, r#""..""#]),
    ("/TaskTemplate/ContainerSpec/Mounts/0/Type", TEXT, &[r#""bind""#, r#""tmpfs""#, r#""volume""#, r#""cluster""#, r#""image""#, r#""npipe""#]),
    ("/TaskTemplate/ContainerSpec/Mounts/0/ReadOnly", BOOL, &[]),
    ("/TaskTemplate/ContainerSpec/Mounts/0/Consistency", TEXT, &[r#""default""#, r#""cached""#, r#""delegated""#, r#""zz""#]),
    ("/TaskTemplate/ContainerSpec/Mounts/0/VolumeOptions", OBJECT, &[]),
    ("/TaskTemplate/ContainerSpec/Mounts/0/VolumeOptions/NoCopy", BOOL, &[]),
    ("/TaskTemplate/ContainerSpec/Mounts/0/VolumeOptions/Labels", MAP, &[]),
    ("/TaskTemplate/ContainerSpec/Mounts/0/VolumeOptions/DriverConfig", OBJECT, &[]),
    ("/TaskTemplate/ContainerSpec/Mounts/0/VolumeOptions/DriverConfig/Name", TEXT, &[]),
    ("/TaskTemplate/ContainerSpec/Mounts/0/VolumeOptions/DriverConfig/Options", MAP, &[]),
    ("/TaskTemplate/ContainerSpec/Mounts/0/BindOptions", OBJECT, &[]),
    ("/TaskTemplate/ContainerSpec/Mounts/0/TmpfsOptions", OBJECT, &[]),
    ("/TaskTemplate/ContainerSpec/Mounts", &[r#"[{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":9223372036854775808}}]"#, r#"[{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":"1"}}]"#, r#"[{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"Mode":-1}}]"#, r#"[{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"Mode":4294967296}}]"#, r#"[{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"Mode":"1"}}]"#, r#"[{"Type":"bind","Source":"/a","Target":"/t","BindOptions":{"NonRecursive":"x"}}]"#], &[r#"[{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":-1}}]"#, r#"[{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":0}}]"#, r#"[{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":9223372036854775807}}]"#, r#"[{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"Mode":0}}]"#, r#"[{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"Mode":4095}}]"#, r#"[{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"Mode":4096}}]"#, r#"[{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"Mode":4294967295}}]"#, r#"[{"Type":"bind","Source":"/a","Target":"/t","BindOptions":{"Propagation":""}}]"#, r#"[{"Type":"bind","Source":"/a","Target":"/t","BindOptions":{"Propagation":"private"}}]"#, r#"[{"Type":"bind","Source":"/a","Target":"/t","BindOptions":{"Propagation":"rprivate"}}]"#, r#"[{"Type":"bind","Source":"/a","Target":"/t","BindOptions":{"Propagation":"shared"}}]"#, r#"[{"Type":"bind","Source":"/a","Target":"/t","BindOptions":{"Propagation":"x"}}]"#]),
    ("/TaskTemplate/ContainerSpec/Secrets", &[r#""x""#, "[1]", "[null]"], &["[{}]", "null"]),
    ("/TaskTemplate/ContainerSpec/Configs", &[r#""x""#, "[1]", "[null]"], &["[{}]", "null"]),
    ("/Mode", &[r#"{"Global":[]}"#], &[]),
    ("/Mode", OBJECT, &["{}", r#"{"Foo":{}}"#, r#"{"Global":null}"#, r#"{"Global":{"x":1}}"#]),
    ("/Mode/Replicated", OBJECT, &["{}"]),
    ("/Mode/Replicated/Replicas", UNSIGNED, &[]),
    ("/Mode", &[r#"{"ReplicatedJob":{"MaxConcurrent":-1}}"#, r#"{"ReplicatedJob":{"MaxConcurrent":"x"}}"#, r#"{"ReplicatedJob":{"TotalCompletions":-1}}"#, r#"{"ReplicatedJob":{"TotalCompletions":"x"}}"#, r#"{"GlobalJob":[]}"#], &[r#"{"ReplicatedJob":{"MaxConcurrent":0}}"#, r#"{"ReplicatedJob":{"MaxConcurrent":null}}"#, r#"{"ReplicatedJob":{"TotalCompletions":null}}"#, r#"{"ReplicatedJob":{"TotalCompletions":0}}"#]),
    ("/EndpointSpec", OBJECT, &[]),
    ("/EndpointSpec/Mode", TEXT, &[r#""vip""#, r#""dnsrr""#, r#""VIP""#]),
    ("/EndpointSpec/Ports", &[r#""x""#, "[1]", "[null]", "{}"], &["[{}]", "null"]),
    ("/EndpointSpec/Ports", &[r#"[{"TargetPort":-1,"PublishMode":"host"}]"#, r#"[{"TargetPort":"80","PublishMode":"host"}]"#, r#"[{"TargetPort":4294967296,"PublishMode":"host"}]"#, r#"[{"TargetPort":80,"PublishedPort":-1,"PublishMode":"host"}]"#, r#"[{"TargetPort":80,"PublishedPort":4294967296,"PublishMode":"host"}]"#, r#"[{"TargetPort":80,"PublishedPort":81,"PublishMode":"host","Name":5}]"#], &[r#"[{"TargetPort":0,"PublishMode":"host"}]"#, r#"[{"TargetPort":65535,"PublishMode":"host"}]"#, r#"[{"TargetPort":65536,"PublishMode":"host"}]"#, r#"[{"TargetPort":null,"PublishMode":"host"}]"#, r#"[{"TargetPort":80,"PublishedPort":0,"PublishMode":"host"}]"#, r#"[{"TargetPort":80,"PublishedPort":65535,"PublishMode":"host"}]"#, r#"[{"TargetPort":80,"PublishedPort":65536,"PublishMode":"host"}]"#, r#"[{"TargetPort":80,"PublishedPort":4294967295,"PublishMode":"host"}]"#, r#"[{"TargetPort":80,"PublishedPort":81,"PublishMode":"host","Protocol":""}]"#, r#"[{"TargetPort":80,"PublishedPort":81,"PublishMode":"host","Protocol":"TCP"}]"#, r#"[{"TargetPort":80,"PublishedPort":81,"PublishMode":"host","Protocol":"udp"}]"#, r#"[{"TargetPort":80,"PublishedPort":81,"PublishMode":"host","Protocol":"sctp"}]"#, r#"[{"TargetPort":80,"PublishedPort":81,"PublishMode":"host","Protocol":"icmp"}]"#, r#"[{"TargetPort":80,"PublishedPort":81,"PublishMode":"host"},{"TargetPort":81,"PublishedPort":81,"PublishMode":"host","Protocol":"udp"}]"#]),
    ("/Networks", &[r#""x""#, "[1]"], &["null"]),
    ("/UpdateConfig", OBJECT, &[]),
    ("/UpdateConfig/Parallelism", UNSIGNED, &[]),
    ("/UpdateConfig/Delay", SIGNED, &[]),
    ("/UpdateConfig/Monitor", SIGNED, &[]),
    ("/UpdateConfig/FailureAction", TEXT, &[r#""pause""#, r#""continue""#, r#""rollback""#, r#""Pause""#]),
    ("/UpdateConfig/MaxFailureRatio", &[r#""0.1""#, "true", "[]", "1e400"], &["null", "0", "1", "1.0000001", "-0.0", "0.5"]),
    ("/UpdateConfig/Order", TEXT, &[r#""stop-first""#, r#""start-first""#, r#""Stop-first""#]),
    ("/RollbackConfig", OBJECT, &[]),
    ("/RollbackConfig/Parallelism", UNSIGNED, &[]),
    ("/RollbackConfig/Delay", SIGNED, &[]),
    ("/RollbackConfig/Monitor", SIGNED, &[]),
    ("/RollbackConfig/FailureAction", TEXT, &[r#""pause""#, r#""continue""#, r#""rollback""#, r#""Pause""#]),
    ("/RollbackConfig/MaxFailureRatio", &[r#""0.1""#, "true", "[]", "1e400"], &["null", "0", "1", "1.0000001", "-0.0", "0.5"]),
    ("/RollbackConfig/Order", TEXT, &[r#""stop-first""#, r#""start-first""#, r#""Stop-first""#]),
];

#[rustfmt::skip]
const SWARM: Fields = &[
    ("/Name", TEXT, &[]),
    ("/Labels", MAP, &[]),
    ("/Orchestration", OBJECT, &[]),
    ("/Orchestration/TaskHistoryRetentionLimit", SIGNED, &[]),
    ("/Raft", OBJECT, &[]),
    ("/Raft/SnapshotInterval", UNSIGNED, &["0"]),
    ("/Raft/KeepOldSnapshots", UNSIGNED, &[]),
    ("/Raft/LogEntriesForSlowFollowers", UNSIGNED, &["0"]),
    ("/Raft/ElectionTick", SIGNED, &["2", "10", "11"]),
    ("/Raft/HeartbeatTick", SIGNED, &["2"]),
    ("/Dispatcher", OBJECT, &[]),
    ("/Dispatcher/HeartbeatPeriod", &["-1", "1.5", r#""1""#, "null", "9223372036854775808", "true", "[]", "0"], &["5000000000"]),
    ("/CAConfig", OBJECT, &[]),
    ("/CAConfig/NodeCertExpiry", SIGNED, &["3599999999999", "3600000000000"]),
    ("/CAConfig/ExternalCAs", &[r#""x""#, "[1]", "[null]", "[{}]", "null", "[]"], &[r#"[{"Protocol":"x","URL":"https://h"}]"#]),
    ("/CAConfig/SigningCACert", &["5", r#""""#], &[]),
    ("/CAConfig/ForceRotate", &["-1", r#""1""#, "1.5", "18446744073709551616", "null", "0"], &[]),
    ("/TaskDefaults", OBJECT, &[]),
    ("/TaskDefaults/LogDriver", OBJECT, &[]),
    ("/EncryptionConfig", OBJECT, &[]),
    ("/EncryptionConfig/AutoLockManagers", BOOL, &[]),
];

#[rustfmt::skip]
const NODE: Fields = &[
    ("/Name", TEXT, &[r#""a b""#]),
    ("/Labels", MAP, &[r#"{"é":"x"}"#, r#"{"a b":"c"}"#]),
    ("/Role", TEXT, &[r#""Manager""#, r#""worker""#]),
    ("/Availability", TEXT, &[r#""Active""#, r#""drained""#]),
    ("/Foo", &[], &["1"]),
];

#[rustfmt::skip]
const DEPENDENCY: Fields = &[
    ("/Name", TEXT, &[r#""a.b""#, r#""a-""#, r#"".a""#, r#""é""#, r#""a/b""#, r#""-""#]),
    ("/Labels", MAP, &[]),
    ("/Data", &["5", "[]", "{}", "null", r#""""#, r#""a""#, r#"" aGk=""#, r#""aGk=aGk=""#, r#""_-8=""#, r#""A===""#, "[1,2]"], &[r#""aGk=\n""#, r#""aGl=""#]),
    ("/Templating", OBJECT, &[]),
    ("/Templating/Name", &["5", "[]"], &[r#""golang""#]),
    ("/Driver", &[r#""x""#, "[]", "5"], &[]),
];

#[rustfmt::skip]
const NETWORK: Fields = &[
    ("/Name", TEXT, &[r#""a.b""#, r#""é""#, r#""a/b""#, r#""-""#, r#"" a""#, r#""a ""#]),
    ("/Labels", MAP, &[]),
    ("/Options", MAP, &[r#"{"com.docker.network.driver.overlay.vxlanid_list":"5000"}"#, r#"{"com.docker.network.driver.mtu":"x"}"#]),
    ("/Attachable", BOOL, &[]),
    ("/Internal", BOOL, &[]),
    ("/Ingress", BOOL, &[]),
    ("/EnableIPv6", BOOL, &["true"]),
    ("/CheckDuplicate", BOOL, &["true"]),
    ("/Scope", &["5", "[]", "{}", "null", r#""""#, r#""\u0000""#], &[r#""global""#, r#""swarm""#]),
    ("/ConfigOnly", BOOL, &[]),
    ("/ConfigFrom", OBJECT, &[]),
    ("/IPAM", OBJECT, &[]),
    ("/IPAM/Options", MAP, &[]),
    ("/IPAM/Config", &[r#""x""#, "[1]", "null", "[]", r#"[{"Subnet":5}]"#, r#"[{"Subnet":"10.60.0.0/24","AuxiliaryAddresses":"x"}]"#], &[
        r#"[{"Subnet":"10.60.0.0/30"}]"#,
        r#"[{"Subnet":"10.60.0.0/24","Gateway":"10.60.0.0"}]"#,
        r#"[{"Subnet":"10.60.0.0/24","Gateway":"10.60.0.255"}]"#,
        r#"[{"Subnet":"10.60.0.0/24","Gateway":""}]"#,
        r#"[{"Subnet":"10.60.0.0/24","IPRange":"10.60.0.64/26"}]"#,
        r#"[{"Subnet":"10.60.0.0/24"},{"Subnet":"10.61.0.0/24"}]"#,
    ]),
];

#[rustfmt::skip]
/// What can be said of a node's addresses: for `init` and for `join`.
const INIT: Fields = &[
    ("/ListenAddr", TEXT, &[r#""0.0.0.0""#, r#""0.0.0.0:65536""#, r#""0.0.0.0:-1""#, r#""0.0.0.0:x""#, r#""nosuch0""#, r#""nosuch0:2377""#, r#"":2377""#, r#""<address>""#, r#""192.0.2.99:2377""#, r#""1.2.3:2377""#]),
    ("/AdvertiseAddr", TEXT, &[r#""<address>:2377""#, r#""<address>:65536""#, r#""<address>:x""#, r#""0.0.0.0""#, r#""127.0.0.1""#, r#""nosuch0""#, r#""nosuch0:2377""#, r#""192.0.2.99""#, r#""a b""#, r#"":2377""#]),
    ("/DataPathAddr", TEXT, &[r#""<address>""#, r#""nosuch0""#, r#""0.0.0.0""#, r#""192.0.2.99""#, r#""a b""#]),
    ("/DataPathPort", &["-1", "1.5", r#""1""#, "4294967296", "true", "[]", "null"], &["0", "1023", "1024", "49151", "49152", "65536"]),
    ("/DefaultAddrPool", LIST, &[r#"["10.20.0.0/16"]"#, r#"["10.20.0.1/16"]"#, r#"["10.20.0.0/33"]"#, r#"["10.20.0.0"]"#, r#"["10.20.0.0/16", "10.20.0.0/16"]"#, r#"["10.20.0.0/16", "10.20.1.0/24"]"#, r#"["fd00::/64"]"#]),
    ("/SubnetSize", &["-1", "1.5", r#""1""#, "4294967296", "true", "[]", "null"], &["0", "15", "16", "24", "29", "30", "32", "33"]),
    ("/ForceNewCluster", BOOL, &[]),
    ("/AutoLockManagers", BOOL, &[]),
    ("/Spec", OBJECT, &["{}"]),
    ("/Spec/Raft/ElectionTick", SIGNED, &[]),
    ("/Availability", TEXT, &[r#""pause""#, r#""drain""#, r#""Active""#]),
];

#[rustfmt::skip]
const JOIN: Fields = &[
    ("/ListenAddr", TEXT, &[r#""0.0.0.0:65536""#, r#""nosuch0:2377""#, r#""1.2.3:2377""#]),
    ("/AdvertiseAddr", TEXT, &[r#""<address>:65536""#, r#""0.0.0.0""#, r#""nosuch0""#, r#""a b""#]),
    ("/DataPathAddr", TEXT, &[r#""nosuch0""#, r#""0.0.0.0""#, r#""a b""#]),
    ("/RemoteAddrs", LIST, &[r#"["a b"]"#, r#"["<address>:65536"]"#, r#"["<address>"]"#, r#"["<address>:1", ""]"#]),
    ("/JoinToken", TEXT, &[r#""SWMTKN-1-""#, r#""SWMTKN-1-x-y""#, r#""SWMTKN-2-3cjwq2lkdcxnpcnhfk6uu3nxlzy2dhpxv2aoeqqmnqtm9rb1tm-0rfnrkhzkzrpo0x3t3t1ngx9f""#]),
    ("/Availability", TEXT, &[r#""Active""#]),
];

const FILTERS: &[&str] = &[
    r#"{"name":[]}"#,
    r#"{"name":null}"#,
    r#"{"name":{"x":true}}"#,
    r#"{"name":["*"]}"#,
    r#"{"name":["["]}"#,
    r#"{"name":["a","a"]}"#,
    r#"{"label":[""]}"#,
    r#"{"label":["=x"]}"#,
    r#"{"label":["a=b=c"]}"#,
    r#"{"id":[""]}"#,
    r#"{"":["x"]}"#,
    r#"{"label!":["x"]}"#,
];
const MALFORMED: &[&str] = &[r#"{"name":{"x":1}}"#, r#"{"name":[1]}"#, r#""x""#, "5", "[1]"];
const IDENTIFIERS: &[&str] = &["%00", "a%20b", "%e9", "%ff", "*", "a%3fb", "A", "-"];

/// Of what makes a node a part of a swarm; who becomes one leaves again.
pub fn before_there_is_a_swarm(pair: &mut Pair) {
    let body = json!({ "ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": "<address>" });
    each(INIT, &body, |step, body| {
        pair.send(&format!("init {step}"), "POST", "/swarm/init", Some(body), &[]);
        if pair.any_is_in_a_swarm() {
            pair.get(&format!("init {step}, inspect"), "/swarm");
            pair.leave();
        }
    });
    let body = json!({ "ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": "<address>", "RemoteAddrs": ["<address>:1"],
        "JoinToken": "x" });
    each(JOIN, &body, |step, body| pair.send(&format!("join {step}"), "POST", "/swarm/join", Some(body), &[]));
}

pub fn of_every_field(pair: &mut Pair) {
    let service = json!({ "Name": "b1", "Mode": { "Replicated": { "Replicas": 0 } }, "TaskTemplate": {
        "ContainerSpec": { "Image": "busybox:latest", "Command": ["sleep", "1000"] },
        "Placement": { "Constraints": ["node.role==worker"] } } });
    each(SERVICE, &service, |step, body| made(pair, step, body, "/services", true));
    let network = json!({ "Name": "b3", "Driver": "overlay" });
    each(NETWORK, &network, |step, body| made(pair, &format!("network {step}"), body, "/networks", false));
    for list in ["secrets", "configs"] {
        let body = json!({ "Name": "b2", "Data": "aGk=" });
        each(DEPENDENCY, &body, |step, body| made(pair, &format!("{list} {step}"), body, &format!("/{list}"), true));
    }
    updated(pair, "node", "nodes/(node)", NODE, &json!({ "Role": "manager", "Availability": "active" }));
    updated(pair, "swarm", "swarm", SWARM, &json!({ "Name": "default" }));
    queries(pair);
}

/// Calls `send` with each value of each field in its place.
fn each(fields: Fields, body: &Value, mut send: impl FnMut(&str, &str)) {
    for (pointer, kind, more) in fields {
        for (values, what) in [(kind, "kind "), (more, "")] {
            for value in *values {
                let long = format!("\"{}\"", "x".repeat(70_000));
                let whole = with(body, pointer, if *value == LONG { &long } else { value });
                send(&format!("bounds {what}{pointer} = {value}"), &whole);
            }
        }
    }
}

/// The body with a value, valid or not, at a place that may not be there yet.
fn with(body: &Value, pointer: &str, value: &str) -> String {
    const HOLE: &str = "the value";
    let mut body = body.clone();
    let mut place = &mut body;
    for key in pointer.split('/').skip(1) {
        place = match key {
            "0" => &mut place[0],
            "Mounts" if !pointer.ends_with("Mounts") => {
                place["Mounts"] = json!([{ "Type": "volume", "Source": "v", "Target": "/v" }]);
                &mut place["Mounts"]
            }
            key => &mut place[key],
        };
    }
    *place = Value::from(HOLE);
    body.to_string().replace(&format!("\"{HOLE}\""), value)
}

fn made(pair: &mut Pair, step: &str, body: &str, list: &str, read: bool) {
    pair.send(step, "POST", &format!("{list}/create"), Some(body), &[]);
    for side in &mut pair.sides {
        let id = side.last.get("ID").or_else(|| side.last.get("Id")).and_then(Value::as_str).unwrap_or("nothing");
        side.words.insert("bound".to_owned(), id.to_owned());
    }
    if read && pair.both_made() {
        pair.settle_alike(&format!("{list}/<bound>"), "/Endpoint/Ports");
        pair.get(&format!("{step}, inspect"), &format!("{list}/<bound>"));
    }
    pair.clean(&format!("{list}/<bound>"));
}

/// What is refused changes nothing; what is taken is put back.
fn updated(pair: &mut Pair, name: &str, object: &str, fields: Fields, body: &Value) {
    let path = format!("/{}", object.replace('(', "<").replace(')', ">"));
    let update = format!("{path}/update?version=<version {object}>");
    pair.post(&format!("{name} bounds begin"), &update, body);
    each(fields, body, |step, changed| {
        pair.send(&format!("{name} {step}"), "POST", &update, Some(changed), &[]);
        pair.get(&format!("{name} {step}, inspect"), &path);
        pair.post(&format!("{name} bounds again"), &update, body);
    });
}

fn queries(pair: &mut Pair) {
    for list in ["services", "nodes", "secrets", "configs", "networks"] {
        for filters in FILTERS {
            pair.filtered(&format!("{list} bounds"), &format!("/{list}"), filters);
        }
        for filters in MALFORMED {
            pair.filtered("malformed filters", &format!("/{list}"), filters);
        }
        for name in IDENTIFIERS {
            pair.get(&format!("{list} bounds of names {name}"), &format!("/{list}/{name}"));
            pair.delete(&format!("{list} bounds of names {name} remove"), &format!("/{list}/{name}"));
        }
    }
    for version in ["-1", "1.5", "", "18446744073709551615", "18446744073709551616", "0x1", "1&version=2"] {
        for (object, body) in
            [("swarm", r#"{"Name":"default"}"#), ("nodes/<node>", r#"{"Role":"manager","Availability":"active"}"#)]
        {
            let path = format!("/{object}/update?version={version}");
            pair.send(&format!("version {version} of {object}"), "POST", &path, Some(body), &[]);
        }
    }
    for query in ["scope=global", "verbose="] {
        pair.get(&format!("network bounds ?{query}"), &format!("/networks/none?{query}"));
    }
}
