//! Workers that say they go: for good, or to be started again (`skep.v1`; a Docker Engine just falls silent).

use std::time::Duration;

use skep_model::objects::NODE_LEFT;
use skep_model::pb::skep::leave_request::Reason;
use skep_model::pb::skep::{LeaveRequest, LeaveResponse};
use skep_model::pb::types::{BlacklistedCertificate, NodeRole, NodeStatus, TaskState, node_status};
use skep_model::time::duration;
use skep_model::{Caller, NodeId, Now, Refusal, WallTime, defaults};
use skep_store::{Read, Tx};

use super::presence::Watch;
use super::{Dispatcher, limits};

/// Label of the cluster that takes leaving workers off the list.
const LEAVE_LABEL: &str = "skep.leave";

/// A departure that is not written yet.
#[derive(Clone, PartialEq, Debug)]
pub enum Departure {
    /// For good. `remove`: also off the list.
    Leaves { remove: bool },
    /// To come back.
    Restarts,
}

impl Dispatcher {
    /// `skep.v1.Peer/Leave`. For good: the node is DOWN with the next commit, and removed if it or the cluster's
    /// label `skep.leave=remove` asks for it (managers are never removed so). For a restart: its tasks stay where
    /// they are for `hold_ms`, and no new ones come.
    pub fn leave(&mut self, now: Now, caller: &Caller, request: &LeaveRequest) -> Result<LeaveResponse, Refusal> {
        self.check_leading()?;
        let node = &caller.node;
        let session = self.presences.session_mut(node);
        if session.is_some_and(|session| !request.session_id.is_empty() && session.id.as_str() != request.session_id) {
            return Err(Refusal::invalid("session invalid"));
        }
        let departure = match request.reason() {
            Reason::Leave => Departure::Leaves { remove: request.remove },
            Reason::Restart => Departure::Restarts,
            Reason::Unspecified => return Err(Refusal::invalid("reason must be LEAVE or RESTART")),
        };
        self.registrations.remove(node);
        self.end_session(node, &Refusal::new(skep_model::Code::Aborted, "the node said it leaves"));
        match departure {
            Departure::Leaves { .. } => {
                self.presences.watch(node, Watch::Down, now.monotonic.after(limits::DOWN_UNTIL_ORPHANED));
            }
            Departure::Restarts => {
                let grace = self.period * limits::GRACE_PERIODS;
                let hold = Duration::from_millis(request.hold_ms).clamp(grace, limits::RESTART_HOLD_MAX.max(grace));
                self.presences.watch(node, Watch::Restarting, now.monotonic.after(hold));
            }
        }
        self.leaves.insert(node.clone(), departure);
        Ok(LeaveResponse {})
    }

    /// Writes the departures.
    pub(super) fn write_leaves(&mut self, now: Now, tx: &mut Tx<'_>) {
        for (node, departure) in std::mem::take(&mut self.leaves) {
            if tx.node(&node).is_none() {
                self.presences.remove(&node);
                continue;
            }
            let written = match departure {
                Departure::Restarts => {
                    set_status(tx, &node, node_status::State::Disconnected, "node's daemon is restarting")
                }
                Departure::Leaves { remove } if (remove || label_says_remove(tx)) && is_worker(tx, &node) => {
                    self.presences.remove(&node);
                    remove_node(now, tx, &node)
                }
                Departure::Leaves { .. } => set_status(tx, &node, node_status::State::Down, NODE_LEFT),
            };
            self.warn_of(written);
        }
    }
}

/// Neither a manager nor on the way to become one.
fn is_worker(read: &impl Read, node: &NodeId) -> bool {
    read.node(node).is_some_and(|node| node.role == NodeRole::Worker && node.spec.desired_role() == NodeRole::Worker)
}

fn label_says_remove(read: &impl Read) -> bool {
    read.cluster().is_some_and(|cluster| {
        let labels = cluster.spec.annotations.as_ref().map(|annotations| &annotations.labels);
        labels.and_then(|labels| labels.get(LEAVE_LABEL)).is_some_and(|value| value == "remove")
    })
}

/// Sets state and message; the address stays.
pub(super) fn set_status(
    tx: &mut Tx<'_>,
    id: &NodeId,
    state: node_status::State,
    message: &str,
) -> Result<(), Refusal> {
    let Some(node) = tx.node(id) else { return Ok(()) };
    let status = NodeStatus { state: state.into(), message: message.to_owned(), addr: node.status.addr.clone() };
    if node.status == status {
        return Ok(());
    }
    let mut node = (*node).clone();
    node.status = status;
    tx.update(node)
}

/// Gives up the tasks of a node that may have made progress unseen.
pub(super) fn orphan_tasks(now: Now, tx: &mut Tx<'_>, node: &NodeId, from: TaskState) -> Result<(), Refusal> {
    for task in tx.tasks_on_node(node) {
        if task.state() < from || task.has_ended() {
            continue;
        }
        let mut task = (*task).clone();
        task.status.set_state(TaskState::Orphaned);
        task.status.timestamp = Some(now.wall.into());
        tx.update(task)?;
    }
    Ok(())
}

/// Takes a worker off the list as `node rm` does: tasks orphaned, certificate refused from now on (interop §3.4).
fn remove_node(now: Now, tx: &mut Tx<'_>, id: &NodeId) -> Result<(), Refusal> {
    orphan_tasks(now, tx, id, TaskState::New)?;
    if let Some(cluster) = tx.cluster() {
        let life = cluster.spec.ca_config.as_ref().and_then(|config| config.node_cert_expiry.as_ref()).map(duration);
        let life = life.filter(|life| *life >= defaults::NODE_CERTIFICATE_EXPIRY_MIN);
        let nanos = life.unwrap_or(defaults::NODE_CERTIFICATE_EXPIRY).as_nanos();
        let expiry = WallTime(now.wall.0.saturating_add(i64::try_from(nanos).unwrap_or(i64::MAX)));
        let mut cluster = (*cluster).clone();
        let entry = BlacklistedCertificate { expiry: Some(expiry.into()) };
        cluster.blacklisted_certificates.insert(id.to_string(), entry);
        tx.update(cluster)?;
    }
    tx.remove::<skep_model::Node>(id)
}
