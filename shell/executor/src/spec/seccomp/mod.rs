//! System call filters: the default one, or a profile of the service's own.
//!
//! Compiled by the daemon, once per set of capabilities and profile, rather than in each container by the runtime
//! library: that took longer than all the rest of a start. Flow: capabilities, profile → `Policy` → bytes for the
//! kernel. Start reading at `Filters::get`.

mod profile;
mod standard;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek};
use std::sync::{Arc, Mutex, PoisonError};

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpFilterContext, ScmpSyscall};
use nix::sys::memfd::{MFdFlags, memfd_create};
use skep_model::{Code, Refusal};

pub use profile::Kernel;

/// Filters kept; services with capabilities or profiles of their own are few.
const FILTERS_MAX: usize = 64;
/// Most bytes of a profile that are read; SwarmKit's wire would carry more.
pub const PROFILE_MAX_BYTES: usize = 1024 * 1024;
const ERRNO_EPERM: i32 = 1;

/// What is to happen to which system calls.
#[derive(Clone, Debug, PartialEq)]
struct Policy {
    /// To those that no rule names.
    otherwise: ScmpAction,
    /// Calling conventions beside the machine's own.
    architectures: Vec<ScmpArch>,
    rules: Vec<Rule>,
    /// For the system call that loads it.
    load_flags: u64,
}

/// What happens to some system calls, perhaps only with certain arguments.
#[derive(Clone, Debug, PartialEq)]
struct Rule {
    names: Vec<String>,
    action: ScmpAction,
    /// All must hold.
    arguments: Vec<ScmpArgCompare>,
}

/// A compiled filter.
#[derive(Clone, Debug)]
pub struct Filter {
    /// As the kernel takes it (`struct sock_filter`s).
    pub program: Arc<[u8]>,
    /// For the system call that loads it.
    pub load_flags: u64,
}

/// What a filter was compiled from: capabilities, and the profile's text.
type Key = (BTreeSet<String>, Option<Vec<u8>>);

/// Filters that were compiled. Compiling one takes longer than starting a container.
#[derive(Default)]
pub struct Filters {
    compiled: Mutex<BTreeMap<Key, Filter>>,
}

impl Filters {
    /// The filter for a container with these capabilities; by its own profile, if it has one.
    pub fn get(
        &self,
        capabilities: &BTreeSet<String>,
        profile: Option<&[u8]>,
        kernel: &Kernel,
    ) -> Result<Filter, Refusal> {
        let key = (capabilities.clone(), profile.map(<[u8]>::to_vec));
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(filter) = compiled.get(&key) {
            return Ok(filter.clone());
        }
        let policy = match profile {
            Some(text) => profile::policy(text, capabilities, kernel)?,
            None => standard::policy(capabilities, &kernel.architecture),
        };
        let failed = |error: String| Refusal::new(Code::Internal, format!("the system call filter: {error}"));
        let program: Arc<[u8]> = compile(&policy).map_err(failed)?.into();
        let filter = Filter { program, load_flags: policy.load_flags };
        if compiled.len() >= FILTERS_MAX {
            compiled.clear();
        }
        compiled.insert(key, filter.clone());
        Ok(filter)
    }
}

/// Refuses a profile that could not be compiled here.
pub fn check_profile(text: &[u8]) -> Result<(), Refusal> {
    profile::policy(text, &BTreeSet::new(), &Kernel::running()).map(drop)
}

fn compile(policy: &Policy) -> Result<Vec<u8>, String> {
    let words = |error: libseccomp::error::SeccompError| error.to_string();
    let mut filter = ScmpFilterContext::new(policy.otherwise).map_err(words)?;
    for architecture in &policy.architectures {
        filter.add_arch(*architecture).map_err(words)?;
    }
    // What would happen anyway needs no rule, and the library takes none.
    for rule in policy.rules.iter().filter(|rule| rule.action != policy.otherwise) {
        for name in &rule.names {
            // A call that this library does not know yet is left to what happens otherwise.
            let Ok(call) = ScmpSyscall::from_name(name) else { continue };
            let added = if rule.arguments.is_empty() {
                filter.add_rule(rule.action, call)
            } else {
                filter.add_rule_conditional(rule.action, call, &rule.arguments)
            };
            added.map_err(|error| format!("{name}: {error}"))?;
        }
    }
    let memory = memfd_create(c"skep-seccomp", MFdFlags::MFD_CLOEXEC).map_err(|error| error.to_string())?;
    filter.export_bpf(&memory).map_err(words)?;
    let mut file = File::from(memory);
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(|error| error.to_string())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_compiled_once() {
        let (filters, kernel) = (Filters::default(), Kernel::running());
        let first = filters.get(&BTreeSet::new(), None, &kernel).expect("compiled").program;
        assert!(first.len() > 1000 && first.len().is_multiple_of(8));
        let second = filters.get(&BTreeSet::new(), None, &kernel).expect("kept").program;
        assert!(Arc::ptr_eq(&first, &second));
        let profile =
            br#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "chmod", "action": "SCMP_ACT_ERRNO"}]}"#;
        let own = filters.get(&BTreeSet::new(), Some(profile), &kernel).expect("compiled").program;
        assert!(own.len() < first.len() && own.len().is_multiple_of(8));
    }
}
