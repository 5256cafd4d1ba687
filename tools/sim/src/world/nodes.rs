//! What an operator does with nodes: change them, take them off the list; and how nodes go for good.

use skep_dispatch::worker::Input;
use skep_model::pb::messages as m;
use skep_model::pb::skep::LeaveRequest;
use skep_model::pb::skep::leave_request::Reason;
use skep_model::pb::types::node_spec::Availability;
use skep_model::pb::types::{self, NodeRole};
use skep_model::{Cluster, NodeId, TaskState};
use skep_store::{Event, Read as _};

use super::calls::{Body, Call, Origin};
use super::clients::Purposed;
use super::{Happening, World};
use crate::dice::Dice;
use crate::host::Identity;
use crate::network::HostId;

/// How long managers hold the tasks of a node that restarts, as `shell/node` asks for.
const RESTART_HOLD_MS: u64 = 60_000;
/// A daemon that says goodbye waits so long before it goes.
const FAREWELL_US: u64 = 20_000;
/// How often a node that leaves looks whether its tasks have ended, and how often it looks at most.
const LEAVE_LOOK_US: u64 = 500_000;
pub(crate) const LEAVE_LOOKS_MAX: u64 = 60;

/// Who was taken off the list by force leaves within this.
const OUTCAST_STAYS_US: u64 = 20_000_000;

/// What is done to a node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NodeChange {
    Availability(Availability),
    Role(NodeRole),
}

impl World {
    pub(crate) fn change_some_node(&mut self, change: NodeChange, dice: &mut Dice) {
        let host = dice.below(self.hosts.len() as u64) as HostId;
        if let Some(node) = self.hosts[host].node().filter(|_| !self.hosts[host].retired).cloned() {
            self.change_node(&node, change, dice);
        }
    }

    /// Changes a node, after reading it.
    pub(crate) fn change_node(&mut self, node: &NodeId, change: NodeChange, dice: &mut Dice) {
        let request = m::GetNodeRequest { node_id: node.to_string() };
        self.ask(request.into(), Purposed::ReadNode { change }, dice);
    }

    pub(crate) fn remove_node(&mut self, node: &NodeId, dice: &mut Dice) {
        let request = m::RemoveNodeRequest { node_id: node.to_string(), force: true };
        self.ask(request.into(), Purposed::Forget, dice);
    }

    /// The second half of a change.
    pub(crate) fn follow_node(&mut self, response: m::GetNodeResponse, change: NodeChange, dice: &mut Dice) {
        let Some(node) = response.node else { return };
        let Some(spec) = node.value.spec else { return };
        let spec = spec.edit(|spec| match change {
            NodeChange::Availability(availability) => spec.set_availability(availability),
            NodeChange::Role(role) => spec.set_desired_role(role),
        });
        let version: Option<types::Version> = node.value.meta.as_ref().and_then(|meta| meta.version);
        let request = m::UpdateNodeRequest { node_id: node.value.id, node_version: version, spec: Some(spec) };
        self.ask(request.into(), Purposed::Forget, dice);
    }

    /// Somebody takes one off the list that is gone.
    pub(crate) fn remove_some_node(&mut self, dice: &mut Dice) {
        let gone: Vec<usize> = (0..self.gone.len()).collect();
        if let Some(number) = dice.pick(&gone) {
            let node = self.gone[number].clone();
            self.remove_node(&node, dice);
        }
    }

    /// A worker that runs is taken off the list; its operator makes it leave a while later.
    pub(crate) fn force_out(&mut self, again: bool, dice: &mut Dice) {
        let host = dice.below(self.hosts.len() as u64) as HostId;
        let Some(node) = self.hosts[host].node().cloned() else { return };
        if !self.may_do_without(host) || self.hosts[host].seat.is_some() {
            return;
        }
        self.say(|| format!("h{host} is taken off the list while it runs"));
        self.remove_node(&node, dice);
        let life = self.hosts[host].life;
        let later = dice.below(OUTCAST_STAYS_US);
        self.after_us(later, Happening::OutcastLeaves { host, life, again });
    }

    /// Nobody makes a node leave by force that has become a manager meanwhile (its removal may have failed, and it may
    /// have been promoted): the quorum counts on it.
    pub(crate) fn outcast_leaves(&mut self, host: HostId, life: u64, again: bool) {
        let place = &self.hosts[host];
        let manages = place.identity.as_ref().is_some_and(|identity| identity.role == NodeRole::Manager);
        if place.seat.is_none() && !manages {
            self.leaving(host, life, LEAVE_LOOKS_MAX, again);
        }
    }

    /// Who is off the list leaves, and joins again.
    pub(crate) fn outcasts_leave(&mut self) {
        let Some(manager) = self.leader().and_then(|leader| self.hosts[leader].manager.as_ref()) else { return };
        let is_out = |host: &HostId| {
            let place = &self.hosts[*host];
            let is_worker = place.up && !place.retired && place.seat.is_none();
            is_worker && place.node().is_some_and(|node| manager.facts().node(node).is_none())
        };
        let out: Vec<HostId> = (0..self.hosts.len()).filter(is_out).collect();
        for host in out {
            let life = self.hosts[host].life;
            self.leaving(host, life, LEAVE_LOOKS_MAX, true);
        }
    }

    /// Whose certificate was refused for good loses its connections with this manager, as `shell/node` cuts them.
    pub(crate) fn cut_off(&mut self, host: HostId, events: &[Event]) {
        for event in events {
            let Some(new) = event.object.get::<Cluster>() else { continue };
            let old = event.old.as_ref().and_then(|old| old.get::<Cluster>());
            let known = |node: &String| old.is_some_and(|old| old.blacklisted_certificates.contains_key(node));
            for node in new.blacklisted_certificates.keys().filter(|node| !known(node)) {
                let outcast = self.hosts.iter().position(|other| other.node().is_some_and(|own| own.as_str() == node));
                if let Some(outcast) = outcast {
                    self.break_streams_between(host, outcast);
                }
            }
        }
    }

    /// A worker is switched off for good.
    pub(crate) fn retire(&mut self, dice: &mut Dice) {
        let host = dice.below(self.hosts.len() as u64) as HostId;
        if self.may_do_without(host) && self.hosts[host].seat.is_none() {
            self.say(|| format!("h{host} retires"));
            self.lose(host);
        }
    }

    /// The disk is gone, and with it the machine.
    pub(crate) fn disk_dies(&mut self, host: HostId) {
        if self.may_do_without(host) {
            self.say(|| format!("the disk of h{host} is gone"));
            self.lose(host);
        }
    }

    fn lose(&mut self, host: HostId) {
        self.kill(host, true, None);
        let place = &mut self.hosts[host];
        self.gone.extend(place.node().cloned());
        place.retired = true;
        place.engine = Default::default();
        place.task_disk.clear();
        place.disk.wipe();
    }

    /// The others can do without it: they are enough, and nothing is on its way that counts on it.
    fn may_do_without(&self, host: HostId) -> bool {
        let place = &self.hosts[host];
        let others = self.hosts.iter().filter(|host| !host.retired).count();
        if host == 0 || place.retired || !place.up || place.lock.locked || others < 3 {
            return false;
        }
        let Some(manager) = self.leader().and_then(|leader| self.hosts[leader].manager.as_ref()) else { return false };
        let Some(node) = place.node().and_then(|node| manager.facts().node(node)) else { return false };
        let managing = place.seat.is_some() || place.told_role == Some(NodeRole::Manager);
        // A promotion that is on its way would wait for it for ever.
        let settled = node.role == node.spec.desired_role();
        if node.role == NodeRole::Worker {
            return settled && !managing;
        }
        // Two changes of the quorum at once may cost it; who has no vote yet does not make up for one that goes.
        let all_settled = manager.facts().nodes().iter().all(|node| node.role == node.spec.desired_role());
        let seats = self.hosts.iter().filter(|host| host.seat.is_some()).count();
        let members = manager.membership();
        // A member whose host left while nobody led, and came back as another node, has nobody that votes for it.
        let left = members.iter().filter(|member| {
            let place = |other: &HostId| &self.hosts[*other];
            let sits =
                |other: &HostId| place(other).seat.as_ref().map(|seat| seat.member.raft_id) == Some(member.raft_id);
            self.seats.get(&member.raft_id).is_some_and(|other| *other != host && sits(other) && !place(other).retired)
        });
        // Who is about to leave is no member for much longer.
        let none_leaves = self.hosts.iter().all(|host| !host.leaving);
        let enough = none_leaves && left.count() > members.len() / 2 && manager.voters().len() == members.len();
        settled && all_settled && enough && seats == members.len() && self.joining() == 0
    }

    /// Managers that are about to be members.
    fn joining(&self) -> usize {
        let manages = |identity: &Identity| identity.role == NodeRole::Manager;
        let joins = self.hosts.iter().filter(|host| !host.retired && host.seat.is_none());
        joins.filter(|host| host.identity.as_ref().is_some_and(manages)).count()
    }

    // ---- saying goodbye -----------------------------------------------------------------------------------------

    /// The daemon is restarted in good order.
    pub(crate) fn restart(&mut self, host: HostId, down: std::time::Duration) {
        if !self.hosts[host].up {
            return;
        }
        self.farewell(host, Reason::Restart);
        let life = self.hosts[host].life;
        self.after_us(FAREWELL_US, Happening::Stop { host, life, down });
    }

    pub(crate) fn stop(&mut self, host: HostId, life: u64, down: std::time::Duration) {
        if self.hosts[host].life == life {
            self.kill(host, false, Some(down));
        }
    }

    fn farewell(&mut self, host: HostId, reason: Reason) {
        let session = self.hosts[host].worker.as_ref().and_then(|worker| worker.session());
        let Some((_, peer, session)) = session else { return };
        let Some(at) = self.addresses.get(&peer.addr).copied() else { return };
        let request = LeaveRequest {
            reason: reason.into(),
            session_id: session.to_owned(),
            remove: false,
            hold_ms: RESTART_HOLD_MS,
        };
        self.say(|| format!("h{host} says goodbye: {reason:?}"));
        let life = self.hosts[host].life;
        let origin = Origin::Errand { life, number: 0 };
        self.call(Call { from: host, origin, at, via: None, body: Body::Leave { request } });
    }

    /// A node leaves the swarm: out of the quorum, farewell, tasks end, everything is forgotten.
    pub(crate) fn leave_some(&mut self, again: bool, dice: &mut Dice) {
        let host = dice.below(self.hosts.len() as u64) as HostId;
        if !self.may_do_without(host) || self.hosts[host].leads() {
            return;
        }
        self.say(|| format!("h{host} leaves the swarm"));
        self.hosts[host].leaving = true;
        let life = self.hosts[host].life;
        if self.hosts[host].seat.is_some()
            && let Some(at) = self.leader()
            && let Some(node) = self.hosts[host].node().cloned()
        {
            let origin = Origin::Errand { life, number: 0 };
            self.call(Call { from: host, origin, at, via: None, body: Body::LeaveQuorum { node } });
        }
        self.farewell(host, Reason::Leave);
        self.tell_worker(host, life, Input::Leave);
        self.after_us(LEAVE_LOOK_US, Happening::Leaving { host, life, looks: 0, again });
    }

    /// Once its tasks have ended (or cannot be waited for any longer) the node is none any more.
    pub(crate) fn leaving(&mut self, host: HostId, life: u64, looks: u64, again: bool) {
        let place = &mut self.hosts[host];
        if !place.up || place.life != life {
            return;
        }
        let ended =
            place.worker.as_ref().is_none_or(|worker| worker.tasks().all(|task| task.state() > TaskState::Running));
        if !ended && looks < LEAVE_LOOKS_MAX {
            return self.after_us(LEAVE_LOOK_US, Happening::Leaving { host, life, looks: looks + 1, again });
        }
        self.say(|| format!("h{host} has left"));
        let remotes = self.manager_peers();
        self.gone.extend(self.hosts[host].node().cloned());
        self.kill(host, false, None);
        let place = &mut self.hosts[host];
        place.identity = None;
        place.seat = None;
        place.lock = Default::default();
        place.disk.wipe();
        place.engine = Default::default();
        place.task_disk.clear();
        place.wanted_role = NodeRole::Worker;
        place.remotes = remotes;
        place.retired = !again;
        let life = place.life;
        if again {
            self.start_daemon(host, life);
        }
    }

    /// Managers that an operator would name to a node that joins.
    pub(crate) fn manager_peers(&self) -> Vec<types::Peer> {
        let known = self.hosts.iter().filter(|other| other.seat.is_some() && !other.retired);
        known.map(|other| types::Peer { node_id: String::new(), addr: other.address.clone() }).collect()
    }
}
