//! Streams to workers: which connection each belongs to, and how messages get into them without waiting.

use std::collections::BTreeMap;

use skep_manager::{DispatchEffect, StreamId};
use skep_model::pb::messages as m;
use skep_model::{NodeId, Refusal};
use skep_rpc::backend::ConnectionId;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::AbortHandle;

/// One stream to a worker.
enum Feed {
    Session(mpsc::Sender<Result<m::SessionMessage, Refusal>>),
    Assignments(mpsc::Sender<Result<m::AssignmentsMessage, Refusal>>),
}

struct Open {
    feed: Feed,
    node: NodeId,
    connection: ConnectionId,
    /// Tells the loop when the transport drops the other end; holds a sender, so it must end with the stream.
    watch: Option<AbortHandle>,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.take() {
            watch.abort();
        }
    }
}

/// All streams to workers.
#[derive(Default)]
pub(super) struct Feeds {
    open: BTreeMap<StreamId, Open>,
    last: u64,
}

impl Feeds {
    /// A number that was never used in this process.
    pub(super) fn fresh(&mut self) -> StreamId {
        self.last += 1;
        StreamId(self.last)
    }

    pub(super) fn add_session(
        &mut self,
        stream: StreamId,
        node: NodeId,
        connection: ConnectionId,
        sender: mpsc::Sender<Result<m::SessionMessage, Refusal>>,
        watch: Option<AbortHandle>,
    ) {
        self.open.insert(stream, Open { feed: Feed::Session(sender), node, connection, watch });
    }

    pub(super) fn add_assignments(
        &mut self,
        stream: StreamId,
        node: NodeId,
        connection: ConnectionId,
        sender: mpsc::Sender<Result<m::AssignmentsMessage, Refusal>>,
        watch: Option<AbortHandle>,
    ) {
        self.open.insert(stream, Open { feed: Feed::Assignments(sender), node, connection, watch });
    }

    /// Forgets a stream; whose it was.
    pub(super) fn remove(&mut self, stream: StreamId) -> Option<NodeId> {
        self.open.remove(&stream).map(|open| open.node.clone())
    }

    /// Forgets all streams of a connection.
    pub(super) fn remove_connection(&mut self, connection: &ConnectionId) -> Vec<(StreamId, NodeId)> {
        let streams: Vec<StreamId> =
            self.open.iter().filter(|(_, open)| open.connection == *connection).map(|(id, _)| *id).collect();
        streams.into_iter().filter_map(|id| self.open.remove(&id).map(|open| (id, open.node.clone()))).collect()
    }

    /// Sends without waiting. A stream whose reader does not keep up is ended: the worker opens it anew and gets
    /// everything from the start. Gives the stream that ended so. One whose reader is gone is ended by the news of
    /// that (`Ask::FeedClosed`, `Ask::ConnectionClosed`), which also says how.
    pub(super) fn perform(&mut self, effect: DispatchEffect) -> Option<StreamId> {
        match effect {
            DispatchEffect::Session { stream, message } => {
                let Feed::Session(sender) = &self.open.get(&stream)?.feed else { return None };
                matches!(sender.try_send(Ok(*message)), Err(TrySendError::Full(_))).then_some(stream)
            }
            DispatchEffect::Assignments { stream, message } => {
                let Feed::Assignments(sender) = &self.open.get(&stream)?.feed else { return None };
                matches!(sender.try_send(Ok(message)), Err(TrySendError::Full(_))).then_some(stream)
            }
            // Taken by the loop itself: it goes into no stream.
            DispatchEffect::FetchSecret { .. } => None,
            DispatchEffect::Warn(text) => {
                tracing::warn!("{text}");
                None
            }
            DispatchEffect::Close { stream, refusal } => {
                let open = self.open.remove(&stream)?;
                // A reader that is gone needs no farewell.
                let told = match &open.feed {
                    Feed::Session(sender) => sender.try_send(Err(refusal)).is_ok(),
                    Feed::Assignments(sender) => sender.try_send(Err(refusal)).is_ok(),
                };
                if !told {
                    tracing::debug!("a stream of {} had gone before it was closed", open.node);
                }
                None
            }
        }
    }
}
