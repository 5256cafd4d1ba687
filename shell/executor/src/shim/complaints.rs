//! What the runtime library says of its failures. It tells its caller that, say, the root file system could not be
//! prepared, and keeps what exactly could not be mounted for a log, which a shim does not have: here it is caught.

use std::fmt::{Debug, Write as _};
use std::fs::File;
use std::io::{Read, Write};
use std::sync::Mutex;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Most that is kept of one complaint; mounts are shown with everything they are.
const COMPLAINT_MAX_BYTES: usize = 400;

/// The reader's end. The processes that the library makes write to the other one.
pub struct Complaints(File);

impl Complaints {
    /// From here on this process and its children complain here; once in a process.
    pub fn listen() -> std::io::Result<Self> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let teller = Teller(Mutex::new(File::from(write)));
        tracing::subscriber::set_global_default(teller).map_err(std::io::Error::other)?;
        Ok(Self(File::from(read)))
    }

    /// The first one, which is nearest to the cause.
    pub fn first(mut self) -> Option<String> {
        let mut bytes = Vec::new();
        // It ends with "would block", as the writing end is open here too: what was read counts.
        let complete = self.0.read_to_end(&mut bytes).is_ok();
        tracing::trace!(complete, "complaints were read");
        let text = String::from_utf8_lossy(&bytes);
        text.lines().next().filter(|line| !line.is_empty()).map(ToOwned::to_owned)
    }
}

/// Writes errors, one a line. What does not fit into the pipe is lost.
struct Teller(Mutex<File>);

impl Subscriber for Teller {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut words = Words::default();
        event.record(&mut words);
        let mut line = words.line();
        line.push('\n');
        // A writer that panicked left at most half a line.
        let mut pipe = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _lost = pipe.write_all(line.as_bytes()).is_err();
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The parts of an event.
#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Words {
    fn line(self) -> String {
        let mut line = format!("{}{}", self.message, self.fields).replace('\n', " ");
        if line.len() > COMPLAINT_MAX_BYTES {
            // The cause comes last.
            let cut = line.len() - COMPLAINT_MAX_BYTES;
            let cut = (cut..line.len()).find(|&at| line.is_char_boundary(at)).unwrap_or(line.len());
            line = format!("…{}", &line[cut..]);
        }
        line
    }
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "err" => write!(self.fields, ": {value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
        // Writing to memory does not fail.
        let _fine = written.is_ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_one_line_with_its_cause() {
        let words = |message: &str, fields: &str| Words { message: message.to_owned(), fields: fields.to_owned() };
        assert_eq!(words("failed to\nmount", ": Nix(EINVAL)").line(), "failed to mount: Nix(EINVAL)");
        let long = words(&"é".repeat(COMPLAINT_MAX_BYTES), ": the cause").line();
        assert!(long.starts_with('…') && long.ends_with(": the cause") && long.len() <= COMPLAINT_MAX_BYTES + 4);
    }
}
