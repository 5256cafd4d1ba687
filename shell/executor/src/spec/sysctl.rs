//! Kernel settings of a container: those that belong to its own namespaces, and to no other.

use std::path::Path;

use skep_model::Refusal;

/// Settings of System V's message passing, which each ipc namespace has for itself.
const IPC: [&str; 8] = ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];

/// Refuses a setting that is not the container's own, or that this kernel (below `settings`) does not have.
pub fn check(name: &str, host_network: bool, settings: &Path) -> Result<(), Refusal> {
    let path = name.replace('.', "/");
    if path.split('/').any(|part| part.is_empty() || part == "..") {
        return Err(Refusal::invalid(format!("sysctl '{name}' is not a setting's name")));
    }
    let own = match path.split_once('/') {
        Some(("net", _)) if host_network => {
            return Err(Refusal::invalid(format!("sysctl '{name}' not allowed in host network namespace")));
        }
        Some(("net", _)) => true,
        Some(("fs", rest)) => rest.starts_with("mqueue/"),
        Some(("kernel", rest)) => IPC.contains(&rest) || rest == "domainname",
        _ => false,
    };
    if !own {
        return Err(Refusal::invalid(format!("sysctl '{name}' is not in a separate kernel namespace")));
    }
    // Interfaces have settings of their own, and a container has others than the host.
    let of_interface = path.split('/').nth(2).is_some_and(|part| part == "conf" || part == "neigh");
    if !of_interface && !settings.join(&path).exists() {
        return Err(Refusal::invalid(format!("sysctl '{name}': this host's kernel has no such setting")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_the_containers_own_is_set() {
        let settings = tempfile::tempdir().expect("a directory");
        for path in ["net/core/somaxconn", "kernel/shmmax", "fs/mqueue/msg_max", "kernel/panic", "vm/swappiness"] {
            let path = settings.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, "1").expect("written");
        }
        let ask = |name: &str, host_network| check(name, host_network, settings.path());
        for name in ["net.core.somaxconn", "net/core/somaxconn", "kernel.shmmax", "fs.mqueue.msg_max"] {
            assert!(ask(name, false).is_ok(), "{name}");
        }
        assert!(ask("net.ipv4.conf.eth0.rp_filter", false).is_ok(), "an interface that the host need not have");
        for (name, host_network, word) in [
            ("kernel.panic", false, "is not in a separate kernel namespace"),
            ("vm.swappiness", false, "is not in a separate kernel namespace"),
            ("net.core.somaxconn", true, "not allowed in host network namespace"),
            ("net.core.nosuch", false, "has no such setting"),
            ("net..core", false, "not a setting's name"),
            ("net/../vm/swappiness", false, "not a setting's name"),
        ] {
            let refusal = ask(name, host_network).expect_err(name);
            assert!(refusal.message.contains(word) && refusal.message.contains(name), "{refusal}");
        }
    }
}
