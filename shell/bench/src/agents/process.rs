//! What a manager's processes have used.

use std::fmt;

use anyhow::Context as _;

use crate::memory::pss_mib;

/// The kernel counts processor time for programs in hundredths of a second, on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;
/// Where the times of a process stand behind its name in `/proc/PID/stat`.
const USER_TIME: usize = 11;
const SYSTEM_TIME: usize = 12;

/// Processor time so far and memory now; nothing without processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Seconds of one processor.
    pub processors: f64,
    /// As the kernel shares it out.
    pub mib: f64,
    known: bool,
}

impl Cost {
    /// Of all these processes.
    pub fn of(pids: &[i32]) -> anyhow::Result<Self> {
        let mut sum = Self { known: !pids.is_empty(), ..Self::default() };
        for pid in pids {
            sum.processors += processors(*pid)?;
            sum.mib += pss_mib(*pid)?;
        }
        Ok(sum)
    }

    /// The processor time since then, and the memory now.
    pub fn since(self, before: &Self) -> Self {
        Self { processors: self.processors - before.processors, ..self }
    }
}

/// As words behind a time.
impl fmt::Display for Cost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.known {
            return Ok(());
        }
        write!(formatter, ", {:.2} s of processors, {:.1} MiB", self.processors, self.mib)
    }
}

fn processors(pid: i32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    // The name may hold anything, closing brackets included.
    let (_, behind) = text.rsplit_once(") ").with_context(|| format!("{path}: no name"))?;
    let fields: Vec<&str> = behind.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    let (user, system) = ticks(USER_TIME).zip(ticks(SYSTEM_TIME)).with_context(|| format!("{path}: no times"))?;
    Ok((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_used_something() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let cost = Cost::of(&[pid]).unwrap();
        assert!(cost.mib > 0.0);
        assert!(cost.since(&cost).to_string().starts_with(", 0.00 s of processors, "));
        assert_eq!(Cost::of(&[]).unwrap().to_string(), "");
    }
}
