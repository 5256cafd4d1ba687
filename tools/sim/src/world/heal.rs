//! The second phase: everything is mended, and the swarm must come to what was asked for.

use std::collections::{BTreeMap, BTreeSet};

use skep_dispatch::worker::Worker;
use skep_model::pb::types::node_spec::Availability;
use skep_model::pb::types::{NodeRole, service_spec::Mode};
use skep_model::{Node, Task, TaskState};
use skep_store::{Read as _, Store};

use super::clients::{Existence, NodeChange, Sort, rolled_back, value_of};
use super::{Happening, LOOK_EVERY_US, World};
use crate::dice::{Dice, Purpose};
use crate::engine::{Condition, Troubles};
use crate::invariants::Violation;
use crate::network::HostId;

impl World {
    /// Mends everything, then looks whether all is as it should be, until the bound.
    pub(crate) fn look(&mut self) {
        if !self.healed {
            self.heal();
        }
        let trouble = self.trouble();
        match trouble {
            None => {
                let verdict = self.promises_kept();
                self.check(verdict);
                self.compare();
                self.say(|| "everything is as it should be".to_owned());
                self.done = true;
            }
            Some(trouble) if self.time > self.plan.heal_at.after(self.plan.bound) => {
                let detail = format!("{:?} after the last fault: {trouble}", self.plan.bound);
                self.broken(Violation::new("convergence", detail));
            }
            Some(trouble) => {
                self.say(|| format!("not yet: {trouble}"));
                self.nodes_active();
                self.after_us(LOOK_EVERY_US, Happening::Look);
            }
        }
    }

    fn heal(&mut self) {
        self.say(|| "everything is mended".to_owned());
        self.healed = true;
        self.network.heal();
        self.troubles = Troubles::default();
        for host in 0..self.hosts.len() {
            let place = &mut self.hosts[host];
            place.disk.failing = 0;
            place.disk.slow = 0;
            place.stalled_until = self.time.min(place.stalled_until);
            place.dies_after = None;
            let life = place.life;
            self.start_daemon(host, life);
        }
    }

    /// The operator wants every node to take tasks.
    fn nodes_active(&mut self) {
        let Some(leader) = self.leader() else { return };
        let Some(manager) = &self.hosts[leader].manager else { return };
        let idle: BTreeSet<_> = manager
            .facts()
            .nodes()
            .iter()
            .filter(|node| node.availability() != Availability::Active)
            .map(|node| node.id.clone())
            .collect();
        let hosts =
            (0..self.hosts.len()).filter(|&host| self.hosts[host].node().is_some_and(|node| idle.contains(node)));
        for host in hosts.collect::<Vec<HostId>>() {
            let mut dice = Dice::new(self.plan.seed, Purpose::Operation(self.time.0));
            self.change_node(host, NodeChange::Availability(Availability::Active), &mut dice);
        }
    }

    /// A worker leaves for good.
    pub(crate) fn retire(&mut self, dice: &mut Dice) {
        let host = dice.below(self.hosts.len() as u64) as HostId;
        let place = &self.hosts[host];
        let is_worker = place.identity.as_ref().is_some_and(|identity| identity.role == NodeRole::Worker);
        let others = self.hosts.iter().filter(|host| !host.retired).count();
        let promoted = place.told_role == Some(NodeRole::Manager) || place.seat.is_some();
        if host == 0 || !place.up || !is_worker || promoted || others < 3 {
            return;
        }
        // A promotion that is on its way would wait for it for ever.
        let wanted = self.leader().and_then(|leader| {
            let node = self.hosts[host].node()?;
            self.hosts[leader].manager.as_ref()?.facts().node(node)
        });
        if wanted.is_none_or(|node| node.spec.desired_role() == NodeRole::Manager) {
            return;
        }
        self.say(|| format!("h{host} retires"));
        self.kill(host, true, None);
        self.hosts[host].retired = true;
        self.hosts[host].engine = Default::default();
        self.hosts[host].task_disk.clear();
    }

    /// Stores that have applied the same entries are equal, wherever they are.
    pub(crate) fn compare(&mut self) {
        for host in 0..self.hosts.len() {
            let Some(manager) = &self.hosts[host].manager else { continue };
            let status = manager.status();
            let verdict = self.oracle.compare(host, status.applied, manager.facts(), manager.membership());
            self.check(verdict);
        }
    }

    /// What is not yet as it should be.
    fn trouble(&self) -> Option<String> {
        let Some(leader) = self.leader() else { return Some("no leader".to_owned()) };
        let manager = self.hosts[leader].manager.as_ref()?;
        let (facts, applied) = (manager.facts(), manager.status().applied);
        self.trouble_with_managers(leader, applied)
            .or_else(|| self.trouble_with_nodes(facts))
            .or_else(|| self.trouble_with_services(facts))
            .or_else(|| self.trouble_on_hosts(facts))
    }

    fn trouble_with_managers(&self, leader: HostId, applied: u64) -> Option<String> {
        let members = self.hosts[leader].manager.as_ref()?.membership();
        for member in members.iter() {
            let host = *self.seats.get(&member.raft_id)?;
            let Some(manager) = &self.hosts[host].manager else {
                return Some(format!("member {} of h{host} does not run", member.raft_id));
            };
            if manager.member().raft_id != member.raft_id {
                return Some(format!("h{host} has another seat than member {}", member.raft_id));
            }
            let status = manager.status();
            if status.applied != applied
                || status.role.leader != self.hosts[leader].seat.as_ref().map(|s| s.member.raft_id)
            {
                return Some(format!("h{host} has applied {} of {applied}", status.applied));
            }
        }
        let running = (0..self.hosts.len()).filter(|&host| self.hosts[host].manager.is_some()).count();
        (running != members.len()).then(|| format!("{running} managers run, {} are members", members.len()))
    }

    fn trouble_with_nodes(&self, facts: &Store) -> Option<String> {
        for (number, host) in self.hosts.iter().enumerate().filter(|(_, host)| !host.retired) {
            let Some(identity) = &host.identity else { return Some(format!("h{number} has not joined")) };
            let Some(node) = facts.node(&identity.node) else { return Some(format!("h{number} has no node")) };
            if !node.is_ready() {
                return Some(format!("h{number} is {:?}", node.status.state()));
            }
            if node.availability() != Availability::Active {
                return Some(format!("h{number} is not active"));
            }
            if node.role != node.spec.desired_role() || node.role != identity.role {
                return Some(format!("h{number} is {:?}, wanted {:?}", node.role, node.spec.desired_role()));
            }
            if (identity.role == NodeRole::Manager) != host.manager.is_some() {
                return Some(format!("h{number}: role {:?} and manager do not agree", identity.role));
            }
        }
        for node in facts.nodes() {
            let lives = self.hosts.iter().any(|host| !host.retired && host.node() == Some(&node.id));
            if !lives && node.is_ready() {
                return Some(format!("node {} is ready, though there is no such host", node.id));
            }
        }
        None
    }

    fn trouble_with_services(&self, facts: &Store) -> Option<String> {
        for service in facts.services() {
            let tasks = facts.tasks_of_service(&service.id);
            let wanted: Vec<_> = tasks.iter().filter(|task| task.is_wanted()).collect();
            let expected = match &service.spec.mode {
                Some(Mode::Replicated(replicated)) => replicated.replicas as usize,
                Some(Mode::Global(_)) => facts.nodes().iter().filter(|node| node.takes_tasks()).count(),
                _ => continue,
            };
            let stuck = wanted.iter().filter(|task| cannot_be_placed(facts, task)).count();
            let mut places: BTreeMap<_, (usize, usize)> = BTreeMap::new();
            for task in &wanted {
                let node = task.node_id.clone().filter(|_| task.slot == 0);
                let (running, others) = places.entry((task.slot, node)).or_default();
                match task.state() {
                    TaskState::Running => *running += 1,
                    _ if cannot_be_placed(facts, task) => {}
                    _ => *others += 1,
                }
            }
            let fine = places.values().all(|(running, others)| *running <= 1 && *others == 0);
            if places.len() != expected || !fine {
                let running = wanted.iter().filter(|task| task.state() == TaskState::Running).count();
                let states: Vec<_> = wanted.iter().map(|task| (task.slot, task.state(), task.desired_state)).collect();
                return Some(format!("{} runs {running} of {expected}: {states:?}", service.name()));
            }
            let updating = service.update_status.as_ref().is_some_and(|status| {
                use skep_model::pb::types::update_status::UpdateState;
                matches!(status.state(), UpdateState::Updating | UpdateState::RollbackStarted)
            });
            if updating && stuck == 0 {
                return Some(format!("{} is still being updated", service.name()));
            }
        }
        // What stands on a node that is down stays there until the node is given up, after a day (interop §4.2).
        let down = |task: &Task| {
            let node = task.node_id.as_ref().and_then(|node| facts.node(node));
            node.is_some_and(|node| !node.is_ready())
        };
        let orphan = facts.tasks().into_iter().find(|task| {
            task.service_id.as_ref().is_some_and(|service| facts.service(service).is_none()) && !down(task)
        });
        orphan.map(|task| format!("task {} has no service", task.id))
    }

    fn trouble_on_hosts(&self, facts: &Store) -> Option<String> {
        for (number, host) in self.hosts.iter().enumerate().filter(|(_, host)| !host.retired) {
            let (Some(node), Some(worker)) = (host.node(), &host.worker) else {
                return Some(format!("h{number} has no worker"));
            };
            if let Some(trouble) = trouble_with_tasks(worker, facts, node) {
                return Some(format!("h{number}: {trouble}"));
            }
            let stored = facts.tasks_on_node(node);
            let should: BTreeSet<_> =
                stored.iter().filter(|task| task.state() == TaskState::Running).map(|task| &task.id).collect();
            let running = host.engine.containers.iter().filter(|(_, found)| found.condition == Condition::Running);
            let runs: BTreeSet<_> = running.map(|(task, _)| task).collect();
            if should != runs {
                return Some(format!("h{number} runs {runs:?}, should run {should:?}"));
            }
            let known: BTreeSet<_> = stored.iter().map(|task| &task.id).collect();
            if let Some(orphan) = host.engine.containers.keys().find(|task| !known.contains(task)) {
                return Some(format!("h{number} has a container of {orphan}, of which nobody knows"));
            }
            let needed: BTreeSet<_> = stored.iter().flat_map(|task| crate::invariants::secrets_of(task)).collect();
            if let Some(secret) = host.engine.secrets().iter().find(|secret| !needed.contains(*secret)) {
                return Some(format!("h{number} has secret {secret}, which no task there needs"));
            }
        }
        None
    }

    /// In the end, what was acknowledged is there.
    fn promises_kept(&mut self) -> Result<(), Violation> {
        let Some(leader) = self.leader() else { return Ok(()) };
        let Some(manager) = &self.hosts[leader].manager else { return Ok(()) };
        let facts = manager.facts();
        for object in &mut self.clients.objects {
            let there = match object.sort {
                Sort::Service => facts.service_by_name(&object.name).is_some(),
                Sort::Secret => facts.secret_by_name(&object.name).is_some(),
                Sort::Config => facts.config_by_name(&object.name).is_some(),
                Sort::Network => facts.network_by_name(&object.name).is_some(),
            };
            let kept = match object.existence {
                Existence::Certain => there,
                Existence::Gone => !there,
                Existence::Unknown | Existence::MaybeGone => true,
            };
            if !kept {
                let detail = format!("{} is {:?} for its client, but there: {there}", object.name, object.existence);
                return Err(Violation::new("acknowledged_never_lost", detail));
            }
            let service = facts.service_by_name(&object.name).filter(|_| object.sort == Sort::Service);
            if let Some(service) = service.filter(|_| object.existence == Existence::Certain) {
                let value = value_of(service.spec.annotations.as_ref());
                object.observe(value, service.meta.version, rolled_back(service.update_status.as_ref()))?;
            }
        }
        Ok(())
    }
}

/// A worker and the facts agree about its tasks.
fn trouble_with_tasks(worker: &Worker, facts: &Store, node: &skep_model::NodeId) -> Option<String> {
    let here: BTreeMap<_, _> = worker.tasks().map(|task| (task.id.clone(), task.state())).collect();
    let there: BTreeMap<_, _> = facts
        .tasks_on_node(node)
        .iter()
        .filter(|task| task.state() >= TaskState::Assigned)
        .map(|task| (task.id.clone(), task.state()))
        .collect();
    if let Some((task, state)) = here.iter().find(|(task, state)| there.get(*task) != Some(state)) {
        return Some(format!("task {task} is {state:?} here, {:?} there", there.get(task)));
    }
    // What has ended before the worker heard of it is never sent.
    let missing = there.iter().find(|(task, state)| !here.contains_key(*task) && **state <= TaskState::Running);
    missing.map(|(task, state)| format!("task {task} is {state:?} there and unknown here"))
}

/// Waits for a node, or for its own, and there is no room: that is how it should be.
fn cannot_be_placed(facts: &Store, task: &Task) -> bool {
    if task.state() != TaskState::Pending {
        return false;
    }
    let reserved = crate::invariants::reserved_cpus(task);
    let mine = |node: &&std::sync::Arc<Node>| task.node_id.as_ref().is_none_or(|own| *own == node.id);
    let full = |node: &Node| {
        let there = facts.tasks_on_node(&node.id);
        let taken = there.iter().filter(|other| crate::invariants::holds_resources(other));
        free(facts, node) < reserved || taken.into_iter().any(|other| crate::invariants::ports_clash(task, other))
    };
    facts.nodes().iter().filter(|node| node.takes_tasks()).filter(mine).all(|node| full(node))
}

fn free(facts: &Store, node: &Node) -> i64 {
    let held = facts.tasks_on_node(&node.id);
    let held = held.iter().filter(|task| crate::invariants::holds_resources(task));
    super::lives::NANO_CPUS - held.map(|task| crate::invariants::reserved_cpus(task)).sum::<i64>()
}
