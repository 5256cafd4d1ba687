use super::*;

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
