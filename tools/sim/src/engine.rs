//! Pretend containers: they outlive the daemon, not the machine; verbs take time, fail and hang.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skep_dispatch::worker::{Fault, Observed, Outcome, Run, RunId, Verb};
use skep_model::{SecretId, TaskId};

use crate::dice::Dice;
use crate::plant::Plant;

/// Grace period after which a container that hangs is killed.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// A start that hangs comes to its end at last.
const HUNG_START: Duration = Duration::from_secs(30);

/// How a container stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    /// Prepared.
    Created,
    /// Started.
    Running,
    /// It ended with this code.
    Exited(i32),
}

/// One container.
#[derive(Clone, Debug)]
pub struct Container {
    /// How it stands.
    pub condition: Condition,
    /// Tells its runs apart.
    pub start: u64,
    /// Secrets in its files.
    pub secrets: BTreeSet<SecretId>,
}

/// What goes wrong in all engines, in a thousand.
#[derive(Clone, Copy, Default, Debug)]
pub struct Troubles {
    /// Containers that crash soon.
    pub crashes_permille: u64,
    /// Images that cannot be had.
    pub no_images_permille: u64,
    /// Verbs that hang.
    pub hangs_permille: u64,
}

/// The engine of one host.
#[derive(Default, Debug)]
pub struct Engine {
    /// By task.
    pub containers: BTreeMap<TaskId, Container>,
    /// Secrets that a removed container left (a planted bug).
    pub left_behind: BTreeSet<SecretId>,
    /// Verbs on their way, in the daemon.
    verbs: BTreeMap<TaskId, Run>,
    starts: u64,
}

/// What comes of a verb now and later.
#[derive(Default, Debug)]
pub struct Consequence {
    /// To tell the worker, if the verb has ended.
    pub outcome: Option<Outcome>,
    /// The container ends by itself after this, with this code.
    pub exits: Option<(Duration, u64, i32)>,
}

impl Engine {
    /// A verb begins; when to look at it again, if it ends by itself.
    pub fn begin(&mut self, run: Run, troubles: &Troubles, dice: &mut Dice) -> Option<Duration> {
        let known = self.containers.get(&run.task).map(|container| container.condition);
        let hangs = dice.permille(troubles.hangs_permille);
        let takes = match (run.verb, known) {
            (Verb::Prepare, Some(_)) => dice.micros(50, 500),
            (Verb::Prepare, None) => dice.micros(20_000, 900_000),
            (Verb::Start, Some(Condition::Created)) if hangs => HUNG_START,
            (Verb::Start, _) => dice.micros(2_000, 250_000),
            (Verb::Wait, Some(Condition::Running)) => Duration::MAX,
            (Verb::Wait, _) => dice.micros(50, 500),
            (Verb::Shutdown, Some(Condition::Running)) if hangs => STOP_GRACE,
            (Verb::Shutdown, Some(Condition::Running)) => dice.micros(3_000, 1_500_000),
            (Verb::Shutdown | Verb::Terminate | Verb::Update, _) => dice.micros(100, 20_000),
            (Verb::Remove, _) => dice.micros(1_000, 50_000),
        };
        self.verbs.insert(run.task.clone(), run);
        (takes != Duration::MAX).then_some(takes)
    }

    /// The worker gives up a verb; whether it was there.
    pub fn cancel(&mut self, task: &TaskId, run: RunId) -> bool {
        let there = self.verbs.get(task).is_some_and(|verb| verb.run == run);
        if there {
            self.verbs.remove(task);
        }
        there
    }

    /// A verb ends; nothing if it was given up meanwhile.
    pub fn end(
        &mut self,
        task: &TaskId,
        run: RunId,
        troubles: &Troubles,
        plant: Option<Plant>,
        dice: &mut Dice,
    ) -> Option<Consequence> {
        if self.verbs.get(task).is_none_or(|verb| verb.run != run) {
            return None;
        }
        let run = self.verbs.remove(task)?;
        let mut consequence = Consequence { outcome: Some(Outcome::done()), ..Consequence::default() };
        match run.verb {
            Verb::Prepare => self.prepare(&run, troubles, dice, &mut consequence),
            Verb::Start => self.start(&run, troubles, plant, dice, &mut consequence),
            Verb::Wait => match self.containers.get(task).map(|container| container.condition) {
                Some(Condition::Exited(code)) => consequence.outcome = Some(Outcome::exited(code, Observed::default())),
                Some(_) => {}
                None => consequence.outcome = Some(Outcome::failed("no such container")),
            },
            Verb::Shutdown | Verb::Terminate => {
                if let Some(container) = self.containers.get_mut(task)
                    && container.condition == Condition::Running
                {
                    container.condition = Condition::Exited(if run.verb == Verb::Shutdown { 0 } else { 137 });
                }
            }
            Verb::Remove => self.remove(task, plant),
            Verb::Update => {}
        }
        Some(consequence)
    }

    fn prepare(&mut self, run: &Run, troubles: &Troubles, dice: &mut Dice, consequence: &mut Consequence) {
        if self.containers.contains_key(&run.task) {
            return;
        }
        if dice.permille(troubles.no_images_permille) {
            let message = "No such image: busybox:latest".to_owned();
            let fault = Fault { temporary: dice.permille(300), message, exit_code: None };
            consequence.outcome = Some(Outcome::Failed { fault, observed: Observed::default() });
            return;
        }
        let secrets = run.dependencies.secrets.iter().map(|secret| secret.id.clone()).collect();
        self.containers.insert(run.task.clone(), Container { condition: Condition::Created, start: 0, secrets });
    }

    fn start(
        &mut self,
        run: &Run,
        troubles: &Troubles,
        plant: Option<Plant>,
        dice: &mut Dice,
        consequence: &mut Consequence,
    ) {
        let Some(container) = self.containers.get_mut(&run.task) else {
            consequence.outcome = Some(Outcome::failed("no such container"));
            return;
        };
        if container.condition != Condition::Created {
            return;
        }
        self.starts += 1;
        container.condition = Condition::Running;
        container.start = self.starts;
        let is_job = run.snapshot.extras.job_iteration.is_some();
        if dice.permille(troubles.crashes_permille) {
            let code = if dice.permille(200) { 0 } else { 1 };
            consequence.exits = Some((dice.micros(100, 15_000_000), self.starts, code));
        } else if is_job {
            consequence.exits = Some((dice.micros(1_000, 6_000_000), self.starts, 0));
        }
        if plant == Some(Plant::LostAnswer) && dice.permille(50) {
            consequence.outcome = None;
        }
    }

    fn remove(&mut self, task: &TaskId, plant: Option<Plant>) {
        if plant == Some(Plant::OrphanContainer) {
            return;
        }
        if let Some(container) = self.containers.remove(task)
            && plant == Some(Plant::SecretLeftBehind)
        {
            self.left_behind.extend(container.secrets);
        }
    }

    /// The container ends by itself; the verb that was waiting for it.
    pub fn exit(&mut self, task: &TaskId, start: u64, code: i32) -> Option<RunId> {
        let container = self.containers.get_mut(task)?;
        if container.start != start || container.condition != Condition::Running {
            return None;
        }
        container.condition = Condition::Exited(code);
        self.verbs.get(task).filter(|run| run.verb == Verb::Wait).map(|run| run.run)
    }

    /// The daemon dies: its verbs are forgotten. With the machine, containers end too.
    pub fn crash(&mut self, power: bool) {
        self.verbs.clear();
        if power {
            for container in self.containers.values_mut() {
                if container.condition == Condition::Running {
                    container.condition = Condition::Exited(137);
                }
            }
        }
    }

    /// Every secret on this host.
    pub fn secrets(&self) -> BTreeSet<SecretId> {
        let inside = self.containers.values().flat_map(|container| container.secrets.iter().cloned());
        inside.chain(self.left_behind.iter().cloned()).collect()
    }
}
