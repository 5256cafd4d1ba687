//! Lists of tasks in parts.

use skep_model::pb::messages::list_tasks_request::Filters;
use skep_model::pb::types::service_spec::Mode;

use super::*;

/// More than a first part has.
const MANY: u64 = 600;
const FIRST: u64 = 1_000_000;

impl Group {
    /// Asks for so many lists at once.
    fn lists(&mut self, count: u64) {
        for number in FIRST..FIRST + count {
            self.with_leader(|manager, _, _| manager.list_tasks(RequestId(number), Filters::default()));
        }
    }

    /// What came of a list, and whether that was all.
    fn listed(&self, number: u64) -> (Vec<Arc<Task>>, bool) {
        let Some(Ok(Answer::Tasks { tasks, stale: false, is_last })) = self.replies.get(&number) else {
            panic!("{:?}", self.replies.get(&number))
        };
        let (mut all, mut is_over) = (tasks.clone(), *is_last);
        for (_, tasks, is_last) in self.parts.iter().filter(|part| part.0 == number) {
            assert!(!is_over, "nothing follows the last part");
            all.extend(tasks.iter().cloned());
            is_over = *is_last;
        }
        (all, is_over)
    }

    fn empty_the_service(&mut self) {
        let service = self.managers[&RaftId(1)].facts().service_by_name("web").unwrap();
        let mut spec = (*service.spec).clone();
        spec.mode = Some(Mode::Replicated(types::ReplicatedService { replicas: 0 }));
        let request = m::UpdateServiceRequest {
            service_id: service.id.to_string(),
            service_version: Some(types::Version { index: service.meta.version }),
            spec: Some(Verbatim::new(spec)),
            ..Default::default()
        };
        self.control(request).unwrap();
        self.until(|group| group.tasks(RaftId(1)).is_empty());
    }
}

fn with_many() -> (Group, Vec<Arc<Task>>) {
    let mut group = Group::found(41);
    group.create("web", MANY);
    group.settle();
    let tasks = group.tasks(RaftId(1));
    assert_eq!(tasks.len() as u64, MANY);
    (group, tasks)
}

#[test]
fn lists_come_in_parts_and_show_one_moment_whatever_follows() {
    let (mut group, expected) = with_many();
    let count = 40;
    group.lists(count);
    group.turn(RaftId(1));
    let begun = group.replies.keys().filter(|number| **number >= FIRST).count();
    assert!((1..count as usize).contains(&begun), "{begun} begin at once, the others wait");
    assert_eq!(group.parts.len(), 1, "one part a turn");
    let (first, is_over) = group.listed(FIRST + 1);
    assert!((1..MANY as usize).contains(&first.len()) && !is_over, "there is something to read at once");
    // Each that has begun is of before, each other one of some later moment.
    let numbers: Vec<u64> = group.replies.keys().copied().filter(|number| *number >= FIRST).collect();
    group.empty_the_service();
    for number in numbers {
        assert_eq!(group.listed(number), (expected.clone(), true));
    }
    for number in FIRST..FIRST + count {
        assert!(group.listed(number).1, "each list comes to its end");
    }
}

#[test]
fn what_was_begun_is_finished_before_the_facts_are_replaced() {
    let (mut group, expected) = with_many();
    group.lists(3);
    group.turn(RaftId(1));
    assert!(!group.listed(FIRST + 2).1);
    group.managers.get_mut(&RaftId(1)).unwrap().finish_lists();
    group.settle();
    for number in FIRST..FIRST + 3 {
        assert_eq!(group.listed(number), (expected.clone(), true));
    }
}

#[test]
fn who_has_gone_gets_nothing_more_and_makes_room() {
    let (mut group, expected) = with_many();
    group.lists(40);
    group.turn(RaftId(1));
    for number in FIRST + 1..FIRST + 39 {
        group.managers.get_mut(&RaftId(1)).unwrap().end_list(RequestId(number));
    }
    group.settle();
    assert_eq!(group.listed(FIRST + 39), (expected, true));
    assert!(group.parts.iter().all(|part| part.0 == FIRST || part.0 == FIRST + 39), "nobody reads the others");
}
