//! Snapshots of many tasks are encoded while the manager goes on.

use skep_model::pb::types::service_spec::Mode;

use super::*;

/// More than a manager encodes by itself.
const MANY: u64 = 2100;

impl Group {
    /// The cluster's snapshot policy: after so many entries.
    fn snapshot_after(&mut self, entries: u64) {
        let cluster = self.managers[&RaftId(1)].facts().cluster().unwrap();
        let mut spec = (*cluster.spec).clone();
        let raft = spec.raft.get_or_insert_default();
        raft.snapshot_interval = entries;
        raft.log_entries_for_slow_followers = 0;
        let request = m::UpdateClusterRequest {
            cluster_id: cluster.id.to_string(),
            cluster_version: Some(types::Version { index: cluster.meta.version }),
            spec: Some(Verbatim::new(spec)),
            ..Default::default()
        };
        self.control(request).unwrap();
    }

    fn give_back(&mut self, encode: bool) {
        let (id, job) = self.snapshots.remove(0);
        let data = encode.then(|| job.encode());
        self.managers.get_mut(&id).unwrap().snapshot_encoded(job.point().clone(), data);
    }
}

#[test]
fn a_snapshot_is_of_its_moment_however_late_it_comes() {
    let mut group = Group::found(51);
    group.create("web", MANY);
    group.settle();
    assert!(group.snapshots.is_empty());
    group.snapshot_after(3);
    group.create("more", 3);
    group.until(|group| !group.snapshots.is_empty());
    let point = group.snapshots[0].1.point().meta.index;
    let before = group.saved.len();
    // Nobody waits for it, and there is one at a time.
    for name in ["one", "two", "three"] {
        group.create(name, 0);
    }
    group.settle();
    assert_eq!((group.snapshots.len(), group.saved.len()), (1, before));
    // One that could not be encoded is made anew.
    group.give_back(false);
    group.create("four", 0);
    group.until(|group| !group.snapshots.is_empty());
    assert!(group.snapshots[0].1.point().meta.index > point);
    let tasks = group.tasks(RaftId(1));
    let service = group.managers[&RaftId(1)].facts().service_by_name("web").unwrap();
    let mut spec = (*service.spec).clone();
    spec.mode = Some(Mode::Replicated(types::ReplicatedService { replicas: 1 }));
    let version = Some(types::Version { index: service.meta.version });
    let spec = Some(Verbatim::new(spec));
    let request = m::UpdateServiceRequest {
        service_id: service.id.to_string(),
        service_version: version,
        spec,
        ..Default::default()
    };
    group.control(request).unwrap();
    group.until(|group| group.tasks(RaftId(1)).len() < 100);
    let point = group.snapshots[0].1.point().clone();
    group.give_back(true);
    group.settle();
    let (_, saved) = group.saved.iter().find(|(_, saved)| saved.meta == point.meta).expect("it is kept");
    let (membership, facts) = Manager::facts_from_snapshot(saved.data.clone()).unwrap();
    assert_eq!(facts.tasks(), tasks, "as they were then");
    assert_eq!(membership.iter().count(), 1);
}
