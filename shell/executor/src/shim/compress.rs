//! An older file of the log made smaller, as the option `compress` asks for.
//!
//! In a child, because the shim goes on taking the container's output meanwhile. The child writes beside the log; what it
//! wrote takes the older file's place only when it is whole and on the disk, so that a crash at any moment leaves a log
//! that reads as before. Files may be rotated on meanwhile: which number it has by then is known here alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, dup2_stdin, dup2_stdout, fork};

use super::log::{named, rotated};
use super::process::restore_signals;

/// Room for what is read at once.
const READ_BYTES: usize = 64 * 1024;
/// Behind the log's own name.
const UNFINISHED: &str = ".compressing";
/// Behind the older file's name.
const COMPRESSED: &str = ".gz";

/// Name of the `number`th older file once it is compressed.
pub fn compressed(path: &Path, number: u32) -> PathBuf {
    named(&rotated(path, number), COMPRESSED)
}

/// One under way.
pub struct Compression {
    child: Pid,
    /// Which older file it is by now.
    number: u32,
}

impl Compression {
    /// Begins with the newest of the older files that is not compressed yet; `None` when all are.
    pub fn begin(path: &Path, keep: u32) -> io::Result<Option<Self>> {
        for number in 1..keep {
            let source = match File::open(rotated(path, number)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            let target = named(path, UNFINISHED);
            let target = OpenOptions::new().create(true).write(true).truncate(true).mode(0o640).open(target)?;
            // SAFETY: the shim has a single thread, so the child may run ordinary code.
            return match unsafe { fork() }? {
                ForkResult::Parent { child } => Ok(Some(Self { child, number })),
                ForkResult::Child => {
                    let done = compress(source, target);
                    if let Err(error) = &done {
                        eprintln!("skep-shim: compressing the log: {error}");
                    }
                    // SAFETY: `_exit` only ends this process; the shim's buffers and guards are not the child's to run.
                    unsafe { libc::_exit(i32::from(done.is_err())) }
                }
            };
        }
        Ok(None)
    }

    /// Its process.
    pub fn child(&self) -> Pid {
        self.child
    }

    /// The log was rotated. What is no longer kept need not be compressed.
    pub fn rotated(&mut self, keep: u32) -> io::Result<()> {
        self.number += 1;
        if self.number < keep {
            return Ok(());
        }
        match kill(self.child, Signal::SIGKILL) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Its process has ended: what it wrote is kept in the older file's place, or not at all. Whether another one may
    /// follow: what failed would fail again.
    pub fn ended(self, path: &Path, keep: u32, well: bool) -> io::Result<bool> {
        let unfinished = named(path, UNFINISHED);
        let kept = self.number < keep;
        if !well || !kept {
            fs::remove_file(unfinished)?;
            return Ok(!kept);
        }
        fs::rename(unfinished, compressed(path, self.number))?;
        // Until it is gone, readers take the plain one.
        fs::remove_file(rotated(path, self.number))?;
        Ok(true)
    }

    /// Waits for its process; whether it did its work.
    pub fn wait(&self) -> io::Result<bool> {
        loop {
            match waitpid(self.child, None) {
                Ok(status) => return Ok(matches!(status, WaitStatus::Exited(_, 0))),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The child.
fn compress(source: File, target: File) -> io::Result<()> {
    restore_signals()?;
    dup2_stdin(&source)?;
    dup2_stdout(&target)?;
    // The daemon takes the shim for ended when its connection is closed, which a copy would delay.
    // SAFETY: closes descriptors that nothing in this process uses any more; 0 to 2 stay.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    std::mem::forget((source, target));
    // SAFETY: descriptors 0 and 1 were put there above, and nothing else in this process uses them.
    let (source, target) = unsafe { (OwnedFd::from_raw_fd(0), OwnedFd::from_raw_fd(1)) };
    let mut reader = BufReader::with_capacity(READ_BYTES, File::from(source));
    let mut writer = GzEncoder::new(File::from(target), flate2::Compression::default());
    io::copy(&mut reader, &mut writer)?;
    writer.finish()?.sync_all()
}
