//! `stats`.

use clap::Args;

use crate::api::{JsonStream, escape};
use crate::context::Context;
use crate::failure::Failure;
use crate::format::{Columns, Row};
use crate::human::{binary_size, decimal_size, short_id, significant};
use crate::value::Value;

#[derive(Debug, Args)]
pub struct StatsArguments {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long)]
    format: Option<String>,
    /// Disable streaming stats and only pull the first result
    #[arg(long)]
    no_stream: bool,
    /// Do not truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Containers
    containers: Vec<String>,
}

const COLUMNS: Columns = Columns {
    fields: &[
        ("Container", "CONTAINER"),
        ("ID", "CONTAINER ID"),
        ("Name", "NAME"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
    quiet: "{{.ID}}",
};
/// Go to the top left, clear below.
const CLEAR: &str = "\x1b[H\x1b[J";

pub async fn stats(context: &Context, arguments: StatsArguments) -> Result<(), Failure> {
    loop {
        let containers = if arguments.containers.is_empty() {
            let query: Vec<_> = arguments.all.then(|| ("all", "1".to_owned())).into_iter().collect();
            let list = context.client.get("/containers/json", &query).await?;
            list.list_itself().iter().map(|container| container.text("Id").to_owned()).collect()
        } else {
            arguments.containers.clone()
        };
        // One reading takes the daemon a second: they are taken side by side.
        let readings = futures::future::join_all(containers.iter().map(|name| read(context, name))).await;
        let mut rows = Vec::new();
        for (name, reading) in containers.iter().zip(readings) {
            rows.push(row(name, &reading?, !arguments.no_trunc));
        }
        if !arguments.no_stream {
            context.write(CLEAR)?;
        }
        COLUMNS.show(context, arguments.format.as_deref(), false, rows)?;
        if arguments.no_stream {
            return Ok(());
        }
    }
}

async fn read(context: &Context, container: &str) -> Result<Value, Failure> {
    let path = format!("/containers/{}/stats", escape(container));
    let pieces = context.client.get_stream(&path, &[("stream", "0".to_owned())]).await?;
    Ok(JsonStream::new(pieces).next().await?.unwrap_or_default())
}

fn row(container: &str, reading: &Value, truncate: bool) -> Row {
    let id = reading.text("id");
    let memory = memory_used(reading);
    let limit = reading.float("memory_stats.limit");
    let percent = if limit > 0.0 { memory / limit * 100.0 } else { 0.0 };
    let sum = |member: &str| reading.entries("networks").iter().map(|(_, network)| network.float(member)).sum::<f64>();
    let blocks = |operation: &str| {
        let entries = reading.list("blkio_stats.io_service_bytes_recursive").iter();
        entries
            .filter(|entry| entry.text("op").eq_ignore_ascii_case(operation))
            .map(|entry| entry.float("value"))
            .sum::<f64>()
    };
    let pair = |left: f64, right: f64| Value::from(format!("{} / {}", size(left), size(right)));
    vec![
        ("Container", Value::from(container)),
        ("ID", Value::from(if truncate { short_id(id) } else { id })),
        ("Name", Value::from(reading.text("name").trim_start_matches('/'))),
        ("CPUPerc", Value::from(format!("{:.2}%", cpu_percent(reading)))),
        ("MemUsage", Value::from(format!("{} / {}", binary_size(memory), binary_size(limit)))),
        ("MemPerc", Value::from(format!("{percent:.2}%"))),
        ("NetIO", pair(sum("rx_bytes"), sum("tx_bytes"))),
        ("BlockIO", pair(blocks("read"), blocks("write"))),
        ("PIDs", Value::from(significant(reading.float("pids_stats.current"), 20))),
    ]
}

/// Three digits, powers of 1000.
fn size(bytes: f64) -> String {
    decimal_size(bytes)
}

/// What the kernel could take back is not counted.
fn memory_used(reading: &Value) -> f64 {
    let usage = reading.float("memory_stats.usage");
    let cache = ["total_inactive_file", "inactive_file"]
        .iter()
        .map(|member| reading.float(&format!("memory_stats.stats.{member}")))
        .find(|cache| *cache > 0.0 && *cache < usage);
    usage - cache.unwrap_or(0.0)
}

fn cpu_percent(reading: &Value) -> f64 {
    let used = reading.float("cpu_stats.cpu_usage.total_usage") - reading.float("precpu_stats.cpu_usage.total_usage");
    let all = reading.float("cpu_stats.system_cpu_usage") - reading.float("precpu_stats.system_cpu_usage");
    let processors = match reading.float("cpu_stats.online_cpus") {
        0.0 => reading.list("cpu_stats.cpu_usage.percpu_usage").len() as f64,
        online => online,
    };
    if used > 0.0 && all > 0.0 { used / all * processors * 100.0 } else { 0.0 }
}
