//! The `skep` binary: daemon, client and tools in one. It only tells words apart; each part does its own work.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use skep_node::{Config, Flags, LogFormat};

/// How long a thread for blocking calls waits for the next one.
const BLOCKING_THREAD_IDLE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let first = words.get(1).and_then(|word| word.to_str()).unwrap_or_default().to_owned();
    // The shim must run before anything makes a thread.
    if first == skep_executor::SHIM_ARGUMENT {
        let code = skep_executor::shim_main(words.get(2..).unwrap_or_default());
        return ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX));
    }
    let rest = || std::iter::once(OsString::from(format!("skep {first}"))).chain(words.iter().skip(2).cloned());
    let done = match first.as_str() {
        "daemon" => daemon(Flags::parse_from(rest())),
        "bench" => skep_bench::run(&skep_bench::Flags::parse_from(rest())),
        "playground" => skep_playground::run(&skep_playground::Flags::parse_from(rest())),
        "playground-web" => skep_playground::web::serve(),
        _ => return skep_cli::run(words),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skep: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn daemon(flags: Flags) -> anyhow::Result<()> {
    skep_executor::allocator::bound();
    let config = Config::load(flags)?;
    let filter = tracing_subscriber::EnvFilter::new(&config.log_level);
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Threads that wait for files go soon: each carries a stack.
        .thread_keep_alive(BLOCKING_THREAD_IDLE)
        .enable_all()
        .build()?;
    runtime.spawn(skep_executor::allocator::give_back());
    runtime.block_on(skep_node::daemon::run(config))
}
