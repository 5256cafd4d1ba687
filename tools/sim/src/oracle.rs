//! Who knows the truth: an own copy of the facts, built from what managers have applied, and every law about it.

use bytes::Bytes;
use skep_consensus::{EntryKind, LogEntry, Membership, Persist, Role};
use skep_model::pb::messages::AssignmentsMessage;
use skep_model::{NodeId, Time};
use skep_store::{Entry, Event, Read as _, Store};

use crate::invariants::committed_never_differs::CommittedNeverDiffers;
use crate::invariants::no_stale_append::NoStaleAppend;
use crate::invariants::one_leader_per_term::OneLeaderPerTerm;
use crate::invariants::reads_are_current::PutBack;
use crate::invariants::root_kept_while_used::RootKeptWhileUsed;
use crate::invariants::secret_only_where_needed::SecretOnlyWhereNeeded;
use crate::invariants::unlock_key_was_told::UnlockKeyWasTold;
use crate::invariants::{self, Invariant, Verdict, Violation};
use crate::issuers::{Certificate, RootId};
use crate::journal::Journal;
use crate::network::HostId;
use crate::read_once::ReadOnce;

/// The oracle.
pub(crate) struct Oracle {
    store: Store,
    read_once: ReadOnce,
    applied: u64,
    laws: Vec<Box<dyn Invariant>>,
    leaders: OneLeaderPerTerm,
    appends: NoStaleAppend,
    truth: CommittedNeverDiffers,
    secrets: SecretOnlyWhereNeeded,
    keys: UnlockKeyWasTold,
    roots: RootKeptWhileUsed,
    put_back: PutBack,
    membership: Option<(u64, Membership)>,
}

impl Oracle {
    pub fn new(read_once: ReadOnce, clocks_agree: bool) -> Self {
        Self {
            store: Store::new(),
            read_once,
            applied: 0,
            laws: invariants::all(clocks_agree),
            leaders: OneLeaderPerTerm::default(),
            appends: NoStaleAppend::default(),
            truth: CommittedNeverDiffers::default(),
            secrets: SecretOnlyWhereNeeded::default(),
            keys: UnlockKeyWasTold::default(),
            roots: RootKeptWhileUsed::default(),
            put_back: PutBack::default(),
            membership: None,
        }
    }

    pub fn role(&mut self, host: HostId, role: Role) -> Verdict {
        self.appends.learned(host, role.term);
        if role.is_leader { self.leaders.leads(host, role.term) } else { Ok(()) }
    }

    pub fn persisting(&mut self, host: HostId, persist: &Persist) -> Verdict {
        let leaders = &self.leaders;
        self.appends.persisting(host, persist, |term| leaders.of(term))
    }

    /// A manager's turn is over: from now on it knows what it learned in it.
    pub fn turn_done(&mut self, host: HostId) {
        self.appends.settle(host);
    }

    /// A manager is gone: what it learned in its last turn, it no longer knows.
    pub fn manager_gone(&mut self, host: HostId) {
        self.appends.forget(host);
    }

    pub fn assignments(&mut self, stream: u64, message: &AssignmentsMessage) -> Verdict {
        self.secrets.sent(stream, message)
    }

    /// A manager waits for this key.
    pub fn locked(&self, host: HostId, key: &Bytes) -> Verdict {
        self.keys.locked(host, key)
    }

    /// What is known of the swarm's root.
    pub fn roots(&mut self) -> &mut RootKeptWhileUsed {
        &mut self.roots
    }

    /// The root was changed, and a host has this certificate.
    pub fn is_taken_along(&self, host: HostId, node: &NodeId, certificate: Certificate, root: RootId) -> Verdict {
        RootKeptWhileUsed::is_taken_along(&self.store, host, node, certificate, root)
    }

    /// See the law.
    pub fn accept_each_other(&self, nodes: [(HostId, &NodeId); 2], accept: bool) -> Verdict {
        RootKeptWhileUsed::accept_each_other(&self.store, nodes, accept)
    }

    /// What rollbacks put back.
    pub fn put_back(&self) -> &PutBack {
        &self.put_back
    }

    pub fn stream_gone(&mut self, stream: u64) {
        self.secrets.ended(stream);
    }

    /// A manager has applied an entry, and says what it changed there.
    pub fn committed(
        &mut self,
        host: HostId,
        entry: &LogEntry,
        events: Option<Vec<Event>>,
        time: Time,
        journal: &mut Journal,
    ) -> Verdict {
        if !self.truth.applied(host, entry)? {
            return Ok(());
        }
        self.applied = entry.index;
        if entry.kind != EntryKind::Normal || entry.data.is_empty() {
            return Ok(());
        }
        if let Some(events) = events {
            self.read_once.note(&entry.data, &events);
        }
        let Ok(id) = Entry::peek_id(&entry.data) else { return Ok(()) };
        let Ok(decoded) = self.read_once.read(&self.store, id, entry.data.clone()) else { return Ok(()) };
        let Ok(events) = self.store.apply(&decoded) else { return Ok(()) };
        journal.say(time, || {
            let words: Vec<String> = events.iter().map(describe).collect();
            format!("  {} commits: {}", entry.index, words.join(", "))
        });
        self.put_back.committed(&events);
        self.keys.committed(time, &self.store, &events)?;
        self.roots.committed(time, &self.store, &events)?;
        for law in &mut self.laws {
            law.committed(time, &self.store, &events)?;
        }
        Ok(())
    }

    /// A manager's facts, if it has applied as much as anybody.
    pub fn compare(&mut self, host: HostId, applied: u64, facts: &Store, membership: &Membership) -> Verdict {
        if applied == self.applied && !same(facts, &self.store) {
            let detail = format!("the store of h{host} at {applied} is not what the log makes");
            return Err(Violation::new("committed_never_differs", detail));
        }
        // Before the first entry there are only the members that a joiner was told of.
        if applied == 0 {
            return Ok(());
        }
        match &self.membership {
            Some((at, known)) if *at == applied && known != membership => {
                let detail = format!("h{host} at {applied} knows the members {membership:?}, others {known:?}");
                Err(Violation::new("committed_never_differs", detail))
            }
            Some((at, _)) if *at >= applied => Ok(()),
            _ => {
                self.membership = Some((applied, membership.clone()));
                Ok(())
            }
        }
    }
}

/// Object by object.
fn same(left: &Store, right: &Store) -> bool {
    left.cluster() == right.cluster()
        && left.nodes() == right.nodes()
        && left.services() == right.services()
        && left.tasks() == right.tasks()
        && left.networks() == right.networks()
        && left.secrets() == right.secrets()
        && left.configs() == right.configs()
}

fn describe(event: &Event) -> String {
    let object = &event.object;
    let more = match object {
        skep_store::AnyObject::Task(task) => format!(
            " {:?}/{:?} version {:?} slot {} on {}",
            task.state(),
            task.desired_state,
            task.spec_version.unwrap_or_default(),
            task.slot,
            task.node_id.as_ref().map(ToString::to_string).unwrap_or_default()
        ),
        skep_store::AnyObject::Node(node) => {
            format!(" {:?} {:?} wanted {:?}", node.status.state(), node.role, node.spec.desired_role())
        }
        skep_store::AnyObject::Service(service) => {
            let status = service.update_status.as_ref().map(|status| status.state());
            format!(" {} of version {:?}, {status:?}", service.name(), service.spec_version)
        }
        other => format!(" {}", other.unique_name()),
    };
    format!("{:?} {} {}{more}", event.action, object.kind().word(), object.id())
}
