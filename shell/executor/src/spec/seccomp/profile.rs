//! A profile of the service's own, in Docker's JSON.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp};
use serde::Deserialize;
use skep_model::{Code, Refusal};

use super::{ERRNO_EPERM, PROFILE_MAX_BYTES, Policy, Rule};

/// Arguments of a system call.
const ARGUMENTS: RangeInclusive<u32> = 0..=5;
/// Flags of the system call that loads a filter, by Docker's names. `TSYNC` concerns threads, of which there are none.
const LOAD_FLAGS: [(&str, u64); 3] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", 0),
    ("SECCOMP_FILTER_FLAG_LOG", libc::SECCOMP_FILTER_FLAG_LOG),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW),
];
/// Go's names of machines (which profiles use), Rust's, and the filter library's.
const MACHINES: [(&str, &str, &str); 6] = [
    ("amd64", "x86_64", "SCMP_ARCH_X86_64"),
    ("arm64", "aarch64", "SCMP_ARCH_AARCH64"),
    ("arm", "arm", "SCMP_ARCH_ARM"),
    ("ppc64le", "powerpc64", "SCMP_ARCH_PPC64LE"),
    ("riscv64", "riscv64", "SCMP_ARCH_RISCV64"),
    ("s390x", "s390x", "SCMP_ARCH_S390X"),
];

/// What conditions of a profile look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Rust's name of the machine.
    pub architecture: String,
    /// Version, two numbers.
    pub version: (u32, u32),
}

impl Kernel {
    /// This one.
    pub fn running() -> Self {
        let release = nix::sys::utsname::uname().map(|names| names.release().to_string_lossy().into_owned());
        let version = release.ok().and_then(|text| version(&text)).unwrap_or_default();
        Self { architecture: std::env::consts::ARCH.to_owned(), version }
    }

    fn machine(&self) -> Option<&'static (&'static str, &'static str, &'static str)> {
        MACHINES.iter().find(|(_, rust, _)| *rust == self.architecture)
    }
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<Architectures>>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default)]
    listener_path: String,
    #[serde(default)]
    syscalls: Option<Vec<Calls>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Architectures {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Calls {
    #[serde(default)]
    name: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Option<Conditions>,
    #[serde(default)]
    excludes: Option<Conditions>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Conditions {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

fn wrong(why: impl std::fmt::Display) -> Refusal {
    Refusal::invalid(format!("ContainerSpec.Privileges.Seccomp.Profile: {why}"))
}

/// What the profile's text asks for, on this kernel, of a container with these capabilities.
pub fn policy(text: &[u8], capabilities: &BTreeSet<String>, kernel: &Kernel) -> Result<Policy, Refusal> {
    if text.len() > PROFILE_MAX_BYTES {
        return Err(wrong(format!("{} bytes are more than {PROFILE_MAX_BYTES}", text.len())));
    }
    let profile: Profile = serde_json::from_slice(text).map_err(wrong)?;
    if !profile.listener_path.is_empty() {
        let what = "listenerPath: the embedded runtime does not carry listeners of system calls";
        return Err(Refusal::new(Code::Unimplemented, wrong(what).message));
    }
    let mut rules = Vec::new();
    for calls in profile.syscalls.iter().flatten() {
        if applies(calls, capabilities, kernel)? {
            add(calls, &mut rules)?;
        }
    }
    Ok(Policy {
        otherwise: action(&profile.default_action, profile.default_errno_ret)?,
        architectures: architectures(&profile, kernel)?,
        rules,
        load_flags: profile
            .flags
            .iter()
            .flatten()
            .try_fold(0, |flags, name| load_flag(name).map(|flag| flags | flag))?,
    })
}

fn load_flag(name: &str) -> Result<u64, Refusal> {
    let known = LOAD_FLAGS.iter().find(|(known, _)| *known == name);
    known.map(|(_, flag)| *flag).ok_or_else(|| wrong(format!("flag {name:?} is not known")))
}

fn architectures(profile: &Profile, kernel: &Kernel) -> Result<Vec<ScmpArch>, Refusal> {
    let native = kernel.machine().map(|(_, _, name)| *name).unwrap_or_default();
    let map = profile.arch_map.iter().flatten().find(|entry| entry.architecture == native);
    let mapped = map.and_then(|entry| entry.sub_architectures.as_ref());
    let named = profile.architectures.iter().flatten().chain(mapped.into_iter().flatten());
    let others = named.filter(|name| *name != native);
    others.map(|name| name.parse().map_err(|_| wrong(format!("architecture {name:?} is not known")))).collect()
}

/// Whether a rule's conditions hold: all of `includes`, none of `excludes`.
fn applies(calls: &Calls, capabilities: &BTreeSet<String>, kernel: &Kernel) -> Result<bool, Refusal> {
    let machine = kernel.machine().map(|(go, _, _)| *go).unwrap_or_default();
    let at_least = |wanted: &String| match version(wanted) {
        Some(wanted) => Ok(kernel.version >= wanted),
        None => Err(wrong(format!("minKernel {wanted:?} is not a version"))),
    };
    if let Some(includes) = &calls.includes {
        let held = includes.caps.iter().flatten().all(|name| capabilities.contains(name));
        let here =
            includes.arches.as_ref().is_none_or(|names| names.is_empty() || names.iter().any(|name| name == machine));
        if !held || !here || !includes.min_kernel.as_ref().map_or(Ok(true), at_least)? {
            return Ok(false);
        }
    }
    if let Some(excludes) = &calls.excludes {
        let held = excludes.caps.iter().flatten().any(|name| capabilities.contains(name));
        let here = excludes.arches.iter().flatten().any(|name| name == machine);
        if held || here || excludes.min_kernel.as_ref().map_or(Ok(false), at_least)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The filter library compares each argument once in a rule; several comparisons of one are alternatives.
fn add(calls: &Calls, rules: &mut Vec<Rule>) -> Result<(), Refusal> {
    let names = match (calls.name.as_str(), calls.names.as_deref().unwrap_or_default()) {
        ("", names) => names.to_vec(),
        (name, []) => vec![name.to_owned()],
        _ => return Err(wrong("'name' and 'names' were specified in one rule")),
    };
    let action = action(&calls.action, calls.errno_ret)?;
    let arguments: Vec<ScmpArgCompare> = calls.args.iter().flatten().map(comparison).collect::<Result<_, Refusal>>()?;
    let indices: BTreeSet<u32> = calls.args.iter().flatten().map(|argument| argument.index).collect();
    if indices.len() == arguments.len() {
        rules.push(Rule { names, action, arguments });
    } else {
        let alternative = |argument| Rule { names: names.clone(), action, arguments: vec![argument] };
        rules.extend(arguments.into_iter().map(alternative));
    }
    Ok(())
}

fn comparison(argument: &Argument) -> Result<ScmpArgCompare, Refusal> {
    if !ARGUMENTS.contains(&argument.index) {
        return Err(wrong(format!("a system call has no argument {}", argument.index)));
    }
    let (operation, value) = match argument.op.as_str() {
        "SCMP_CMP_NE" => (ScmpCompareOp::NotEqual, argument.value),
        "SCMP_CMP_LT" => (ScmpCompareOp::Less, argument.value),
        "SCMP_CMP_LE" => (ScmpCompareOp::LessOrEqual, argument.value),
        "SCMP_CMP_EQ" => (ScmpCompareOp::Equal, argument.value),
        "SCMP_CMP_GE" => (ScmpCompareOp::GreaterEqual, argument.value),
        "SCMP_CMP_GT" => (ScmpCompareOp::Greater, argument.value),
        // The mask comes first.
        "SCMP_CMP_MASKED_EQ" => (ScmpCompareOp::MaskedEqual(argument.value), argument.value_two),
        other => return Err(wrong(format!("comparison {other:?} is not known"))),
    };
    Ok(ScmpArgCompare::new(argument.index, operation, value))
}

fn action(name: &str, errno: Option<u32>) -> Result<ScmpAction, Refusal> {
    let errno = errno.map_or(ERRNO_EPERM, |number| i32::try_from(number).unwrap_or(ERRNO_EPERM));
    match name {
        "SCMP_ACT_ALLOW" => Ok(ScmpAction::Allow),
        "SCMP_ACT_ERRNO" => Ok(ScmpAction::Errno(errno)),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Ok(ScmpAction::KillThread),
        "SCMP_ACT_KILL_PROCESS" => Ok(ScmpAction::KillProcess),
        "SCMP_ACT_LOG" => Ok(ScmpAction::Log),
        "SCMP_ACT_TRACE" => Ok(ScmpAction::Trace(u16::try_from(errno).unwrap_or(u16::MAX))),
        "SCMP_ACT_TRAP" => Ok(ScmpAction::Trap),
        "SCMP_ACT_NOTIFY" => {
            let what = "SCMP_ACT_NOTIFY: the embedded runtime does not carry listeners of system calls";
            Err(Refusal::new(Code::Unimplemented, wrong(what).message))
        }
        other => Err(wrong(format!("action {other:?} is not known"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel() -> Kernel {
        Kernel { architecture: "x86_64".to_owned(), version: (6, 1) }
    }

    fn parsed(text: &str, capabilities: &[&str]) -> Result<Policy, Refusal> {
        policy(text.as_bytes(), &capabilities.iter().map(ToString::to_string).collect(), &kernel())
    }

    #[test]
    fn conditions_choose_the_rules() {
        let text = r#"{
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
            "archMap": [
                {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
                {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}
            ],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [
                {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}},
                {"names": ["new"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.2"}},
                {"names": ["old"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "4.8"}},
                {"names": ["far"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
                {"names": ["near"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64"]}, "excludes": {}}
            ]
        }"#;
        let names = |policy: &Policy| policy.rules.iter().flat_map(|rule| rule.names.clone()).collect::<Vec<_>>();
        let bare = parsed(text, &[]).expect("a profile");
        assert_eq!(names(&bare), ["read", "write", "near"]);
        assert_eq!((bare.otherwise, bare.architectures.as_slice()), (ScmpAction::Errno(38), &[ScmpArch::X86][..]));
        assert_eq!(bare.load_flags, libc::SECCOMP_FILTER_FLAG_LOG);
        assert_eq!(names(&parsed(text, &["CAP_BPF"]).expect("a profile")), ["read", "write", "bpf", "near"]);
    }

    #[test]
    fn comparisons_of_one_argument_are_alternatives() {
        let text = |second: u32| {
            format!(
                r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{"name": "socket", "action": "SCMP_ACT_ERRNO",
                "errnoRet": 97, "args": [{{"index": 0, "value": 38, "op": "SCMP_CMP_EQ"}},
                {{"index": {second}, "value": 15, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"}}]}}]}}"#
            )
        };
        let both = parsed(&text(1), &[]).expect("a profile").rules;
        assert_eq!((both.len(), both[0].arguments.len(), both[0].action), (1, 2, ScmpAction::Errno(97)));
        assert_eq!(both[0].arguments[1], ScmpArgCompare::new(1, ScmpCompareOp::MaskedEqual(15), 1));
        assert_eq!(parsed(&text(0), &[]).expect("a profile").rules.len(), 2);
    }

    #[test]
    fn what_cannot_be_done_is_named() {
        for (text, word) in [
            ("", "EOF"),
            (r#"{"syscalls": []}"#, "defaultAction"),
            (r#"{"defaultAction": "SCMP_ACT_SING"}"#, "SCMP_ACT_SING"),
            (r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#, "listeners"),
            (r#"{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"}"#, "listenerPath"),
            (r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["FLY"]}"#, "FLY"),
            (r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_VAX"]}"#, "SCMP_ARCH_VAX"),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "names": ["b"], "action": "SCMP_ACT_LOG"}]}"#,
                "'name' and 'names'",
            ),
        ] {
            let refusal = parsed(text, &[]).expect_err(text);
            assert!(refusal.message.starts_with("ContainerSpec.Privileges.Seccomp.Profile: "), "{refusal}");
            assert!(refusal.message.contains(word), "{refusal}");
        }
    }
}
