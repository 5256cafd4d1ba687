//! The `skep` client: docker's words, tables and texts over any Docker-compatible socket.
//!
//! It must never know how a swarm works: it asks the Engine API and shows the answers. Answers are kept as the JSON
//! that came (`value`), so that fields this version does not know survive an inspect-edit-update round.
//! Flow: `arguments` (clap) → `commands::*` (one module per noun) → `api` (HTTP) → `format` (tables, templates).
//! Start reading at `commands`, then `api::Client`.

#![warn(missing_docs)]

mod api;
mod arguments;
mod commands;
mod context;
mod failure;
mod format;
mod human;
mod template;
mod terminal;
mod value;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

pub use arguments::{Connection, DEFAULT_HOST};
pub use commands::Command;
pub use failure::Failure;

use context::Context;

/// Docker's exit code for a command line that cannot be understood.
const USAGE_EXIT_CODE: u8 = 125;

/// The client alone: options of the connection and a command.
#[derive(Debug, clap::Parser)]
#[command(name = "skep", about = "A swarm of containers", disable_help_subcommand = true, disable_version_flag = true)]
struct Client {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

/// Runs one command line (program name first) and says how the process should end.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let (out, error) = (Box::new(std::io::stdout()), Box::new(std::io::stderr()));
    ExitCode::from(run_with(arguments, out, error))
}

/// As `run`, writing elsewhere; returns the exit code.
pub fn run_with(
    arguments: impl IntoIterator<Item = OsString>,
    mut out: Box<dyn Write>,
    mut error: Box<dyn Write>,
) -> u8 {
    let parsed =
        Client::command().try_get_matches_from(arguments).and_then(|matches| Client::from_arg_matches(&matches));
    match parsed {
        Ok(client) => execute_with(client.connection, client.command, out, error),
        Err(problem) => {
            let text = problem.render();
            let asked_for = !problem.use_stderr();
            let stream = if asked_for { &mut out } else { &mut error };
            // Nothing is left to tell when even this cannot be written.
            let _ = write!(stream, "{text}");
            if asked_for { 0 } else { USAGE_EXIT_CODE }
        }
    }
}

/// Runs a command that the caller has parsed among its own.
pub fn execute(connection: Connection, command: Command) -> ExitCode {
    let (out, error) = (Box::new(std::io::stdout()), Box::new(std::io::stderr()));
    ExitCode::from(execute_with(connection, command, out, error))
}

fn execute_with(connection: Connection, command: Command, out: Box<dyn Write>, error: Box<dyn Write>) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(problem) => {
            eprintln!("cannot start: {problem}");
            return 1;
        }
    };
    let context = match Context::new(connection, out, error) {
        Ok(context) => context,
        Err(problem) => {
            eprintln!("{problem}");
            return 1;
        }
    };
    let result = runtime.block_on(commands::execute(&context, command));
    let code = context.finish(result);
    // A blocked read of the terminal must not hold the end up.
    runtime.shutdown_background();
    code
}
