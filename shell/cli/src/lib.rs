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
mod logins;
mod template;
mod terminal;
mod usage;
mod value;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

pub use arguments::{Connection, DEFAULT_HOST};
pub use commands::Command;
pub use failure::Failure;

use context::Context;

/// The client alone: options of the connection and a command.
#[derive(Debug, clap::Parser)]
#[command(name = "skep", about = "A swarm of containers", disable_help_subcommand = true, disable_version_flag = true)]
struct Client {
    #[command(flatten)]
    connection: Connection,
    /// Print version information and quit
    #[arg(short = 'v', long)]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
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
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let mut command = Client::command().args_override_self(true);
    let parsed =
        command.clone().try_get_matches_from(&arguments).and_then(|matches| Client::from_arg_matches(&matches));
    match parsed {
        Ok(Client { version: true, .. }) => {
            // Nothing is left to tell when even this cannot be written.
            let _ = writeln!(out, "Skep version {}", env!("CARGO_PKG_VERSION"));
            0
        }
        Ok(Client { connection, command: Some(command), .. }) => execute_with(connection, command, out, error),
        Ok(Client { command: None, .. }) => {
            let _ = write!(out, "{}", command.render_help());
            0
        }
        Err(problem) => {
            let verdict = usage::judge(&problem, &mut command, &arguments);
            let stream = if verdict.on_output { &mut out } else { &mut error };
            let _ = write!(stream, "{}", verdict.text);
            verdict.code
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
