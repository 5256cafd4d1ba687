//! What the daemon and a shim say to each other: JSON lines over a unix socket, file descriptors beside them.
//!
//! A daemon of version N speaks with shims of N-1: fields are only added, and read with defaults.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the files and messages below.
pub const PROTOCOL_VERSION: u32 = 1;
/// Socket of a shim, inside its runtime directory.
pub const SOCKET_FILE: &str = "shim.sock";
/// Longest line that either side accepts.
pub const LINE_MAX_BYTES: usize = 1024 * 1024;

/// Written by the daemon before it starts a shim; the shim's only argument is its path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instructions {
    /// `PROTOCOL_VERSION` of the daemon.
    pub version: u32,
    /// 64 hexadecimal digits.
    pub container_id: String,
    /// Directory of `config.json` (the OCI document); durable.
    pub bundle: PathBuf,
    /// Directory for sockets and the runtime library's state; 0700, gone after a boot.
    pub run_directory: PathBuf,
    /// Where the shim keeps `ShimStatus`.
    pub status_file: PathBuf,
    /// Where output goes; `None` to drop it.
    pub log: Option<LogInstructions>,
    /// Whether the container has a terminal.
    pub terminal: bool,
    /// Whether standard input stays open (it never brings anything).
    pub open_stdin: bool,
    /// Whether the shim's own code runs as process 1, passes signals on and reaps orphans.
    pub init: bool,
    /// Path below each cgroup hierarchy.
    pub cgroup_path: String,
    /// Devices that the container may use, for the filter on cgroup v2.
    pub devices: Vec<DeviceRule>,
    /// What its processes give up before they run.
    pub confinement: Confinement,
    /// How mounts below its mounts travel; the runtime library leaves that out.
    #[serde(default)]
    pub propagations: Vec<Propagation>,
    /// Where its program begins; made if need be. Empty for the root.
    #[serde(default)]
    pub working_dir: String,
}

/// Of one mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Propagation {
    /// In the container.
    pub target: String,
    /// `rprivate`, `private`, `rshared`, `shared`, `rslave` or `slave`.
    pub kind: String,
}

/// What a container's processes give up. The document has nothing of this.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Capabilities that they can hold; root holds them at once, others by what they execute.
    pub capabilities: Vec<String>,
    /// The compiled system call filter; `None` for none.
    pub filter: Option<PathBuf>,
    /// For the system call that loads the filter.
    #[serde(default)]
    pub filter_flags: u64,
    /// Whether programs can gain nothing by being executed.
    pub no_new_privileges: bool,
    /// AppArmor's profile; `None` for none.
    #[serde(default)]
    pub apparmor: Option<String>,
}

/// Where and how output is logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogInstructions {
    /// The current file; older ones have `.1`, `.2`, … appended, and `.gz` when they are compressed.
    pub path: PathBuf,
    /// Size at which it is rotated; 0 for never.
    pub max_size_bytes: u64,
    /// Files kept, the current one included.
    pub max_files: u32,
    /// Whether older files are compressed.
    #[serde(default)]
    pub compress: bool,
    /// Added to each line, by name.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// Devices that may be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// `c` or `b`.
    pub kind: char,
    /// `None` for all.
    pub major: Option<u32>,
    /// `None` for all.
    pub minor: Option<u32>,
    /// Of `r`, `w`, `m`.
    pub access: String,
}

/// How a container stands, as its shim last saw it. On disk, and sent to whoever connects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShimStatus {
    /// `PROTOCOL_VERSION` of the shim.
    pub version: u32,
    /// Boot in which this was written: after another one, nothing of it runs.
    pub boot_id: String,
    /// The shim's process.
    pub shim_pid: i32,
    /// The container's first process; 0 before it exists.
    pub pid: i32,
    /// When that process began, in the kernel's ticks since boot: tells it from a later one with its number.
    pub pid_start_ticks: u64,
    /// Nanoseconds since 1970.
    pub started_at: Option<i64>,
    /// Nanoseconds since 1970.
    pub finished_at: Option<i64>,
    /// Set with `finished_at`.
    pub exit_code: Option<i32>,
    /// Whether the kernel killed something in it for want of memory.
    pub oom_killed: bool,
    /// Why it could not be created or started.
    pub error: Option<String>,
    /// Its cgroup directories.
    pub cgroups: Vec<PathBuf>,
}

impl ShimStatus {
    /// Whether the container has ended, or never began.
    pub fn has_ended(&self) -> bool {
        self.exit_code.is_some()
    }
}

/// A request of the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Comes back in the reply.
    pub id: u64,
    /// What to do.
    pub verb: Verb,
}

/// What a shim can be asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Send a signal to the container's first process, or (`exec`) to a further one.
    Kill {
        /// Number.
        signal: i32,
        /// Which further process.
        exec: Option<String>,
    },
    /// Start a further process. Three descriptors follow (its standard streams) unless it has a terminal; then the
    /// reply carries the terminal's other end.
    Exec {
        /// The daemon's name for it.
        exec: String,
        /// What to run.
        process: ExecProcess,
    },
    /// Change the size of the container's terminal.
    Resize {
        /// Characters.
        rows: u16,
        /// Characters.
        columns: u16,
    },
}

/// A further process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecProcess {
    /// Program and arguments.
    pub args: Vec<String>,
    /// Whole environment, `NAME=value`.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Further groups.
    pub additional_gids: Vec<u32>,
    /// Whether it gets a terminal.
    pub terminal: bool,
    /// All capabilities and no system call filter.
    pub privileged: bool,
}

/// What a shim says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// After connecting, and with each change.
    Status(ShimStatus),
    /// The answer to a request.
    Reply {
        /// The request's.
        id: u64,
        /// The new process (exec) or 0.
        pid: i32,
        /// Why not.
        error: Option<String>,
    },
    /// A further process has ended.
    ExecEnded {
        /// Which.
        exec: String,
        /// Its exit code.
        exit_code: i32,
    },
}
