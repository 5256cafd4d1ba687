//! The last step before a container's program: AppArmor's profile, capabilities and the system call filter.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use libcontainer::capabilities::{drop_privileges, reset_effective};
use libcontainer::oci_spec::runtime::LinuxCapabilities;
use libcontainer::syscall::syscall::create_syscall;
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use serde_json::json;

use super::protocol::{Confinement, Propagation};

/// Bytes of one instruction of the filter.
const INSTRUCTION_BYTES: usize = 8;

/// What is given up, read while the host's files can still be seen.
#[derive(Clone)]
pub struct Confine {
    capabilities: Vec<String>,
    filter: Option<Vec<libc::sock_filter>>,
    filter_flags: u64,
    no_new_privileges: bool,
    apparmor: Option<String>,
    first: First,
}

/// What the first process does for all.
#[derive(Clone, Default)]
struct First {
    propagations: Vec<(String, MsFlags)>,
    working_dir: Option<PathBuf>,
}

impl Confine {
    /// Reads the filter.
    pub fn read(confinement: &Confinement) -> io::Result<Self> {
        let filter = confinement.filter.as_ref().map(fs::read).transpose()?.map(|bytes| instructions(&bytes));
        Ok(Self {
            capabilities: confinement.capabilities.clone(),
            filter: filter.transpose()?,
            filter_flags: confinement.filter_flags,
            no_new_privileges: confinement.no_new_privileges,
            apparmor: confinement.apparmor.clone(),
            first: First::default(),
        })
    }

    /// For the first process: how mounts below the container's travel, and where it begins.
    pub fn of_first(self, propagations: &[Propagation], working_dir: &Path) -> io::Result<Self> {
        let one = |wanted: &Propagation| Ok((wanted.target.clone(), propagation(&wanted.kind)?));
        let propagations = propagations.iter().map(one).collect::<io::Result<_>>()?;
        Ok(Self { first: First { propagations, working_dir: Some(working_dir.to_owned()) }, ..self })
    }

    /// What the first process does as soon as it is in the container, while failures can still be told.
    pub fn prepare(&self) -> Result<(), String> {
        reset_effective(create_syscall().as_ref())
            .map_err(|error| format!("capabilities: {}", skep_model::with_causes(&error)))?;
        self.choose_profile()?;
        for (target, flags) in &self.first.propagations {
            mount(None::<&str>, target.as_str(), None::<&str>, *flags, None::<&str>)
                .map_err(|error| format!("propagation of mount {target}: {error}"))?;
        }
        match &self.first.working_dir {
            Some(directory) => {
                enter(directory).map_err(|error| format!("working directory {}: {error}", directory.display()))
            }
            None => Ok(()),
        }
    }

    fn choose_profile(&self) -> Result<(), String> {
        match &self.apparmor {
            Some(profile) => enter_profile(profile).map_err(|error| format!("AppArmor profile {profile}: {error}")),
            None => Ok(()),
        }
    }

    /// Confines the calling process, which has become its user but kept its capabilities.
    pub fn apply(&self) -> Result<(), String> {
        let syscall = create_syscall();
        let words =
            |error: libcontainer::syscall::SyscallError| format!("capabilities: {}", skep_model::with_causes(&error));
        let filter = || match &self.filter {
            Some(filter) => load(filter, self.filter_flags).map_err(|error| format!("system call filter: {error}")),
            None => Ok(()),
        };
        self.choose_profile()?;
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

fn propagation(kind: &str) -> io::Result<MsFlags> {
    Ok(match kind {
        "rprivate" => MsFlags::MS_PRIVATE | MsFlags::MS_REC,
        "private" => MsFlags::MS_PRIVATE,
        "rshared" => MsFlags::MS_SHARED | MsFlags::MS_REC,
        "shared" => MsFlags::MS_SHARED,
        "rslave" => MsFlags::MS_SLAVE | MsFlags::MS_REC,
        "slave" => MsFlags::MS_SLAVE,
        other => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("propagation {other:?} is not known"))),
    })
}

/// Makes what is missing of a directory, owned by root, and goes there.
fn enter(directory: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = directory.ancestors().take_while(|part| !part.exists()).collect();
    for part in missing.into_iter().rev() {
        fs::create_dir(part)?;
        std::os::unix::fs::chown(part, Some(0), Some(0))?;
    }
    nix::unistd::chdir(directory).map_err(io::Error::from)
}

/// The profile is entered with the next program.
fn enter_profile(profile: &str) -> io::Result<()> {
    let open = |path: &str| OpenOptions::new().write(true).open(path);
    // The second is what kernels before 5.8 have.
    let mut file = open("/proc/thread-self/attr/apparmor/exec").or_else(|_| open("/proc/thread-self/attr/exec"))?;
    if fstatfs(&file)?.filesystem_type() != PROC_SUPER_MAGIC {
        return Err(io::Error::other("/proc is not the kernel's"));
    }
    file.write_all(format!("exec {profile}").as_bytes())
}

fn load(filter: &[libc::sock_filter], flags: u64) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(io::Error::other)?,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel reads `len` instructions at `filter`, which outlives the call, and writes nothing to them.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, std::ptr::from_ref(&program)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_entered_or_said_to_be_missing() {
        // Where the kernel has no AppArmor, nothing takes the word: the container must not start without.
        let entered = enter_profile("skep-test-no-such-profile");
        assert!(entered.is_err(), "no such profile is loaded anywhere");
    }

    #[test]
    fn a_filter_has_whole_instructions() {
        let one = instructions(&[6, 0, 1, 2, 0, 0, 255, 127]).expect("whole");
        assert_eq!((one[0].code, one[0].jt, one[0].jf, one[0].k), (6, 1, 2, 0x7fff_0000));
        assert!(instructions(&[6, 0, 1]).is_err());
    }
}
