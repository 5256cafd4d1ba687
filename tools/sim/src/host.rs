//! One host: a daemon that may be worker and manager, its disk, its containers, its clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use skep_consensus::{LogEntry, Member};
use skep_dispatch::worker::Worker;
use skep_manager::Manager;
use skep_model::pb::types::{NodeRole, Peer};
use skep_model::{NodeId, RaftId, Task, TaskId, Time};

use crate::clock::HostClock;
use crate::dice::Dice;
use crate::disk::Disk;
use crate::engine::Engine;
use crate::invariants::worker_runs_what_is_assigned::Assigned;
use crate::issuers::{Certificate, RootId};
use crate::scenario::Mood;

/// Who the host is, by its certificate; on disk.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// As what.
    pub role: NodeRole,
    /// Who says so.
    pub certificate: Certificate,
}

/// Its place in the quorum; on disk.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Itself.
    pub member: Member,
    /// All members when it joined.
    pub members: Vec<Member>,
    /// Numbers used up when it joined.
    pub removed: BTreeSet<RaftId>,
}

/// What the daemon is about to get from a manager.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Errand {
    /// Nothing.
    #[default]
    None,
    /// A certificate: the request.
    Issue,
    /// A certificate: what has become of it.
    Status,
    /// A place in the quorum.
    Join,
}

/// How a manager's disk is locked; on disk.
#[derive(Clone, Default, Debug)]
pub struct Lock {
    /// The key that opens it, if one is needed.
    pub key: Option<Bytes>,
    /// The cluster's version that brought it.
    pub version: u64,
    /// The daemon waits for the key.
    pub locked: bool,
}

/// One host.
pub struct Host {
    /// The daemon runs.
    pub up: bool,
    /// The machine is on.
    pub powered: bool,
    /// Counts the daemon's starts.
    pub life: u64,
    /// It is about to leave the swarm.
    pub leaving: bool,
    /// It never comes back.
    pub retired: bool,
    /// host:port.
    pub address: String,
    /// Its clock.
    pub clock: HostClock,
    /// What its core is given.
    pub dice: Dice,
    /// It stands still until then.
    pub stalled_until: Time,
    /// Its certificate.
    pub identity: Option<Identity>,
    /// The root that it trusts; on disk.
    pub trusts: RootId,
    /// The managers last said that its certificate is to be another.
    pub told_to_renew: bool,
    /// The role that the managers last said it has.
    pub told_role: Option<NodeRole>,
    /// As what it asks to join, while it has no certificate.
    pub wanted_role: NodeRole,
    /// Its place in the quorum.
    pub seat: Option<Seat>,
    /// Autolock.
    pub lock: Lock,
    /// The manager's disk.
    pub disk: Disk,
    /// Runs while the host is a manager.
    pub manager: Option<Box<Manager>>,
    /// Counts the manager's starts.
    pub manager_life: u64,
    /// A turn is on its way.
    pub turn_due: bool,
    /// When the manager is woken next.
    pub manager_wake: Option<Time>,
    /// What the manager had applied after its last turn.
    pub applied: u64,
    /// Entries of the log that were not yet seen to be applied; not cut when the log is.
    pub log: BTreeMap<u64, LogEntry>,
    /// The daemon dies after so many effects, for so long.
    pub dies_after: Option<(u64, Duration)>,
    /// Members that the transport has said to be reachable.
    pub reached: BTreeSet<RaftId>,
    /// Runs once there is a certificate.
    pub worker: Option<Worker>,
    /// When the worker is woken next.
    pub worker_wake: Option<Time>,
    /// What it shall run.
    pub assigned: Assigned,
    /// The worker's tasks on disk.
    pub task_disk: BTreeMap<TaskId, Arc<Task>>,
    /// Managers it knows, on disk.
    pub remotes: Vec<Peer>,
    /// How the plugin that is the drivers of secrets feels.
    pub mood: Mood,
    /// Containers.
    pub engine: Engine,
    /// What it is about to get.
    pub errand: Errand,
    /// Tells errands' answers apart.
    pub errand_number: u64,
    /// The node id it was given, until the certificate is there.
    pub promised: Option<NodeId>,
}

impl Host {
    /// The node, once it has one.
    pub fn node(&self) -> Option<&NodeId> {
        self.identity.as_ref().map(|identity| &identity.node)
    }

    /// Whether it leads and decides.
    pub fn leads(&self) -> bool {
        self.up && self.manager.as_ref().is_some_and(|manager| manager.is_leading())
    }
}
