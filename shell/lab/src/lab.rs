//! A bridge and the hosts on it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::host::Host;
use crate::shell::{LabError, ip_batch, run};

/// Every namespace and link of a lab starts with this, then the owner's process id.
const PREFIX: &str = "skl";
/// Below the directory for temporary files: held while a lab chooses its subnet.
const LOCK: &str = "skep-lab.lock";
/// Hosts of one lab: the last octet of their addresses.
const MAX_HOSTS: usize = 200;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A set of hosts that see each other. Dropping it removes all it made.
pub struct Lab {
    name: String,
    subnet: u8,
    directory: PathBuf,
    hosts: Vec<Host>,
}

impl Lab {
    /// A bridge without hosts; files live below `parent`, in a directory with the lab's own name.
    pub fn new(parent: &Path) -> Result<Self, LabError> {
        if !is_root() {
            return Err(LabError::NotRoot);
        }
        sweep()?;
        let name = format!("{PREFIX}{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = parent.join(&name);
        std::fs::create_dir_all(&directory).map_err(|source| LabError::File { path: directory.clone(), source })?;
        let mut lab = Self { name, subnet: 0, directory, hosts: Vec::new() };
        lab.make_bridge()?;
        Ok(lab)
    }

    fn make_bridge(&mut self) -> Result<(), LabError> {
        // One lab after the other, whichever process makes it: two that look at the same time take the same subnet.
        let path = std::env::temp_dir().join(LOCK);
        let failed = |source| LabError::File { path: path.clone(), source };
        let turn = std::fs::File::create(&path).map_err(failed)?;
        turn.lock().map_err(failed)?;
        let taken = run(Command::new("ip").args(["-o", "-4", "addr", "show"]))?;
        self.subnet =
            (1..=254u8).find(|octet| !taken.contains(&format!("10.99.{octet}."))).ok_or(LabError::NoSubnet)?;
        ip_batch(&[
            format!("link add {} type bridge", self.bridge()),
            format!("addr add 10.99.{}.254/24 dev {}", self.subnet, self.bridge()),
            format!("link set {} up", self.bridge()),
        ])?;
        // Where the root namespace filters bridged packets, its rules would drop what crosses our bridge.
        let filter = Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables");
        if filter.exists() {
            std::fs::write(filter, "0").map_err(|source| LabError::File { path: filter.to_owned(), source })?;
        }
        Ok(())
    }

    /// One more host; addresses are given out in order, from `.1`.
    pub fn add_host(&mut self, hostname: &str) -> Result<&mut Host, LabError> {
        let number = self.hosts.len() + 1;
        if number > MAX_HOSTS {
            return Err(LabError::NoSubnet);
        }
        let host = Host::new(&self.name, &self.bridge(), self.subnet, number, hostname, &self.directory)?;
        self.hosts.push(host);
        let last = self.hosts.len() - 1;
        Ok(&mut self.hosts[last])
    }

    /// The hosts, in the order they were added.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// One host, by its place from 0.
    pub fn host(&mut self, index: usize) -> &mut Host {
        &mut self.hosts[index]
    }

    /// Where the lab keeps its files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The machine's own address on the hosts' network.
    pub fn gateway(&self) -> String {
        format!("10.99.{}.254", self.subnet)
    }

    fn bridge(&self) -> String {
        format!("{}b", self.name)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.hosts.clear();
        let bridge = self.bridge();
        if let Err(error) = ip_batch(&[format!("link del {bridge}")]) {
            eprintln!("lab: {error}");
        }
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            eprintln!("lab: {}: {error}", self.directory.display());
        }
    }
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| status.lines().any(|line| line.starts_with("Uid:\t0\t")))
}

/// Removes what labs of processes that are gone left behind.
fn sweep() -> Result<(), LabError> {
    let namespaces = run(Command::new("ip").args(["netns", "list"]))?;
    let links = run(Command::new("ip").args(["-o", "link", "show", "type", "bridge"]))?;
    let mut lines = Vec::new();
    for name in namespaces.lines().filter_map(|line| line.split_whitespace().next()).filter(|name| is_stale(name)) {
        lines.push(format!("netns del {name}"));
    }
    for name in links.lines().filter_map(|line| line.split(": ").nth(1)).filter(|name| is_stale(name)) {
        lines.push(format!("link del {name}"));
    }
    if lines.is_empty() { Ok(()) } else { ip_batch(&lines) }
}

fn is_stale(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    let owner: String = rest.chars().take_while(char::is_ascii_digit).collect();
    !owner.is_empty() && rest[owner.len()..].starts_with('x') && !Path::new("/proc").join(owner).exists()
}
