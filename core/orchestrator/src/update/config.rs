//! How an update or a rollback is to be carried out, defaults filled in.

use std::time::Duration;

use skep_model::pb::types::UpdateConfig;
use skep_model::pb::types::update_config::{FailureAction, UpdateOrder};
use skep_model::pb::types::update_status::UpdateState;
use skep_model::time::duration;
use skep_model::{Service, defaults};

use super::status;

/// A monitored period is at least this much longer than the delay between slots.
const MONITOR_BEYOND_DELAY: Duration = Duration::from_secs(1);

/// An update's parameters.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// Slots at once.
    pub(super) parallelism: usize,
    /// Pause after each slot.
    pub(super) delay: Duration,
    /// How long a new task is watched.
    pub(super) monitor: Duration,
    pub(super) max_failure_ratio: f32,
    pub(super) action: FailureAction,
    pub(super) start_first: bool,
}

impl Config {
    pub(super) fn of(service: &Service) -> Self {
        let spec = &service.spec;
        // A rollback that is paused still is one: by the update's order its running tasks might be stopped too early.
        let back = matches!(status::of(service), UpdateState::RollbackStarted | UpdateState::RollbackPaused);
        let config = if back { spec.rollback.as_ref() } else { spec.update.as_ref() };
        let Some(config) = config else {
            return Self {
                parallelism: usize::try_from(defaults::UPDATE_PARALLELISM).unwrap_or(1),
                delay: Duration::ZERO,
                monitor: defaults::UPDATE_MONITOR,
                max_failure_ratio: 0.0,
                action: FailureAction::Pause,
                start_first: false,
            };
        };
        Self::from_spec(config)
    }

    fn from_spec(config: &UpdateConfig) -> Self {
        let parallelism = usize::try_from(config.parallelism).unwrap_or(usize::MAX);
        Self {
            parallelism: if parallelism == 0 { usize::MAX } else { parallelism },
            delay: config.delay.as_ref().map(duration).unwrap_or_default(),
            monitor: config.monitor.as_ref().map_or(defaults::UPDATE_MONITOR, duration),
            max_failure_ratio: config.max_failure_ratio,
            action: config.failure_action(),
            start_first: config.order() == UpdateOrder::StartFirst,
        }
    }

    /// How long the service is watched once every slot is new.
    pub(super) fn last_watch(&self) -> Duration {
        if self.delay >= self.monitor { self.delay + MONITOR_BEYOND_DELAY } else { self.monitor }
    }
}
