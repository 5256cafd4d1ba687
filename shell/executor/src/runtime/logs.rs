//! Reads a container's log: rotated files in order, then the current one as it grows.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use skep_model::engine::{LogLine, LogQuery, LogStream};
use skep_model::{Code, Refusal, WallTime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;

use super::container::ContainerHandle;
use super::log_files::{self, Identity, LogFile};

/// Lines on their way to a slow reader.
const CHANNEL_LINES: usize = 256;
/// How often a followed log is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);

/// Lines of output on their way to a reader; ends with the log, or with an error as the last item.
pub type LogFollower = mpsc::Receiver<Result<LogLine, Refusal>>;

#[derive(Deserialize)]
struct Entry {
    log: String,
    stream: String,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
    time: String,
}

/// Starts reading.
pub fn follow(container: Arc<ContainerHandle>, query: LogQuery) -> Result<LogFollower, Refusal> {
    let path = container
        .record()
        .log_path
        .ok_or_else(|| Refusal::new(Code::Unimplemented, "configured logging driver does not support reading"))?;
    let (lines, reader) = mpsc::channel(CHANNEL_LINES);
    tokio::task::spawn_blocking(move || {
        let mut follower = Follower { container, path, query, lines };
        if let Err(error) = follower.run() {
            let refusal = Refusal::new(Code::Internal, format!("error reading the log: {error}"));
            // A reader that is gone needs no error.
            let _unheard = follower.lines.blocking_send(Err(refusal)).is_err();
        }
    });
    Ok(reader)
}

struct Follower {
    container: Arc<ContainerHandle>,
    path: PathBuf,
    query: LogQuery,
    lines: mpsc::Sender<Result<LogLine, Refusal>>,
}

impl Follower {
    fn run(&mut self) -> io::Result<()> {
        let mut files = log_files::open_all(&self.path)?;
        if let Some(tail) = self.query.tail {
            let last = self.last(&mut files, usize::try_from(tail).unwrap_or(usize::MAX))?;
            if !last.into_iter().all(|line| self.send(line)) {
                return Ok(());
            }
        } else {
            for file in files.iter_mut().rev() {
                if !self.rest(file)? {
                    return Ok(());
                }
            }
        }
        if self.query.follow { self.grow(files.into_iter().next()) } else { Ok(()) }
    }

    /// The last lines that are wanted, from as few files as have them; the newest file is read to its end.
    fn last(&self, files: &mut [LogFile], tail: usize) -> io::Result<Vec<LogLine>> {
        let mut parts: Vec<VecDeque<LogLine>> = Vec::new();
        let mut missing = tail;
        for file in files {
            if missing == 0 && !parts.is_empty() {
                break;
            }
            let mut last = VecDeque::new();
            while let Some(line) = file.next()? {
                last.extend(self.wanted(&line));
                if last.len() > missing {
                    last.pop_front();
                }
            }
            missing -= last.len();
            parts.push(last);
        }
        Ok(parts.into_iter().rev().flatten().collect())
    }

    /// Sends what is left of a file; whether anybody still reads.
    fn rest(&self, file: &mut LogFile) -> io::Result<bool> {
        while let Some(line) = file.next()? {
            if let Some(line) = self.wanted(&line)
                && !self.send(line)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Follows the current file, and the next ones after rotations, until the container has ended.
    fn grow(&mut self, mut held: Option<LogFile>) -> io::Result<()> {
        loop {
            // Both asked before reading: what was written before the end, or before a rotation, is then read for certain.
            let live = self.container.now();
            let over = live.cleaned || (live.exit_code().is_some() && self.container.client().is_none());
            let current = Identity::current(&self.path)?;
            if let Some(file) = &mut held
                && !self.rest(file)?
            {
                return Ok(());
            }
            let known = held.as_ref().map(LogFile::identity);
            if current.is_some() && current != known {
                let mut newer = log_files::newer(&self.path, known)?;
                let newest = newer.pop();
                for file in &mut newer {
                    if !self.rest(file)? {
                        return Ok(());
                    }
                }
                held = newest.or(held);
                continue;
            }
            let late = self.query.until.is_some_and(|until| WallTime(crate::shim::now_nanos()) > until);
            if over || late || self.lines.is_closed() {
                return Ok(());
            }
            std::thread::sleep(FOLLOW_INTERVAL);
        }
    }

    fn send(&self, line: LogLine) -> bool {
        self.lines.blocking_send(Ok(line)).is_ok()
    }

    /// The line, if the reader wants it. A line that is no record of ours (cut off by a crash) is left out.
    fn wanted(&self, text: &[u8]) -> Option<LogLine> {
        let entry: Entry = serde_json::from_slice(text).ok()?;
        let stream = if entry.stream == "stderr" { LogStream::Stderr } else { LogStream::Stdout };
        let shown = match stream {
            LogStream::Stdout => self.query.stdout,
            LogStream::Stderr => self.query.stderr,
        };
        let at = OffsetDateTime::parse(&entry.time, &Rfc3339).ok()?;
        let at = WallTime(i64::try_from(at.unix_timestamp_nanos()).ok()?);
        let early = self.query.since.is_some_and(|since| at < since);
        let late = self.query.until.is_some_and(|until| at > until);
        (shown && !early && !late).then(|| LogLine {
            stream,
            at,
            data: entry.log.into_bytes().into(),
            attributes: entry.attrs,
        })
    }
}
