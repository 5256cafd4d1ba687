//! What a manager's process has used.

use std::fmt;

use anyhow::Context as _;

use crate::memory::pss_mib;

/// The kernel counts processor time for programs in hundredths of a second, on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;
/// Where the times of a process stand behind its name in `/proc/PID/stat`.
const USER_TIME: usize = 11;
const SYSTEM_TIME: usize = 12;

/// Processor time so far and memory now; nothing without a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost(Option<(f64, f64)>);

impl Cost {
    /// Of a process.
    pub fn of(pid: Option<i32>) -> anyhow::Result<Self> {
        let Some(pid) = pid else { return Ok(Self(None)) };
        let path = format!("/proc/{pid}/stat");
        let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        // The name may hold anything, closing brackets included.
        let (_, behind) = text.rsplit_once(") ").with_context(|| format!("{path}: no name"))?;
        let fields: Vec<&str> = behind.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
        let used = ticks(USER_TIME).zip(ticks(SYSTEM_TIME)).with_context(|| format!("{path}: no times"))?;
        Ok(Self(Some(((used.0 + used.1) / TICKS_PER_SECOND, pss_mib(pid)?))))
    }

    /// As words behind a time: the processor time since then, and the memory now.
    pub fn since(self, before: &Self) -> impl fmt::Display {
        match (self.0, before.0) {
            (Some((seconds, mib)), Some((seconds_before, _))) => {
                format!(", {:.2} s of processors, {mib:.1} MiB", seconds - seconds_before)
            }
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_used_something() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let cost = Cost::of(Some(pid)).unwrap();
        assert!(cost.0.unwrap().1 > 0.0);
        assert!(cost.since(&cost).to_string().starts_with(", 0.00 s of processors, "));
        assert_eq!(Cost::of(None).unwrap().since(&cost).to_string(), "");
    }
}
