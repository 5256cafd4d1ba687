//! `sim`: runs seeds, shows what broke, and how to see it again.

mod progress;

/// A seed is little else than small allocations.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use progress::Progress;
use sim::{Failure, Options, Outcome, Plan, Plant, run, shrink};
use skep_model::Time;

/// Lines of the log that are shown of a failure.
const TAIL_LINES: usize = 60;

/// Runs a whole swarm in one thread, under faults, and checks every law as it goes.
#[derive(Parser)]
struct Arguments {
    /// One seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Several seeds, as A..B (B excluded).
    #[arg(long)]
    seeds: Option<String>,
    /// Threads; each runs seeds of its own.
    #[arg(long, default_value_t = 1)]
    jobs: u64,
    /// Show the whole log of events.
    #[arg(long)]
    steps: bool,
    /// Stop at this second of the world's time.
    #[arg(long)]
    until: Option<u64>,
    /// So many nodes instead of what the seed says, with `--seconds`.
    #[arg(long, requires = "seconds")]
    nodes: Option<usize>,
    /// Last so long, in seconds of the world's time.
    #[arg(long, requires = "nodes")]
    seconds: Option<u64>,
    /// One swarm of `--nodes` nodes with so many tasks, which loses its leader while they are made.
    #[arg(long, requires = "nodes", conflicts_with = "seconds")]
    tasks: Option<u64>,
    /// The leader is killed so often, in milliseconds.
    #[arg(long)]
    leaders_last: Option<u64>,
    /// Operators bring roots for the swarm, and call that off.
    #[arg(long)]
    brought_roots: bool,
    /// A planted bug, by name.
    #[arg(long)]
    plant: Option<String>,
    /// Show a failure as it is, without looking for a shorter run that fails the same way.
    #[arg(long)]
    no_shrink: bool,
    /// Go on after a failure, and list all of them.
    #[arg(long)]
    all: bool,
}

impl Arguments {
    fn plan(&self, seed: u64) -> Plan {
        let plan = match (self.nodes, self.seconds, self.tasks) {
            (Some(nodes), _, Some(tasks)) => Plan::large(seed, nodes, tasks),
            (Some(nodes), Some(seconds), None) => Plan::sized(seed, nodes, seconds),
            _ => Plan::of(seed),
        };
        let plan = if self.brought_roots { plan.of_brought_roots() } else { plan };
        match self.leaders_last {
            Some(milliseconds) => plan.of_many_leaders(Duration::from_millis(milliseconds.max(1))),
            None => plan,
        }
    }

    /// How to see a seed again.
    fn replay(&self, seed: u64) -> String {
        let mut command = format!("cargo run --profile sim -p sim -- --seed {seed} --steps");
        let numbers = [
            ("nodes", self.nodes.map(|n| n as u64)),
            ("seconds", self.seconds),
            ("tasks", self.tasks),
            ("leaders-last", self.leaders_last),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                command.push_str(&format!(" --{name} {number}"));
            }
        }
        if self.brought_roots {
            command.push_str(" --brought-roots");
        }
        if let Some(plant) = &self.plant {
            command.push_str(&format!(" --plant {plant}"));
        }
        command
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let plant = match arguments.plant.as_deref().map(|name| Plant::named(name).ok_or(name)) {
        Some(Err(name)) => {
            eprintln!("there is no planted bug {name:?}; there are {:?}", Plant::ALL);
            return ExitCode::from(2);
        }
        Some(Ok(plant)) => Some(plant),
        None => None,
    };
    let until = arguments.until.map(|seconds| Time(seconds * 1_000_000));
    let options = Options { plant, journal: false, until };
    match (arguments.seed, arguments.seeds.as_deref().map(range)) {
        (Some(seed), _) => one(seed, options, &arguments),
        (None, Some(Some((first, end)))) => many(first, end, options, &arguments),
        _ => {
            eprintln!("say --seed N or --seeds A..B");
            ExitCode::from(2)
        }
    }
}

fn range(text: &str) -> Option<(u64, u64)> {
    let (first, end) = text.split_once("..")?;
    let (first, end) = (first.parse().ok()?, end.parse().ok()?);
    (first < end).then_some((first, end))
}

fn one(seed: u64, options: Options, arguments: &Arguments) -> ExitCode {
    let plan = arguments.plan(seed);
    println!("seed {seed}: {:?}, {} managers, {} workers", plan.kind, plan.managers, plan.workers);
    // The log of a large run would be larger than the run.
    let journal = arguments.steps || arguments.tasks.is_none();
    let started = Instant::now();
    let outcome = run(plan, Options { journal, ..options });
    if arguments.steps {
        print!("{}", outcome.journal);
    }
    println!(
        "seed {seed}: {} events in {} s of the world's time, {:.2} s of ours",
        outcome.events,
        outcome.time.0 / 1_000_000,
        started.elapsed().as_secs_f64()
    );
    let Some(failure) = &outcome.failure else { return ExitCode::SUCCESS };
    explain(seed, failure, &outcome, options, arguments);
    ExitCode::FAILURE
}

/// What broke, what led to it, and how to see it again.
fn explain(seed: u64, failure: &Failure, outcome: &Outcome, options: Options, arguments: &Arguments) {
    if !arguments.steps {
        tail(outcome);
    }
    println!("\nbroken: {}", failure.violation);
    println!("seed:   {seed}, at {:.6} s", failure.at.0 as f64 / 1e6);
    println!("replay: {}", arguments.replay(seed));
    if arguments.no_shrink || arguments.tasks.is_some() {
        return;
    }
    println!("\nshrinking: fewer faults and wishes that break the same law");
    let plan = arguments.plan(seed);
    let short = shrink(&plan, options, failure.violation.invariant);
    let outcome = run(short.clone(), Options { journal: true, ..options });
    let wishes: Vec<_> = short.wishes.iter().filter(|wish| wish.at < short.heal_at).collect();
    println!(
        "from {} faults and {} wishes to {} and {}:",
        plan.faults.len(),
        plan.wishes.len(),
        short.faults.len(),
        wishes.len()
    );
    for fault in &short.faults {
        println!("  {:>9.3} {:?}", fault.at.0 as f64 / 1e6, fault.what);
    }
    for wish in wishes {
        println!("  {:>9.3} {:?}", wish.at.0 as f64 / 1e6, wish.what);
    }
    if let Some(failure) = &outcome.failure {
        tail(&outcome);
        println!("\nbroken: {}", failure.violation);
    }
}

fn tail(outcome: &Outcome) {
    let lines: Vec<&str> = outcome.journal.lines().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(TAIL_LINES)) {
        println!("{line}");
    }
}

fn many(first: u64, end: u64, options: Options, arguments: &Arguments) -> ExitCode {
    let next = AtomicU64::new(first);
    let stop = AtomicBool::new(false);
    let progress = Mutex::new(Progress::new(end - first));
    let failures: Mutex<Vec<(u64, Failure)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let outcome = run(arguments.plan(seed), options);
                    let mut progress = progress.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    progress.ran(&outcome);
                    if let Some(failure) = outcome.failure {
                        progress.line(&format!("seed {seed}: {}", failure.violation));
                        failures.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((seed, failure));
                        stop.fetch_or(!arguments.all, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    progress.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()).finish();
    let mut failures = failures.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    failures.sort_by_key(|(seed, _)| *seed);
    if let Some((seed, failure)) = failures.first().filter(|_| !arguments.all) {
        let outcome = run(arguments.plan(*seed), Options { journal: true, ..options });
        explain(*seed, failure, &outcome, options, arguments);
    }
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
