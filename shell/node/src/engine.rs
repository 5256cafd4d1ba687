//! The HTTP API's `Engine`, answered by the embedded runtime: words are the model's on both sides.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use skep_docker_api as api;
use skep_executor::images::{self, ImageStore, ImageUse};
use skep_executor::{BridgeConfig, Runtime};
use skep_model::engine::{
    Container, ContainerState, ContainerStats, Digest, Distribution, ExecSpec, ExecState, Image, LogLine, LogQuery,
    PullProgress, RegistryAuth,
};
use skep_model::{Code, Refusal, WallTime};
use tokio::sync::mpsc;

/// Steps of a pull that may wait for the client.
const PULL_QUEUE: usize = 64;

/// This node's runtime as the API sees it.
pub struct EnginePort {
    runtime: Arc<Runtime>,
    networks: Vec<api::LocalNetwork>,
}

impl EnginePort {
    /// The API's view of a runtime.
    pub fn new(runtime: Arc<Runtime>, networks: Vec<api::LocalNetwork>) -> Self {
        Self { runtime, networks }
    }

    fn images(&self) -> &ImageStore {
        self.runtime.images()
    }

    fn uses(&self) -> Vec<ImageUse> {
        let containers = self.runtime.containers().into_iter();
        containers
            .map(|container| ImageUse {
                image_id: container.image_id,
                container_id: container.id,
                running: container.state == ContainerState::Running,
            })
            .collect()
    }
}

fn change(change: images::ImageChange) -> api::ImageChange {
    match change {
        images::ImageChange::Untagged(name) => api::ImageChange::Untagged(name),
        images::ImageChange::Deleted(digest) => api::ImageChange::Deleted(digest),
    }
}

#[async_trait]
impl api::Engine for EnginePort {
    async fn images(&self) -> Result<Vec<Image>, Refusal> {
        Ok(self.images().list())
    }

    async fn image(&self, reference: &str) -> Result<Image, Refusal> {
        Ok(self.images().get(reference)?)
    }

    async fn pull(
        &self,
        reference: &str,
        platform: Option<&str>,
        auth: Option<RegistryAuth>,
    ) -> Result<mpsc::Receiver<Result<PullProgress, Refusal>>, Refusal> {
        let (sender, receiver) = mpsc::channel(PULL_QUEUE);
        let (steps, mut told) = mpsc::channel(PULL_QUEUE);
        let store = self.images().clone();
        let (reference, platform) = (reference.to_owned(), platform.map(str::to_owned));
        tokio::spawn(async move {
            let forward = async {
                while let Some(step) = told.recv().await {
                    if sender.send(Ok(step)).await.is_err() {
                        // The client has gone; the pull goes on, as Docker's does not, because tasks may want it too.
                        while told.recv().await.is_some() {}
                    }
                }
            };
            let pull = store.pull(&reference, platform.as_deref(), auth.as_ref(), Some(steps));
            let (result, ()) = tokio::join!(pull, forward);
            if let Err(error) = result
                && sender.send(Err(error.into())).await.is_err()
            {
                tracing::debug!("nobody hears that the pull of {reference} failed");
            }
        });
        Ok(receiver)
    }

    async fn load(&self, archive: api::ByteReader) -> Result<Vec<String>, Refusal> {
        Ok(self.images().load(archive).await?)
    }

    async fn import(&self, archive: api::ByteReader, request: api::ImportRequest) -> Result<Digest, Refusal> {
        let api::ImportRequest { reference, changes, message, platform } = request;
        let request = images::ImportRequest { reference, changes, message, platform };
        Ok(self.images().import(archive, request).await?.id)
    }

    async fn tag(&self, source: &str, target: &str) -> Result<(), Refusal> {
        Ok(self.images().tag(source, target).await?)
    }

    async fn remove_image(&self, reference: &str, force: bool) -> Result<Vec<api::ImageChange>, Refusal> {
        let changes = self.images().remove(reference, force, self.uses()).await?;
        Ok(changes.into_iter().map(change).collect())
    }

    async fn prune_images(&self, request: api::PruneRequest) -> Result<api::PruneReport, Refusal> {
        let api::PruneRequest { dangling_only, until, labels, not_labels } = request;
        let request = images::PruneRequest { dangling_only, until, labels, not_labels };
        let report = self.images().prune(request, self.uses()).await?;
        let changes = report.changes.into_iter().map(change).collect();
        Ok(api::PruneReport { changes, reclaimed_bytes: report.reclaimed_bytes })
    }

    async fn check_credentials(&self, server: &str, auth: RegistryAuth) -> Result<(), Refusal> {
        Ok(self.images().check_credentials(server, &auth).await?)
    }

    async fn distribution(&self, reference: &str, auth: Option<RegistryAuth>) -> Result<Distribution, Refusal> {
        Ok(self.images().distribution(reference, auth.as_ref()).await?)
    }

    async fn containers(&self) -> Result<Vec<Container>, Refusal> {
        Ok(self.runtime.containers())
    }

    async fn container_logs(
        &self,
        id: &str,
        query: LogQuery,
    ) -> Result<mpsc::Receiver<Result<LogLine, Refusal>>, Refusal> {
        self.runtime.logs(id, query).await
    }

    async fn networks(&self) -> Result<Vec<api::LocalNetwork>, Refusal> {
        Ok(self.networks.clone())
    }

    async fn top(&self, id: &str, arguments: &str) -> Result<api::ProcessList, Refusal> {
        let table = self.runtime.top(id, arguments).await?;
        Ok(api::ProcessList { titles: table.titles, processes: table.processes })
    }

    async fn stats(&self, id: &str) -> Result<ContainerStats, Refusal> {
        self.runtime.stats(id).await
    }

    async fn stop(&self, id: &str, signal: Option<&str>, timeout: Option<Duration>) -> Result<(), Refusal> {
        self.runtime.stop(id, signal, timeout).await
    }

    async fn kill(&self, id: &str, signal: &str) -> Result<(), Refusal> {
        self.runtime.kill(id, signal).await
    }

    async fn create_exec(&self, spec: ExecSpec) -> Result<String, Refusal> {
        self.runtime.create_exec(spec).await
    }

    async fn start_exec(&self, exec_id: &str, detach: bool) -> Result<api::ExecStreams, Refusal> {
        let session = self.runtime.start_exec(exec_id, detach).await?;
        Ok(api::ExecStreams { input: session.input, output: session.output })
    }

    async fn exec(&self, exec_id: &str) -> Result<ExecState, Refusal> {
        self.runtime.exec(exec_id).await
    }

    async fn resize_exec(&self, exec_id: &str, rows: u16, columns: u16) -> Result<(), Refusal> {
        self.runtime.resize_exec(exec_id, rows, columns).await
    }
}

/// A node without a swarm has no leader to ask.
pub fn not_a_manager() -> Refusal {
    refusal_of(api::Standing::Inactive)
}

/// A node of a swarm that manages it no more, or never did.
pub fn a_worker() -> Refusal {
    refusal_of(api::Standing::Worker)
}

fn refusal_of(standing: api::Standing) -> Refusal {
    Refusal::new(Code::Unavailable, api::why_not_a_manager(standing).unwrap_or_default())
}

/// Docker's three networks of every node: the bridge, the host's own, and none. Ids of one host are told apart by
/// their first digit, and differ from host to host as `engine_id` does.
pub fn local_networks(engine_id: &str, bridge: &BridgeConfig, created_at: WallTime) -> Vec<api::LocalNetwork> {
    let address = u32::from(bridge.subnet);
    let subnet = format!("{}/{}", bridge.subnet, bridge.prefix_length);
    let gateway = Ipv4Addr::from(address + 1).to_string();
    let digits: String = engine_id.chars().filter(char::is_ascii_hexdigit).cycle().take(63).collect();
    [
        ("bridge", "bridge", subnet, gateway),
        ("host", "host", String::new(), String::new()),
        ("none", "null", String::new(), String::new()),
    ]
    .into_iter()
    .enumerate()
    .map(|(number, (name, driver, subnet, gateway))| api::LocalNetwork {
        id: format!("{number}{digits}"),
        name: name.to_owned(),
        driver: driver.to_owned(),
        subnet,
        gateway,
        created_at,
    })
    .collect()
}
