//! Randomness: one seed, one stream per purpose, so that a change in one place does not shift every other.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// What a stream is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// What happens when: the plan of a run.
    Plan,
    /// Delays, losses, duplicates.
    Network,
    /// How long writes take, and which unsynced ones survive.
    Disks,
    /// What clients ask for.
    Clients,
    /// Containers: how long verbs take and how they end.
    Containers,
    /// How fast hosts are, and when they come back.
    Hosts,
    /// Whether and when another root is asked for.
    Roots,
    /// Whether secrets have drivers, and in which mood those are.
    Drivers,
    /// What drivers answer.
    Answers,
    /// What is added to one operation of the plan where secrets have drivers.
    Driven(u64),
    /// When an operator brings a root, and calls that off.
    BroughtRoots,
    /// What the core of one host is given.
    Core(u64),
    /// One operation of the plan.
    Operation(u64),
}

impl Purpose {
    fn number(self) -> u64 {
        match self {
            Self::Plan => 1,
            Self::Network => 2,
            Self::Disks => 3,
            Self::Clients => 4,
            Self::Containers => 5,
            Self::Hosts => 6,
            Self::Roots => 7,
            Self::Drivers => 8,
            Self::Answers => 9,
            Self::BroughtRoots => 10,
            Self::Core(host) => 1_000 + host,
            Self::Driven(number) => 100_000 + number,
            Self::Operation(number) => 1_000_000 + number,
        }
    }
}

/// One stream.
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream of `seed` for `purpose`.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        let mut source = ChaCha8Rng::seed_from_u64(seed);
        source.set_stream(purpose.number());
        Self(source)
    }

    /// Less than `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.next_u64() % bound }
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True so many times in a thousand.
    pub fn permille(&mut self, share: u64) -> bool {
        self.below(1000) < share
    }

    /// A duration between two numbers of microseconds.
    pub fn micros(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_micros(self.between(low, high))
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        if choices.is_empty() { None } else { choices.get(self.below(choices.len() as u64) as usize).copied() }
    }

    /// One of them, the ones with more weight more often.
    ///
    /// # Panics
    /// Without any weight.
    pub fn weighted<T: Copy>(&mut self, choices: &[(u64, T)]) -> T {
        let total = choices.iter().map(|(weight, _)| weight).sum();
        let mut left = self.below(total);
        for (weight, choice) in choices {
            if left < *weight {
                return *choice;
            }
            left -= weight;
        }
        panic!("nothing to choose from")
    }

    /// The source itself, for the core.
    pub fn source(&mut self) -> &mut ChaCha8Rng {
        &mut self.0
    }
}
