//! Reads tar archives from an untrusted stream: bounded names, bounded extension records, nothing buffered but those.
//!
//! ustar, PAX (POSIX.1-2001) and GNU long names; sparse files are refused by name.

use std::io::{self, Read};
use std::ops::Range;

use tar::{EntryType, Header};

use super::unpack::UnpackError;

const BLOCK_BYTES: u64 = 512;
/// A PAX header or GNU long name larger than this is refused (extended attributes included).
pub const MAX_EXTENSION_BYTES: u64 = 1 << 20;
// Where the header has its numbers (POSIX.1-1988).
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const MTIME: Range<usize> = 136..148;
const PAX_XATTR_PREFIX: &str = "SCHILY.xattr.";

/// What a header says, extensions applied.
#[derive(Debug)]
pub struct Entry {
    /// As written; not yet judged.
    pub path: Vec<u8>,
    /// Target of a link.
    pub link: Vec<u8>,
    pub kind: EntryType,
    pub size_bytes: u64,
    /// Permission bits with set-id and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub modified_seconds: i64,
    pub modified_nanos: i64,
    pub xattrs: Vec<(String, Vec<u8>)>,
}

/// An archive being read; after `next`, reading yields that entry's content.
pub struct TarReader<R> {
    inner: R,
    content_left: u64,
    padding_left: u64,
}

#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    modified: Option<(i64, i64)>,
    xattrs: Vec<(String, Vec<u8>)>,
}

impl<R: Read> TarReader<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, content_left: 0, padding_left: 0 }
    }

    /// The next entry, or `None` at the end of the archive; what was left of the last one's content is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, UnpackError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_rest()?;
            let Some(block) = self.read_block()? else { return Ok(None) };
            if block.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            let header = Header::from_byte_slice(&block);
            check_sum(header)?;
            let size = header.entry_size().map_err(UnpackError::Header)?;
            match header.entry_type() {
                EntryType::XHeader => {
                    let records = self.read_extension(size)?;
                    extensions.apply_pax(&records)?;
                }
                EntryType::XGlobalHeader => self.expect_content(size),
                EntryType::GNULongName => extensions.path = Some(until_nul(self.read_extension(size)?)),
                EntryType::GNULongLink => extensions.link = Some(until_nul(self.read_extension(size)?)),
                EntryType::GNUSparse => return Err(UnpackError::Unsupported("sparse file")),
                _ => return self.entry(header, size, extensions).map(Some),
            }
        }
    }

    /// Reads what follows the end of the archive, so that a digest covers the whole stream.
    pub fn drain(mut self) -> Result<R, UnpackError> {
        io::copy(&mut self.inner, &mut io::sink()).map_err(UnpackError::Read)?;
        Ok(self.inner)
    }

    fn entry(&mut self, header: &Header, size: u64, extensions: Extensions) -> Result<Entry, UnpackError> {
        let kind = header.entry_type();
        let size_bytes = extensions.size.unwrap_or(size);
        self.expect_content(size_bytes);
        let small = |value: u64| u32::try_from(value).map_err(|_| UnpackError::Unsupported("owner above 2^32"));
        let (modified_seconds, modified_nanos) = match extensions.modified {
            Some(modified) => modified,
            None => (i64::try_from(number(header, MTIME, Header::mtime)?).unwrap_or(0), 0),
        };
        Ok(Entry {
            path: extensions.path.unwrap_or_else(|| header.path_bytes().into_owned()),
            link: extensions
                .link
                .unwrap_or_else(|| header.link_name_bytes().map(|name| name.into_owned()).unwrap_or_default()),
            kind,
            size_bytes,
            mode: number(header, MODE, |header| header.mode().map(u64::from))? as u32 & 0o7777,
            uid: extensions.uid.map_or_else(|| number(header, UID, Header::uid).and_then(small), Ok)?,
            gid: extensions.gid.map_or_else(|| number(header, GID, Header::gid).and_then(small), Ok)?,
            modified_seconds,
            modified_nanos,
            xattrs: extensions.xattrs,
        })
    }

    fn expect_content(&mut self, size: u64) {
        self.content_left = size;
        self.padding_left = size.wrapping_neg() % BLOCK_BYTES;
    }

    fn read_extension(&mut self, size: u64) -> Result<Vec<u8>, UnpackError> {
        if size > MAX_EXTENSION_BYTES {
            return Err(UnpackError::Limit { what: "extension header bytes", limit: MAX_EXTENSION_BYTES });
        }
        self.expect_content(size);
        let mut content = Vec::new();
        self.read_to_end(&mut content).map_err(UnpackError::Read)?;
        Ok(content)
    }

    fn skip_rest(&mut self) -> Result<(), UnpackError> {
        let rest = self.content_left.saturating_add(self.padding_left);
        (self.content_left, self.padding_left) = (0, 0);
        let skipped = io::copy(&mut (&mut self.inner).take(rest), &mut io::sink()).map_err(UnpackError::Read)?;
        if skipped < rest {
            return Err(UnpackError::Truncated);
        }
        Ok(())
    }

    fn read_block(&mut self) -> Result<Option<[u8; BLOCK_BYTES as usize]>, UnpackError> {
        let mut block = [0; BLOCK_BYTES as usize];
        let mut filled = 0;
        while filled < block.len() {
            match self.inner.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(UnpackError::Truncated),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(UnpackError::Read(error)),
            }
        }
        Ok(Some(block))
    }
}

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.content_left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.inner.read(&mut buffer[..wanted])?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is cut short"));
        }
        self.content_left -= count as u64;
        Ok(count)
    }
}

impl Extensions {
    /// `<length> <key>=<value>\n`, repeated; the length counts the whole record.
    fn apply_pax(&mut self, mut records: &[u8]) -> Result<(), UnpackError> {
        let broken = || UnpackError::Unsupported("PAX header that cannot be read");
        while !records.is_empty() {
            let space = records.iter().position(|byte| *byte == b' ').ok_or_else(broken)?;
            let length: usize = parse(&records[..space]).ok_or_else(broken)?;
            if length <= space + 1 || length > records.len() {
                return Err(broken());
            }
            let record = records[space + 1..length].strip_suffix(b"\n").ok_or_else(broken)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(broken)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            self.apply_record(std::str::from_utf8(key).map_err(|_| broken())?, value).ok_or_else(broken)?;
            records = &records[length..];
        }
        Ok(())
    }

    fn apply_record(&mut self, key: &str, value: &[u8]) -> Option<()> {
        match key {
            "path" => self.path = Some(value.to_vec()),
            "linkpath" => self.link = Some(value.to_vec()),
            "size" => self.size = Some(parse(value)?),
            "uid" => self.uid = Some(parse(value)?),
            "gid" => self.gid = Some(parse(value)?),
            "mtime" => self.modified = Some(parse_time(value)?),
            _ => {
                if let Some(name) = key.strip_prefix(PAX_XATTR_PREFIX) {
                    self.xattrs.push((name.to_owned(), value.to_vec()));
                }
            }
        }
        Some(())
    }
}

fn parse<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// `1350244992.023960108`; digits beyond nanoseconds are dropped.
fn parse_time(value: &[u8]) -> Option<(i64, i64)> {
    let text = std::str::from_utf8(value).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    Some((seconds.parse().ok()?, digits.parse().ok()?))
}

fn until_nul(mut name: Vec<u8>) -> Vec<u8> {
    if let Some(end) = name.iter().position(|byte| *byte == 0) {
        name.truncate(end);
    }
    name
}

/// A number of the header; a blank field is zero, as other readers have it.
fn number(
    header: &Header,
    field: Range<usize>,
    read: impl FnOnce(&Header) -> io::Result<u64>,
) -> Result<u64, UnpackError> {
    if header.as_bytes()[field].iter().all(|byte| matches!(byte, 0 | b' ')) {
        return Ok(0);
    }
    read(header).map_err(UnpackError::Header)
}

/// The sum of the header's bytes, its own field read as spaces.
fn check_sum(header: &Header) -> Result<(), UnpackError> {
    let bytes = header.as_bytes();
    let sum: u32 = bytes[..148].iter().chain(&bytes[156..]).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
    match header.cksum() {
        Ok(stated) if stated == sum => Ok(()),
        _ => Err(UnpackError::NotTar),
    }
}
