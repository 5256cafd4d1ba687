//! What a command runs with: the connection and the two streams.

use std::cell::RefCell;
use std::io::Write;

use crate::api::Client;
use crate::arguments::Connection;
use crate::failure::Failure;

/// Passed to every command.
pub struct Context {
    pub client: Client,
    out: RefCell<Box<dyn Write>>,
    error: RefCell<Box<dyn Write>>,
}

impl Context {
    pub fn new(connection: Connection, out: Box<dyn Write>, error: Box<dyn Write>) -> Result<Self, Failure> {
        Ok(Self { client: Client::new(connection.resolve()?)?, out: RefCell::new(out), error: RefCell::new(error) })
    }

    /// A line on standard output.
    pub fn line(&self, text: impl AsRef<str>) -> Result<(), Failure> {
        self.write(format!("{}\n", text.as_ref()))
    }

    /// As it is, at once.
    pub fn write(&self, bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
        let mut out = self.out.borrow_mut();
        out.write_all(bytes.as_ref())?;
        Ok(out.flush()?)
    }

    /// A line on standard error.
    pub fn warn(&self, text: impl AsRef<str>) -> Result<(), Failure> {
        self.write_error(format!("{}\n", text.as_ref()))
    }

    /// As it is, on standard error.
    pub fn write_error(&self, bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
        let mut error = self.error.borrow_mut();
        error.write_all(bytes.as_ref())?;
        Ok(error.flush()?)
    }

    /// Says what went wrong, if anything, and gives the exit code.
    pub fn finish(&self, result: Result<(), Failure>) -> u8 {
        let Err(failure) = result else { return 0 };
        if !failure.message.is_empty() {
            // With standard error gone, the exit code is all that is left.
            let _ = self.warn(&failure.message);
        }
        failure.exit_code
    }
}
