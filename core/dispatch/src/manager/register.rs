//! Sessions: registration, heartbeats, streams that open and close (interop §4.2, §4.3).

use rand_core::RngCore;
use skep_model::pb::messages::{AssignmentsRequest, HeartbeatRequest, HeartbeatResponse, SessionRequest};
use skep_model::refusal::Code;
use skep_model::time::proto_duration;
use skep_model::{Caller, Now, Refusal, SessionId};
use skep_store::Read;

use super::assignments::Assignments;
use super::presence::{Registration, Session, Watch};
use super::{Dispatcher, StreamId, limits};

impl Dispatcher {
    /// `Dispatcher/Session`: the caller registers, or comes back to its live session. The first message follows as an
    /// effect once the store shows the node READY. A refusal ends the stream.
    ///
    /// Refuses with `Aborted` when not leading, `NotFound` for a node that is not in the store, `Unavailable` for
    /// registrations in quick succession.
    pub fn register(
        &mut self,
        now: Now,
        rng: &mut dyn RngCore,
        facts: &impl Read,
        caller: &Caller,
        request: SessionRequest,
        stream: StreamId,
    ) -> Result<SessionId, Refusal> {
        self.check_leading()?;
        let node = &caller.node;
        let resumed = self.presences.session(node, &request.session_id).map(|session| session.id.clone()).ok();
        if resumed.is_none() {
            self.presences.count_registration(now.monotonic, node)?;
        }
        if facts.node(node).is_none() {
            return Err(Refusal::new(Code::NotFound, "node not found"));
        }
        let invalid = Refusal::invalid("session invalid");
        let id = match resumed {
            Some(id) => {
                self.drop_session_stream(node, &invalid);
                id
            }
            None => {
                self.end_session(node, &invalid);
                SessionId::random(rng)
            }
        };
        let registration = Registration { description: request.description, address: caller.address.clone() };
        self.beat(now, rng, node);
        let presence = self.presences.get_mut(node).ok_or_else(|| Refusal::not_found("node", node.as_str()))?;
        let assignments = presence.session.take().and_then(|session| session.assignments);
        let awaits = Some(registration.clone());
        presence.session = Some(Session { id: id.clone(), stream: Some(stream), assignments, awaits });
        self.leaves.remove(node);
        self.registrations.insert(node.clone(), registration);
        self.streams.insert(stream, node.clone());
        self.untold.insert(node.clone());
        Ok(id)
    }

    /// `Dispatcher/Heartbeat`. The answer says when the next one is expected.
    pub fn heartbeat(
        &mut self,
        now: Now,
        rng: &mut dyn RngCore,
        caller: &Caller,
        request: &HeartbeatRequest,
    ) -> Result<HeartbeatResponse, Refusal> {
        self.check_leading()?;
        self.presences.session(&caller.node, &request.session_id)?;
        let period = self.beat(now, rng, &caller.node);
        Ok(HeartbeatResponse { period: Some(proto_duration(period)) })
    }

    /// `Dispatcher/Assignments`: the whole set follows as an effect, then changes. A refusal ends the stream.
    pub fn open_assignments(
        &mut self,
        caller: &Caller,
        request: &AssignmentsRequest,
        stream: StreamId,
    ) -> Result<(), Refusal> {
        self.check_leading()?;
        let node = &caller.node;
        let session = self.presences.session(node, &request.session_id)?;
        if let Some(earlier) = session.assignments.replace(Assignments::new(node.clone(), stream)) {
            self.streams.remove(&earlier.stream());
            self.closing
                .push((earlier.stream(), Refusal::invalid("another assignments stream of this session opened")));
        }
        self.streams.insert(stream, node.clone());
        self.unassigned.insert(node.clone());
        Ok(())
    }

    /// A stream to a worker ended. `reset`: the worker's own connection broke, rather than the stream ending in good
    /// order or a forwarding manager going away. `skep_peer`: the worker is known to be Skep, so it tells us when it
    /// leaves or restarts, and silence after a reset is suspicious.
    pub fn stream_closed(&mut self, now: Now, stream: StreamId, reset: bool, skep_peer: bool) {
        let Some(node) = self.streams.remove(&stream) else { return };
        let Some(presence) = self.presences.get_mut(&node) else { return };
        let Some(session) = presence.session.as_mut() else { return };
        if session.assignments.as_ref().is_some_and(|assignments| assignments.stream() == stream) {
            session.assignments = None;
            self.unassigned.remove(&node);
            self.values.forget_node(&node);
            return;
        }
        session.stream = None;
        let (watch, deadline) = (presence.watch, presence.deadline);
        let suspect = reset && skep_peer && watch == Watch::Registered && now.monotonic >= self.trust_until;
        if suspect {
            let soon = now.monotonic.after(limits::SUSPICION).min(deadline);
            self.presences.watch(&node, Watch::Suspected, soon);
        }
    }

    /// Ends the session stream that a resumed session leaves behind.
    fn drop_session_stream(&mut self, node: &skep_model::NodeId, refusal: &Refusal) {
        let Some(session) = self.presences.session_mut(node) else { return };
        if let Some(stream) = session.stream.take() {
            self.streams.remove(&stream);
            self.closing.push((stream, refusal.clone()));
        }
    }
}
