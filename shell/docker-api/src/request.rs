//! A request with what its route needs: path, query, version, body, and the way to another protocol.

use std::borrow::Cow;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyDataStream, BodyExt};
use hyper::upgrade::OnUpgrade;
use serde::de::DeserializeOwned;
use tokio_util::io::StreamReader;

use crate::engine::ByteReader;
use crate::half_close::RequestBody;
use crate::limits::MAX_JSON_BODY_BYTES;
use crate::status::Failure;
use crate::version::ApiVersion;

/// One request.
pub(crate) struct Request {
    pub(crate) parts: Parts,
    pub(crate) body: RequestBody,
    pub(crate) version: ApiVersion,
    pub(crate) query: Query,
    pub(crate) upgrade: Option<OnUpgrade>,
    /// How long the client may be silent in the middle of a body.
    pub(crate) body_idle: Duration,
}

impl Request {
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// Text of a header; empty when absent or not text.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Reads a JSON body that must be there.
    pub(crate) async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let bytes = self.json_body().await?;
        if bytes.is_empty() {
            return Err(Failure::bad_request("invalid JSON: got EOF while reading request body"));
        }
        parse_json(&bytes)
    }

    /// Reads a JSON body; none counts as the default.
    pub(crate) async fn json_or_default<T: DeserializeOwned + Default>(&mut self) -> Result<T, Failure> {
        let bytes = self.json_body().await?;
        if bytes.is_empty() { Ok(T::default()) } else { parse_json(&bytes) }
    }

    async fn json_body(&mut self) -> Result<Bytes, Failure> {
        let content_type = self.header(CONTENT_TYPE.as_str());
        let media = content_type.split(';').next().unwrap_or_default().trim();
        if !media.is_empty() && !media.eq_ignore_ascii_case("application/json") {
            return Err(Failure::bad_request(format!(
                "unsupported Content-Type header ({content_type}): must be 'application/json'"
            )));
        }
        read_limited(&mut self.body, self.body_idle).await
    }

    /// The body as it comes, e.g. an archive.
    pub(crate) fn into_reader(self) -> ByteReader {
        let stream = BodyDataStream::new(self.body).map(|item| item.map_err(std::io::Error::other));
        Box::pin(StreamReader::new(stream))
    }
}

/// Reads a whole body, within the limits of size and patience.
async fn read_limited(body: &mut RequestBody, idle: Duration) -> Result<Bytes, Failure> {
    let too_large = || {
        Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the request's body is larger than {MAX_JSON_BODY_BYTES} bytes"),
        )
    };
    if http_body::Body::size_hint(body).lower() > MAX_JSON_BODY_BYTES as u64 {
        return Err(too_large());
    }
    let mut bytes = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(idle, body.frame()).await.map_err(|_| {
            Failure::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("the rest of the request's body did not come within {idle:?}"),
            )
        })?;
        let Some(frame) = frame else { return Ok(bytes.freeze()) };
        let frame = frame.map_err(|error| Failure::bad_request(format!("the request's body broke off: {error}")))?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > MAX_JSON_BODY_BYTES {
                return Err(too_large());
            }
            bytes.extend_from_slice(&data);
        }
    }
}

/// Parses JSON; an error names the field. `null` is a request in which everything is left out, as in Go.
fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    let bytes = if bytes.trim_ascii() == b"null" { b"{}" } else { bytes };
    // A list would be read as the fields in their order.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Failure::bad_request("invalid JSON: a list where an object is expected"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        // Only what can be read as JSON has fields.
        if path == "." || !inner.is_data() {
            Failure::bad_request(format!("invalid JSON: {inner}"))
        } else {
            Failure::bad_request(format!("invalid JSON: field {path}: {inner}"))
        }
    })?;
    deserializer.end().map_err(|_| Failure::bad_request("unexpected content after JSON"))?;
    Ok(value)
}

/// The parameters behind `?`, decoded, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key, true).into_owned(), decode(value, true).into_owned())
        });
        Self(pairs.collect())
    }

    /// The first value; empty when absent.
    pub(crate) fn get(&self, key: &str) -> &str {
        self.0.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value)
    }

    /// All values of a repeated parameter.
    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Docker's loose truth: everything but nothing, `0`, `no`, `false` and `none`.
    pub(crate) fn flag(&self, key: &str) -> bool {
        let value = self.get(key).trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// Go's strict truth; absent is false.
    pub(crate) fn strict_flag(&self, key: &str) -> Result<bool, Failure> {
        match self.get(key) {
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            other => Err(Failure::bad_request(format!(
                "invalid value for {key}: {other}: strconv.ParseBool: parsing {other:?}: invalid syntax"
            ))),
        }
    }

    /// A version that must be there. `kind` is Docker's word; secrets and configs do not repeat the value.
    pub(crate) fn version(&self, kind: &str) -> Result<u64, Failure> {
        let text = self.get("version");
        text.parse().map_err(|_| {
            Failure::bad_request(match kind {
                "secret" | "config" => format!("invalid {kind} version"),
                _ => {
                    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                    let why = if digits { "value out of range" } else { "invalid syntax" };
                    format!("invalid {kind} version '{text}': strconv.ParseUint: parsing {text:?}: {why}")
                }
            })
        })
    }
}

/// Undoes percent-encoding; in queries `+` is a space. What is not valid stays as it is.
pub(crate) fn decode(text: &str, plus: bool) -> Cow<'_, str> {
    if !(text.contains('%') || plus && text.contains('+')) {
        return Cow::Borrowed(text);
    }
    let raw = text.as_bytes();
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        let hex = text.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (raw[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) if plus => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_and_damage_is_kept() {
        let query = Query::parse("a=1&b=x%20y+z&b=%7B%7D&c&d=100%&e=%ff%4");
        assert_eq!(query.get("a"), "1");
        assert_eq!(query.all("b").collect::<Vec<_>>(), ["x y z", "{}"]);
        assert!(!query.flag("c"));
        assert_eq!(query.get("d"), "100%");
        assert_eq!(query.get("e"), "\u{fffd}%4");
        assert!(query.flag("a") && query.strict_flag("a").unwrap());
        assert!(query.strict_flag("b").is_err());
    }

    #[test]
    fn json_errors_name_the_field() {
        let error = parse_json::<crate::json::ServiceSpec>(br#"{"Name":"x","TaskTemplate":{"ForceUpdate":"no"}}"#);
        let message = error.unwrap_err().message;
        assert!(message.contains("field TaskTemplate.ForceUpdate"), "{message}");
        let message = parse_json::<crate::json::ServiceSpec>(b"{} {}").unwrap_err().message;
        assert_eq!(message, "unexpected content after JSON");
        assert_eq!(parse_json::<crate::json::ServiceSpec>(b" null ").unwrap(), Default::default());
        assert!(parse_json::<crate::json::ServiceSpec>(b" []").unwrap_err().message.contains("a list where an object"));
        let spec = parse_json::<crate::json::ServiceSpec>(br#"{"Name":null,"Labels":null,"Unknown":[1]}"#).unwrap();
        assert_eq!(spec, Default::default());
    }
}
