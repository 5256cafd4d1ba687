//! The second phase: everything is mended, and the swarm must come to what was asked for.

use std::collections::BTreeSet;
use std::time::Duration;

use skep_consensus::Member;
use skep_model::NodeId;
use skep_model::pb::types::node_spec::Availability;
use skep_model::pb::types::{NodeRole, Peer};
use skep_store::Read as _;

use super::clients::Sort;
use super::nodes::{LEAVE_LOOKS_MAX, NodeChange};
use super::specs;
use super::{Happening, World};
use crate::dice::{Dice, Purpose};
use crate::engine::Troubles;
use crate::invariants::acknowledged_never_lost::Existence;
use crate::invariants::reads_are_current::Seen;
use crate::invariants::{Verdict, Violation, convergence};
use crate::scenario::Mood;

impl World {
    /// Mends everything, then looks whether all is as it should be, until the bound.
    pub(crate) fn look(&mut self) {
        if !self.healed {
            self.heal();
        }
        let trouble = convergence::trouble(self);
        match trouble {
            None if self.time < self.plan.end_at => {
                self.after_us(self.plan.look_every_us, Happening::Look);
            }
            None => {
                let verdict = self.promises_kept();
                self.check(verdict);
                self.compare();
                self.disks_have_no_values();
                self.say(|| "everything is as it should be".to_owned());
                self.done = true;
            }
            Some(trouble) if self.time > self.plan.heal_at.after(self.plan.bound) => {
                let detail = format!("{:?} after the last fault: {trouble}", self.plan.bound);
                self.broken(Violation::new("convergence", detail));
            }
            Some(trouble) => {
                self.say(|| format!("not yet: {trouble}"));
                self.operator_cleans_up();
                self.show_the_way();
                self.strangers_join_anew();
                self.outcasts_leave();
                self.after_us(self.plan.look_every_us, Happening::Look);
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
            place.clock.set_pace(self.time, 0);
            place.stalled_until = self.time.min(place.stalled_until);
            place.dies_after = None;
            place.mood = Mood::Well;
            let life = place.life;
            self.start_daemon(host, life);
            let life = self.hosts[host].life;
            self.unlock(host, life);
        }
    }

    /// The operator wants every node to take tasks, and takes nodes off the list that are gone.
    fn operator_cleans_up(&mut self) {
        let Some(leader) = self.leader() else { return };
        let Some(manager) = &self.hosts[leader].manager else { return };
        let (facts, members) = (manager.facts(), manager.membership());
        let there = self.hosts.iter().filter(|host| !host.retired);
        let living: BTreeSet<&NodeId> = there.filter_map(|host| host.node().or(host.promised.as_ref())).collect();
        let mut changes = Vec::new();
        for node in facts.nodes() {
            let manages = node.spec.desired_role() == NodeRole::Manager;
            if living.contains(&node.id) {
                if node.availability() != Availability::Active {
                    changes.push((node.id.clone(), Some(NodeChange::Availability(Availability::Active))));
                }
            } else if members.by_node(&node.id).is_none() {
                changes.push((node.id.clone(), None));
            } else if manages {
                changes.push((node.id.clone(), Some(NodeChange::Role(NodeRole::Worker))));
            }
        }
        for (node, change) in changes {
            self.operations += 1;
            let mut dice = Dice::new(self.plan.seed, Purpose::Operation(2_000_000 + self.operations));
            match change {
                Some(change) => self.change_node(&node, change, &mut dice),
                None => self.remove_node(&node, &mut dice),
            }
        }
    }

    /// A node that was away so long that nobody whom it knows manages any more: its operator tells it who does. A manager
    /// that was taken out meanwhile is made to leave, and joins anew: none of the members that it knows can tell it.
    fn show_the_way(&mut self) {
        let Some(manager) = self.leader().and_then(|leader| self.hosts[leader].manager.as_ref()) else { return };
        let told = |member: &Member| Peer { node_id: member.node_id.to_string(), addr: member.addr.clone() };
        let members = manager.membership();
        let managers: Vec<Peer> = members.iter().map(told).collect();
        let outcasts: Vec<usize> = (0..self.hosts.len())
            .filter(|&host| {
                self.hosts[host].manager.as_ref().is_some_and(|other| {
                    members.is_removed(other.member().raft_id)
                        && other.membership().iter().all(|known| members.get(known.raft_id).is_none())
                })
            })
            .collect();
        let lost: Vec<usize> = (0..self.hosts.len())
            .filter(|&host| {
                let place = &self.hosts[host];
                let known = place.worker.as_ref().filter(|worker| worker.session().is_none());
                let manages = |peer: &Peer| managers.iter().any(|manager| manager.addr == peer.addr);
                place.up && known.is_some_and(|worker| !worker.remotes().iter().any(manages))
            })
            .collect();
        for host in outcasts {
            self.say(|| format!("h{host} is no member any more, and nobody is there who could tell it"));
            let life = self.hosts[host].life;
            self.leaving(host, life, LEAVE_LOOKS_MAX, true);
        }
        for host in lost {
            self.say(|| format!("h{host} knows no manager any more"));
            self.kill(host, false, Some(Duration::from_secs(1)));
            self.hosts[host].remotes.clone_from(&managers);
        }
    }

    /// Stores that have applied the same entries are equal, wherever they are.
    pub(crate) fn compare(&mut self) {
        // Where a planted bug changes the facts of one manager, what it leads to is to be seen.
        if self.plant.is_some_and(|plant| plant.tampers_with_facts()) {
            return;
        }
        for host in 0..self.hosts.len() {
            let Some(manager) = &self.hosts[host].manager else { continue };
            let verdict = self.oracle.compare(host, manager.applied(), manager.facts(), manager.membership());
            self.check(verdict);
        }
    }

    /// In the end, what was acknowledged is there.
    fn promises_kept(&mut self) -> Verdict {
        let Some(leader) = self.leader() else { return Ok(()) };
        let Some(manager) = &self.hosts[leader].manager else { return Ok(()) };
        let facts = manager.facts();
        // What is being asked about has no certain answer yet.
        for object in self.clients.objects.iter_mut().filter(|object| !object.busy) {
            let name = &object.name;
            let seen = match object.sort {
                Sort::Service => facts.service_by_name(name).map(|service| {
                    let (value, version) = (specs::value_of(service.spec.annotations.as_ref()), service.meta.version);
                    let rolled_back = self.oracle.put_back().did(service.id.as_str(), value, version);
                    Seen { value, version, rolled_back }
                }),
                Sort::Secret => facts.secret_by_name(name).map(|secret| Seen {
                    value: specs::value_of(secret.spec.annotations.as_ref()),
                    version: secret.meta.version,
                    rolled_back: false,
                }),
                Sort::Config => facts.config_by_name(name).map(|config| Seen {
                    value: specs::value_of(config.spec.annotations.as_ref()),
                    version: config.meta.version,
                    rolled_back: false,
                }),
                Sort::Network => facts.network_by_name(name).map(|network| Seen {
                    value: specs::value_of(network.spec.annotations.as_ref()),
                    version: network.meta.version,
                    rolled_back: false,
                }),
            };
            object.existence.finally(name, seen.is_some())?;
            if let Some(seen) = seen.filter(|_| object.existence == Existence::Certain) {
                object.register.observe(name, seen)?;
            }
        }
        Ok(())
    }
}
