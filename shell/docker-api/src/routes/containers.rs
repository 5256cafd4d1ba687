//! `/containers`: this node's containers, which the swarm makes and removes.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::StatusCode;
use serde_json::{Value, json};
use skep_model::engine::{Container, ContainerState, ContainerStats, LogQuery};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::log_query::{self, LogOptions};
use super::now;
use crate::api::Api;
use crate::convert::engine as convert;
use crate::filters::Filters;
use crate::frames::{Packing, Source};
use crate::limits::{STATS_PERIOD, STREAM_QUEUE};
use crate::reply::{self, Answer};
use crate::request::Request;
use crate::status::Failure;

const FILTERS: [&str; 8] = ["id", "name", "label", "status", "ancestor", "network", "health", "is-task"];

/// A container by id, name or prefix of its id.
pub(crate) async fn find(api: &Api, input: &str) -> Result<Container, Failure> {
    let containers = api.engine.containers().await?;
    let name = input.strip_prefix('/').unwrap_or(input);
    if let Some(container) = containers.iter().find(|one| one.id == input) {
        return Ok(container.clone());
    }
    if let Some(container) = containers.iter().find(|one| one.name == name) {
        return Ok(container.clone());
    }
    let mut prefixed = containers.iter().filter(|one| one.id.starts_with(input));
    match (prefixed.next(), prefixed.next()) {
        (Some(container), None) => Ok(container.clone()),
        (Some(_), Some(_)) => Err(Failure::bad_request(format!("Multiple IDs found with provided prefix: {input}"))),
        (None, _) => Err(Failure::not_found(format!("No such container: {input}"))),
    }
}

async fn running(api: &Api, input: &str) -> Result<Container, Failure> {
    let container = find(api, input).await?;
    if container.state == ContainerState::Running {
        return Ok(container);
    }
    Err(Failure::new(StatusCode::CONFLICT, format!("container {} is not running", container.id)))
}

fn admits(filters: &Filters, container: &Container) -> bool {
    let labels = convert::labels(container)
        .into_iter()
        .map(|(key, value)| (key, value.as_str().unwrap_or_default().to_owned()))
        .collect();
    let any = |key: &str, test: &dyn Fn(&str) -> bool| {
        !filters.has(key) || filters.get(key).iter().any(|wanted| test(wanted))
    };
    let health = match container.health {
        None => "none",
        Some(skep_model::engine::Health::Starting) => "starting",
        Some(skep_model::engine::Health::Healthy) => "healthy",
        Some(skep_model::engine::Health::Unhealthy) => "unhealthy",
    };
    any("id", &|wanted| container.id.starts_with(wanted))
        && any("name", &|wanted| container.name.contains(wanted.trim_start_matches(['^', '/']).trim_end_matches('$')))
        && any("ancestor", &|wanted| container.image == wanted || container.image_id == wanted)
        && any("is-task", &|wanted| (wanted == "true") == container.origin.is_some())
        && filters.admits("network", &container.network_name)
        && filters.admits("health", health)
        && filters.admits("status", convert::state(container.state))
        && filters.admits_labels("label", &labels)
}

pub(crate) async fn list(api: &Api, request: Request) -> Answer {
    let filters = Filters::parse(&request.query, &FILTERS)?;
    let limit: usize = match request.query.get("limit") {
        "" | "0" | "-1" => 0,
        text => text.parse().map_err(|_| Failure::bad_request(format!("limit {text:?} is not a number")))?,
    };
    let all = request.query.flag("all") || limit > 0 || filters.has("status");
    let mut containers = api.engine.containers().await?;
    containers.retain(|one| (all || one.state == ContainerState::Running) && admits(&filters, one));
    containers.sort_by_key(|one| std::cmp::Reverse(one.created_at));
    if limit > 0 {
        containers.truncate(limit);
    }
    let at = now();
    let list: Vec<Value> = containers.iter().map(|one| convert::container_summary(one, at)).collect();
    reply::ok(&list)
}

pub(crate) async fn inspect(api: &Api, id: &str) -> Answer {
    reply::ok(&convert::container_inspect(&find(api, id).await?))
}

pub(crate) async fn logs(api: &Api, request: Request, id: &str) -> Answer {
    let container = find(api, id).await?;
    let options = LogOptions::parse(&request.query)?;
    let query = LogQuery {
        stdout: options.stdout,
        stderr: options.stderr,
        follow: options.follow,
        // As Docker: what is no number means everything.
        tail: request.query.get("tail").parse().ok(),
        since: options.since,
        until: options.until,
    };
    let lines = api.engine.container_logs(&container.id, query).await?;
    let packing = Packing::of_terminal(container.tty);
    let lines = ReceiverStream::new(lines).map(move |item| match item {
        Ok(line) => {
            let details = if options.details { log_query::details(&line.attributes) } else { String::new() };
            options.line(packing, line.stream.into(), line.at, &details, &line.data)
        }
        Err(refusal) => packing.pack(Source::SystemError, format!("Error grabbing logs: {refusal}\n").as_bytes()),
    });
    let lines = lines.take_until(api.stop.clone().cancelled_owned());
    Ok(reply::stream(packing.media_type(request.version), lines))
}

pub(crate) async fn top(api: &Api, request: Request, id: &str) -> Answer {
    let container = running(api, id).await?;
    let arguments = match request.query.get("ps_args") {
        "" => "-ef",
        arguments => arguments,
    };
    let list = api.engine.top(&container.id, arguments).await?;
    reply::ok(&json!({ "Titles": list.titles, "Processes": list.processes }))
}

pub(crate) async fn stats(api: &Api, request: Request, id: &str) -> Answer {
    let container = find(api, id).await?;
    let stream = match request.query.get("stream") {
        "" => true,
        _ => request.query.flag("stream"),
    };
    let first = api.engine.stats(&container.id).await?;
    if stream {
        let (sender, receiver) = mpsc::channel(STREAM_QUEUE);
        let api_of_task = api.clone();
        tokio::spawn(async move { pump_stats(api_of_task, container, first, sender).await });
        let lines = ReceiverStream::new(receiver).take_until(api.stop.clone().cancelled_owned());
        return Ok(reply::stream("application/json", lines));
    }
    if request.query.flag("one-shot") {
        return reply::ok(&convert::stats(&container, &first, None));
    }
    tokio::time::sleep(STATS_PERIOD).await;
    let second = api.engine.stats(&container.id).await?;
    reply::ok(&convert::stats(&container, &second, Some(&first)))
}

/// A reading each second until the client or the container goes.
async fn pump_stats(api: Api, container: Container, mut reading: ContainerStats, sender: mpsc::Sender<Bytes>) {
    let mut before = None;
    loop {
        let Ok(mut line) = serde_json::to_vec(&convert::stats(&container, &reading, before.as_ref())) else { return };
        line.push(b'\n');
        if sender.send(line.into()).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(STATS_PERIOD) => {}
            () = sender.closed() => return,
        }
        let Ok(next) = api.engine.stats(&container.id).await else { return };
        before = Some(std::mem::replace(&mut reading, next));
    }
}

pub(crate) async fn stop(api: &Api, request: Request, id: &str) -> Answer {
    let container = find(api, id).await?;
    let timeout = match request.query.get("t") {
        "" => None,
        text => {
            let seconds: i64 =
                text.parse().map_err(|_| Failure::bad_request(format!("t {text:?} is not a number of seconds")))?;
            // Negative: as long as it takes.
            Some(u64::try_from(seconds).map_or(Duration::MAX, Duration::from_secs))
        }
    };
    if container.state != ContainerState::Running {
        return Ok(reply::empty(StatusCode::NOT_MODIFIED));
    }
    let signal = Some(request.query.get("signal")).filter(|signal| !signal.is_empty());
    api.engine.stop(&container.id, signal, timeout).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn kill(api: &Api, request: Request, id: &str) -> Answer {
    let container = running(api, id).await.map_err(|failure| match failure.status {
        StatusCode::CONFLICT => {
            Failure::new(failure.status, format!("cannot kill container: {id}: {}", failure.message))
        }
        _ => failure,
    })?;
    let signal = match request.query.get("signal") {
        "" => "SIGKILL",
        signal => signal,
    };
    api.engine.kill(&container.id, signal).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
