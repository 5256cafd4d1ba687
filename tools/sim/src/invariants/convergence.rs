//! Once everything is mended, the swarm comes to what was asked for, within the scenario's bound: managers agree, nodes
//! are ready, what runs is what is desired, jobs have completed, and nothing is left over. Source: the second phase of
//! the simulator (docs/design/simulation.md).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skep_dispatch::worker::Worker;
use skep_model::pb::types::node_spec::Availability;
use skep_model::pb::types::update_status::UpdateState;
use skep_model::pb::types::{NodeRole, service_spec::Mode};
use skep_model::{Node, NodeId, Service, Task, TaskState};
use skep_store::{Read as _, Store};

use super::{Place, holds_resources, ports_clash, reserved_cpus, secrets_of};
use crate::engine::Condition;
use crate::host::Host;
use crate::issuers::RootId;
use crate::network::HostId;
use crate::world::World;
use crate::world::lives::NANO_CPUS;

/// What is not yet as it should be.
pub(crate) fn trouble(world: &World) -> Option<String> {
    let Some(leader) = world.leader() else { return Some("no leader".to_owned()) };
    let manager = world.hosts[leader].manager.as_ref()?;
    let (facts, applied) = (manager.facts(), manager.applied());
    managers(world, leader, applied)
        .or_else(|| nodes(world, facts))
        .or_else(|| services(facts))
        .or_else(|| hosts(world, facts))
        .or_else(|| world.drivers.law.is_awaited().then(|| "a driver is being asked".to_owned()))
}

fn managers(world: &World, leader: HostId, applied: u64) -> Option<String> {
    let members = world.hosts[leader].manager.as_ref()?.membership();
    for member in members.iter() {
        let host = *world.seats.get(&member.raft_id)?;
        let Some(manager) = &world.hosts[host].manager else {
            return Some(format!("member {} of h{host} does not run", member.raft_id));
        };
        if manager.member().raft_id != member.raft_id {
            return Some(format!("h{host} has another seat than member {}", member.raft_id));
        }
        let (at, role) = (manager.applied(), manager.role());
        let told = world.hosts[leader].seat.as_ref().map(|seat| seat.member.raft_id);
        if at != applied || role.leader != told {
            return Some(format!("h{host} has applied {at} of {applied}"));
        }
    }
    let running = world.hosts.iter().filter(|host| host.manager.is_some()).count();
    (running != members.len()).then(|| format!("{running} managers run, {} are members", members.len()))
}

fn nodes(world: &World, facts: &Store) -> Option<String> {
    let key = facts.cluster().and_then(|cluster| cluster.unlock_keys.first().map(|key| key.key.clone()));
    for (number, host) in world.hosts.iter().enumerate().filter(|(_, host)| !host.retired) {
        let Some(identity) = &host.identity else { return Some(format!("h{number} has not joined")) };
        let Some(node) = facts.node(&identity.node) else { return Some(format!("h{number} has no node")) };
        if !node.is_ready() {
            return Some(format!("h{number} is {:?}", node.status.state()));
        }
        if node.availability() != Availability::Active {
            return Some(format!("h{number} is not active"));
        }
        // Whoever demotes all managers at once keeps one (docs/design/pki.md, roles).
        let alone = || !facts.nodes().iter().any(|other| other.id != node.id && other.role == NodeRole::Manager);
        let fits = node.role == node.spec.desired_role() || node.role == NodeRole::Manager && alone();
        if !fits || node.role != identity.role {
            return Some(format!("h{number} is {:?}, wanted {:?}", node.role, node.spec.desired_role()));
        }
        if (identity.role == NodeRole::Manager) != host.manager.is_some() {
            return Some(format!("h{number}: role {:?} and manager do not agree", identity.role));
        }
        if host.manager.is_some() && host.lock.key != key {
            return Some(format!("h{number} is locked with another key than the swarm's"));
        }
    }
    if let Some(trouble) = roots(world, facts) {
        return Some(trouble);
    }
    let lives = |node: &NodeId| world.hosts.iter().any(|host| !host.retired && host.node() == Some(node));
    let gone = facts.nodes().into_iter().find(|node| !lives(&node.id));
    gone.map(|node| format!("node {} is listed, though there is no such host", node.id))
}

/// A change of root that was asked for is over, and everybody trusts the root and has a certificate of it.
fn roots(world: &World, facts: &Store) -> Option<String> {
    let cluster = facts.cluster()?;
    let wanted = cluster.spec.ca_config.as_ref().map_or(0, |config| config.force_rotate);
    if cluster.root_ca.root_rotation.is_some() || cluster.root_ca.last_forced_rotation != wanted {
        return Some("the root is still being changed".to_owned());
    }
    let root = RootId::read(&cluster.root_ca.ca_cert);
    let follows = |host: &Host| {
        let issuer = host.identity.as_ref().map(|identity| identity.certificate.issuer);
        host.retired || issuer == root && Some(host.trusts) == root
    };
    let left = world.hosts.iter().position(|host| !follows(host));
    left.map(|host| format!("h{host} has a certificate, or trusts, of another root than {root:?}"))
}

fn services(facts: &Store) -> Option<String> {
    for service in facts.services() {
        let trouble = match &service.spec.mode {
            Some(Mode::Replicated(replicated)) => running(facts, &service, replicated.replicas as usize),
            Some(Mode::Global(_)) => running(facts, &service, active_nodes(facts)),
            Some(Mode::ReplicatedJob(job)) => completed(facts, &service, job.total_completions as usize),
            Some(Mode::GlobalJob(_)) => completed(facts, &service, active_nodes(facts)),
            None => None,
        };
        if trouble.is_some() {
            return trouble;
        }
    }
    let orphan = facts.tasks().into_iter().find(|task| {
        let mut service = task.service_id.iter();
        service.any(|service| facts.service(service).is_none())
    });
    orphan.map(|task| format!("task {} has no service", task.id))
}

fn active_nodes(facts: &Store) -> usize {
    facts.nodes().iter().filter(|node| node.takes_tasks()).count()
}

/// In every place one task runs, as the spec says.
fn running(facts: &Store, service: &Service, expected: usize) -> Option<String> {
    let tasks = facts.tasks_of_service(&service.id);
    let wanted: Vec<_> = tasks.iter().filter(|task| task.is_wanted()).collect();
    let stuck = wanted.iter().filter(|task| cannot_be_placed(facts, task)).count();
    let mut places: BTreeMap<_, (usize, usize)> = BTreeMap::new();
    for task in &wanted {
        let (running, others) = places.entry(Place::of(service, task)).or_default();
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
        return Some(format!("{} runs {running}, waits {stuck}, of {expected}: {states:?}", service.name()));
    }
    let state = service.update_status.as_ref().map(|status| status.state());
    if matches!(state, Some(UpdateState::Updating | UpdateState::RollbackStarted)) && stuck == 0 {
        return Some(format!("{} is still being updated", service.name()));
    }
    if matches!(state, Some(UpdateState::Paused | UpdateState::RollbackPaused)) || stuck > 0 {
        return None;
    }
    let like =
        |task: &Task| task.spec_version == service.spec_version || service.spec.task.as_ref() == Some(&*task.spec);
    let old = wanted.iter().find(|task| !like(task));
    old.map(|task| format!("{} still runs {} of an earlier spec", service.name(), task.id))
}

/// Every place of the job's present run has completed.
fn completed(facts: &Store, service: &Service, expected: usize) -> Option<String> {
    let run = service.job_status.as_ref().and_then(|status| status.job_iteration).map_or(0, |version| version.index);
    let tasks = facts.tasks_of_service(&service.id);
    let present = || tasks.iter().filter(|task| task.extras.job_iteration == Some(run));
    if present().any(|task| task.desired_state <= TaskState::Complete && cannot_be_placed(facts, task)) {
        return None;
    }
    let completed: BTreeSet<Place> = present()
        .filter(|task| task.state() == TaskState::Complete)
        .map(|task| (task, Place::of(service, task)))
        .filter(|(task, place)| matches!(place, Place::Slot(_)) || on_active_node(facts, task))
        .map(|(_, place)| place)
        .collect();
    if completed.len() == expected {
        return None;
    }
    let states: Vec<_> = present().map(|task| (task.slot, task.state(), task.desired_state)).collect();
    Some(format!("job {} has completed {} of {expected}: {states:?}", service.name(), completed.len()))
}

fn on_active_node(facts: &Store, task: &Task) -> bool {
    task.node_id.as_ref().and_then(|node| facts.node(node)).is_some_and(|node| node.takes_tasks())
}

fn hosts(world: &World, facts: &Store) -> Option<String> {
    for (number, host) in world.hosts.iter().enumerate().filter(|(_, host)| !host.retired) {
        let (Some(node), Some(worker)) = (host.node(), &host.worker) else {
            return Some(format!("h{number} has no worker"));
        };
        if let Some(trouble) = tasks_differ(worker, facts, node) {
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
        let needed: BTreeSet<_> = stored.iter().flat_map(|task| secrets_of(&task.spec)).collect();
        if let Some(secret) = host.engine.secrets().iter().find(|secret| !needed.contains(*secret)) {
            return Some(format!("h{number} has secret {secret}, which no task there needs"));
        }
    }
    None
}

/// A worker and the facts agree about its tasks.
fn tasks_differ(worker: &Worker, facts: &Store, node: &NodeId) -> Option<String> {
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
    let reserved = reserved_cpus(task);
    let mine = |node: &&Arc<Node>| task.node_id.as_ref().is_none_or(|own| *own == node.id);
    let full = |node: &Node| {
        let there = facts.tasks_on_node(&node.id);
        let taken = there.iter().filter(|other| holds_resources(other));
        free(facts, node) < reserved || taken.into_iter().any(|other| ports_clash(task, other))
    };
    facts.nodes().iter().filter(|node| node.takes_tasks()).filter(mine).all(|node| full(node))
}

fn free(facts: &Store, node: &Node) -> i64 {
    let held = facts.tasks_on_node(&node.id);
    let held = held.iter().filter(|task| holds_resources(task));
    NANO_CPUS - held.map(|task| reserved_cpus(task)).sum::<i64>()
}
