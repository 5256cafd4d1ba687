//! The controller of one task.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rand_core::{OsRng, TryRngCore};
use serde::Deserialize;
use skep_model::engine::{Health, HealthCheck, Image, RegistryAuth};
use skep_model::labels::signal_number;
use skep_model::pb::objects::NetworkAttachment;
use skep_model::pb::types::{ContainerSpec, ContainerStatus, HealthConfig, PortConfig, PortStatus, mount};
use skep_model::template::{self, Facts};
use skep_model::time::duration;
use skep_model::{Code, Refusal, defaults};

use super::container::ContainerHandle;
use super::files;
use super::health::UNHEALTHY;
use super::launch::launch;
use super::log_options;
use super::ports;
use super::record::{NetworkMode, Probe, RECORD_VERSION, Record};
use super::serving;
use super::settings::Settings;
use super::shared::{Shared, held};
use super::volumes;
use crate::controller::{Controller, TaskOrder, TaskReport};
use crate::error::{ControllerError, RuntimeError};
use crate::shim::now_nanos;
use crate::spec::{check, command, container as container_spec, environment, plan};

/// Characters of the id that are the host name where the spec gives none.
const HOSTNAME_LENGTH: usize = 12;

/// The embedded runtime's controller.
pub struct TaskController {
    shared: Arc<Shared>,
    order: Mutex<TaskOrder>,
    container: Mutex<Option<Arc<ContainerHandle>>>,
}

impl TaskController {
    /// For a task, with the container that it has already.
    pub fn new(shared: Arc<Shared>, order: TaskOrder) -> Self {
        let container = shared.container_of(&order.task.id);
        Self { shared, order: Mutex::new(order), container: Mutex::new(container) }
    }

    /// As it was last told.
    pub fn order(&self) -> TaskOrder {
        held(&self.order).clone()
    }

    fn known(&self) -> Option<Arc<ContainerHandle>> {
        held(&self.container).clone()
    }

    fn container(&self) -> Result<Arc<ContainerHandle>, ControllerError> {
        self.known().ok_or_else(|| ControllerError::NotPrepared { task_id: self.order().task.id.to_string() })
    }

    fn create(&self, order: &TaskOrder, image: &Image) -> Result<Arc<ContainerHandle>, ControllerError> {
        let record = record(&self.shared, order, image)?;
        let directory = self.shared.directory(&record.id);
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
        builder.create(&directory).map_err(RuntimeError::file("create", &directory))?;
        record.save(&directory)?;
        let run_directory = self.shared.run_directory(&record.id);
        let container = ContainerHandle::new(record, directory, run_directory);
        held(&self.shared.containers).insert(container.id.clone(), Arc::clone(&container));
        *held(&self.container) = Some(Arc::clone(&container));
        self.shared.announce("create", &container);
        Ok(container)
    }

    /// What the end of a container means for its task.
    fn outcome(container: &ContainerHandle) -> Result<(), ControllerError> {
        let live = container.now();
        let status = live.status.unwrap_or_default();
        let code = status.exit_code.unwrap_or(0);
        // A child that ran out of memory does not make a good end bad.
        let out_of_memory = (status.oom_killed && code != 0).then(|| "out of memory".to_owned());
        let cause = live.cause.or(status.error).or(out_of_memory);
        match (code, cause) {
            (0, None) => Ok(()),
            (code, cause) => Err(ControllerError::Exit { code, cause }),
        }
    }

    /// Waits for the end, or for bad health; an unhealthy container is stopped.
    async fn ended_or_unhealthy(&self, container: &Arc<ContainerHandle>) -> Result<(), ControllerError> {
        let mut watch = container.watch();
        let stopped = RuntimeError::Stopped { thread: "container" };
        let unhealthy = {
            let bad =
                |live: &super::container::Live| live.exit_code().is_some() || live.health == Some(Health::Unhealthy);
            let live = watch.wait_for(bad).await.map_err(|_| stopped)?;
            live.exit_code().is_none()
        };
        if unhealthy {
            container.update(|live| live.cause = Some(UNHEALTHY.to_owned()));
            let record = container.record();
            serving::stop(&self.shared, container, record.stop_signal, record.stop_grace).await?;
        }
        Self::outcome(container)
    }
}

#[async_trait]
impl Controller for TaskController {
    async fn update(&self, order: TaskOrder) -> Result<(), ControllerError> {
        *held(&self.order) = order.clone();
        let Some(container) = self.known() else { return Ok(()) };
        let _turn = container.verbs.lock().await;
        if !container.now().is_running() {
            return Ok(());
        }
        let spec = container_spec(&order.task.spec)?;
        for signal in files::rewrite(&container.run_directory, spec, &order)? {
            container.signal(signal).await?;
        }
        Ok(())
    }

    async fn prepare(&self) -> Result<(), ControllerError> {
        if self.known().is_some() {
            return Ok(());
        }
        let order = self.order();
        let network = network_mode(&order)?;
        let spec = check(&order.task.spec, self.shared.host, network == NetworkMode::Host)?;
        ports::of_mesh(&order.task, &network)?;
        sources(&order)?;
        log_options::check(log_options::driver(&order.task))?;
        let given = spec.pull_options.as_ref().map_or("", |options| &options.registry_auth);
        let auth = registry_auth(given)?;
        let found = self.shared.images.resolve_or_pull(&spec.image, auth.as_ref(), None).await;
        let failed = |reason: String| ControllerError::Image { reference: spec.image.clone(), reason };
        let image = found.map_err(|error| failed(skep_model::with_causes(&error)))?;
        self.create(&order, &image)?;
        Ok(())
    }

    async fn start(&self) -> Result<(), ControllerError> {
        let container = self.container()?;
        let (shared, order) = (Arc::clone(&self.shared), self.order());
        let turn = Arc::clone(&container.verbs).lock_owned().await;
        let live = container.now();
        if live.status.is_none() {
            // In a task of its own: a start that nobody waits for any more is finished all the same, so that what
            // stops or removes the container afterwards finds it in a known state.
            let handle = Arc::clone(&container);
            let starting = tokio::spawn(async move {
                let _turn = turn;
                launch(&shared, &handle, &order).await
            });
            starting.await.map_err(|_| RuntimeError::Stopped { thread: "start" })??;
        } else {
            drop(turn);
        }
        if container.record().probe.is_none() {
            return serving::begin(&self.shared, &container).await;
        }
        let mut watch = container.watch();
        let settled = |live: &super::container::Live| {
            live.exit_code().is_some() || matches!(live.health, Some(Health::Healthy | Health::Unhealthy))
        };
        let live = watch.wait_for(settled).await.map_err(|_| RuntimeError::Stopped { thread: "container" })?.clone();
        match (live.exit_code(), live.health) {
            (None, Some(Health::Healthy)) => serving::begin(&self.shared, &container).await,
            _ => self.ended_or_unhealthy(&container).await,
        }
    }

    async fn wait(&self) -> Result<(), ControllerError> {
        let container = self.container()?;
        self.ended_or_unhealthy(&container).await
    }

    async fn shutdown(&self) -> Result<(), ControllerError> {
        let Some(container) = self.known() else { return Ok(()) };
        let _turn = container.verbs.lock().await;
        let record = container.record();
        Ok(serving::stop(&self.shared, &container, record.stop_signal, record.stop_grace).await?)
    }

    async fn terminate(&self) -> Result<(), ControllerError> {
        let Some(container) = self.known() else { return Ok(()) };
        // At once, whoever is waiting for a gentle end; and again when a start was under way.
        container.kill().await?;
        let _turn = container.verbs.lock().await;
        Ok(container.kill().await?)
    }

    async fn remove(&self) -> Result<(), ControllerError> {
        if let Some(container) = self.known() {
            remove(&self.shared, &container).await?;
            *held(&self.container) = None;
        }
        held(&self.shared.tasks).remove(&self.order().task.id);
        Ok(())
    }

    fn report(&self) -> TaskReport {
        let Some(container) = self.known() else { return TaskReport::default() };
        let (record, live) = (container.record(), container.now());
        let status = ContainerStatus {
            container_id: container.id.clone(),
            pid: live.status.as_ref().filter(|_| live.is_running()).map_or(0, |status| status.pid),
            exit_code: live.exit_code().unwrap_or(0),
        };
        let ports: Vec<PortConfig> = record.ports.iter().filter(|_| live.is_running()).map(ports::shown).collect();
        let ports = (!ports.is_empty()).then_some(PortStatus { ports });
        TaskReport { container: Some(status), ports }
    }
}

/// Removes a container and what only it used.
pub async fn remove(shared: &Arc<Shared>, container: &Arc<ContainerHandle>) -> Result<(), ControllerError> {
    container.kill().await?;
    let _turn = container.verbs.lock().await;
    // A start may have been under way.
    container.kill().await?;
    let begun = container.now().status.is_some();
    if begun {
        container.cleaned().await?;
    }
    shared.network.detach(&container.id).await?;
    let (images, handle, host) = (shared.images.clone(), Arc::clone(container), Arc::clone(shared));
    let removing = tokio::task::spawn_blocking(move || -> Result<(), RuntimeError> {
        let failed = |error: crate::images::ImageError| RuntimeError::RootFs {
            container: handle.id.clone(),
            message: error.to_string(),
        };
        images.remove_rootfs(&handle.id).map_err(failed)?;
        volumes::remove_anonymous(&handle.record().mounts)?;
        volumes::release_subpaths(&handle.run_directory)?;
        files::release(&handle.run_directory)?;
        for directory in [&handle.run_directory, &handle.directory] {
            volumes::remove_directory(directory)?;
        }
        held(&host.containers).remove(&handle.id);
        Ok(())
    });
    removing.await.map_err(|_| RuntimeError::Stopped { thread: "removal" })??;
    shared.announce("destroy", container);
    Ok(())
}

/// Sources of binds must be there before anything is made.
fn sources(order: &TaskOrder) -> Result<(), Refusal> {
    let expanded = template::container(container_spec(&order.task.spec)?, &facts(order));
    let spec = expanded.map_err(|error| Refusal::invalid(error.to_string()))?;
    let made = |options: &mount::BindOptions| options.createmountpoint;
    let mut binds = spec.mounts.iter().filter(|mount| mount.r#type() == mount::Type::Bind);
    match binds.find(|bind| !bind.bind_options.as_ref().is_some_and(made) && !Path::new(&bind.source).exists()) {
        // A source that is no path is refused with its own words.
        Some(bind) if bind.source.starts_with('/') => Err(volumes::missing_source(Path::new(&bind.source))),
        _ => Ok(()),
    }
}

/// What the task's networks ask for.
fn network_mode(order: &TaskOrder) -> Result<NetworkMode, Refusal> {
    if let Some(path) = &order.network_namespace {
        return Ok(NetworkMode::Given(path.clone()));
    }
    let mut mode = NetworkMode::Bridge;
    for attachment in order.task.networks.iter() {
        let (name, driver) = names(attachment);
        mode = match (driver.as_str(), name.as_str()) {
            ("host", _) | ("", "host") => NetworkMode::Host,
            ("null", _) | ("", "none") => NetworkMode::None,
            ("bridge", "bridge") | ("", "bridge") => NetworkMode::Bridge,
            // Its addresses are allocated and kept; until its data plane carries them, the node-local bridge does.
            ("overlay" | "", _) if mode == NetworkMode::Bridge => NetworkMode::Bridge,
            ("overlay" | "", _) => mode,
            _ => {
                let what = format!("network {name}: the embedded runtime does not carry {driver} networks yet");
                return Err(Refusal::new(Code::Unimplemented, format!("{what}; use bridge, host or none")));
            }
        };
    }
    Ok(mode)
}

fn names(attachment: &NetworkAttachment) -> (String, String) {
    let Some(network) = &attachment.network else { return (String::new(), String::new()) };
    let spec = network.spec.as_deref();
    let name =
        spec.and_then(|spec| spec.annotations.as_ref()).map(|annotations| annotations.name.clone()).unwrap_or_default();
    let driver = spec.and_then(|spec| spec.driver_config.as_ref()).or(network.driver_state.as_ref());
    (name, driver.map(|driver| driver.name.clone()).unwrap_or_default())
}

fn record(shared: &Shared, order: &TaskOrder, image: &Image) -> Result<Record, ControllerError> {
    let (task, stored) = (&order.task, container_spec(&order.task.spec)?);
    let expanded = template::container(stored, &facts(order));
    let mut spec = expanded.map_err(|error| Refusal::invalid(error.to_string()))?;
    spec.env.extend(template::generic_resource_env(&task.extras.assigned_generic_resources));
    // What cannot be told to the container is known before it is made.
    files::contents(stored, order)?;
    let spec = &spec;
    let id = random_id()?;
    let hostname = match spec.hostname.as_str() {
        "" => id[..HOSTNAME_LENGTH].to_owned(),
        given => given.to_owned(),
    };
    let network = network_mode(order)?;
    let hostname = if network == NetworkMode::Host { order.node.hostname.clone() } else { hostname };
    let (entrypoint, arguments) = command(spec, &image.config)?;
    let limits = task.spec.resources.as_ref().and_then(|resources| resources.limits.clone()).unwrap_or_default();
    let own = |given: &str, of_image: &str| if given.is_empty() { of_image.to_owned() } else { given.to_owned() };
    let stop_signal = own(&spec.stop_signal, image.config.stop_signal.as_deref().unwrap_or("SIGTERM"));
    Ok(Record {
        version: RECORD_VERSION,
        name: task.name(),
        task_id: task.id.to_string(),
        task_name: task.name(),
        service_id: task.service_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        service_name: task.service_annotations.name.clone(),
        node_id: order.node.id.to_string(),
        image: spec.image.clone(),
        image_id: image.id.clone(),
        labels: labels(order, spec),
        entrypoint,
        arguments,
        env: environment(spec, &image.config, &hostname),
        working_dir: own(&spec.dir, &image.config.working_dir),
        user: own(&spec.user, &image.config.user),
        tty: spec.tty,
        open_stdin: spec.open_stdin,
        created_at_nanos: now_nanos(),
        wanted_ports: ports::of_host(task)?,
        mesh: ports::of_mesh(task, &network)?,
        mounts: plan(spec, &image.config.volumes, &shared.volumes())?,
        memory_limit_bytes: limits.memory_bytes,
        nano_cpus: limits.nano_cpus,
        pids_limit: spec.pids_limit,
        stop_signal: signal_number(&stop_signal)?,
        stop_grace: spec.stop_grace_period.as_ref().map_or(defaults::STOP_GRACE_PERIOD, duration),
        probe: Probe::of(spec.healthcheck.as_ref().map(health_check).as_ref(), image.config.healthcheck.as_ref()),
        log_path: log_path(shared, order, &id),
        address: None,
        ports: Vec::new(),
        exec_base: Default::default(),
        started: false,
        settings: Settings::of(task, spec, &stop_signal, shared.apparmor.name_for(spec)),
        id,
        hostname,
        network,
    })
}

/// What placeholders in the task's spec stand for.
pub fn facts(order: &TaskOrder) -> Facts {
    let (task, node) = (&order.task, &order.node);
    Facts {
        service_id: task.service_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        service_name: task.service_annotations.name.clone(),
        service_labels: task.service_annotations.labels.clone(),
        node_id: node.id.to_string(),
        node_hostname: node.hostname.clone(),
        node_os: node.os.clone(),
        node_architecture: node.architecture.clone(),
        task_id: task.id.to_string(),
        task_name: task.name(),
        task_slot: if task.slot == 0 { node.id.to_string() } else { task.slot.to_string() },
    }
}

fn labels(order: &TaskOrder, spec: &ContainerSpec) -> BTreeMap<String, String> {
    let task = &order.task;
    let mut labels = spec.labels.clone();
    let mut mark = |name: &str, value: String| labels.insert(format!("com.docker.swarm.{name}"), value);
    mark("task", String::new());
    mark("task.id", task.id.to_string());
    mark("task.name", task.name());
    mark("node.id", order.node.id.to_string());
    if let Some(service) = &task.service_id {
        mark("service.id", service.to_string());
        mark("service.name", task.service_annotations.name.clone());
    }
    labels
}

fn log_path(shared: &Shared, order: &TaskOrder, id: &str) -> Option<PathBuf> {
    let silent = log_options::driver(&order.task).is_some_and(|driver| driver.name == "none");
    (!silent).then(|| shared.directory(id).join(format!("{id}-json.log")))
}

fn health_check(config: &HealthConfig) -> HealthCheck {
    let time = |value: &Option<_>| value.as_ref().map_or(Duration::ZERO, duration);
    HealthCheck {
        test: config.test.clone(),
        interval: time(&config.interval),
        timeout: time(&config.timeout),
        start_period: time(&config.start_period),
        start_interval: time(&config.start_interval),
        retries: u32::try_from(config.retries).unwrap_or(0),
    }
}

/// 64 hexadecimal digits.
pub fn random_id() -> Result<String, RuntimeError> {
    let mut bytes = [0u8; 32];
    let failed = |error: rand_core::OsError| std::io::Error::other(error.to_string());
    OsRng.try_fill_bytes(&mut bytes).map_err(failed).map_err(RuntimeError::host("read random bytes"))?;
    Ok(hex::encode(bytes))
}

/// As Docker's clients encode it: JSON in URL-safe (or plain) base64, padded or not.
fn registry_auth(text: &str) -> Result<Option<RegistryAuth>, Refusal> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Encoded {
        username: String,
        password: String,
        identitytoken: String,
        registrytoken: String,
        serveraddress: String,
    }
    if text.is_empty() {
        return Ok(None);
    }
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let plain = text.replace('+', "-").replace('/', "_");
    let bytes = GeneralPurpose::new(&alphabet::URL_SAFE, config).decode(plain);
    let decoded: Option<Encoded> = bytes.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let auth = decoded.ok_or_else(|| Refusal::invalid("PullOptions.RegistryAuth is not JSON in base64"))?;
    Ok(Some(RegistryAuth {
        username: auth.username,
        password: auth.password,
        identity_token: auth.identitytoken,
        registry_token: auth.registrytoken,
        server_address: auth.serveraddress,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_decode_in_each_spelling() {
        // {"username":"u?","password":"p>"}: has characters that differ between the alphabets.
        let plain = "eyJ1c2VybmFtZSI6InU/IiwicGFzc3dvcmQiOiJwPiJ9";
        for text in [plain.to_owned(), plain.replace('/', "_").replace('+', "-")] {
            let auth = registry_auth(&text).expect("decodes").expect("given");
            assert_eq!((auth.username.as_str(), auth.password.as_str()), ("u?", "p>"));
        }
        assert_eq!(registry_auth("").expect("none"), None);
        assert_eq!(registry_auth("e30=").expect("empty"), Some(RegistryAuth::default()));
        assert!(registry_auth("!!").is_err());
    }
}
