use bytes::{Bytes, BytesMut};
use prost::Message;
use skep_model::pb::types::{ServiceSpec, TaskSpec};
use skep_model::{Service, Verbatim};

use super::*;
use crate::fixture::{id, service, task};

/// A spec as a newer engine would write it: an empty sub-message and an unknown field.
fn newer_spec() -> Bytes {
    let known = ServiceSpec {
        annotations: crate::fixture::annotations("web"),
        task: Some(TaskSpec { resources: Some(Default::default()), ..Default::default() }),
        ..Default::default()
    };
    let mut bytes = BytesMut::from(known.encode_to_vec().as_slice());
    prost::encoding::string::encode(999, &"from the future".to_owned(), &mut bytes);
    bytes.freeze()
}

#[test]
fn unknown_fields_travel_through_log_and_snapshot() {
    let mut object = service("web");
    object.spec = Verbatim::from_bytes(newer_spec()).unwrap();
    let mut unknown = BytesMut::new();
    prost::encoding::string::encode(777, &"tail".to_owned(), &mut unknown);
    object.unknown = unknown.freeze();
    let entry = Entry { id: 7, changes: [Change { action: Action::Create, object: object.clone().into() }].into() };

    let decoded = Entry::decode(entry.encode()).unwrap();
    assert_eq!(decoded, entry);
    assert_eq!(decoded.encode(), entry.encode());

    let mut store = crate::Store::new();
    store.apply(&decoded).unwrap();
    let mut restored = crate::Store::new();
    restored.restore(Message::decode(crate::fixture::snapshot_bytes(&store).as_slice()).unwrap()).unwrap();
    let kept = crate::Read::service(&restored, &object.id).unwrap();
    assert_eq!(*kept, object);
    assert_eq!(kept.spec.bytes(), &newer_spec());
}

#[test]
fn the_payload_is_swarmkits_request() {
    let entry = Entry {
        id: 0xfeed,
        changes: [
            Change { action: Action::Update, object: service("web").into() },
            Change { action: Action::Remove, object: task("t", "web", 1, None).into() },
        ]
        .into(),
    };
    let request = InternalRaftRequest::decode(entry.encode()).unwrap();
    assert_eq!(request.id, 0xfeed);
    assert_eq!(request.action[0].action(), StoreActionKind::Update);
    assert_eq!(request.action[1].action(), StoreActionKind::Remove);
    assert!(matches!(&request.action[0].target, Some(Target::Service(kept)) if kept.value.id == id("web")));
    assert_eq!(Entry::peek_id(&entry.encode()).unwrap(), 0xfeed);
    let sum: usize = entry.changes.iter().map(change_len).sum();
    let id_length = Entry { id: 0xfeed, changes: [].into() }.encode().len();
    assert_eq!(sum + id_length, entry.encode().len());
}

#[test]
fn what_we_do_not_know_consumes_the_entry() {
    let known = action(&Change { action: Action::Create, object: service("web").into() });
    let no_target = StoreAction { action: StoreActionKind::Create.into(), target: None };
    let no_action = StoreAction { action: 9, ..known.clone() };
    for strange in [no_target, no_action] {
        let request = InternalRaftRequest { id: 3, action: vec![known.clone(), strange] };
        let verdict = Entry::decode(Bytes::from(request.encode_to_vec()));
        assert!(matches!(verdict, Err(CodecError::UnknownAction { id: 3, index: 1 })), "{verdict:?}");
    }
    let mut nameless = Kept::from(&service("web"));
    nameless.value.id = String::new();
    let target = Some(Target::Service(nameless));
    let request = InternalRaftRequest { id: 3, action: vec![StoreAction { action: 1, target }] };
    assert!(matches!(Entry::decode(Bytes::from(request.encode_to_vec())), Err(CodecError::Object(_))));
    assert!(matches!(Entry::decode(Bytes::from_static(b"\x12\xff")), Err(CodecError::Decode(_))));
}

#[test]
fn a_service_without_a_spec_is_still_an_object() {
    let bare = Kept::new(skep_model::pb::objects::Service { id: id("bare"), ..Default::default() });
    let request =
        InternalRaftRequest { id: 1, action: vec![StoreAction { action: 1, target: Some(Target::Service(bare)) }] };
    let entry = Entry::decode(Bytes::from(request.encode_to_vec())).unwrap();
    assert_eq!(entry.changes[0].object.get::<Service>().unwrap().name(), "");
}

#[test]
fn a_task_is_measured_as_it_is_written() {
    use skep_model::pb::objects::{Endpoint, Network, NetworkAttachment};
    use skep_model::pb::types as t;
    let mut whole = task("t", "web", 300, Some("n1"));
    whole.meta = skep_model::Meta { version: 900, created_at: Some(skep_model::WallTime(7)), updated_at: None };
    whole.networks = vec![
        NetworkAttachment {
            network: Some(Network { id: id("net"), ..Default::default() }.into()),
            addresses: vec!["10.0.0.3/24".to_owned()],
            ..Default::default()
        };
        2
    ]
    .into();
    whole.endpoint = Some(Endpoint { ports: vec![Default::default()], ..Default::default() }.into());
    whole.log_driver = Some(t::Driver { name: "json-file".to_owned(), ..Default::default() }.into());
    let extras = whole.extras.edit();
    extras.job_iteration = Some(3);
    extras.assigned_generic_resources = vec![Default::default(); 2];
    extras.volumes = vec![t::VolumeAttachment { id: "v".to_owned(), ..Default::default() }];
    let mut unknown = BytesMut::new();
    prost::encoding::string::encode(777, &"tail".to_owned(), &mut unknown);
    extras.unknown = unknown.freeze();
    whole.status.err = "no suitable node".to_owned();
    let mut bare = task("t", "web", 0, None);
    bare.service_id = None;
    bare.spec_version = None;
    // Without slot and node the name may yet change, so it stays as it was written.
    bare.annotations = skep_model::objects::TaskAnnotations::Written(Default::default());
    let mut written = task("t", "web", 1, None);
    let own = t::Annotations { name: "mine".to_owned(), ..Default::default() };
    written.annotations = skep_model::objects::TaskAnnotations::Written(own.into());
    for task in [whole, bare, written] {
        let message: Kept<skep_model::pb::objects::Task> = Kept::from(&task);
        assert_eq!(task.encoded_len(), message.encoded_len());
        assert_eq!(
            skep_model::Task::try_from(Kept::decode(message.encode_to_vec().as_slice()).unwrap()).unwrap(),
            task
        );
    }
}
