//! The bar that shows how far many seeds are.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use sim::Outcome;

/// The bar's width, in characters.
const WIDTH: u64 = 30;
/// A terminal is told this often; a file, where every line stays, much more rarely.
const TERMINAL_EVERY: Duration = Duration::from_millis(100);
const FILE_EVERY: Duration = Duration::from_secs(30);

/// How far many seeds are.
pub struct Progress {
    total: u64,
    done: u64,
    failed: u64,
    events: u64,
    started: Instant,
    shown: Instant,
    terminal: bool,
}

impl Progress {
    /// Nothing ran yet.
    pub fn new(total: u64) -> Self {
        let now = Instant::now();
        let terminal = std::io::stderr().is_terminal();
        Self { total, done: 0, failed: 0, events: 0, started: now, shown: now, terminal }
    }

    /// One more seed ran.
    pub fn ran(&mut self, outcome: &Outcome) {
        self.done += 1;
        self.events += outcome.events;
        self.failed += u64::from(outcome.failure.is_some());
        let every = if self.terminal { TERMINAL_EVERY } else { FILE_EVERY };
        if self.shown.elapsed() >= every {
            self.shown = Instant::now();
            self.show();
        }
    }

    fn show(&self) {
        let full = (self.done * WIDTH / self.total.max(1)) as usize;
        let bar = format!("{}{}", "#".repeat(full), ".".repeat(WIDTH as usize - full));
        let (begin, end) = if self.terminal { ("\r", "\x1b[K") } else { ("", "\n") };
        eprint!(
            "{begin}[{bar}] {} of {} seeds, {:.1} a second, {} failed{end}",
            self.done,
            self.total,
            self.rate(),
            self.failed
        );
        // A terminal that is gone is no reason to stop.
        let _ = std::io::stderr().flush();
    }

    fn rate(&self) -> f64 {
        self.done as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
    }

    /// Something to read, above the bar.
    pub fn line(&self, text: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        println!("{clear}{text}");
    }

    /// The sum of it.
    pub fn finish(&self) {
        let seconds = self.started.elapsed().as_secs_f64();
        let micros = seconds * 1e6 / self.events.max(1) as f64;
        self.line(&format!(
            "{} seeds in {seconds:.1} s ({:.1} a second), {} events, {micros:.2} us each, {} failed",
            self.done,
            self.rate(),
            self.events,
            self.failed
        ));
    }
}
