//! Probes a running container and says how it is.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use skep_model::engine::Health;
use tokio::time::{Instant, sleep, timeout};

use super::container::ContainerHandle;
use super::record::Probe;
use crate::error::RuntimeError;
use crate::shim::protocol::ExecProcess;

/// Why an unhealthy container was ended, in the words that Docker's users know.
pub const UNHEALTHY: &str = "dockerexec: unhealthy container";

/// Probes until the container ends. An unhealthy one is stopped, as swarm tasks are.
pub async fn probe(container: Arc<ContainerHandle>, probe: Probe) {
    let began = Instant::now();
    let mut failures = 0;
    let mut count = 0u64;
    container.update(|live| live.health = Some(Health::Starting));
    while container.now().is_running() {
        let starting = began.elapsed() < probe.start_period && container.now().health == Some(Health::Starting);
        sleep(if starting { probe.start_interval.min(probe.interval) } else { probe.interval }).await;
        if !container.now().is_running() {
            return;
        }
        count += 1;
        let healthy = match once(&container, &probe, count).await {
            Ok(healthy) => healthy,
            Err(error) => {
                tracing::debug!(container = container.id, %error, "the health probe could not run");
                false
            }
        };
        failures = if healthy { 0 } else { failures + 1 };
        if healthy {
            set(&container, Health::Healthy);
        } else if began.elapsed() >= probe.start_period && failures >= probe.retries {
            set(&container, Health::Unhealthy);
            return;
        }
    }
}

fn set(container: &ContainerHandle, health: Health) {
    if container.now().health != Some(health) {
        container.update(|live| live.health = Some(health));
    }
}

async fn once(container: &ContainerHandle, probe: &Probe, count: u64) -> Result<bool, RuntimeError> {
    let gone = || RuntimeError::Shim { container: container.id.clone(), message: "it has ended".to_owned() };
    let client = container.client().ok_or_else(gone)?;
    let name = format!("health-{count}");
    let process = ExecProcess { args: probe.command.clone(), ..container.record().exec_base };
    let null =
        File::options().read(true).write(true).open("/dev/null").map_err(RuntimeError::file("open", "/dev/null"))?;
    let streams = [null.as_fd(), null.as_fd(), null.as_fd()];
    let (_, _, mut ended) = client.exec(&name, process, &streams).await?;
    let end = async { ended.wait_for(Option::is_some).await.map(|code| *code) };
    match timeout(probe.timeout.max(Duration::from_millis(1)), end).await {
        Ok(Ok(code)) => Ok(code == Some(0)),
        Ok(Err(_)) => Err(gone()),
        Err(_) => {
            client.kill(libc::SIGKILL, Some(&name)).await?;
            Ok(false)
        }
    }
}
