//! Names of images by Docker's rules: `busybox` is short for `docker.io/library/busybox:latest`.
//!
//! Grammar: distribution's reference package, as the Docker manual describes it.

use std::fmt;

use super::digest::ContentDigest;
use super::error::ImageError;

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
const DEFAULT_TAG: &str = "latest";
const MAX_NAME_BYTES: usize = 255;
const MAX_TAG_BYTES: usize = 128;

/// A name with its registry, and a tag, a digest, or both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageReference {
    /// `docker.io`, `localhost:5000`.
    pub domain: String,
    /// `library/busybox`.
    pub path: String,
    /// Absent only where a digest is given.
    pub tag: Option<String>,
    /// What the name must stand for.
    pub digest: Option<ContentDigest>,
}

impl ImageReference {
    /// Parses and completes a name as a user writes it; without tag and digest it means `latest`.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        let refuse =
            |reason: &str| ImageError::InvalidReference { reference: text.to_owned(), reason: reason.to_owned() };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest =
                    digest.parse().map_err(|_| refuse("the digest must be sha256: and 64 hexadecimal digits"))?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let name_start = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest[name_start..].rfind(':') {
            Some(colon) => (&rest[..name_start + colon], Some(&rest[name_start + colon + 1..])),
            None => (rest, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(refuse("the tag may have letters, digits, '_', '.' and '-', at most 128"));
        }
        if name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(refuse("cannot specify 64-byte hexadecimal strings"));
        }
        let (domain, path) = split_domain(name);
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(refuse(&format!("repository name ({path}) must be lowercase")));
        }
        if !is_domain(&domain) || !path.split('/').all(is_path_component) {
            return Err(refuse("a name is lower-case letters, digits and single separators between slashes"));
        }
        if domain.len() + 1 + path.len() > MAX_NAME_BYTES {
            return Err(refuse("the repository name must not be more than 255 characters"));
        }
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some(DEFAULT_TAG.to_owned()),
        };
        Ok(Self { domain, path, tag, digest })
    }

    /// `docker.io/library/busybox`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// `busybox`, `example.org/team/app`.
    pub fn familiar_name(&self) -> String {
        familiar(&self.name())
    }

    /// `docker.io/library/busybox:latest`, when there is a tag.
    pub fn tagged(&self) -> Option<String> {
        self.tag.as_ref().map(|tag| format!("{}:{tag}", self.name()))
    }

    /// `docker.io/library/busybox@sha256:…`.
    pub fn with_digest(&self, digest: &ContentDigest) -> String {
        format!("{}@{digest}", self.name())
    }
}

/// As people write it: the digest wins over the tag, as in Docker.
impl fmt::Display for ImageReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.familiar_name())?;
        match (&self.digest, &self.tag) {
            (Some(digest), _) => write!(formatter, "@{digest}"),
            (None, Some(tag)) => write!(formatter, ":{tag}"),
            (None, None) => Ok(()),
        }
    }
}

/// A full name (with or without tag or digest) as people write it.
pub fn familiar(name: &str) -> String {
    match name.strip_prefix("docker.io/") {
        Some(rest) => match rest.strip_prefix(OFFICIAL_PREFIX) {
            Some(short) if !short.contains('/') => short.to_owned(),
            _ => rest.to_owned(),
        },
        None => name.to_owned(),
    }
}

fn split_domain(name: &str) -> (String, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest)) if looks_like_domain(first) => (first, rest),
        _ => (DEFAULT_DOMAIN, name),
    };
    let domain = if domain == LEGACY_DEFAULT_DOMAIN { DEFAULT_DOMAIN } else { domain };
    if domain == DEFAULT_DOMAIN && !path.contains('/') {
        (domain.to_owned(), format!("{OFFICIAL_PREFIX}{path}"))
    } else {
        (domain.to_owned(), path.to_owned())
    }
}

fn looks_like_domain(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_domain(domain: &str) -> bool {
    let host_of = |text: &str| match text.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => host.to_owned(),
        _ => text.to_owned(),
    };
    if let Some(rest) = domain.strip_prefix('[') {
        return host_of(rest).strip_suffix(']').is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let is_label = |label: &str| {
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = label.as_bytes();
        edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    };
    host_of(domain).split('.').all(is_label)
}

/// Runs of letters and digits, joined by one `.`, one or two `_`, or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let is_alphanumeric = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    let bytes = component.as_bytes();
    if !bytes.first().is_some_and(is_alphanumeric) || !bytes.last().is_some_and(is_alphanumeric) {
        return false;
    }
    component
        .split(|character: char| character.is_ascii_lowercase() || character.is_ascii_digit())
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= MAX_TAG_BYTES
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completes_names_as_docker_does() {
        let digest = format!("sha256:{}", "0f".repeat(32));
        for (text, name, tag, familiar) in [
            ("busybox", "docker.io/library/busybox", Some("latest"), "busybox:latest"),
            ("index.docker.io/busybox:1", "docker.io/library/busybox", Some("1"), "busybox:1"),
            ("team/app:v1", "docker.io/team/app", Some("v1"), "team/app:v1"),
            ("localhost/app", "localhost/app", Some("latest"), "localhost/app:latest"),
            ("localhost:5000/a/b_c:x", "localhost:5000/a/b_c", Some("x"), "localhost:5000/a/b_c:x"),
            ("[::1]:5000/a", "[::1]:5000/a", Some("latest"), "[::1]:5000/a:latest"),
            ("docker.io/library/a/b", "docker.io/library/a/b", Some("latest"), "library/a/b:latest"),
            (&format!("busybox:1@{digest}"), "docker.io/library/busybox", Some("1"), &format!("busybox@{digest}")),
            (&format!("busybox@{digest}"), "docker.io/library/busybox", None, &format!("busybox@{digest}")),
        ] {
            let reference = ImageReference::parse(text).unwrap();
            assert_eq!(reference.name(), name, "{text}");
            assert_eq!(reference.tag.as_deref(), tag, "{text}");
            assert_eq!(reference.to_string(), familiar, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_name() {
        let hex = "ab".repeat(32);
        for text in [
            "",
            ":tag",
            "Busybox",
            "a//b",
            "a/../b",
            "-a",
            "a..b",
            "a___b",
            "a:b:c",
            "a:",
            "a@sha256:xyz",
            "a b",
            &hex,
            "bad_domain.x:80/a",
            "/etc/passwd",
            "a:-x",
        ] {
            assert!(ImageReference::parse(text).is_err(), "{text:?} was accepted");
        }
    }
}
