use skep_model::pb::types::generic_resource::Resource;
use skep_model::pb::types::node_spec::Availability;
use skep_model::pb::types::port_config::PublishMode;
use skep_model::pb::types::task_spec::Runtime;
use skep_model::pb::types::{self, Placement, ResourceRequirements, Resources, TaskSpec, TaskState};
use skep_model::{Node, NodeId, Task};

use super::world::{World, described, labelled, node, service, task, with_availability};

fn reserving(memory_bytes: i64, nano_cpus: i64) -> TaskSpec {
    let reservations = Some(Resources { memory_bytes, nano_cpus, generic: Vec::new() });
    TaskSpec { resources: Some(ResourceRequirements { reservations, ..Default::default() }), ..Default::default() }
}

fn placed(placement: Placement) -> TaskSpec {
    TaskSpec { placement: Some(placement), ..Default::default() }
}

fn constrained(text: &str) -> TaskSpec {
    placed(Placement { constraints: vec![text.to_owned()], ..Default::default() })
}

fn publishing(mut task: Task, port: u32) -> Task {
    let mut published = types::PortConfig { target_port: 80, published_port: port, ..Default::default() };
    published.set_publish_mode(PublishMode::Host);
    task.endpoint = Some(skep_model::pb::objects::Endpoint { ports: vec![published], ..Default::default() }.into());
    task
}

fn volume_of(driver: &str) -> TaskSpec {
    let mut mount = types::Mount::default();
    mount.set_type(types::mount::Type::Volume);
    let driver_config = Some(types::Driver { name: driver.to_owned(), ..Default::default() });
    mount.volume_options = Some(types::mount::VolumeOptions { driver_config, ..Default::default() });
    let container = types::ContainerSpec { mounts: vec![mount], ..Default::default() };
    TaskSpec { runtime: Some(Runtime::Container(container)), ..Default::default() }
}

fn cluster_volume() -> TaskSpec {
    let mut mount = types::Mount { source: "group:fast".into(), target: "/data".into(), ..Default::default() };
    mount.set_type(types::mount::Type::Cluster);
    let container = types::ContainerSpec { mounts: vec![mount], ..Default::default() };
    TaskSpec { runtime: Some(Runtime::Container(container)), ..Default::default() }
}

fn with_plugin(name: &str, kind: &str, plugin: &str) -> Node {
    described(name, |description| {
        let plugin = types::PluginDescription { r#type: kind.to_owned(), name: plugin.to_owned() };
        description.engine.get_or_insert_default().plugins.push(plugin);
    })
}

/// Name, task, two nodes, and what becomes of it.
type Case<'a> = (&'a str, TaskSpec, Node, Node, Result<&'a str, &'a str>);

/// One task on two nodes: where it goes, or what is said.
#[test]
fn each_filter_chooses_or_explains() {
    let down = {
        let mut node = node("n2");
        node.status.set_state(types::node_status::State::Down);
        node
    };
    let paused = with_availability(&node("n2"), Availability::Pause);
    let logging = TaskSpec {
        log_driver: Some(types::Driver { name: "gelf".into(), ..Default::default() }),
        ..Default::default()
    };
    let resources = types::ResourceRequirements { swap_bytes: Some(0), ..Default::default() };
    let container = Runtime::Container(types::ContainerSpec::default());
    let swapping = TaskSpec { runtime: Some(container), resources: Some(resources), ..Default::default() };
    let arm = placed(Placement {
        platforms: vec![types::Platform { architecture: "arm64".into(), os: "linux".into() }],
        ..Default::default()
    });
    let on_arm = described("n2", |description| {
        description.platform = Some(types::Platform { architecture: "aarch64".into(), os: "linux".into() });
    });
    let table: Vec<Case> = vec![
        ("ready", TaskSpec::default(), down.clone(), paused.clone(), Err("2 nodes not available for new tasks")),
        ("paused", TaskSpec::default(), node("n1"), paused, Ok("n1")),
        ("memory", reserving(1001, 0), node("n1"), down, Err("insufficient resources on 1 node; 1 node not")),
        ("cpu", reserving(0, 5_000_000_000), node("n1"), node("n2"), Err("insufficient resources on 2 nodes")),
        ("fits", reserving(1000, 4_000_000_000), node("n1"), node("n2"), Ok("n1")),
        ("volume", volume_of("nfs"), node("n1"), with_plugin("n2", "Volume", "nfs:latest"), Ok("n2")),
        ("no volume", volume_of("nfs"), node("n1"), node("n2"), Err("missing plugin on 2 nodes")),
        ("local", volume_of("local"), node("n1"), node("n2"), Ok("n1")),
        ("log unknown", logging.clone(), node("n1"), with_plugin("n2", "Log", "gelf"), Ok("n1")),
        (
            "no ability",
            swapping.clone(),
            with_plugin("n1", "Skep", "seccomp"),
            with_plugin("n2", "Skep", "embedded"),
            Err("swap limits not supported on 1 node; system call filters not supported on 1 node"),
        ),
        ("ability unknown", swapping, with_plugin("n1", "Skep", "embedded"), node("n2"), Ok("n2")),
        ("log", logging, with_plugin("n1", "Log", "json-file"), with_plugin("n2", "Log", "gelf"), Ok("n2")),
        ("label", constrained("node.labels.a==x"), node("n1"), labelled("n2", "a", "X"), Ok("n2")),
        (
            "no label",
            constrained("node.labels.a==x"),
            node("n1"),
            labelled("n2", "a", "y"),
            Err("scheduling constraints not satisfied on 2 nodes"),
        ),
        ("platform", arm.clone(), node("n1"), on_arm, Ok("n2")),
        ("no platform", arm, node("n1"), node("n2"), Err("unsupported platform on 2 nodes")),
        (
            "cluster volume",
            cluster_volume(),
            node("n1"),
            node("n2"),
            Err("cannot fulfill requested CSI volume mounts on 2 nodes"),
        ),
    ];
    for (name, spec, first, mut second, expected) in table {
        second.id = NodeId::new("n2").expect("an id");
        let first = Node { id: NodeId::new("n1").expect("an id"), ..first };
        let mut world = World::new([first, second]);
        world.add([task("web", 1, spec)]);
        world.turn();
        let task = world.task("web-0001");
        match expected {
            Ok(node) => {
                assert_eq!(task.state(), TaskState::Assigned, "{name}: {}", task.status.err);
                assert_eq!(world.node_of("web-0001").as_deref(), Some(node), "{name}");
                assert_eq!(task.status.message, "scheduler assigned task to node");
            }
            Err(text) => {
                assert_eq!(task.state(), TaskState::Pending, "{name}");
                let text = text.split("; ").all(|part| task.status.err.contains(part));
                assert!(text && task.status.err.starts_with("no suitable node ("), "{name}: {}", task.status.err);
                assert_eq!(task.status.message, "pending task scheduling");
            }
        }
    }
}

#[test]
fn host_ports_and_replicas_per_node_are_limited() {
    let mut world = World::new([node("n1"), node("n2")]);
    world.add((1..=3).map(|slot| publishing(task("web", slot, TaskSpec::default()), 8080)));
    world.turn();
    assert_eq!(world.counts().into_values().collect::<Vec<_>>(), [1, 1]);
    let left = world.task("web-0003");
    assert_eq!(left.status.err, "no suitable node (host-mode port already in use on 2 nodes)");

    let mut world = World::new([node("n1"), node("n2")]);
    let spec = placed(Placement { max_replicas: 2, ..Default::default() });
    world.add((1..=5).map(|slot| task("web", slot, spec.clone())));
    world.turn();
    assert_eq!(world.counts().into_values().collect::<Vec<_>>(), [2, 2]);
    assert_eq!(world.task("web-0005").status.err, "no suitable node (max replicas per node limit exceed)");
}

#[test]
fn generic_resources_are_given_out_once() {
    let gpu = |name: &str| types::GenericResource {
        resource: Some(Resource::NamedResourceSpec(types::NamedGenericResource {
            kind: "gpu".into(),
            value: name.into(),
        })),
    };
    let with_gpus = described("n1", |description| {
        description.resources.get_or_insert_default().generic = vec![gpu("a"), gpu("b")];
    });
    let wanted = types::GenericResource {
        resource: Some(Resource::DiscreteResourceSpec(types::DiscreteGenericResource { kind: "gpu".into(), value: 1 })),
    };
    let reservations = Some(Resources { generic: vec![wanted], ..Default::default() });
    let resources = Some(ResourceRequirements { reservations, ..Default::default() });
    let spec = TaskSpec { resources, ..Default::default() };
    let mut world = World::new([with_gpus, node("n2")]);
    world.add((1..=3).map(|slot| task("ai", slot, spec.clone())));
    world.turn();
    assert_eq!(world.task("ai-0001").extras.assigned_generic_resources, [gpu("a")]);
    assert_eq!(world.task("ai-0002").extras.assigned_generic_resources, [gpu("b")]);
    assert_eq!(world.task("ai-0003").status.err, "no suitable node (insufficient resources on 2 nodes)");
    world.report("ai-0001", TaskState::Failed);
    world.pass(100);
    world.turn();
    assert_eq!(world.task("ai-0003").extras.assigned_generic_resources, [gpu("a")]);
}

#[test]
fn affinity_and_its_opposite() {
    let mut world = World::new([node("n1"), node("n2"), node("n3")]);
    world.write(|tx| tx.create(service("cache")).and_then(|()| tx.create(service("db"))));
    world.add([task("cache", 1, constrained("node.id==n2")), task("db", 1, constrained("node.id==n3"))]);
    world.turn();
    world.add([task("web", 1, constrained("service==cache")), task("job", 1, constrained("service != db"))]);
    world.add([task("lost", 1, constrained("service==absent"))]);
    world.turn();
    assert_eq!(world.node_of("web-0001").as_deref(), Some("n2"));
    assert_eq!(world.node_of("job-0001").as_deref(), Some("n1"));
    assert_eq!(
        world.task("lost-0001").status.err,
        "no suitable node (scheduling constraints not satisfied on 3 nodes)"
    );
}
