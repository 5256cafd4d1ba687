//! A daemon's runtime in a network namespace and directories of its own, gone when it is dropped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use skep_executor::images::{ImageOptions, ImageStore, ImportRequest};
use skep_executor::{BridgeConfig, Controller, Executor, NodeFacts, Runtime, RuntimeConfig, TaskOrder};
use skep_model::engine::{ExecSpec, LogLine, LogQuery, LogStream};
use skep_model::pb::objects;
use skep_model::pb::types::{Annotations, ContainerSpec, TaskSpec, task_spec};
use skep_model::{Config, Kept, NodeId, Secret, Task, Verbatim};

/// Name of the image that every lab has.
pub const IMAGE: &str = "busybox:latest";
/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(30);

static LABS: AtomicU32 = AtomicU32::new(0);

/// Runs a test in a lab, in a thread whose network namespace is its own. Says loudly when it cannot.
pub fn run(test: impl AsyncFnOnce(&mut Lab) + Send + 'static) {
    run_twice(test, async |_: &mut Lab, ()| ());
}

/// Runs the first part, kills the daemon's part (nothing is told to anybody), starts a new one, runs the second part.
pub fn run_twice<T>(
    first: impl AsyncFnOnce(&mut Lab) -> T + Send + 'static,
    second: impl AsyncFnOnce(&mut Lab, T) + Send + 'static,
) {
    in_namespace(|| {}, first, second);
}

/// As `run`, on a host that has cgroup v2 alone: whatever controllers this one does not use for v1.
pub fn run_unified(test: impl AsyncFnOnce(&mut Lab) + Send + 'static) {
    let unified = || {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
        let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("made private");
        mount(Some("cgroup2"), "/sys/fs/cgroup", Some("cgroup2"), MsFlags::empty(), None::<&str>).expect("mounted");
    };
    in_namespace(unified, test, async |_: &mut Lab, ()| ());
}

fn in_namespace<T>(
    prepare: impl FnOnce() + Send + 'static,
    first: impl AsyncFnOnce(&mut Lab) -> T + Send + 'static,
    second: impl AsyncFnOnce(&mut Lab, T) + Send + 'static,
) {
    if !nix::unistd::geteuid().is_root() || !Path::new("/bin/busybox").exists() {
        eprintln!("SKIPPED: real containers need root and busybox-static");
        return;
    }
    let thread = std::thread::spawn(move || {
        prepare();
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip runs");
        assert!(up.success());
        let mut lab = Lab::new();
        let handle = lab.tokio().handle().clone();
        let kept = handle.block_on(async {
            lab.open().await;
            first(&mut lab).await
        });
        let handle = lab.crash();
        handle.block_on(async {
            lab.open().await;
            second(&mut lab, kept).await;
        });
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// The runtime and what it stands on.
pub struct Lab {
    root: PathBuf,
    cgroup: String,
    number: u32,
    tokio: Option<tokio::runtime::Runtime>,
    runtime: Option<Arc<Runtime>>,
    tasks: u32,
}

fn threads() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

impl Lab {
    fn new() -> Self {
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let name = format!("skep-test-{}-{number}", std::process::id());
        let root = std::env::temp_dir().join(&name);
        fs::create_dir(&root).expect("a fresh directory");
        Self { root, cgroup: format!("/{name}"), number, tokio: Some(threads()), runtime: None, tasks: 0 }
    }

    fn tokio(&self) -> &tokio::runtime::Runtime {
        self.tokio.as_ref().expect("it runs")
    }

    /// The bridge's subnet: 172.31.(number).0/24.
    pub fn gateway(&self) -> String {
        format!("172.31.{}.1", self.number)
    }

    /// Parent of the containers' cgroups in a hierarchy.
    pub fn cgroups(&self, hierarchy: &Path) -> PathBuf {
        hierarchy.join(self.cgroup.trim_start_matches('/'))
    }

    /// The packet filter's rules, as `nft` lists them.
    pub fn rules(&self) -> String {
        let listed = std::process::Command::new("nft").args(["list", "ruleset"]).output().expect("nft runs");
        String::from_utf8_lossy(&listed.stdout).into_owned()
    }

    /// Where things are.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Starts the daemon's part; a second time after `crash`.
    async fn open(&mut self) {
        let mut config = RuntimeConfig::new(self.path("data"), self.path("run"));
        config.cgroup_parent = self.cgroup.clone();
        let subnet = std::net::Ipv4Addr::new(172, 31, u8::try_from(self.number).expect("few labs"), 0);
        config.bridge = BridgeConfig { name: format!("skt{}", self.number), subnet, prefix_length: 24 };
        config.shim_program = Some(env!("CARGO_BIN_EXE_skep-shim").into());
        let images = ImageStore::open(&self.path("images"), ImageOptions::default()).expect("an image store");
        if images.get(IMAGE).is_err() {
            let request = ImportRequest { reference: IMAGE.to_owned(), ..Default::default() };
            images.import(std::io::Cursor::new(busybox()), request).await.expect("imported");
        }
        self.runtime = Some(Runtime::open(config, images).await.expect("a runtime"));
    }

    /// The runtime.
    pub fn runtime(&self) -> &Arc<Runtime> {
        self.runtime.as_ref().expect("it is open")
    }

    fn crash(&mut self) -> tokio::runtime::Handle {
        self.runtime = None;
        let old = self.tokio.replace(threads());
        old.expect("it ran").shutdown_background();
        self.tokio().handle().clone()
    }

    /// The order for a fresh task.
    pub fn order(&mut self, spec: ContainerSpec) -> TaskOrder {
        self.order_with(spec, |_| {})
    }

    /// The order for a fresh task, with more than a container's spec.
    pub fn order_with(&mut self, spec: ContainerSpec, change: impl FnOnce(&mut objects::Task)) -> TaskOrder {
        self.tasks += 1;
        let id = format!("task{}", self.tasks);
        let spec = ContainerSpec { image: IMAGE.to_owned(), ..spec };
        let named = |name: String| Some(Annotations { name, ..Default::default() });
        let runtime = Some(task_spec::Runtime::Container(spec));
        let mut task = objects::Task {
            annotations: named(format!("web.1.{id}")),
            service_annotations: named("web".to_owned()),
            service_id: "service1".to_owned(),
            slot: 1,
            spec: Some(Verbatim::new(TaskSpec { runtime, ..Default::default() })),
            id,
            ..Default::default()
        };
        change(&mut task);
        let node = NodeFacts {
            id: NodeId::new("node1").expect("an id"),
            hostname: "labhost".to_owned(),
            os: "linux".to_owned(),
            architecture: "x86_64".to_owned(),
        };
        TaskOrder {
            task: Arc::new(Task::try_from(Kept::new(task)).expect("a task")),
            node: Arc::new(node),
            secrets: BTreeMap::new(),
            configs: BTreeMap::new(),
            network_namespace: None,
        }
    }

    /// A prepared and started container.
    pub async fn start(&mut self, spec: ContainerSpec) -> Arc<dyn Controller> {
        let order = self.order(spec);
        self.start_order(order).await
    }

    /// Prepares and starts.
    pub async fn start_order(&self, order: TaskOrder) -> Arc<dyn Controller> {
        let controller = self.runtime().controller(order);
        controller.prepare().await.expect("prepared");
        controller.start().await.expect("started");
        controller
    }

    /// Runs a shell script to its end; its output, both streams in order of arrival, and the outcome's words.
    pub async fn script(&mut self, script: &str, spec: ContainerSpec) -> (String, String) {
        let order = self.order(ContainerSpec { args: shell(script), ..spec });
        self.script_order(order).await
    }

    /// As `script`.
    pub async fn script_order(&self, order: TaskOrder) -> (String, String) {
        let controller = self.start_order(order).await;
        let end = tokio::time::timeout(PATIENCE, controller.wait()).await.expect("it ends");
        let output = self.output(&id(&controller)).await;
        controller.remove().await.expect("removed");
        (output, end.map_or_else(|error| error.to_string(), |()| "complete".to_owned()))
    }

    /// All that a container wrote so far.
    pub async fn output(&self, id: &str) -> String {
        let text = |line: LogLine| String::from_utf8_lossy(&line.data).into_owned();
        self.lines(id, LogQuery { stdout: true, stderr: true, ..Default::default() })
            .await
            .into_iter()
            .map(text)
            .collect()
    }

    /// Lines of a container's log.
    pub async fn lines(&self, id: &str, query: LogQuery) -> Vec<LogLine> {
        let mut reader = self.runtime().logs(id, query).await.expect("a log");
        let mut lines = Vec::new();
        while let Some(line) = tokio::time::timeout(PATIENCE, reader.recv()).await.expect("it ends") {
            lines.push(line.expect("a line"));
        }
        lines
    }

    /// Runs a shell command in a container, to its end.
    pub async fn exec(&self, container: &str, command: &str) {
        let spec = ExecSpec {
            container_id: container.to_owned(),
            command: shell(command),
            attach_stdout: true,
            ..Default::default()
        };
        let exec = self.runtime().create_exec(spec).await.expect("made");
        let mut session = self.runtime().start_exec(&exec, false).await.expect("started");
        assert!(session.output.recv().await.is_none(), "{command} says nothing");
    }

    /// Imports the lab's file system once more, under another name and with a command of its own.
    pub async fn import(&self, name: &str, says: &str) -> String {
        let changes = vec![format!("CMD [\"echo\", \"{name} {says}\"]")];
        let request = ImportRequest { reference: name.to_owned(), changes, ..Default::default() };
        self.runtime().images().import(std::io::Cursor::new(busybox()), request).await.expect("imported").id
    }

    /// The process of a container's shim.
    pub fn shim(&self, container: &str) -> Pid {
        let status = fs::read(self.path("data/containers").join(container).join("status.json")).expect("status");
        let status: serde_json::Value = serde_json::from_slice(&status).expect("json");
        Pid::from_raw(i32::try_from(status["shim_pid"].as_i64().expect("a number")).expect("a pid"))
    }

    /// Waits until nothing of an ended container is left in the kernel.
    pub async fn cleaned(&self, container: &str) {
        let merged = self.path("images/rootfs").join(container).join("merged");
        let mark = merged.to_str().expect("text").to_owned();
        let look = async {
            while fs::read_to_string("/proc/thread-self/mounts").expect("mounts").contains(&mark) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("it is taken down");
    }

    /// Waits until a container wrote some words.
    pub async fn hears(&self, id: &str, words: &str) {
        let listen = async {
            while !self.output(id).await.contains(words) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, listen).await.is_err() {
            panic!("no {words:?} in {:?}", self.output(id).await);
        }
    }
}

impl Drop for Lab {
    /// Ends what this lab started and nothing else: processes are found by its directory's name.
    fn drop(&mut self) {
        self.runtime = None;
        if let Some(tokio) = self.tokio.take() {
            tokio.shutdown_background();
        }
        let mark = self.root.display().to_string();
        for directory in fs::read_dir(self.path("data/containers")).into_iter().flatten().flatten() {
            let status = fs::read(directory.path().join("status.json")).unwrap_or_default();
            let status: serde_json::Value = serde_json::from_slice(&status).unwrap_or_default();
            if let (Some(pid), true) = (status["pid"].as_i64(), status["exit_code"].is_null()) {
                let _gone = kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), Signal::SIGKILL).is_err();
            }
        }
        std::thread::sleep(Duration::from_millis(200));
        for pid in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(number) = pid.file_name().to_string_lossy().parse::<i32>() else { continue };
            let command = fs::read(pid.path().join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&command).contains(&mark) {
                let _gone = kill(Pid::from_raw(number), Signal::SIGKILL).is_err();
            }
        }
        for line in fs::read_to_string("/proc/thread-self/mounts").unwrap_or_default().lines().rev() {
            if let Some(point) = line.split(' ').nth(1).filter(|point| point.starts_with(&mark)) {
                let _gone = umount2(point, MntFlags::MNT_DETACH).is_err();
            }
        }
        let root = PathBuf::from("/sys/fs/cgroup");
        let hierarchies = fs::read_dir(&root).into_iter().flatten().flatten().map(|entry| entry.path());
        for hierarchy in hierarchies.chain([root]) {
            let parent = self.cgroups(&hierarchy);
            for child in fs::read_dir(&parent).into_iter().flatten().flatten() {
                let _file = fs::remove_dir(child.path()).is_err();
            }
            let _absent = fs::remove_dir(&parent).is_err();
        }
        if let Err(error) = fs::remove_dir_all(&self.root) {
            eprintln!("left behind: {mark}: {error}");
        }
    }
}

/// The container of a controller.
pub fn id(controller: &Arc<dyn Controller>) -> String {
    controller.report().container.expect("a container").container_id
}

/// A shell with a script.
pub fn shell(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(ToOwned::to_owned).to_vec()
}

/// Everything of one stream.
pub fn only(stream: LogStream) -> LogQuery {
    LogQuery { stdout: stream == LogStream::Stdout, stderr: stream == LogStream::Stderr, ..Default::default() }
}

/// A secret for an order.
pub fn secret(id: &str, data: &'static [u8]) -> Arc<Secret> {
    let spec = skep_model::pb::types::SecretSpec { data: data.into(), ..Default::default() };
    let message = objects::Secret { id: id.to_owned(), spec: Some(Verbatim::new(spec)), ..Default::default() };
    Arc::new(Secret::try_from(Kept::new(message)).expect("a secret"))
}

/// A config for an order.
pub fn config(id: &str, data: &'static [u8]) -> Arc<Config> {
    let spec = skep_model::pb::types::ConfigSpec { data: data.into(), ..Default::default() };
    let message = objects::Config { id: id.to_owned(), spec: Some(Verbatim::new(spec)), ..Default::default() };
    Arc::new(Config::try_from(Kept::new(message)).expect("a config"))
}

/// A root file system archive: busybox, its applets as links, two users, something for a volume to copy.
fn busybox() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let program = fs::read("/bin/busybox").expect("busybox");
    let mut add = |path: &str, mode: u32, data: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_size(data.len() as u64);
        header.set_entry_type(if path.ends_with('/') { tar::EntryType::Directory } else { tar::EntryType::Regular });
        archive.append_data(&mut header, path, data).expect("added");
    };
    for directory in ["bin/", "etc/", "tmp/", "data/"] {
        add(directory, 0o755, b"");
    }
    add("bin/busybox", 0o755, &program);
    add("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/tmp:/bin/sh\n");
    add("etc/group", 0o644, b"root:x:0:\nweb:x:33:\nlog:x:44:web\n");
    add("data/seed", 0o644, b"from the image\n");
    let applets = "sh cat echo sleep ls id hostname mknod unshare mount nc httpd wget ping ip grep dd head tail seq stty \
                   true false kill ps env touch tty stat wc readlink dmesg test printf chmod mkdir ln rm";
    for applet in applets.split_whitespace() {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive.append_link(&mut header, format!("bin/{applet}"), "busybox").expect("linked");
    }
    archive.into_inner().expect("whole")
}
