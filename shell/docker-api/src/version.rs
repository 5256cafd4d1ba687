//! API versions: the range we speak, and the prefix `/v1.NN` of a path (interop §9.3).

use crate::status::Failure;

/// `1.<minor>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ApiVersion(pub(crate) u32);

/// What clients without a prefix get, and the newest that we speak.
pub(crate) const NEWEST: ApiVersion = ApiVersion(52);
/// The oldest that we speak.
pub(crate) const OLDEST: ApiVersion = ApiVersion(24);

impl std::fmt::Display for ApiVersion {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "1.{}", self.0)
    }
}

/// Takes the version off a path; the rest starts with `/`.
pub(crate) fn split(path: &str) -> Result<(ApiVersion, &str), Failure> {
    let Some((word, rest)) = path.strip_prefix("/v").map(|rest| rest.split_once('/').unwrap_or((rest, ""))) else {
        return Ok((NEWEST, path));
    };
    if !word.starts_with(|letter: char| letter.is_ascii_digit()) {
        return Ok((NEWEST, path));
    }
    let rest = &path[path.len() - rest.len() - usize::from(!rest.is_empty())..];
    let mut numbers = word.splitn(2, '.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(1)), Some(Ok(minor))) if minor < OLDEST.0 => Err(too_old(word)),
        (Some(Ok(0)), _) => Err(too_old(word)),
        (Some(Ok(1)), Some(Ok(minor))) if minor <= NEWEST.0 => Ok((ApiVersion(minor), rest)),
        (Some(Ok(_)), Some(Ok(_)) | None) => Err(Failure::bad_request(format!(
            "client version {word} is too new. Maximum supported API version is {NEWEST}"
        ))),
        // Docker knows no such path.
        _ => Err(Failure::not_found("page not found")),
    }
}

fn too_old(word: &str) -> Failure {
    Failure::bad_request(format!(
        "client version {word} is too old. Minimum supported API version is {OLDEST}, please upgrade your client to a \
         newer version"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_taken_off_the_path() {
        for (path, expected) in [
            ("/info", Some((52, "/info"))),
            ("/v1.24/info", Some((24, "/info"))),
            ("/v1.41/services/create", Some((41, "/services/create"))),
            ("/volumes", Some((52, "/volumes"))),
            ("/version", Some((52, "/version"))),
            ("/v1.23/info", None),
            ("/v1.99/info", None),
            ("/v2.0/info", None),
            ("/v1.x/info", None),
        ] {
            let found = split(path).ok();
            assert_eq!(found, expected.map(|(minor, rest)| (ApiVersion(minor), rest)), "{path}");
        }
        let message = split("/v1.23/info").unwrap_err().message;
        assert!(message.contains("client version 1.23 is too old. Minimum supported API version is 1.24"), "{message}");
    }
}
