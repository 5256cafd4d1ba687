//! The text of the profile: whatever the rest of a container's confinement leaves open, less what steers the host's
//! kernel. It draws the same boundary as Docker's default profile (facts from its documentation).

/// Directories of `/proc` that are the host's.
const PROC_DIRECTORIES: &str = "{acpi,asound,bus,driver,dynamic_debug,fs,irq,pressure,scsi,tty}";
/// Files of `/proc` that are not to be read either.
const PROC_SECRETS: &str = "{kcore,kmem,kpage*,mem,sysrq-trigger,timer_list,timer_stats}";
/// Settings that are the host's. What is left are those of the container's own namespaces: `net`, `fs/mqueue`, and
/// of `kernel` the ones that begin with `msg`, `sem` and `shm`.
const SETTINGS: [&str; 9] = [
    "{abi,crypto,debug,dev,sunrpc,user,vm}/**",
    "fs/[^m]**",
    "fs/m[^q]**",
    "kernel/[^ms]**",
    "kernel/m[^s]**",
    "kernel/ms[^g]**",
    "kernel/s[^eh]**",
    "kernel/se[^m]**",
    "kernel/sh[^m]**",
];
/// Directories of `/sys` that are the host's: all but `/sys/fs/cgroup`.
const SYS_DIRECTORIES: [&str; 3] =
    ["{block,bus,class,dev,devices,hypervisor,kernel,module,power}/**", "fs/[^c]**", "fs/c[^g]**"];
/// Directories of `/sys` that are not to be read either.
const SYS_SECRETS: &str = "{firmware,kernel/security}/**";

/// The profile under this name, as `apparmor_parser` reads it.
pub fn text(name: &str) -> String {
    let mut rules: Vec<String> = ["network", "capability", "file", "umount"].map(|rule| format!("{rule},")).to_vec();
    // The host's own programs (the daemon, a shim) may end its processes, which may signal and trace each other.
    rules.push("signal (receive) peer=unconfined,".to_owned());
    rules.push(format!("signal (send, receive) peer={name},"));
    rules.push(format!("ptrace (trace, tracedby, read, readby) peer={name},"));
    rules.push("deny mount,".to_owned());
    rules.push("deny @{PROC}/* w,".to_owned());
    rules.push(format!("deny @{{PROC}}/{PROC_DIRECTORIES}/** wkl,"));
    rules.push(format!("deny @{{PROC}}/{PROC_SECRETS} rwkl,"));
    rules.extend(SETTINGS.map(|path| format!("deny @{{PROC}}/sys/{path} wkl,")));
    rules.extend(SYS_DIRECTORIES.map(|path| format!("deny /sys/{path} wkl,")));
    rules.push(format!("deny /sys/{SYS_SECRETS} rwkl,"));
    format!(
        "#include <tunables/global>\n\nprofile {name} flags=(attach_disconnected,mediate_deleted) {{\n  #include \
         <abstractions/base>\n\n  {}\n}}\n",
        rules.join("\n  ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parser_takes_it_where_there_is_one() {
        use std::io::Write;
        use std::process::{Command, Stdio};
        let Some(parser) = crate::apparmor::parser() else {
            eprintln!("SKIPPED: the profile is checked by apparmor_parser, which is not here");
            return;
        };
        let words = ["--skip-kernel-load", "--skip-cache"];
        let mut child = Command::new(parser).args(words).stdin(Stdio::piped()).spawn().expect("it starts");
        child.stdin.take().expect("input").write_all(text("skep-test").as_bytes()).expect("written");
        assert!(child.wait().expect("it ends").success());
    }

    #[test]
    fn the_hosts_kernel_is_out_of_reach() {
        let text = text("box");
        assert!(text.contains("\nprofile box flags=(attach_disconnected,mediate_deleted) {\n"), "{text}");
        for rule in [
            "deny mount,",
            "sysrq-trigger,timer_list,timer_stats} rwkl,",
            "deny @{PROC}/sys/kernel/[^ms]** wkl,",
            "deny /sys/{firmware,kernel/security}/** rwkl,",
            "signal (send, receive) peer=box,",
        ] {
            assert!(text.contains(rule), "{rule} in\n{text}");
        }
    }
}
