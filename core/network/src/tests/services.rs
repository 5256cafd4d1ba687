use super::*;

use skep_model::pb::types::endpoint_spec::ResolutionMode;

#[test]
fn services_without_networks_and_ports_are_left_alone() {
    let mut bench = Bench::new();
    bench.create(service_of("plain", &[], Some(EndpointSpec::default())));
    assert_eq!(bench.service("plain").endpoint, None);
}

#[test]
fn one_virtual_address_per_network() {
    let mut bench = Bench::new();
    bench.create(ingress());
    bench.create(overlay("net"));
    bench.create(overlay("other"));
    bench.create(service("web", &["net"]));
    assert_eq!(bench.virtual_ips("web"), ["net=10.0.1.2/24"]);
    let mut web = bench.service("web");
    web.spec =
        web.spec.edit(|spec| spec.task = Some(TaskSpec { networks: attach(&["other", "net"]), ..TaskSpec::default() }));
    bench.update(web);
    assert_eq!(bench.virtual_ips("web"), ["net=10.0.1.2/24", "other=10.0.2.2/24"], "what it has, it keeps");
    let mut web = bench.service("web");
    web.spec = web.spec.edit(|spec| spec.task = Some(TaskSpec { networks: attach(&["other"]), ..TaskSpec::default() }));
    bench.update(web);
    assert_eq!(bench.virtual_ips("web"), ["other=10.0.2.2/24"]);
}

#[test]
fn networks_of_the_service_spec_count_when_the_tasks_has_none() {
    let mut bench = Bench::new();
    bench.create(overlay("net"));
    let mut web = service("web", &[]);
    web.spec = web.spec.edit(|spec| spec.networks = attach(&["net"]));
    bench.create(web);
    bench.make_task("t", "web");
    assert_eq!(bench.virtual_ips("web"), ["net=10.0.0.2/24"]);
    assert_eq!(bench.addresses("t"), ["net=10.0.0.3/24"]);
}

#[test]
fn round_robin_services_have_no_virtual_address() {
    let mut bench = Bench::new();
    bench.create(overlay("net"));
    bench.create(service("web", &["net"]));
    let mut web = bench.service("web");
    let endpoint = EndpointSpec { mode: ResolutionMode::Dnsrr.into(), ports: vec![] };
    web.spec = web.spec.edit(|spec| spec.endpoint = Some(endpoint));
    bench.update(web);
    assert!(bench.virtual_ips("web").is_empty());
    bench.create(service_of(
        "quiet",
        &["net"],
        Some(EndpointSpec { mode: ResolutionMode::Dnsrr.into(), ports: vec![] }),
    ));
    assert_eq!(bench.service("quiet").endpoint, None);
}

#[test]
fn node_local_networks_have_an_entry_without_address() {
    let mut bench = Bench::new();
    bench.create(with_driver("host", "host"));
    bench.create(service("web", &["host"]));
    bench.make_task("t", "web");
    assert_eq!(bench.virtual_ips("web"), ["host="]);
    assert_eq!(bench.addresses("t"), ["host="]);
    assert_eq!(bench.task("t").state(), TaskState::Pending);
}

#[test]
fn published_ports_are_named_sticky_or_dynamic() {
    let mut bench = Bench::new();
    bench.create(ingress());
    let mesh = PublishMode::Ingress;
    bench.create(publishing(
        "web",
        vec![port(8080, 80, mesh), port(0, 81, mesh), port(0, 82, mesh), port(0, 83, PublishMode::Host)],
    ));
    assert_eq!(bench.published("web"), [8080, 30000, 30001, 0]);
    assert_eq!(bench.virtual_ips("web"), ["ingress=10.0.0.2/24"]);
    // The container's port 82 keeps its number though 81 goes, and the number that went is not the next one.
    let mut web = bench.service("web");
    let ports = vec![port(0, 84, mesh), port(0, 82, mesh)];
    web.spec = web.spec.edit(|spec| spec.endpoint = Some(EndpointSpec { ports, ..EndpointSpec::default() }));
    bench.update(web);
    assert_eq!(bench.published("web"), [30002, 30001]);
    bench.take_over();
    assert_eq!(bench.published("web"), [30002, 30001]);
    bench.create(publishing("late", vec![port(0, 80, mesh), port(0, 81, mesh)]));
    assert_eq!(bench.published("late"), [30000, 30003], "8080 and 30000 are free again, 30001 and 30002 are not");
}

#[test]
fn a_new_leader_notes_what_is_published_before_it_gives_out_more() {
    let mut bench = Bench::new();
    bench.create(ingress());
    bench.create(publishing("web", vec![port(0, 80, PublishMode::Ingress)]));
    bench.allocator = Allocator::new();
    let (_, entry) = bench
        .ledger
        .transact(bench.now, 600, 600, |tx| tx.create(publishing("early", vec![port(0, 80, PublishMode::Ingress)])))
        .expect("a transaction");
    bench.ledger.commit(&entry.expect("an entry")).expect("a commit");
    bench.take_over();
    assert_eq!((bench.published("web"), bench.published("early")), (vec![30000], vec![30001]));
}

#[test]
fn a_service_that_publishes_nothing_any_more_gives_everything_back() {
    let mut bench = Bench::new();
    bench.create(ingress());
    bench.create(publishing("web", vec![port(80, 80, PublishMode::Ingress)]));
    let mut web = bench.service("web");
    web.spec = web.spec.edit(|spec| spec.endpoint = None);
    bench.update(web);
    assert!(bench.published("web").is_empty() && bench.virtual_ips("web").is_empty());
    bench.create(publishing("next", vec![port(80, 80, PublishMode::Ingress)]));
    assert_eq!(bench.published("next"), [80]);
}

#[test]
fn host_ports_are_copied_and_need_no_ingress() {
    let mut bench = Bench::new();
    bench.create(publishing("web", vec![port(8080, 80, PublishMode::Host)]));
    bench.create(publishing("twin", vec![port(8080, 80, PublishMode::Host)]));
    for id in ["web", "twin"] {
        let endpoint = bench.service(id).endpoint.expect("an endpoint");
        assert_eq!(endpoint.ports, [port(8080, 80, PublishMode::Host)]);
        assert!(endpoint.virtual_ips.is_empty());
        assert_eq!(endpoint.spec, bench.service(id).spec.endpoint);
    }
    bench.make_task("t", "web");
    assert_eq!(bench.task("t").endpoint, bench.service("web").endpoint.map(Into::into));
    assert_eq!(bench.task("t").state(), TaskState::Pending);
}

#[test]
fn a_port_that_is_taken_is_told_to_the_tasks_and_heals() {
    let mut bench = Bench::new();
    bench.create(ingress());
    bench.create(publishing("web", vec![port(80, 80, PublishMode::Ingress)]));
    bench.create(publishing("rival", vec![port(80, 80, PublishMode::Ingress), port(0, 81, PublishMode::Ingress)]));
    bench.make_task("t", "rival");
    assert_eq!(bench.task("t").state(), TaskState::New);
    assert_eq!(bench.task("t").status.err, "port 80/tcp is already published by service web");
    assert_eq!(bench.virtual_ips("rival").len(), 0, "nothing is taken by an attempt that fails");
    bench.remove::<Service>(&service_id("web"));
    assert_eq!(bench.published("rival"), [80, 30000]);
    assert_eq!((bench.task("t").state(), bench.task("t").status.err.as_str()), (TaskState::Pending, ""));
}

#[test]
fn publishing_without_ingress_waits_for_it() {
    let mut bench = Bench::new();
    bench.create(publishing("web", vec![port(80, 80, PublishMode::Ingress)]));
    bench.make_task("t", "web");
    assert!(bench.task("t").status.err.starts_with("the ingress network is missing"));
    bench.create(ingress());
    assert_eq!(bench.addresses("t"), ["ingress=10.0.0.3/24"]);
    assert_eq!(bench.task("t").state(), TaskState::Pending);
}
