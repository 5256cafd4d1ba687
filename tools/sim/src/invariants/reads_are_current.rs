//! A read that claims to be current shows the last acknowledged value, or one whose writing had no clear outcome, or
//! (of a service) an earlier one that the managers rolled back to. Source: linearizability of reads (decisions
//! 1 and 8).

use std::collections::BTreeMap;

use skep_model::{Service, ServiceId};
use skep_store::{Action, Event};

use super::acknowledged_never_lost::Existence;
use super::{Verdict, Violation};
use crate::world::specs;

/// A value whose writing had no clear outcome.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    value: u64,
    /// The version that the writing quoted: on any later one it can no longer happen.
    quoted: u64,
}

/// What the client of one object knows of its value. It waits for each answer before it asks again.
#[derive(Clone, Debug)]
pub struct Register {
    value: u64,
    /// Every value that was ever asked for: an update that fails may roll back by itself.
    history: Vec<u64>,
    doubts: Vec<Doubt>,
}

/// What was seen of an object.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Its value.
    pub value: Option<u64>,
    /// Its version.
    pub version: u64,
    /// The managers put it back.
    pub rolled_back: bool,
}

impl Register {
    /// Made with this value.
    pub fn new(value: u64) -> Self {
        Self { value, history: vec![value], doubts: Vec::new() }
    }

    /// Another value is asked for.
    pub fn asked(&mut self, value: u64) {
        self.history.push(value);
    }

    /// It was acknowledged.
    pub fn acknowledged(&mut self, value: u64) {
        self.value = value;
        self.doubts.clear();
    }

    /// Nobody said what became of it.
    pub fn doubtful(&mut self, value: u64, quoted: u64) {
        self.doubts.push(Doubt { value, quoted });
    }

    /// A writing may still be on its way.
    pub fn is_in_doubt(&self) -> bool {
        !self.doubts.is_empty()
    }

    /// A read that claims to be current.
    pub fn read(&mut self, name: &str, existence: Existence, seen: Seen) -> Verdict {
        if existence == Existence::Gone {
            let detail = format!("{name} is read after its removal was acknowledged");
            return Err(Violation::new("reads_are_current", detail));
        }
        self.observe(name, seen)
    }

    /// The value and version in the facts.
    pub fn observe(&mut self, name: &str, seen: Seen) -> Verdict {
        let Seen { value, version, rolled_back } = seen;
        let doubted = self.doubts.iter().any(|doubt| Some(doubt.value) == value)
            || rolled_back && value.is_some_and(|value| self.history.contains(&value));
        if value != Some(self.value) && !doubted {
            let detail =
                format!("{name} has the value {value:?}; acknowledged was {}, in doubt {:?}", self.value, self.doubts);
            return Err(Violation::new("reads_are_current", detail));
        }
        if let (true, Some(value)) = (doubted, value) {
            self.value = value;
        }
        self.doubts.retain(|doubt| doubt.quoted >= version);
        Ok(())
    }
}

/// A value that a rollback put back, and the versions of the service that have it.
#[derive(Clone, Copy, Debug)]
struct Spell {
    value: u64,
    from: u64,
    /// The first version with another value.
    to: Option<u64>,
}

/// What rollbacks put back. The service's own word is not enough: new data of a secret begins another update.
#[derive(Default)]
pub struct PutBack {
    spells: BTreeMap<ServiceId, Vec<Spell>>,
}

impl PutBack {
    /// One entry was applied.
    pub fn committed(&mut self, events: &[Event]) {
        for event in events {
            let Some(new) = event.object.get::<Service>() else { continue };
            if event.action == Action::Remove {
                self.spells.remove(&new.id);
            }
            let Some(old) = event.old.as_ref().and_then(|old| old.get::<Service>()) else { continue };
            let value = specs::value_of(new.spec.annotations.as_ref());
            if new.spec == old.spec || value == specs::value_of(old.spec.annotations.as_ref()) {
                continue;
            }
            let spells = self.spells.entry(new.id.clone()).or_default();
            let version = new.meta.version;
            spells.iter_mut().filter(|spell| spell.to.is_none()).for_each(|spell| spell.to = Some(version));
            if let Some(value) = value.filter(|_| super::rollback_ends_where_it_began::begins(new)) {
                spells.push(Spell { value, from: version, to: None });
            }
        }
    }

    /// Whether the service has this value, in this version, because of a rollback.
    pub fn did(&self, service: &str, value: Option<u64>, version: u64) -> bool {
        let Some(spells) = ServiceId::optional(service).and_then(|id| self.spells.get(&id)) else { return false };
        let covers = |spell: &Spell| spell.from <= version && spell.to.is_none_or(|to| version < to);
        spells.iter().any(|spell| Some(spell.value) == value && covers(spell))
    }
}
