//! `sim`: runs seeds, shows what broke, and how to see it again.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use sim::{Options, Outcome, Plan, Plant, run, shrink};
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
    /// A planted bug, by name.
    #[arg(long)]
    plant: Option<String>,
    /// Look for a shorter run that fails the same way.
    #[arg(long)]
    shrink: bool,
    /// Go on after a failure, and list all of them.
    #[arg(long)]
    all: bool,
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
    let options = Options { plant, journal: arguments.steps, until };
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
    Some((first.parse().ok()?, end.parse().ok()?))
}

fn one(seed: u64, options: Options, arguments: &Arguments) -> ExitCode {
    let plan = Plan::of(seed);
    let outcome = run(plan.clone(), Options { journal: true, ..options });
    if arguments.steps {
        print!("{}", outcome.journal);
    }
    println!("seed {seed}: {} events in {} s of the world's time", outcome.events, outcome.time.0 / 1_000_000);
    let Some(failure) = &outcome.failure else { return ExitCode::SUCCESS };
    if !arguments.steps {
        show(seed, &outcome, options);
    }
    if arguments.shrink {
        let short = shrink(&plan, options, failure.violation.invariant);
        let outcome = run(short.clone(), Options { journal: true, ..options });
        println!("shrunk from {} faults to {}:", plan.faults.len(), short.faults.len());
        for fault in &short.faults {
            println!("  {:>9.3} {:?}", fault.at.0 as f64 / 1e6, fault.what);
        }
        for wish in short.wishes.iter().filter(|wish| wish.at < short.heal_at) {
            println!("  {:>9.3} {:?}", wish.at.0 as f64 / 1e6, wish.what);
        }
        show(seed, &outcome, options);
    }
    ExitCode::FAILURE
}

fn show(seed: u64, outcome: &Outcome, options: Options) {
    let Some(failure) = &outcome.failure else { return };
    let lines: Vec<&str> = outcome.journal.lines().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(TAIL_LINES)) {
        println!("{line}");
    }
    println!("\nbroken: {}", failure.violation);
    let plant = options.plant.map(|plant| format!(" --plant {plant:?}")).unwrap_or_default();
    println!("replay: cargo run --profile sim -p sim -- --seed {seed} --steps{plant}");
}

fn many(first: u64, end: u64, options: Options, arguments: &Arguments) -> ExitCode {
    let (next, done, events, failed) = (AtomicU64::new(first), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let outcome = run(Plan::of(seed), Options { journal: false, ..options });
                    events.fetch_add(outcome.events, Ordering::Relaxed);
                    let count = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if let Some(failure) = &outcome.failure {
                        failed.fetch_add(1, Ordering::Relaxed);
                        println!("\rseed {seed}: {}", failure.violation);
                        if !arguments.all {
                            stop.store(true, Ordering::Relaxed);
                            show(seed, &run(Plan::of(seed), Options { journal: true, ..options }), options);
                        }
                    }
                    let rate = count as f64 / started.elapsed().as_secs_f64();
                    eprint!("\r{count} of {} seeds, {rate:.1} a second ", end - first);
                    // A terminal that is gone is no reason to stop.
                    let _ = std::io::stderr().flush();
                }
            });
        }
    });
    let (seconds, done, events) = (started.elapsed().as_secs_f64(), done.into_inner(), events.into_inner());
    let micros = seconds * 1e6 / events.max(1) as f64;
    println!(
        "\r{done} seeds in {seconds:.1} s, {events} events, {micros:.2} us each, {} failed",
        failed.load(Ordering::Relaxed)
    );
    if failed.into_inner() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
