//! Drivers of secrets: a plugin beside each manager, which answers, answers late or never, refuses, or is away.

use std::time::Duration;

use skep_manager::{DriverFailure, FetchId, SecretRequest, SecretValue};

use super::{Happening, World};
use crate::invariants::driver_values::{DriverValues, Term};
use crate::network::HostId;
use crate::plant::Plant;
use crate::scenario::Mood;

/// How long the shell waits for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Values that are for one task alone, in a thousand.
const OWN_PERMILLE: u64 = 400;
/// What a driver gives although it is in no mood for it, or does not give although it is well, in a thousand.
const MOODY_PERMILLE: u64 = 50;

/// All of them.
#[derive(Default)]
pub(crate) struct Drivers {
    /// What they were asked and gave.
    pub law: DriverValues,
    /// What was asked before, for a planted bug.
    before: Option<SecretRequest>,
}

/// An answer on its way.
pub(crate) struct DriverAnswer {
    term: Term,
    fetch: FetchId,
    result: Result<SecretValue, DriverFailure>,
}

impl World {
    /// A manager asks the plugin of its host.
    pub(crate) fn ask_driver(&mut self, host: HostId, fetch: FetchId, request: &SecretRequest) {
        let place = &self.hosts[host];
        let Some(manager) = &place.manager else { return };
        let term = Term { host, life: place.manager_life, term: manager.role().term };
        let verdict = self.drivers.law.asks(term, fetch, &request.driver);
        self.check(verdict);
        let (delay, result) = self.driver_says(host, request);
        self.say(|| {
            let outcome =
                result.as_ref().map_or_else(ToString::to_string, |value| format!("own {}", value.do_not_reuse));
            let (driver, secret, task) = (&request.driver, &request.secret_name, &request.task_id);
            format!("h{host} asks {driver} for {secret} of {task}: in {} ms, {outcome}", delay.as_millis())
        });
        if self.plant == Some(Plant::AnswerForgotten) && delay == ANSWER_TIMEOUT {
            return;
        }
        self.after(delay, Happening::DriverAnswers(Box::new(DriverAnswer { term, fetch, result })));
    }

    fn driver_says(&mut self, host: HostId, request: &SecretRequest) -> (Duration, Result<SecretValue, DriverFailure>) {
        let dice = &mut self.dice.drivers;
        let moods = [Mood::Well, Mood::Late, Mood::Refusing, Mood::Away, Mood::Silent];
        let moody = dice.permille(MOODY_PERMILLE).then(|| dice.pick(&moods)).flatten();
        let usual = dice.micros(300, 40_000);
        let failure = match moody.unwrap_or(self.hosts[host].mood) {
            Mood::Well => return (usual, Ok(self.value(request))),
            Mood::Late => {
                let delay = dice.micros(500_000, 9_900_000);
                return (delay, Ok(self.value(request)));
            }
            Mood::Refusing if dice.permille(300) => {
                return (usual, Ok(SecretValue { data: Default::default(), do_not_reuse: false }));
            }
            Mood::Refusing => DriverFailure::Said { text: "no".to_owned() },
            Mood::Away if dice.permille(500) => DriverFailure::NotFound { looked: "here".to_owned() },
            Mood::Away => DriverFailure::Away { reason: "connection refused".to_owned() },
            Mood::Silent => return (ANSWER_TIMEOUT, Err(DriverFailure::Slow { limit: ANSWER_TIMEOUT })),
        };
        (usual, Err(failure))
    }

    fn value(&mut self, request: &SecretRequest) -> SecretValue {
        let do_not_reuse = self.dice.drivers.permille(OWN_PERMILLE);
        let before = self.drivers.before.replace(request.clone());
        let request = before.as_ref().filter(|_| self.plant == Some(Plant::AnswerOfAnother)).unwrap_or(request);
        SecretValue { data: self.drivers.law.give(request, do_not_reuse), do_not_reuse }
    }

    pub(crate) fn driver_answers(&mut self, answer: DriverAnswer) {
        let DriverAnswer { term, fetch, result } = answer;
        if !self.is_manager(term.host, term.life) {
            return;
        }
        self.drivers.law.answered(term, fetch);
        let now = self.now_at(term.host);
        if let Some(manager) = &mut self.hosts[term.host].manager {
            manager.secret_fetched(fetch, result, now);
        }
        self.want_turn(term.host);
    }

    /// No value has come to rest on the disks of managers.
    pub(crate) fn disks_have_no_values(&mut self) {
        let law = &self.drivers.law;
        let verdict = self.hosts.iter().enumerate().try_for_each(|(host, place)| {
            let image = &place.disk.seen;
            let snapshot = image.snapshot.iter().map(|snapshot| &snapshot.data);
            let mut written = image.entries.values().map(|entry| &entry.data).chain(snapshot);
            written.try_for_each(|data| law.rests(data, || format!("the disk of h{host}")))
        });
        self.check(verdict);
    }
}

impl DriverAnswer {
    /// At whose place it arrives.
    pub fn host(&self) -> HostId {
        self.term.host
    }
}
