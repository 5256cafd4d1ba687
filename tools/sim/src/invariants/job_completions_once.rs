//! A completion of a job is counted once: what has completed in a run of the job is not run again in it. Source: interop
//! §7.5.

use std::collections::{BTreeMap, BTreeSet};

use skep_model::{Service, ServiceId, Task, TaskState, Time};
use skep_store::{Action, Event, Read, Store};

use super::{Invariant, Place, Verdict, Violation};

/// See the file's head.
#[derive(Default)]
pub struct JobCompletionsOnce {
    /// By job: its run, and the places that have completed in it.
    completed: BTreeMap<ServiceId, (u64, BTreeSet<Place>)>,
}

impl Invariant for JobCompletionsOnce {
    fn committed(&mut self, _: Time, facts: &Store, events: &[Event]) -> Verdict {
        for event in events {
            if let Some(service) = event.object.get::<Service>().filter(|_| event.action == Action::Remove) {
                self.completed.remove(&service.id);
            }
            let Some(task) = event.object.get::<Task>() else { continue };
            let (Some(id), Some(run)) = (&task.service_id, task.extras.job_iteration) else { continue };
            let Some(service) = facts.service(id) else { continue };
            let place = Place::of(&service, task);
            if event.action == Action::Create {
                let known = self.completed.get(id).filter(|(known, _)| *known == run);
                if known.is_some_and(|(_, places)| places.contains(&place)) {
                    let detail = format!("{} has completed {place:?} of run {run}, and runs it again", service.name());
                    return Err(Violation::new("job_completions_once", detail));
                }
            }
            if task.state() == TaskState::Complete && event.action != Action::Remove {
                let (known, places) = self.completed.entry(id.clone()).or_default();
                if run > *known {
                    (*known, *places) = (run, BTreeSet::new());
                }
                if run == *known {
                    places.insert(place);
                }
            }
        }
        Ok(())
    }
}
