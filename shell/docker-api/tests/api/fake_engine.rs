//! A pretended runtime: one container that echoes, one image.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use skep_docker_api::{
    ByteReader, Engine, ExecStreams, ImageChange, ImportRequest, LocalNetwork, ProcessList, PruneReport, PruneRequest,
};
use skep_model::engine::*;
use skep_model::{Code, NodeId, Refusal, ServiceId, TaskId, WallTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

pub const CONTAINER: &str = "c0ffee00000000000000000000000000000000000000000000000000000000aa";
pub const EXEC: &str = "e0000000000000000000000000000000000000000000000000000000000000ee";
pub const DIGEST: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";

#[derive(Default)]
pub struct FakeEngine {
    pub exec: Mutex<Option<ExecSpec>>,
    pub calls: Mutex<Vec<String>>,
    pub auth: Mutex<Option<RegistryAuth>>,
    pub archive: Mutex<Vec<u8>>,
    pub import: Mutex<Option<ImportRequest>>,
}

impl FakeEngine {
    fn note(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }
}

pub fn container() -> Container {
    Container {
        id: CONTAINER.to_owned(),
        name: "web.1.task1".to_owned(),
        image: "busybox:latest".to_owned(),
        image_id: DIGEST.to_owned(),
        origin: Some(TaskOrigin {
            task_id: TaskId::new("task1").unwrap(),
            task_name: "web.1.task1".to_owned(),
            service_id: Some(ServiceId::new("service1").unwrap()),
            service_name: "web".to_owned(),
            node_id: NodeId::new("node1").unwrap(),
        }),
        command: vec!["sleep".to_owned(), "1d".to_owned()],
        created_at: WallTime(1_700_000_000_000_000_000),
        started_at: Some(WallTime(1_700_000_001_000_000_000)),
        state: ContainerState::Running,
        pid: 42,
        ports: vec![PublishedPort { container_port: 80, host_port: 8080, protocol: "tcp".to_owned() }],
        ..Default::default()
    }
}

#[async_trait]
impl Engine for FakeEngine {
    async fn images(&self) -> Result<Vec<Image>, Refusal> {
        Ok(vec![Image {
            id: DIGEST.to_owned(),
            repo_tags: vec!["busybox:latest".to_owned()],
            size_bytes: 1234,
            architecture: "amd64".to_owned(),
            os: "linux".to_owned(),
            config: ImageConfig { exposed_ports: vec!["80/tcp".to_owned()], ..Default::default() },
            ..Default::default()
        }])
    }

    async fn image(&self, reference: &str) -> Result<Image, Refusal> {
        match self.images().await?.into_iter().find(|image| image.repo_tags[0].starts_with(reference)) {
            Some(image) => Ok(image),
            None => Err(Refusal::new(Code::NotFound, format!("No such image: {reference}"))),
        }
    }

    async fn pull(
        &self,
        reference: &str,
        platform: Option<&str>,
        auth: Option<RegistryAuth>,
    ) -> Result<mpsc::Receiver<Result<PullProgress, Refusal>>, Refusal> {
        self.note(format!("pull {reference} {platform:?}"));
        *self.auth.lock().unwrap() = auth;
        let (sender, receiver) = mpsc::channel(8);
        let missing = reference.starts_with("missing");
        let step =
            PullProgress { id: "abc".to_owned(), status: "Downloading".to_owned(), current_bytes: 5, total_bytes: 10 };
        tokio::spawn(async move {
            if !missing {
                sender.send(Ok(step)).await.unwrap();
            }
            // The client may be gone already.
            let _ = sender.send(Err(Refusal::new(Code::NotFound, "manifest unknown"))).await;
        });
        Ok(receiver)
    }

    async fn load(&self, mut archive: ByteReader) -> Result<Vec<String>, Refusal> {
        let mut bytes = Vec::new();
        archive.read_to_end(&mut bytes).await.map_err(|error| Refusal::invalid(error.to_string()))?;
        *self.archive.lock().unwrap() = bytes;
        Ok(vec!["web:1".to_owned(), DIGEST.to_owned()])
    }

    async fn import(&self, archive: ByteReader, request: ImportRequest) -> Result<Digest, Refusal> {
        self.load(archive).await?;
        *self.import.lock().unwrap() = Some(request);
        Ok(DIGEST.to_owned())
    }

    async fn tag(&self, source: &str, target: &str) -> Result<(), Refusal> {
        self.note(format!("tag {source} {target}"));
        Ok(())
    }

    async fn remove_image(&self, reference: &str, force: bool) -> Result<Vec<ImageChange>, Refusal> {
        self.note(format!("remove {reference} {force}"));
        Ok(vec![ImageChange::Untagged(reference.to_owned()), ImageChange::Deleted(DIGEST.to_owned())])
    }

    async fn prune_images(&self, request: PruneRequest) -> Result<PruneReport, Refusal> {
        self.note(format!("prune {}", request.dangling_only));
        Ok(PruneReport { changes: Vec::new(), reclaimed_bytes: 7 })
    }

    async fn check_credentials(&self, server: &str, auth: RegistryAuth) -> Result<(), Refusal> {
        self.note(format!("login {server}"));
        let right = auth.password == "secret";
        *self.auth.lock().unwrap() = Some(auth);
        right.then_some(()).ok_or_else(|| Refusal::new(Code::Unauthenticated, "unauthorized"))
    }

    async fn distribution(&self, reference: &str, auth: Option<RegistryAuth>) -> Result<Distribution, Refusal> {
        self.note(format!("distribution {reference}"));
        *self.auth.lock().unwrap() = auth;
        if reference.starts_with("missing") {
            return Err(Refusal::new(Code::NotFound, "manifest unknown"));
        }
        Ok(Distribution {
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            digest: DIGEST.to_owned(),
            size_bytes: 99,
            platforms: vec![("amd64".to_owned(), "linux".to_owned(), String::new())],
        })
    }

    async fn containers(&self) -> Result<Vec<Container>, Refusal> {
        Ok(vec![container()])
    }

    async fn container_logs(
        &self,
        id: &str,
        query: LogQuery,
    ) -> Result<mpsc::Receiver<Result<LogLine, Refusal>>, Refusal> {
        self.note(format!("logs {id} {:?}", query.tail));
        let (sender, receiver) = mpsc::channel(8);
        let line = LogLine {
            stream: LogStream::Stderr,
            at: WallTime(5),
            data: Bytes::from_static(b"oh\n"),
            attributes: [("tag".to_owned(), "a b".to_owned())].into(),
        };
        tokio::spawn(async move {
            sender.send(Ok(line)).await.unwrap();
            if query.follow {
                sender.closed().await;
            }
        });
        Ok(receiver)
    }

    async fn top(&self, _id: &str, arguments: &str) -> Result<ProcessList, Refusal> {
        Ok(ProcessList {
            titles: vec!["PID".to_owned(), "CMD".to_owned()],
            processes: vec![vec!["42".to_owned(), format!("sleep {arguments}")]],
        })
    }

    async fn stats(&self, _id: &str) -> Result<ContainerStats, Refusal> {
        Ok(ContainerStats { memory_usage_bytes: 1000, pids: 1, ..Default::default() })
    }

    async fn stop(&self, id: &str, signal: Option<&str>, timeout: Option<Duration>) -> Result<(), Refusal> {
        self.note(format!("stop {id} {signal:?} {timeout:?}"));
        Ok(())
    }

    async fn kill(&self, id: &str, signal: &str) -> Result<(), Refusal> {
        self.note(format!("kill {id} {signal}"));
        Ok(())
    }

    async fn networks(&self) -> Result<Vec<LocalNetwork>, Refusal> {
        let network = |name: &str, id: &str| LocalNetwork {
            id: id.repeat(64),
            name: name.to_owned(),
            driver: "bridge".to_owned(),
            subnet: "172.30.0.0/16".to_owned(),
            gateway: "172.30.0.1".to_owned(),
            created_at: WallTime(0),
        };
        Ok(vec![network("bridge", "b"), network("mine", "c")])
    }

    async fn create_exec(&self, spec: ExecSpec) -> Result<String, Refusal> {
        *self.exec.lock().unwrap() = Some(spec);
        Ok(EXEC.to_owned())
    }

    async fn start_exec(&self, exec_id: &str, detach: bool) -> Result<ExecStreams, Refusal> {
        self.exec(exec_id).await?;
        self.note(format!("start {detach}"));
        let (input, mut from_client) = tokio::io::duplex(1024);
        let (sender, output) = mpsc::channel(8);
        tokio::spawn(async move {
            let greeting = (LogStream::Stderr, Bytes::from_static(b"ready\n"));
            if sender.send(greeting).await.is_err() {
                return;
            }
            let mut buffer = [0; 256];
            while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
                let echo = (LogStream::Stdout, Bytes::copy_from_slice(&buffer[..length]));
                if sender.send(echo).await.is_err() {
                    return;
                }
            }
            // The client may be gone already.
            let _ = sender.send((LogStream::Stdout, Bytes::from_static(b"bye\n"))).await;
            let _ = from_client.shutdown().await;
        });
        Ok(ExecStreams { input: Some(Box::pin(input)), output })
    }

    async fn exec(&self, exec_id: &str) -> Result<ExecState, Refusal> {
        let spec = self.exec.lock().unwrap().clone().filter(|_| exec_id == EXEC);
        let spec = spec.ok_or_else(|| Refusal::new(Code::NotFound, format!("No such exec instance: {exec_id}")))?;
        Ok(ExecState { id: EXEC.to_owned(), spec, running: false, pid: 7, exit_code: Some(3) })
    }

    async fn resize_exec(&self, exec_id: &str, rows: u16, columns: u16) -> Result<(), Refusal> {
        self.exec(exec_id).await?;
        self.note(format!("resize {rows} {columns}"));
        Ok(())
    }
}
