//! The last step before a container's program: capabilities and the system call filter.

use std::fs;
use std::io;

use libcontainer::capabilities::{drop_privileges, reset_effective};
use libcontainer::oci_spec::runtime::LinuxCapabilities;
use libcontainer::syscall::syscall::create_syscall;
use serde_json::json;

use super::process::chain;
use super::protocol::Confinement;

/// Bytes of one instruction of the filter.
const INSTRUCTION_BYTES: usize = 8;

/// What is given up, read while the host's files can still be seen.
#[derive(Clone)]
pub struct Confine {
    capabilities: Vec<String>,
    filter: Option<Vec<libc::sock_filter>>,
    no_new_privileges: bool,
}

impl Confine {
    /// Reads the filter.
    pub fn read(confinement: &Confinement) -> io::Result<Self> {
        let filter = confinement.filter.as_ref().map(fs::read).transpose()?.map(|bytes| instructions(&bytes));
        Ok(Self {
            capabilities: confinement.capabilities.clone(),
            filter: filter.transpose()?,
            no_new_privileges: confinement.no_new_privileges,
        })
    }

    /// Confines the calling process, which has become its user but kept its capabilities.
    pub fn apply(&self) -> Result<(), String> {
        let syscall = create_syscall();
        let words = |error: libcontainer::syscall::SyscallError| format!("capabilities: {}", chain(&error));
        let filter = || match &self.filter {
            Some(filter) => load(filter).map_err(|error| format!("system call filter: {error}")),
            None => Ok(()),
        };
        reset_effective(syscall.as_ref()).map_err(words)?;
        if self.no_new_privileges {
            nix::sys::prctl::set_no_new_privs().map_err(|error| format!("no new privileges: {error}"))?;
        } else {
            // Without that bit, loading a filter is an administrator's privilege: before it is given up.
            filter()?;
        }
        // As the kernel does on exec: only root holds capabilities at once.
        let active = if nix::unistd::geteuid().is_root() { self.capabilities.as_slice() } else { &[] };
        let set: LinuxCapabilities = serde_json::from_value(json!({
            "bounding": self.capabilities,
            "effective": active,
            "permitted": active,
            "inheritable": [],
            "ambient": [],
        }))
        .map_err(|error| format!("capabilities: {error}"))?;
        drop_privileges(&set, syscall.as_ref()).map_err(words)?;
        if self.no_new_privileges { filter() } else { Ok(()) }
    }
}

fn instructions(bytes: &[u8]) -> io::Result<Vec<libc::sock_filter>> {
    let (whole, []) = bytes.as_chunks::<INSTRUCTION_BYTES>() else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the system call filter is cut off"));
    };
    let one = |&[c0, c1, jt, jf, k0, k1, k2, k3]: &[u8; INSTRUCTION_BYTES]| libc::sock_filter {
        code: u16::from_ne_bytes([c0, c1]),
        jt,
        jf,
        k: u32::from_ne_bytes([k0, k1, k2, k3]),
    };
    Ok(whole.iter().map(one).collect())
}

fn load(filter: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(io::Error::other)?,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel reads `len` instructions at `filter`, which outlives the call, and writes nothing to them.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, std::ptr::from_ref(&program)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_has_whole_instructions() {
        let one = instructions(&[6, 0, 1, 2, 0, 0, 255, 127]).expect("whole");
        assert_eq!((one[0].code, one[0].jt, one[0].jf, one[0].k), (6, 1, 2, 0x7fff_0000));
        assert!(instructions(&[6, 0, 1]).is_err());
    }
}
