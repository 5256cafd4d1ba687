//! The container's output as JSON lines, in the form of Docker's `json-file`:
//! `{"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.000000006Z"}`, rotated by size. What log options add to
//! each line stands before the time: `"attrs":{"tag":"web"}`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;

use super::compress::{Compression, compressed};
use super::protocol::LogInstructions;

/// A line longer than this is split, as Docker does.
pub const LINE_SPLIT_BYTES: usize = 16 * 1024;

/// Which stream a piece came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// The current log file.
pub struct LogWriter {
    instructions: LogInstructions,
    /// What goes between a line's stream and its time.
    attributes: Vec<u8>,
    file: File,
    size_bytes: u64,
    buffer: Vec<u8>,
    /// Of an older file.
    compression: Option<Compression>,
    /// What went wrong since the last `flush`.
    failed: Option<io::Error>,
}

impl LogWriter {
    /// Opens (or continues) the log.
    pub fn open(instructions: LogInstructions) -> io::Result<Self> {
        let file = append(&instructions.path)?;
        let size_bytes = file.metadata()?.len();
        let attributes = encode_attributes(&instructions.attributes);
        Ok(Self { instructions, attributes, file, size_bytes, buffer: Vec::new(), compression: None, failed: None })
    }

    /// Adds one record to what the next `flush` writes; begins the next file when this one would grow too large.
    pub fn record(&mut self, stream: Stream, at_nanos: i64, text: &[u8]) {
        let before = self.buffer.len();
        encode(&mut self.buffer, stream, &self.attributes, at_nanos, text);
        let max = self.instructions.max_size_bytes;
        let (full, begun) = (self.size_bytes + self.buffer.len() as u64 > max, self.size_bytes > 0 || before > 0);
        if max > 0 && full && begun {
            let rotated = self.file.write_all(&self.buffer[..before]).and_then(|()| self.rotate());
            self.failed = self.failed.take().or(rotated.err());
            self.buffer.drain(..before);
        }
    }

    /// Writes what was recorded; a full disk loses records rather than stopping the container.
    pub fn flush(&mut self) -> io::Result<()> {
        let failed = self.failed.take();
        if self.buffer.is_empty() {
            return failed.map_or(Ok(()), Err);
        }
        let written = self.file.write_all(&self.buffer);
        self.size_bytes += self.buffer.len() as u64;
        self.buffer.clear();
        self.buffer.shrink_to(LINE_SPLIT_BYTES);
        failed.map_or(written, Err)
    }

    fn keep(&self) -> u32 {
        self.instructions.max_files.max(1)
    }

    fn rotate(&mut self) -> io::Result<()> {
        let keep = self.keep();
        let path = &self.instructions.path;
        if keep == 1 {
            self.file.set_len(0)?;
        } else {
            // Either form of the oldest goes, whichever form takes its place.
            fine_if_absent(fs::remove_file(rotated(path, keep - 1)))?;
            fine_if_absent(fs::remove_file(compressed(path, keep - 1)))?;
            for number in (1..keep - 1).rev() {
                fine_if_absent(fs::rename(compressed(path, number), compressed(path, number + 1)))?;
                fine_if_absent(fs::rename(rotated(path, number), rotated(path, number + 1)))?;
            }
            fs::rename(path, rotated(path, 1))?;
            self.file = append(path)?;
        }
        self.size_bytes = 0;
        match &mut self.compression {
            Some(compression) => compression.rotated(keep),
            None => self.compress(),
        }
    }

    fn compress(&mut self) -> io::Result<()> {
        if self.instructions.compress {
            self.compression = Compression::begin(&self.instructions.path, self.keep())?;
        }
        Ok(())
    }

    /// Takes the end of a child if it was this log's; the next older file has its turn then.
    pub fn child_ended(&mut self, child: Pid, exit_code: i32) -> bool {
        let ended = self.compression.take_if(|compression| compression.child() == child);
        ended.is_some_and(|compression| {
            let failed = self.compression_ended(compression, exit_code == 0).err();
            self.failed = self.failed.take().or(failed);
            true
        })
    }

    fn compression_ended(&mut self, compression: Compression, well: bool) -> io::Result<()> {
        if compression.ended(&self.instructions.path, self.keep(), well)? { self.compress() } else { Ok(()) }
    }

    /// Waits until nothing is left to be compressed.
    pub fn settle(&mut self) -> io::Result<()> {
        while let Some(compression) = self.compression.take() {
            let well = compression.wait()?;
            self.compression_ended(compression, well)?;
        }
        Ok(())
    }
}

fn fine_if_absent(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

/// Name of the `number`th older file.
pub fn rotated(path: &Path, number: u32) -> PathBuf {
    named(path, &format!(".{number}"))
}

/// A path with something behind it.
pub fn named(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn encode(out: &mut Vec<u8>, stream: Stream, attributes: &[u8], at_nanos: i64, text: &[u8]) {
    out.extend_from_slice(b"{\"log\":\"");
    for chunk in text.utf8_chunks() {
        escape(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.name().as_bytes());
    out.extend_from_slice(b"\",");
    out.extend_from_slice(attributes);
    out.extend_from_slice(b"\"time\":\"");
    timestamp(out, at_nanos);
    out.extend_from_slice(b"\"}\n");
}

fn encode_attributes(attributes: &BTreeMap<String, String>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in attributes {
        out.extend_from_slice(if out.is_empty() { b"\"attrs\":{\"" } else { b",\"" });
        escape(&mut out, name);
        out.extend_from_slice(b"\":\"");
        escape(&mut out, value);
        out.push(b'"');
    }
    if !out.is_empty() {
        out.extend_from_slice(b"},");
    }
    out
}

fn escape(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..=0x1f | 0x7f => {
                let digits = b"0123456789abcdef";
                let code = [b'\\', b'u', b'0', b'0', digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]];
                out.extend_from_slice(&code);
            }
            _ => out.push(byte),
        }
    }
}

/// RFC 3339 with nine digits, UTC. The calendar by Howard Hinnant's `civil_from_days`.
pub fn timestamp(out: &mut Vec<u8>, at_nanos: i64) {
    let seconds = at_nanos.div_euclid(1_000_000_000);
    let nanos = at_nanos.rem_euclid(1_000_000_000);
    let day = seconds.div_euclid(86_400);
    let second = seconds.rem_euclid(86_400);
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let text = format!(
        "{year:04}-{month:02}-{day_of_month:02}T{:02}:{:02}:{:02}.{nanos:09}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    );
    out.extend_from_slice(text.as_bytes());
}

/// Collects a stream's bytes into lines.
pub struct LineSplitter {
    stream: Stream,
    pending: Vec<u8>,
}

impl LineSplitter {
    /// Nothing collected yet.
    pub fn new(stream: Stream) -> Self {
        Self { stream, pending: Vec::new() }
    }

    /// Hands complete lines (and too long ones in pieces) to the log.
    pub fn push(&mut self, mut bytes: &[u8], at_nanos: i64, log: &mut LogWriter) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            let (line, rest) = bytes.split_at(end + 1);
            if self.pending.is_empty() {
                log.record(self.stream, at_nanos, line);
            } else {
                self.pending.extend_from_slice(line);
                log.record(self.stream, at_nanos, &self.pending);
                self.pending = Vec::new();
            }
            bytes = rest;
        }
        self.pending.extend_from_slice(bytes);
        while self.pending.len() >= LINE_SPLIT_BYTES {
            let rest = self.pending.split_off(LINE_SPLIT_BYTES);
            log.record(self.stream, at_nanos, &self.pending);
            self.pending = rest;
        }
    }

    /// Hands over what has no line end.
    pub fn finish(&mut self, at_nanos: i64, log: &mut LogWriter) {
        if !self.pending.is_empty() {
            log.record(self.stream, at_nanos, &self.pending);
            self.pending = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(directory: &Path, max_size_bytes: u64, max_files: u32) -> LogWriter {
        let path = directory.join("c.log");
        LogWriter::open(LogInstructions {
            path,
            max_size_bytes,
            max_files,
            compress: false,
            attributes: BTreeMap::new(),
        })
        .expect("log opens")
    }

    #[test]
    fn attributes_stand_in_each_line() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("c.log");
        let attributes = [("tag", "a \"b\""), ("com.example.x", "1")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let instructions = LogInstructions {
            path: path.clone(),
            max_size_bytes: 0,
            max_files: 1,
            compress: false,
            attributes: attributes.into(),
        };
        let mut log = LogWriter::open(instructions).expect("log opens");
        log.record(Stream::Stdout, 0, b"hello\n");
        log.flush().expect("written");
        let text = std::fs::read_to_string(path).expect("readable");
        let expected = r#"{"log":"hello\n","stream":"stdout","attrs":{"com.example.x":"1","tag":"a \"b\""},"time":"#;
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn records_read_back_as_json() {
        let directory = tempfile::tempdir().expect("directory");
        let mut log = writer(directory.path(), 0, 1);
        let mut lines = LineSplitter::new(Stream::Stderr);
        lines.push(b"say \"hi\"\t\\\x01\xff", 0, &mut log);
        lines.push(b"!\nnext", 1_700_000_000_123_456_789, &mut log);
        lines.finish(1_709_210_096_000_000_007, &mut log);
        log.flush().expect("written");
        let text = std::fs::read_to_string(directory.path().join("c.log")).expect("readable");
        let records: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("json")).collect();
        assert_eq!(records.len(), 2);
        assert_eq!(records[0]["log"], "say \"hi\"\t\\\u{1}\u{fffd}!\n");
        assert_eq!(records[0]["stream"], "stderr");
        assert_eq!(records[0]["time"], "2023-11-14T22:13:20.123456789Z");
        assert_eq!(records[1]["log"], "next");
        assert_eq!(records[1]["time"], "2024-02-29T12:34:56.000000007Z");
    }

    #[test]
    fn long_lines_are_split() {
        let directory = tempfile::tempdir().expect("directory");
        let mut log = writer(directory.path(), 0, 1);
        let mut lines = LineSplitter::new(Stream::Stdout);
        lines.push(&vec![b'x'; LINE_SPLIT_BYTES + 1], 0, &mut log);
        lines.push(b"\n", 0, &mut log);
        log.flush().expect("written");
        let text = std::fs::read_to_string(directory.path().join("c.log")).expect("readable");
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn a_burst_is_rotated_too() {
        let directory = tempfile::tempdir().expect("directory");
        let mut log = writer(directory.path(), 200, 2);
        let burst: String = (0..20).map(|number| format!("line {number}\n")).collect();
        LineSplitter::new(Stream::Stdout).push(burst.as_bytes(), 0, &mut log);
        log.flush().expect("written");
        let path = directory.path().join("c.log");
        for file in [path.clone(), rotated(&path, 1)] {
            let text = std::fs::read_to_string(file).expect("readable");
            assert!(!text.is_empty() && text.len() <= 200, "{text}");
        }
        assert!(std::fs::read_to_string(path).expect("readable").contains("line 19"));
        assert_eq!(std::fs::read_dir(directory.path()).expect("listed").count(), 2);
    }

    #[test]
    fn rotation_keeps_so_many_files() {
        let directory = tempfile::tempdir().expect("directory");
        let mut log = writer(directory.path(), 200, 3);
        for number in 0..20 {
            log.record(Stream::Stdout, 0, format!("line {number}\n").as_bytes());
            log.flush().expect("written");
        }
        let names = std::fs::read_dir(directory.path()).expect("listed").count();
        assert_eq!(names, 3);
        let newest = std::fs::read_to_string(directory.path().join("c.log")).expect("readable");
        assert!(newest.contains("line 19"));
        let older = std::fs::read_to_string(rotated(&directory.path().join("c.log"), 1)).expect("readable");
        assert!(older.contains("line 17") || older.contains("line 16"));
    }
}
