//! `system`: the daemon and what it keeps on disk.

use clap::{Args, Subcommand};

use super::{events, info};
use crate::context::Context;
use crate::failure::Failure;
use crate::format::Columns;
use crate::human::long_decimal_size as decimal_size;
use crate::value::Value;

#[derive(Debug, Subcommand)]
pub enum SystemCommand {
    /// Show docker disk usage
    Df(DiskArguments),
    /// Get real time events from the server
    Events(events::EventsArguments),
    /// Display system-wide information
    Info(info::InfoArguments),
}

#[derive(Debug, Args)]
pub struct DiskArguments {
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long)]
    format: Option<String>,
}

const COLUMNS: Columns = Columns {
    fields: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
    table: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
    quiet: "{{.Type}}",
};

pub async fn execute(context: &Context, command: SystemCommand) -> Result<(), Failure> {
    match command {
        SystemCommand::Df(arguments) => disk(context, arguments).await,
        SystemCommand::Events(arguments) => events::events(context, arguments).await,
        SystemCommand::Info(arguments) => info::info(context, arguments).await,
    }
}

async fn disk(context: &Context, arguments: DiskArguments) -> Result<(), Failure> {
    let usage = context.client.get("/system/df", &[]).await?;
    let images = usage.list("Images");
    let known = |image: &&Value| image.int("Size") != -1 && image.int("SharedSize") != -1;
    let used = images.iter().filter(|image| image.int("Containers") != 0).filter(known);
    let used: i64 = used.map(|image| image.int("Size") - image.int("SharedSize")).sum();
    let layers = usage.int("LayersSize");
    let containers = usage.list("Containers");
    let is_up = |container: &&Value| matches!(container.text("State"), "running" | "paused" | "restarting");
    let written = |container: &Value| container.int("SizeRw");
    let size: i64 = containers.iter().map(written).sum();
    let idle: i64 = containers.iter().filter(|container| !is_up(container)).map(written).sum();
    let volumes = usage.list("Volumes");
    let held = |volume: &&Value| volume.int("UsageData.RefCount") > 0;
    let volume_size = |volume: &Value| volume.int("UsageData.Size").max(0);
    let all: i64 = volumes.iter().map(volume_size).sum();
    let free: i64 = volumes.iter().filter(|volume| !held(volume)).map(volume_size).sum();
    let rows = vec![
        row(
            "Images",
            images.len(),
            images.iter().filter(|image| image.int("Containers") > 0).count(),
            layers,
            layers - used,
        ),
        row("Containers", containers.len(), containers.iter().filter(is_up).count(), size, idle),
        row("Local Volumes", volumes.len(), volumes.iter().filter(held).count(), all, free),
        row("Build Cache", 0, 0, 0, 0),
    ];
    COLUMNS.show(context, arguments.format.as_deref(), false, rows)
}

fn row(kind: &str, total: usize, active: usize, size: i64, free: i64) -> crate::format::Row {
    let bytes = decimal_size(free as f64);
    let free = if size > 0 { format!("{bytes} ({}%)", free * 100 / size) } else { bytes };
    vec![
        ("Type", Value::from(kind)),
        ("TotalCount", Value::from(total.to_string())),
        ("Active", Value::from(active.to_string())),
        ("Size", Value::from(decimal_size(size as f64))),
        ("Reclaimable", Value::from(free)),
    ]
}
