//! A swarm of real daemons on hosts of their own, driven with the stock `docker` CLI.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use skep_lab::{Host, Lab, LabError};

/// How often a condition is looked at.
const POLL_MS: u64 = 20;
/// A client that has not ended by then never will: `timeout` ends it.
const CLIENT_PATIENCE_SECONDS: &str = "240";
/// How long a condition may take before the test fails; generous, because it measures nothing.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Hosts and the daemons on them.
pub struct Swarm {
    pub lab: Lab,
    daemons: Vec<Option<Child>>,
}

/// What a command said.
pub struct Said {
    pub ok: bool,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Standard output of a command that must have succeeded.
    #[track_caller]
    pub fn expect(self) -> String {
        assert!(self.ok, "the command failed\nstdout: {}\nstderr: {}", self.out, self.err);
        self.out.trim_end().to_owned()
    }

    /// Standard error of a command that must have failed.
    #[track_caller]
    pub fn expect_failure(self) -> String {
        assert!(!self.ok, "the command should have failed\nstdout: {}\nstderr: {}", self.out, self.err);
        self.err.trim_end().to_owned()
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            ok: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Swarm {
    /// Hosts `h1`, `h2`, … each with a running daemon. `None`, said loudly, without root.
    pub fn start(count: usize) -> Option<Self> {
        let lab = match Lab::new(&std::env::temp_dir()) {
            Ok(lab) => lab,
            Err(LabError::NotRoot) => {
                assert!(std::env::var_os("CI").is_none(), "on CI nothing is skipped, but this is not root");
                eprintln!("SKIPPED: making hosts needs root");
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        let mut swarm = Self { lab, daemons: Vec::new() };
        for number in 1..=count {
            swarm.lab.add_host(&format!("h{number}")).expect("a host");
            swarm.daemons.push(None);
            swarm.start_daemon(number);
        }
        Some(swarm)
    }

    /// A host without a daemon.
    pub fn add_bare_host(&mut self) -> usize {
        let number = self.daemons.len() + 1;
        self.lab.add_host(&format!("h{number}")).expect("a host");
        self.daemons.push(None);
        number
    }

    pub fn host(&self, number: usize) -> &Host {
        &self.lab.hosts()[number - 1]
    }

    pub fn address(&self, number: usize) -> String {
        self.host(number).address().to_owned()
    }

    pub fn socket(&self, number: usize) -> PathBuf {
        self.host(number).directory().join("skep.sock")
    }

    /// Starts the daemon and waits until its socket answers.
    pub fn start_daemon(&mut self, number: usize) {
        self.start_daemon_with(number, &[]);
    }

    pub fn start_daemon_with(&mut self, number: usize, extra: &[&str]) {
        self.start_daemon_through(number, &[], extra);
    }

    /// The daemon is started by another program, which has its own words first.
    pub fn start_daemon_through(&mut self, number: usize, starter: &[&str], extra: &[&str]) {
        let host = &self.lab.hosts()[number - 1];
        let directory = host.directory().to_owned();
        let log = File::options().create(true).append(true).open(directory.join("daemon.log")).expect("a log file");
        let words: Vec<&str> = starter.iter().copied().chain([env!("CARGO_BIN_EXE_skep"), "daemon"]).collect();
        let child = host
            .command(words[0])
            .args(&words[1..])
            .arg("--host")
            .arg(format!("unix://{}", directory.join("skep.sock").display()))
            .arg("--data-root")
            .arg(directory.join("data"))
            .arg("--exec-root")
            .arg(directory.join("exec"))
            .arg("--cgroup-parent")
            .arg(format!("/skep-test-{}", unique(&directory)))
            .args(["--log-level", &std::env::var("SKEP_TEST_LOG").unwrap_or_else(|_| "info".to_owned())])
            .args(extra)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("the daemon starts");
        self.daemons[number - 1] = Some(child);
        let socket = self.socket(number);
        wait_for("the daemon's socket", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    }

    /// KILL, as a crash would.
    pub fn kill_daemon(&mut self, number: usize) {
        if let Some(mut child) = self.daemons[number - 1].take() {
            self.host(number).signal(&child, "KILL").expect("kill");
            child.wait().expect("wait");
        }
    }

    /// TERM; the daemon's exit code.
    pub fn stop_daemon(&mut self, number: usize) -> Option<i32> {
        let mut child = self.daemons[number - 1].take()?;
        self.host(number).signal(&child, "TERM").expect("kill");
        child.wait().expect("wait").code()
    }

    /// Everything on the host ends at once; then it boots and its daemon starts again.
    pub fn reboot(&mut self, number: usize) {
        self.power_off(number);
        self.lab.host(number - 1).reboot().expect("reboot");
        self.start_daemon(number);
    }

    pub fn power_off(&mut self, number: usize) {
        self.lab.host(number - 1).power_off().expect("power off");
        if let Some(mut child) = self.daemons[number - 1].take() {
            child.kill().ok();
            child.wait().expect("wait");
        }
    }

    /// The stock CLI against a host's daemon.
    pub fn docker(&self, number: usize, words: &[&str]) -> Said {
        self.client("docker", number, words)
    }

    /// Skep's own client against a host's daemon.
    pub fn skep(&self, number: usize, words: &[&str]) -> Said {
        self.client(env!("CARGO_BIN_EXE_skep"), number, words)
    }

    fn client(&self, program: &str, number: usize, words: &[&str]) -> Said {
        Command::new("timeout")
            .args(["--kill-after=10", CLIENT_PATIENCE_SECONDS, program, "-H"])
            .arg(format!("unix://{}", self.socket(number).display()))
            .args(words)
            .env("DOCKER_CLI_HINTS", "false")
            .env_remove("DOCKER_HOST")
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"))
            .into()
    }

    /// `docker node update`, made anew when the node itself was written to between the client's look and its write (as
    /// when its agent registers): the client is told of that, as of any other writer.
    #[track_caller]
    pub fn node_update(&self, asked: usize, words: &[&str]) {
        let words: Vec<&str> = ["node", "update"].iter().chain(words).copied().collect();
        wait_until("a write to the node", || {
            let said = self.docker(asked, &words);
            match said.ok {
                true => Ok(()),
                false if said.err.contains("update out of sequence") => Err(said.err),
                false => panic!("{}", said.err),
            }
        });
    }

    /// Makes a swarm on host 1.
    pub fn init(&self) {
        self.docker(1, &["swarm", "init", "--advertise-addr", &self.address(1)]).expect();
    }

    /// Joins host `number` through host 1, as `worker` or `manager`.
    pub fn join(&self, number: usize, role: &str) {
        let token = self.docker(1, &["swarm", "join-token", "-q", role]).expect();
        let address = format!("{}:2377", self.address(1));
        self.docker(number, &["swarm", "join", "--token", &token, &address]).expect();
    }

    /// Three managers and more workers.
    pub fn formed(managers: usize, workers: usize) -> Option<Self> {
        let swarm = Self::start(managers + workers)?;
        swarm.init();
        for number in 2..=managers {
            swarm.join(number, "manager");
        }
        for number in managers + 1..=managers + workers {
            swarm.join(number, "worker");
        }
        Some(swarm)
    }

    /// A service of busybox, which nobody waits for.
    pub fn create_service(&self, name: &str, options: &[&str], command: &[&str]) -> Said {
        let words = ["service", "create", "--detach", "--no-resolve-image", "--name", name];
        self.docker(1, &[&words[..], options, &["busybox"], command].concat())
    }

    /// Brings an image without a registry onto the hosts: busybox with its applets.
    pub fn load_busybox(&self, numbers: impl IntoIterator<Item = usize>) {
        let archive = busybox_archive(self.lab.directory());
        for number in numbers {
            let archive = archive.to_string_lossy().into_owned();
            self.docker(number, &["import", "-c", r#"CMD ["sh"]"#, &archive, "busybox:latest"]).expect();
        }
    }

    /// The host whose node leads, as host `asked` sees it.
    pub fn leader(&self, asked: usize) -> Option<String> {
        let said = self.docker(asked, &["node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}"]);
        said.out.lines().find_map(|line| line.strip_suffix(" Leader").map(str::to_owned))
    }

    /// `docker service ps` lines of tasks that run.
    pub fn running(&self, asked: usize, service: &str) -> Vec<String> {
        self.docker(
            asked,
            &["service", "ps", service, "--filter", "desired-state=running", "--format", "{{.Node}} {{.CurrentState}}"],
        )
        .out
        .lines()
        .filter(|line| line.contains(" Running "))
        .map(str::to_owned)
        .collect()
    }

    #[track_caller]
    pub fn wait_running(&self, asked: usize, service: &str, count: usize) {
        wait_until(&format!("{count} running tasks of {service}"), || {
            let running = self.running(asked, service);
            if running.len() == count {
                Ok(())
            } else {
                Err(self.docker(asked, &["service", "ps", "--no-trunc", service]).out)
            }
        });
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for host in self.lab.hosts() {
                let log = std::fs::read_to_string(host.directory().join("daemon.log")).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(25).collect();
                eprintln!("--- {} ---", host.hostname());
                for line in tail.into_iter().rev() {
                    eprintln!("{line}");
                }
            }
        }
        for child in self.daemons.iter_mut().flatten() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn unique(directory: &Path) -> String {
    let parts: Vec<String> =
        directory.components().rev().take(2).map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    parts.join("-")
}

/// A root file system archive around Debian's static busybox.
pub fn busybox_archive(directory: &Path) -> PathBuf {
    let archive = directory.join("busybox.tar");
    if archive.exists() {
        return archive;
    }
    let tree = directory.join("busybox");
    let bin = tree.join("bin");
    std::fs::create_dir_all(&bin).expect("a directory");
    for folder in ["tmp", "etc", "var", "root", "proc", "sys", "dev"] {
        std::fs::create_dir_all(tree.join(folder)).expect("a directory");
    }
    std::fs::copy("/bin/busybox", bin.join("busybox")).expect("busybox-static is installed");
    let list = Command::new("/bin/busybox").arg("--list").output().expect("busybox runs");
    for applet in String::from_utf8_lossy(&list.stdout).lines().filter(|name| *name != "busybox") {
        std::os::unix::fs::symlink("busybox", bin.join(applet)).expect("a link");
    }
    let done = Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(&archive).arg(".").status().expect("tar runs");
    assert!(done.success());
    archive
}

/// Waits until something holds.
#[track_caller]
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    wait_until(what, || if holds() { Ok(()) } else { Err(String::new()) });
}

/// Waits until something holds; what was seen last is told when it never does.
#[track_caller]
pub fn wait_until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if start.elapsed() > PATIENCE => panic!("waited in vain for {what}\n{seen}"),
            Err(_) => std::thread::sleep(Duration::from_millis(POLL_MS)),
        }
    }
}
