//! How a command fails: a sentence for the user and an exit code.

use std::io;

/// 128 + SIGPIPE, as a shell shows it.
const BROKEN_PIPE_EXIT_CODE: u8 = 141;

/// A failed command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For standard error; empty when everything was said already.
    pub message: String,
    /// Of the process.
    pub exit_code: u8,
    /// The API's status, when that is what failed.
    pub status: Option<u16>,
}

impl Failure {
    /// Exit code 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_code: 1, status: None }
    }

    /// Another exit code.
    pub fn with_code(message: impl Into<String>, exit_code: u8) -> Self {
        Self { message: message.into(), exit_code, status: None }
    }

    /// The daemon said no.
    pub fn from_daemon(status: u16, message: &str) -> Self {
        Self { message: format!("Error response from daemon: {}", message.trim()), exit_code: 1, status: Some(status) }
    }

    /// Whether the daemon answered that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        self.status == Some(404)
    }

    /// All of several, one a line; `Ok` when there are none.
    pub fn join(failures: Vec<Failure>) -> Result<(), Failure> {
        if failures.is_empty() {
            return Ok(());
        }
        Err(Failure::new(failures.into_iter().map(|failure| failure.message).collect::<Vec<_>>().join("\n")))
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            // The reader (`head`) has had enough: what other tools say by dying of the signal.
            return Self::with_code("", BROKEN_PIPE_EXIT_CODE);
        }
        Self::new(error.to_string())
    }
}
