//! A task gets the value that its secret's driver gave: one that is for a task alone is that task's own, any other was
//! given for a task of the same node. No value comes to rest, neither in the log nor in a snapshot nor among the tasks
//! on a worker's disk. No driver is asked more at a time than the dispatcher's limits name. Source: SwarmKit's secret
//! providers (interop §4.4) and the limits of `core/dispatch`.

use std::collections::BTreeMap;

use bytes::Bytes;
use skep_dispatch::manager::limits::{SECRET_FETCHES_MAX, SECRET_FETCHES_PER_DRIVER_MAX};
use skep_dispatch::worker::Run;
use skep_manager::{FetchId, SecretRequest};
use skep_model::{NodeId, Object as _, Secret, TaskId};

use super::{Verdict, Violation};
use crate::network::HostId;

/// Values begin like this and nothing else does: no text has such a byte.
const MARK: &[u8; 8] = b"\xf5driver ";

const LAW: &str = "driver_values";

/// For whom a value was given.
struct Given {
    secret: String,
    task: TaskId,
    node: Option<NodeId>,
    own: bool,
}

/// One term of one manager: what it asked before is to nobody afterwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Term {
    /// The manager's host.
    pub host: HostId,
    /// Which of its managers.
    pub life: u64,
    /// The term.
    pub term: u64,
}

/// See the file's head.
#[derive(Default)]
pub struct DriverValues {
    given: BTreeMap<u64, Given>,
    asked: BTreeMap<Term, BTreeMap<FetchId, String>>,
}

impl DriverValues {
    /// A value that nobody else has.
    pub fn give(&mut self, request: &SecretRequest, own: bool) -> Bytes {
        let number = self.given.len() as u64;
        let given = Given {
            secret: request.secret_name.clone(),
            task: request.task_id.clone(),
            node: request.node_id.clone(),
            own,
        };
        self.given.insert(number, given);
        Bytes::from([MARK, number.to_string().as_bytes()].concat())
    }

    /// A manager asks a driver.
    pub fn asks(&mut self, term: Term, fetch: FetchId, driver: &str) -> Verdict {
        let asked = self.asked.entry(term).or_default();
        asked.insert(fetch, driver.to_owned());
        let of_driver = asked.values().filter(|other| *other == driver).count();
        if asked.len() > SECRET_FETCHES_MAX || of_driver > SECRET_FETCHES_PER_DRIVER_MAX {
            let detail = format!("h{} asks {driver} {of_driver} questions at a time, of {}", term.host, asked.len());
            return Err(Violation::new(LAW, detail));
        }
        Ok(())
    }

    /// The driver answered.
    pub fn answered(&mut self, term: Term, fetch: FetchId) {
        if let Some(asked) = self.asked.get_mut(&term) {
            asked.remove(&fetch);
        }
    }

    /// A manager is gone, and what it asked with it.
    pub fn manager_gone(&mut self, host: HostId) {
        self.asked.retain(|term, _| term.host != host);
    }

    /// Somebody waits for a driver's answer.
    pub fn is_awaited(&self) -> bool {
        self.asked.values().any(|asked| !asked.is_empty())
    }

    /// A task is prepared on a node.
    pub fn prepared(&self, node: Option<&NodeId>, run: &Run) -> Verdict {
        let mut driven = run.dependencies.secrets.iter().filter(|secret| secret.spec.driver.is_some());
        driven.try_for_each(|secret| self.fits(node, &run.task, secret))
    }

    fn fits(&self, node: Option<&NodeId>, task: &TaskId, secret: &Secret) -> Verdict {
        let name = secret.unique_name();
        let number = secret.spec.data.strip_prefix(MARK.as_slice()).and_then(|rest| std::str::from_utf8(rest).ok());
        let given = number.and_then(|number| self.given.get(&number.parse().ok()?));
        let wrong = match given {
            None => "which its driver never gave".to_owned(),
            Some(given) if given.secret != name => format!("which is that of secret {}", given.secret),
            Some(given) if given.own && given.task != *task => format!("which is for task {} alone", given.task),
            Some(given) if given.node.as_ref() != node => format!("which was given for node {:?}", given.node),
            Some(_) => return Ok(()),
        };
        Err(Violation::new(LAW, format!("task {task} is prepared with a value of secret {name} {wrong}")))
    }

    /// Something comes to rest at this place.
    pub fn rests(&self, data: &[u8], place: impl FnOnce() -> String) -> Verdict {
        if self.given.is_empty() || !data.windows(MARK.len()).any(|window| window == MARK) {
            return Ok(());
        }
        Err(Violation::new(LAW, format!("{} has a driver's value", place())))
    }
}
