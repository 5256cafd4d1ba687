//! What the HTTP API asks about containers: processes, readings, signals.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skep_model::engine::ContainerStats;
use skep_model::labels::signal_number;
use skep_model::{Code, Refusal, WallTime};
use tokio::process::Command;

use super::container::ContainerHandle;
use super::{ProcessTable, Runtime, serving};
use crate::shim;
use crate::shim::protocol::ShimStatus;

/// Kernel clock ticks a second as `/proc` counts them (`USER_HZ`, fixed on Linux).
const TICK_NANOS: u64 = 10_000_000;
/// A process that the kernel holds may hold up who looks at it.
const PS_PATIENCE: Duration = Duration::from_secs(10);

fn not_running(id: &str) -> Refusal {
    Refusal::new(Code::AlreadyExists, format!("Container {id} is not running"))
}

fn running(container: &ContainerHandle) -> Result<ShimStatus, Refusal> {
    let live = container.now();
    live.status.clone().filter(|_| live.is_running()).ok_or_else(|| not_running(&container.id))
}

fn internal(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(Code::Internal, error.to_string())
}

impl Runtime {
    /// Its processes, as `ps <arguments>` of the host shows them.
    pub async fn top(&self, id: &str, arguments: &str) -> Result<ProcessTable, Refusal> {
        let container = self.shared.container(id)?;
        let status = running(&container)?;
        let arguments = if arguments.is_empty() { "-ef" } else { arguments };
        let words: Vec<&str> = arguments.split_whitespace().collect();
        let members = members(&status.cgroups);
        // Arguments that choose columns alone would show the daemon's own terminal; not all go with a list, though.
        let list = members.join(",");
        let mut output = ps(&[&words[..], &["-q", &list]].concat()).await?;
        if !output.status.success() {
            output = ps(&words).await?;
        }
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            return Err(Refusal::invalid(format!("ps {arguments}: {}", words.trim())));
        }
        table(&String::from_utf8_lossy(&output.stdout), &members)
    }

    /// One reading of its resources.
    pub async fn stats(&self, id: &str) -> Result<ContainerStats, Refusal> {
        let container = self.shared.container(id)?;
        let record = container.record();
        let live = container.now();
        let Some(status) = live.status.clone().filter(|_| live.is_running()) else {
            return Ok(ContainerStats { read_at: WallTime(shim::now_nanos()), ..Default::default() });
        };
        let read = move || reading(&status, record.memory_limit_bytes, record.pids_limit);
        tokio::task::spawn_blocking(read).await.map_err(internal)
    }

    /// Stops it: its stop signal (or `signal`), then KILL after `timeout` (or its own grace period). Not running is fine.
    pub async fn stop(&self, id: &str, signal: Option<&str>, timeout: Option<Duration>) -> Result<(), Refusal> {
        let container = self.shared.container(id)?;
        let record = container.record();
        let signal = signal.map_or(Ok(record.stop_signal), signal_number)?;
        let grace = timeout.unwrap_or(record.stop_grace);
        serving::stop(&self.shared, &container, signal, grace).await.map_err(internal)
    }

    /// Sends a signal, by name or number.
    pub async fn kill(&self, id: &str, signal: &str) -> Result<(), Refusal> {
        let container = self.shared.container(id)?;
        running(&container)?;
        let number = signal_number(if signal.is_empty() { "KILL" } else { signal })?;
        container.signal(number).await.map_err(internal)?;
        self.shared.announce("kill", &container);
        Ok(())
    }

    /// Changes the size of its terminal, in characters.
    pub async fn resize(&self, id: &str, rows: u16, columns: u16) -> Result<(), Refusal> {
        let container = self.shared.container(id)?;
        let client = container.client().ok_or_else(|| not_running(id))?;
        client.resize(rows, columns).await.map_err(internal)
    }
}

async fn ps(words: &[&str]) -> Result<std::process::Output, Refusal> {
    let running = Command::new("ps").args(words).kill_on_drop(true).output();
    let output = tokio::time::timeout(PS_PATIENCE, running).await;
    let output = output.map_err(|_| internal(format!("ps did not answer in {} s", PS_PATIENCE.as_secs())))?;
    output.map_err(|error| internal(format!("cannot run ps (package procps): {error}")))
}

fn members(cgroups: &[PathBuf]) -> Vec<String> {
    let all = cgroups.iter().find_map(|directory| fs::read_to_string(directory.join("cgroup.procs")).ok());
    all.unwrap_or_default().lines().map(ToOwned::to_owned).collect()
}

/// Keeps the rows of the container's processes.
fn table(text: &str, members: &[String]) -> Result<ProcessTable, Refusal> {
    let mut lines = text.lines();
    let titles: Vec<String> = lines.next().unwrap_or_default().split_whitespace().map(ToOwned::to_owned).collect();
    let column = titles.iter().position(|title| title == "PID");
    let column = column.ok_or_else(|| Refusal::invalid("Couldn't find PID field in ps output"))?;
    let mut processes = Vec::new();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.len() < titles.len()
            || !words.get(column).is_some_and(|pid| members.iter().any(|member| member == pid))
        {
            continue;
        }
        let (front, command) = words.split_at(titles.len() - 1);
        let mut row: Vec<String> = front.iter().map(ToString::to_string).collect();
        row.push(command.join(" "));
        processes.push(row);
    }
    Ok(ProcessTable { titles, processes })
}

fn number(directory: &Path, name: &str) -> Option<u64> {
    fs::read_to_string(directory.join(name)).ok()?.trim().parse().ok()
}

/// `<key> <value>` lines of a cgroup's file.
fn keyed(directory: &Path, name: &str) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(directory.join(name)).unwrap_or_default();
    let pair =
        |line: &str| line.split_once(' ').and_then(|(key, value)| Some((key.to_owned(), value.trim().parse().ok()?)));
    text.lines().filter_map(pair).collect()
}

fn reading(status: &ShimStatus, memory_limit: i64, pids_limit: i64) -> ContainerStats {
    let mut stats = ContainerStats {
        read_at: WallTime(shim::now_nanos()),
        online_cpus: std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1)),
        memory_limit_bytes: u64::try_from(memory_limit).ok().filter(|&limit| limit > 0).unwrap_or_else(host_memory),
        pids_limit: u64::try_from(pids_limit).unwrap_or(0),
        host_cpu_nanos: host_cpu_nanos(),
        networks: networks(status.pid),
        ..Default::default()
    };
    for directory in &status.cgroups {
        add_v1(directory, &mut stats);
        add_v2(directory, &mut stats);
        stats.pids = stats.pids.max(number(directory, "pids.current").unwrap_or(0));
    }
    stats
}

fn add_v1(directory: &Path, stats: &mut ContainerStats) {
    if let Some(total) = number(directory, "cpuacct.usage") {
        stats.cpu_total_nanos = total;
        let split = keyed(directory, "cpuacct.stat");
        stats.cpu_user_nanos = split.get("user").copied().unwrap_or(0) * TICK_NANOS;
        stats.cpu_system_nanos = split.get("system").copied().unwrap_or(0) * TICK_NANOS;
    }
    if let Some(usage) = number(directory, "memory.usage_in_bytes") {
        stats.memory_usage_bytes = usage;
        stats.memory_cache_bytes = keyed(directory, "memory.stat").get("total_inactive_file").copied().unwrap_or(0);
    }
    let bytes = fs::read_to_string(directory.join("blkio.throttle.io_service_bytes")).unwrap_or_default();
    for line in bytes.lines() {
        let mut words = line.split_whitespace().skip(1);
        match (words.next(), words.next().and_then(|count| count.parse::<u64>().ok())) {
            (Some("Read"), Some(count)) => stats.block_read_bytes += count,
            (Some("Write"), Some(count)) => stats.block_write_bytes += count,
            _ => {}
        }
    }
}

fn add_v2(directory: &Path, stats: &mut ContainerStats) {
    let cpu = keyed(directory, "cpu.stat");
    if let Some(total) = cpu.get("usage_usec") {
        stats.cpu_total_nanos = total * 1000;
        stats.cpu_user_nanos = cpu.get("user_usec").copied().unwrap_or(0) * 1000;
        stats.cpu_system_nanos = cpu.get("system_usec").copied().unwrap_or(0) * 1000;
    }
    if let Some(usage) = number(directory, "memory.current") {
        stats.memory_usage_bytes = usage;
        stats.memory_cache_bytes = keyed(directory, "memory.stat").get("inactive_file").copied().unwrap_or(0);
    }
    for word in fs::read_to_string(directory.join("io.stat")).unwrap_or_default().split_whitespace() {
        match word.split_once('=').and_then(|(key, value)| Some((key, value.parse::<u64>().ok()?))) {
            Some(("rbytes", count)) => stats.block_read_bytes += count,
            Some(("wbytes", count)) => stats.block_write_bytes += count,
            _ => {}
        }
    }
}

fn host_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
    total.unwrap_or(0) * 1024
}

/// The first seven figures of `/proc/stat`: everything but guests, which are counted in them.
fn host_cpu_nanos() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let figures = text.lines().next().unwrap_or_default().split_whitespace().skip(1).take(7);
    figures.filter_map(|figure| figure.parse::<u64>().ok()).sum::<u64>() * TICK_NANOS
}

fn networks(pid: i32) -> BTreeMap<String, [u64; 4]> {
    let text = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    let interface = |line: &str| {
        let (name, figures) = line.split_once(':')?;
        let figures: Vec<u64> = figures.split_whitespace().filter_map(|figure| figure.parse().ok()).collect();
        let name = name.trim();
        (name != "lo" && figures.len() > 9).then(|| (name.to_owned(), [figures[0], figures[1], figures[8], figures[9]]))
    };
    text.lines().skip(2).filter_map(interface).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_processes_are_shown() {
        let text = "UID PID PPID CMD\nroot 1 0 /sbin/init splash\nroot 77 1 sleep 1000\n";
        let shown = table(text, &["77".to_owned()]).expect("a table");
        assert_eq!(shown.titles, ["UID", "PID", "PPID", "CMD"]);
        assert_eq!(shown.processes, [["root", "77", "1", "sleep 1000"].map(ToOwned::to_owned).to_vec()]);
        assert!(table("UID CMD\n", &[]).is_err());
    }
}
