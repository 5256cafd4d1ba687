//! `exec`: a further process in a container, with its streams on this terminal.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::service_environment;
use crate::api::{Channel, Demultiplexer, Payload, escape};
use crate::context::Context;
use crate::failure::Failure;
use crate::terminal::{self, RawMode};
use crate::value::Value;

const BUFFER_BYTES: usize = 32 << 10;
/// How often the terminal's size is looked at.
const RESIZE_POLL: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
pub struct ExecArguments {
    /// Detached mode: run command in the background
    #[arg(short, long)]
    detach: bool,
    /// Set environment variables
    #[arg(short, long)]
    env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long)]
    env_file: Vec<String>,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    interactive: bool,
    /// Give extended privileges to the command
    #[arg(long)]
    privileged: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    tty: bool,
    /// Username or UID (format: "<name|uid>[:<group|gid>]")
    #[arg(short, long, default_value = "")]
    user: String,
    /// Working directory inside the container
    #[arg(short, long, default_value = "")]
    workdir: String,
    /// The container
    container: String,
    /// Command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

pub async fn exec(context: &Context, arguments: ExecArguments) -> Result<(), Failure> {
    if arguments.tty && arguments.interactive && !arguments.detach && !std::io::stdin().is_terminal() {
        return Err(Failure::new("the input device is not a TTY"));
    }
    let attach = !arguments.detach;
    let mut request = Value::map([
        ("User", Value::from(arguments.user)),
        ("Privileged", Value::Bool(arguments.privileged)),
        ("Tty", Value::Bool(arguments.tty)),
        ("AttachStdin", Value::Bool(attach && arguments.interactive)),
        ("AttachStderr", Value::Bool(attach)),
        ("AttachStdout", Value::Bool(attach)),
        ("DetachKeys", Value::from("")),
        ("Env", Value::from(service_environment(&arguments.env_file, &arguments.env)?)),
        ("WorkingDir", Value::from(arguments.workdir)),
        ("Cmd", Value::from(arguments.command)),
    ]);
    if let Some((rows, columns)) = terminal::size().filter(|_| attach && arguments.tty) {
        request.set("ConsoleSize", vec![rows, columns]);
    }
    let path = format!("/containers/{}/exec", escape(&arguments.container));
    let id = context.client.post(&path, &[], Payload::Json(request)).await?.text("Id").to_owned();
    if id.is_empty() {
        return Err(Failure::new("exec ID empty"));
    }
    let start = Value::map([("Detach", Value::Bool(arguments.detach)), ("Tty", Value::Bool(arguments.tty))]);
    let path = format!("/exec/{}", escape(&id));
    if arguments.detach {
        return context.client.post(&format!("{path}/start"), &[], Payload::Json(start)).await.map(drop);
    }
    let raw = if arguments.tty && std::io::stdin().is_terminal() { Some(RawMode::enter()?) } else { None };
    let streamed = stream(context, &path, start, arguments.interactive, arguments.tty).await;
    drop(raw);
    streamed?;
    let state = context.client.get(&format!("{path}/json"), &[]).await?;
    match u8::try_from(state.int("ExitCode")).unwrap_or(u8::MAX) {
        0 => Ok(()),
        code => Err(Failure::with_code("", code)),
    }
}

async fn stream(context: &Context, path: &str, start: Value, interactive: bool, tty: bool) -> Result<(), Failure> {
    let connection = context.client.hijack(&format!("{path}/start"), start).await?;
    let (mut reader, mut writer) = tokio::io::split(connection);
    if interactive {
        // Ends by itself with the process's input; a read that still waits is given up at the end of the command.
        tokio::spawn(async move {
            let copied = tokio::io::copy(&mut tokio::io::stdin(), &mut writer).await;
            if copied.is_ok() {
                // The other side may be gone already: then there is nothing to close.
                let _ = writer.shutdown().await;
            }
        });
    }
    let mut size = None;
    let mut demultiplexer = Demultiplexer::default();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut look = tokio::time::interval(RESIZE_POLL);
    loop {
        tokio::select! {
            count = reader.read(&mut buffer) => {
                let count = count?;
                if count == 0 {
                    return Ok(());
                }
                if tty {
                    context.write(&buffer[..count])?;
                    continue;
                }
                for (channel, bytes) in demultiplexer.feed(&buffer[..count])? {
                    if channel == Channel::Output { context.write(bytes)? } else { context.write_error(bytes)? }
                }
            }
            _ = look.tick(), if tty => {
                let now = terminal::size();
                if now != size {
                    size = now;
                    resize(context, path, now).await?;
                }
            }
        }
    }
}

async fn resize(context: &Context, path: &str, size: Option<(u16, u16)>) -> Result<(), Failure> {
    let Some((rows, columns)) = size else { return Ok(()) };
    let query = [("h", rows.to_string()), ("w", columns.to_string())];
    match context.client.post(&format!("{path}/resize"), &query, Payload::Nothing).await {
        // A process that has just ended has no terminal any more.
        Err(failure) if failure.status.is_some() => Ok(()),
        result => result.map(drop),
    }
}
