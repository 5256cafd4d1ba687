//! `service logs`: lines of all tasks, each with the task it comes from.

use std::collections::BTreeMap;

use clap::Args;

use super::fetch;
use crate::api::{Channel, Demultiplexer, escape};
use crate::commands::output::since_stamp;
use crate::commands::task::Names;
use crate::context::Context;
use crate::failure::Failure;
use crate::human::short_id;
use crate::value::Value;

#[derive(Debug, Args)]
pub struct LogsArguments {
    /// Show extra details provided to logs
    #[arg(long)]
    details: bool,
    /// Follow log output
    #[arg(short, long)]
    follow: bool,
    /// Do not map IDs to Names in output
    #[arg(long)]
    no_resolve: bool,
    /// Do not include task IDs in output
    #[arg(long)]
    no_task_ids: bool,
    /// Do not truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Do not neatly format logs
    #[arg(long)]
    raw: bool,
    /// Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[arg(long, default_value = "")]
    since: String,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, default_value = "all")]
    tail: String,
    /// Show timestamps
    #[arg(short, long)]
    timestamps: bool,
    /// A service or a task
    target: String,
}

pub async fn logs(context: &Context, arguments: LogsArguments) -> Result<(), Failure> {
    let (kind, tty, slots) = match fetch(context, &arguments.target).await {
        Ok(service) => {
            let replicas = service.uint("Spec.Mode.Replicated.Replicas");
            ("services", service.bool("Spec.TaskTemplate.ContainerSpec.TTY"), replicas)
        }
        Err(failure) if failure.is_not_found() => {
            let path = format!("/tasks/{}", escape(&arguments.target));
            let task = context.client.get(&path, &[]).await.map_err(|failure| match failure.is_not_found() {
                true => Failure::new(format!("no such task or service: {}", arguments.target)),
                false => failure,
            })?;
            ("tasks", task.bool("Spec.ContainerSpec.TTY"), task.uint("Slot"))
        }
        Err(failure) => return Err(failure),
    };
    if tty && !arguments.raw {
        return Err(Failure::new("tty service logs only supported with --raw"));
    }
    let details = arguments.details || !arguments.raw;
    let mut query = vec![("stdout", "1".to_owned()), ("stderr", "1".to_owned()), ("tail", arguments.tail.clone())];
    for (name, on) in [("details", details), ("follow", arguments.follow), ("timestamps", arguments.timestamps)] {
        if on {
            query.push((name, "1".to_owned()));
        }
    }
    if !arguments.since.is_empty() {
        query.push(("since", since_stamp(&arguments.since)?));
    }
    let mut pieces = context.client.get_stream(&format!("/{kind}/{}/logs", escape(&arguments.target)), &query).await?;
    let mut prefixes = Prefixes {
        context,
        arguments: &arguments,
        names: Names::new(context, arguments.no_resolve),
        width: slots.to_string().len(),
        known: BTreeMap::new(),
    };
    let mut demultiplexer = Demultiplexer::default();
    while let Some(piece) = pieces.next().await? {
        if tty {
            context.write(&piece)?;
            continue;
        }
        for (channel, line) in demultiplexer.feed(&piece)? {
            let line = match channel {
                Channel::System => {
                    return Err(Failure::new(format!(
                        "error from daemon in stream: {}",
                        String::from_utf8_lossy(&line)
                    )));
                }
                _ if arguments.raw => line,
                _ => prefixes.format(&line).await?,
            };
            if channel == Channel::Error { context.write_error(line)? } else { context.write(line)? }
        }
    }
    Ok(())
}

struct Prefixes<'a> {
    context: &'a Context,
    arguments: &'a LogsArguments,
    names: Names<'a>,
    /// Digits of the largest slot.
    width: usize,
    known: BTreeMap<(String, String, String), String>,
}

impl Prefixes<'_> {
    /// `[timestamp ]details message` becomes `[timestamp ]service.slot.task@node    | [details ]message`.
    async fn format(&mut self, line: &[u8]) -> Result<Vec<u8>, Failure> {
        let bad = || Failure::new(format!("invalid context in log message: {}", String::from_utf8_lossy(line)));
        let parts = if self.arguments.timestamps { 3 } else { 2 };
        let mut fields = line.splitn(parts, |byte| *byte == b' ');
        let mut output = Vec::new();
        if self.arguments.timestamps {
            output.extend_from_slice(fields.next().ok_or_else(bad)?);
            output.push(b' ');
        }
        let details = std::str::from_utf8(fields.next().ok_or_else(bad)?).map_err(|_| bad())?;
        let message = fields.next().ok_or_else(bad)?;
        let mut details: BTreeMap<String, String> = details
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (unescape(key), unescape(value)))
            .collect();
        let mut take = |what: &str| {
            let found = details.remove(&format!("com.docker.swarm.{what}.id"));
            found.ok_or_else(|| Failure::new(format!("missing {what} id in details")))
        };
        let origin = (take("node")?, take("service")?, take("task")?);
        output.extend_from_slice(self.prefix(origin).await?.as_bytes());
        output.extend_from_slice(b"    | ");
        if self.arguments.details {
            let rest: Vec<String> = details.iter().map(|(key, value)| format!("{key}={value}")).collect();
            output.extend_from_slice(rest.join(",").as_bytes());
            output.push(b' ');
        }
        output.extend_from_slice(message);
        Ok(output)
    }

    async fn prefix(&mut self, origin: (String, String, String)) -> Result<String, Failure> {
        if let Some(known) = self.known.get(&origin) {
            return Ok(known.clone());
        }
        let (node, service, task) = &origin;
        let node = self.names.of("nodes", node).await;
        let service = self.names.of("services", service).await;
        let found: Value = self.context.client.get(&format!("/tasks/{}", escape(task)), &[]).await?;
        let slot = found.uint("Slot");
        let id = match (self.arguments.no_task_ids, self.arguments.no_trunc) {
            (true, _) => String::new(),
            (false, true) => format!(".{task}"),
            (false, false) => format!(".{}", short_id(task)),
        };
        let padding = " ".repeat(self.width.saturating_sub(slot.to_string().len()));
        let prefix = format!("{service}.{slot}{id}@{node}{padding}");
        self.known.insert(origin, prefix.clone());
        Ok(prefix)
    }
}

/// `%XX` and `+` of a query.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let hex = (bytes[index] == b'%').then(|| text.get(index + 1..index + 3)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                index += 3;
            }
            None => {
                plain.push(if bytes[index] == b'+' { b' ' } else { bytes[index] });
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}
