//! Another root for the swarm: operators ask for it, managers make it, nodes take it; and who can talk to whom.

use std::time::Duration;

use skep_dispatch::worker::Input;
use skep_manager::{Finding, Inquiry, RootReader, RootRequest};
use skep_model::pb::types::{JoinTokens, NodeTlsInfo};
use skep_model::{Code, Refusal, WallTime};
use skep_pki::{Next, Present, RootDigest, RootFacts, token};
use skep_store::Read as _;

use super::calls::{Body, Call, Origin};
use super::locks::ClusterChange;
use super::nodes::LEAVE_LOOKS_MAX;
use super::{Happening, World};
use crate::issuers::{self, RootId};
use crate::network::HostId;
use crate::scenario::BroughtRoot;

/// A root that cannot be made, in a thousand.
const FAILS_PERMILLE: u64 = 100;
/// A root that an operator brings is good for so long.
const ROOT_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Reads the roots that operators bring.
pub(crate) const READER: RootReader = RootReader {
    normalized: bytes::Bytes::copy_from_slice,
    after_first: issuers::after_first,
    root: |certificate, key, now| match RootId::read(certificate) {
        Some(root) if root.key() == key => {
            let life = i64::try_from(ROOT_LIFE.as_nanos()).unwrap_or(i64::MAX);
            Ok(RootFacts { certificates: 1, expires: WallTime(now.0.saturating_add(life)) })
        }
        _ => Err("certificate key mismatch".to_owned()),
    },
    issuer: |certificate| RootId::read(certificate).map(RootId::identity),
};

/// A root that a manager sent is saved after this.
const SAVED_AFTER_US: u64 = 1_000;

impl World {
    /// A manager's shell makes a root.
    pub(crate) fn make_root(&mut self, host: HostId, request: RootRequest) {
        let life = self.hosts[host].manager_life;
        let delay = self.dice.hosts.micros(5_000, 300_000);
        self.after(delay, Happening::RootMade { host, life, request: Box::new(request) });
    }

    pub(crate) fn root_made(&mut self, host: HostId, life: u64, request: &RootRequest) {
        if !self.is_manager(host, life) {
            return;
        }
        self.roots += 1;
        let root = RootId::made(self.roots);
        let fails = self.dice.hosts.permille(FAILS_PERMILLE);
        let made = match RootId::read(&request.certificate).filter(|_| !fails) {
            Some(present) => Ok(root.vouched_for(present)),
            None => Err("no entropy".to_owned()),
        };
        self.say(|| format!("h{host} makes {root}: {}", made.is_ok()));
        let now = self.now_at(host);
        let place = &mut self.hosts[host];
        if let Some(manager) = &mut place.manager {
            manager.root_made(request, made, now, place.dice.source());
        }
        self.want_turn(host);
    }

    /// A manager's shell is to find something out: whether the present root vouches for the one that is brought.
    pub(crate) fn inquire(&mut self, host: HostId, number: u64, inquiry: Inquiry) {
        let life = self.hosts[host].manager_life;
        let delay = self.dice.hosts.micros(1_000, 300_000);
        self.after(delay, Happening::Inquired { host, life, number, inquiry: Box::new(inquiry) });
    }

    pub(crate) fn inquired(&mut self, host: HostId, life: u64, number: u64, inquiry: &Inquiry) {
        if !self.is_manager(host, life) {
            return;
        }
        let made = match inquiry {
            Inquiry::Vouch(Present::Own(present, _), Next::Given(next, _)) => {
                RootId::read(next).zip(RootId::read(present)).map(|(next, present)| next.vouched_for(present))
            }
            _ => None,
        };
        let finding = Finding::Vouched(made.ok_or_else(|| "there are no external CAs here".to_owned()));
        let now = self.now_at(host);
        let place = &mut self.hosts[host];
        if let Some(manager) = &mut place.manager {
            manager.inquired(number, finding, now, place.dice.source());
        }
        self.want_turn(host);
    }

    /// What an operator writes who brings a root, the last one or another; or who brings the present one again, which
    /// calls a change off.
    pub(crate) fn root_to_bring(&mut self, which: BroughtRoot) -> ClusterChange {
        if which == BroughtRoot::Another {
            self.brought += 1;
        }
        ClusterChange::BringRoot(Some(RootId::brought(self.brought)).filter(|_| which != BroughtRoot::Present))
    }

    /// A manager sent another root: it is taken if the node's own certificate stands under it.
    pub(crate) fn take_root(&mut self, host: HostId, life: u64, certificate: bytes::Bytes) {
        let place = &mut self.hosts[host];
        let Some(root) = RootId::read(&certificate).filter(|_| place.up && place.life == life) else { return };
        if place.identity.as_ref().is_none_or(|identity| !identity.certificate.stands_under(root)) {
            return self.say(|| format!("h{host} does not take {root}"));
        }
        place.trusts = root;
        self.say(|| format!("h{host} trusts {root}"));
        self.judge_acceptance(host);
        self.tell_worker(host, life, Input::RootSaved(certificate));
        self.describe(host);
    }

    pub(crate) fn root_arrives(&mut self, host: HostId, root: bytes::Bytes) {
        let life = self.hosts[host].life;
        self.after_us(SAVED_AFTER_US, Happening::RootTaken { host, life, root });
    }

    /// The worker says what its host has by now.
    pub(crate) fn describe(&mut self, host: HostId) {
        let life = self.hosts[host].life;
        let description = self.description(host);
        self.tell_worker(host, life, Input::Described(description));
    }

    pub(crate) fn tls_info(&self, host: HostId) -> Option<NodeTlsInfo> {
        let place = &self.hosts[host];
        let issuer = place.identity.as_ref()?.certificate.issuer.identity();
        Some(NodeTlsInfo {
            trust_root: place.trusts.certificate(),
            cert_issuer_subject: issuer.subject,
            cert_issuer_public_key: issuer.public_key,
        })
    }

    // ---- who can talk to whom -----------------------------------------------------------------------------------

    /// Whether two hosts that have certificates accept each other's.
    pub(crate) fn know_each_other(&self, one: HostId, other: HostId) -> bool {
        let accepts = |by: HostId, whose: HostId| {
            let certificate = self.hosts[whose].identity.as_ref().map(|identity| identity.certificate);
            certificate.is_some_and(|certificate| certificate.stands_under(self.hosts[by].trusts))
        };
        one == other || accepts(one, other) && accepts(other, one)
    }

    /// What TLS says to a call; whoever has no certificate yet goes by its token.
    pub(crate) fn handshake(&self, call: &Call) -> Result<(), Refusal> {
        let (from, at) = (call.via.unwrap_or(call.from), call.at);
        let is_connecting = match (&call.body, call.origin) {
            (Body::Session { .. }, _) | (_, Origin::Errand { .. }) => true,
            // Clients have sockets of their own; the rest of a session goes over its connection.
            _ => call.via.is_some(),
        };
        if !is_connecting {
            return Ok(());
        }
        let fine = match (&self.hosts[from].identity, &call.body) {
            (Some(_), _) => self.know_each_other(from, at),
            (None, body) => {
                // A newcomer fetches the root that its token names, and then looks whether the manager is of it.
                let trusts = self.hosts[from].trusts;
                let fetched = !matches!(body, Body::Issue { .. }) || self.root_at(at) == trusts;
                fetched && self.hosts[at].identity.as_ref().is_some_and(|it| it.certificate.stands_under(trusts))
            }
        };
        if fine { Ok(()) } else { Err(Refusal::new(Code::Unavailable, "certificate signed by unknown authority")) }
    }

    /// The root that a token names.
    pub(crate) fn root_of_token(&self, text: &str) -> RootId {
        let digest = token::parse(text).ok().map(|token| token.root);
        let is_named = |root: &RootId| digest == Some(RootDigest::of(&root.certificate()));
        let brought = (0..=self.brought).map(RootId::brought);
        (0..=self.roots).map(RootId::made).chain(brought).find(is_named).unwrap_or_default()
    }

    /// What a manager gives out as the swarm's root.
    fn root_at(&self, at: HostId) -> RootId {
        let cluster = self.hosts[at].manager.as_ref().and_then(|manager| manager.facts().cluster());
        cluster.and_then(|cluster| RootId::read(&cluster.root_ca.ca_cert)).unwrap_or(self.hosts[at].trusts)
    }

    /// The tokens that an operator copies from the managers, if they can tell.
    pub(crate) fn copy_tokens(&mut self) {
        let manager = self.leader().and_then(|leader| self.hosts[leader].manager.as_ref());
        let tokens: Option<JoinTokens> = manager
            .and_then(|manager| manager.facts().cluster())
            .and_then(|cluster| cluster.root_ca.join_tokens.clone());
        if let Some(tokens) = tokens {
            self.tokens = tokens;
        }
    }

    // ---- laws and remedies --------------------------------------------------------------------------------------

    /// The root was changed: whoever counts has a certificate of the new one.
    pub(crate) fn judge_new_root(&mut self) {
        let Some(root) = self.oracle.roots().take_new() else { return };
        self.say(|| format!("the root is {root}"));
        let verdict =
            self.hosts.iter().enumerate().filter(|(_, place)| !place.retired).try_for_each(|(host, place)| {
                let Some(identity) = &place.identity else { return Ok(()) };
                self.oracle.is_taken_along(host, &identity.node, identity.certificate, root)
            });
        self.check(verdict);
    }

    /// A node has another certificate, or trusts another root: it and the managers accept each other, and if it is a
    /// manager itself, it and whoever is a node.
    pub(crate) fn judge_acceptance(&mut self, host: HostId) {
        let place = |other: HostId| {
            let place = &self.hosts[other];
            place.node().filter(|_| !place.retired && !place.leaving).map(|node| (other, node))
        };
        let verdict = place(host).map_or(Ok(()), |own| {
            (0..self.hosts.len())
                .filter_map(place)
                .try_for_each(|other| self.oracle.accept_each_other([own, other], self.know_each_other(own.0, other.0)))
        });
        self.check(verdict);
    }

    /// A node that had said farewell is not waited for by a change of root: once no manager has a certificate any more
    /// that its root vouches for, its operator lets it join anew.
    pub(crate) fn strangers_join_anew(&mut self) {
        let Some(leader) = self.leader() else { return };
        let Some(manager) = &self.hosts[leader].manager else { return };
        let members: Vec<HostId> =
            manager.membership().iter().filter_map(|member| self.seats.get(&member.raft_id).copied()).collect();
        let is_stranger = |host: &HostId| {
            let place = &self.hosts[*host];
            let Some(node) = place.node().filter(|_| place.up && !place.retired) else { return false };
            let had_left = manager.facts().node(node).is_some_and(|node| node.has_left());
            let others = members.iter().filter(|member| *member != host);
            had_left
                && others.clone().count() > 0
                && !others.into_iter().any(|member| self.know_each_other(*host, *member))
        };
        let strangers: Vec<HostId> = (0..self.hosts.len()).filter(is_stranger).collect();
        for host in strangers {
            self.say(|| format!("h{host} and the managers are of different roots"));
            let life = self.hosts[host].life;
            self.leaving(host, life, LEAVE_LOOKS_MAX, true);
        }
    }
}
