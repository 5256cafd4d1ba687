//! Leaving the swarm.

use std::sync::Arc;
use std::time::Duration;

use skep_docker_api as api;
use skep_model::pb::messages as m;
use skep_model::pb::skep::leave_request::Reason;
use skep_model::{Code, Refusal};

use super::member::Member;
use super::node::{State, SwarmNode, internal};

/// How long a manager that leaves tries to take itself out of the quorum.
const RAFT_LEAVE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the tasks of a node that leaves may take to end.
const TASKS_TIMEOUT: Duration = Duration::from_secs(30);

impl SwarmNode {
    /// `swarm leave`.
    pub(super) async fn leave(self: &Arc<Self>, request: api::LeaveRequest) -> Result<(), Refusal> {
        let _one = self.lifecycle.lock().await;
        let member = match self.state() {
            State::Inactive => {
                return Err(Refusal::new(Code::Unavailable, "This node is not part of a swarm"));
            }
            State::Locked if !request.force => {
                return Err(Refusal::new(
                    Code::Unavailable,
                    "Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this message.",
                ));
            }
            State::Active(member) => Some(member),
            State::Locked | State::Pending | State::Failed(_) => None,
        };
        if let Some(member) = &member {
            if !request.force
                && let Some(warning) = member.leave_warning()
            {
                return Err(Refusal::new(Code::Unavailable, warning));
            }
            member.leave_quorum().await;
            member.farewell(Reason::Leave, request.remove).await;
            member.end_tasks().await;
            self.set(State::Pending);
            member.stop_loops().await;
        }
        self.files.wipe().map_err(internal)?;
        self.set(State::Inactive);
        Ok(())
    }
}

impl Member {
    /// Docker's warning to a manager that would leave; none for a worker.
    fn leave_warning(&self) -> Option<String> {
        let handle = self.manager_handle()?;
        let mut text =
            "You are attempting to leave the swarm on a node that is participating as a manager. ".to_owned();
        let members = handle.read(|board| board.members.len());
        let has_leader = handle.status().borrow().role.leader.is_some();
        if members <= 1 {
            text.push_str(
                "Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message. ",
            );
            return Some(text);
        }
        if has_leader {
            let left = members - 1;
            text.push_str(&format!("Removing this node leaves {left} managers out of {members}. "));
            if left < members / 2 + 1 {
                text.push_str("Without a Raft quorum your swarm will be inaccessible. ");
            }
        } else {
            text.push_str("Doing so may lose the consensus of your cluster. ");
        }
        text.push_str(
            "The only way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. \
             Use `--force` to suppress this message.",
        );
        Some(text)
    }

    /// Beyond Docker: a manager that leaves takes itself out of the quorum if it can, so that the others need not
    /// count it any more. Whether it can is the leader's decision.
    async fn leave_quorum(&self) {
        let Some(handle) = self.manager_handle() else { return };
        if handle.read(|board| board.members.len()) <= 1 {
            return;
        }
        let leaving = async {
            if handle.status().borrow().role.is_leader {
                self.hand_over(&handle).await;
            }
            let leader = handle.status().borrow().leader.clone();
            let Some(leader) = leader.filter(|leader| leader.node_id != self.node_id) else { return };
            if let Err(refusal) = self.clients.raft_leave(&leader.addr, m::LeaveRequest::default()).await {
                tracing::warn!("this manager stays a member of the quorum that it leaves: {refusal}");
            }
        };
        if tokio::time::timeout(RAFT_LEAVE_TIMEOUT, leaving).await.is_err() {
            tracing::warn!("this manager stays a member of the quorum that it leaves: nobody answered in time");
        }
    }

    async fn hand_over(&self, handle: &crate::manager::Handle) {
        let (reply, handing) = tokio::sync::oneshot::channel();
        if handle.tell(crate::manager::Ask::HandOver(reply)).is_ok() && handing.await == Ok(true) {
            let mut status = handle.status();
            let taken = status.wait_for(|status| !status.role.is_leader && status.leader.is_some()).await.is_ok();
            tracing::info!(taken, "leadership was handed over");
        }
    }

    async fn end_tasks(&self) {
        let agent = self.agent.lock().await;
        let Some(agent) = agent.as_ref() else { return };
        if tokio::time::timeout(TASKS_TIMEOUT, agent.leave()).await.is_err() {
            tracing::warn!("tasks of this node did not end in time; their containers stay");
        }
    }
}
