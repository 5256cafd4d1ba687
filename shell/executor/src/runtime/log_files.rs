//! The files of a container's log, current and older, while its shim goes on writing, rotating and compressing them.

use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::shim::compress::compressed;
use crate::shim::log::rotated;

/// Older files that are looked for.
const FILES_MAX: u32 = 1000;
/// Rotations in a row that interrupt a look at the files; one more is taken as it comes.
const ROTATIONS_MAX: usize = 64;

/// Tells a file from all others, whatever its name is by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    number: u64,
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), number: metadata.ino() }
    }

    /// Of the file that is the current one.
    pub fn current(path: &Path) -> io::Result<Option<Self>> {
        present(fs::metadata(path).map(|metadata| Self::of(&metadata)))
    }
}

/// One of them, open: no rotation takes it away.
pub struct LogFile {
    identity: Identity,
    lines: Lines,
}

enum Lines {
    Plain(BufReader<File>),
    Compressed(Box<BufReader<MultiGzDecoder<BufReader<File>>>>),
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Option<(Identity, File)>> {
        let Some(file) = present(File::open(path))? else { return Ok(None) };
        Ok(Some((Identity::of(&file.metadata()?), file)))
    }

    fn plain(path: &Path) -> io::Result<Option<Self>> {
        let lines = |file| Lines::Plain(BufReader::new(file));
        Ok(Self::open(path)?.map(|(identity, file)| Self { identity, lines: lines(file) }))
    }

    /// The plain form first: it goes only when the other one is there.
    fn older(path: &Path, number: u32) -> io::Result<Option<Self>> {
        if let Some(file) = Self::plain(&rotated(path, number))? {
            return Ok(Some(file));
        }
        let lines = |file| Lines::Compressed(Box::new(BufReader::new(MultiGzDecoder::new(BufReader::new(file)))));
        let found = Self::open(&compressed(path, number))?;
        Ok(found.map(|(identity, file)| Self { identity, lines: lines(file) }))
    }

    /// Which it is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// One whole line; what has no end yet is left for later.
    pub fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let length = match &mut self.lines {
            Lines::Plain(reader) => reader.read_until(b'\n', &mut line)?,
            Lines::Compressed(reader) => reader.read_until(b'\n', &mut line)?,
        };
        if line.last() == Some(&b'\n') {
            return Ok(Some(line));
        }
        if let Lines::Plain(reader) = &mut self.lines {
            let position = reader.stream_position()?;
            if reader.get_ref().metadata()?.len() < position {
                // Begun anew: a log of a single file.
                reader.rewind()?;
            } else if length > 0 {
                reader.seek(SeekFrom::Current(-i64::try_from(length).unwrap_or(0)))?;
            }
        }
        Ok(None)
    }
}

/// All of them as they are at one moment, newest first.
pub fn open_all(path: &Path) -> io::Result<Vec<LogFile>> {
    let mut rotations = 0;
    loop {
        let before = Identity::current(path)?;
        let mut files: Vec<LogFile> = LogFile::plain(path)?.into_iter().collect();
        for number in 1..FILES_MAX {
            match LogFile::older(path, number)? {
                Some(file) => files.push(file),
                None => break,
            }
        }
        rotations += 1;
        if Identity::current(path)? == before || rotations > ROTATIONS_MAX {
            return Ok(files);
        }
    }
}

/// Those that were begun after the one that is held, oldest first.
pub fn newer(path: &Path, held: Option<Identity>) -> io::Result<Vec<LogFile>> {
    let mut files = open_all(path)?;
    let known = held.and_then(|held| files.iter().position(|file| file.identity == held));
    let new = match (held, known) {
        (None, _) => files.len(),
        (_, Some(place)) => place,
        // It is among the compressed ones by now.
        _ => files.iter().position(|file| matches!(file.lines, Lines::Compressed(_))).unwrap_or(files.len()),
    };
    files.truncate(new);
    files.reverse();
    Ok(files)
}

fn present<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::shim::log::{LogWriter, Stream};
    use crate::shim::protocol::LogInstructions;

    fn writer(path: &Path, max_files: u32) -> LogWriter {
        let attributes = BTreeMap::new();
        let path = path.to_owned();
        LogWriter::open(LogInstructions { path, max_size_bytes: 200, max_files, compress: true, attributes })
            .expect("log opens")
    }

    fn write(log: &mut LogWriter, numbers: std::ops::Range<u32>) {
        for number in numbers {
            log.record(Stream::Stdout, 0, format!("line {number:03}\n").as_bytes());
            log.flush().expect("written");
        }
    }

    fn numbers(files: Vec<LogFile>) -> Vec<u32> {
        let mut found = Vec::new();
        for mut file in files {
            while let Some(line) = file.next().expect("readable") {
                let text = String::from_utf8(line).expect("text");
                found.push(text[13..16].parse().expect("a number"));
            }
        }
        found
    }

    fn all(path: &Path) -> Vec<u32> {
        let mut files = open_all(path).expect("open");
        files.reverse();
        numbers(files)
    }

    #[test]
    fn lines_of_compressed_files_come_in_order() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("c.log");
        let mut log = writer(&path, 5);
        write(&mut log, 0..7);
        assert_eq!(all(&path), (0..7).collect::<Vec<_>>(), "while they are being compressed");
        log.settle().expect("compressed");
        assert_eq!(all(&path), (0..7).collect::<Vec<_>>());
        write(&mut log, 7..30);
        log.settle().expect("compressed");
        assert!(compressed(&path, 4).exists() && !rotated(&path, 4).exists());
        let left = all(&path);
        assert_eq!(left, (left[0]..30).collect::<Vec<_>>());
        assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 5, "the oldest ones go");
    }

    #[test]
    fn what_a_crash_leaves_is_read_once() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("c.log");
        let mut log = writer(&path, 5);
        write(&mut log, 0..2);
        let plain = fs::read(&path).expect("readable");
        write(&mut log, 2..5);
        log.settle().expect("compressed");
        let whole = all(&path);
        // As if it had come before the plain file was removed, or while the next one was written.
        let oldest = (1..5).rev().find(|number| compressed(&path, *number).exists()).expect("one is compressed");
        fs::write(rotated(&path, oldest), plain).expect("written");
        fs::write(directory.path().join("c.log.compressing"), b"\x1f\x8b").expect("written");
        assert_eq!(all(&path), whole);
    }

    #[test]
    fn a_follower_goes_on_where_it_was() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("c.log");
        let mut log = writer(&path, 9);
        write(&mut log, 0..2);
        let held = LogFile::plain(&path).expect("open").expect("there");
        let first: Vec<u32> = all(&path);
        write(&mut log, 2..4);
        // Rotated once: whether it is compressed by now or not makes no difference.
        let early = numbers(newer(&path, Some(held.identity())).expect("open"));
        log.settle().expect("compressed");
        let late = numbers(newer(&path, Some(held.identity())).expect("open"));
        assert_eq!((first, early, late), (vec![0, 1], vec![2, 3], vec![2, 3]));
    }

    #[test]
    fn a_single_file_begun_anew_is_read_from_its_beginning() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("c.log");
        let attributes = BTreeMap::new();
        let instructions =
            LogInstructions { path: path.clone(), max_size_bytes: 200, max_files: 1, compress: false, attributes };
        let mut log = LogWriter::open(instructions).expect("log opens");
        write(&mut log, 0..2);
        let mut held = LogFile::plain(&path).expect("open").expect("there");
        while held.next().expect("readable").is_some() {}
        write(&mut log, 2..3);
        assert_eq!(fs::metadata(&path).expect("there").len(), 79, "only the new line");
        assert!(held.next().expect("readable").is_none(), "noticed");
        assert_eq!(numbers(vec![held]), [2]);
    }
}
