//! Settings, remotes and tasks.

use std::collections::BTreeMap;

use bytes::Bytes;
use skep_model::TaskId;

use super::mode;
use crate::record::{self, RecordError};
use crate::tasks::TaskChange;
use crate::{DiskError, NodeSettings, Remote, StoredTask, TaskStore, read_file, remove_dir, remove_file, write_file};

#[test]
fn settings_are_dockers_json() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(NodeSettings::load(dir.path()).unwrap(), None);
    assert_eq!(Remote::load_all(dir.path()).unwrap(), []);
    let settings = NodeSettings {
        listen_addr: "0.0.0.0:2377".to_owned(),
        advertise_addr: "10.0.0.1:2377".to_owned(),
        default_address_pool: Some(vec!["10.0.0.0/8".to_owned()]),
        subnet_size: 24,
        join_in_progress: true,
        ..NodeSettings::default()
    };
    settings.save(dir.path()).unwrap();
    let path = dir.path().join("docker-state.json");
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        r#"{"LocalAddr":"","RemoteAddr":"","ListenAddr":"0.0.0.0:2377","AdvertiseAddr":"10.0.0.1:2377","DataPathAddr":"","DefaultAddressPool":["10.0.0.0/8"],"SubnetSize":24,"DataPathPort":0,"JoinInProgress":true}"#
    );
    assert_eq!(NodeSettings::load(dir.path()).unwrap(), Some(settings));
    let remotes = vec![Remote { node_id: "abc".to_owned(), addr: "10.0.0.1:2377".to_owned() }];
    Remote::save_all(dir.path(), &remotes).unwrap();
    let text = std::fs::read_to_string(dir.path().join("state.json")).unwrap();
    assert_eq!(text, r#"[{"NodeID":"abc","Addr":"10.0.0.1:2377"}]"#);
    assert_eq!(Remote::load_all(dir.path()).unwrap(), remotes);
    assert_eq!(mode(&path), 0o600);

    // What an older or newer one leaves out or adds does not hurt; what is no JSON does.
    std::fs::write(&path, r#"{"ListenAddr":"a","Later":1,"DefaultAddressPool":null}"#).unwrap();
    assert_eq!(NodeSettings::load(dir.path()).unwrap().unwrap().listen_addr, "a");
    std::fs::write(&path, "{").unwrap();
    assert!(matches!(NodeSettings::load(dir.path()), Err(DiskError::Damaged { .. })));
    NodeSettings::remove(dir.path()).unwrap();
    NodeSettings::remove(dir.path()).unwrap();
    assert_eq!(NodeSettings::load(dir.path()).unwrap(), None);
}

#[test]
fn a_file_is_replaced_as_a_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    write_file(&path, b"before").unwrap();
    std::fs::create_dir(dir.path().join(".file.tmp")).unwrap();
    assert!(matches!(write_file(&path, b"after"), Err(DiskError::Write { .. })));
    assert_eq!(read_file(&path).unwrap().as_deref(), Some(&b"before"[..]));
    std::fs::remove_dir(dir.path().join(".file.tmp")).unwrap();
    write_file(&path, b"after").unwrap();
    assert_eq!(read_file(&path).unwrap().as_deref(), Some(&b"after"[..]));
    remove_file(&path).unwrap();
    assert_eq!(read_file(&path).unwrap(), None);
}

#[test]
fn a_directory_vanishes_with_what_an_earlier_try_left() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("swarm");
    remove_dir(&state).unwrap();
    std::fs::create_dir_all(state.join("raft")).unwrap();
    std::fs::create_dir_all(dir.path().join(".swarm.removed/raft")).unwrap();
    write_file(&state.join("raft/file"), b"x").unwrap();
    remove_dir(&state).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn tasks_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("worker");
    let mut tasks = TaskStore::open(&dir).unwrap();
    assert_eq!(tasks.all().unwrap(), BTreeMap::new());
    let id = |name: &str| TaskId::new(name).unwrap();
    let stored = |task: &'static str, status: Option<&'static str>, assigned| StoredTask {
        task: Bytes::from_static(task.as_bytes()),
        status: status.map(|status| Bytes::from_static(status.as_bytes())),
        assigned,
    };
    tasks.put(&id("one"), &stored("task", Some("running"), true)).unwrap();
    tasks.put(&id("two"), &stored("task", None, true)).unwrap();
    tasks.put(&id("three"), &stored("task", Some("failed"), true)).unwrap();
    tasks.remove(&id("three")).unwrap();
    tasks
        .write(&[
            TaskChange::Status(id("one"), Bytes::from_static(b"complete")),
            TaskChange::Assigned(id("one"), false),
            TaskChange::Task(id("one"), Bytes::from_static(b"task again")),
        ])
        .unwrap();
    drop(tasks);
    let all = TaskStore::open(&dir).unwrap().all().unwrap();
    let expected =
        [(id("one"), stored("task again", Some("complete"), false)), (id("two"), stored("task", None, true))];
    assert_eq!(all, BTreeMap::from(expected));
    assert_eq!((mode(&dir), mode(&dir.join("tasks.db"))), (0o700, 0o600));
}

#[test]
fn a_damaged_task_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tasks.db"), b"not a database, but long enough to be read as a header of one")
        .unwrap();
    match TaskStore::open(dir.path()) {
        Err(DiskError::Damaged { .. }) => {}
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("opened"),
    }
}

#[test]
fn records_are_swarmkits() {
    let key = [5; 32];
    let clear = record::wrap(b"plain", None).unwrap();
    // Field 2, five bytes; the algorithm 0 is left out.
    assert_eq!(clear, b"\x12\x05plain");
    assert_eq!(&record::unwrap(&clear, None).unwrap()[..], b"plain");
    let sealed = record::wrap(b"plain", Some(&key)).unwrap();
    assert_eq!(&record::unwrap(&sealed, Some(&key)).unwrap()[..], b"plain");
    assert_eq!(record::unwrap(&sealed, None), Err(RecordError::Locked));
    assert_eq!(record::unwrap(&sealed, Some(&[6; 32])), Err(RecordError::WrongKey));
    assert_eq!(record::unwrap(b"\xff", None), Err(RecordError::Undecodable));
    assert_eq!(record::unwrap(b"\x08\x02", None), Err(RecordError::UnknownAlgorithm(2)));
}

#[test]
fn a_task_file_that_was_being_made_when_its_process_died_is_none() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(".tasks.db.tmp"), [0; 1000]).unwrap();
    assert!(crate::TaskStore::open(dir.path()).unwrap().all().unwrap().is_empty());
    assert!(crate::TaskStore::open(dir.path()).unwrap().all().unwrap().is_empty());
}
