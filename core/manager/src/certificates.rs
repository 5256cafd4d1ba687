//! Certificates: requests become node objects, the shell signs what waits, and who asked hears when it is final.

use bytes::Bytes;
use rand_core::RngCore;
use skep_consensus::ProposeError;
use skep_model::pb::messages as m;
use skep_model::pb::types::NodeRole;
use skep_model::{Caller, Code, Make, NodeId, Now, Refusal};
use skep_pki::{NewRoot, RootRequest, SignFailure, Signing};
use skep_store::Read as _;
use skep_store::commands::check_docker_manager;

use crate::effect::{Answer, Effect, RequestId};
use crate::state::Manager;
use crate::waiting::{HeldWrite, WAITING_MAX};

/// Certificates that may be signed at the same time.
const SIGNING_MAX: usize = 64;

impl Manager {
    /// A node asks for a certificate, by token or with the one it has. A newcomer that does not say that it is a Skep
    /// is a Docker Engine: as a manager it is refused here already if the quorum could not take it.
    pub fn issue_certificate(
        &mut self,
        request: RequestId,
        caller: Option<&Caller>,
        make: Make,
        wanted: &m::IssueNodeCertificateRequest,
        now: Now,
        rng: &mut dyn RngCore,
    ) {
        if !self.leading {
            return self.reply(request, Err(Refusal::no_leader()));
        }
        match self.consensus.may_propose(self.role.term) {
            Ok(()) => {}
            Err(ProposeError::Transferring) if self.waiting.len() < WAITING_MAX => {
                let write = HeldWrite::Certificate(caller.cloned(), make, Box::new(wanted.clone()));
                return self.hold(request, write, now);
            }
            Err(ProposeError::NotLeader { .. } | ProposeError::StaleTerm { .. }) => {
                return self.reply(request, Err(Refusal::no_leader()));
            }
            Err(error) => return self.reply(request, Err(error.into())),
        }
        let last_index = self.consensus.last_index();
        let number = Self::request_number(rng);
        let members = self.member_views();
        let skep_nodes = &self.pace.skep_nodes;
        let done = self.ledger.transact(now, last_index, number, |tx| {
            let response = skep_pki::issue(tx, caller, wanted, rng)?;
            let newcomer = NodeId::optional(&response.node_id).filter(|_| caller.is_none() && make == Make::Docker);
            let newcomer = newcomer.filter(|id| tx.node(id).is_some_and(|node| node.role == NodeRole::Manager));
            if newcomer.is_some() {
                check_docker_manager(tx, &members, skep_nodes)?;
            }
            Ok((response, newcomer))
        });
        match done {
            Ok(((response, newcomer), entry)) => {
                if let Some(node) = newcomer {
                    self.expect_docker(node, now);
                }
                self.commit_then_answer(request, Answer::Issued(response), entry);
            }
            Err(refusal) => self.reply(request, Err(refusal)),
        }
    }

    /// A node waits for its certificate: answered when its state is final.
    pub fn certificate_status(&mut self, request: RequestId, wanted: m::NodeCertificateStatusRequest) {
        if !self.leading {
            return self.reply(request, Err(Refusal::no_leader()));
        }
        if self.waiting.certificates.len() >= WAITING_MAX {
            let refusal =
                Refusal::new(Code::ResourceExhausted, "too many nodes wait for certificates; try again later");
            return self.reply(request, Err(refusal));
        }
        self.waiting.certificates.push((request, wanted));
        self.dirty = true;
    }

    /// Answers those whose certificate has come to a final state.
    pub(crate) fn answer_certificates(&mut self) {
        let facts = self.ledger.committed();
        let mut replies = Vec::new();
        self.waiting.certificates.retain(|(request, wanted)| match skep_pki::certificate_status(facts, wanted) {
            Ok(None) => true,
            Ok(Some(response)) => {
                replies.push((*request, Ok(Answer::Certificate(Box::new(response)))));
                false
            }
            Err(refusal) => {
                replies.push((*request, Err(refusal)));
                false
            }
        });
        for (request, result) in replies {
            self.reply(request, result);
        }
    }

    /// Asks the shell to sign what waits.
    pub(crate) fn sign_waiting(&mut self) {
        if self.waiting.signing.len() >= SIGNING_MAX {
            return;
        }
        for signing in self.issuance.take(self.ledger.committed()) {
            if signing.role == NodeRole::Manager && self.withholds_membership(&signing.node) {
                self.issuance.retry(signing.node);
                continue;
            }
            let under_way = self.waiting.signing.get(&signing.node) == Some(&signing);
            if under_way {
                continue;
            }
            if self.waiting.signing.len() >= SIGNING_MAX {
                self.issuance.retry(signing.node);
                continue;
            }
            self.waiting.signing.insert(signing.node.clone(), signing.clone());
            self.effects.push(Effect::Sign(signing));
        }
    }

    /// The shell has made a root, or could not.
    pub fn root_made(&mut self, request: &RootRequest, made: Result<NewRoot, String>, now: Now, rng: &mut dyn RngCore) {
        self.dirty = true;
        let made = match made {
            Ok(made) if self.leading && self.consensus.may_propose(self.role.term).is_ok() => made,
            made => {
                self.root_change.failed(now);
                let warning = made.err().map(|reason| format!("the swarm's new root could not be made: {reason}"));
                return self.effects.extend(warning.map(Effect::Warn));
            }
        };
        let last_index = self.consensus.last_index();
        let number = Self::request_number(rng);
        let Self { ledger, root_change, .. } = self;
        let done = ledger.transact(now, last_index, number, |tx| root_change.begin(tx, request, made));
        let proposed = match done {
            Ok(((), entry)) => self.propose(entry.into_iter().collect()),
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = proposed {
            self.effects.push(Effect::Warn(format!("the swarm's new root was not stored: {refusal}")));
        }
    }

    /// The shell has signed, or could not.
    pub fn signed(&mut self, signing: &Signing, chain: Result<Bytes, SignFailure>, now: Now, rng: &mut dyn RngCore) {
        if self.waiting.signing.get(&signing.node) == Some(signing) {
            self.waiting.signing.remove(&signing.node);
        }
        self.dirty = true;
        // What cannot be stored now waits to be signed again.
        if !self.leading || self.consensus.may_propose(self.role.term).is_err() {
            return self.issuance.retry(signing.node.clone());
        }
        match &chain {
            Err(failure) if failure.is_passing => self.issuance.rest(signing.node.clone(), now),
            Ok(_) => self.issuance.rouse(),
            Err(_) => {}
        }
        let last_index = self.consensus.last_index();
        let number = Self::request_number(rng);
        let done = self.ledger.transact(now, last_index, number, |tx| match chain {
            Ok(chain) => skep_pki::signed(tx, signing, chain),
            Err(failure) if failure.is_passing => skep_pki::sign_delayed(tx, signing, &failure.reason),
            Err(failure) => skep_pki::sign_failed(tx, signing, &failure.reason),
        });
        let proposed = match done {
            Ok(((), entry)) => self.propose(entry.into_iter().collect()),
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = proposed {
            self.issuance.retry(signing.node.clone());
            self.effects.push(Effect::Warn(format!("the certificate of {} was not stored: {refusal}", signing.node)));
        }
    }
}
