//! What the API asks of this node's own runtime: images, containers, processes in them.

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use skep_model::engine::{
    Container, ContainerStats, Digest, Distribution, ExecSpec, ExecState, Image, LogLine, LogQuery, LogStream,
    PullProgress, RegistryAuth,
};
use skep_model::{Refusal, WallTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// Bytes that a client sends, e.g. an archive.
pub type ByteReader = Pin<Box<dyn AsyncRead + Send>>;

/// This node's images and containers. Containers are named by their full id: the API has resolved names and prefixes.
/// Images are named as the user did (`busybox`, `busybox:1.36`, an id or its prefix, `name@sha256:…`).
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// All images.
    async fn images(&self) -> Result<Vec<Image>, Refusal>;
    /// One image; refuses with `No such image: <reference>`.
    async fn image(&self, reference: &str) -> Result<Image, Refusal>;
    /// Fetches an image. Progress ends when the image is there, or with the reason why not as the last item.
    async fn pull(
        &self,
        reference: &str,
        platform: Option<&str>,
        auth: Option<RegistryAuth>,
    ) -> Result<mpsc::Receiver<Result<PullProgress, Refusal>>, Refusal>;
    /// Reads an archive of images (`docker save`, OCI layout), compressed or not; returns what it held, by name or id.
    async fn load(&self, archive: ByteReader) -> Result<Vec<String>, Refusal>;
    /// Makes an image of one layer from a root file system archive; returns its id.
    async fn import(&self, archive: ByteReader, request: ImportRequest) -> Result<Digest, Refusal>;
    /// Gives an image another name.
    async fn tag(&self, source: &str, target: &str) -> Result<(), Refusal>;
    /// Takes a name away, and the image with its last name.
    async fn remove_image(&self, reference: &str, force: bool) -> Result<Vec<ImageChange>, Refusal>;
    /// Removes images that nothing uses.
    async fn prune_images(&self, request: PruneRequest) -> Result<PruneReport, Refusal>;
    /// Asks the registry what a reference stands for now.
    async fn distribution(&self, reference: &str, auth: Option<RegistryAuth>) -> Result<Distribution, Refusal>;
    /// Shows credentials to a registry (`docker login`); `server` is a host, or a URL of one, empty for Docker Hub.
    async fn check_credentials(&self, server: &str, auth: RegistryAuth) -> Result<(), Refusal>;

    /// All containers, ended ones included.
    async fn containers(&self) -> Result<Vec<Container>, Refusal>;
    /// Output of a container. Ends with the container (when following), or with an error as the last item.
    async fn container_logs(
        &self,
        id: &str,
        query: LogQuery,
    ) -> Result<mpsc::Receiver<Result<LogLine, Refusal>>, Refusal>;
    /// Its processes, as `ps <arguments>` shows them.
    async fn top(&self, id: &str, arguments: &str) -> Result<ProcessList, Refusal>;
    /// One reading of its resources.
    async fn stats(&self, id: &str) -> Result<ContainerStats, Refusal>;
    /// Stops it: its stop signal (or `signal`), then KILL after `timeout` (or its own grace period).
    async fn stop(&self, id: &str, signal: Option<&str>, timeout: Option<Duration>) -> Result<(), Refusal>;
    /// Sends a signal, by name (`SIGTERM`, `TERM`) or number.
    async fn kill(&self, id: &str, signal: &str) -> Result<(), Refusal>;

    /// Networks of this node alone. Without an implementation there are none.
    async fn networks(&self) -> Result<Vec<LocalNetwork>, Refusal> {
        Ok(Vec::new())
    }

    /// Prepares a further process; returns its id (64 hexadecimal digits).
    async fn create_exec(&self, spec: ExecSpec) -> Result<String, Refusal>;
    /// Starts it with its streams attached.
    async fn start_exec(&self, exec_id: &str, detach: bool) -> Result<ExecStreams, Refusal>;
    /// How it stands.
    async fn exec(&self, exec_id: &str) -> Result<ExecState, Refusal>;
    /// Changes the size of its terminal, in characters.
    async fn resize_exec(&self, exec_id: &str, rows: u16, columns: u16) -> Result<(), Refusal>;
}

/// The streams of a started process.
pub struct ExecStreams {
    /// Its standard input; `None` when it was not asked for. Dropping it closes the input.
    pub input: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    /// Its output; ends when the process has ended and all was read. With a terminal everything is `Stdout`.
    pub output: mpsc::Receiver<(LogStream, Bytes)>,
}

/// `POST /images/create?fromSrc=-`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportRequest {
    /// `name:tag` to give it; empty for none.
    pub reference: String,
    /// Dockerfile instructions, e.g. `CMD ["/app"]`.
    pub changes: Vec<String>,
    /// Comment.
    pub message: String,
    /// `os/architecture`; empty for the host's.
    pub platform: String,
}

/// What became of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageChange {
    /// This name was taken away.
    Untagged(String),
    /// This content was removed.
    Deleted(Digest),
}

/// Which unused images to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PruneRequest {
    /// Only those without a name.
    pub dangling_only: bool,
    /// Only those made before.
    pub until: Option<WallTime>,
    /// `key` or `key=value` that must be there.
    pub labels: Vec<String>,
    /// `key` or `key=value` that must not be there.
    pub not_labels: Vec<String>,
}

/// What pruning removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// What became of which image.
    pub changes: Vec<ImageChange>,
    /// Space won.
    pub reclaimed_bytes: u64,
}

/// Processes of a container as a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessList {
    /// Column heads.
    pub titles: Vec<String>,
    /// Rows.
    pub processes: Vec<Vec<String>>,
}

/// A network of this node alone, e.g. the runtime's bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct LocalNetwork {
    /// 64 hexadecimal digits.
    pub id: String,
    pub name: String,
    /// `bridge`, `host` or `null`.
    pub driver: String,
    /// CIDR; empty for none.
    pub subnet: String,
    /// Address without prefix length; empty for none.
    pub gateway: String,
    pub created_at: WallTime,
}
