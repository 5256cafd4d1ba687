//! The program that shims run: a sealed copy of our own binary in memory, one per run of the daemon, made for the
//! first container.
//!
//! A container that gets hold of its shim's `/proc/…/exe` (CVE-2019-5736) finds a file that nobody can write.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::error::RuntimeError;

/// The sealed copy.
pub struct ShimProgram {
    sealed: OwnedFd,
}

impl ShimProgram {
    /// Copies the running binary, or another one that understands the shim's argument.
    pub fn seal(program: Option<&Path>) -> Result<Self, RuntimeError> {
        let source = program.unwrap_or(Path::new("/proc/self/exe"));
        let seal = || -> io::Result<OwnedFd> {
            let sealed = executable_memfd()?;
            let mut copy = File::from(sealed.try_clone()?);
            io::copy(&mut File::open(source)?, &mut copy)?;
            let seals =
                SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
            fcntl(&sealed, FcntlArg::F_ADD_SEALS(seals))?;
            Ok(sealed)
        };
        Ok(Self { sealed: seal().map_err(RuntimeError::file("copy into sealed memory", source))? })
    }

    /// What to execute, in a child that still has our descriptors (they close on exec).
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.sealed.as_raw_fd()))
    }
}

fn executable_memfd() -> io::Result<OwnedFd> {
    // From Linux 6.3 on, executability can be asked for, and must be where `vm.memfd_noexec` is set.
    let executable = MFdFlags::from_bits_retain(libc::MFD_EXEC);
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    match memfd_create(c"skep-shim", flags | executable) {
        Err(nix::errno::Errno::EINVAL) => Ok(memfd_create(c"skep-shim", flags)?),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_runs_and_cannot_be_changed() {
        let program = ShimProgram::seal(Some(Path::new("/bin/true"))).expect("sealed");
        let status = std::process::Command::new(program.path()).status().expect("it runs");
        assert!(status.success());
        assert!(std::fs::OpenOptions::new().write(true).open(program.path()).is_ok_and(|file| {
            use std::io::Write;
            (&file).write_all(b"x").is_err()
        }));
    }
}
