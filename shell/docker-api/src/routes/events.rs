//! `/events`: committed changes of the swarm, as they come. There is no history: `since` filters nothing.

use bytes::Bytes;
use futures::StreamExt;
use skep_model::WallTime;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use super::log_query::unix_time;
use super::now;
use crate::api::Api;
use crate::convert::event::{Message, message};
use crate::filters::Filters;
use crate::limits::{STREAM_QUEUE, WATCH_PAUSE};
use crate::reply::{self, Answer};
use crate::request::Request;
use crate::status::Failure;
use crate::swarm::Standing;

/// Kinds, each also the key of a filter by id or name.
const KINDS: [&str; 5] = ["config", "network", "node", "secret", "service"];

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
    let first = if api.swarm.standing() == Standing::Manager { api.control.watch().await.ok() } else { None };
    let api_of_task = api.clone();
    tokio::spawn(async move { pump(api_of_task, filters, until, first, sender).await });
    let lines = ReceiverStream::new(receiver).take_until(api.stop.clone().cancelled_owned());
    Ok(reply::stream(media_type, lines))
}

/// Runs until the client goes, `until` has passed, or the server stops. Opens the watch again when it ends, e.g.
/// because this node became a manager only now.
async fn pump(
    api: Api,
    filters: Filters,
    until: Option<WallTime>,
    mut watch: Option<mpsc::Receiver<crate::SwarmEvent>>,
    sender: mpsc::Sender<Bytes>,
) {
    let end = until.map(|until| Instant::now() + span(now(), until));
    let over = async {
        match end {
            Some(end) => tokio::time::sleep_until(end).await,
            None => std::future::pending().await,
        }
    };
    let forward = async {
        loop {
            if let Some(events) = &mut watch {
                while let Some(event) = events.recv().await {
                    let Some(message) = message(&event, now()).filter(|message| admits(&filters, message)) else {
                        continue;
                    };
                    let Ok(mut line) = serde_json::to_vec(&message) else { continue };
                    line.push(b'\n');
                    if sender.send(line.into()).await.is_err() {
                        return;
                    }
                }
            }
            tokio::time::sleep(WATCH_PAUSE).await;
            watch = if api.swarm.standing() == Standing::Manager { api.control.watch().await.ok() } else { None };
        }
    };
    tokio::select! {
        () = over => {}
        () = forward => {}
        () = sender.closed() => {}
        () = api.stop.cancelled() => {}
    }
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
