//! The thread that makes interfaces and network namespaces.
//!
//! A namespace is made by entering a fresh one and binding it to a file; the thread then goes back to the host's. It
//! does one thing at a time and nothing else runs on it.

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use tokio::sync::oneshot;

use super::netlink::Netlink;
use crate::error::RuntimeError;

/// Interfaces' numbers in a namespace of ours: the loopback one is always the first.
const LOOPBACK_INDEX: u32 = 1;
const CONTAINER_INDEX: u32 = 2;
/// Name of a container's interface.
const CONTAINER_INTERFACE: &str = "eth0";

/// A container's way to the bridge.
#[derive(Clone, Debug)]
pub struct Link {
    /// Name of the end in the bridge.
    pub host_interface: String,
    /// Number of the bridge.
    pub bridge: u32,
    /// The container's address.
    pub address: Ipv4Addr,
    /// Of the subnet.
    pub prefix_length: u8,
    /// The bridge's address.
    pub gateway: Ipv4Addr,
}

type Work = Box<dyn FnOnce(&Host) + Send>;

/// What the thread stands on.
pub struct Host {
    namespace: File,
}

/// Handle of the thread; it ends with the last handle.
#[derive(Clone)]
pub struct NetworkThread {
    work: mpsc::Sender<Work>,
}

impl NetworkThread {
    /// Starts it in the caller's namespace.
    pub fn start() -> Result<Self, RuntimeError> {
        let (work, todo) = mpsc::channel::<Work>();
        let open = || -> io::Result<()> {
            let host = Host { namespace: File::open("/proc/thread-self/ns/net")? };
            std::thread::Builder::new().name("skep-network".to_owned()).spawn(move || {
                for work in todo {
                    work(&host);
                }
            })?;
            Ok(())
        };
        open().map_err(RuntimeError::host("start the network thread"))?;
        Ok(Self { work })
    }

    /// Runs something on it.
    pub async fn run<T: Send + 'static>(
        &self,
        operation: &str,
        work: impl FnOnce(&Host) -> io::Result<T> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        let (answer, answered) = oneshot::channel();
        let gone = || RuntimeError::Stopped { thread: "network" };
        let task: Work = Box::new(move |host| {
            // Nobody may be waiting any more; the work was done all the same.
            let _unheard = answer.send(work(host)).is_err();
        });
        self.work.send(task).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?.map_err(RuntimeError::host(operation))
    }
}

impl Host {
    /// Makes a namespace bound to `path`, with its loopback interface up and, if asked, a way to the bridge.
    pub fn create(&self, path: &Path, link: Option<&Link>) -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let made = bind(path).and_then(|()| self.fill(link));
        setns(&self.namespace, CloneFlags::CLONE_NEWNET)?;
        let joined = made.and_then(|()| match link {
            Some(link) => Netlink::open()?.enslave(&link.host_interface, link.bridge),
            None => Ok(()),
        });
        if joined.is_err() {
            release(path)?;
        }
        joined
    }

    fn fill(&self, link: Option<&Link>) -> io::Result<()> {
        for scope in ["all", "default"] {
            match fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1") {
                // No IPv6 in this kernel, or a read-only /proc/sys: then there is nothing to switch off, or no right to.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ReadOnlyFilesystem) => {}
                other => other?,
            }
        }
        let mut netlink = Netlink::open()?;
        netlink.set_up(LOOPBACK_INDEX)?;
        let Some(link) = link else { return Ok(()) };
        // Derived from the address, so that a new container with an old address is found at once.
        let hardware = hardware_address(link.address);
        let peer = self.namespace.as_raw_fd();
        netlink.add_pair(CONTAINER_INTERFACE, CONTAINER_INDEX, hardware, &link.host_interface, peer)?;
        netlink.add_address(CONTAINER_INDEX, link.address, link.prefix_length)?;
        netlink.set_up(CONTAINER_INDEX)?;
        netlink.add_default_route(CONTAINER_INDEX, link.gateway)
    }
}

/// The hardware address that goes with an address on the bridge.
pub fn hardware_address(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

fn bind(path: &Path) -> io::Result<()> {
    File::create(path)?;
    mount(Some(Path::new("/proc/thread-self/ns/net")), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

/// Unbinds a namespace; it goes when nothing is in it any more. Gone already is fine.
pub fn release(path: &Path) -> io::Result<()> {
    match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
        Err(error) => return Err(error.into()),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Names of the bound namespaces in a directory.
pub fn bound(directory: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    entries.map(|entry| entry.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))).collect()
}
