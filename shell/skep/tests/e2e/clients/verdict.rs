//! Differences from Docker that are meant, and those that are not: one way to tell them apart.

use std::collections::BTreeSet;

use crate::clients::differential::matches;

/// What was done, where the answers differ, and why they may. `*` stands for anything.
pub type Allowed = (&'static str, &'static str, &'static str);

/// Collects differences.
pub struct Verdict {
    allowed: &'static [Allowed],
    used: BTreeSet<usize>,
    found: Vec<String>,
}

impl Verdict {
    pub fn new(allowed: &'static [Allowed]) -> Self {
        Self { allowed, used: BTreeSet::new(), found: Vec::new() }
    }

    /// A difference; `told` is what is said of it unless it is allowed.
    pub fn note(&mut self, what: &str, at: &str, told: String) {
        match self.allowed.iter().position(|(done, place, _)| matches(done, what) && matches(place, at)) {
            Some(number) => drop(self.used.insert(number)),
            None => self.found.push(told),
        }
    }

    /// Nothing differs but what may, and all that does.
    #[track_caller]
    pub fn pronounce(mut self) {
        let stale = self.allowed.iter().enumerate().filter(|(number, _)| !self.used.contains(number));
        self.found.extend(stale.map(|(_, (what, at, why))| format!("no longer differs: [{what}] {at} ({why})")));
        assert!(self.found.is_empty(), "{}", self.found.join("\n"));
    }
}
