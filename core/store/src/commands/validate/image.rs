//! The grammar of image references: `[host[:port]/]path[:tag][@digest]` (source: the distribution project's
//! reference grammar).

/// Longest name without tag and digest.
const NAME_LENGTH_MAX: usize = 255;
/// Longest tag.
const TAG_LENGTH_MAX: usize = 128;
/// Fewest hexadecimal digits of a digest.
const DIGEST_DIGITS_MIN: usize = 32;
/// A bare id of this many hexadecimal digits is not a name.
const IMAGE_ID_DIGITS: usize = 64;

/// Whether the text names an image.
pub(super) fn is_reference(text: &str) -> bool {
    let is_lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() == IMAGE_ID_DIGITS && text.bytes().all(is_lower_hex) {
        return false;
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if looks_like_host(host) => (Some(host), path),
        _ => (None, name),
    };
    name.len() <= NAME_LENGTH_MAX
        && host.is_none_or(is_host)
        && path.split('/').all(is_path_component)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest)
}

/// A first component with a dot, a port or capitals cannot be a path.
fn looks_like_host(text: &str) -> bool {
    text == "localhost" || text.contains(['.', ':']) || text.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_host(text: &str) -> bool {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => {
                return address.parse::<core::net::Ipv6Addr>().is_ok()
                    && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
            }
            None => return false,
        },
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    port.is_none_or(is_port) && name.split('.').all(is_host_label)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_host_label(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Runs of lower-case letters and digits, joined by `.`, `_`, `__` or dashes.
fn is_path_component(text: &str) -> bool {
    let is_word = |byte: char| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separators = text.split(is_word).filter(|separator| !separator.is_empty());
    let is_separator =
        |separator: &str| matches!(separator, "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-');
    text.starts_with(is_word) && text.ends_with(is_word) && separators.into_iter().all(is_separator)
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= TAG_LENGTH_MAX
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, digits)) = text.split_once(':') else { return false };
    let is_algorithm = algorithm.split(['-', '_', '+', '.']).all(|part| {
        part.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    is_algorithm && digits.len() >= DIGEST_DIGITS_MIN && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::is_reference;

    #[test]
    fn references_that_docker_takes() {
        let digest = "a".repeat(64);
        for good in [
            "nginx",
            "nginx:1.27-alpine",
            "library/nginx",
            "localhost/x",
            "localhost:5000/a/b_c/d__e:v1",
            "registry.example.com/team/app",
            "REGISTRY/app",
            "[::1]:5000/app",
            "a--b/c.d",
        ] {
            assert!(is_reference(good), "{good}");
            assert!(is_reference(&format!("{good}@sha256:{digest}")), "{good}");
        }
    }

    #[test]
    fn references_that_docker_refuses() {
        let id = "a".repeat(64);
        for bad in [
            "",
            "Nginx",
            "nginx:",
            "nginx:a b",
            "-nginx",
            "a..b",
            "a/",
            "/a",
            "a@sha256:12",
            "nginx:-x",
            "a___b",
            &id,
            "host:port/x",
        ] {
            assert!(!is_reference(bad), "{bad:?}");
        }
    }
}
