//! Subnets that a user names for a network, checked as Docker checks them, in its words (since 25).

use std::net::IpAddr;

use ipnet::IpNet;
use skep_model::Refusal;

use crate::json::IpamConfig;

fn version(address: IpAddr) -> u8 {
    if address.is_ipv4() { 4 } else { 6 }
}

/// Everything that is wrong with the subnets, their ranges, gateways and auxiliary addresses. What is no subnet at all
/// is not judged here.
pub(super) fn check_pools(configs: &[IpamConfig<'_>], ipv6: bool) -> Result<(), Refusal> {
    let mut wrong = Vec::new();
    for config in configs {
        let Ok(subnet) = config.subnet.parse::<IpNet>() else { continue };
        if subnet.addr().is_ipv6() && !ipv6 {
            continue;
        }
        if subnet != subnet.trunc() {
            wrong.push(format!("invalid subnet {subnet}: it should be {}", subnet.trunc()));
        }
        if let Ok(range) = config.range.parse() {
            check_range(range, subnet, &mut wrong);
        }
        let mut check = |what: String, address: &str| {
            if let Some(why) = address.parse().ok().and_then(|address| outside(address, subnet)) {
                wrong.push(format!("invalid {what}: {why}"));
            }
        };
        check(format!("gateway {}", config.gateway), &config.gateway);
        for (name, address) in config.auxiliary.iter() {
            check(format!("auxiliary address {name}"), address);
        }
    }
    match wrong.as_slice() {
        [] => Ok(()),
        [only] => Err(Refusal::invalid(format!("invalid network config:\n{only}"))),
        several => Err(Refusal::invalid(format!("invalid network config:\n* {}", several.join("\n* ")))),
    }
}

fn check_range(range: IpNet, subnet: IpNet, wrong: &mut Vec<String>) {
    if version(range.addr()) != version(subnet.addr()) {
        let version = version(subnet.addr());
        wrong.push(format!("invalid ip-range {range}: parent subnet is an IPv{version} block"));
        return;
    }
    if range.prefix_len() < subnet.prefix_len() {
        wrong.push(format!("invalid ip-range {range}: CIDR block is bigger than its parent subnet {subnet}"));
    }
    if range != range.trunc() {
        wrong.push(format!("invalid ip-range {range}: it should be {}", range.trunc()));
    }
    if !subnet.contains(&range.addr()) && !range.contains(&subnet.addr()) {
        wrong.push(format!("invalid ip-range {range}: parent subnet {subnet} doesn't contain ip-range"));
    }
}

fn outside(address: IpAddr, subnet: IpNet) -> Option<String> {
    if version(address) != version(subnet.addr()) {
        return Some(format!("parent subnet is an IPv{} block", version(subnet.addr())));
    }
    (!subnet.contains(&address)).then(|| format!("parent subnet {subnet} doesn't contain this address"))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn config(text: &str) -> IpamConfig<'static> {
        let mut words = text.split(' ').map(|word| Cow::<str>::Owned(word.replace('-', "")));
        let [subnet, range, gateway] = std::array::from_fn(|_| words.next().unwrap_or_default());
        let auxiliary = words.map(|address| ("host".to_owned(), address.into_owned())).collect();
        IpamConfig { subnet, range, gateway, auxiliary: Cow::Owned(auxiliary) }
    }

    #[test]
    fn what_is_wrong_is_told_in_dockers_words() {
        for (text, expected) in [
            ("10.0.0.0/8 10.10.0.0/16 10.10.0.1 10.10.0.1", vec![]),
            ("fd00::/64 fd00::/80 fd00::1", vec![]),
            ("zzz 10.0.0.0/8 -", vec![]),
            ("10.10.10.0/8", vec!["invalid subnet 10.10.10.0/8: it should be 10.0.0.0/8"]),
            ("fd00::1/64", vec!["invalid subnet fd00::1/64: it should be fd00::/64"]),
            ("10.0.0.0/8 10.10.10.0/16", vec!["invalid ip-range 10.10.10.0/16: it should be 10.10.0.0/16"]),
            (
                "10.10.10.0/24 10.0.0.0/8",
                vec!["invalid ip-range 10.0.0.0/8: CIDR block is bigger than its parent subnet 10.10.10.0/24"],
            ),
            (
                "10.10.10.0/24 2001:db8::/32 2001:db8::1 2001:db8::1",
                vec![
                    "invalid ip-range 2001:db8::/32: parent subnet is an IPv4 block",
                    "invalid gateway 2001:db8::1: parent subnet is an IPv4 block",
                    "invalid auxiliary address host: parent subnet is an IPv4 block",
                ],
            ),
            (
                "10.0.0.0/8 192.168.0.1/24 192.168.0.1 192.168.0.1",
                vec![
                    "invalid ip-range 192.168.0.1/24: it should be 192.168.0.0/24",
                    "invalid ip-range 192.168.0.1/24: parent subnet 10.0.0.0/8 doesn't contain ip-range",
                    "invalid gateway 192.168.0.1: parent subnet 10.0.0.0/8 doesn't contain this address",
                    "invalid auxiliary address host: parent subnet 10.0.0.0/8 doesn't contain this address",
                ],
            ),
            ("0.0.0.0/0 10.0.0.0/8 1.2.3.4", vec![]),
        ] {
            let message = check_pools(&[config(text)], true).err().map(|refusal| refusal.message).unwrap_or_default();
            let lines: Vec<&str> = message.lines().skip(1).map(|line| line.trim_start_matches("* ")).collect();
            assert_eq!(lines, expected, "{text}");
            assert_eq!(message.contains("\n* "), expected.len() > 1, "{text}");
        }
        assert!(check_pools(&[config("fd00::1/64")], false).is_ok(), "nobody uses it");
    }
}
