//! Tasks are not replaced faster than their restart delay allows. Source: the restart policy (interop §7.3); a task
//! that fails at once must not make a tight loop.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use skep_model::time::duration;
use skep_model::{ServiceId, Task, Time, defaults};
use skep_store::{Action, Event, Store};

use super::{Invariant, Violation};

/// Over this long is counted.
const WINDOW: Duration = Duration::from_secs(20);
/// Replacements that follow from lost nodes and scaling rather than from restarts.
const OTHERWISE: u128 = 8;

/// A slot, or the node of a global service, and what is tried there: a user's update, or another run of a job, makes a
/// task at once, however many there are.
type Tried = (ServiceId, u64, String, Option<u64>, Option<u64>);

/// See the file's head.
#[derive(Default)]
pub struct RestartStorm {
    made: BTreeMap<Tried, VecDeque<Time>>,
}

impl Invariant for RestartStorm {
    fn committed(&mut self, time: Time, _: &Store, events: &[Event]) -> Result<(), Violation> {
        for event in events.iter().filter(|event| event.action == Action::Create) {
            let Some(task) = event.object.get::<Task>() else { continue };
            let Some(service) = task.service_id.clone() else { continue };
            let node = if task.slot == 0 { task.node_id.as_ref().map(ToString::to_string) } else { None };
            let tried = (service, task.slot, node.unwrap_or_default(), task.spec_version, task.extras.job_iteration);
            let times = self.made.entry(tried).or_default();
            times.push_back(time);
            while times.front().is_some_and(|first| time.since(*first) > WINDOW) {
                times.pop_front();
            }
            let policy = task.spec.restart.as_ref().and_then(|policy| policy.delay.as_ref());
            let delay = policy.map_or(defaults::RESTART_DELAY, duration).max(Duration::from_millis(100));
            let most = WINDOW.as_millis() / delay.as_millis().max(1) + OTHERWISE;
            if times.len() as u128 > most {
                let detail =
                    format!("slot {} of {:?} got {} tasks in {WINDOW:?}", task.slot, task.service_id, times.len());
                return Err(Violation::new("restart_storm", detail));
            }
        }
        Ok(())
    }
}
