//! Starts a container: network, root file system, files, document, shim. And takes all that down when it has ended.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;

use skep_model::pb::types::ContainerSpec;

use super::container::{ContainerHandle, KILL_PATIENCE};
use super::files;
use super::health;
use super::log_options;
use super::record::{NetworkMode, Record};
use super::shared::Shared;
use super::volumes;
use super::working_directory;
use crate::controller::TaskOrder;
use crate::error::{ControllerError, RuntimeError};
use crate::network::{Endpoint, MeshPorts, Wanted};
use crate::shim;
use crate::shim::client::ShimClient;
use crate::shim::protocol::{Confinement, ExecProcess, Instructions, PROTOCOL_VERSION, Propagation};
use crate::spec::{
    Accounts, BoundFile, Facts, PlannedMount, User, confinement, container as container_spec, device_rules, document,
};

/// Exit code of a container that could not be started, as a shell's for a program that it cannot find.
const EXIT_CODE_NOT_STARTED: i32 = 127;

/// Starts it. On failure nothing is left but its record and the reason.
pub async fn launch(
    shared: &Arc<Shared>,
    container: &Arc<ContainerHandle>,
    order: &TaskOrder,
) -> Result<(), ControllerError> {
    let _turn = shared.starts.acquire().await.map_err(|_| RuntimeError::Stopped { thread: "runtime" })?;
    let started = begin(shared, container, order).await;
    if let Err(error) = &started {
        let (at, message) = (shim::now_nanos(), error.to_string());
        take_down(shared, container).await;
        container.update(|live| {
            let status = live.status.get_or_insert_default();
            status.exit_code.get_or_insert(EXIT_CODE_NOT_STARTED);
            status.finished_at.get_or_insert(at);
            status.error.get_or_insert(message);
            live.cleaned = true;
        });
    }
    started.map_err(|why| ControllerError::NotStarted(Box::new(why)))
}

async fn begin(
    shared: &Arc<Shared>,
    container: &Arc<ContainerHandle>,
    order: &TaskOrder,
) -> Result<(), ControllerError> {
    let record = container.record();
    container.change(|record| record.started = true)?;
    let (images, image_id, id) = (shared.images.clone(), record.image_id.clone(), container.id.clone());
    let mounting = tokio::task::spawn_blocking(move || images.mount_rootfs(&image_id, &id));
    let (endpoint, mounted) = tokio::join!(connect(shared, &record), mounting);
    let rootfs_failed = |message: String| RuntimeError::RootFs { container: container.id.clone(), message };
    let rootfs =
        mounted.map_err(|error| rootfs_failed(error.to_string()))?.map_err(|error| rootfs_failed(error.to_string()))?;
    let endpoint = endpoint?;
    let (handle, order, host) = (Arc::clone(container), order.clone(), Arc::clone(shared));
    let writing = tokio::task::spawn_blocking(move || write_down(&host, &handle, &order, endpoint, rootfs));
    let instructions = writing.await.map_err(|error| rootfs_failed(error.to_string()))??;
    let client = ShimClient::launch(&shared.nursery, &container.id, &instructions)?;
    container.set_client(Some(Arc::clone(&client)));
    let mut seen = client.watch();
    let first = seen.wait_for(|seen| seen.status.is_some() || seen.gone).await.map(|seen| seen.status.clone());
    let status = first.ok().flatten().or_else(|| container.status_on_disk());
    let status =
        status.ok_or_else(|| RuntimeError::Shim { container: container.id.clone(), message: last_words(container) })?;
    if let Some(message) = status.error.clone() {
        container.update(|live| live.status = Some(status));
        // It is still cleaning up after itself.
        let ended = tokio::time::timeout(KILL_PATIENCE, seen.wait_for(|seen| seen.gone)).await;
        tracing::debug!(container = container.id, in_time = ended.is_ok(), "the shim has ended");
        return Err(RuntimeError::Start { message }.into());
    }
    container.update(|live| live.status = Some(status));
    shared.announce("start", container);
    attend(shared, container, false);
    Ok(())
}

fn last_words(container: &ContainerHandle) -> String {
    let words = std::fs::read_to_string(container.directory.join("shim.log")).unwrap_or_default();
    if words.trim().is_empty() { "it ended without a word".to_owned() } else { words.trim().to_owned() }
}

async fn connect(shared: &Shared, record: &Record) -> Result<Option<Endpoint>, ControllerError> {
    match &record.network {
        NetworkMode::Host => Ok(None),
        NetworkMode::None => shared.network.isolate(&record.id).await.map(Some),
        NetworkMode::Bridge => {
            let wanted = Wanted { ports: &record.wanted_ports, mesh: &record.mesh };
            shared.network.attach(&record.id, wanted).await.map(Some)
        }
        NetworkMode::Given(path) => {
            let (ports, mesh) = (Vec::new(), MeshPorts::default());
            Ok(Some(Endpoint { namespace: path.clone(), address: None, ports, mesh }))
        }
    }
}

/// Writes everything that the shim needs; returns where its instructions are.
fn write_down(
    shared: &Shared,
    container: &ContainerHandle,
    order: &TaskOrder,
    endpoint: Option<Endpoint>,
    rootfs: PathBuf,
) -> Result<PathBuf, ControllerError> {
    let spec = container_spec(&order.task.spec)?;
    let record = container.record();
    let run = &container.run_directory;
    DirBuilder::new().recursive(true).mode(0o700).create(run).map_err(RuntimeError::file("create", run))?;
    let mounts = volumes::prepare(&shared.mounted, &container.id, run, &record.mounts, &rootfs)?;
    working_directory::make(&rootfs, &record.working_dir, &record.mounts)?;
    let host_network = record.network == NetworkMode::Host;
    let address = endpoint.as_ref().and_then(|endpoint| endpoint.address);
    let mut bound = files::names(&container.directory, spec, &record.hostname, address, host_network)?;
    bound.extend(files::secrets(run, spec, order)?);
    let user = Accounts::read(&rootfs)
        .map_err(RuntimeError::file("read accounts below", &rootfs))?
        .resolve(&record.user, &spec.groups)?;
    let base = ExecProcess {
        args: Vec::new(),
        env: with_home(&record.env, &user.home),
        cwd: record.working_dir.clone(),
        uid: user.uid,
        gid: user.gid,
        additional_gids: user.additional_gids.clone(),
        terminal: false,
        privileged: false,
    };
    container.change(|record| {
        record.address = address;
        record.ports =
            endpoint.as_ref().map(|endpoint| endpoint.ports.clone()).unwrap_or_else(|| record.wanted_ports.clone());
        record.exec_base = base;
    })?;
    let made = Made { user, bound, mounts, network_namespace: endpoint.map(|endpoint| endpoint.namespace), rootfs };
    write_document(shared, container, order, spec, made)
}

fn with_home(env: &[String], home: &str) -> Vec<String> {
    let mut env = env.to_vec();
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={home}"));
    }
    env
}

/// What was made for a start.
struct Made {
    user: User,
    bound: Vec<BoundFile>,
    mounts: Vec<PlannedMount>,
    network_namespace: Option<PathBuf>,
    rootfs: PathBuf,
}

fn write_document(
    shared: &Shared,
    container: &ContainerHandle,
    order: &TaskOrder,
    spec: &ContainerSpec,
    made: Made,
) -> Result<PathBuf, ControllerError> {
    let record = container.record();
    let cgroup_path = format!("{}/{}", shared.config.cgroup_parent.trim_end_matches('/'), container.id);
    let facts = Facts {
        spec,
        resources: order.task.spec.resources.as_ref(),
        args: record.entrypoint.iter().chain(&record.arguments).cloned().collect(),
        env: record.env.clone(),
        hostname: &record.hostname,
        user: &made.user,
        rootfs: made.rootfs,
        mounts: &made.mounts,
        files: &made.bound,
        network_namespace: made.network_namespace,
        cgroup_path: cgroup_path.clone(),
        host: shared.host,
        unified_cgroup: crate::host::has_unified_cgroup(),
        separate_cgroups: crate::host::separate_cgroups().map_err(RuntimeError::host("list the cgroup hierarchies"))?,
        own_network_settings: record.network != NetworkMode::Host && crate::host::has_network_settings(),
    };
    let instructions = Instructions {
        version: PROTOCOL_VERSION,
        container_id: container.id.clone(),
        bundle: container.directory.clone(),
        run_directory: container.run_directory.clone(),
        status_file: container.status_file(),
        log: match &record.log_path {
            Some(path) => Some(log_options::instructions(
                path.clone(),
                log_options::driver(&order.task),
                &record,
                shared.config.log,
            )?),
            None => None,
        },
        terminal: spec.tty,
        open_stdin: spec.open_stdin,
        init: spec.init == Some(true),
        cgroup_path,
        devices: device_rules(),
        confinement: confine(shared, container, spec)?,
        working_dir: record.working_dir.clone(),
        propagations: made.mounts.iter().filter(|mount| !mount.propagation.is_empty()).map(propagation).collect(),
    };
    let oci = document(&facts)?;
    write_json(container.directory.join("config.json"), &oci)?;
    Ok(write_json(container.directory.join("shim.json"), &instructions)?)
}

fn propagation(mount: &PlannedMount) -> Propagation {
    Propagation { target: mount.target.clone(), kind: mount.propagation.clone() }
}

/// Has the filter compiled and written where the shim finds it.
fn confine(shared: &Shared, container: &ContainerHandle, spec: &ContainerSpec) -> Result<Confinement, ControllerError> {
    let confined = confinement(spec)?;
    shared.held_capabilities.check(&confined.capabilities)?;
    let (mut filter, mut filter_flags) = (None, 0);
    if confined.filtered {
        let path = container.directory.join("seccomp.bpf");
        let compiled = shared.filters.get(&confined.capabilities, confined.profile.as_deref(), &shared.kernel)?;
        std::fs::write(&path, compiled.program).map_err(RuntimeError::file("write", &path))?;
        filter_flags = compiled.load_flags;
        filter = Some(path);
    }
    let capabilities = confined.capabilities.into_iter().collect();
    let no_new_privileges = confined.no_new_privileges;
    Ok(Confinement { capabilities, filter, filter_flags, no_new_privileges, apparmor: shared.apparmor.of(spec)? })
}

fn write_json(path: PathBuf, value: &impl serde::Serialize) -> Result<PathBuf, RuntimeError> {
    let bytes = serde_json::to_vec(value).map_err(|source| RuntimeError::Record { path: path.clone(), source })?;
    std::fs::write(&path, bytes).map_err(RuntimeError::file("write", &path))?;
    Ok(path)
}

/// Follows a running container to its end, probes it, and takes it down. It may be taken over from a former daemon.
pub fn attend(shared: &Arc<Shared>, container: &Arc<ContainerHandle>, taken_over: bool) {
    let record = container.record();
    if let Some(probe) = record.probe {
        tokio::spawn(health::probe(Arc::clone(container), probe, taken_over));
    }
    let (shared, container) = (Arc::clone(shared), Arc::clone(container));
    tokio::spawn(async move {
        let Some(client) = container.client() else { return };
        let mut seen = client.watch();
        let mut noted = false;
        loop {
            let (status, gone) = {
                let seen = seen.borrow_and_update();
                (seen.status.clone(), seen.gone)
            };
            if let Some(status) = status.filter(|status| status.has_ended() && !noted) {
                noted = true;
                container.update(|live| live.status = Some(status));
            }
            if gone || seen.changed().await.is_err() {
                break;
            }
        }
        if !noted {
            let status = container.lost(container.status_on_disk());
            if let Err(error) = shim::remove_cgroups(&status.cgroups) {
                tracing::warn!(container = container.id, %error, "cgroups of a container without a shim stay");
            }
            container.update(|live| live.status = Some(status));
        }
        take_down(&shared, &container).await;
        container.update(|live| live.cleaned = true);
        shared.announce("die", &container);
    });
}

/// Removes what a container has in the kernel. What fails is said, and tried again when the container is removed.
pub async fn take_down(shared: &Arc<Shared>, container: &Arc<ContainerHandle>) {
    container.set_client(None);
    if let Err(error) = shared.network.detach(&container.id).await {
        tracing::warn!(container = container.id, %error, "its network stays");
    }
    let (images, handle, host) = (shared.images.clone(), Arc::clone(container), Arc::clone(shared));
    let unmounting = tokio::task::spawn_blocking(move || {
        let released = volumes::release_subpaths(&handle.run_directory)
            .and_then(|()| host.mounted.release(&handle.id, &handle.record().mounts));
        if let Err(error) = released {
            tracing::warn!(container = handle.id, %error, "its volumes stay mounted");
        }
        if let Err(error) = images.unmount_rootfs(&handle.id) {
            tracing::warn!(container = handle.id, %error, "its root file system stays mounted");
        }
        if let Err(error) = files::release(&handle.run_directory) {
            tracing::warn!(container = handle.id, %error, "its secrets stay mounted");
        }
        if let Err(error) = volumes::remove_directory(&handle.run_directory) {
            tracing::warn!(container = handle.id, %error, "its runtime directory stays");
        }
    });
    if let Err(error) = unmounting.await {
        tracing::warn!(container = container.id, %error, "taking it down failed");
    }
}
