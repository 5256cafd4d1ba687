//! What was acknowledged is never lost, and what was removed does not come back. Source: linearizability of writes
//! (decisions 1 and 8).

use super::{Verdict, Violation};

/// Whether an object exists, as far as its client knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Existence {
    /// Asked for; nobody said whether it was made.
    Unknown,
    /// It was acknowledged.
    Certain,
    /// Its removal was asked for; nobody said whether it was done.
    MaybeGone,
    /// Its removal was acknowledged, or its making refused.
    Gone,
}

impl Existence {
    /// A manager says that there is no such object; `doing` says on which occasion.
    pub fn not_found(&mut self, name: &str, doing: &str) -> Verdict {
        match self {
            Self::Certain => {
                let detail = format!("{name} is not found when it is {doing}, though it was acknowledged");
                Err(Violation::new("acknowledged_never_lost", detail))
            }
            Self::MaybeGone => {
                *self = Self::Gone;
                Ok(())
            }
            Self::Unknown | Self::Gone => Ok(()),
        }
    }

    /// In the end everything is as it was acknowledged.
    pub fn finally(self, name: &str, there: bool) -> Verdict {
        let kept = match self {
            Self::Certain => there,
            Self::Gone => !there,
            Self::Unknown | Self::MaybeGone => true,
        };
        if kept {
            return Ok(());
        }
        let detail = format!("{name} is {self:?} for its client, but there: {there}");
        Err(Violation::new("acknowledged_never_lost", detail))
    }
}
