//! The parameters of `…/logs`, and how a line is laid out (interop §9.7).

use std::collections::BTreeMap;

use skep_model::WallTime;

use crate::frames::{Packing, Source};
use crate::json::{Fraction, rfc3339};
use crate::request::Query;
use crate::status::Failure;

/// What a client wants of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogOptions {
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    pub(crate) follow: bool,
    pub(crate) timestamps: bool,
    pub(crate) details: bool,
    pub(crate) since: Option<WallTime>,
    pub(crate) until: Option<WallTime>,
}

impl LogOptions {
    pub(crate) fn parse(query: &Query) -> Result<Self, Failure> {
        let options = Self {
            stdout: query.flag("stdout"),
            stderr: query.flag("stderr"),
            follow: query.flag("follow"),
            timestamps: query.flag("timestamps"),
            details: query.flag("details"),
            since: unix_time(query, "since")?,
            until: unix_time(query, "until")?,
        };
        if !options.stdout && !options.stderr {
            return Err(Failure::bad_request("must specify at least one of 'stdout' or 'stderr'"));
        }
        Ok(options)
    }

    /// A line as the client gets it.
    pub(crate) fn line(
        &self,
        packing: Packing,
        source: Source,
        at: WallTime,
        details: &str,
        data: &[u8],
    ) -> bytes::Bytes {
        if !self.timestamps && !self.details {
            return packing.pack(source, data);
        }
        let mut line = Vec::with_capacity(data.len() + 64);
        if self.timestamps {
            line.extend_from_slice(rfc3339(at, Fraction::Nine).as_bytes());
            line.push(b' ');
        }
        if self.details {
            line.extend_from_slice(details.as_bytes());
            line.push(b' ');
        }
        line.extend_from_slice(data);
        packing.pack(source, &line)
    }
}

/// `seconds[.nanoseconds]` since 1970; absent and 0 are none.
pub(crate) fn unix_time(query: &Query, key: &str) -> Result<Option<WallTime>, Failure> {
    let text = query.get(key);
    if text.is_empty() || text == "0" {
        return Ok(None);
    }
    let invalid = || Failure::bad_request(format!("invalid value for \"{key}\": {text:?} is not a Unix time"));
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().map_err(|_| invalid())?;
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid());
    }
    let nanos: i64 = format!("{fraction:0<9}").parse().map_err(|_| invalid())?;
    Ok(Some(WallTime(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))))
}

/// What `details` shows of a line: sorted pairs, escaped.
pub(crate) fn details<K: AsRef<str>, V: AsRef<str>>(pairs: &BTreeMap<K, V>) -> String {
    let pairs = pairs.iter().map(|(key, value)| format!("{}={}", escape(key.as_ref()), escape(value.as_ref())));
    pairs.collect::<Vec<_>>().join(",")
}

/// Go's `url.QueryEscape`.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_lines_are_laid_out_as_docker_does() {
        let query = Query::parse("stdout=1&timestamps=1&details=1&since=5.25");
        let options = LogOptions::parse(&query).unwrap();
        assert_eq!(options.since, Some(WallTime(5_250_000_000)));
        let line = options.line(Packing::Raw, Source::Stdout, WallTime(1_500_000_000), "a=b", b"hi\n");
        assert_eq!(&line[..], b"1970-01-01T00:00:01.500000000Z a=b hi\n");
        assert!(unix_time(&Query::parse("since=1.x"), "since").is_err());
        let failure = LogOptions::parse(&Query::parse("follow=1")).unwrap_err();
        assert_eq!(failure.message, "must specify at least one of 'stdout' or 'stderr'");
        assert_eq!(escape("a b/ü"), "a+b%2F%C3%BC");
    }
}
