//! The packet filter's table: NAT for the subnet, and published ports. One table per bridge, replaced as a whole.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::addresses::base;
use crate::config::BridgeConfig;
use crate::error::RuntimeError;

/// The whole table as `nft` reads it: an empty one first, so that deleting works whether or not it was there.
pub fn table(config: &BridgeConfig, ports: &BTreeMap<(String, u16), (Ipv4Addr, u16)>) -> String {
    let name = &config.name;
    let subnet = format!("{}/{}", Ipv4Addr::from(base(config)), config.prefix_length);
    let elements: Vec<String> = ports
        .iter()
        .map(|((protocol, host), (address, container))| format!("{protocol} . {host} : {address} . {container}"))
        .collect();
    let elements =
        if elements.is_empty() { String::new() } else { format!("    elements = {{ {} }}\n", elements.join(", ")) };
    let mut text = format!("add table ip {name}\ndelete table ip {name}\ntable ip {name} {{\n");
    let to_published = "    fib daddr type local dnat ip to meta l4proto . th dport map @published\n";
    // `write!` to a string cannot fail.
    let _infallible = write!(
        text,
        "  map published {{\n    type inet_proto . inet_service : ipv4_addr . inet_service\n{elements}  }}\n\
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
        let mut ports = BTreeMap::new();
        let empty = table(&BridgeConfig::default(), &ports);
        assert!(!empty.contains("elements"));
        assert!(empty.contains("ip saddr 172.30.0.0/24 oifname != \"skep0\" masquerade"));
        ports.insert(("tcp".to_owned(), 8080), (Ipv4Addr::new(172, 30, 0, 2), 80));
        ports.insert(("udp".to_owned(), 53), (Ipv4Addr::new(172, 30, 0, 3), 5353));
        let full = table(&BridgeConfig::default(), &ports);
        assert!(full.contains("elements = { tcp . 8080 : 172.30.0.2 . 80, udp . 53 : 172.30.0.3 . 5353 }"), "{full}");
    }
}
