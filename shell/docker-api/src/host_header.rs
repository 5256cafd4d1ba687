//! The header `Host` on plain TCP: a web page that got its own name to point here (DNS rebinding) must not reach the
//! daemon through its reader's browser, which always tells the page's name.

use std::net::{IpAddr, Ipv6Addr};

use http::StatusCode;

use crate::status::Failure;

/// Refuses what names neither an address, nor `localhost`, nor this host.
pub(crate) fn check(header: &str, hostname: &str) -> Result<(), Failure> {
    let name = without_port(header).trim_end_matches('.');
    let local = name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost");
    let first_label = hostname.split('.').next().unwrap_or_default();
    let own = !name.is_empty() && [hostname, first_label].iter().any(|own| own.eq_ignore_ascii_case(name));
    if local || own || is_address(name) {
        return Ok(());
    }
    Err(Failure::new(
        StatusCode::FORBIDDEN,
        format!(
            "the header Host is {header:?}: without TLS only requests to an IP address, to localhost or to {hostname} are \
             answered, so that web pages cannot reach this daemon through a browser"
        ),
    ))
}

fn without_port(header: &str) -> &str {
    match header.rsplit_once(':') {
        Some((name, port)) if !name.ends_with(':') && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => header,
    }
}

fn is_address(name: &str) -> bool {
    match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inside) => inside.parse::<Ipv6Addr>().is_ok(),
        None => name.parse::<IpAddr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_are_refused() {
        for (header, admitted) in [
            ("192.0.2.1:2375", true),
            ("192.0.2.1", true),
            ("[2001:db8::1]:2375", true),
            ("localhost:2375", true),
            ("api.moby.localhost", true),
            ("Node1:2375", true),
            ("node1.example.org:2375", false),
            ("node1.", true),
            ("node12.example.org", false),
            ("evil.example.org:2375", false),
            ("192.0.2.1.evil.example.org", false),
            ("[evil]", false),
            ("", false),
        ] {
            assert_eq!(check(header, "node1").is_ok(), admitted, "{header}");
        }
        let refusal = check("evil.example.org:2375", "node1").unwrap_err();
        assert!(refusal.status == StatusCode::FORBIDDEN && refusal.message.contains("evil.example.org"));
        assert!(check("node1.example.org", "node1.example.org").is_ok());
        assert!(check("node1", "node1.example.org").is_ok());
        assert!(check("a.b", "").is_err());
    }
}
