//! What workers say: straight to the dispatcher, whose writes follow in the next turn.

use rand_core::RngCore;
use skep_dispatch::manager::{DriverFailure, FetchId, SecretValue, StreamId};
use skep_model::pb::messages as m;
use skep_model::pb::skep;
use skep_model::{Caller, Code, Now, Refusal, SessionId};
use skep_store::Read as _;

use crate::state::Manager;

impl Manager {
    /// A worker opens a session; messages follow as effects on `stream`.
    pub fn register(
        &mut self,
        caller: &Caller,
        request: m::SessionRequest,
        stream: StreamId,
        now: Now,
        rng: &mut dyn RngCore,
    ) -> Result<SessionId, Refusal> {
        self.dirty = true;
        if self.leading
            && self.facts().node(&caller.node).is_none()
            && !skep_pki::is_removed(self.facts(), &caller.node)
        {
            self.take_back(caller, now, rng)?;
            let message = format!("node {} gets its place on the list again: try again", caller.node);
            return Err(Refusal::new(Code::Unavailable, message));
        }
        self.dispatcher.register(now, rng, self.ledger.committed(), caller, request, stream)
    }

    /// A node with a good certificate and without a row.
    fn take_back(&mut self, caller: &Caller, now: Now, rng: &mut dyn RngCore) -> Result<(), Refusal> {
        self.consensus.may_propose(self.role.term).map_err(Refusal::from)?;
        let (last_index, number) = (self.consensus.last_index(), Self::request_number(rng));
        let ((), entry) = self.ledger.transact(now, last_index, number, |tx| skep_pki::take_back(tx, caller))?;
        self.propose(entry.into_iter().collect())
    }

    /// A worker lives.
    pub fn heartbeat(
        &mut self,
        caller: &Caller,
        request: &m::HeartbeatRequest,
        now: Now,
        rng: &mut dyn RngCore,
    ) -> Result<m::HeartbeatResponse, Refusal> {
        self.dispatcher.heartbeat(now, rng, caller, request)
    }

    /// A worker reports.
    pub fn update_task_status(
        &mut self,
        caller: &Caller,
        request: m::UpdateTaskStatusRequest,
        now: Now,
    ) -> Result<m::UpdateTaskStatusResponse, Refusal> {
        self.dirty = true;
        self.dispatcher.update_task_status(now, self.ledger.committed(), caller, request)
    }

    /// A worker asks what to run; messages follow as effects on `stream`.
    pub fn open_assignments(
        &mut self,
        caller: &Caller,
        request: &m::AssignmentsRequest,
        stream: StreamId,
    ) -> Result<(), Refusal> {
        self.dispatcher.open_assignments(caller, request, stream)
    }

    /// A stream to a worker is gone.
    pub fn stream_closed(&mut self, stream: StreamId, reset: bool, skep_peer: bool, now: Now) {
        self.dirty = true;
        self.dispatcher.stream_closed(now, stream, reset, skep_peer);
    }

    /// The driver of a secret answered to `Effect::FetchSecret`.
    pub fn secret_fetched(&mut self, fetch: FetchId, result: Result<SecretValue, DriverFailure>, now: Now) {
        self.dirty = true;
        self.dispatcher.secret_fetched(now, fetch, result);
    }

    /// A Skep node says goodbye.
    pub fn leave(
        &mut self,
        caller: &Caller,
        request: &skep::LeaveRequest,
        now: Now,
    ) -> Result<skep::LeaveResponse, Refusal> {
        self.dirty = true;
        self.dispatcher.leave(now, caller, request)
    }
}
