//! Every limit of the server, by name.

use std::time::Duration;

/// Connections served at once; more wait in the listener's queue.
pub const MAX_CONNECTIONS: usize = 4096;
/// Largest request head.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;
/// Most headers in a request.
pub const MAX_HEADERS: usize = 128;
/// How long a client may take for a request's head, and how long a kept-alive connection may lie idle.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(120);
/// Largest JSON body: a config of 1,000 KiB in base64 and room to spare.
pub const MAX_JSON_BODY_BYTES: usize = 4 * 1024 * 1024;
/// How long a client may be silent in the middle of a JSON body.
pub const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// What is still taken in of a request that is answered without its body, as Go's servers do.
pub const MAX_UNREAD_BYTES: usize = 256 * 1024;
/// … and how long its client may be silent meanwhile.
pub const UNREAD_PATIENCE: Duration = Duration::from_millis(500);
/// How long open requests may go on once the server shuts down.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client may take to switch protocols after it was told to.
pub const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after the listener failed to accept (e.g. no file descriptors left).
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Items waiting in a stream to a slow client before its source waits.
pub const STREAM_QUEUE: usize = 64;
/// Tasks of a list that are written at once; a longer list is written while it is sent.
pub const TASKS_AT_ONCE: usize = 256;
/// Bytes read at once from an upgraded connection.
pub const UPGRADED_READ_BYTES: usize = 32 * 1024;
/// Events of the swarm that are kept for those who ask for the past, as many as Docker keeps.
pub const EVENTS_KEPT: usize = 256;
/// Changes that may wait for one who listens to events; who falls further behind is cut off.
pub const EVENT_QUEUE: usize = 4096;
/// How long a request for events waits until changes are seen.
pub const WATCH_OPEN_PATIENCE: Duration = Duration::from_secs(1);
/// Pause before the watch is opened again after it ended.
pub const WATCH_PAUSE: Duration = Duration::from_secs(1);
/// Between two readings of a container's resources.
pub const STATS_PERIOD: Duration = Duration::from_secs(1);

/// The limits of patience, for callers who want others (and for tests, which want them short).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// See [`HEADER_TIMEOUT`].
    pub header: Duration,
    /// See [`BODY_IDLE_TIMEOUT`].
    pub body_idle: Duration,
    /// See [`DRAIN_TIMEOUT`].
    pub drain: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { header: HEADER_TIMEOUT, body_idle: BODY_IDLE_TIMEOUT, drain: DRAIN_TIMEOUT }
    }
}
