//! Unpacks an untrusted tar stream below a directory, as if that directory were `/`.
//!
//! Every parent is resolved by the kernel with `RESOLVE_IN_ROOT`, so that neither `..`, nor absolute names, nor links
//! that an earlier entry made lead outside; the last component is never followed. Devices are not made: a
//! container's `/dev` is the runtime's. Counts and bytes are limited, whatever the headers claim.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmodat, fstatat, mkdirat, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};
use tar::EntryType;

use super::tar_reader::{Entry, TarReader};

/// Entries that one archive may have.
pub const MAX_ARCHIVE_ENTRIES: u64 = 4_000_000;
/// Bytes of content that one archive may unpack to.
pub const MAX_ARCHIVE_BYTES: u64 = 256 << 30;
/// The longest name of an entry, as Linux's `PATH_MAX`.
const MAX_PATH_BYTES: usize = 4096;
const WHITEOUT_PREFIX: &[u8] = b".wh.";
const WHITEOUT_META_PREFIX: &[u8] = b".wh..wh.";
const OPAQUE_MARKER: &[u8] = b".wh..wh..opq";
const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// A header that is none.
    #[error("not a tar archive (bad header checksum)")]
    NotTar,
    /// A number in a header that is none.
    #[error("bad tar header: {0}")]
    Header(#[source] io::Error),
    /// Ends within an entry.
    #[error("the archive is cut short")]
    Truncated,
    /// The stream broke.
    #[error("reading the archive: {0}")]
    Read(#[source] io::Error),
    /// Leads outside, or is no name.
    #[error("archive entry {path:?} is refused: {reason}")]
    Refused {
        /// As written in the archive.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// A bomb, or a limit too low.
    #[error("the archive exceeds the limit of {limit} {what}")]
    Limit {
        /// Entries, bytes.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// Understood, not carried out.
    #[error("unsupported in an archive: {0}")]
    Unsupported(&'static str),
    /// The file system said no.
    #[error("cannot {operation} {path:?}: {source}")]
    Entry {
        /// Verb.
        operation: &'static str,
        /// As written in the archive.
        path: String,
        /// Why.
        source: Errno,
    },
}

/// How much one archive may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub entries: u64,
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: MAX_ARCHIVE_ENTRIES, bytes: MAX_ARCHIVE_BYTES }
    }
}

impl Limits {
    /// Content, and what headers and padding may add to it.
    fn stream_bytes(&self) -> u64 {
        self.bytes.saturating_mul(2).saturating_add(self.entries.saturating_mul(4096))
    }
}

/// What the archive's content becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A lower directory of overlayfs: whiteouts converted, owners, times and attributes kept.
    Layer,
    /// Files to look into: names and content only.
    Files,
}

/// Unpacks all of `reader` below `root`; returns the bytes of content written.
pub fn unpack<R: Read>(reader: R, root: &Path, purpose: Purpose, limits: Limits) -> Result<(R, u64), UnpackError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root =
        open(root, flags, Mode::empty()).map_err(|source| failed("open", root.as_os_str().as_bytes(), source))?;
    let mut unpacker =
        Unpacker { root, purpose, limits, entries: 0, bytes: 0, parent: None, directory_times: Vec::new() };
    let mut archive = TarReader::new(LimitedRead { inner: reader, left: limits.stream_bytes() });
    while let Some(entry) = archive.next_entry()? {
        unpacker.count(&entry)?;
        unpacker.place(&entry, &mut archive)?;
    }
    unpacker.stamp_directories()?;
    Ok((archive.drain()?.inner, unpacker.bytes))
}

/// Opens a file below `root` for reading, resolved as if `root` were `/`.
pub fn open_in_root(root: &Path, path: &str) -> io::Result<File> {
    let root = open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).resolve(in_root());
    let file = File::from(openat2(&root, path, how)?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
    }
}

fn in_root() -> ResolveFlag {
    ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS
}

struct Unpacker {
    root: OwnedFd,
    purpose: Purpose,
    limits: Limits,
    entries: u64,
    bytes: u64,
    /// Archives list a directory's entries together, hence one parent is kept open.
    parent: Option<(PathBuf, OwnedFd)>,
    /// Set at the end, since filling a directory changes them.
    directory_times: Vec<(PathBuf, TimeSpec)>,
}

impl Unpacker {
    fn count(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(UnpackError::Limit { what: "entries", limit: self.limits.entries });
        }
        let content = if is_regular(entry.kind) { entry.size_bytes } else { 0 };
        self.bytes = self.bytes.saturating_add(content);
        if self.bytes > self.limits.bytes {
            return Err(UnpackError::Limit { what: "bytes of content", limit: self.limits.bytes });
        }
        Ok(())
    }

    fn place(&mut self, entry: &Entry, content: &mut impl Read) -> Result<(), UnpackError> {
        let path = sane_path(&entry.path)?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return self.place_root(entry);
        };
        let (parent, name) = (parent.to_owned(), name.as_bytes().to_owned());
        if self.purpose == Purpose::Layer && name.starts_with(WHITEOUT_PREFIX) {
            return self.whiteout(&parent, &name, entry);
        }
        let parent_fd = self.parent_fd(&parent)?;
        let name = OsStr::from_bytes(&name);
        match entry.kind {
            EntryType::Directory => {
                make_directory(&parent_fd, name).map_err(|e| failed("make directory", &entry.path, e))?
            }
            kind if is_regular(kind) => write_file(&parent_fd, name, entry, content)?,
            EntryType::Symlink => {
                clear(&parent_fd, name, entry)?;
                symlinkat(OsStr::from_bytes(&entry.link), &parent_fd, name)
                    .map_err(|e| failed("link", &entry.path, e))?;
            }
            EntryType::Link => {
                self.hard_link(&parent_fd, name, entry)?;
                return Ok(());
            }
            EntryType::Fifo => {
                clear(&parent_fd, name, entry)?;
                mknodat(&parent_fd, name, SFlag::S_IFIFO, Mode::from_bits_truncate(0o600), 0)
                    .map_err(|e| failed("make pipe", &entry.path, e))?;
            }
            EntryType::Block | EntryType::Char => {
                tracing::debug!(path = %text(&entry.path), "device in an image is not made");
                return Ok(());
            }
            _ => return Err(refused(&entry.path, "unknown kind of entry")),
        }
        if self.purpose == Purpose::Layer {
            set_attributes(parent_fd.as_fd(), name, entry)?;
            if entry.kind == EntryType::Directory {
                self.directory_times.push((path, modified(entry)));
            }
        }
        Ok(())
    }

    /// `./` itself: only its attributes matter.
    fn place_root(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        if self.purpose == Purpose::Layer && entry.kind == EntryType::Directory {
            let root = self.root.try_clone().map_err(UnpackError::Read)?;
            set_attributes(root.as_fd(), OsStr::new("."), entry)?;
            self.directory_times.push((PathBuf::from("."), modified(entry)));
        }
        Ok(())
    }

    /// `.wh.name` hides a name of the layers below; `.wh..wh..opq` hides all of a directory's.
    fn whiteout(&mut self, parent: &Path, name: &[u8], entry: &Entry) -> Result<(), UnpackError> {
        let parent_fd = self.parent_fd(parent)?;
        if name == OPAQUE_MARKER {
            return set_xattr(parent_fd.as_fd(), OsStr::new("."), OPAQUE_XATTR, b"y")
                .map_err(|e| failed("mark as opaque", &entry.path, e));
        }
        if name.starts_with(WHITEOUT_META_PREFIX) {
            return Ok(());
        }
        let hidden = OsStr::from_bytes(&name[WHITEOUT_PREFIX.len()..]);
        if matches!(hidden.as_bytes(), b"" | b"." | b"..") {
            return Err(refused(&entry.path, "a whiteout of no name"));
        }
        match mknodat(&parent_fd, hidden, SFlag::S_IFCHR, Mode::empty(), 0) {
            // What this layer brings itself stays: a whiteout is for the layers below.
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(error) => Err(failed("make whiteout for", &entry.path, error)),
        }
    }

    fn hard_link(&mut self, parent_fd: &OwnedFd, name: &OsStr, entry: &Entry) -> Result<(), UnpackError> {
        let target = sane_path(&entry.link)?;
        let (Some(target_parent), Some(target_name)) = (target.parent(), target.file_name()) else {
            return Err(refused(&entry.path, "a hard link to the root"));
        };
        let target_fd = self.open_directory(target_parent).map_err(|e| failed("find the target of", &entry.path, e))?;
        let found = fstatat(&target_fd, target_name, AtFlags::AT_SYMLINK_NOFOLLOW)
            .map_err(|e| failed("find the target of", &entry.path, e))?;
        if SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR {
            return Err(refused(&entry.path, "a hard link to a directory"));
        }
        clear(parent_fd, name, entry)?;
        linkat(&target_fd, target_name, parent_fd, name, AtFlags::empty()).map_err(|e| failed("link", &entry.path, e))
    }

    fn parent_fd(&mut self, parent: &Path) -> Result<OwnedFd, UnpackError> {
        if self.parent.as_ref().is_none_or(|(open, _)| open != parent) {
            let fd = self.make_parents(parent)?;
            self.parent = Some((parent.to_owned(), fd));
        }
        match &self.parent {
            Some((_, fd)) => fd.try_clone().map_err(UnpackError::Read),
            None => Err(UnpackError::Truncated),
        }
    }

    fn make_parents(&self, parent: &Path) -> Result<OwnedFd, UnpackError> {
        let bytes = parent.as_os_str().as_bytes();
        match self.open_directory(parent) {
            Err(Errno::ENOENT) => {}
            result => return result.map_err(|e| failed("open", bytes, e)),
        }
        let mut path = PathBuf::new();
        let mut fd = self.root.try_clone().map_err(UnpackError::Read)?;
        for component in parent.components() {
            match mkdirat(&fd, component.as_os_str(), Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(failed("make directory", bytes, error)),
            }
            path.push(component);
            fd = self.open_directory(&path).map_err(|e| failed("open", bytes, e))?;
        }
        Ok(fd)
    }

    fn open_directory(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        openat2(&self.root, path, OpenHow::new().flags(flags).resolve(in_root()))
    }

    fn stamp_directories(&mut self) -> Result<(), UnpackError> {
        for (path, modified) in std::mem::take(&mut self.directory_times).into_iter().rev() {
            // A later entry may have replaced it; then there is nothing to stamp.
            if let Ok(fd) = self.open_directory(&path) {
                let bytes = path.as_os_str().as_bytes();
                stamp(fd.as_fd(), OsStr::new("."), modified).map_err(|e| failed("stamp", bytes, e))?;
            }
        }
        Ok(())
    }
}

/// A relative path without `.` and leading `/`; `..` is refused rather than interpreted.
fn sane_path(path: &[u8]) -> Result<PathBuf, UnpackError> {
    if path.len() > MAX_PATH_BYTES {
        return Err(refused(&path[..64], "the name is longer than 4096 bytes"));
    }
    if path.contains(&0) {
        return Err(refused(path, "the name has a NUL"));
    }
    let mut sane = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(path)).components() {
        match component {
            Component::Normal(name) => sane.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(refused(path, "'..' could lead outside")),
        }
    }
    Ok(sane)
}

fn is_regular(kind: EntryType) -> bool {
    matches!(kind, EntryType::Regular | EntryType::Continuous)
}

fn make_directory(parent: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    match mkdirat(parent, name, Mode::from_bits_truncate(0o755)) {
        Err(Errno::EEXIST) => {}
        result => return result,
    }
    let found = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR {
        return Ok(());
    }
    unlinkat(parent, name, UnlinkatFlags::NoRemoveDir)?;
    mkdirat(parent, name, Mode::from_bits_truncate(0o755))
}

fn write_file(parent: &OwnedFd, name: &OsStr, entry: &Entry, content: &mut impl Read) -> Result<(), UnpackError> {
    clear(parent, name, entry)?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd =
        openat(parent, name, flags, Mode::from_bits_truncate(0o600)).map_err(|e| failed("create", &entry.path, e))?;
    io::copy(content, &mut File::from(fd)).map_err(UnpackError::Read)?;
    Ok(())
}

/// Removes what an earlier entry of the same name left. A directory stays in the way: that is a broken archive.
fn clear(parent: &OwnedFd, name: &OsStr, entry: &Entry) -> Result<(), UnpackError> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(failed("replace", &entry.path, error)),
    }
}

fn set_attributes(parent: BorrowedFd<'_>, name: &OsStr, entry: &Entry) -> Result<(), UnpackError> {
    let (owner, group) = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
    fchownat(parent, name, owner, group, AtFlags::AT_SYMLINK_NOFOLLOW)
        .map_err(|e| failed("change owner of", &entry.path, e))?;
    if entry.kind != EntryType::Symlink {
        // After the owner, since changing that drops set-id bits. The name was just made and is no link.
        fchmodat(parent, name, Mode::from_bits_truncate(entry.mode), FchmodatFlags::FollowSymlink)
            .map_err(|e| failed("change mode of", &entry.path, e))?;
    }
    for (attribute, value) in entry.xattrs.iter().filter(|(attribute, _)| is_kept_xattr(attribute)) {
        match set_xattr(parent, name, attribute, value) {
            Ok(()) => {}
            Err(Errno::EOPNOTSUPP) => tracing::warn!(attribute, "the file system keeps no such attribute"),
            Err(error) => return Err(failed("set attribute of", &entry.path, error)),
        }
    }
    stamp(parent, name, modified(entry)).map_err(|e| failed("stamp", &entry.path, e))
}

/// Never `trusted.*`: an image could steer overlayfs with it.
fn is_kept_xattr(attribute: &str) -> bool {
    attribute == "security.capability" || attribute.starts_with("user.") || attribute.starts_with("system.posix_acl_")
}

fn modified(entry: &Entry) -> TimeSpec {
    TimeSpec::new(entry.modified_seconds, entry.modified_nanos)
}

fn stamp(parent: BorrowedFd<'_>, name: &OsStr, time: TimeSpec) -> Result<(), Errno> {
    utimensat(parent, name, &time, &time, UtimensatFlags::NoFollowSymlink)
}

/// By way of `/proc/self/fd`, the only way to name a file relative to a directory here; the last component is not
/// followed.
#[allow(unsafe_code)]
fn set_xattr(parent: BorrowedFd<'_>, name: &OsStr, attribute: &str, value: &[u8]) -> Result<(), Errno> {
    let mut path = format!("/proc/self/fd/{}/", parent.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.as_bytes());
    let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
    let attribute = CString::new(attribute).map_err(|_| Errno::EINVAL)?;
    // SAFETY: both strings end in NUL and live through the call, as does `value`, whose length is passed.
    let result = unsafe { libc::lsetxattr(path.as_ptr(), attribute.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(result).map(drop)
}

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn failed(operation: &'static str, path: &[u8], source: Errno) -> UnpackError {
    UnpackError::Entry { operation, path: text(path), source }
}

fn refused(path: &[u8], reason: &'static str) -> UnpackError {
    UnpackError::Refused { path: text(path), reason }
}

/// Ends a stream that goes on for ever (headers and padding are not content).
struct LimitedRead<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for LimitedRead<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| io::Error::other("the archive is larger than its limit"))?;
        Ok(count)
    }
}

/// Removes a directory tree without following links. Missing is fine.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Flushes the file system that holds `directory`.
pub fn sync_file_system(directory: &Path) -> io::Result<()> {
    let fd = openat(AT_FDCWD, directory, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    Ok(nix::unistd::syncfs(fd)?)
}
