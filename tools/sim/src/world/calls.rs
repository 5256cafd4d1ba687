//! Calls to managers: they arrive somewhere, are passed on to the leader if need be, and are answered the same way
//! back.

use std::time::Duration;

use skep_dispatch::worker::{Attempt, Input, Opening};
use skep_manager::{Answer, RequestId, StreamId};
use skep_model::pb::messages as m;
use skep_model::pb::skep::LeaveRequest;
use skep_model::pb::types::NodeRole;
use skep_model::{Caller, Code, ControlKind, ControlRequest, Make, NodeId, Refusal};
use skep_store::Read as _;

use super::streams::Stream;
use super::{Happening, World};
use crate::host::Host;
use crate::network::HostId;
use crate::plant::Plant;

/// Who called.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin {
    /// The worker of a host, in one of its sessions.
    Worker { life: u64, attempt: Attempt },
    /// A client of that host.
    Client { request: u64 },
    /// The host itself, on an errand.
    Errand { life: u64, number: u64 },
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Session { request: m::SessionRequest },
    Assignments { opening: Opening, request: m::AssignmentsRequest },
    Heartbeat { request: m::HeartbeatRequest },
    Status { request: m::UpdateTaskStatusRequest },
    Control { request: Box<ControlRequest> },
    Issue { renews: bool, request: m::IssueNodeCertificateRequest },
    CertificateStatus { request: m::NodeCertificateStatusRequest },
    Join { node: NodeId, address: String },
    Leave { request: LeaveRequest },
    LeaveQuorum { node: NodeId },
}

/// A call on its way.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub from: HostId,
    pub origin: Origin,
    pub at: HostId,
    /// The manager that passed it on.
    pub via: Option<HostId>,
    pub body: Body,
}

/// An answer on its way.
pub(crate) enum Reply {
    Worker { host: HostId, life: u64, input: Input },
    Client { request: u64, result: Result<Answer, Refusal> },
    Errand { host: HostId, life: u64, number: u64, result: Result<Answer, Refusal> },
}

impl World {
    /// Puts a call on its way; on a cut way it is lost, which only time will tell.
    pub(crate) fn call(&mut self, call: Call) {
        let from = call.via.unwrap_or(call.from);
        if let Some(delay) = self.network.segment(from, call.at, &mut self.dice.network) {
            let call = Call { body: self.plan.codec.body(call.body), ..call };
            self.after(delay, Happening::Call(Box::new(call)));
        }
    }

    pub(crate) fn call_arrives(&mut self, mut call: Call) {
        let at = call.at;
        if !self.hosts[at].powered {
            return;
        }
        if !self.hosts[at].up || self.hosts[at].manager.is_none() {
            return self.refuse(&call, Refusal::new(Code::Unavailable, "connection refused"));
        }
        if let Err(refusal) = self.handshake(&call) {
            return self.refuse(&call, refusal);
        }
        if self.was_removed(&call) {
            return self.refuse(&call, Refusal::new(Code::PermissionDenied, "this node was removed from swarm"));
        }
        if self.hosts[at].leads() {
            return self.handle(call);
        }
        let stale = self.plant == Some(Plant::StaleRead) && is_read(&call.body);
        let leader = self.hosts[at].manager.as_ref().and_then(|manager| {
            let member = manager.membership().get(manager.role().leader?)?;
            self.addresses.get(&member.addr).copied()
        });
        match leader.filter(|leader| *leader != at && call.via.is_none()) {
            Some(leader) if !stale => {
                call.via = Some(at);
                call.at = leader;
                self.call(call);
            }
            // Without a leader a manager answers reads from what it knows, and says so.
            _ if is_read(&call.body) && matches!(call.origin, Origin::Client { .. }) => self.handle(call),
            _ => self.refuse(&call, Refusal::no_leader()),
        }
    }

    /// The manager's transport refuses certificates of nodes that were taken off the list.
    fn was_removed(&self, call: &Call) -> bool {
        let cluster = self.hosts[call.at].manager.as_ref().and_then(|manager| manager.facts().cluster());
        let node = self.hosts[call.from].node();
        node.is_some_and(|node| {
            cluster.is_some_and(|cluster| cluster.blacklisted_certificates.contains_key(node.as_str()))
        })
    }

    fn caller(&self, call: &Call) -> Option<Caller> {
        let identity = self.hosts[call.from].identity.as_ref()?;
        let forwarded_by = call.via.and_then(|via| self.hosts[via].node().cloned());
        let address = self.hosts[call.from].address.split(':').next().unwrap_or_default().to_owned();
        Some(Caller { node: identity.node.clone(), role: identity.role, forwarded_by, address })
    }

    fn handle(&mut self, call: Call) {
        let at = call.at;
        let now = self.now_at(at);
        let caller = self.caller(&call);
        let number = self.next_number();
        self.want_turn(at);
        let Host { manager: Some(manager), dice, .. } = &mut self.hosts[at] else { return };
        let request = RequestId(number);
        match (call.body.clone(), caller) {
            (Body::Control { request: command }, _) => {
                self.requests.insert(number, call);
                manager.control(request, *command, now, dice.source());
            }
            (Body::Issue { renews, request: wanted }, caller) => {
                self.requests.insert(number, call);
                let caller = caller.filter(|_| renews);
                manager.issue_certificate(request, caller.as_ref(), Make::Skep, &wanted, now, dice.source());
            }
            (Body::CertificateStatus { request: wanted }, _) => {
                self.requests.insert(number, call);
                manager.certificate_status(request, wanted);
            }
            (Body::Join { node, address }, _) => {
                // The transport lets only managers in, by the store's word (decision 24).
                let stored = manager.facts().node(&node);
                let manages = stored.is_some_and(|node| {
                    node.role == NodeRole::Manager && node.spec.desired_role() == NodeRole::Manager
                });
                if !manages {
                    return self.refuse(&call, Refusal::new(Code::PermissionDenied, "not a manager"));
                }
                self.requests.insert(number, call);
                manager.join_raft(request, node, address, now, dice.source());
            }
            (Body::LeaveQuorum { node }, Some(_)) => {
                self.requests.insert(number, call);
                manager.leave_raft(request, node, dice.source());
            }
            (Body::Leave { request }, Some(caller)) => {
                // Best effort: whoever goes does not wait to be refused.
                if let Err(refusal) = manager.leave(&caller, &request, now) {
                    self.say(|| format!("h{at} does not hear the goodbye of {}: {refusal}", caller.node));
                }
            }
            (_, Some(caller)) => self.handle_worker(&call, &caller),
            (_, None) => self.refuse(&call, Refusal::new(Code::Unauthenticated, "no certificate")),
        }
    }

    fn handle_worker(&mut self, call: &Call, caller: &Caller) {
        let (at, now) = (call.at, self.now_at(call.at));
        let Origin::Worker { life, attempt } = call.origin else { return };
        let number = self.next_number();
        let manager_life = self.hosts[at].manager_life;
        let stream = |opening| Stream {
            worker: call.from,
            life,
            attempt,
            opening,
            manager: at,
            manager_life,
            via: call.via,
            tail: self.time,
        };
        let streams = &mut self.streams;
        let Host { manager: Some(manager), dice, .. } = &mut self.hosts[at] else { return };
        let result = match call.body.clone() {
            Body::Session { request } => {
                streams.open.insert(number, stream(None));
                let done = manager.register(caller, request, StreamId(number), now, dice.source());
                done.map(|_| None).inspect_err(|_| streams.forget(number))
            }
            Body::Assignments { opening, request } => {
                streams.open.insert(number, stream(Some(opening)));
                let done = manager.open_assignments(caller, &request, StreamId(number));
                done.map(|()| None).inspect_err(|_| streams.forget(number))
            }
            Body::Heartbeat { request } => {
                let done = manager.heartbeat(caller, &request, now, dice.source());
                done.map(|response| Some(Input::HeartbeatReply { attempt, response }))
            }
            Body::Status { request } => {
                let done = manager.update_task_status(caller, request, now);
                done.map(|_| Some(Input::StatusReply { attempt }))
            }
            _ => Ok(None),
        };
        match result {
            Ok(None) => {}
            Ok(Some(input)) => {
                let input = self.plan.codec.input(input);
                self.send_reply(call, Reply::Worker { host: call.from, life, input });
            }
            Err(refusal) => self.refuse(call, refusal),
        }
    }

    /// The manager answers.
    pub(crate) fn reply(&mut self, host: HostId, number: u64, result: Result<Answer, Refusal>) {
        let Some(call) = self.requests.remove(&number).filter(|call| call.at == host) else { return };
        let result = match result {
            Ok(Answer::Control { response, .. }) if self.plant == Some(Plant::StaleRead) => {
                Ok(Answer::Control { response, stale: false })
            }
            other => other,
        };
        self.answer(&call, result);
    }

    fn refuse(&mut self, call: &Call, refusal: Refusal) {
        self.answer(call, Err(refusal));
    }

    fn answer(&mut self, call: &Call, result: Result<Answer, Refusal>) {
        let reply = match (call.origin, result) {
            (Origin::Client { request }, result) => Reply::Client { request, result },
            (Origin::Errand { life, number }, result) => Reply::Errand { host: call.from, life, number, result },
            (Origin::Worker { life, attempt }, Err(refusal)) => {
                Reply::Worker { host: call.from, life, input: Input::Failed { attempt, refusal } }
            }
            (Origin::Worker { .. }, Ok(_)) => return,
        };
        self.send_reply(call, reply);
    }

    fn send_reply(&mut self, call: &Call, reply: Reply) {
        if let Some(delay) = self.way(call.at, call.via, call.from) {
            self.after(delay, Happening::Answer(Box::new(reply)));
        }
    }

    /// How long it takes from a manager to whoever called, over the manager that passed the call on.
    pub(crate) fn way(&mut self, from: HostId, via: Option<HostId>, to: HostId) -> Option<Duration> {
        let Some(via) = via else { return self.network.segment(from, to, &mut self.dice.network) };
        let first = self.network.segment(from, via, &mut self.dice.network)?;
        Some(first + self.network.segment(via, to, &mut self.dice.network)?)
    }

    pub(crate) fn answer_arrives(&mut self, reply: Reply) {
        match reply {
            Reply::Worker { host, life, input } => self.tell_worker(host, life, input),
            Reply::Client { request, result } => self.client_answer(request, result),
            Reply::Errand { host, life, number, result } => self.errand_answer(host, life, number, result),
        }
    }
}

fn is_read(body: &Body) -> bool {
    matches!(body, Body::Control { request } if request.kind() == ControlKind::Read)
}
