//! Values of secrets that drivers have: what is awaited for which task, what is being asked, and when again.
//!
//! A value is here from the driver's answer to the message that takes it to the worker, and nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skep_model::{NodeId, SecretId, TaskId, Time};

use super::driver::{DriverFailure, FetchId, SecretValue};
use super::limits;

/// One task's need of one secret.
pub type Need = (TaskId, SecretId);

/// How it stands with all the values that a task needs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Readiness {
    /// All are here.
    Ready,
    /// A driver gave none, and is asked again.
    Refused,
    /// At least one driver has not been heard yet.
    Awaited,
}

#[derive(Debug)]
enum State {
    /// Waits for its driver to have time, at this place of the line.
    Queued(u64),
    Asked,
    /// Not given; asked again then.
    Resting(Time),
    Here(SecretValue),
}

#[derive(Debug)]
struct Awaited {
    node: NodeId,
    driver: String,
    state: State,
    /// How often in a row it was not given, and why last.
    refusals: u32,
    failure: Option<DriverFailure>,
}

/// A driver's line: one that hangs holds up no other.
#[derive(Debug, Default)]
struct Line {
    asked: BTreeMap<FetchId, Need>,
    queue: BTreeMap<u64, Need>,
}

impl Line {
    fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.queue.is_empty()
    }
}

fn get_mut<'a>(
    awaited: &'a mut BTreeMap<TaskId, BTreeMap<SecretId, Awaited>>,
    (task, secret): &Need,
) -> Option<&'a mut Awaited> {
    awaited.get_mut(task)?.get_mut(secret)
}

/// Something that came to nothing, to be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unmet {
    /// For whom.
    pub need: Need,
    /// The driver.
    pub driver: String,
    /// Why.
    pub failure: DriverFailure,
}

/// All values that are awaited.
#[derive(Debug, Default)]
pub struct Values {
    awaited: BTreeMap<TaskId, BTreeMap<SecretId, Awaited>>,
    lines: BTreeMap<String, Line>,
    resting: BTreeSet<(Time, Need)>,
    /// Failures nobody was told of yet, the last of each task.
    unmet: BTreeMap<TaskId, Unmet>,
    last_fetch: u64,
    last_place: u64,
}

impl Values {
    /// Nothing is awaited any more; answers to earlier questions are to nobody.
    pub fn forget_all(&mut self) {
        *self = Self { last_fetch: self.last_fetch, ..Self::default() };
    }

    /// How it stands with what `task` needs; what was not asked for yet is from now on.
    pub fn readiness(&mut self, node: &NodeId, task: &TaskId, needed: &[(SecretId, String)]) -> Readiness {
        let stand = |(secret, driver): &(SecretId, String)| {
            if let Some(awaited) = self.awaited.get(task).and_then(|needs| needs.get(secret)) {
                return match (&awaited.state, awaited.refusals) {
                    (State::Here(_), _) => Readiness::Ready,
                    (_, 0) => Readiness::Awaited,
                    _ => Readiness::Refused,
                };
            }
            let awaited = Awaited {
                node: node.clone(),
                driver: driver.clone(),
                state: State::Queued(0),
                refusals: 0,
                failure: None,
            };
            self.awaited.entry(task.clone()).or_default().insert(secret.clone(), awaited);
            self.queue((task.clone(), secret.clone()));
            Readiness::Awaited
        };
        needed.iter().map(stand).max().unwrap_or(Readiness::Ready)
    }

    fn queue(&mut self, need: Need) {
        let Some(awaited) = get_mut(&mut self.awaited, &need) else { return };
        self.last_place += 1;
        awaited.state = State::Queued(self.last_place);
        self.lines.entry(awaited.driver.clone()).or_default().queue.insert(self.last_place, need);
    }

    /// The value, to be sent.
    pub fn take(&mut self, (task, secret): &Need) -> Option<SecretValue> {
        let needs = self.awaited.get_mut(task)?;
        if !matches!(needs.get(secret)?.state, State::Here(_)) {
            return None;
        }
        let taken = needs.remove(secret)?;
        if needs.is_empty() {
            self.awaited.remove(task);
        }
        match taken.state {
            State::Here(value) => Some(value),
            _ => None,
        }
    }

    /// The task needs nothing any more. What is being asked keeps its place in the driver's line until it is answered.
    pub fn forget_task(&mut self, task: &TaskId) {
        let Some(needs) = self.awaited.remove(task) else { return };
        self.unmet.remove(task);
        for (secret, awaited) in needs {
            match awaited.state {
                State::Queued(place) => {
                    let Some(line) = self.lines.get_mut(&awaited.driver) else { continue };
                    line.queue.remove(&place);
                    if line.is_empty() {
                        self.lines.remove(&awaited.driver);
                    }
                }
                State::Resting(until) => drop(self.resting.remove(&(until, (task.clone(), secret)))),
                State::Asked | State::Here(_) => {}
            }
        }
    }

    /// The node's stream ended; what its tasks need is asked for anew with the next.
    pub fn forget_node(&mut self, node: &NodeId) {
        let of_node = |needs: &BTreeMap<SecretId, Awaited>| needs.values().any(|awaited| awaited.node == *node);
        let gone: Vec<TaskId> =
            self.awaited.iter().filter(|(_, needs)| of_node(needs)).map(|(task, _)| task.clone()).collect();
        gone.iter().for_each(|task| self.forget_task(task));
    }

    /// What was to be asked is not: nobody will answer.
    pub fn withdraw(&mut self, fetch: FetchId) {
        if let Some((_, (task, _))) = self.leave_line(fetch) {
            self.forget_task(&task);
        }
    }

    /// When there is something to ask.
    pub fn due(&self) -> Option<Time> {
        let free = |line: &Line| line.asked.len() < limits::SECRET_FETCHES_PER_DRIVER_MAX && !line.queue.is_empty();
        if self.lines.values().any(free) && self.asked() < limits::SECRET_FETCHES_MAX {
            return Some(Time::default());
        }
        self.resting.first().map(|(at, _)| *at)
    }

    fn asked(&self) -> usize {
        self.lines.values().map(|line| line.asked.len()).sum()
    }

    /// What is to be asked now, of which driver.
    pub fn start(&mut self, now: Time) -> Vec<(FetchId, String, Need)> {
        while let Some((at, need)) = self.resting.first().cloned() {
            if at > now {
                break;
            }
            self.resting.pop_first();
            self.queue(need);
        }
        let mut started = Vec::new();
        let mut room = limits::SECRET_FETCHES_MAX.saturating_sub(self.asked());
        for (driver, line) in &mut self.lines {
            while room > 0 && line.asked.len() < limits::SECRET_FETCHES_PER_DRIVER_MAX {
                let Some((_, need)) = line.queue.pop_first() else { break };
                let Some(awaited) = get_mut(&mut self.awaited, &need) else { continue };
                awaited.state = State::Asked;
                self.last_fetch += 1;
                let fetch = FetchId(self.last_fetch);
                line.asked.insert(fetch, need.clone());
                room -= 1;
                started.push((fetch, driver.clone(), need));
            }
        }
        started
    }

    /// A driver answered. Whose stream has something to look at now, and which task.
    pub fn answered(
        &mut self,
        now: Time,
        fetch: FetchId,
        result: Result<SecretValue, DriverFailure>,
    ) -> Option<(NodeId, TaskId)> {
        let (driver, need) = self.leave_line(fetch)?;
        let awaited = get_mut(&mut self.awaited, &need)?;
        if !matches!(awaited.state, State::Asked) {
            return None;
        }
        let node = awaited.node.clone();
        match result.and_then(SecretValue::checked) {
            Ok(value) => {
                awaited.state = State::Here(value);
                self.unmet.remove(&need.0);
                self.rouse(&driver);
            }
            Err(failure) => {
                let until = now.after(pause(awaited.refusals));
                awaited.refusals = awaited.refusals.saturating_add(1);
                awaited.state = State::Resting(until);
                awaited.failure = Some(failure.clone());
                self.resting.insert((until, need.clone()));
                self.unmet.insert(need.0.clone(), Unmet { need: need.clone(), driver, failure });
            }
        }
        Some((node, need.0))
    }

    fn leave_line(&mut self, fetch: FetchId) -> Option<(String, Need)> {
        let (driver, line) = self.lines.iter_mut().find(|(_, line)| line.asked.contains_key(&fetch))?;
        let (driver, need) = (driver.clone(), line.asked.remove(&fetch)?);
        if line.is_empty() {
            self.lines.remove(&driver);
        }
        Some((driver, need))
    }

    /// The driver answers again: whom it did not hear before may ask at once.
    fn rouse(&mut self, driver: &str) {
        let absent = |awaited: &Awaited| awaited.failure.as_ref().is_some_and(DriverFailure::is_absence);
        let roused = |(_, need): &(Time, Need)| {
            let awaited = self.awaited.get(&need.0).and_then(|needs| needs.get(&need.1));
            awaited.is_some_and(|awaited| awaited.driver == driver && absent(awaited))
        };
        let roused: Vec<_> = self.resting.iter().filter(|entry| roused(entry)).cloned().collect();
        for entry in roused {
            self.resting.remove(&entry);
            self.queue(entry.1);
        }
    }

    /// Whether there is something to tell.
    pub fn has_unmet(&self) -> bool {
        !self.unmet.is_empty()
    }

    /// What came to nothing since it was last asked.
    pub fn take_unmet(&mut self) -> BTreeMap<TaskId, Unmet> {
        std::mem::take(&mut self.unmet)
    }
}

/// Until a driver is asked again that has given nothing so many times before.
fn pause(refusals: u32) -> Duration {
    let factor = 1u32.checked_shl(refusals).unwrap_or(u32::MAX);
    limits::SECRET_RETRY_FIRST.saturating_mul(factor).min(limits::SECRET_RETRY_MAX)
}
