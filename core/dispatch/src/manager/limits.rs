//! The dispatcher's numbers (source: interop §4.1 unless said otherwise).

use std::time::Duration;

/// The period handed out varies by at most this much either way, so that workers spread out.
pub const HEARTBEAT_EPSILON: Duration = Duration::from_millis(500);
/// Periods without a heartbeat until a registered node is down.
pub const GRACE_PERIODS: u32 = 3;
/// Periods until a node that was known to an earlier leader is down.
pub const GRACE_PERIODS_UNKNOWN: u32 = 6;
/// Registrations closer together than this are counted.
pub const REGISTRATION_RATE_PERIOD: Duration = Duration::from_secs(8);
/// Registrations in quick succession that are let through.
pub const REGISTRATION_RATE_COUNT: u32 = 3;
/// Tasks of a node that stays down this long are given up as ORPHANED.
pub const DOWN_UNTIL_ORPHANED: Duration = Duration::from_secs(24 * 3600);
/// Statuses waiting to be written that end the wait for more.
pub const STATUS_BATCH_COUNT: usize = 10_000;
/// Longest wait of a status for others.
pub const STATUS_BATCH_DELAY: Duration = Duration::from_millis(100);
/// The wait grows with what was written before: this much for each status of the batch before (ours).
pub const STATUS_DELAY_PER_UPDATE: Duration = Duration::from_micros(50);
/// Changes of tasks in one incremental message.
pub const ASSIGNMENT_BATCH_COUNT: usize = 100;
/// Shortest pause between two messages on one stream of assignments (ours; SwarmKit waits 100 ms for more changes).
pub const ASSIGNMENT_SPACING: Duration = Duration::from_millis(5);
/// The leader's weight among the managers; the others have 10 (ours; SwarmKit does not tell them apart).
pub const LEADER_WEIGHT: i64 = 20;
/// A worker whose connection was reset is down after this, unless it registers again (ours; must stay below 2 s).
pub const SUSPICION: Duration = Duration::from_millis(1500);
/// Longest hold that a worker may ask for while its daemon restarts (ours).
pub const RESTART_HOLD_MAX: Duration = Duration::from_secs(300);
/// A turn later than its deadline by more than this means that we stood still, not that the workers did (ours).
pub const STALL: Duration = Duration::from_secs(1);
/// Values of secrets that all drivers together are asked for at a time (ours; SwarmKit asks one after the other).
pub const SECRET_FETCHES_MAX: usize = 64;
/// … and one of them.
pub const SECRET_FETCHES_PER_DRIVER_MAX: usize = 8;
/// Until a driver is asked again that gave no value; twice as long after each further time (ours; SwarmKit does not ask
/// again).
pub const SECRET_RETRY_FIRST: Duration = Duration::from_secs(1);
/// … and at most.
pub const SECRET_RETRY_MAX: Duration = Duration::from_secs(30);
/// How long a node's whole set waits for values that its tasks may need to start (ours).
pub const WHOLE_SET_PATIENCE: Duration = Duration::from_secs(5);
