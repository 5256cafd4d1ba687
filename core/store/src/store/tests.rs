use skep_model::pb::messages::StoreSnapshot;
use skep_model::pb::objects as pb;
use skep_model::pb::types::NodeRole;
use skep_model::{Extension, ExtensionId, Kept, Meta, Resource, ResourceId};

use super::*;
use crate::change::Change;
use crate::fixture::{annotations, id, node, node_id, service, service_id, snapshot_bytes, task, task_id};
use crate::read::Read;

fn create(object: impl Into<AnyObject>) -> Change {
    Change { action: Action::Create, object: object.into() }
}

fn update(object: impl Into<AnyObject>) -> Change {
    Change { action: Action::Update, object: object.into() }
}

fn remove(object: impl Into<AnyObject>) -> Change {
    Change { action: Action::Remove, object: object.into() }
}

fn entry(changes: Vec<Change>) -> Entry {
    Entry { id: 1, changes: changes.into() }
}

fn extension(name: &str) -> Extension {
    let body = pb::Extension { annotations: annotations(name), ..Default::default() };
    Extension { id: ExtensionId::new(&id(name)).unwrap(), meta: Meta::default(), body: Kept::new(body) }
}

fn resource(name: &str, kind: &str) -> Resource {
    let body = pb::Resource { annotations: annotations(name), kind: kind.to_owned(), ..Default::default() };
    Resource { id: ResourceId::new(&id(name)).unwrap(), meta: Meta::default(), body: Kept::new(body) }
}

fn ids(tasks: &[Arc<Task>]) -> Vec<&str> {
    tasks.iter().map(|task| task.id.as_str().trim_end_matches('0')).collect()
}

#[test]
fn a_failing_change_takes_back_the_whole_entry() {
    let mut store = Store::new();
    store.apply(&entry(vec![create(service("web")), create(task("t1", "web", 1, Some("n1")))])).unwrap();
    let before = store.snapshot();

    let mut moved = task("t1", "web", 2, Some("n2"));
    moved.desired_state = skep_model::TaskState::Shutdown;
    let failing = entry(vec![
        create(node("n9", NodeRole::Worker)),
        update(moved),
        remove(service("web")),
        create(service("api")),
        update(service("nobody")),
    ]);
    let missing = ApplyError::Missing { kind: "service", id: id("nobody") };
    assert_eq!(store.apply(&failing), Err(missing));

    assert_eq!(store.snapshot(), before);
    assert_eq!(ids(&store.tasks_in_slot(&service_id("web"), 1)), ["t1"]);
    assert_eq!(ids(&store.tasks_on_node(&node_id("n1"))), ["t1"]);
    assert!(store.tasks_on_node(&node_id("n2")).is_empty());
    assert!(store.service_by_name("api").is_none());
    assert!(store.service_by_name("WEB").is_some());
}

#[test]
fn objects_are_created_once_and_changed_only_where_they_are() {
    let mut store = Store::new();
    store.apply(&entry(vec![create(service("web"))])).unwrap();
    let exists = ApplyError::Exists { kind: "service", id: id("web") };
    assert_eq!(store.apply(&entry(vec![create(service("web"))])), Err(exists));
    for change in [update(task("t", "web", 1, None)), remove(task("t", "web", 1, None))] {
        let missing = ApplyError::Missing { kind: "task", id: id("t") };
        assert_eq!(store.apply(&entry(vec![change])), Err(missing));
    }
}

#[test]
fn names_are_unique_whatever_their_case_and_free_after_a_removal() {
    let mut store = Store::new();
    store.apply(&entry(vec![create(service("web"))])).unwrap();
    let mut other = service("other");
    other.spec = service("WEB").spec;
    let taken = ApplyError::NameTaken { kind: "service", name: "WEB".to_owned() };
    assert_eq!(store.apply(&entry(vec![create(other.clone())])), Err(taken));
    store.apply(&entry(vec![remove(service("web")), create(other)])).unwrap();
    assert_eq!(store.service_by_name("web").unwrap().id, service_id("other"));
    // Names of nodes are not unique.
    let mut twin = node("twin", NodeRole::Worker);
    twin.description = node("n1", NodeRole::Worker).description;
    store.apply(&entry(vec![create(node("n1", NodeRole::Worker)), create(twin)])).unwrap();
}

#[test]
fn resources_need_their_extension() {
    let mut store = Store::new();
    let orphan = store.apply(&entry(vec![create(resource("r", "plan"))]));
    assert_eq!(orphan, Err(ApplyError::UnknownResourceKind));
    store.apply(&entry(vec![create(extension("plan")), create(resource("r", "plan"))])).unwrap();
    assert_eq!(store.apply(&entry(vec![update(extension("plan"))])), Err(ApplyError::ExtensionImmutable));
    assert_eq!(store.apply(&entry(vec![remove(extension("plan"))])), Err(ApplyError::ExtensionInUse));
    store.apply(&entry(vec![remove(resource("r", "plan")), remove(extension("plan"))])).unwrap();
    let reserved = ApplyError::NameTaken { kind: "extension", name: "task".to_owned() };
    assert_eq!(store.apply(&entry(vec![create(extension("task"))])), Err(reserved));
}

#[test]
fn indices_follow_a_task_wherever_it_goes() {
    let mut store = Store::new();
    let tasks = [("b", 1, "n1"), ("a", 2, "n2"), ("c", 1, "n2")];
    let made = tasks.map(|(text, slot, node)| create(task(text, "web", slot, Some(node))));
    store.apply(&entry(made.to_vec())).unwrap();
    store.apply(&entry(vec![create(task("d", "webb", 1, None))])).unwrap();
    assert_eq!(ids(&store.tasks_of_service(&service_id("web"))), ["a", "b", "c"]);
    assert_eq!(ids(&store.tasks_in_slot(&service_id("web"), 1)), ["b", "c"]);
    assert_eq!(ids(&store.tasks_on_node(&node_id("n2"))), ["a", "c"]);
    assert_eq!(ids(&store.tasks()), ["a", "b", "c", "d"]);

    let events = store.apply(&entry(vec![update(task("c", "web", 3, Some("n1"))), remove(task("b", "", 0, None))]));
    let events = events.unwrap();
    assert_eq!(ids(&store.tasks_in_slot(&service_id("web"), 1)), Vec::<&str>::new());
    assert_eq!(ids(&store.tasks_on_node(&node_id("n1"))), ["c"]);
    assert_eq!(events[0].old.as_ref().and_then(|old| old.get::<Task>()).unwrap().slot, 1);
    // A removal may carry the id alone; the event carries what went.
    assert_eq!(events[1].object.get::<Task>().unwrap().slot, 1);
    assert!(store.task(&task_id("b")).is_none());
}

#[test]
fn two_stores_that_apply_the_same_log_are_equal_and_so_are_their_snapshots() {
    let log = [
        entry(vec![create(service("web")), create(task("t1", "web", 1, None))]),
        entry(vec![create(service("web"))]),
        entry(vec![update(task("t1", "web", 1, Some("n1"))), create(task("t2", "web", 2, None))]),
        entry(vec![remove(task("t2", "web", 2, None)), remove(task("t2", "web", 2, None))]),
    ];
    let run = |decoded: bool| {
        let mut store = Store::new();
        let verdicts: Vec<_> = log
            .iter()
            .map(|entry| match decoded {
                true => {
                    store.decode(entry.encode()).map(|entry| store.apply(&entry).map(|events| events.len())).unwrap()
                }
                false => store.apply(entry).map(|events| events.len()),
            })
            .collect();
        (verdicts, snapshot_bytes(&store))
    };
    assert_eq!(run(false), run(true));
    assert!(run(true).0[1].is_err() && run(true).0[3].is_err());
}

#[test]
fn a_snapshot_restores_every_table_and_index() {
    let mut store = Store::new();
    store
        .apply(&entry(vec![
            create(crate::fixture::cluster()),
            create(node("n1", NodeRole::Manager)),
            create(service("web")),
            create(task("t1", "web", 1, Some("n1"))),
            create(task("t2", "web", 2, Some("n1"))),
            create(extension("plan")),
            create(resource("r", "plan")),
        ]))
        .unwrap();
    let bytes = snapshot_bytes(&store);
    let mut restored = Store::new();
    restored.apply(&entry(vec![create(service("gone"))])).unwrap();
    restored.restore(prost::Message::decode(bytes.as_slice()).unwrap()).unwrap();
    assert_eq!(restored.snapshot(), store.snapshot());
    assert_eq!(store.snapshot().encoded_len(), bytes.len());
    let message: StoreSnapshot = prost::Message::decode(bytes.as_slice()).unwrap();
    assert_eq!(prost::Message::encode_to_vec(&message), bytes, "SwarmKit's form, in its order");
    assert_eq!(ids(&restored.tasks_on_node(&node_id("n1"))), ["t1", "t2"]);
    assert!(restored.service_by_name("gone").is_none());
    assert!(restored.cluster().is_some());
    let tasks = restored.tasks();
    assert!(tasks[0].spec.same(&tasks[1].spec), "one copy of a spec");
}

#[test]
fn a_snapshot_that_cannot_be_read_changes_nothing() {
    let mut store = Store::new();
    store.apply(&entry(vec![create(service("web"))])).unwrap();
    let mut snapshot: StoreSnapshot = prost::Message::decode(snapshot_bytes(&store).as_slice()).unwrap();
    snapshot.services.push(snapshot.services[0].clone());
    assert!(store.restore(snapshot.clone()).is_err());
    snapshot.services[1].value.id = String::new();
    assert!(store.restore(snapshot).is_err());
    assert!(store.service_by_name("web").is_some());
}

#[test]
fn decoded_tasks_share_the_spec_of_their_siblings() {
    let mut store = Store::new();
    for text in ["t1", "t2"] {
        let payload = entry(vec![create(task(text, "web", 1, None))]).encode();
        let decoded = store.decode(payload).unwrap();
        store.apply(&decoded).unwrap();
    }
    let tasks = store.tasks();
    assert!(tasks[0].spec.same(&tasks[1].spec));
}
