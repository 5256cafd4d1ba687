use skep_model::pb::messages as m;
use skep_model::pb::messages::update_service_request::Rollback;
use skep_model::pb::types as t;
use skep_model::{Code, Service, Verbatim};

use crate::Read;
use crate::fixture::{Swarm, annotations, service, service_spec, task};

fn spec(name: &str) -> t::NetworkSpec {
    t::NetworkSpec { annotations: annotations(name), ..Default::default() }
}

fn create(spec: t::NetworkSpec) -> m::CreateNetworkRequest {
    m::CreateNetworkRequest { spec: Some(Verbatim::new(spec)) }
}

fn remove(network_id: &str) -> m::RemoveNetworkRequest {
    m::RemoveNetworkRequest { network_id: network_id.to_owned(), ..Default::default() }
}

fn made(swarm: &mut Swarm, spec: t::NetworkSpec) -> String {
    swarm.ask(create(spec)).unwrap().network.unwrap().value.id
}

fn on(network: &str) -> t::ServiceSpec {
    let mut spec = service_spec("web");
    let attachment = t::NetworkAttachmentConfig { target: network.to_owned(), ..Default::default() };
    spec.task.as_mut().unwrap().networks.push(attachment);
    spec
}

#[test]
fn specs_are_refused_in_swarmkits_words() {
    let mut swarm = Swarm::new();
    let mut refused = |spec: t::NetworkSpec, code: Code, message: &str| {
        let refusal = swarm.ask(create(spec)).unwrap_err();
        assert_eq!((refusal.code, refusal.message.as_str()), (code, message));
    };
    let driver = |name: &str| Some(t::Driver { name: name.to_owned(), ..Default::default() });
    let pool = |subnet: &str, range: &str, gateway: &str| {
        let (subnet, range, gateway) = (subnet.to_owned(), range.to_owned(), gateway.to_owned());
        let configs = vec![t::IpamConfig { subnet, range, gateway, ..Default::default() }];
        Some(t::IpamOptions { driver: None, configs })
    };
    use Code::InvalidArgument as I;
    let both = t::NetworkSpec { attachable: true, ingress: true, ..spec("net") };
    refused(both, I, "ingress network cannot be attachable");
    refused(spec(""), I, "meta: name must be provided");
    let nameless = t::NetworkSpec { driver_config: driver(""), ..spec("net") };
    refused(nameless, I, "driver name: if driver is specified name is required");
    refused(t::NetworkSpec { driver_config: driver("weave"), ..spec("net") }, I, "plugin weave not supported");
    let ingress = t::NetworkSpec { ingress: true, driver_config: driver("bridge"), ..spec("net") };
    refused(ingress, Code::Unimplemented, "only overlay driver is currently supported for ingress network");
    for (ipam, message) in [
        (pool("", "", ""), "ipam configuration: invalid subnet "),
        (pool("10.1.0.0/33", "", ""), "ipam configuration: invalid subnet 10.1.0.0/33"),
        (pool("10.1.0.0/24", "10.1.0.1", ""), "ipam configuration: invalid range 10.1.0.1"),
        (
            pool("10.1.0.0/24", "10.1.1.0/28", ""),
            "ipam configuration: subnet 10.1.0.0/24 does not contain range 10.1.1.0/28",
        ),
        (pool("10.1.0.0/31", "", ""), "ipam configuration: subnet 10.1.0.0/31 has no room: use /30 or a larger one"),
        (pool("fd00::/127", "", ""), "ipam configuration: subnet fd00::/127 has no room: use /126 or a larger one"),
        (pool("10.1.0.0/24", "", "10.1.0.0"), "ipam configuration: gateway 10.1.0.0 is nobody's in 10.1.0.0/24"),
        (pool("10.1.0.0/24", "", "10.1.0.255"), "ipam configuration: gateway 10.1.0.255 is nobody's in 10.1.0.0/24"),
        (pool("fd00::/64", "", "fd00::"), "ipam configuration: gateway fd00:: is nobody's in fd00::/64"),
        (pool("10.1.0.0/24", "", "x"), "ipam configuration: invalid gateway x"),
        (
            pool("10.1.0.0/24", "", "10.1.1.1"),
            "ipam configuration: subnet 10.1.0.0/24 does not contain gateway 10.1.1.1",
        ),
    ] {
        refused(t::NetworkSpec { ipam, ..spec("net") }, I, message);
    }
    for list in ["x", "4096,x", "-1", "16777216"] {
        let options = [("com.docker.network.driver.overlay.vxlanid_list".to_owned(), list.to_owned())].into();
        let driver_config = Some(t::Driver { name: "overlay".to_owned(), options });
        let message = format!(
            "option com.docker.network.driver.overlay.vxlanid_list: {list:?} is no list of numbers up to 16777215"
        );
        refused(t::NetworkSpec { driver_config, ..spec("net") }, I, &message);
    }
    let ipam = pool("fd00::/64", "fd00::/80", "fd00::1");
    made(&mut swarm, t::NetworkSpec { ipam, driver_config: driver("overlay"), ..spec("net") });
    let mut labelled = spec("mine");
    labelled.annotations.as_mut().unwrap().labels =
        [("com.docker.swarm.predefined".to_owned(), "true".to_owned())].into();
    assert_eq!(swarm.ask(create(labelled)).unwrap_err().code, Code::PermissionDenied);
    let twice = swarm.ask(create(spec("NET"))).unwrap_err();
    assert_eq!((twice.code, twice.message.as_str()), (Code::AlreadyExists, "network with name NET already exists"));
}

#[test]
fn there_is_one_ingress_network_and_nobody_attaches_to_it() {
    let mut swarm = Swarm::new();
    let id = made(&mut swarm, t::NetworkSpec { ingress: true, ..spec("ingress") });
    let second = swarm.ask(create(t::NetworkSpec { ingress: true, ..spec("other") })).unwrap_err();
    assert_eq!(second.message, format!("ingress network ({id}) is already present"));
    let attached = swarm.ask(m::CreateServiceRequest { spec: Some(Verbatim::new(on(&id))) }).unwrap_err();
    assert_eq!(attached.message, "Service cannot be explicitly attached to the ingress network \"ingress\"");
    swarm.ask(remove(&id)).unwrap();
    assert!(swarm.ledger.committed().networks().is_empty());
}

#[test]
fn a_network_in_use_stays() {
    let mut swarm = Swarm::new();
    let id = made(&mut swarm, spec("back"));
    swarm.ask(m::CreateServiceRequest { spec: Some(Verbatim::new(on(&id))) }).unwrap();
    let web = swarm.ledger.committed().service_by_name("web").unwrap();
    let refusal = swarm.ask(remove(&id)).unwrap_err();
    assert_eq!(refusal.code, Code::FailedPrecondition);
    assert_eq!(refusal.message, format!("network {id} is in use by service {}", web.id));

    let mut live = task("t1", "web", 1, None);
    live.spec = Verbatim::new(on(&id).task.unwrap());
    let task_id = live.id.clone();
    swarm = swarm.with(live);
    swarm.ask(m::RemoveServiceRequest { service_id: web.id.to_string() }).unwrap();
    let refusal = swarm.ask(remove(&id)).unwrap_err();
    assert_eq!(refusal.message, format!("network {id} is in use by task {task_id}"));
    swarm.ask(m::RemoveTaskRequest { task_id: task_id.to_string() }).unwrap();
    swarm.ask(remove(&id)).unwrap();
    let gone = swarm.ask(remove(&id)).unwrap_err();
    assert_eq!(gone.message, format!("network {id} not found"));
}

/// A client may have found the network before somebody removed it (seed 17218 of the simulator).
#[test]
fn a_service_does_not_wait_for_a_network_that_is_gone() {
    let mut swarm = Swarm::new();
    let (first, second) = (made(&mut swarm, spec("first")), made(&mut swarm, spec("second")));
    swarm.ask(m::CreateServiceRequest { spec: Some(Verbatim::new(on(&first))) }).unwrap();
    let update = |swarm: &Swarm, spec, rollback: Rollback| {
        let web = swarm.ledger.committed().service_by_name("web").unwrap();
        m::UpdateServiceRequest {
            service_id: web.id.to_string(),
            service_version: Some(t::Version { index: web.meta.version }),
            spec: Some(Verbatim::new(spec)),
            rollback: rollback.into(),
        }
    };
    let moved = update(&swarm, on(&second), Rollback::None);
    swarm.ask(moved).unwrap();
    swarm.ask(remove(&first)).unwrap();

    let gone = (Code::NotFound, format!("network {first} not found"));
    let mut other = on(&first);
    other.annotations.as_mut().unwrap().name = "other".to_owned();
    for refused in [
        swarm.ask(m::CreateServiceRequest { spec: Some(Verbatim::new(other)) }).unwrap_err(),
        swarm.ask(update(&swarm, on(&first), Rollback::None)).unwrap_err(),
        swarm.ask(update(&swarm, on(&second), Rollback::Previous)).unwrap_err(),
    ] {
        assert_eq!((refused.code, refused.message), gone);
    }
    assert_eq!(swarm.ledger.committed().services().len(), 1);
}

#[test]
fn the_ingress_network_stays_while_a_service_publishes_through_it() {
    let mut swarm = Swarm::new();
    let id = made(&mut swarm, t::NetworkSpec { ingress: true, ..spec("ingress") });
    let ports = vec![t::PortConfig { published_port: 80, ..Default::default() }];
    let endpoint = Some(t::EndpointSpec { ports, ..Default::default() });
    let mesh = t::ServiceSpec { endpoint, ..service_spec("mesh") };
    let mesh = Service { spec: Verbatim::new(mesh), ..service("mesh") };
    let service_id = mesh.id.clone();
    swarm = swarm.with(mesh);
    let refusal = swarm.ask(remove(&id)).unwrap_err();
    let message = format!("ingress network cannot be removed because service {service_id} depends on it");
    assert_eq!((refusal.code, refusal.message), (Code::FailedPrecondition, message));
}

#[test]
fn networks_are_found_by_id_and_name() {
    let mut swarm = Swarm::new();
    let id = made(&mut swarm, spec("back"));
    made(&mut swarm, spec("front"));
    let got = swarm.ask(m::GetNetworkRequest { network_id: id.clone(), ..Default::default() }).unwrap();
    assert_eq!(got.network.unwrap().value.id, id);
    let filters = m::list_networks_request::Filters { names: vec!["back".to_owned()], ..Default::default() };
    let listed = swarm.ask(m::ListNetworksRequest { filters: Some(filters), appdata: None }).unwrap().networks;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].value.id, id);
}
