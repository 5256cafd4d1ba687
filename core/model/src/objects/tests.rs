use bytes::{Bytes, BytesMut};
use prost::Message;

use super::*;
use crate::kept::Kept;
use crate::pb::types::{ServiceSpec, TaskSpec};
use crate::verbatim::Verbatim;

/// A service spec as a newer engine would write it: an empty sub-message, and an unknown field.
fn newer_spec() -> Bytes {
    let known = ServiceSpec {
        annotations: Some(crate::pb::types::Annotations { name: "web".into(), ..Default::default() }),
        task: Some(TaskSpec { resources: Some(Default::default()), ..Default::default() }),
        ..Default::default()
    };
    let mut bytes = BytesMut::from(known.encode_to_vec().as_slice());
    prost::encoding::string::encode(999, &"from the future".to_owned(), &mut bytes);
    bytes.freeze()
}

fn service_bytes() -> Bytes {
    let mut bytes = BytesMut::new();
    prost::encoding::string::encode(1, &"0123456789abcdefghijklmno".to_owned(), &mut bytes);
    prost::encoding::bytes::encode(3, &newer_spec(), &mut bytes);
    prost::encoding::string::encode(777, &"tail".to_owned(), &mut bytes);
    bytes.freeze()
}

#[test]
fn specs_and_unknown_fields_come_back_byte_equal() {
    let kept = Kept::<pb::Service>::decode(service_bytes()).unwrap();
    let service = Service::try_from(kept).unwrap();
    assert_eq!(service.name(), "web");
    assert_eq!(service.spec.bytes(), &newer_spec());

    let again = Kept::<pb::Service>::from(&service).encode_to_vec();
    let decoded = Service::try_from(Kept::<pb::Service>::decode(&again[..]).unwrap()).unwrap();
    assert_eq!(decoded, service);
    assert_eq!(decoded.spec.bytes(), &newer_spec());
    assert!(again.windows(4).any(|window| window == b"tail"));
}

#[test]
fn an_edit_keeps_unknown_top_level_fields() {
    let spec = Verbatim::<ServiceSpec>::from_bytes(newer_spec()).unwrap();
    let edited = spec.edit(|spec| spec.annotations.as_mut().unwrap().name = "api".into());
    assert_eq!(edited.annotations.as_ref().unwrap().name, "api");
    assert!(edited.bytes().windows(15).any(|window| window == b"from the future"));
    assert!(!edited.bytes().windows(3).any(|window| window == b"web"));
}

#[test]
fn a_torn_message_is_refused() {
    let bytes = service_bytes();
    for cut in [bytes.len() - 1, bytes.len() - 6] {
        assert!(Kept::<pb::Service>::decode(bytes.slice(..cut)).is_err(), "cut at {cut}");
    }
}

/// Written straight from the task, it is what the message would be: whatever is there or missing.
#[test]
fn a_task_is_written_as_its_message() {
    use crate::ids::{NodeId, ServiceId, TaskId};
    let id = |text: &str| format!("{text:0<25}");
    let network = pb::Network { id: id("net"), ..Default::default() };
    let attachment = pb::NetworkAttachment {
        network: Some(network.into()),
        addresses: vec!["10.0.0.3/24".to_owned()],
        ..Default::default()
    };
    let bare = Task {
        id: TaskId::new(&id("task")).unwrap(),
        meta: Meta::default(),
        spec: Verbatim::default(),
        service_id: None,
        slot: 0,
        node_id: None,
        annotations: TaskAnnotations::Written(Default::default()),
        service_annotations: Default::default(),
        status: Default::default(),
        desired_state: Default::default(),
        networks: Default::default(),
        endpoint: None,
        log_driver: None,
        spec_version: None,
        extras: Default::default(),
    };
    let mut status = crate::pb::types::TaskStatus { message: "started".to_owned(), ..Default::default() };
    status.set_state(crate::pb::types::TaskState::Running);
    let extras = Extras {
        assigned_generic_resources: vec![Default::default()],
        job_iteration: Some(200),
        volumes: vec![Default::default()],
        unknown: service_bytes().slice(service_bytes().len() - 7..),
    };
    let full = Task {
        meta: Meta {
            version: 300,
            created_at: Some(WallTime(5)),
            updated_at: Some(WallTime(1_700_000_000_000_000_000)),
        },
        spec: Verbatim::new(TaskSpec { force_update: 3, ..Default::default() }),
        service_id: Some(ServiceId::new(&id("service")).unwrap()),
        slot: 12,
        annotations: TaskAnnotations::Usual,
        service_annotations: crate::pb::types::Annotations { name: "web".to_owned(), ..Default::default() }.into(),
        status,
        desired_state: crate::pb::types::TaskState::Running,
        networks: vec![attachment.clone(), attachment].into(),
        endpoint: Some(pb::Endpoint::default().into()),
        log_driver: Some(crate::pb::types::Driver { name: "json-file".to_owned(), ..Default::default() }.into()),
        spec_version: Some(0),
        extras: extras.into(),
        ..bare.clone()
    };
    let global = Task { slot: 0, node_id: Some(NodeId::new(&id("node")).unwrap()), ..full.clone() };
    let jobs_first = Task { slot: 0, annotations: TaskAnnotations::of_new("web", 0, None, &full.id), ..full.clone() };
    for task in [bare, full, global, jobs_first] {
        let mut bytes = Vec::new();
        task.encode(&mut bytes);
        assert_eq!(bytes, Kept::<pb::Task>::from(&task).encode_to_vec(), "{task:?}");
        assert_eq!(bytes.len(), task.encoded_len());
    }
}
