use super::*;
use crate::ids::NodeId;
use crate::objects::Meta;
use crate::pb::types;
use crate::verbatim::Verbatim;

fn node() -> Node {
    let labels = [("zone".to_owned(), "Paris".to_owned())].into();
    let engine_labels = [("disk".to_owned(), "ssd".to_owned())].into();
    Node {
        id: NodeId::new("n1").expect("an id"),
        meta: Meta::default(),
        spec: Verbatim::new(types::NodeSpec {
            annotations: Some(types::Annotations { labels, ..Default::default() }),
            ..Default::default()
        }),
        description: Some(Verbatim::new(types::NodeDescription {
            hostname: "Alpha".into(),
            platform: Some(types::Platform { architecture: "x86_64".into(), os: "linux".into() }),
            engine: Some(types::EngineDescription { labels: engine_labels, ..Default::default() }),
            ..Default::default()
        })),
        status: types::NodeStatus { addr: "10.1.2.3".into(), ..Default::default() },
        manager_status: None,
        attachment: None,
        certificate: types::Certificate::default(),
        role: NodeRole::Worker,
        attachments: Vec::new(),
        vxlan_udp_port: 0,
        unknown: bytes::Bytes::new(),
    }
}

fn matches(text: &str, node: &Node) -> bool {
    Constraint::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).matches(node)
}

#[test]
fn compares_as_docker_does() {
    let table = [
        ("node.id==n1", true),
        ("node.id == N1", true),
        ("node.id!=n1", false),
        ("node.hostname==alpha", true),
        ("NODE.HostName==ALPHA", true),
        ("node.hostname!=beta", true),
        ("node.role==worker", true),
        ("node.role==manager", false),
        ("node.role!=manager", true),
        ("node.platform.os==Linux", true),
        ("node.platform.arch==x86_64", true),
        ("node.platform.arch==amd64", true),
        ("node.platform.arch!=amd64", false),
        ("node.platform.arch==arm64", false),
        ("node.labels.zone==paris", true),
        ("node.labels.Zone==paris", false),
        ("NODE.LABELS.zone==paris", true),
        ("node.labels.zone!=rome", true),
        ("node.labels.absent==x", false),
        ("node.labels.absent!=x", true),
        ("engine.labels.disk==ssd", true),
        ("engine.labels.disk!=ssd", false),
        ("node.ip==10.1.2.3", true),
        ("node.ip==10.1.2.4", false),
        ("node.ip==10.1.0.0/16", true),
        ("node.ip!=10.1.0.0/16", false),
        ("node.ip==0.0.0.0/0", true),
        ("node.ip==fd00::/8", false),
        ("node.ip!=fd00::/8", true),
        ("node.ip==::ffff:10.1.2.3", true),
        ("node.ip!=10.1.0.0/33", false),
        ("node.ip!=nonsense", false),
        ("node.colour==red", false),
        ("node.colour!=red", false),
    ];
    let node = node();
    for (text, expected) in table {
        assert_eq!(matches(text, &node), expected, "{text}");
    }
}

#[test]
fn sets_and_affinities_are_marked_as_extensions() {
    let node = node();
    assert!(matches("node.labels.zone in (rome, paris)", &node));
    assert!(!matches("node.labels.zone in (rome)", &node));
    assert!(matches("node.labels.zone not in (rome,oslo)", &node));
    assert!(!matches("node.labels.zone not in(paris)", &node));
    let set = Constraint::parse("node.labels.zone in (a)").expect("a set");
    assert!(set.is_extension() && set.affinity().is_none());
    let near = Constraint::parse("service==cache").expect("an affinity");
    assert!(near.is_extension());
    assert_eq!(near.affinity(), Some((Operator::Equal, ["cache".to_owned()].as_slice())));
    let away = Constraint::parse("service!=db").expect("an anti-affinity");
    assert_eq!(away.affinity().map(|(operator, _)| operator), Some(Operator::NotEqual));
    assert!(!Constraint::parse("node.id==a").expect("plain").is_extension());
    assert!(node_matches(&[near, away], &node), "affinities are not the node's");
}

#[test]
fn says_what_is_wrong() {
    let table = [
        ("node.id", "constraint expected one operator from ==, !="),
        ("", "constraint expected one operator from ==, !="),
        ("node.id > 3", "constraint expected one operator from ==, !="),
        ("node.id=~x", "constraint expected one operator from ==, !="),
        ("==x", "key '' is invalid"),
        ("n==x", "key 'n' is invalid"),
        ("1node==x", "key '1node' is invalid"),
        ("node labels==x", "key 'node labels' is invalid"),
        ("a!=b==c", "key 'a!=b' is invalid"),
        ("node.id==", "value '' is invalid"),
        ("node.id==a,b", "value 'a,b' is invalid"),
        ("node.id==<3", "value '<3' is invalid"),
        ("node.id==é", "value 'é' is invalid"),
        ("node.id in a,b", "set 'a,b' is invalid: write it as (a, b, c)"),
        ("node.id in ()", "set '()' is invalid: write it as (a, b, c)"),
        ("node.id in (a,)", "set '(a,)' is invalid: write it as (a, b, c)"),
        ("n in (a)", "key 'n' is invalid"),
    ];
    for (text, expected) in table {
        let error = Constraint::parse(text).expect_err(text);
        assert_eq!(error.to_string(), expected, "{text}");
    }
    assert!(parse(&["node.id==a".into(), "node.id".into()]).is_err());
    assert_eq!(parse(&["node.id==a".into(), "node.id!=b".into()]).map(|list| list.len()), Ok(2));
}

#[test]
fn platforms_and_spread_values() {
    let node = node();
    let platform = |architecture: &str, os: &str| Platform { architecture: architecture.into(), os: os.into() };
    assert!(platforms_fit(&[], &node));
    assert!(platforms_fit(&[platform("amd64", "linux")], &node));
    assert!(platforms_fit(&[platform("arm64", "linux"), platform("", "linux")], &node));
    assert!(!platforms_fit(&[platform("aarch64", "linux"), platform("amd64", "windows")], &node));
    let mut stranger = node.clone();
    stranger.description = None;
    assert!(!platforms_fit(&[platform("", "")], &stranger));
    assert_eq!(spread_value("node.labels.zone", &node), Some("Paris"));
    assert_eq!(spread_value("Engine.Labels.disk", &node), Some("ssd"));
    assert_eq!(spread_value("node.labels.absent", &node), Some(""));
    assert_eq!(spread_value("node.hostname", &node), None);
}
