//! What was decided for a service and is still to be written, because it is more than a turn writes. As long as nothing
//! happens to the service the next turns go on with it, without a look at all of its tasks.

use std::collections::VecDeque;
use std::sync::Arc;

use skep_model::{ServiceId, Task, TaskId, TaskState};
use skep_store::Read;

use crate::make;
use crate::memory::Memory;
use crate::slot::Place;
use crate::turn::Turn;
use crate::update;

/// See the file's head.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rest {
    /// Of the service when it was decided; `None` when the service was gone.
    version: Option<u64>,
    surplus: VecDeque<TaskId>,
    /// Whose turn it is in an update.
    outdated: VecDeque<Place>,
    free: VecDeque<u64>,
}

impl Rest {
    /// Tasks that nobody wants any more, and slots that are to be filled.
    pub(crate) fn new(surplus: impl Iterator<Item = Arc<Task>>, free: impl Iterator<Item = u64>) -> Self {
        let surplus = surplus.filter(|task| task.desired_state < TaskState::Remove);
        let surplus = surplus.map(|task| task.id.clone()).collect();
        Self { surplus, free: free.collect(), ..Self::default() }
    }

    /// Places whose tasks an update may replace now.
    pub(crate) fn of_update(outdated: impl Iterator<Item = Place>) -> Self {
        Self { outdated: outdated.collect(), ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.surplus.is_empty() && self.outdated.is_empty() && self.free.is_empty()
    }

    /// Whether the service is as it was when this was decided.
    pub(crate) fn stands(&self, turn: &Turn, service: &ServiceId) -> bool {
        self.version == version(turn, service)
    }
}

fn version(turn: &Turn, service: &ServiceId) -> Option<u64> {
    turn.tx.service(service).map(|service| service.meta.version)
}

/// Writes what the turn has room for.
pub(crate) fn write(turn: &mut Turn, memory: &mut Memory, id: &ServiceId) {
    memory.rest.version = version(turn, id);
    while !turn.is_full()
        && let Some(task) = memory.rest.surplus.pop_front()
    {
        if let Some(mut task) = turn.tx.task(&task) {
            turn.desire(&mut task, TaskState::Remove);
        }
    }
    let Some(service) = turn.tx.service(id) else { return };
    let outdated = std::mem::take(&mut memory.rest.outdated);
    memory.rest.outdated = update::go_on(turn, memory, &service, outdated);
    while !turn.is_full()
        && let Some(number) = memory.rest.free.pop_front()
    {
        let spec = memory.spec.get(&service, None);
        make::task(turn, &service, spec, &Place::Number(number), TaskState::Running);
    }
}
