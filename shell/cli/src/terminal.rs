//! The terminal: its size, raw mode for exec, passwords without echo.

use std::io::{BufRead, IsTerminal};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::context::Context;
use crate::failure::Failure;

/// Restores the terminal when dropped.
pub struct RawMode(Termios);

impl RawMode {
    /// Gives every key to the program.
    pub fn enter() -> Result<Self, Failure> {
        let input = rustix::stdio::stdin();
        let before = tcgetattr(input).map_err(std::io::Error::from)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(input, OptionalActions::Now, &raw).map_err(std::io::Error::from)?;
        Ok(Self(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.0) {
            eprintln!("the terminal could not be restored: {error}");
        }
    }
}

/// Rows and columns of standard output, when it is a terminal.
pub fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(rustix::stdio::stdout()).ok()?;
    Some((size.ws_row, size.ws_col))
}

/// A line from standard input; from a terminal, with a prompt and without echo.
pub fn read_secret_line(prompt: &str) -> Result<String, Failure> {
    let stdin = std::io::stdin();
    let mut line = String::new();
    if !stdin.is_terminal() {
        stdin.lock().read_line(&mut line)?;
        return Ok(line.trim().to_owned());
    }
    eprint!("{prompt}");
    let input = rustix::stdio::stdin();
    let before = tcgetattr(input).map_err(std::io::Error::from)?;
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    tcsetattr(input, OptionalActions::Now, &quiet).map_err(std::io::Error::from)?;
    let read = stdin.lock().read_line(&mut line);
    tcsetattr(input, OptionalActions::Now, &before).map_err(std::io::Error::from)?;
    eprintln!();
    read?;
    Ok(line.trim().to_owned())
}

/// Asks before something is done that cannot be undone.
pub fn confirm(context: &Context, warning: &str) -> Result<bool, Failure> {
    context.write(format!("{warning}\nAre you sure you want to continue? [y/N] "))?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}
