//! The worker's half of the log broker: reads what the managers subscribe to, and sends it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skep_executor::{NodeFacts, Runtime};
use skep_model::engine::{Container, LogLine, LogQuery, LogStream};
use skep_model::pb::messages as m;
use skep_model::{TaskId, WallTime};
use skep_rpc::client::DispatcherClient;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Pause before a broken stream of subscriptions is opened again.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);
/// Lines sent in one message.
const LINES_PER_MESSAGE: usize = 64;

/// Follows the managers' subscriptions for as long as the session lives.
pub(super) async fn listen(client: DispatcherClient, runtime: Arc<Runtime>, facts: Arc<NodeFacts>) {
    loop {
        let mut running: BTreeMap<String, tokio::task::AbortHandle> = BTreeMap::new();
        let mut work = JoinSet::new();
        match client.listen_subscriptions().await {
            Ok(mut stream) => {
                while let Some(Ok(message)) = stream.next().await {
                    if message.close {
                        if let Some(handle) = running.remove(&message.id) {
                            handle.abort();
                        }
                        continue;
                    }
                    let id = message.id.clone();
                    let publishing = publish(client.clone(), Arc::clone(&runtime), Arc::clone(&facts), message);
                    running.insert(id, work.spawn(publishing));
                }
            }
            Err(refusal) => tracing::debug!("log subscriptions: {refusal}"),
        }
        drop(work);
        tokio::time::sleep(REOPEN_PAUSE).await;
    }
}

async fn publish(
    client: DispatcherClient,
    runtime: Arc<Runtime>,
    facts: Arc<NodeFacts>,
    subscription: m::SubscriptionMessage,
) {
    let (sender, delivered) = client.publish_logs();
    let options = subscription.options.clone().unwrap_or_default();
    let selector = subscription.selector.clone().unwrap_or_default();
    let mut events = runtime.events();
    let mut seen = BTreeSet::new();
    let mut readers = JoinSet::new();
    for container in runtime.containers() {
        begin(&runtime, &facts, &selector, &options, container, &subscription.id, &sender, &mut seen, &mut readers);
    }
    if options.follow {
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Ok(event) => begin(
                        &runtime, &facts, &selector, &options, event.container.clone(), &subscription.id, &sender,
                        &mut seen, &mut readers,
                    ),
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => break,
                },
                () = sender.closed() => break,
            }
        }
    }
    while readers.join_next().await.is_some() {}
    let close = m::PublishLogsMessage { subscription_id: subscription.id, messages: Vec::new(), close: true };
    if sender.send(close).await.is_err() {
        tracing::debug!("the manager no longer takes logs");
    }
    drop(sender);
    match delivered.await {
        Ok(Ok(())) => {}
        Ok(Err(refusal)) => tracing::debug!("logs were not delivered: {refusal}"),
        Err(error) => tracing::debug!("logs were not delivered: {error}"),
    }
}

#[allow(clippy::too_many_arguments)]
fn begin(
    runtime: &Arc<Runtime>,
    facts: &NodeFacts,
    selector: &m::LogSelector,
    options: &m::LogSubscriptionOptions,
    container: Container,
    subscription_id: &str,
    sender: &mpsc::Sender<m::PublishLogsMessage>,
    seen: &mut BTreeSet<TaskId>,
    readers: &mut JoinSet<()>,
) {
    let Some(origin) = container.origin.clone().filter(|_| selects(selector, facts, &container)) else { return };
    // Without a start there is no output yet; the event of the start comes.
    if container.started_at.is_none() || !seen.insert(origin.task_id.clone()) {
        return;
    }
    let context = m::LogContext {
        service_id: origin.service_id.map(|id| id.to_string()).unwrap_or_default(),
        node_id: facts.id.to_string(),
        task_id: origin.task_id.to_string(),
    };
    let (runtime, query) = (Arc::clone(runtime), query(options));
    let (id, sender) = (subscription_id.to_owned(), sender.clone());
    readers.spawn(async move {
        match runtime.task_logs(&origin.task_id, query).await {
            Ok(lines) => send_lines(lines, &id, &context, &sender).await,
            Err(refusal) => tracing::warn!("the log of task {} cannot be read: {refusal}", origin.task_id),
        }
    });
}

fn selects(selector: &m::LogSelector, facts: &NodeFacts, container: &Container) -> bool {
    let Some(origin) = &container.origin else { return false };
    let service = origin.service_id.as_ref().map(ToString::to_string).unwrap_or_default();
    selector.service_ids.contains(&service)
        || selector.task_ids.iter().any(|task| *task == origin.task_id.as_str())
        || selector.node_ids.iter().any(|node| *node == facts.id.as_str())
}

/// A tail of `n` lines travels as `-(n + 1)`; 0 means everything (interop §9.7).
fn query(options: &m::LogSubscriptionOptions) -> LogQuery {
    let wants = |stream: m::LogStream| options.streams.is_empty() || options.streams.contains(&i32::from(stream));
    LogQuery {
        stdout: wants(m::LogStream::Stdout),
        stderr: wants(m::LogStream::Stderr),
        follow: options.follow,
        tail: (options.tail < 0).then(|| u64::try_from(-(options.tail + 1)).unwrap_or(0)),
        since: options.since.as_ref().map(WallTime::from),
        until: None,
    }
}

async fn send_lines(
    mut lines: skep_executor::LogFollower,
    subscription_id: &str,
    context: &m::LogContext,
    sender: &mpsc::Sender<m::PublishLogsMessage>,
) {
    let mut batch = Vec::new();
    while lines.recv_many(&mut batch, LINES_PER_MESSAGE).await > 0 {
        let mut messages = Vec::with_capacity(batch.len());
        for line in batch.drain(..) {
            match line {
                Ok(line) => messages.push(message(line, context)),
                Err(refusal) => tracing::warn!("the log of task {} broke off: {refusal}", context.task_id),
            }
        }
        let publish = m::PublishLogsMessage { subscription_id: subscription_id.to_owned(), messages, close: false };
        if sender.send(publish).await.is_err() {
            return;
        }
    }
}

fn message(line: LogLine, context: &m::LogContext) -> m::LogMessage {
    let stream = match line.stream {
        LogStream::Stdout => m::LogStream::Stdout,
        LogStream::Stderr => m::LogStream::Stderr,
    };
    m::LogMessage {
        context: Some(context.clone()),
        timestamp: Some(line.at.into()),
        stream: stream.into(),
        data: line.data,
        attrs: line.attributes.into_iter().map(|(key, value)| m::LogAttr { key, value }).collect(),
    }
}
