//! Leaving the swarm.

use std::sync::Arc;
use std::time::Duration;

use skep_docker_api as api;
use skep_model::pb::messages as m;
use skep_model::pb::skep::leave_request::Reason;
use skep_model::{Code, Refusal};

use super::member::{Member, Start};
use super::node::{State, SwarmNode, internal};

/// How long a manager that leaves tries to take itself out of the quorum.
const RAFT_LEAVE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a node that goes on leaving after a restart looks for somebody to say goodbye to.
const RESUME_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the tasks of a node that leaves may take to end.
const TASKS_TIMEOUT: Duration = Duration::from_secs(30);

impl SwarmNode {
    /// `swarm leave`.
    pub(super) async fn leave(self: &Arc<Self>, request: api::LeaveRequest) -> Result<(), Refusal> {
        let was_out = matches!(self.state(), State::Inactive);
        let _one = self.lifecycle.lock().await;
        let member = match self.state() {
            // Somebody else's wish, or the end of a leave that a restart had interrupted.
            State::Inactive if !was_out => return Ok(()),
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
        if !request.force
            && let Some(warning) = member.as_ref().and_then(|member| member.leave_warning())
        {
            return Err(Refusal::new(Code::Unavailable, warning));
        }
        // From here on there is no way back: a daemon that dies goes on with it when it starts again.
        if let Err(error) = self.files.begin_leaving(request.remove) {
            // A full disk keeps nobody in a swarm.
            tracing::warn!("a daemon that dies now does not go on leaving: {error}");
        }
        self.finish_leaving(member, request.remove).await
    }

    pub(super) async fn finish_leaving(&self, member: Option<Arc<Member>>, remove: bool) -> Result<(), Refusal> {
        if let Some(member) = member {
            member.leave_quorum().await;
            member.farewell(Reason::Leave, remove).await;
            member.end_tasks().await;
            self.set(State::Pending);
            member.stop_loops().await;
        }
        self.files.wipe().map_err(internal)?;
        self.set(State::Inactive);
        Ok(())
    }

    /// The daemon died while this node left the swarm: it leaves still. A node that cannot be started any more (locked,
    /// or without managers) goes without a word.
    pub(super) async fn resume_leaving(self: &Arc<Self>, remove: bool) -> Result<(), Refusal> {
        tracing::info!("leaving the swarm was interrupted: this node goes on with it");
        if let Err(refusal) = self.open(None, Start::Restart).await {
            tracing::warn!("the swarm is not told that this node leaves: {refusal}");
        }
        let member = self.member();
        if let Some(member) = &member {
            member.wait_to_leave().await;
        }
        self.finish_leaving(member, remove).await
    }
}

impl Member {
    /// What a member needs to say goodbye: a session, and as a manager somebody who leads.
    async fn wait_to_leave(&self) {
        let mut session = self.session.clone();
        let ready = async {
            if let Some(mut leader) = self.leader() {
                let known = leader.wait_for(|leader| *leader != skep_rpc::Leader::None).await;
                tracing::debug!(known = known.is_ok(), "a leader to say goodbye to");
            }
            session.wait_for(|state| state.session.is_some()).await.is_ok()
        };
        if tokio::time::timeout(RESUME_TIMEOUT, ready).await.is_err() {
            tracing::warn!("no manager answers: this node leaves all the same");
        }
    }

    /// Docker's warning to a manager that would leave; none for a worker.
    fn leave_warning(&self) -> Option<String> {
        let handle = self.manager_handle()?;
        let mut text =
            "You are attempting to leave the swarm on a node that is participating as a manager. ".to_owned();
        let members = handle.read(|board| board.voters);
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
        let (members, voters) = handle.read(|board| (board.members.len(), board.voters));
        if members <= 1 && voters <= 1 {
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
