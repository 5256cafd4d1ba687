//! A read that claims to be current shows the last acknowledged value, or one whose writing had no clear outcome, or
//! (of a service) an earlier one that the managers say they rolled back to. Source: linearizability of reads (decisions
//! 1 and 8).

use super::acknowledged_never_lost::Existence;
use super::{Verdict, Violation};

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
    /// The managers say that they put back an earlier spec.
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
