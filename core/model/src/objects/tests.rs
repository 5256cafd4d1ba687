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
