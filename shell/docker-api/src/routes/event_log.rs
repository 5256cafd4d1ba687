//! The last events of the swarm, and those that come: one watch over committed changes for all who ask for events.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, broadcast, watch};

use super::now;
use crate::api::Api;
use crate::control::SwarmEvent;
use crate::convert::event::{Message, message};
use crate::limits::{EVENT_QUEUE, EVENTS_KEPT, WATCH_OPEN_PATIENCE, WATCH_PAUSE};
use crate::swarm::Standing;

/// A change, and what it is in Docker's words, if Docker has any.
pub(crate) struct Told {
    pub(crate) event: SwarmEvent,
    pub(crate) message: Option<Message>,
}

/// Shared by all requests.
pub(crate) struct EventLog {
    started: AtomicBool,
    kept: Mutex<VecDeque<Message>>,
    live: broadcast::Sender<Arc<Told>>,
    /// Whether changes are seen now.
    open: watch::Sender<bool>,
    /// Looks at once whether there are changes to see.
    look: Notify,
}

impl Default for EventLog {
    fn default() -> Self {
        Self {
            started: AtomicBool::new(false),
            kept: Mutex::default(),
            live: broadcast::channel(EVENT_QUEUE).0,
            open: watch::channel(false).0,
            look: Notify::new(),
        }
    }
}

impl EventLog {
    fn kept(&self) -> MutexGuard<'_, VecDeque<Message>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to listen, once; until the server stops.
    pub(crate) fn start(api: &Api) {
        if !api.events.started.swap(true, Ordering::Relaxed) {
            let api = api.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = api.stop.cancelled() => {}
                    () = listen(&api) => {}
                }
            });
        }
    }

    /// Sees to it that a manager's changes are seen from now on, also of one that has only just become a manager.
    pub(crate) async fn opened(api: &Api) {
        Self::start(api);
        let log = &api.events;
        let mut open = log.open.subscribe();
        if api.swarm.standing() == Standing::Manager && !*open.borrow() {
            log.look.notify_one();
            let opened = open.wait_for(|open| *open);
            if tokio::time::timeout(WATCH_OPEN_PATIENCE, opened).await.is_err() {
                tracing::debug!("events are not seen yet");
            }
        }
    }

    /// What was kept, and everything from now on.
    pub(crate) async fn subscribe(api: &Api) -> (Vec<Message>, broadcast::Receiver<Arc<Told>>) {
        Self::opened(api).await;
        let log = &api.events;
        // Both under one lock: nothing is told twice, nothing falls between.
        let kept = log.kept();
        (kept.iter().cloned().collect(), log.live.subscribe())
    }

    fn tell(&self, event: SwarmEvent) {
        let message = message(&event, now());
        let mut kept = self.kept();
        if let Some(message) = &message {
            if kept.len() == EVENTS_KEPT {
                kept.pop_front();
            }
            kept.push_back(message.clone());
        }
        // Nobody may be listening.
        let _ = self.live.send(Arc::new(Told { event, message }));
    }
}

/// Opens the watch again when it ends, e.g. because this node became a manager only now.
async fn listen(api: &Api) {
    let log = &api.events;
    loop {
        let events = if api.swarm.standing() == Standing::Manager { api.control.watch().await.ok() } else { None };
        if let Some(mut events) = events {
            log.open.send_replace(true);
            while let Some(event) = events.recv().await {
                log.tell(event);
            }
            log.open.send_replace(false);
        }
        tokio::select! {
            () = tokio::time::sleep(WATCH_PAUSE) => {}
            () = log.look.notified() => {}
        }
    }
}
