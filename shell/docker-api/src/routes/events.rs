//! `/events`: committed changes of the swarm, those that are kept and those that come. Events of tasks, which Docker
//! does not tell of, come to those who ask for `type=task`; of them the past is not kept.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use skep_model::WallTime;
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use super::event_log::{EventLog, Told};
use super::log_query::unix_time;
use super::now;
use crate::api::Api;
use crate::convert::event::{Message, task_message};
use crate::filters::Filters;
use crate::limits::STREAM_QUEUE;
use crate::reply::{self, Answer};
use crate::request::Request;
use crate::status::Failure;

/// Kinds, each also the key of a filter by id or name.
const KINDS: [&str; 6] = ["config", "network", "node", "secret", "service", "task"];

/// What else events can be filtered by; kinds that never happen here are understood all the same.
const OTHER_FILTERS: [&str; 11] =
    ["type", "event", "scope", "label", "container", "image", "volume", "daemon", "plugin", "builder", "action"];

pub(crate) async fn events(api: &Api, request: Request) -> Answer {
    let accepted: Vec<&str> = KINDS.iter().chain(&OTHER_FILTERS).copied().collect();
    let filters = Filters::parse(&request.query, &accepted)?;
    let since = unix_time(&request.query, "since")?;
    let until = unix_time(&request.query, "until")?;
    if since.zip(until).is_some_and(|(since, until)| until < since) {
        let (since, until) = (request.query.get("since"), request.query.get("until"));
        return Err(Failure::bad_request(format!("`since` time ({since}) cannot be after `until` time ({until})")));
    }
    let (sender, receiver) = mpsc::channel(STREAM_QUEUE);
    let media_type = if request.version.0 < 52 { "application/json" } else { "application/jsonl" };
    // Opened before the answer begins, so that a client sees everything from its first byte on.
    let (kept, live) = EventLog::subscribe(api).await;
    let past = if since.is_none() && until.is_none() { Vec::new() } else { kept };
    let wanted = |message: &Message| {
        since.is_none_or(|since| message.time_nano >= since.0) && until.is_none_or(|until| message.time_nano <= until.0)
    };
    let past: Vec<Message> = past.into_iter().filter(|message| wanted(message) && admits(&filters, message)).collect();
    let stop = api.stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = pump(past, live, filters, until, &sender) => {}
            () = sender.closed() => {}
            () = stop.cancelled() => {}
        }
    });
    let lines = ReceiverStream::new(receiver).take_until(api.stop.clone().cancelled_owned());
    Ok(reply::stream(media_type, lines))
}

/// Runs until the client goes, falls too far behind, or `until` has passed.
async fn pump(
    past: Vec<Message>,
    mut live: broadcast::Receiver<Arc<Told>>,
    filters: Filters,
    until: Option<WallTime>,
    sender: &mpsc::Sender<Bytes>,
) {
    let end = until.map(|until| Instant::now() + span(now(), until));
    for message in &past {
        if send(sender, message).await.is_err() {
            return;
        }
    }
    let over = async {
        match end {
            Some(end) => tokio::time::sleep_until(end).await,
            None => std::future::pending().await,
        }
    };
    let forward = async {
        let of_tasks = filters.get("type").iter().any(|kind| kind == "task");
        loop {
            let told = match live.recv().await {
                Ok(told) => told,
                Err(error) => return tracing::debug!(%error, "a reader of events is cut off"),
            };
            let of_task = if of_tasks { task_message(&told.event, now()) } else { None };
            let Some(message) = told.message.as_ref().or(of_task.as_ref()) else { continue };
            if admits(&filters, message) && send(sender, message).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = over => {}
        () = forward => {}
    }
}

async fn send(sender: &mpsc::Sender<Bytes>, message: &Message) -> Result<(), mpsc::error::SendError<Bytes>> {
    let mut line = match serde_json::to_vec(message) {
        Ok(line) => line,
        Err(error) => {
            tracing::error!(%error, "an event cannot be written");
            return Ok(());
        }
    };
    line.push(b'\n');
    sender.send(line.into()).await
}

fn span(from: WallTime, to: WallTime) -> std::time::Duration {
    std::time::Duration::from_nanos(u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0))
}

fn admits(filters: &Filters, message: &Message) -> bool {
    let name = message.actor.attributes.get("name").map_or("", String::as_str);
    let named =
        |kind: &str| message.kind != kind || filters.admits(kind, &message.actor.id) || filters.admits(kind, name);
    // Asking for one container (or image, …) leaves out everything that is none.
    let others = OTHER_FILTERS[4..10].iter().all(|kind| !filters.has(kind));
    let own = !KINDS.iter().any(|kind| filters.has(kind)) || filters.has(message.kind);
    others
        && own
        && filters.admits("type", message.kind)
        && filters.admits("event", message.action)
        && filters.admits("action", message.action)
        && filters.admits("scope", "swarm")
        && filters.admits_labels("label", &message.actor.attributes)
        && KINDS.iter().all(|kind| named(kind))
}
