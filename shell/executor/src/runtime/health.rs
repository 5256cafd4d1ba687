//! Probes a running container and says how it is.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;
use skep_model::WallTime;
use skep_model::engine::{Health, ProbeResult};
use tokio::time::{sleep, timeout};

use super::container::ContainerHandle;
use super::record::Probe;
use crate::error::RuntimeError;
use crate::shim::now_nanos;
use crate::shim::protocol::ExecProcess;

/// Why an unhealthy container was ended, in the words that Docker's users know.
pub const UNHEALTHY: &str = "dockerexec: unhealthy container";
/// Results kept for who inspects the container, as Docker keeps them.
const RESULTS_MAX: usize = 5;
/// Bytes of a probe's output that are kept.
const OUTPUT_MAX_BYTES: u64 = 4096;
/// Exit code of a probe that did not end in time, or could not run.
const EXIT_CODE_NONE: i32 = -1;

/// Where a container's health stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    health: Health,
    failing_streak: u32,
}

impl Standing {
    /// After one more probe, which began so long after the container did. Failures while it starts do not count.
    fn after(self, probe: &Probe, healthy: bool, since_start: Duration) -> Self {
        if healthy {
            return Self { health: Health::Healthy, failing_streak: 0 };
        }
        if self.health == Health::Starting && since_start < probe.start_period {
            return self;
        }
        let failing_streak = self.failing_streak.saturating_add(1);
        let health = if failing_streak >= probe.retries { Health::Unhealthy } else { self.health };
        Self { health, failing_streak }
    }
}

/// Probes until the container ends, or is unhealthy: then it is stopped, as swarm tasks are. A container that a former
/// daemon started is probed at once.
pub async fn probe(container: Arc<ContainerHandle>, probe: Probe, taken_over: bool) {
    let mut standing = Standing { health: Health::Starting, failing_streak: 0 };
    container.update(|live| live.health = Some(standing.health));
    let mut pause = if taken_over { Duration::ZERO } else { pause_before(&container, &probe, standing) };
    while container.now().is_running() {
        sleep(pause).await;
        if !container.now().is_running() {
            return;
        }
        let since_start = since_start(&container);
        let result = once(&container, &probe).await;
        // A probe that the container's end took along says nothing.
        if !container.now().is_running() {
            return;
        }
        standing = standing.after(&probe, result.exit_code == 0, since_start);
        container.update(|live| {
            live.health = Some(standing.health);
            live.failing_streak = standing.failing_streak;
            let mut probes = live.probes.as_ref().clone();
            if probes.len() >= RESULTS_MAX {
                probes.remove(0);
            }
            probes.push(result);
            live.probes = Arc::new(probes);
        });
        if standing.health == Health::Unhealthy {
            return;
        }
        pause = pause_before(&container, &probe, standing);
    }
}

fn pause_before(container: &ContainerHandle, probe: &Probe, standing: Standing) -> Duration {
    let starting = standing.health == Health::Starting && since_start(container) < probe.start_period;
    if starting { probe.start_interval.min(probe.interval) } else { probe.interval }
}

fn since_start(container: &ContainerHandle) -> Duration {
    let started_at = container.now().status.and_then(|status| status.started_at).unwrap_or_default();
    Duration::from_nanos(u64::try_from(now_nanos().saturating_sub(started_at)).unwrap_or(0))
}

async fn once(container: &ContainerHandle, probe: &Probe) -> ProbeResult {
    let started_at = WallTime(now_nanos());
    let (exit_code, output) = match run(container, probe).await {
        Ok(ran) => ran,
        Err(error) => (EXIT_CODE_NONE, error.to_string()),
    };
    ProbeResult { started_at, ended_at: WallTime(now_nanos()), exit_code, output }
}

async fn run(container: &ContainerHandle, probe: &Probe) -> Result<(i32, String), RuntimeError> {
    let gone = || RuntimeError::Shim { container: container.id.clone(), message: "it has ended".to_owned() };
    let client = container.client().ok_or_else(gone)?;
    // A name that a probe of a former daemon cannot have.
    let name = format!("health-{}", now_nanos());
    let process = ExecProcess { args: probe.command.clone(), ..container.record().exec_base };
    let null = File::open("/dev/null").map_err(RuntimeError::file("open", "/dev/null"))?;
    let (output, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(RuntimeError::host("make a pipe"))?;
    blocking(&write)?;
    let (_, _, mut ended) = client.exec(&name, process, &[null.as_fd(), write.as_fd(), write.as_fd()]).await?;
    drop(write);
    let end = async { ended.wait_for(Option::is_some).await.map(|code| *code) };
    match timeout(probe.timeout.max(Duration::from_millis(1)), end).await {
        Ok(Ok(code)) => Ok((code.unwrap_or(EXIT_CODE_NONE), beginning(output))),
        Ok(Err(_)) => Err(gone()),
        Err(_) => {
            client.kill(libc::SIGKILL, Some(&name)).await?;
            Ok((EXIT_CODE_NONE, format!("Health check exceeded timeout ({:?}): {}", probe.timeout, beginning(output))))
        }
    }
}

/// The probe's own end of the pipe waits as any other would; a probe that writes more than a pipe holds runs into its
/// timeout, as its first words are all that is kept.
fn blocking(end: &OwnedFd) -> Result<(), RuntimeError> {
    let made = fcntl(end, FcntlArg::F_SETFL(OFlag::empty()));
    made.map(drop).map_err(RuntimeError::host("make a pipe"))
}

/// What is in the pipe by now.
fn beginning(output: OwnedFd) -> String {
    let mut bytes = Vec::new();
    // It ends with "would block" when the probe's children still hold the pipe: what was read counts.
    let read = File::from(output).take(OUTPUT_MAX_BYTES).read_to_end(&mut bytes);
    tracing::trace!(complete = read.is_ok(), "the probe's output");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(retries: u32) -> Probe {
        Probe {
            command: vec!["true".to_owned()],
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(30),
            start_period: Duration::from_secs(10),
            start_interval: Duration::from_secs(1),
            retries,
        }
    }

    #[test]
    fn failures_count_once_the_start_is_over() {
        let start = Standing { health: Health::Starting, failing_streak: 0 };
        let (early, late) = (Duration::from_secs(9), Duration::from_secs(10));
        let probe = probe(2);
        assert_eq!(start.after(&probe, false, early), start, "it may still be starting");
        let once = start.after(&probe, false, late);
        assert_eq!(once, Standing { health: Health::Starting, failing_streak: 1 });
        assert_eq!(once.after(&probe, false, late).health, Health::Unhealthy);
        let well = start.after(&probe, true, early);
        assert_eq!(well, Standing { health: Health::Healthy, failing_streak: 0 });
        assert_eq!(well.after(&probe, false, early).failing_streak, 1, "the first success ends the start");
    }
}
