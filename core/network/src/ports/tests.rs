use super::*;

fn port(protocol: Protocol, published_port: u32, target_port: u32) -> PortConfig {
    PortConfig { protocol: protocol.into(), published_port, target_port, ..PortConfig::default() }
}

fn service(text: &str) -> ServiceId {
    ServiceId::new(text).expect("an id")
}

#[test]
fn protocols_have_their_own_spaces() {
    let mut book = PortBook::default();
    for (number, protocol) in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().enumerate() {
        let id = service(&format!("s{number}"));
        let ports = book.assign(&id, &[port(protocol, 53, 53), port(protocol, 0, 54)], &[]).expect("ports");
        assert_eq!([ports[0].published_port, ports[1].published_port], [53, DYNAMIC_FIRST]);
    }
}

#[test]
fn a_named_port_of_the_dynamic_range_is_not_given_to_others() {
    let mut book = PortBook::default();
    book.assign(&service("named"), &[port(Protocol::Tcp, DYNAMIC_FIRST, 80)], &[]).expect("a port");
    let ports = book.assign(&service("any"), &[port(Protocol::Tcp, 0, 80)], &[]).expect("a port");
    assert_eq!(ports[0].published_port, DYNAMIC_FIRST + 1);
}

#[test]
fn an_attempt_that_fails_takes_nothing() {
    let mut book = PortBook::default();
    let all: Vec<PortConfig> =
        (DYNAMIC_FIRST..DYNAMIC_LAST).map(|number| port(Protocol::Tcp, number, number)).collect();
    book.assign(&service("greedy"), &all, &[]).expect("ports");
    let two = [port(Protocol::Tcp, 0, 1), port(Protocol::Tcp, 0, 2)];
    let error = book.assign(&service("late"), &two, &[]).expect_err("one is left");
    assert_eq!(error.to_string(), "no tcp port between 30000 and 32767 is free");
    let one = book.assign(&service("later"), &two[..1], &[]).expect("the last one");
    assert_eq!(one[0].published_port, DYNAMIC_LAST);
    book.sync(&service("later"), &[]);
    assert!(book.take_released());
    assert!(book.assign(&service("late"), &two[..1], &[]).is_ok());
}
