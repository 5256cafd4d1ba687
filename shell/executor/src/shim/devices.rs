//! The device filter of cgroup v2: a BPF program of our own, attached to the container's cgroup.
//!
//! Without one, a container with CAP_MKNOD opens the host's disks. (cgroup v1 has `devices.allow`, which the runtime
//! library writes.) Source of the layouts: Linux `include/uapi/linux/bpf.h` (`bpf_insn`, `bpf_cgroup_dev_ctx`).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::protocol::DeviceRule;

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// One instruction of the kernel's virtual machine.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u8,
    /// Destination in the low four bits, source in the high ones.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const LOAD_WORD: u8 = 0x61;
const MOVE_IMMEDIATE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const AND_IMMEDIATE_32: u8 = 0x54;
const SHIFT_RIGHT_IMMEDIATE_32: u8 = 0x74;
const JUMP_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

/// Context: type in bits 0–15, access in 16–31; then major and minor.
const CONTEXT_ACCESS_TYPE: i16 = 0;
const CONTEXT_MAJOR: i16 = 4;
const CONTEXT_MINOR: i16 = 8;

const DEVICE_BLOCK: i32 = 1;
const DEVICE_CHARACTER: i32 = 2;
const ACCESS_MKNOD: i32 = 1;
const ACCESS_READ: i32 = 2;
const ACCESS_WRITE: i32 = 4;

/// Registers: 1 context, 2 type, 3 access, 4 major, 5 minor, 6 scratch.
fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: destination | source << 4, offset, immediate }
}

fn access_bits(access: &str) -> i32 {
    access.chars().fold(0, |bits, letter| {
        bits | match letter {
            'm' => ACCESS_MKNOD,
            'r' => ACCESS_READ,
            'w' => ACCESS_WRITE,
            _ => 0,
        }
    })
}

/// A program that returns 1 for what a rule allows and 0 for all else.
fn program(rules: &[DeviceRule]) -> Vec<Instruction> {
    let mut code = vec![
        instruction(LOAD_WORD, 2, 1, CONTEXT_ACCESS_TYPE, 0),
        instruction(MOVE_REGISTER, 3, 2, 0, 0),
        instruction(AND_IMMEDIATE_32, 2, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT_IMMEDIATE_32, 3, 0, 0, 16),
        instruction(LOAD_WORD, 4, 1, CONTEXT_MAJOR, 0),
        instruction(LOAD_WORD, 5, 1, CONTEXT_MINOR, 0),
    ];
    for rule in rules {
        let mut tests = Vec::new();
        let kind = if rule.kind == 'b' { DEVICE_BLOCK } else { DEVICE_CHARACTER };
        tests.push(instruction(JUMP_NOT_EQUAL, 2, 0, 0, kind));
        let denied = !access_bits(&rule.access) & (ACCESS_MKNOD | ACCESS_READ | ACCESS_WRITE);
        if denied != 0 {
            tests.push(instruction(MOVE_REGISTER, 6, 3, 0, 0));
            tests.push(instruction(AND_IMMEDIATE_32, 6, 0, 0, denied));
            tests.push(instruction(JUMP_NOT_EQUAL, 6, 0, 0, 0));
        }
        if let Some(major) = rule.major {
            tests.push(instruction(JUMP_NOT_EQUAL, 4, 0, 0, major.cast_signed()));
        }
        if let Some(minor) = rule.minor {
            tests.push(instruction(JUMP_NOT_EQUAL, 5, 0, 0, minor.cast_signed()));
        }
        tests.push(instruction(MOVE_IMMEDIATE, 0, 0, 0, 1));
        tests.push(instruction(EXIT, 0, 0, 0, 0));
        let length = tests.len();
        for (index, test) in tests.iter_mut().enumerate() {
            if test.code == JUMP_NOT_EQUAL {
                test.offset = i16::try_from(length - index - 1).unwrap_or(i16::MAX);
            }
        }
        code.append(&mut tests);
    }
    code.push(instruction(MOVE_IMMEDIATE, 0, 0, 0, 0));
    code.push(instruction(EXIT, 0, 0, 0, 0));
    code
}

/// Head of the kernel's `union bpf_attr` for BPF_PROG_LOAD, up to the verifier's log.
#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
}

/// Head of `union bpf_attr` for BPF_PROG_ATTACH.
#[repr(C)]
#[derive(Default)]
struct AttachAttributes {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<i32> {
    // SAFETY: `attributes` is a live, fully initialised repr(C) prefix of `union bpf_attr` of the given size; the
    // kernel treats the rest as zero and only reads it. Pointers inside it outlive the call (see the callers).
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(i32::try_from(result).unwrap_or(-1)) }
}

/// Lets the cgroup use these devices and no others. The filter lives as long as the cgroup.
pub fn restrict(cgroup: BorrowedFd<'_>, rules: &[DeviceRule]) -> io::Result<()> {
    let code = program(rules);
    let license = c"Apache-2.0";
    let load = LoadAttributes {
        program_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        instruction_count: u32::try_from(code.len()).unwrap_or(u32::MAX),
        instructions: code.as_ptr() as u64,
        license: license.as_ptr() as u64,
        ..Default::default()
    };
    let descriptor = bpf(BPF_PROG_LOAD, &load)?;
    // SAFETY: the kernel has just returned this descriptor to us; nobody else owns it.
    let program = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let attach = AttachAttributes {
        target: cgroup.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        attach_type: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    bpf(BPF_PROG_ATTACH, &attach)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would.
    fn run(code: &[Instruction], access_type: i64, major: i64, minor: i64) -> i64 {
        let mut registers = [0i64; 11];
        let mut at = 0usize;
        loop {
            let now = code[at];
            let (destination, source) = (usize::from(now.registers & 15), usize::from(now.registers >> 4));
            at += 1;
            match now.code {
                LOAD_WORD => {
                    registers[destination] = [access_type, major, minor][usize::try_from(now.offset / 4).unwrap_or(0)]
                }
                MOVE_IMMEDIATE => registers[destination] = i64::from(now.immediate),
                MOVE_REGISTER => registers[destination] = registers[source],
                AND_IMMEDIATE_32 => registers[destination] &= i64::from(now.immediate),
                SHIFT_RIGHT_IMMEDIATE_32 => registers[destination] >>= now.immediate,
                JUMP_NOT_EQUAL if registers[destination] != i64::from(now.immediate) => {
                    at += usize::try_from(now.offset).unwrap_or(0);
                }
                JUMP_NOT_EQUAL => {}
                _ => return registers[0],
            }
        }
    }

    fn rules() -> Vec<DeviceRule> {
        vec![
            DeviceRule { kind: 'c', major: Some(1), minor: Some(3), access: "rwm".to_owned() },
            DeviceRule { kind: 'c', major: Some(136), minor: None, access: "rw".to_owned() },
            DeviceRule { kind: 'b', major: None, minor: None, access: "m".to_owned() },
        ]
    }

    #[test]
    fn allows_what_a_rule_says_and_nothing_else() {
        let code = program(&rules());
        let ask = |kind: i32, access: i32| i64::from(kind | access << 16);
        assert_eq!(run(&code, ask(DEVICE_CHARACTER, ACCESS_READ | ACCESS_WRITE), 1, 3), 1);
        assert_eq!(run(&code, ask(DEVICE_CHARACTER, ACCESS_READ), 1, 4), 0);
        assert_eq!(run(&code, ask(DEVICE_CHARACTER, ACCESS_WRITE), 136, 7), 1);
        assert_eq!(run(&code, ask(DEVICE_CHARACTER, ACCESS_MKNOD), 136, 7), 0);
        assert_eq!(run(&code, ask(DEVICE_BLOCK, ACCESS_MKNOD), 8, 0), 1);
        assert_eq!(run(&code, ask(DEVICE_BLOCK, ACCESS_READ), 8, 0), 0);
        assert_eq!(run(&code, ask(DEVICE_BLOCK, ACCESS_READ | ACCESS_MKNOD), 8, 0), 0);
    }

    /// The cgroup goes with it, whatever becomes of the test.
    struct Cgroup(std::path::PathBuf);

    impl Drop for Cgroup {
        fn drop(&mut self) {
            let _busy = std::fs::remove_dir(&self.0).is_err();
        }
    }

    #[test]
    fn the_kernel_takes_the_program_and_obeys_it() {
        use std::os::fd::AsFd;
        let mounts = crate::shim::cgroups::hierarchies().expect("mounts");
        let unified = mounts.into_iter().find(|mount| mount.join("cgroup.controllers").exists());
        let (true, Some(unified)) = (nix::unistd::geteuid().is_root(), unified) else {
            eprintln!("SKIPPED: the device filter needs root and a cgroup v2 mount");
            return;
        };
        let cgroup = Cgroup(unified.join(format!("skep-test-devices-{}", std::process::id())));
        std::fs::create_dir(&cgroup.0).expect("a cgroup");
        let directory = std::fs::File::open(&cgroup.0).expect("opened");
        restrict(directory.as_fd(), &rules()).expect("attached");
        let script = format!(
            "echo $$ > {}/cgroup.procs; : < /dev/null && echo null; (: < /dev/zero) 2> /dev/null || echo no zero",
            cgroup.0.display()
        );
        let output = std::process::Command::new("sh").args(["-c", &script]).output().expect("it runs");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "null\nno zero\n", "{output:?}");
    }
}
