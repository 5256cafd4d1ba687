use skep_model::pb::objects::endpoint::VirtualIp;
use skep_model::pb::types::ipam_config::AddressFamily;

use super::*;
use crate::NetworkTrouble;

/// Subnet, gateway and numbers as allocated.
fn plan(bench: &Bench, id: &str) -> (String, String, String) {
    let network = bench.network(id);
    let config = network.ipam.expect("ipam").configs.remove(0);
    let options = network.driver_state.expect("driver state").options;
    (config.subnet, config.gateway, options.values().next().cloned().unwrap_or_default())
}

#[test]
fn ingress_gets_the_first_subnet_and_number_even_when_it_comes_later_in_order() {
    let mut bench = Bench::new();
    bench.allocator = Allocator::new();
    // Both are there before the leader's first turn; `aaa` sorts first.
    bench.index += 1;
    let (_, entry) = bench
        .ledger
        .transact(bench.now, bench.index, bench.index, |tx| {
            tx.create(overlay("aaa"))?;
            tx.create(ingress())
        })
        .expect("a transaction");
    bench.ledger.commit(&entry.expect("an entry")).expect("a commit");
    bench.take_over();
    let text = |subnet: &str, gateway: &str, number: &str| (subnet.to_owned(), gateway.to_owned(), number.to_owned());
    assert_eq!(plan(&bench, "ingress"), text("10.0.0.0/24", "10.0.0.1", "4096"));
    assert_eq!(plan(&bench, "aaa"), text("10.0.1.0/24", "10.0.1.1", "4097"));
}

#[test]
fn an_allocated_overlay_looks_as_other_engines_expect() {
    let mut bench = Bench::new();
    bench.create(overlay("net"));
    let network = bench.network("net");
    let state = network.driver_state.expect("driver state");
    assert_eq!(state.name, "overlay");
    assert_eq!(state.options["com.docker.network.driver.overlay.vxlanid_list"], "4096");
    let ipam = network.ipam.expect("ipam");
    assert_eq!(ipam.driver.expect("a driver").name, "default");
    assert_eq!(ipam.configs[0].family, 4);
    assert_eq!(ipam.configs[0].range, "");
}

#[test]
fn node_local_networks_carry_a_name_and_empty_ipam() {
    let mut bench = Bench::new();
    for driver in ["bridge", "host", "macvlan", "ipvlan"] {
        bench.create(with_driver(driver, driver));
        let network = bench.network(driver);
        assert_eq!(network.driver_state, Some(Driver { name: driver.to_owned(), ..Driver::default() }));
        assert_eq!(network.ipam, Some(IpamOptions { driver: Some(Driver::default()), configs: vec![] }));
    }
}

#[test]
fn subnets_come_from_the_clusters_pools() {
    let mut bench = Bench::with(cluster(&["10.20.0.0/30", "10.30.0.0/16"], 31));
    for (id, expected) in [("n1", "10.20.0.0/31"), ("n2", "10.20.0.2/31"), ("n3", "10.30.0.0/31")] {
        bench.create(overlay(id));
        assert_eq!(plan(&bench, id).0, expected);
    }
}

#[test]
fn what_the_user_names_is_taken() {
    for (config, expected) in [
        ("192.168.7.0/24 - -", Some(("192.168.7.0/24", "192.168.7.1"))),
        ("192.168.7.0/24 - 192.168.7.254", Some(("192.168.7.0/24", "192.168.7.254"))),
        ("192.168.7.0/24 192.168.7.64/26 -", Some(("192.168.7.0/24", "192.168.7.64"))),
        ("0.0.0.0/20 - -", Some(("10.0.16.0/20", "10.0.16.1"))),
        ("10.0.0.0/16 - -", None),
        ("192.168.7.0/24 - 192.168.8.1", None),
        ("192.168.7.0/24 192.168.9.0/26 -", None),
        ("nonsense - -", None),
    ] {
        let mut bench = Bench::new();
        bench.create(overlay("first"));
        bench.create(with_subnet("net", config));
        let network = bench.network("net");
        assert_eq!(network.ipam.is_some(), expected.is_some(), "{config}");
        if let Some((subnet, gateway)) = expected {
            assert_eq!((plan(&bench, "net").0.as_str(), plan(&bench, "net").1.as_str()), (subnet, gateway), "{config}");
        }
    }
}

#[test]
fn unknown_drivers_and_overlaps_wait_and_heal() {
    let mut bench = Bench::new();
    bench.create(with_driver("odd", "carrier-pigeon"));
    assert!(bench.network("odd").driver_state.is_none());
    bench.create(with_subnet("one", "192.168.0.0/16 - -"));
    bench.create(with_subnet("two", "192.168.5.0/24 - -"));
    assert!(bench.network("two").ipam.is_none());
    bench.remove::<Network>(&network_id("one"));
    assert_eq!(plan(&bench, "two").0, "192.168.5.0/24", "as soon as the subnet is free");
}

#[test]
fn numbers_the_user_names_are_taken_once() {
    let numbered = |id: &str| {
        let options = [("com.docker.network.driver.overlay.vxlanid_list".to_owned(), "4097".to_owned())];
        let driver = Driver { name: "overlay".to_owned(), options: options.into() };
        network_of(id, NetworkSpec { driver_config: Some(driver), ..NetworkSpec::default() })
    };
    let mut bench = Bench::new();
    bench.create(numbered("one"));
    bench.create(numbered("two"));
    assert_eq!(plan(&bench, "one").2, "4097");
    assert!(bench.network("two").driver_state.is_none());
    for (id, number) in [("three", "4096"), ("four", "4098")] {
        bench.create(overlay(id));
        assert_eq!(plan(&bench, id).2, number);
    }
}

#[test]
fn a_new_leader_gives_nothing_out_twice() {
    let mut bench = Bench::new();
    bench.create(ingress());
    bench.create(overlay("n1"));
    let before = [bench.network("ingress"), bench.network("n1")];
    bench.take_over();
    assert_eq!([bench.network("ingress"), bench.network("n1")], before, "nothing is written again");
    bench.create(overlay("n2"));
    assert_eq!(plan(&bench, "n2").0, "10.0.2.0/24");
    assert_eq!(plan(&bench, "n2").2, "4098");
}

#[test]
fn a_second_ingress_waits_for_the_first_to_go() {
    let mut bench = Bench::new();
    bench.create(node("a"));
    bench.create(ingress());
    bench.create(network_of("other", NetworkSpec { ingress: true, ..NetworkSpec::default() }));
    assert!(bench.network("other").ipam.is_none());
    assert_eq!(bench.attachments("a"), ["ingress=10.0.0.2/24"]);
    bench.remove::<Network>(&network_id("ingress"));
    assert_eq!(plan(&bench, "other").0, "10.0.0.0/24");
    assert_eq!(bench.attachments("a"), ["other=10.0.0.2/24"]);
}

#[test]
fn nodes_are_attached_to_ingress_and_to_what_their_tasks_use() {
    let mut bench = Bench::new();
    bench.create(node("a"));
    assert!(bench.attachments("a").is_empty(), "there is no ingress yet");
    bench.create(ingress());
    bench.create(node("b"));
    assert_eq!(
        (bench.attachments("a"), bench.attachments("b")),
        (vec!["ingress=10.0.0.2/24".to_owned()], vec!["ingress=10.0.0.3/24".to_owned()])
    );
    let attachment = bench.node("a").attachments.remove(0);
    assert_eq!(
        attachment.network,
        Some(Kept::from(&bench.network("ingress")).value.into()),
        "the whole object goes along"
    );

    bench.create(overlay("net"));
    bench.create(service("web", &["net"]));
    bench.make_task("t", "web");
    assert_eq!(bench.attachments("a").len(), 1);
    bench.schedule("t", "a");
    assert_eq!(bench.attachments("a"), ["ingress=10.0.0.2/24", "net=10.0.1.4/24"]);
    bench.set_state("t", TaskState::Failed);
    assert_eq!(bench.attachments("a"), ["ingress=10.0.0.2/24"]);
    bench.remove::<Node>(&NodeId::new("a").expect("an id"));
    bench.create(overlay("later"));
    bench.create(node("c"));
    assert_eq!(bench.attachments("c"), ["ingress=10.0.0.4/24"], "next-fit, not the address just given back");
}

fn dual(id: &str, ipv6_enabled: bool, subnets: &[&str]) -> Network {
    let config = |subnet: &&str| IpamConfig { subnet: (*subnet).to_owned(), ..IpamConfig::default() };
    let ipam = IpamOptions { driver: None, configs: subnets.iter().map(config).collect() };
    network_of(id, NetworkSpec { ipam: Some(ipam), ipv6_enabled, ..NetworkSpec::default() })
}

#[test]
fn everybody_gets_an_address_of_each_family_and_every_subnet_a_number() {
    let mut bench = Bench::new();
    bench.create(dual("net", true, &["fd00:1::/64", "10.7.0.0/16", "10.8.0.0/16"]));
    assert_eq!(plan(&bench, "net").2, "4096,4097,4098");
    let gateways: Vec<_> =
        bench.network("net").ipam.expect("ipam").configs.into_iter().map(|config| config.gateway).collect();
    assert_eq!(gateways, ["fd00:1::1", "10.7.0.1", "10.8.0.1"]);
    bench.create(service("web", &["net"]));
    assert_eq!(bench.virtual_ips("web"), ["net=10.7.0.2/16", "net=fd00:1::2/64"], "IPv4 first: others look no further");
    bench.make_task("t", "web");
    assert_eq!(bench.addresses("t"), ["net=10.7.0.3/16,fd00:1::3/64"]);
    bench.create(node("a"));
    bench.schedule("t", "a");
    assert_eq!(bench.attachments("a"), ["net=10.7.0.4/16"]);

    // The next leader gives none of it out again.
    bench.take_over();
    bench.make_task("u", "web");
    assert_eq!(bench.addresses("u"), ["net=10.7.0.5/16,fd00:1::4/64"]);
    assert_eq!(bench.virtual_ips("web").len(), 2);
}

#[test]
fn ipv6_is_for_networks_that_enable_it_or_have_nothing_else() {
    let mut bench = Bench::new();
    bench.create(dual("off", false, &["10.7.0.0/16", "fd00:1::/64"]));
    bench.create(dual("alone", false, &["fd00:2::/64"]));
    for (id, expected) in [("off", "off=10.7.0.2/16"), ("alone", "alone=fd00:2::2/64")] {
        bench.create(service(id, &[id]));
        assert_eq!(bench.virtual_ips(id), [expected]);
    }
    let mut said = dual("said", true, &["10.9.0.0/16", "fd00:3::/64"]);
    said.spec = said.spec.edit(|spec| {
        if let Some(config) = spec.ipam.as_mut().and_then(|ipam| ipam.configs.last_mut()) {
            config.set_family(AddressFamily::Ipv6);
        }
    });
    bench.create(said);
    assert_eq!(plan(&bench, "said").2, "4099", "subnets that say IPv6 have no number, as with SwarmKit");
}

#[test]
fn a_virtual_address_of_one_family_is_completed() {
    let mut bench = Bench::new();
    bench.create(dual("net", true, &["10.7.0.0/16", "fd00:1::/64"]));
    let mut web = service("web", &["net"]);
    let address = |addr: &str| VirtualIp { network_id: "net".to_owned(), addr: addr.to_owned() };
    web.endpoint = Some(pb::Endpoint { virtual_ips: vec![address("10.7.0.9/16")], ..pb::Endpoint::default() });
    bench.create(web);
    assert_eq!(bench.virtual_ips("web"), ["net=10.7.0.9/16", "net=fd00:1::2/64"]);
}

#[test]
fn a_range_wider_than_its_subnet_limits_nothing() {
    let mut bench = Bench::new();
    bench.create(with_subnet("net", "192.168.7.0/24 192.168.0.0/16 -"));
    assert_eq!(plan(&bench, "net").1, "192.168.7.1");
}

#[test]
fn a_network_without_room_says_why_in_the_log_and_in_all_that_wait_for_it() {
    let mut bench = Bench::with(cluster(&["10.20.0.0/28"], 29));
    for id in ["one", "two", "three"] {
        bench.create(overlay(id));
    }
    let why = "no subnet of size /29 is free in the address pools 10.20.0.0/28; add a pool or remove a network";
    let trouble = |network: &str, why: &str| NetworkTrouble { network: network.to_owned(), why: why.to_owned() };
    assert_eq!(bench.allocator.take_network_troubles(), [trouble("three", why)]);
    bench.create(service("web", &["three"]));
    bench.make_task("t", "web");
    assert_eq!(bench.task("t").status.err, format!("network three is not allocated yet: {why}"));
    bench.pass(crate::RETRY_INTERVAL);
    assert_eq!(bench.allocator.take_network_troubles(), [], "told once");
    bench.remove::<Network>(&network_id("one"));
    assert_eq!(plan(&bench, "three").0, "10.20.0.0/29");
    assert_eq!((bench.task("t").status.err.as_str(), bench.task("t").state()), ("", TaskState::Pending));
}
