//! The Engine API over HTTP/1.1: one connection a request, on a unix socket, TCP or TLS.
//!
//! It must never know what a command shows. Start reading at `Client::send`.

mod connect;
mod filters;
mod stream;

use std::cell::RefCell;

use bytes::Bytes;
use futures::TryStreamExt;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;

pub use filters::Filters;
pub use stream::{Channel, Demultiplexer, JsonStream, Pieces};

use crate::arguments::{Endpoint, Target};
use crate::failure::Failure;
use crate::value::Value;

/// The newest version of the API that this client speaks.
pub const MAX_API_VERSION: &str = "1.51";
/// What a daemon that names no version speaks.
const FALLBACK_API_VERSION: &str = "1.24";
/// Largest answer that is read into memory.
const MAX_ANSWER_BYTES: usize = 1 << 30;

type Body = BoxBody<Bytes, std::io::Error>;

/// A connection to a daemon.
pub struct Client {
    target: Target,
    version: RefCell<Option<String>>,
}

/// Names and values after `?`.
pub type Query<'a> = &'a [(&'a str, String)];

/// What a request carries.
pub enum Payload {
    Nothing,
    Json(Value),
    /// An archive, as it is read.
    Stream(Box<dyn AsyncRead + Send + Sync + Unpin>),
}

impl Client {
    /// Prepares; nothing is sent yet.
    pub fn new(target: Target) -> Result<Self, Failure> {
        let version = target.api_version.clone().map(|version| version.trim_start_matches('v').to_owned());
        Ok(Self { target, version: RefCell::new(version) })
    }

    /// GET, as JSON.
    pub async fn get(&self, path: &str, query: Query<'_>) -> Result<Value, Failure> {
        Value::parse(&self.get_raw(path, query).await?)
    }

    /// GET, as it came.
    pub async fn get_raw(&self, path: &str, query: Query<'_>) -> Result<Bytes, Failure> {
        collect(self.send(Method::GET, path, query, &[], Payload::Nothing).await?).await
    }

    /// GET, read piece by piece.
    pub async fn get_stream(&self, path: &str, query: Query<'_>) -> Result<Pieces, Failure> {
        Ok(Pieces::new(self.send(Method::GET, path, query, &[], Payload::Nothing).await?))
    }

    /// POST; the answer's JSON, or `Null` when it is empty.
    pub async fn post(&self, path: &str, query: Query<'_>, payload: Payload) -> Result<Value, Failure> {
        self.post_with(path, query, &[], payload).await
    }

    /// POST with headers.
    pub async fn post_with(
        &self,
        path: &str,
        query: Query<'_>,
        headers: &[(&'static str, String)],
        payload: Payload,
    ) -> Result<Value, Failure> {
        let bytes = collect(self.send(Method::POST, path, query, headers, payload).await?).await?;
        if bytes.is_empty() { Ok(Value::Null) } else { Value::parse(&bytes) }
    }

    /// DELETE; the answer's JSON, or `Null` when it is empty.
    pub async fn delete(&self, path: &str, query: Query<'_>) -> Result<Value, Failure> {
        let bytes = collect(self.send(Method::DELETE, path, query, &[], Payload::Nothing).await?).await?;
        if bytes.is_empty() { Ok(Value::Null) } else { Value::parse(&bytes) }
    }

    /// Sends one request; an answer that says no becomes a failure.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        query: Query<'_>,
        headers: &[(&'static str, String)],
        payload: Payload,
    ) -> Result<Response<Incoming>, Failure> {
        let version = self.negotiated().await?;
        let mut request = self.request(method, &format!("/v{version}{path}"), query, payload)?;
        for (name, value) in headers {
            let value = value
                .parse()
                .map_err(|_| Failure::new(format!("the header {name} has a value that HTTP cannot carry")))?;
            request.headers_mut().insert(HeaderName::from_static(name), value);
        }
        refuse_errors(self.exchange(request).await?).await
    }

    /// Starts a process's streams: after the answer, the connection belongs to them.
    pub async fn hijack(&self, path: &str, payload: Value) -> Result<TokioIo<Upgraded>, Failure> {
        let version = self.negotiated().await?;
        let mut request = self.request(Method::POST, &format!("/v{version}{path}"), &[], Payload::Json(payload))?;
        request.headers_mut().insert(CONNECTION, "Upgrade".parse().map_err(|_| Failure::new("header"))?);
        request.headers_mut().insert(UPGRADE, "tcp".parse().map_err(|_| Failure::new("header"))?);
        let answer = refuse_errors(self.exchange(request).await?).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Failure::new(format!("unable to upgrade to tcp, received {}", answer.status().as_u16())));
        }
        let upgraded = hyper::upgrade::on(answer).await;
        upgraded
            .map(TokioIo::new)
            .map_err(|error| Failure::new(format!("the connection could not be taken over: {error}")))
    }

    /// The version that both speak, asked for once.
    pub async fn negotiated(&self) -> Result<String, Failure> {
        if let Some(version) = self.version.borrow().clone() {
            return Ok(version);
        }
        let answer = self.exchange(self.request(Method::GET, "/_ping", &[], Payload::Nothing)?).await?;
        let offered = answer.headers().get("api-version").and_then(|value| value.to_str().ok());
        let offered = offered.unwrap_or(FALLBACK_API_VERSION);
        let version = if older(offered, MAX_API_VERSION) { offered } else { MAX_API_VERSION }.to_owned();
        *self.version.borrow_mut() = Some(version.clone());
        Ok(version)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        query: Query<'_>,
        payload: Payload,
    ) -> Result<Request<Body>, Failure> {
        let host = match &self.target.endpoint {
            Endpoint::Unix(_) => "skep".to_owned(),
            Endpoint::Tcp { host, port } => format!("{host}:{port}"),
        };
        let mut uri = path.to_owned();
        for (index, (name, value)) in query.iter().enumerate() {
            uri.push(if index == 0 { '?' } else { '&' });
            uri.push_str(&format!("{name}={}", escape(value)));
        }
        let builder = Request::builder().method(method).uri(uri).header(HOST, host);
        let (kind, body) = match payload {
            Payload::Nothing => (None, Full::default().map_err(never).boxed()),
            Payload::Json(value) => {
                (Some("application/json"), Full::from(Bytes::from(value.to_json())).map_err(never).boxed())
            }
            Payload::Stream(reader) => {
                let frames = tokio_util::io::ReaderStream::with_capacity(reader, 128 << 10).map_ok(Frame::data);
                (Some("application/x-tar"), StreamBody::new(frames).boxed())
            }
        };
        let builder = if let Some(kind) = kind { builder.header(CONTENT_TYPE, kind) } else { builder };
        builder.body(body).map_err(|error| Failure::new(format!("bad request: {error}")))
    }

    async fn exchange(&self, request: Request<Body>) -> Result<Response<Incoming>, Failure> {
        let stream = connect::open(&self.target).await?;
        let broken = |error: hyper::Error| Failure::new(format!("error during connect: {}: {error}", self.target.url));
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(async move {
            // What goes wrong here is seen by whoever reads the answer.
            let _ = connection.with_upgrades().await;
        });
        sender.send_request(request).await.map_err(broken)
    }
}

fn never(impossible: std::convert::Infallible) -> std::io::Error {
    match impossible {}
}

async fn refuse_errors(answer: Response<Incoming>) -> Result<Response<Incoming>, Failure> {
    let status = answer.status();
    if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS || status == StatusCode::NOT_MODIFIED {
        return Ok(answer);
    }
    let body = collect(answer).await?;
    let message = serde_json::from_slice::<Value>(&body).ok().map(|value| value.text("message").to_owned());
    let message = match message.filter(|message| !message.is_empty()) {
        Some(message) => message,
        None if body.is_empty() => format!("{status}"),
        None => String::from_utf8_lossy(&body).trim().to_owned(),
    };
    Err(Failure::from_daemon(status.as_u16(), &message))
}

async fn collect(answer: Response<Incoming>) -> Result<Bytes, Failure> {
    let limited = http_body_util::Limited::new(answer.into_body(), MAX_ANSWER_BYTES);
    let collected = limited.collect().await.map_err(|error| Failure::new(format!("reading the answer: {error}")))?;
    Ok(collected.to_bytes())
}

/// Everything but letters, digits and a few marks as `%XX`.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

/// Names of images keep their slashes, tags and digests in a path.
pub fn escape_path(text: &str) -> String {
    escape(text).replace("%2F", "/").replace("%3A", ":").replace("%40", "@")
}

fn older(left: &str, right: &str) -> bool {
    let parts = |version: &str| -> Vec<u32> { version.split('.').map(|part| part.parse().unwrap_or(0)).collect() };
    parts(left) < parts(right)
}

/// Whether an API version is at least another.
pub fn at_least(version: &str, wanted: &str) -> bool {
    !older(version, wanted)
}
