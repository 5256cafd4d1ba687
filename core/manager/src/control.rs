//! What users ask: writes are proposed and answered when committed, reads when they are known to be current.

use std::cell::Cell;

use rand_core::RngCore;
use skep_consensus::ProposeError;
use skep_model::pb::messages::list_tasks_request;
use skep_model::pb::types::CaConfig;
use skep_model::{Cluster, Code, ControlKind, ControlRequest, ControlResponse, Now, Refusal};
use skep_pki::{FINDINGS_MAX, Findings, Obstacle};
use skep_store::Entry;
use skep_store::commands::{self, CommandContext, MemberView};

use crate::authority::undecided;
use crate::effect::{Answer, Effect, RequestId};
use crate::leading::tell_of_nodes;
use crate::state::Manager;
use crate::waiting::{HeldWrite, Inquiring, ListLater, PreparedRead, ReadWait, WAITING_MAX};

/// Reads that are answered before they are confirmed: each holds its answer meanwhile.
const PREPARED_READS_MAX: usize = 16;

impl Manager {
    /// Carries out one request; the answer comes as `Effect::Reply`. On a follower only reads without a leader are
    /// answered (from local state, marked stale); the shell passes everything else on to the leader.
    pub fn control(&mut self, request: RequestId, command: ControlRequest, now: Now, rng: &mut dyn RngCore) {
        if let Err(refusal) = self.has_room() {
            return self.reply(request, Err(refusal));
        }
        match command.kind() {
            ControlKind::Read => self.read(request, command, now, rng),
            ControlKind::Write => self.write(request, command, now, rng),
        }
    }

    /// The read of a list of tasks, answered with the tasks as they are stored, the first ones at once and the others as
    /// `Effect::MoreTasks`. Who only answers others' questions need not copy 100,000 of them in the manager's own time.
    pub fn list_tasks(&mut self, request: RequestId, filters: list_tasks_request::Filters) {
        if let Err(refusal) = self.has_room() {
            return self.reply(request, Err(refusal));
        }
        if self.leading {
            return self.confirm(request, ReadWait::Tasks(Box::new(filters)));
        }
        self.begin_list(request, filters, true);
    }

    /// A follower reads, and asks how far it must have applied the log for that.
    pub fn read_point(&mut self, request: RequestId) {
        if let Err(refusal) = self.has_room() {
            return self.reply(request, Err(refusal));
        }
        match self.leading {
            true => self.confirm(request, ReadWait::Point),
            false => self.reply(request, Err(Refusal::no_leader())),
        }
    }

    /// As `list_tasks`, on a follower that knows from its leader's `read_point` how far it must have applied the log:
    /// answered then, and current.
    pub fn list_tasks_at(&mut self, request: RequestId, filters: list_tasks_request::Filters, applied: u64) {
        if let Err(refusal) = self.has_room() {
            return self.reply(request, Err(refusal));
        }
        self.waiting.lists.push(ListLater { applied, request, filters });
        self.answer_lists();
    }

    /// Answers the lists that waited for what was just applied.
    pub(crate) fn answer_lists(&mut self) {
        if self.waiting.lists.is_empty() {
            return;
        }
        let applied = self.applied;
        let due: Vec<ListLater> = self.waiting.lists.extract_if(.., |list| list.applied <= applied).collect();
        for ListLater { request, filters, .. } in due {
            self.begin_list(request, filters, false);
        }
    }

    fn has_room(&self) -> Result<(), Refusal> {
        if self.waiting.len() + self.lists.queued() < WAITING_MAX {
            return Ok(());
        }
        let message = format!("{WAITING_MAX} requests already wait for a quorum of managers; try again later");
        Err(Refusal::new(Code::ResourceExhausted, message))
    }

    pub(crate) fn write(&mut self, request: RequestId, command: ControlRequest, now: Now, rng: &mut dyn RngCore) {
        self.write_knowing(request, command, Findings::new(), now, rng);
    }

    /// As `write`, when something was found out that the command depends on.
    pub(crate) fn write_knowing(
        &mut self,
        request: RequestId,
        command: ControlRequest,
        findings: Findings,
        now: Now,
        rng: &mut dyn RngCore,
    ) {
        if !self.leading {
            return self.reply(request, Err(Refusal::no_leader()));
        }
        match self.consensus.may_propose(self.role.term) {
            Ok(()) => {}
            Err(ProposeError::Transferring) => return self.hold(request, HeldWrite::Control(command), now),
            Err(ProposeError::NotLeader { .. } | ProposeError::StaleTerm { .. }) => {
                return self.reply(request, Err(Refusal::no_leader()));
            }
            Err(error) => return self.reply(request, Err(error.into())),
        }
        let members = self.member_views();
        let (expiry, extended_constraints) = (self.certificate_expiry, self.only_skep());
        let skep_nodes = self.pace.skep_nodes.clone();
        let last_index = self.consensus.last_index();
        let number = Self::request_number(rng);
        // Only settings of the cluster can need more than the facts.
        let again = matches!(command, ControlRequest::UpdateCluster(_)).then(|| command.clone());
        let unknown = Cell::new(None);
        let roots = self.roots;
        let root_under = |cluster: &Cluster, config: &CaConfig| {
            skep_pki::root_under(cluster, config, roots, now.wall, &findings).map_err(|obstacle| match obstacle {
                Obstacle::Refused(refusal) => refusal,
                Obstacle::Unknown(inquiry) => {
                    unknown.set(Some(*inquiry));
                    undecided()
                }
            })
        };
        let Self { ledger, network, orchestrator, scheduler, .. } = self;
        let done = ledger.transact(now, last_index, number, |tx| {
            let begin = tx.mark();
            let mut context = CommandContext {
                now,
                rng: &mut *rng,
                members: &members,
                certificate_expiry: &expiry,
                root_under: &root_under,
                extended_constraints,
                skep_nodes: &skep_nodes,
            };
            let response = commands::execute(tx, &mut context, command)?;
            // The deciders' next turn may come before this is committed.
            tell_of_nodes(tx, begin, network, orchestrator, scheduler);
            Ok::<_, Refusal>(response)
        });
        if let (Some(inquiry), Some(command)) = (unknown.take(), again)
            && findings.len() < FINDINGS_MAX
        {
            return self.inquire(Inquiring { request, command, findings, inquiry }, rng);
        }
        match done {
            Ok((response, entry)) => {
                self.commit_then_answer(request, Answer::Control { response: Box::new(response), stale: false }, entry);
            }
            Err(refusal) => self.confirm(request, ReadWait::Decided(Box::new(Err(refusal)))),
        }
    }

    /// The answer goes out when the entry is committed; without an entry nothing was changed, and it goes out as a
    /// read does.
    pub(crate) fn commit_then_answer(&mut self, request: RequestId, answer: Answer, entry: Option<Entry>) {
        let Some(entry) = entry else { return self.confirm(request, ReadWait::Decided(Box::new(Ok(answer)))) };
        let id = entry.id;
        self.waiting.commits.entry(id).or_default().answers.push((request, answer));
        // A refusal takes the entry back, and so answers the request.
        if self.propose(vec![entry]).is_ok() {
            self.dirty = true;
        }
    }

    fn read(&mut self, request: RequestId, command: ControlRequest, now: Now, rng: &mut dyn RngCore) {
        if !self.leading {
            let result = self
                .query(command, now, rng)
                .map(|response| Answer::Control { response: Box::new(response), stale: true });
            // A refusal cannot say that it may be out of date: what is not found here may exist all the same.
            let result = result.map_err(|refusal| match refusal.code {
                Code::NotFound => Refusal::no_leader(),
                _ => refusal,
            });
            return self.reply(request, result);
        }
        self.confirm(request, ReadWait::Query(Box::new(command), None));
    }

    /// Answers once a quorum says that this manager leads still: a deposed leader, which does not know it yet, would
    /// call missing what its successor has made.
    fn confirm(&mut self, request: RequestId, wait: ReadWait) {
        self.next_read += 1;
        match self.consensus.read_index(self.next_read) {
            Ok(()) => {
                self.waiting.reads.insert(self.next_read, (request, wait));
            }
            Err(error) => self.reply(request, Err(Refusal::new(Code::Unavailable, error.to_string()))),
        }
    }

    /// Reads already what waits for its confirmation, which takes a round trip: call it when there is nothing else to
    /// do. A change in between makes it be read again.
    pub fn prepare_reads(&mut self, now: Now, rng: &mut dyn RngCore) {
        let mut reads = std::mem::take(&mut self.waiting.reads);
        let is_prepared = |wait: &ReadWait| matches!(wait, ReadWait::Query(_, Some(_)));
        let room = PREPARED_READS_MAX.saturating_sub(reads.values().filter(|(_, wait)| is_prepared(wait)).count());
        let unprepared = reads.values_mut().filter_map(|(_, wait)| match wait {
            ReadWait::Query(command, prepared @ None) => Some((command, prepared)),
            _ => None,
        });
        for (command, prepared) in unprepared.take(room) {
            let result = self.query((**command).clone(), now, rng);
            *prepared = Some(Box::new(PreparedRead { applied: self.applied, result }));
        }
        self.waiting.reads = reads;
    }

    pub(crate) fn answer_read(&mut self, number: u64, index: u64, now: Now, rng: &mut dyn RngCore) {
        let Some((request, wait)) = self.waiting.reads.remove(&number) else { return };
        let result = match wait {
            ReadWait::Query(command, prepared) => match prepared.filter(|read| read.applied == self.applied) {
                Some(read) => read.result,
                None => self.query(*command, now, rng),
            }
            .map(|response| Answer::Control { response: Box::new(response), stale: false }),
            ReadWait::Tasks(filters) => return self.begin_list(request, *filters, false),
            ReadWait::Point => Ok(Answer::ReadPoint(index)),
            ReadWait::Decided(result) => *result,
        };
        self.reply(request, result);
    }

    fn query(&self, command: ControlRequest, now: Now, rng: &mut dyn RngCore) -> Result<ControlResponse, Refusal> {
        let members: Vec<MemberView> = self.member_views();
        let context = CommandContext {
            now,
            rng,
            members: &members,
            certificate_expiry: &self.certificate_expiry,
            root_under: &|cluster, _| Ok(cluster.root_ca.clone()),
            extended_constraints: self.only_skep(),
            skep_nodes: &self.pace.skep_nodes,
        };
        commands::query(self.ledger.committed(), &context, command)
    }

    pub(crate) fn reply(&mut self, request: RequestId, result: Result<Answer, Refusal>) {
        self.effects.push(Effect::Reply { request, result });
    }
}
