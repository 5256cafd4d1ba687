//! A keep-alive HTTP/1.1 connection to one daemon's socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// The version that Docker 20.10 speaks.
const API: &str = "/v1.41";
/// Longest wait for any one answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);

/// One connection, opened when first used and again after it broke.
pub struct Client {
    socket: PathBuf,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    /// For a daemon's unix socket.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), connection: None }
    }

    /// The whole body of a successful answer; an error tells what the daemon said.
    pub async fn call(&mut self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Bytes> {
        let what = format!("{method} {path}");
        let (status, body) = tokio::time::timeout(ANSWER_PATIENCE, self.exchange(method, path, body))
            .await
            .with_context(|| format!("{what}: no answer"))?
            .with_context(|| what.clone())?;
        if !status.is_success() {
            bail!("{what}: {status}: {}", String::from_utf8_lossy(&body).trim());
        }
        Ok(body)
    }

    async fn exchange(&mut self, method: Method, path: &str, body: Bytes) -> anyhow::Result<(StatusCode, Bytes)> {
        // Taken out for the time of the exchange: one that is given up takes its connection with it.
        let mut connection = match self.connection.take().filter(|open| !open.is_closed()) {
            Some(open) => open,
            None => self.open().await?,
        };
        connection.ready().await?;
        let kind = if path.starts_with("/images") { "application/x-tar" } else { "application/json" };
        let request = Request::builder()
            .method(method)
            .uri(format!("{API}{path}"))
            .header("Host", "bench")
            .header("Content-Type", kind)
            .body(Full::new(body))?;
        let answer = connection.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        self.connection = Some(connection);
        Ok((status, body))
    }

    async fn open(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let stream = UnixStream::connect(&self.socket).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // A broken connection shows in the exchange that uses it.
        tokio::spawn(async move { connection.await.ok() });
        Ok(sender)
    }

    /// `GET`, as JSON.
    pub async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        let body = self.call(Method::GET, path, Bytes::new()).await?;
        serde_json::from_slice(&body).with_context(|| format!("GET {path}: not JSON"))
    }

    /// `POST` of JSON; the answer's body.
    pub async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Bytes> {
        self.call(Method::POST, path, Bytes::from(body.to_string())).await
    }
}
