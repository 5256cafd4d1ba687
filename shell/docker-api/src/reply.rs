//! Answers: JSON, nothing, errors, streams.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use serde::Serialize;

use crate::half_close::Endless;
use crate::status::Failure;

/// The body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;
/// An answer.
pub(crate) type Reply = Response<Body>;
/// What every route returns.
pub(crate) type Answer = Result<Reply, Failure>;

/// Told to clients when the answer was read without a leader.
const STALE: &str = "skep-stale";

/// What most answers fit into: one allocation.
const JSON_CAPACITY: usize = 4096;

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// An answer with nothing in it.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(full(Bytes::new()));
    *reply.status_mut() = status;
    reply
}

/// JSON that is already written.
pub(crate) fn json_bytes(status: StatusCode, bytes: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(full(bytes));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// Anything as JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let mut bytes = Vec::with_capacity(JSON_CAPACITY);
    write_json(&mut bytes, value)?;
    // Go's encoder ends with a new line.
    bytes.push(b'\n');
    Ok(json_bytes(status, bytes))
}

/// Appends JSON to a buffer.
pub(crate) fn write_json(bytes: &mut Vec<u8>, value: &impl Serialize) -> Result<(), Failure> {
    serde_json::to_writer(bytes, value)
        .map_err(|error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the answer has no JSON: {error}")))
}

/// 200 with JSON.
pub(crate) fn ok(value: &impl Serialize) -> Answer {
    json(StatusCode::OK, value)
}

/// Marks an answer that may be out of date.
pub(crate) fn stale(mut reply: Reply, stale: bool) -> Reply {
    if stale {
        reply.headers_mut().insert(STALE, HeaderValue::from_static("true"));
    }
    reply
}

/// The error as Docker writes it.
pub(crate) fn failure(failure: &Failure) -> Reply {
    let body = serde_json::json!({ "message": failure.message }).to_string();
    json_bytes(failure.status, body.into_bytes())
}

/// JSON that is written while it is sent; an error breaks the answer off.
pub(crate) fn json_parts<S>(parts: S) -> Reply
where
    S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
{
    let mut reply = Response::new(BodyExt::boxed_unsync(StreamBody::new(parts.map(|part| part.map(Frame::data)))));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// A body that goes on until its source ends, or the client closes its side.
pub(crate) fn stream<S>(content_type: &'static str, source: S) -> Reply
where
    S: Stream<Item = Bytes> + Send + 'static,
{
    let frames = source.map(|bytes| Ok(Frame::data(bytes)));
    let mut reply = Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply.extensions_mut().insert(Endless);
    reply
}
