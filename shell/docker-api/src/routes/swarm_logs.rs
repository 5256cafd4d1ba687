//! `/services/{id}/logs` and `/tasks/{id}/logs`: output gathered from the nodes.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use skep_model::pb::messages as m;
use skep_model::pb::types::{self, task_spec};
use skep_model::{Code, Refusal, WallTime};
use tokio_stream::wrappers::ReceiverStream;

use super::log_query::{self, LogOptions};
use crate::api::Api;
use crate::frames::{Packing, Source};
use crate::lookup;
use crate::reply::{self, Answer};
use crate::request::Request;
use crate::status::Failure;

/// Prefix of the keys that tell where a line comes from; clients require them.
const CONTEXT: &str = "com.docker.swarm";

pub(crate) async fn of_service(api: &Api, request: Request, id: &str) -> Answer {
    api.manager()?;
    let options = LogOptions::parse(&request.query)?;
    let (service, _) = lookup::service(api, id).await?;
    let tty = terminal_of(service.value.spec.as_deref().and_then(|spec| spec.task.as_ref()))?;
    let selector = m::LogSelector { service_ids: vec![service.value.id], ..Default::default() };
    stream(api, &request, options, selector, tty).await
}

pub(crate) async fn of_task(api: &Api, request: Request, id: &str) -> Answer {
    api.manager()?;
    let options = LogOptions::parse(&request.query)?;
    let (task, _) = lookup::task(api, id).await?;
    let tty = terminal_of(task.value.spec.as_deref())?;
    let selector = m::LogSelector { task_ids: vec![task.value.id], ..Default::default() };
    stream(api, &request, options, selector, tty).await
}

fn terminal_of(spec: Option<&types::TaskSpec>) -> Result<bool, Failure> {
    match spec.and_then(|spec| spec.runtime.as_ref()) {
        Some(task_spec::Runtime::Container(container)) => Ok(container.tty),
        _ => {
            Err(Refusal::new(Code::Unknown, "error making log selector: logs only supported on container tasks").into())
        }
    }
}

/// SwarmKit counts back from the end in negative numbers, one further; 0 is everything.
fn tail(text: &str) -> Result<i64, Failure> {
    if text.is_empty() || text == "all" {
        return Ok(0);
    }
    // Docker answers these two with 500.
    let refuse = |message: &str| Err(Refusal::new(Code::Unknown, message).into());
    match text.parse::<i64>() {
        Ok(lines) if lines < 0 => refuse("negative tail values not supported"),
        Ok(lines) => Ok((-lines).saturating_sub(1)),
        Err(_) => refuse("tail value must be a positive integer or \"all\""),
    }
}

async fn stream(api: &Api, request: &Request, options: LogOptions, selector: m::LogSelector, tty: bool) -> Answer {
    let mut streams = Vec::new();
    if options.stdout {
        streams.push(m::LogStream::Stdout.into());
    }
    if options.stderr {
        streams.push(m::LogStream::Stderr.into());
    }
    let subscription = m::SubscribeLogsRequest {
        selector: Some(selector),
        options: Some(m::LogSubscriptionOptions {
            streams,
            follow: options.follow,
            tail: tail(request.query.get("tail"))?,
            since: options.since.map(Into::into),
        }),
    };
    let messages = api.control.subscribe_logs(subscription).await?;
    let packing = Packing::of_terminal(tty);
    let lines = ReceiverStream::new(messages).map(move |item| match item {
        Ok(batch) => pack(&options, packing, &batch.messages),
        Err(refusal) => packing.pack(Source::SystemError, format!("Error grabbing logs: {refusal}\n").as_bytes()),
    });
    let lines = lines.take_until(api.stop.clone().cancelled_owned());
    Ok(reply::stream(packing.media_type(request.version), lines))
}

fn pack(options: &LogOptions, packing: Packing, messages: &[m::LogMessage]) -> Bytes {
    let mut out = BytesMut::new();
    for message in messages {
        let source = match message.stream() {
            m::LogStream::Stderr => Source::Stderr,
            m::LogStream::Stdout | m::LogStream::Unknown => Source::Stdout,
        };
        let at = message.timestamp.as_ref().map(WallTime::from).unwrap_or_default();
        let details = if options.details { details(message) } else { String::new() };
        out.extend_from_slice(&options.line(packing, source, at, &details, &message.data));
    }
    out.freeze()
}

/// Sorted `key=value` pairs; where a line comes from overrides what the line says of itself.
fn details(message: &m::LogMessage) -> String {
    let mut pairs: BTreeMap<String, &str> =
        message.attrs.iter().map(|attribute| (attribute.key.clone(), attribute.value.as_str())).collect();
    let context = message.context.as_ref();
    for (key, value) in [
        ("node.id", context.map_or("", |context| &context.node_id)),
        ("service.id", context.map_or("", |context| &context.service_id)),
        ("task.id", context.map_or("", |context| &context.task_id)),
    ] {
        pairs.insert(format!("{CONTEXT}.{key}"), value);
    }
    log_query::details(&pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_count_back_from_the_end() {
        for (text, expected) in [("", 0), ("all", 0), ("0", -1), ("10", -11)] {
            assert_eq!(tail(text).unwrap(), expected, "{text}");
        }
        assert!(tail("-1").unwrap_err().message.contains("negative tail values not supported"));
        assert!(tail("x").unwrap_err().message.contains("must be a positive integer"));
    }
}
