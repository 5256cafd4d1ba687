//! How a host gets its certificate and its place in the quorum, and loses them: what `shell/node` does.

use skep_consensus::Member;
use skep_manager::Answer;
use skep_model::pb::messages as m;
use skep_model::pb::types::NodeRole;
use skep_model::pb::types::issuance_status::State;
use skep_model::{Code, Node, NodeId, RaftId, Refusal};

use super::calls::{Body, Call, Origin};
use super::{Happening, World};
use crate::host::{Errand, Identity, Seat};
use crate::issuers::Certificate;
use crate::network::HostId;
use crate::plant::Plant;

/// An errand that was not answered is run again, to another manager.
const ERRAND_TIMEOUT_US: u64 = 5_000_000;
/// Pause after a refusal.
const ERRAND_PAUSE_US: u64 = 700_000;

impl World {
    /// Looks at what the host needs next.
    pub(crate) fn next_errand(&mut self, host: HostId) {
        let place = &self.hosts[host];
        if !place.up || place.leaving || place.errand != Errand::None {
            return;
        }
        let errand = match (&place.identity, &place.seat) {
            (Some(identity), _) if place.told_to_renew || place.told_role.is_some_and(|told| told != identity.role) => {
                self.hosts[host].promised = Some(identity.node.clone());
                Errand::Issue
            }
            (None, _) if place.promised.is_some() => Errand::Status,
            (None, _) => Errand::Issue,
            (Some(identity), None) if identity.role == NodeRole::Manager => Errand::Join,
            _ => return,
        };
        self.run_errand(host, errand);
    }

    fn run_errand(&mut self, host: HostId, errand: Errand) {
        let number = self.next_number();
        let place = &mut self.hosts[host];
        place.errand = errand;
        place.errand_number = number;
        let life = place.life;
        self.after_us(ERRAND_TIMEOUT_US, Happening::ErrandDue { host, life, number });
        let place = &self.hosts[host];
        let managers: Vec<HostId> =
            place.remotes.iter().filter_map(|peer| self.addresses.get(&peer.addr).copied()).collect();
        let Some(at) = self.dice.hosts.pick(&managers) else { return };
        if errand == Errand::Issue {
            self.copy_tokens();
        }
        let place = &self.hosts[host];
        let body = match errand {
            Errand::None => return,
            Errand::Issue => {
                let renews = place.identity.is_some();
                let manager = place.wanted_role == NodeRole::Manager;
                let token = if manager { self.tokens.manager.clone() } else { self.tokens.worker.clone() };
                let token = if renews { String::new() } else { token };
                let trusts = if renews { place.trusts } else { self.root_of_token(&token) };
                let csr = bytes::Bytes::from(format!("request {number} of {}", place.address));
                let request = m::IssueNodeCertificateRequest { csr, token, ..Default::default() };
                self.hosts[host].trusts = trusts;
                // What is asked for from here on is another one, though this one comes first.
                self.hosts[host].told_to_renew = false;
                Body::Issue { renews, request }
            }
            Errand::Status => {
                let node_id = place.promised.as_ref().map(ToString::to_string).unwrap_or_default();
                Body::CertificateStatus { request: m::NodeCertificateStatusRequest { node_id } }
            }
            Errand::Join => {
                let Some(node) = place.node().cloned() else { return };
                Body::Join { node, address: place.address.clone() }
            }
        };
        self.call(Call { from: host, origin: Origin::Errand { life, number }, at, via: None, body });
    }

    /// No answer came, or the pause is over.
    pub(crate) fn errand_due(&mut self, host: HostId, life: u64, number: u64) {
        let place = &mut self.hosts[host];
        if !place.up || place.life != life || place.errand_number != number || place.errand == Errand::None {
            return;
        }
        let errand = place.errand;
        // Whoever has no certificate yet is told by its operator where the managers are.
        if place.identity.is_none() && !self.manager_peers().is_empty() {
            self.hosts[host].remotes = self.manager_peers();
        }
        self.run_errand(host, errand);
    }

    pub(crate) fn errand_answer(&mut self, host: HostId, life: u64, number: u64, result: Result<Answer, Refusal>) {
        let place = &self.hosts[host];
        if !place.up || place.life != life || place.errand_number != number {
            return;
        }
        match (place.errand, result) {
            (Errand::Issue, Ok(Answer::Issued(response))) => {
                self.hosts[host].promised = NodeId::optional(&response.node_id);
                self.run_errand(host, Errand::Status);
            }
            (Errand::Status, Ok(Answer::Certificate(response))) => self.certified(host, &response),
            (Errand::Join, Ok(Answer::Joined(response))) => self.joined(host, response),
            (errand, result) => {
                // The node was taken off the list before it had its certificate: it asks anew.
                let missing = result.as_ref().is_err_and(|refusal| refusal.code == Code::NotFound);
                if errand == Errand::Status && missing && place.identity.is_none() {
                    self.hosts[host].promised = None;
                    self.hosts[host].errand = Errand::Issue;
                }
                self.say(|| format!("h{host} {errand:?}: {:?}", result.err()));
                self.after_us(ERRAND_PAUSE_US, Happening::ErrandDue { host, life, number });
            }
        }
    }

    fn certified(&mut self, host: HostId, response: &m::NodeCertificateStatusResponse) {
        let role = response.certificate.as_ref().map_or(NodeRole::Worker, |certificate| certificate.role());
        let chain =
            response.certificate.as_ref().map(|certificate| certificate.certificate.clone()).unwrap_or_default();
        let certificate = Certificate::read(&chain);
        let place = &mut self.hosts[host];
        // As the daemon does: what it does not trust itself it does not use, and asks again.
        if certificate.is_some_and(|certificate| !certificate.stands_under(place.trusts)) {
            let (life, number, trusts) = (place.life, place.errand_number, place.trusts);
            place.errand = Errand::Issue;
            self.say(|| format!("h{host} trusts {trusts}, and does not use {certificate:?}"));
            return self.after_us(ERRAND_PAUSE_US, Happening::ErrandDue { host, life, number });
        }
        place.errand = Errand::None;
        let Some(node) = place.promised.take() else { return };
        // Asked for anew before this one was signed: it is asked for again.
        let Some(certificate) = certificate else { return self.next_errand(host) };
        let fresh = place.identity.is_none();
        self.say(|| format!("h{host} is {node}, {role:?} of {:?}", certificate.issuer));
        self.hosts[host].identity = Some(Identity { node, role, certificate });
        self.judge_acceptance(host);
        if fresh {
            self.start_worker(host);
        } else {
            self.describe(host);
        }
        if role == NodeRole::Worker {
            let life = self.hosts[host].manager_life;
            self.stop_manager(host, life);
        }
        self.next_errand(host);
    }

    fn joined(&mut self, host: HostId, response: m::JoinResponse) {
        let place = &mut self.hosts[host];
        place.errand = Errand::None;
        let Some(node_id) = place.node().cloned() else { return };
        let member = Member { raft_id: RaftId(response.raft_id), node_id, addr: place.address.clone() };
        let members = response.members.into_iter().filter_map(|member| Member::try_from(member).ok()).collect();
        let removed = response.removed_members.into_iter().map(RaftId).collect();
        self.say(|| format!("h{host} joins the quorum as {}", member.raft_id));
        self.seats.insert(member.raft_id, host);
        self.hosts[host].disk.wipe();
        self.hosts[host].seat = Some(Seat { member, members, removed });
        self.start_manager(host, None);
    }

    /// The manager's word about this node: a change of role asks for another certificate.
    pub(crate) fn node_changed(&mut self, host: HostId, node: &Node) {
        let Some(identity) = self.hosts[host].identity.clone() else { return };
        let to_be_demoted = node.spec.desired_role() == NodeRole::Worker;
        if self.plant == Some(Plant::EarlyStop) && to_be_demoted && identity.role == NodeRole::Manager {
            let life = self.hosts[host].manager_life;
            return self.stop_manager(host, life);
        }
        self.hosts[host].told_role = Some(node.role);
        let state = node.certificate.status.as_ref().map(|status| status.state());
        let renews = state == Some(State::Rotate);
        self.hosts[host].told_to_renew = renews;
        // A request for a certificate is on its way: the renewal itself changes the node, too.
        if (renews || node.role != identity.role) && matches!(self.hosts[host].errand, Errand::None | Errand::Join) {
            self.hosts[host].errand = Errand::None;
            self.next_errand(host);
        }
    }

    /// The manager is none any more: its log goes, the worker stays.
    pub(crate) fn stop_manager(&mut self, host: HostId, life: u64) {
        if self.hosts[host].manager_life != life || self.hosts[host].seat.is_none() {
            return;
        }
        self.say(|| format!("h{host} is no manager any more"));
        self.reset_peers(host);
        self.forget_manager(host);
        self.hosts[host].disk.wipe();
        self.hosts[host].seat = None;
        self.next_errand(host);
    }
}
