//! The daemon: open what is on disk, serve until TERM, end in good order. Containers outlive it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use nix::fcntl::{Flock, FlockArg};
use skep_docker_api::{Api, Listener, Stream};
use skep_executor::images::{ImageOptions, ImageStore};
use skep_executor::{BridgeConfig, Runtime, RuntimeConfig};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::control::ControlPort;
use crate::engine::{EnginePort, local_networks};
use crate::host;
use crate::lazy_tls::LazyTls;
use crate::listen::{self, Opened};
use crate::plugins::Plugins;
use crate::swarm::{Deps, SwarmNode};

/// How long the API waits for the node's membership to be taken up.
const RESUME_PATIENCE: Duration = Duration::from_secs(5);
/// Random bytes of a daemon's stable id.
const ENGINE_ID_BYTES: usize = 16;

/// Runs until TERM or INT.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("watching for TERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("watching for INT")?;
    let _lock = lock(&config.data_root)?;
    let pidfile = config.pidfile.clone().map(PidFile::create).transpose()?;
    let clock = Clock::start();
    let runtime = open_runtime(&config).await?;
    let id = engine_id(&config.data_root, &clock)?;
    let networks = local_networks(&id, &bridge_config(&config)?, clock.now().wall);
    let deps = Deps {
        host: host::host_facts(&config, id),
        plugins: Plugins::new(config.plugin_dirs.clone()),
        config: config.clone(),
        clock,
        runtime: Arc::clone(&runtime),
    };
    let node = SwarmNode::new(deps);
    let upkeep = tokio::spawn({
        let (runtime, policy) = (Arc::clone(&runtime), config.upkeep);
        async move { runtime.keep_disk(policy).await }
    });
    let sockets = listen::open(&config).await?;
    let stop = CancellationToken::new();
    let api = Api::new(
        Arc::new(ControlPort::new(Arc::clone(&node))),
        Arc::new(EnginePort::new(runtime, networks)),
        Arc::new(crate::swarm::Shared(Arc::clone(&node))),
        stop.clone(),
    );
    // A membership that is taken up at once is there before the first request; one that is not must not hold it up.
    let resuming = tokio::spawn(Arc::clone(&node).resume());
    if tokio::time::timeout(RESUME_PATIENCE, resuming).await.is_err() {
        tracing::warn!("this node's membership is not resumed yet");
    }
    let servers: Vec<_> = sockets.into_iter().map(|socket| tokio::spawn(serve(socket, api.clone()))).collect();
    tracing::info!(version = host::VERSION, "API listens");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("ending; containers go on");
    upkeep.abort();
    stop.cancel();
    for server in servers {
        server.await.context("a server of the API failed")?;
    }
    node.stop().await;
    drop(pidfile);
    Ok(())
}

async fn serve(socket: Opened, api: Api) {
    match socket {
        Opened::Unix(listener, path) => {
            skep_docker_api::serve(listener, api).await;
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!("{} could not be removed: {error}", path.display());
            }
        }
        Opened::Tcp(listener, None) => {
            skep_docker_api::serve(listener, api.with_host_check(&host::hostname())).await;
        }
        Opened::Tcp(listener, Some(config)) => {
            let acceptor = tokio_rustls::TlsAcceptor::from(config);
            skep_docker_api::serve(TlsListener { listener, acceptor }, api).await;
        }
    }
}

struct TlsListener {
    listener: TcpListener,
    acceptor: tokio_rustls::TlsAcceptor,
}

#[async_trait]
impl Listener for TlsListener {
    async fn accept(&mut self) -> std::io::Result<Box<dyn Stream>> {
        let (stream, _) = self.listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(LazyTls::new(self.acceptor.accept(stream))))
    }
}

/// One daemon per data root.
fn lock(data_root: &Path) -> anyhow::Result<Flock<std::fs::File>> {
    skep_disk::create_private_dir(data_root)?;
    let path = data_root.join("lock");
    let file = std::fs::File::options().create(true).truncate(false).write(true).open(&path)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err(_) => bail!("--data-root: {} is in use by another daemon", data_root.display()),
    }
}

struct PidFile(PathBuf);

impl PidFile {
    fn create(path: PathBuf) -> anyhow::Result<Self> {
        if let Ok(text) = std::fs::read_to_string(&path)
            && let Ok(pid) = text.trim().parse::<u32>()
            && pid != std::process::id()
            && Path::new("/proc").join(pid.to_string()).exists()
        {
            bail!("--pidfile: {} names a process that runs: {pid}", path.display());
        }
        std::fs::write(&path, format!("{}\n", std::process::id()))
            .with_context(|| format!("--pidfile: writing {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!("{} could not be removed: {error}", self.0.display());
        }
    }
}

async fn open_runtime(config: &Config) -> anyhow::Result<Arc<Runtime>> {
    let options = ImageOptions { insecure_registries: config.insecure_registries.clone(), ..ImageOptions::default() };
    let images = ImageStore::open(&config.data_root.join("images"), options)?;
    let mut runtime = RuntimeConfig::new(config.data_root.clone(), config.exec_root.clone());
    runtime.cgroup_parent.clone_from(&config.cgroup_parent);
    runtime.bridge = bridge_config(config)?;
    Ok(Runtime::open(runtime, images).await?)
}

fn bridge_config(config: &Config) -> anyhow::Result<BridgeConfig> {
    config.bridge_subnet.as_deref().map_or_else(|| Ok(BridgeConfig::default()), bridge)
}

fn bridge(cidr: &str) -> anyhow::Result<BridgeConfig> {
    let parsed = cidr
        .split_once('/')
        .and_then(|(address, length)| Some((address.parse::<Ipv4Addr>().ok()?, length.parse::<u8>().ok()?)))
        .filter(|(_, length)| (16..=28).contains(length));
    let Some((address, prefix_length)) = parsed else {
        bail!("--bip: {cidr:?} is not an IPv4 subnet with a prefix of 16 to 28, like 172.30.0.0/24");
    };
    let mask = u32::MAX << (32 - prefix_length);
    let subnet = Ipv4Addr::from(u32::from(address) & mask);
    if subnet.octets()[0] == 10 {
        bail!("--bip: {cidr} lies in 10.0.0.0/8, where the swarm's networks get their subnets");
    }
    Ok(BridgeConfig { subnet, prefix_length, ..BridgeConfig::default() })
}

/// Made once, kept for good.
fn engine_id(data_root: &Path, clock: &Clock) -> anyhow::Result<String> {
    use rand_core::RngCore as _;
    let path = data_root.join("engine-id");
    if let Some(bytes) = skep_disk::read_file(&path)? {
        return Ok(String::from_utf8_lossy(&bytes).trim().to_owned());
    }
    let mut bytes = [0u8; ENGINE_ID_BYTES];
    clock.rng().fill_bytes(&mut bytes);
    let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    skep_disk::write_file(&path, id.as_bytes())?;
    Ok(id)
}
