//! Capabilities: Docker's default set, plus and minus what the spec says.

use std::collections::BTreeSet;

use skep_model::Refusal;

/// What a container may do unless its spec says otherwise (Docker's documented default).
const DEFAULT: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// All that the kernel knows (source: `linux/capability.h`), by number.
const ALL: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The set of a container. `ALL` adds or drops everything; single ones then go the other way.
pub fn resolve(add: &[String], drop: &[String]) -> Result<BTreeSet<String>, Refusal> {
    let known = |name: &String| -> Result<String, Refusal> {
        let upper = name.to_ascii_uppercase();
        let full = if upper == "ALL" || upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        if full == "ALL" || ALL.contains(&full.as_str()) {
            Ok(full)
        } else {
            Err(Refusal::invalid(format!("invalid capability: {name:?} is not one that this runtime knows")))
        }
    };
    let add = add.iter().map(known).collect::<Result<BTreeSet<_>, _>>()?;
    let drop = drop.iter().map(known).collect::<Result<BTreeSet<_>, _>>()?;
    let mut set: BTreeSet<String> = match (add.contains("ALL"), drop.contains("ALL")) {
        (true, _) => ALL.iter().map(ToString::to_string).collect(),
        (false, true) => BTreeSet::new(),
        (false, false) => DEFAULT.iter().map(ToString::to_string).collect(),
    };
    if !add.contains("ALL") {
        set.extend(add);
    }
    if !drop.contains("ALL") {
        set.retain(|capability| !drop.contains(capability));
    }
    Ok(set)
}

/// What processes of this host may hold at all, as bits (`CapBnd` of `/proc/self/status`, proc(5)).
#[derive(Clone, Copy, Debug)]
pub struct Held(u64);

impl Held {
    /// From the text of `/proc/self/status`; `None` where it does not say.
    pub fn read(status: &str) -> Option<Self> {
        let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
        u64::from_str_radix(line.trim(), 16).ok().map(Self)
    }

    /// Refuses what no process here can be given: the daemon itself runs confined, or the kernel is older.
    pub fn check(self, wanted: &BTreeSet<String>) -> Result<(), Refusal> {
        let lacks = |name: &&String| !ALL.iter().zip(0..).any(|(known, bit)| known == name && self.0 >> bit & 1 == 1);
        let missing: Vec<&str> = wanted.iter().filter(lacks).map(String::as_str).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let missing = missing.join(", ");
        Err(Refusal::invalid(format!("unable to apply caps: operation not permitted: this host cannot give {missing}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_process_here_may_hold_is_named() {
        let held = Held::read("Name:\tskep\nCapBnd:\t00000000000000ff\n").expect("a set");
        assert!(held.check(&set(&["CHOWN", "SETUID"], &["ALL"])).is_ok());
        let no = held.check(&set(&["CHOWN", "BPF", "SYS_ADMIN"], &["ALL"])).expect_err("beyond").message;
        assert!(no.ends_with("this host cannot give CAP_BPF, CAP_SYS_ADMIN"), "{no}");
        assert!(Held::read("Name:\tskep\n").is_none());
    }

    fn set(add: &[&str], drop: &[&str]) -> BTreeSet<String> {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        resolve(&owned(add), &owned(drop)).expect("known capabilities")
    }

    #[test]
    fn names_add_and_drop() {
        assert_eq!(set(&[], &[]).len(), DEFAULT.len());
        assert!(set(&["net_admin"], &[]).contains("CAP_NET_ADMIN"));
        assert!(!set(&[], &["CAP_MKNOD"]).contains("CAP_MKNOD"));
        assert_eq!(set(&["CHOWN"], &["ALL"]), BTreeSet::from(["CAP_CHOWN".to_owned()]));
        let most = set(&["ALL"], &["SYS_ADMIN"]);
        assert_eq!(most.len(), ALL.len() - 1);
        assert!(resolve(&["FLY".to_owned()], &[]).is_err());
    }
}
