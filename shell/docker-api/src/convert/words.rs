//! Docker's words for the enumerations of the wire.

use skep_model::TaskState;
use skep_model::pb::types::{
    NodeRole, container_spec, endpoint_spec, mount, node_spec, node_status, port_config, privileges,
    raft_member_status, restart_policy, update_config, update_status,
};

/// An enumeration with a word for each value.
pub(crate) trait Word: Copy {
    /// Docker's word.
    fn word(self) -> &'static str;
    /// The value of a word, without regard to case, as Docker looks them up.
    fn parse(word: &str) -> Option<Self>;
}

/// The word of a value.
pub(crate) fn word<T: Word>(value: T) -> &'static str {
    value.word()
}

/// The value of a word.
pub(crate) fn parse<T: Word>(word: &str) -> Option<T> {
    T::parse(word)
}

/// The value of a word that Docker takes only as it is written.
pub(crate) fn exact<T: Word>(word: &str) -> Option<T> {
    T::parse(word).filter(|value| value.word() == word)
}

/// Declares the words of an enumeration.
macro_rules! words {
    ($(#[$doc:meta])* $type:ty { $($variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        impl Word for $type {
            fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            fn parse(word: &str) -> Option<Self> {
                $(if word.eq_ignore_ascii_case($word) { return Some(Self::$variant); })*
                None
            }
        }
    };
}

words!(
    /// State of a task.
    TaskState {
        New = "new", Pending = "pending", Assigned = "assigned", Accepted = "accepted", Preparing = "preparing",
        Ready = "ready", Starting = "starting", Running = "running", Complete = "complete", Shutdown = "shutdown",
        Failed = "failed", Rejected = "rejected", Remove = "remove", Orphaned = "orphaned",
    }
);
words!(
    /// Role of a node.
    NodeRole { Worker = "worker", Manager = "manager" }
);
words!(
    /// Availability of a node.
    node_spec::Availability { Active = "active", Pause = "pause", Drain = "drain" }
);
words!(
    /// Membership of a node.
    node_spec::Membership { Pending = "pending", Accepted = "accepted" }
);
words!(
    /// State of a node.
    node_status::State {
        Unknown = "unknown", Down = "down", Ready = "ready", Disconnected = "disconnected",
    }
);
words!(
    /// Whether a manager answers.
    raft_member_status::Reachability {
        Unknown = "unknown", Unreachable = "unreachable", Reachable = "reachable",
    }
);
words!(
    /// How a service is found.
    endpoint_spec::ResolutionMode { Vip = "vip", Dnsrr = "dnsrr" }
);
words!(
    /// Protocol of a port.
    port_config::Protocol { Tcp = "tcp", Udp = "udp", Sctp = "sctp" }
);
words!(
    /// Where a port is published.
    port_config::PublishMode { Ingress = "ingress", Host = "host" }
);
words!(
    /// When a task is started again.
    restart_policy::RestartCondition {
        None = "none", OnFailure = "on-failure", Any = "any",
    }
);
words!(
    /// What a failed update does.
    update_config::FailureAction {
        Pause = "pause", Continue = "continue", Rollback = "rollback",
    }
);
words!(
    /// Which of old and new comes first.
    update_config::UpdateOrder {
        StopFirst = "stop-first", StartFirst = "start-first",
    }
);
words!(
    /// State of an update; Docker shows nothing for the unknown one.
    update_status::UpdateState {
        Unknown = "", Updating = "updating", Paused = "paused", Completed = "completed",
        RollbackStarted = "rollback_started", RollbackPaused = "rollback_paused",
        RollbackCompleted = "rollback_completed",
    }
);
words!(
    /// Kind of a mount.
    mount::Type {
        Bind = "bind", Volume = "volume", Tmpfs = "tmpfs", Npipe = "npipe", Cluster = "cluster",
    }
);
words!(
    /// How mounts spread.
    mount::bind_options::Propagation {
        Rprivate = "rprivate", Private = "private", Rshared = "rshared", Shared = "shared", Rslave = "rslave",
        Slave = "slave",
    }
);
words!(
    /// Isolation of a container.
    container_spec::Isolation {
        Default = "default", Process = "process", Hyperv = "hyperv",
    }
);
words!(
    /// Seccomp profile.
    privileges::seccomp_opts::SeccompMode {
        Default = "default", Unconfined = "unconfined", Custom = "custom",
    }
);
words!(
    /// AppArmor profile.
    privileges::app_armor_opts::AppArmorMode {
        Default = "default", Disabled = "disabled",
    }
);
