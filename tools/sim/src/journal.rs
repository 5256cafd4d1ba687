//! The log of events: written only when somebody will read it.

use std::fmt::Write as _;

use skep_model::Time;

/// The log of one run.
#[derive(Debug, Default)]
pub struct Journal {
    lines: Option<String>,
}

impl Journal {
    /// A log that is kept, or one that costs nothing.
    pub fn new(kept: bool) -> Self {
        Self { lines: kept.then(String::new) }
    }

    /// Adds a line, if anybody wants it.
    pub fn say(&mut self, time: Time, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            // Writing to a String cannot fail.
            let _ = writeln!(lines, "{:>4}.{:06} {}", time.0 / 1_000_000, time.0 % 1_000_000, line());
        }
    }

    /// Everything said.
    pub fn into_text(self) -> String {
        self.lines.unwrap_or_default()
    }
}
