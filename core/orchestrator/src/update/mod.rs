//! Rolling updates and rollbacks: slot by slot from an old spec to the service's own (interop §7.4).
//!
//! It must never decide what a spec says, only carry it out. Which slots are out of date, and which have had their new
//! task, is read off the tasks; the rollout in memory adds the deadlines and the failures seen, and a new leader
//! rebuilds it. Flow: `roll` → `rollout` (progress, failures) → `step` (which slots go next) → `status` (what the
//! user sees). Start reading at `roll`.

mod config;
mod difference;
mod rollout;
mod status;
mod step;

use std::collections::VecDeque;
use std::sync::Arc;

use skep_model::Service;
use skep_model::pb::types::update_status::UpdateState;

use crate::memory::Memory;
use crate::slot::{Place, Slot};
use crate::turn::Turn;

pub(crate) use rollout::Rollout;

use config::Config;
use difference::Comparison;
use rollout::Verdict;

/// Whether a rollback is under way: it ends where it began, even in slots that were not to be restarted.
pub(crate) fn rolls_back(service: &Service) -> bool {
    status::of(service) == UpdateState::RollbackStarted
}

/// Takes the service's update as far as it may go now. `slots` are the ones that stay.
pub(crate) fn roll(turn: &mut Turn, memory: &mut Memory, service: &mut Arc<Service>, slots: &mut [Slot]) {
    let config = Config::of(service);
    let snapshot = Arc::clone(service);
    let mut comparison = Comparison::new(&snapshot);
    let plan = step::plan(turn, &mut comparison, service, slots, &config);
    memory.takes_over = plan.takes_over;
    if matches!(status::of(service), UpdateState::Paused | UpdateState::RollbackPaused) {
        memory.rollout = None;
        // Nothing new is begun, but a slot that has two tasks comes back to one.
        step::tidy(turn, slots, &plan);
        let room = config.parallelism.saturating_sub(step::down(turn, &mut comparison, service, slots));
        step::stop_halfway(turn, memory, service, slots, &plan, room);
        return;
    }
    let mut rollout = match memory.rollout.take() {
        Some(rollout) if rollout.is_of(service) => rollout,
        _ => Rollout::rebuild(service, slots, plan.outdated.len()),
    };
    rollout.adopt(plan.pending.iter().map(|&(slot, task)| &*slots[slot].tasks[task]));
    if !rollout.is_needed(service, &plan) {
        step::tidy(turn, slots, &plan);
        return;
    }
    if let Verdict::Failed(task) = rollout.judge(turn.now, turn.tx, &config) {
        status::fail(turn, service, &config, &task);
        memory.again = true;
        return;
    }
    step::tidy(turn, slots, &plan);
    if plan.is_open() {
        status::begin(turn, service);
    }
    let busy = rollout.busy(turn.now, turn.tx, &config, memory);
    let down = step::down(turn, &mut comparison, service, slots);
    // What fails again and again holds up only what would take down more that runs, not the update.
    let waiting = step::successors(turn, &mut comparison, slots);
    let room = config.parallelism.saturating_sub(busy.max(down));
    let stopped = step::stop_halfway(turn, memory, service, slots, &plan, room);
    rollout.begin(stopped.iter().map(|task| &**task));
    let busy = busy.max(waiting) + stopped.len();
    let begun = step::advance(turn, memory, service, slots, &plan, &config, busy);
    rollout.begin(begun.iter().map(|task| &**task));
    if !turn.is_full()
        && plan.outdated.len() <= begun.len()
        && plan.halfway.len() <= stopped.len()
        && waiting == 0
        && rollout.is_over(turn.now, slots, &config, memory)
    {
        status::complete(turn, service);
        return;
    }
    memory.rollout = Some(rollout);
}

/// Begins with places whose turn came when the turn before was full; gives back those that find no room in this one
/// either. Nothing happened to the service since, so that no more of them are busy than were then.
pub(crate) fn go_on(
    turn: &mut Turn,
    memory: &mut Memory,
    service: &Service,
    mut places: VecDeque<Place>,
) -> VecDeque<Place> {
    let config = Config::of(service);
    let mut comparison = Comparison::new(service);
    while !turn.is_full()
        && let Some(place) = places.pop_front()
    {
        let mut slot = Slot::read(turn.tx, &service.id, place);
        if step::is_outdated(turn, &mut comparison, &slot) {
            let begun = step::replace(turn, memory, service, &mut slot, &config);
            if let Some(rollout) = &mut memory.rollout {
                rollout.begin(std::iter::once(&*begun));
            }
        }
    }
    places
}
