//! One host: its own network, hostname, mounts and process numbers. Its first process holds them open.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::shell::{LabError, ip_batch, run};

/// How often a host is looked at, and how many times, until its first process stands or has ended.
const START_POLL_MS: u64 = 5;
const START_POLLS: u32 = 1000;

/// A host that can run commands. Dropping it ends all its processes.
pub struct Host {
    hostname: String,
    address: String,
    namespace: String,
    link: String,
    directory: PathBuf,
    holder: Option<Child>,
    init_pid: u32,
}

impl Host {
    pub(crate) fn new(
        lab: &str,
        bridge: &str,
        subnet: u8,
        number: usize,
        hostname: &str,
        parent: &Path,
    ) -> Result<Self, LabError> {
        let namespace = format!("{lab}h{number}");
        let link = format!("{lab}v{number}");
        let address = format!("10.99.{subnet}.{number}");
        let directory = parent.join(hostname);
        std::fs::create_dir_all(&directory).map_err(|source| LabError::File { path: directory.clone(), source })?;
        ip_batch(&[
            format!("netns add {namespace}"),
            format!("link add {link} type veth peer name eth0 netns {namespace}"),
            format!("link set {link} master {bridge} up"),
        ])?;
        let mut host =
            Self { hostname: hostname.to_owned(), address, namespace, link, directory, holder: None, init_pid: 0 };
        host.configure(subnet)?;
        host.boot()?;
        Ok(host)
    }

    fn configure(&self, subnet: u8) -> Result<(), LabError> {
        let address = format!("{}/24", self.address);
        let gateway = format!("10.99.{subnet}.254");
        for words in [
            vec!["addr", "add", &address, "dev", "eth0"],
            vec!["link", "set", "eth0", "up"],
            vec!["link", "set", "lo", "up"],
            vec!["route", "replace", "default", "via", &gateway],
        ] {
            run(Command::new("ip").args(["-n", &self.namespace]).args(words))?;
        }
        Ok(())
    }

    /// Starts the host's first process, which reaps orphans and keeps the namespaces open.
    fn boot(&mut self) -> Result<(), LabError> {
        let resolver = self.directory.join("resolv.conf");
        std::fs::write(&resolver, "nameserver 127.0.0.1\noptions attempts:1 timeout:1\n")
            .map_err(|source| LabError::File { path: resolver.clone(), source })?;
        let script = format!(
            "hostname {host} && mount --make-rprivate / && mount -t tmpfs tmpfs /run && \
             mount --bind {resolver} /etc/resolv.conf && touch /run/booted && while :; do sleep 1; done",
            host = self.hostname,
            resolver = resolver.display(),
        );
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "nsenter"])
            .arg(format!("--net=/run/netns/{}", self.namespace))
            .args(["unshare", "--uts", "--mount", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit());
        let holder = command.spawn().map_err(|source| LabError::Start { program: format!("{command:?}"), source })?;
        let pid = holder.id();
        self.holder = Some(holder);
        for _ in 0..START_POLLS {
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            if let Some(child) = children.split_whitespace().next().and_then(|word| word.parse::<u32>().ok())
                && Path::new(&format!("/proc/{child}/root/run/booted")).exists()
            {
                self.init_pid = child;
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(START_POLL_MS));
        }
        Err(LabError::HostDied { host: self.hostname.clone() })
    }

    /// A command that will run on this host, without its environment being changed.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["-t", &self.init_pid.to_string(), "--net", "--uts", "--mount", "--ipc", "--pid", "--"])
            .arg(program);
        command
    }

    /// Sends a signal (`TERM`, `KILL`) to the program that a command of [`Self::command`] started. The child itself
    /// only waits for it, because entering a process namespace takes a fork.
    pub fn signal(&self, child: &Child, signal: &str) -> Result<(), LabError> {
        let pid = child.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let program = children.split_whitespace().next().unwrap_or_default();
        run(Command::new("kill").args(["-s", signal, program])).map(drop)
    }

    /// Its name.
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// Its IPv4 address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its own directory, seen from everywhere and kept across reboots.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Pulls the network cable: nothing is reset, there is only silence.
    pub fn cut_cable(&self) -> Result<(), LabError> {
        ip_batch(&[format!("link set {} down", self.link)])
    }

    /// Puts the network cable back.
    pub fn plug_cable(&self) -> Result<(), LabError> {
        ip_batch(&[format!("link set {} up", self.link)])
    }

    /// Ends every process of the host at once, as a power cut would.
    pub fn power_off(&mut self) -> Result<(), LabError> {
        if let Some(mut holder) = self.holder.take() {
            // Its child is the namespace's first process: with it the kernel ends all others.
            holder
                .kill()
                .and_then(|()| holder.wait().map(drop))
                .map_err(|source| LabError::Start { program: format!("kill of host {}", self.hostname), source })?;
            self.wait_for_the_end()?;
            self.init_pid = 0;
        }
        Ok(())
    }

    /// A namespace's first process ends after all others of it: what they held (locks, sockets) is free then.
    fn wait_for_the_end(&self) -> Result<(), LabError> {
        let status = format!("/proc/{}/stat", self.init_pid);
        for _ in 0..START_POLLS {
            // The state follows the name in brackets; a zombie has nothing left but its exit code.
            let stat = std::fs::read_to_string(&status).unwrap_or_default();
            let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
            if stat.is_empty() || state == Some('Z') {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(START_POLL_MS));
        }
        Err(LabError::HostLives { host: self.hostname.clone() })
    }

    /// Power off and on again: files stay, processes, mounts and /run do not.
    pub fn reboot(&mut self) -> Result<(), LabError> {
        self.power_off()?;
        self.boot()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Err(error) = self.power_off() {
            eprintln!("lab: {error}");
        }
        if let Err(error) = ip_batch(&[format!("netns del {}", self.namespace)]) {
            eprintln!("lab: {error}");
        }
    }
}
