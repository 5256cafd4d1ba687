//! Docker Engines among the managers, and the pace that they need.

use skep_consensus::Mode;
use skep_model::objects::version;
use skep_model::{Code, Make, Node};

use super::*;

/// The Docker Engine of these tests.
const ENGINE: u64 = 4;

impl Group {
    /// Three Skep managers that know each other for what they are.
    fn of_three(seed: u64) -> Self {
        let mut group = Self::found(seed);
        for number in [2, 3] {
            group.add_node(number, Make::Skep, NodeRole::Manager);
            group.join(number);
        }
        group.introduce();
        group
    }

    /// The transports meet.
    fn introduce(&mut self) {
        let of = |manager: &Manager| (manager.member().raft_id, manager.member().node_id.clone());
        let members: Vec<(RaftId, NodeId)> = self.managers.values().map(of).collect();
        for (id, manager) in &mut self.managers {
            for (other, node) in &members {
                let make = if self.docker.contains(other) { Make::Docker } else { Make::Skep };
                // What stands for the engine here knows itself for one; a Skep knows itself already.
                if other != id || make == Make::Docker {
                    manager.met(node.clone(), make);
                }
            }
        }
    }

    /// A Docker Engine asks to be a member; what the leader says.
    fn join_engine(&mut self) -> Result<RaftId, Refusal> {
        if self.with_leader(|manager, _, _| manager.facts().node(&node(ENGINE)).is_none()) {
            self.add_node(ENGINE, Make::Docker, NodeRole::Manager);
        }
        self.with_leader(|manager, _, _| manager.met(node(ENGINE), Make::Docker));
        let address = member(ENGINE).addr;
        let answer =
            self.request(|manager, request, now, rng| manager.join_raft(request, node(ENGINE), address, now, rng))?;
        let Answer::Joined(response) = answer else { panic!("{answer:?}") };
        let own = Member { raft_id: RaftId(response.raft_id), ..member(ENGINE) };
        let members = response.members.into_iter().map(|member| Member::try_from(member).unwrap()).collect();
        let config = Config { member: own.clone(), ..config(ENGINE, None) };
        let recovered = Recovered { members, ..Recovered::empty() };
        let manager = Manager::new(config, recovered, Store::default(), &mut self.rng).unwrap();
        self.managers.insert(own.raft_id, manager);
        self.docker.insert(own.raft_id);
        self.introduce();
        self.until(|group| group.managers[&own.raft_id].facts().cluster().is_some());
        Ok(own.raft_id)
    }

    fn modes(&self) -> Vec<Mode> {
        self.managers.values().map(Manager::mode).collect()
    }

    fn label(&self) -> Option<String> {
        let leader = self.leader()?;
        self.managers[&leader].facts().cluster().unwrap().pace().map(str::to_owned)
    }

    fn stored(&self, number: u64) -> Node {
        let leader = self.leader().expect("a leader");
        (*self.managers[&leader].facts().node(&node(number)).expect("the node")).clone()
    }

    /// A node that registered once, and runs what its labels say.
    fn add_node(&mut self, number: u64, make: Make, role: NodeRole) {
        let mut described = types::NodeDescription::default();
        let engine = described.engine.get_or_insert_default();
        if make == Make::Skep {
            engine.labels.insert(skep_model::objects::SKEP_ENGINE_LABEL.to_owned(), "1".to_owned());
        }
        let first = skep_pki::first_node(node(number), types::node_spec::Availability::Active, 0);
        let spec = first.spec.edit(|spec| spec.set_desired_role(role));
        let description = Some(Verbatim::new(described));
        let node = Node { spec, description, role, ..first };
        self.with_leader(|manager, now, _| {
            let last = manager.consensus.last_index();
            let (_, entry) = manager.ledger.transact(now, last, 99, |tx| tx.create(node)).unwrap();
            manager.propose(entry.into_iter().collect()).unwrap();
        });
        self.settle();
    }

    fn promote(&mut self, number: u64) -> Result<(), Refusal> {
        let stored = self.stored(number);
        let request = m::UpdateNodeRequest {
            node_id: stored.id.to_string(),
            node_version: Some(version(stored.meta.version)),
            spec: Some(stored.spec.edit(|spec| spec.set_desired_role(NodeRole::Manager))),
        };
        self.control(request).map(drop)
    }

    fn constrained(&mut self, constraint: &str) -> Result<(), Refusal> {
        let task = types::TaskSpec {
            placement: Some(types::Placement { constraints: vec![constraint.to_owned()], ..Default::default() }),
            runtime: Some(types::task_spec::Runtime::Container(types::ContainerSpec {
                image: "busybox".into(),
                ..Default::default()
            })),
            ..Default::default()
        };
        let spec = types::ServiceSpec {
            annotations: Some(types::Annotations { name: "picky".into(), ..Default::default() }),
            task: Some(task),
            mode: Some(types::service_spec::Mode::Replicated(types::ReplicatedService { replicas: 0 })),
            ..Default::default()
        };
        self.control(m::CreateServiceRequest { spec: Some(Verbatim::new(spec)) }).map(drop)
    }

    fn ticks(&mut self, count: usize) {
        for _ in 0..count {
            self.tick();
        }
    }

    /// A follower that takes part in everything but does not say at which pace it goes.
    fn deafen(&mut self) -> RaftId {
        let leader = self.leader().unwrap();
        let deaf = *self.managers.keys().find(|id| **id != leader).unwrap();
        self.docker.insert(deaf);
        deaf
    }
}

#[test]
fn a_docker_engine_is_let_in_once_every_skep_follows() {
    let mut group = Group::of_three(21);
    assert_eq!(group.modes(), [Mode::Skep; 3]);
    let mut early = false;
    let before: Vec<RaftId> = group.managers.keys().copied().collect();
    group.requests += 1;
    let number = group.requests;
    let address = member(ENGINE).addr;
    group.add_node(ENGINE, Make::Docker, NodeRole::Manager);
    group.with_leader(|manager, now, rng| {
        manager.met(node(ENGINE), Make::Docker);
        manager.join_raft(RequestId(number), node(ENGINE), address, now, rng);
    });
    for _ in 0..200 {
        for id in &before {
            group.turn(*id);
            let follows = before.iter().all(|id| group.managers[id].mode() == Mode::Docker);
            early |= !follows && group.managers.values().any(|manager| manager.membership().len() > 3);
        }
        while let Some(message) = group.mail.pop_front() {
            if let Some(manager) = group.managers.get_mut(&message.to) {
                manager.peer_message(message).unwrap();
            }
        }
        if group.replies.contains_key(&number) {
            break;
        }
    }
    assert!(matches!(group.replies[&number], Ok(Answer::Joined(_))), "{:?}", group.replies[&number]);
    assert!(!early, "a member was added before everybody followed");
    assert_eq!(group.label().as_deref(), Some("docker"));
}

#[test]
fn a_docker_engine_is_refused_while_a_skep_does_not_answer() {
    let mut group = Group::of_three(22);
    let leader = group.leader().unwrap();
    let lost = *group.managers.keys().find(|id| **id != leader).unwrap();
    group.cut = Some(lost);
    group.ticks(40);
    let refusal = group.join_engine().unwrap_err();
    assert_eq!(refusal.code, Code::FailedPrecondition);
    let address = &group.managers[&lost].member().addr;
    assert!(refusal.message.contains(address.as_str()), "{refusal}");
    assert_eq!(group.label(), None, "nothing was changed");
    group.cut = None;
    group.ticks(40);
    group.join_engine().unwrap();
}

#[test]
fn who_does_not_follow_in_time_is_named_and_the_pace_goes_back() {
    let mut group = Group::of_three(23);
    let deaf = group.deafen();
    let refusal = group.join_engine().unwrap_err();
    let address = &group.managers[&deaf].member().addr;
    assert!(refusal.message.contains(address.as_str()), "{refusal}");
    group.until(|group| group.label().is_none() && group.modes() == [Mode::Skep; 3]);
}

#[test]
fn the_pace_outlives_leaders_and_restarts_and_ends_with_the_last_engine() {
    let mut group = Group::of_three(24);
    let engine = group.join_engine().unwrap();
    assert_eq!(group.modes(), [Mode::Docker; 4]);
    let old = group.leader().unwrap();
    group.cut = Some(old);
    group.until(|group| group.leader().is_some_and(|leader| leader != old));
    let kept = group.managers.iter().filter(|(id, _)| **id != old).all(|(_, manager)| manager.mode() == Mode::Docker);
    assert!(kept, "{:?}", group.modes());
    group.cut = None;
    group.until(|group| group.managers.values().all(|manager| manager.status().leader.is_some()));

    // Who starts again knows the pace from its facts, before it has met anybody.
    let leader = group.leader().unwrap();
    let store = group.managers[&leader].facts().clone();
    let again = Manager::new(config(9, None), Recovered::empty(), store, &mut group.rng).unwrap();
    assert_eq!(again.mode(), Mode::Docker);

    group.introduce();
    group.ticks(100);
    group.request(|manager, request, _, rng| manager.leave_raft(request, node(ENGINE), rng)).unwrap();
    group.managers.remove(&engine);
    group.until(|group| group.leader().is_some() && group.label().is_none() && group.modes() == [Mode::Skep; 3]);
}

#[test]
fn the_pace_stays_while_a_member_is_not_known_to_be_a_skep() {
    let mut group = Group::of_three(25);
    let engine = group.join_engine().unwrap();
    let old = group.leader().unwrap();
    // The next leader has met nobody: what it does not know it takes for a Docker Engine.
    for manager in group.managers.values_mut() {
        manager.pace.skep_nodes.retain(|node| *node == manager.member.node_id);
    }
    group.cut = Some(old);
    group.until(|group| group.leader().is_some_and(|leader| leader != old));
    group.cut = None;
    group.ticks(100);
    group.request(|manager, request, _, rng| manager.leave_raft(request, node(ENGINE), rng)).unwrap();
    group.managers.remove(&engine);
    group.ticks(300);
    group.until(|group| group.leader().is_some());
    assert_eq!(group.label().as_deref(), Some("docker"));
    group.introduce();
    group.until(|group| group.leader().is_some() && group.label().is_none());
}

#[test]
fn a_client_that_writes_the_settings_anew_does_not_lose_the_pace() {
    let mut group = Group::of_three(26);
    group.join_engine().unwrap();
    let leader = group.leader().unwrap();
    let cluster = group.managers[&leader].facts().cluster().unwrap();
    let spec = cluster.spec.edit(|spec| spec.annotations.as_mut().unwrap().labels.clear());
    let request = m::UpdateClusterRequest {
        cluster_id: cluster.id.to_string(),
        cluster_version: Some(version(cluster.meta.version)),
        spec: Some(spec),
        rotation: None,
    };
    group.control(request).unwrap();
    assert_eq!(group.label().as_deref(), Some("docker"));
}

#[test]
fn a_docker_worker_is_promoted_once_every_skep_follows() {
    let mut group = Group::of_three(27);
    group.add_node(ENGINE, Make::Docker, NodeRole::Worker);
    group.deafen();
    group.promote(ENGINE).unwrap();
    group.ticks(30);
    assert_eq!(group.stored(ENGINE).role, NodeRole::Worker, "its certificate would follow from its role");
    group.docker.clear();
    group.until(|group| group.stored(ENGINE).role == NodeRole::Manager);
    assert_eq!(group.modes(), [Mode::Docker; 3]);

    group.add_node(5, Make::Skep, NodeRole::Worker);
    group.promote(5).unwrap();
    group.until(|group| group.stored(5).role == NodeRole::Manager);
}

#[test]
fn a_skep_worker_is_promoted_at_once_and_at_its_own_pace() {
    let mut group = Group::of_three(28);
    group.add_node(5, Make::Skep, NodeRole::Worker);
    group.promote(5).unwrap();
    group.until(|group| group.stored(5).role == NodeRole::Manager);
    assert_eq!((group.label(), group.modes()), (None, vec![Mode::Skep; 3]));
}

#[test]
fn constraints_beyond_dockers_grammar_and_docker_managers_exclude_each_other() {
    let extension = "node.labels.zone in (a, b)";
    let mut group = Group::of_three(29);
    group.add_node(6, Make::Docker, NodeRole::Worker);
    group.constrained(extension).unwrap();
    let refusal = group.promote(6).unwrap_err();
    assert_eq!(refusal.code, Code::FailedPrecondition);
    assert!(refusal.message.contains("picky") && refusal.message.contains(extension), "{refusal}");
    let refusal = group.join_engine().unwrap_err();
    assert!(refusal.message.contains("picky"), "{refusal}");
    assert_eq!(group.label(), None);

    let leader = group.leader().unwrap();
    let id = group.managers[&leader].facts().service_by_name("picky").unwrap().id.to_string();
    group.control(m::RemoveServiceRequest { service_id: id }).unwrap();
    group.join_engine().unwrap();
    let refusal = group.constrained(extension).unwrap_err();
    assert!(refusal.message.contains("goes beyond Docker's grammar"), "{refusal}");
}

#[test]
fn a_newcomer_that_is_no_skep_gets_its_managers_certificate_once_the_quorum_can_take_it() {
    let mut group = Group::of_three(30);
    let leader = group.leader().unwrap();
    let token = group.managers[&leader].facts().cluster().unwrap().root_ca.join_tokens.clone().unwrap().manager;
    let wanted = m::IssueNodeCertificateRequest { csr: "csr".into(), token, ..Default::default() };
    let issue = |group: &mut Group, make: Make| {
        let wanted = wanted.clone();
        let answer = group
            .request(|manager, request, now, rng| manager.issue_certificate(request, None, make, &wanted, now, rng));
        match answer.unwrap() {
            Answer::Issued(response) => NodeId::new(&response.node_id).unwrap(),
            other => panic!("{other:?}"),
        }
    };
    let issued = |group: &Group, node: &NodeId| {
        let node = group.managers[&leader].facts().node(node).unwrap();
        let status = node.certificate.status.clone().unwrap_or_default();
        status.state() == types::issuance_status::State::Issued
    };
    let skep = issue(&mut group, Make::Skep);
    group.until(|group| issued(group, &skep));
    assert_eq!(group.label(), None);

    group.deafen();
    let engine = issue(&mut group, Make::Docker);
    group.ticks(30);
    assert!(!issued(&group, &engine));
    group.docker.clear();
    group.until(|group| issued(group, &engine));
    assert_eq!(group.modes(), [Mode::Docker; 3]);
    // It never comes: the group does not stay slow for it.
    group.ticks(700);
    assert_eq!((group.label(), group.modes()), (None, vec![Mode::Skep; 3]));
}
