//! A swarm in memory: nodes and tasks of any number, put into a ledger as the log would.

use skep_model::objects::TaskAnnotations;
use skep_model::pb::objects::{Network, NetworkAttachment};
use skep_model::pb::types::{self, NodeRole, TaskSpec, TaskState, node_status, task_spec::Runtime};
use skep_model::{Meta, Node, NodeId, Now, Refusal, ServiceId, Shared, Task, TaskId, Time, Verbatim, WallTime};
use skep_store::{Ledger, TURN_CHANGES_MAX, Tx};

/// When everything happens.
pub const NOW: Now = Now { monotonic: Time(1_000_000_000), wall: WallTime(1_700_000_000_000_000_000) };

/// The plugin that every third node has.
pub const PLUGIN: &str = "every-third";

/// An id of the usual length whose order says nothing about its number.
pub fn id(kind: u64, number: u64) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut state = (kind << 40) ^ number.wrapping_add(1);
    let mut text = String::with_capacity(25);
    for _ in 0..3 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        for _ in 0..9 {
            if text.len() < 25 {
                text.push(char::from(DIGITS[(mixed % 36) as usize]));
            }
            mixed /= 36;
        }
    }
    text
}

/// A ready node; every third one has the plugin.
pub fn node(number: u64) -> Node {
    let kinds = if number.is_multiple_of(3) { vec![PLUGIN] } else { vec!["overlay"] };
    let plugin = |name: &str| types::PluginDescription { r#type: "Network".to_owned(), name: name.to_owned() };
    let engine = types::EngineDescription {
        plugins: kinds.into_iter().map(plugin).collect(),
        ..types::EngineDescription::default()
    };
    Node {
        id: NodeId::new(&id(1, number)).expect("an id"),
        meta: Meta::default(),
        spec: Verbatim::default(),
        description: Some(Verbatim::new(types::NodeDescription {
            hostname: format!("node-{number}"),
            engine: Some(engine),
            ..Default::default()
        })),
        status: types::NodeStatus { state: node_status::State::Ready.into(), ..Default::default() },
        manager_status: None,
        attachment: None,
        certificate: Default::default(),
        role: NodeRole::Worker,
        attachments: Vec::new(),
        vxlan_udp_port: 0,
        unknown: Default::default(),
    }
}

/// A pending task; `driver` is that of the network it wants.
pub fn task(number: u64, service: u64, driver: Option<&str>) -> Task {
    let image = "registry.example.org/team/web:1.27".to_owned();
    let container = types::ContainerSpec { image, ..Default::default() };
    let spec = TaskSpec { runtime: Some(Runtime::Container(container)), ..Default::default() };
    let annotations = types::Annotations { name: format!("service-{service}"), ..Default::default() };
    let network = driver.map(|driver| NetworkAttachment {
        network: Some(Shared::new(Network {
            id: id(4, 0),
            driver_state: Some(types::Driver { name: driver.to_owned(), ..Default::default() }),
            ..Default::default()
        })),
        addresses: vec![format!("10.{}.{}.{}/8", number >> 16 & 255, number >> 8 & 255, number & 255)],
        ..Default::default()
    });
    Task {
        id: TaskId::new(&id(2, number)).expect("an id"),
        meta: Meta::default(),
        spec: Verbatim::new(spec),
        service_id: ServiceId::new(&id(3, service)).ok(),
        slot: number + 1,
        node_id: None,
        annotations: TaskAnnotations::Usual,
        service_annotations: annotations.into(),
        status: types::TaskStatus { state: TaskState::Pending.into(), ..Default::default() },
        desired_state: TaskState::Running,
        networks: network.into_iter().collect::<Vec<_>>().into(),
        endpoint: None,
        log_driver: None,
        spec_version: Some(1),
        extras: Default::default(),
    }
}

/// Writes objects in transactions of the usual size, and commits them.
pub fn fill(ledger: &mut Ledger, count: u64, mut create: impl FnMut(&mut Tx, u64) -> Result<(), Refusal>) {
    let mut number = 0;
    while number < count {
        let until = count.min(number + TURN_CHANGES_MAX as u64);
        let written = ledger
            .transact(NOW, number + 1, number + 1, |tx| (number..until).try_for_each(|number| create(tx, number)));
        let ((), entry) = written.expect("it fits");
        if let Some(entry) = entry {
            ledger.commit(&entry).expect("it commits");
        }
        number = until;
    }
}
