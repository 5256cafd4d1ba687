//! Names of services, networks, secrets and configs.

use skep_model::Refusal;
use skep_model::pb::types::Annotations;

/// Longest name of a service or network: a DNS label.
const NAME_LENGTH_MAX: usize = 63;
/// Longest name of a secret or config.
const DEPENDENCY_NAME_LENGTH_MAX: usize = 64;

/// Letters and digits at both ends, and between them also the characters of `inner`.
fn is_framed(name: &str, inner: &[u8]) -> bool {
    let bytes = name.as_bytes();
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || inner.contains(byte))
}

/// A service's or network's name.
pub(crate) fn annotations(annotations: Option<&Annotations>) -> Result<(), Refusal> {
    let name = annotations.map_or("", |annotations| annotations.name.as_str());
    if name.is_empty() {
        return Err(Refusal::invalid("meta: name must be provided"));
    }
    if !is_framed(name, b"-_") {
        return Err(Refusal::invalid("name must be valid as a DNS name component"));
    }
    if name.len() > NAME_LENGTH_MAX {
        return Err(Refusal::invalid("name must be 63 characters or fewer"));
    }
    Ok(())
}

/// A secret's or config's name.
pub(crate) fn dependency_annotations(annotations: Option<&Annotations>) -> Result<(), Refusal> {
    let name = annotations.map_or("", |annotations| annotations.name.as_str());
    if name.is_empty() {
        return Err(Refusal::invalid("name must be provided"));
    }
    if name.len() > DEPENDENCY_NAME_LENGTH_MAX || !is_framed(name, b"-_.") {
        return Err(Refusal::invalid(
            "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be \
             [a-zA-Z0-9]",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Annotations {
        Annotations { name: name.to_owned(), ..Annotations::default() }
    }

    #[test]
    fn service_names_are_dns_labels() {
        for good in ["a", "web", "web-1", "my__web", "9lives", &"a".repeat(63)] {
            assert_eq!(annotations(Some(&named(good))), Ok(()), "{good}");
        }
        for bad in ["", "-web", "web-", "we.b", "wéb", "web\n", &"a".repeat(64)] {
            assert!(annotations(Some(&named(bad))).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn dependency_names_may_hold_dots() {
        for good in ["a", "tls.key", "a_b-c.d", &"a".repeat(64)] {
            assert_eq!(dependency_annotations(Some(&named(good))), Ok(()), "{good}");
        }
        for bad in ["", ".key", "key.", "a b", &"a".repeat(65)] {
            assert!(dependency_annotations(Some(&named(bad))).is_err(), "{bad:?}");
        }
    }
}
