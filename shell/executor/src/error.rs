//! What can go wrong, one variant per operation, and the words a task's status gets.

use std::io;
use std::path::PathBuf;

use skep_model::Refusal;

/// Exit code of a container whose end nobody saw (its shim died with the machine).
pub const EXIT_CODE_UNKNOWN: i32 = 255;

/// Why a controller's verb failed. `Display` is what `docker service ps` shows.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// The container ended by itself with a code other than zero.
    #[error("task: non-zero exit ({code}){}", cause.as_deref().map(|cause| format!(": {cause}")).unwrap_or_default())]
    Exit {
        /// The process's exit code; 128 + signal when killed by one.
        code: i32,
        /// `dockerexec: unhealthy container`, `out of memory`, or what the runtime said.
        cause: Option<String>,
    },
    /// The spec asks for what this node does not do. Final.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The image is not there and cannot be fetched.
    #[error("No such image: {reference}: {reason}")]
    Image {
        /// As the spec names it.
        reference: String,
        /// What the registry or the store said.
        reason: String,
    },
    /// Something kept the container from its start; in Docker's words.
    #[error("starting container failed: {0}")]
    NotStarted(#[source] Box<ControllerError>),
    /// A verb came before the one it stands on.
    #[error("task {task_id} has no container; prepare it first")]
    NotPrepared {
        /// Whose.
        task_id: String,
    },
    /// The runtime failed.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

impl ControllerError {
    /// The exit code, when the container ran and ended.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Exit { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// A failure of the runtime itself.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// A file or directory of ours.
    #[error("{operation} {path}: {source}")]
    File {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A record of ours that cannot be read.
    #[error("{path} is not a record of this runtime: {source}")]
    Record {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// Something that must be set on the host could not be.
    #[error("cannot {operation}: {source}")]
    Host {
        /// What was tried.
        operation: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The packet filter refused our rules.
    #[error("nft refused the rules of {table}: {message}")]
    PacketFilter {
        /// Which table.
        table: String,
        /// What it said.
        message: String,
    },
    /// The subnet of the bridge is used up.
    #[error("no address left in the subnet of {bridge}")]
    NoAddress {
        /// Which bridge.
        bridge: String,
    },
    /// The shim could not create or start the container.
    #[error("{message}")]
    Start {
        /// What the runtime library said.
        message: String,
    },
    /// The shim did not answer as it should.
    #[error("shim of container {container}: {message}")]
    Shim {
        /// Which container.
        container: String,
        /// What happened.
        message: String,
    },
    /// What a volume's options say could not be mounted.
    #[error("failed to mount local volume: mount {device}:{}: {source}", place.display())]
    Volume {
        /// What was to be mounted.
        device: String,
        /// Where.
        place: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The root file system could not be put together.
    #[error("root file system of container {container}: {message}")]
    RootFs {
        /// Which container.
        container: String,
        /// What happened.
        message: String,
    },
    /// The disk could not be measured or cleared.
    #[error("{message}")]
    Upkeep {
        /// What happened.
        message: String,
    },
    /// A worker thread of ours is gone.
    #[error("the {thread} thread is gone")]
    Stopped {
        /// Which one.
        thread: &'static str,
    },
}

impl RuntimeError {
    /// For `map_err` on file operations.
    pub(crate) fn file(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { operation, path, source }
    }

    /// For `map_err` on system calls.
    pub(crate) fn host<E: Into<io::Error>>(operation: impl Into<String>) -> impl FnOnce(E) -> Self {
        let operation = operation.into();
        move |source| Self::Host { operation, source: source.into() }
    }
}
