//! What is committed becomes fact: events wake the deciders, and whoever waited is answered.

use rand_core::RngCore;
use skep_consensus::{Committed, Payload};
use skep_model::{Cluster, Code, Refusal};
use skep_store::{CommitError, Event, Kind, Read as _};

use crate::effect::Effect;
use crate::state::Manager;

impl Manager {
    pub(crate) fn apply(&mut self, committed: Committed, rng: &mut dyn RngCore) {
        let index = committed.index;
        self.applied = index;
        match committed.payload {
            // It may say that who left may hear of it.
            Payload::Empty => self.tell_members(),
            Payload::Data(bytes) => self.apply_entry(index, bytes),
            Payload::Membership { request_id, change } => self.apply_membership(request_id, change, rng),
            Payload::Unusable { reason } => {
                self.effects.push(Effect::Warn(format!("log entry {index} is of no use: {reason}")));
            }
        }
        self.close_until(index);
    }

    fn apply_entry(&mut self, index: u64, bytes: bytes::Bytes) {
        match self.ledger.commit_payload(bytes) {
            Ok((id, events)) => {
                self.lists.observe(&events);
                self.follow_policy(&events);
                self.pace.is_stale |=
                    events.iter().any(|event| matches!(event.object.kind(), Kind::Cluster | Kind::Node));
                self.observe(&events);
                if !events.is_empty() {
                    self.effects.push(Effect::Changed { index, events });
                }
                let open = self.waiting.open.remove(&id).map(|(proposed, _)| proposed);
                for (request, answer) in self.waiting.commits.remove(&id).or(open).unwrap_or_default().answers {
                    self.effects.push(Effect::Reply { request, result: Ok(answer) });
                }
            }
            // Every member comes to the same result, so the index is consumed and the log goes on (interop §5.5).
            Err(error) => self.skip_entry(index, &error),
        }
    }

    fn skip_entry(&mut self, index: u64, error: &CommitError) {
        self.effects.push(Effect::Warn(format!("log entry {index} changed nothing: {error}")));
        if self.leading {
            // It may have been our own: what was decided upon it is void.
            self.void_proposals(&Refusal::new(
                Code::Aborted,
                "the change did not fit the state of the swarm; try again",
            ));
        }
    }

    /// How often the log is cut is the cluster's to say, on followers too.
    fn follow_policy(&mut self, events: &[Event]) {
        if events.iter().any(|event| event.object.get::<Cluster>().is_some()) {
            self.read_snapshot_policy();
        }
    }

    /// Takes the snapshot policy from the facts, where they have one.
    pub(crate) fn read_snapshot_policy(&mut self) {
        let cluster = self.ledger.committed().cluster();
        if let Some(raft) = cluster.as_ref().and_then(|cluster| cluster.spec.raft.as_ref()) {
            self.consensus.set_snapshot_policy(raft.snapshot_interval, raft.log_entries_for_slow_followers);
        }
    }

    fn observe(&mut self, events: &[Event]) {
        if !self.leading {
            return;
        }
        self.dirty = true;
        for event in events {
            self.network.observe(event);
            self.orchestrator.observe(event);
            self.scheduler.observe(event);
            self.dispatcher.observe(event);
            self.roles.observe(event);
            self.issuance.observe(event);
            self.newcomers.observe(event);
            self.root_change.observe(event);
        }
    }
}
