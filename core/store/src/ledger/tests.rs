use skep_model::{Service, Task};

use super::*;
use crate::change::Action;
use crate::fixture::{NOW, id, node_id, service, service_id, task, task_id};
use crate::read::Read;

type Verdict = Result<(), Refusal>;

fn transact(ledger: &mut Ledger, entry_id: u64, f: impl FnOnce(&mut Tx) -> Verdict) -> Result<Option<Entry>, Refusal> {
    ledger.transact(NOW, 40 + entry_id, entry_id, f).map(|(_, entry)| entry)
}

fn launched(ledger: &mut Ledger, entry_id: u64, f: impl FnOnce(&mut Tx) -> Verdict) -> Entry {
    transact(ledger, entry_id, f).unwrap().expect("an entry")
}

#[test]
fn transactions_see_what_is_in_flight_and_the_store_only_what_is_committed() {
    let mut ledger = Ledger::default();
    let first = launched(&mut ledger, 1, |tx| tx.create(service("web")));
    let second = launched(&mut ledger, 2, |tx| {
        let seen = tx.service(&service_id("web")).unwrap();
        assert_eq!(seen.meta.version, 41);
        assert_eq!(seen.meta.created_at, Some(NOW.wall));
        let mut changed = (*seen).clone();
        changed.pending_delete = true;
        tx.update(changed)?;
        assert!(tx.service_by_name("web").unwrap().pending_delete);
        tx.create(task("t1", "web", 1, Some("n1")))
    });
    assert!(ledger.committed().services().is_empty());
    assert_eq!(ledger.view().tasks_on_node(&node_id("n1")).len(), 1);
    assert_eq!(ledger.in_flight(), 2);

    ledger.commit(&first).unwrap();
    assert!(!ledger.committed().service(&service_id("web")).unwrap().pending_delete);
    assert!(ledger.view().service(&service_id("web")).unwrap().pending_delete, "the second is still in flight");
    ledger.commit_payload(second.encode()).unwrap();
    assert!(ledger.committed().service(&service_id("web")).unwrap().pending_delete);
    assert_eq!(ledger.committed().service(&service_id("web")).unwrap().meta.version, 42);
    assert_eq!(ledger.in_flight(), 0);
    assert_eq!(ledger.view().tasks(), ledger.committed().tasks());
}

#[test]
fn an_error_leaves_no_trace() {
    let mut ledger = Ledger::default();
    let entry = launched(&mut ledger, 1, |tx| tx.create(service("web")));
    ledger.commit(&entry).unwrap();
    launched(&mut ledger, 2, |tx| tx.create(task("t1", "web", 1, Some("n1"))));
    let before: Vec<_> = ledger.view().tasks();

    let verdict = transact(&mut ledger, 3, |tx| {
        tx.remove::<Task>(&task_id("t1"))?;
        tx.create(task("t2", "web", 2, Some("n1")))?;
        tx.remove::<Service>(&service_id("web"))?;
        tx.create(service("web2"))?;
        tx.create(service("web2"))
    });
    assert_eq!(verdict.unwrap_err().code, Code::AlreadyExists);
    assert_eq!(ledger.view().tasks(), before);
    assert_eq!(ledger.view().tasks_on_node(&node_id("n1")), before);
    assert!(ledger.view().service_by_name("web").is_some());
    assert!(ledger.view().service_by_name("web2").is_none());
    assert_eq!(ledger.in_flight(), 1);
}

#[test]
fn pending_removals_hide_committed_objects_and_free_their_names() {
    let mut ledger = Ledger::default();
    let entry = launched(&mut ledger, 1, |tx| {
        tx.create(service("web"))?;
        tx.create(task("t1", "web", 1, Some("n1")))
    });
    ledger.commit(&entry).unwrap();
    launched(&mut ledger, 2, |tx| {
        tx.remove::<Service>(&service_id("web"))?;
        tx.update(Task { node_id: Some(node_id("n2")), ..task("t1", "web", 1, None) })
    });
    assert!(ledger.view().services().is_empty());
    assert!(ledger.view().service_by_name("web").is_none());
    assert!(ledger.view().tasks_on_node(&node_id("n1")).is_empty(), "the task has moved");
    assert_eq!(ledger.view().tasks_on_node(&node_id("n2")).len(), 1);
    let mut heir = service("heir");
    heir.spec = service("web").spec;
    launched(&mut ledger, 3, |tx| tx.create(heir));
    assert_eq!(ledger.view().service_by_name("web").unwrap().id, service_id("heir"));
}

#[test]
fn abandoning_goes_back_to_what_is_committed() {
    let mut ledger = Ledger::default();
    let entry = launched(&mut ledger, 1, |tx| tx.create(service("web")));
    ledger.commit(&entry).unwrap();
    launched(&mut ledger, 2, |tx| tx.remove::<Service>(&service_id("web")));
    launched(&mut ledger, 3, |tx| tx.create(service("api")));
    ledger.abandon();
    assert_eq!(ledger.in_flight(), 0);
    assert!(ledger.view().service_by_name("web").is_some());
    assert!(ledger.view().service_by_name("api").is_none());
}

#[test]
fn what_is_taken_back_takes_along_what_was_built_on_it_and_nothing_else() {
    let mut ledger = Ledger::default();
    let first = launched(&mut ledger, 1, |tx| tx.create(service("web")));
    let second = launched(&mut ledger, 2, |tx| tx.create(task("t1", "web", 1, Some("n1"))));
    launched(&mut ledger, 3, |tx| tx.remove::<Service>(&service_id("web")));
    launched(&mut ledger, 4, |tx| tx.remove::<Task>(&task_id("t1")));
    ledger.take_back(3);
    assert_eq!(ledger.in_flight(), 2);
    assert!(ledger.view().service(&service_id("web")).is_some());
    assert_eq!(ledger.view().tasks_on_node(&node_id("n1")).len(), 1);
    ledger.commit(&first).unwrap();
    ledger.commit(&second).unwrap();
    assert_eq!(ledger.view().tasks(), ledger.committed().tasks());
    ledger.take_back(9);
    assert_eq!(ledger.in_flight(), 0);
}

#[test]
fn another_leaders_entry_abandons_what_is_in_flight() {
    let mut ledger = Ledger::default();
    launched(&mut ledger, 1, |tx| tx.create(service("web")));
    let foreign = Entry { id: 99, changes: [Change { action: Action::Create, object: service("api").into() }].into() };
    let (foreign_id, events) = ledger.commit_payload(foreign.encode()).unwrap();
    assert_eq!((foreign_id, events.len()), (99, 1));
    assert_eq!(ledger.in_flight(), 0);
    assert!(ledger.view().service_by_name("web").is_none());
    assert!(ledger.view().service_by_name("api").is_some());
}

#[test]
fn changes_of_one_transaction_to_one_object_are_told_once() {
    let mut ledger = Ledger::default();
    let entry = launched(&mut ledger, 1, |tx| {
        tx.create(task("t1", "web", 1, None))?;
        tx.update(task("t1", "web", 1, Some("n1")))?;
        tx.create(task("gone", "web", 2, None))?;
        tx.remove::<Task>(&task_id("gone"))
    });
    assert_eq!(entry.changes.len(), 1);
    assert_eq!(entry.changes[0].action, Action::Create);
    assert_eq!(entry.changes[0].object.get::<Task>().unwrap().node_id, Some(node_id("n1")));
    ledger.commit(&entry).unwrap();
    assert_eq!(ledger.view().tasks().len(), 1);

    let entry = launched(&mut ledger, 2, |tx| {
        tx.update(task("t1", "web", 1, None))?;
        tx.remove::<Task>(&task_id("t1"))
    });
    assert_eq!(entry.changes.iter().map(|change| change.action).collect::<Vec<_>>(), [Action::Remove]);

    let nothing = transact(&mut ledger, 3, |tx| {
        tx.create(task("t9", "web", 1, None))?;
        tx.remove::<Task>(&task_id("t9"))
    });
    assert_eq!(nothing.unwrap(), None);
}

#[test]
fn a_removed_object_that_comes_and_goes_again_stays_removed() {
    let mut ledger = Ledger::default();
    let first = launched(&mut ledger, 1, |tx| tx.create(service("web")));
    let second = launched(&mut ledger, 2, |tx| {
        tx.remove::<Service>(&service_id("web"))?;
        tx.create(service("web"))?;
        tx.remove::<Service>(&service_id("web"))
    });
    assert_eq!(second.changes.len(), 1);
    assert!(ledger.view().services().is_empty());
    ledger.commit(&first).unwrap();
    assert!(ledger.view().services().is_empty());
    ledger.commit(&second).unwrap();
    assert!(ledger.committed().services().is_empty());
}

#[test]
fn a_change_of_name_keeps_its_place_in_the_order() {
    let named = |text: &str, name: &str| Service { spec: service(name).spec, ..service(text) };
    let mut ledger = Ledger::default();
    let entry = launched(&mut ledger, 1, |tx| {
        tx.create(service("a"))?;
        tx.create(service("b"))
    });
    ledger.commit(&entry).unwrap();
    let entry = launched(&mut ledger, 2, |tx| {
        tx.update(service("a"))?;
        tx.remove::<Service>(&service_id("b"))?;
        tx.update(named("a", "b"))
    });
    ledger.commit(&Entry::decode(entry.encode()).unwrap()).unwrap();
    assert_eq!(ledger.committed().service_by_name("b").unwrap().id, service_id("a"));
}

#[test]
fn a_turn_is_cut_at_the_limits_and_commits_to_the_same_facts() {
    let mut ledger = Ledger::default();
    let count = TURN_CHANGES_MAX * 2 + 1;
    let mut next = 100;
    let entries = ledger.turn(
        NOW,
        7,
        &mut || {
            next += 1;
            next
        },
        |tx| {
            for index in 0..count {
                tx.create(task(&format!("t{index}x"), "web", index as u64, None)).unwrap();
            }
        },
    );
    let sizes: Vec<usize> = entries.iter().map(|entry| entry.changes.len()).collect();
    assert_eq!(sizes, [TURN_CHANGES_MAX, TURN_CHANGES_MAX, 1]);
    let seen = ledger.view().tasks();
    for entry in &entries {
        ledger.commit(entry).unwrap();
    }
    assert_eq!(ledger.committed().tasks(), seen);
    assert_eq!(ledger.in_flight(), 0);
}

#[test]
fn a_turn_of_large_objects_is_cut_by_size() {
    let mut ledger = Ledger::default();
    let mut next = 0;
    let large = |text: &str| {
        let mut task = task(text, "web", 1, None);
        task.status.message = "x".repeat(TURN_BYTES_MAX / 2);
        task
    };
    let entries = ledger.turn(
        NOW,
        7,
        &mut || {
            next += 1;
            next
        },
        |tx| {
            for text in ["t1", "t2", "t3"] {
                tx.create(large(text)).unwrap();
            }
        },
    );
    assert_eq!(entries.len(), 3);
    assert!(entries.iter().all(|entry| entry.encode().len() <= TURN_BYTES_MAX));
}

#[test]
fn a_transaction_larger_than_an_entry_is_refused() {
    let mut ledger = Ledger::default();
    let verdict = transact(&mut ledger, 1, |tx| {
        let mut task = task("t1", "web", 1, None);
        task.status.message = "x".repeat(ENTRY_BYTES_MAX);
        tx.create(task)
    });
    assert_eq!(verdict.unwrap_err().message, "raft: raft message is too large and can't be sent");
    assert!(ledger.view().tasks().is_empty());
    assert_eq!(ledger.in_flight(), 0);
}

#[test]
fn what_is_not_there_cannot_be_changed() {
    let mut ledger = Ledger::default();
    let missing = |verdict: Result<Option<Entry>, Refusal>| {
        let refusal = verdict.unwrap_err();
        assert_eq!((refusal.code, refusal.message), (Code::NotFound, format!("service {} not found", id("web"))));
    };
    missing(transact(&mut ledger, 1, |tx| tx.update(service("web"))));
    missing(transact(&mut ledger, 1, |tx| tx.remove::<Service>(&service_id("web"))));
}

#[test]
fn others_entries_are_read_as_one_is_told_to() {
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = std::sync::Arc::clone(&told);
    let reader = Reader::new(move |facts, id, payload| {
        seen.lock().unwrap().push(id);
        facts.decode(payload)
    });
    let mut ledger = Ledger::reading(Store::default(), reader);
    let own = launched(&mut ledger, 1, |tx| tx.create(service("web")));
    ledger.commit_payload(own.encode()).unwrap();
    let others = Entry { id: 2, changes: [Change { action: Action::Create, object: service("api").into() }].into() };
    let (id, events) = ledger.commit_payload(others.encode()).unwrap();
    assert_eq!((id, events.len()), (2, 1));
    assert!(ledger.committed().service(&service_id("api")).is_some());
    assert_eq!(*told.lock().unwrap(), [2], "one's own entry is known");
}
