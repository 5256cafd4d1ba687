//! New data of a secret or config reach every service that has an earlier version, in the entry that brings them, or, what
//! that has no room for, in the next ones. Source: versions of secrets and configs (docs/design/orchestration.md, and the
//! issue on orchestration).

use std::collections::BTreeSet;

use skep_model::{Config, Secret, Time};
use skep_store::versions::{Dependency, earlier, refers};
use skep_store::{Event, Find, Read, Store};

use super::{Invariant, Verdict, Violation};

/// See the file's head.
pub struct NewDataReachServices;

impl Invariant for NewDataReachServices {
    fn committed(&mut self, _: Time, facts: &Store, events: &[Event]) -> Verdict {
        for event in events {
            if let Some(secret) = event.object.get::<Secret>() {
                superseded(facts, &**secret, event)?;
            } else if let Some(config) = event.object.get::<Config>() {
                superseded(facts, &**config, event)?;
            }
        }
        Ok(())
    }
}

/// A version became an earlier one, or the newest no longer says that services with earlier ones are left: then there are
/// none.
fn superseded<T: Dependency>(facts: &Store, version: &T, event: &Event) -> Verdict {
    let before = event.old.as_ref().and_then(|old| old.get::<T>());
    let was_newest = before.is_some_and(|before| before.version_of().is_none());
    let is_done = before.is_some_and(|before| before.is_pending()) && !version.is_pending();
    if !is_done && (!was_newest || version.version_of().is_none()) {
        return Ok(());
    }
    let name = version.given_name();
    if facts.named::<T>(name).is_some_and(|newest| newest.is_pending()) {
        return Ok(());
    }
    let known = earlier::<T>(facts, name);
    let ids: BTreeSet<String> = known.iter().map(|version| T::id_text(version.id()).to_owned()).collect();
    match facts.services().iter().find(|service| refers::<T>(&service.spec, &ids)) {
        Some(service) => {
            let detail = format!("{} still names an earlier version of {name}", service.name());
            Err(Violation::new("new_data_reach_services", detail))
        }
        None => Ok(()),
    }
}
