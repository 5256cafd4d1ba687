//! The default filter: what a container may ask of the kernel, by topic and by capability.
//!
//! The same set as Docker's default profile allows (facts taken from its published list): everything else answers
//! EPERM. `clone3`, whose flags a filter cannot see, answers ENOSYS so that programs fall back to `clone`.

use std::collections::BTreeSet;

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp};

use super::{ERRNO_EPERM, Policy, Rule};

/// Who a process is, and its groups, limits and priorities.
const IDENTITY: &str = "\
    capget capset getcpu getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getpgid \
    getpgrp getpriority getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid getuid getuid32 \
    ioprio_get ioprio_set prlimit64 sched_get_priority_max sched_get_priority_min setfsgid setfsgid32 setfsuid \
    setfsuid32 setgid setgid32 setgroups setgroups32 setpgid setpriority setregid setregid32 setresgid \
    setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setuid setuid32 sysinfo ugetrlimit \
    umask uname";

/// Sockets (`socket` itself has rules of its own).
const SOCKETS: &str = "\
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 \
    recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair";

/// Clocks and timers.
const TIME: &str = "\
    adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 \
    clock_nanosleep clock_nanosleep_time64 getitimer nanosleep setitimer time timer_create timer_delete \
    timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime \
    timerfd_gettime64 timerfd_settime timerfd_settime64 times utime";

/// Signals and process handles.
const SIGNALS: &str = "\
    kill pidfd_open pidfd_send_signal rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn \
    rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack signalfd signalfd4 \
    sigprocmask sigreturn tgkill tkill";

/// Waiting for files and for other threads.
const WAITING: &str = "\
    _newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait \
    epoll_wait_old eventfd eventfd2 fanotify_mark futex futex_requeue futex_time64 futex_wait futex_waitv \
    futex_wake get_robust_list inotify_add_watch inotify_init inotify_init1 inotify_rm_watch pause poll ppoll \
    ppoll_time64 pselect6 pselect6_time64 restart_syscall rseq select set_robust_list";

/// Memory.
const MEMORY: &str = "\
    brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2 \
    mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease \
    process_vm_readv process_vm_writev remap_file_pages";

/// Programs, threads and their scheduling.
const PROCESSES: &str = "\
    execve execveat exit exit_group fork get_thread_area getpid getppid gettid landlock_add_rule \
    landlock_create_ruleset landlock_restrict_self prctl ptrace riscv_hwprobe sched_getaffinity sched_getattr \
    sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity \
    sched_setattr sched_setparam sched_setscheduler sched_yield seccomp set_thread_area set_tid_address \
    uretprobe vfork wait4 waitid waitpid";

/// System V and POSIX message passing.
const IPC: &str = "\
    ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 \
    mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt \
    shmget";

/// Extended attributes.
const ATTRIBUTES: &str = "\
    fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr \
    lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat";

/// Asynchronous I/O.
const ASYNCHRONOUS: &str = "\
    io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit";

/// Files, directories and pipes.
const FILES: &str = "\
    _llseek access cachestat chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 \
    faccessat faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 \
    fchownat fcntl fcntl64 fdatasync flock fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 \
    futimesat getcwd getdents getdents64 getrandom gettimeofday ioctl lchown lchown32 link linkat listmount \
    lseek lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 pipe pipe2 \
    pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv rename renameat \
    renameat2 rmdir sendfile sendfile64 splice stat stat64 statfs statfs64 statmount statx symlink symlinkat \
    sync sync_file_range syncfs tee truncate truncate64 unlink unlinkat utimensat utimensat_time64 utimes \
    vmsplice write writev";

/// Allowed with a capability.
const BY_CAPABILITY: &[(&str, &str)] = &[
    ("CAP_BPF", "bpf"),
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    ("CAP_PERFMON", "perf_event_open"),
    ("CAP_SYS_ADMIN", ADMINISTRATION),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    ("CAP_SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYSLOG", "syslog"),
];

/// Namespaces, mounts and what else an administrator does.
const ADMINISTRATION: &str = "\
    bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules \
    lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname \
    sethostname setns syslog umount umount2 unshare";

/// The flags of `clone` that make namespaces.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;
/// `personality` values that change nothing of importance: Linux, Linux on 32 bits, both with UNAME26, and a question.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
const ERRNO_ENOSYS: i32 = 38;
/// Address families on both sides of the two that stay closed: AF_ALG (38) and AF_VSOCK (40).
const SOCKET_FAMILIES: [(ScmpCompareOp, u64); 3] =
    [(ScmpCompareOp::Less, 38), (ScmpCompareOp::Equal, 39), (ScmpCompareOp::Greater, 40)];

/// The default filter's policy for a container with these capabilities.
pub fn policy(capabilities: &BTreeSet<String>, architecture: &str) -> Policy {
    Policy {
        otherwise: ScmpAction::Errno(ERRNO_EPERM),
        architectures: older_architectures(architecture).to_vec(),
        rules: rules(capabilities, architecture),
        load_flags: 0,
    }
}

fn rules(capabilities: &BTreeSet<String>, architecture: &str) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut allow = |names: Vec<&str>| {
        let names = names.into_iter().map(ToOwned::to_owned).collect();
        rules.push(Rule { names, action: ScmpAction::Allow, arguments: Vec::new() });
    };
    let topics = [IDENTITY, SOCKETS, TIME, SIGNALS, WAITING, MEMORY, PROCESSES, IPC, ATTRIBUTES, ASYNCHRONOUS, FILES];
    allow(topics.iter().flat_map(|topic| topic.split_whitespace()).collect());
    allow(of_architecture(architecture).to_vec());
    for (capability, names) in BY_CAPABILITY {
        if capabilities.contains(*capability) {
            allow(names.split_whitespace().collect());
        }
    }
    let mut conditional = |name: &str, argument| {
        rules.push(Rule { names: vec![name.to_owned()], action: ScmpAction::Allow, arguments: vec![argument] });
    };
    for (operation, value) in SOCKET_FAMILIES {
        conditional("socket", ScmpArgCompare::new(0, operation, value));
    }
    for value in PERSONALITIES {
        conditional("personality", ScmpArgCompare::new(0, ScmpCompareOp::Equal, value));
    }
    if !capabilities.contains("CAP_SYS_ADMIN") {
        let flags = if architecture == "s390x" { 1 } else { 0 };
        conditional("clone", ScmpArgCompare::new(flags, ScmpCompareOp::MaskedEqual(NAMESPACE_FLAGS), 0));
        let (names, action) = (vec!["clone3".to_owned()], ScmpAction::Errno(ERRNO_ENOSYS));
        rules.push(Rule { names, action, arguments: Vec::new() });
    }
    rules
}

fn of_architecture(architecture: &str) -> &'static [&'static str] {
    match architecture {
        "x86_64" => &["arch_prctl", "modify_ldt"],
        "aarch64" => {
            &["arm_fadvise64_64", "arm_sync_file_range", "breakpoint", "cacheflush", "set_tls", "sync_file_range2"]
        }
        "ppc64le" => &["swapcontext", "sync_file_range2"],
        "riscv64" => &["riscv_flush_icache"],
        "s390x" => &["s390_pci_mmio_read", "s390_pci_mmio_write", "s390_runtime_instr"],
        _ => &[],
    }
}

/// Older calling conventions that the machine can run, beside its own.
fn older_architectures(architecture: &str) -> &'static [ScmpArch] {
    match architecture {
        "x86_64" => &[ScmpArch::X86, ScmpArch::X32],
        "aarch64" => &[ScmpArch::Arm],
        "s390x" => &[ScmpArch::S390],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(rules: &[Rule], action: ScmpAction) -> BTreeSet<&str> {
        let unconditional = rules.iter().filter(|rule| rule.action == action && rule.arguments.is_empty());
        unconditional.flat_map(|rule| rule.names.iter().map(String::as_str)).collect()
    }

    #[test]
    fn capabilities_open_what_belongs_to_them() {
        let bare = rules(&BTreeSet::new(), "x86_64");
        let allowed = names(&bare, ScmpAction::Allow);
        assert!(allowed.contains("openat") && allowed.contains("arch_prctl") && allowed.contains("ptrace"));
        let closed = "mount unshare setns bpf reboot init_module io_uring_setup keyctl socket clone kexec_load";
        for refused in closed.split_whitespace() {
            assert!(!allowed.contains(refused), "{refused}");
        }
        assert!(names(&bare, ScmpAction::Errno(ERRNO_ENOSYS)).contains("clone3"));
        let admin = rules(&BTreeSet::from(["CAP_SYS_ADMIN".to_owned()]), "x86_64");
        assert!(names(&admin, ScmpAction::Allow).contains("mount"));
        assert!(names(&admin, ScmpAction::Errno(ERRNO_ENOSYS)).is_empty());
    }

    #[test]
    fn the_namespace_flags_are_all_of_them() {
        let flags = libc::CLONE_NEWNS
            | libc::CLONE_NEWCGROUP
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUSER
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWNET;
        assert_eq!(NAMESPACE_FLAGS, u64::from(flags.cast_unsigned()));
    }
}
