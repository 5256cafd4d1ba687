//! Reads a container's log: rotated files in order, then the current one as it grows.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use skep_model::engine::{LogLine, LogQuery, LogStream};
use skep_model::{Code, Refusal, WallTime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;

use super::container::ContainerHandle;
use crate::shim::log::rotated;

/// Lines on their way to a slow reader.
const CHANNEL_LINES: usize = 256;
/// How often a followed log is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);
/// Rotated files that are looked for.
const FILES_MAX: u32 = 1000;

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
        let mut last = VecDeque::new();
        let tail = self.query.tail.map(|tail| usize::try_from(tail).unwrap_or(usize::MAX));
        let mut current = None;
        for path in files(&self.path) {
            let Ok(file) = File::open(&path) else { continue };
            let mut reader = BufReader::new(file);
            while let Some(line) = next(&mut reader)? {
                let Some(line) = self.wanted(&line) else { continue };
                match tail {
                    Some(tail) => {
                        last.push_back(line);
                        if last.len() > tail {
                            last.pop_front();
                        }
                    }
                    None if !self.send(line) => return Ok(()),
                    None => {}
                }
            }
            current = Some(reader);
        }
        for line in last {
            if !self.send(line) {
                return Ok(());
            }
        }
        if self.query.follow { self.grow(current) } else { Ok(()) }
    }

    /// Follows the current file, and the next ones after rotations, until the container has ended.
    fn grow(&mut self, mut current: Option<BufReader<File>>) -> io::Result<()> {
        loop {
            // Asked before reading: what was written before the end is then read for certain.
            let live = self.container.now();
            let over = live.cleaned || (live.exit_code().is_some() && self.container.client().is_none());
            if current.is_none() {
                current = File::open(&self.path).ok().map(BufReader::new);
            }
            if let Some(reader) = &mut current {
                while let Some(line) = next(reader)? {
                    if let Some(line) = self.wanted(&line)
                        && !self.send(line)
                    {
                        return Ok(());
                    }
                }
                let same = std::fs::metadata(&self.path).is_ok_and(|now| {
                    reader.get_ref().metadata().is_ok_and(|held| held.ino() == now.ino() && held.dev() == now.dev())
                });
                if !same {
                    current = None;
                    continue;
                }
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

/// One whole line; what has no end yet is left for later.
fn next(reader: &mut BufReader<File>) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let length = reader.read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        return Ok(Some(line));
    }
    if length > 0 {
        reader.seek(SeekFrom::Current(-i64::try_from(length).unwrap_or(0)))?;
    }
    Ok(None)
}

/// Oldest first.
fn files(path: &Path) -> Vec<PathBuf> {
    let mut older: Vec<PathBuf> =
        (1..FILES_MAX).map(|number| rotated(path, number)).take_while(|path| path.exists()).collect();
    older.reverse();
    older.push(path.to_owned());
    older
}
