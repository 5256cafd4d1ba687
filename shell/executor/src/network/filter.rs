//! The packet filter's table: NAT for the subnet, and published ports. One table per bridge, replaced as a whole.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::addresses::base;
use super::ports::Target;
use crate::config::BridgeConfig;
use crate::error::RuntimeError;

/// What is published: protocol and port of this host, and everybody who answers there.
pub type Publications = BTreeMap<(String, u16), Vec<Target>>;

/// The whole table as `nft` reads it: an empty one first, so that deleting works whether or not it was there.
/// Connections that are under way keep the way that they have: the kernel's connection tracking knows it.
pub fn table(config: &BridgeConfig, ports: &Publications) -> String {
    let name = &config.name;
    let subnet = format!("{}/{}", Ipv4Addr::from(base(config)), config.prefix_length);
    let (mut single, mut shared, mut chains) = (Vec::new(), Vec::new(), String::new());
    for ((protocol, host), targets) in ports {
        match targets.as_slice() {
            [] => {}
            [(address, container)] => single.push(format!("{protocol} . {host} : {address} . {container}")),
            several => {
                shared.push(format!("{protocol} . {host} : goto {protocol}-{host}"));
                chains.push_str(&in_turn(protocol, *host, several));
            }
        }
    }
    let (single, shared) = (elements(&single), elements(&shared));
    let mut text = format!("add table ip {name}\ndelete table ip {name}\ntable ip {name} {{\n");
    let to_published = "    fib daddr type local meta l4proto . th dport vmap @shared\n\
                        \x20   fib daddr type local dnat ip to meta l4proto . th dport map @published\n";
    // `write!` to a string cannot fail.
    let _infallible = write!(
        text,
        "  map published {{\n    type inet_proto . inet_service : ipv4_addr . inet_service\n{single}  }}\n\
         {chains}\
         \x20 map shared {{\n    type inet_proto . inet_service : verdict\n{shared}  }}\n\
         \x20 chain guard {{\n    type filter hook prerouting priority -300\n\
         \x20   iifname \"{name}\" ip daddr 127.0.0.0/8 drop\n  }}\n\
         \x20 chain arriving {{\n    type nat hook prerouting priority -100\n{to_published}  }}\n\
         \x20 chain local {{\n    type nat hook output priority -100\n{to_published}  }}\n\
         \x20 chain leaving {{\n    type nat hook postrouting priority 100\n\
         \x20   ip saddr {subnet} oifname != \"{name}\" masquerade\n\
         \x20   ip saddr {subnet} ip daddr {subnet} ct status dnat masquerade\n\
         \x20   ip saddr 127.0.0.0/8 oifname \"{name}\" masquerade\n  }}\n}}\n"
    );
    text
}

fn elements(list: &[String]) -> String {
    if list.is_empty() { String::new() } else { format!("    elements = {{ {} }}\n", list.join(", ")) }
}

/// A chain that gives each new connection to the next of several.
fn in_turn(protocol: &str, host: u16, targets: &[Target]) -> String {
    let numbered = targets.iter().enumerate();
    let list: Vec<String> =
        numbered.map(|(number, (address, container))| format!("{number} : {address} . {container}")).collect();
    format!(
        "  chain {protocol}-{host} {{\n    meta l4proto {protocol} dnat ip to numgen inc mod {} map {{ {} }}\n  }}\n",
        targets.len(),
        list.join(", ")
    )
}

/// Hands rules to `nft`.
pub async fn apply(name: &str, rules: &str) -> Result<(), RuntimeError> {
    let trouble = |message: String| RuntimeError::PacketFilter { table: name.to_owned(), message };
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| trouble(format!("cannot run nft (package nftables): {error}")))?;
    if let Some(mut input) = nft.stdin.take() {
        input.write_all(rules.as_bytes()).await.map_err(|error| trouble(error.to_string()))?;
    }
    let output = nft.wait_with_output().await.map_err(|error| trouble(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(trouble(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_ports_are_elements_of_one_map() {
        let mut ports = Publications::new();
        let empty = table(&BridgeConfig::default(), &ports);
        assert!(!empty.contains("elements"));
        assert!(empty.contains("ip saddr 172.30.0.0/24 oifname != \"skep0\" masquerade"));
        ports.insert(("tcp".to_owned(), 8080), vec![(Ipv4Addr::new(172, 30, 0, 2), 80)]);
        ports.insert(("udp".to_owned(), 53), vec![(Ipv4Addr::new(172, 30, 0, 3), 5353)]);
        let full = table(&BridgeConfig::default(), &ports);
        assert!(full.contains("elements = { tcp . 8080 : 172.30.0.2 . 80, udp . 53 : 172.30.0.3 . 5353 }"), "{full}");
    }

    #[test]
    fn those_who_share_a_port_take_turns() {
        let targets = vec![(Ipv4Addr::new(172, 30, 0, 2), 80), (Ipv4Addr::new(172, 30, 0, 3), 8080)];
        let ports = Publications::from([(("tcp".to_owned(), 80), targets)]);
        let text = table(&BridgeConfig::default(), &ports);
        assert!(text.contains("elements = { tcp . 80 : goto tcp-80 }"), "{text}");
        let turns = "meta l4proto tcp dnat ip to numgen inc mod 2 map { 0 : 172.30.0.2 . 80, 1 : 172.30.0.3 . 8080 }";
        assert!(text.contains(turns), "{text}");
    }
}
