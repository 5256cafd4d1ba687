use skep_model::objects::version;
use skep_model::pb::messages as m;
use skep_model::{Code, ControlRequest};

use crate::Read;
use crate::fixture::{NOW, Swarm, annotations, id};

fn extension(name: &str) -> m::CreateExtensionRequest {
    m::CreateExtensionRequest { annotations: annotations(name), description: "a kind".to_owned() }
}

fn resource(name: &str, kind: &str) -> m::CreateResourceRequest {
    m::CreateResourceRequest { annotations: annotations(name), kind: kind.to_owned(), payload: None }
}

#[test]
fn resources_live_under_their_extension() {
    let mut swarm = Swarm::new();
    let unregistered = swarm.ask(resource("monday", "plan")).unwrap_err();
    assert_eq!(
        (unregistered.code, unregistered.message.as_str()),
        (Code::InvalidArgument, "Kind plan is not registered")
    );
    let extension_id = swarm.ask(extension("plan")).unwrap().extension.unwrap().value.id;
    let id = swarm.ask(resource("monday", "plan")).unwrap().resource.unwrap().value.id;
    let taken = swarm.ask(resource("Monday", "plan")).unwrap_err();
    assert_eq!(taken.message, "A resource with name Monday already exists");
    assert_eq!(swarm.ask(resource("", "plan")).unwrap_err().message, "Resource must have a name");
    assert_eq!(swarm.ask(resource("x", "")).unwrap_err().message, "Resource must belong to an Extension");
    let used = swarm.ask(m::RemoveExtensionRequest { extension_id: extension_id.clone() }).unwrap_err();
    assert_eq!(used.message, "extension 'plan' is in use by the following resource: monday");

    let payload = Some(prost_types::Any { type_url: "x".to_owned(), value: vec![1] });
    let update = m::UpdateResourceRequest {
        resource_id: id.clone(),
        resource_version: Some(version(11)),
        annotations: None,
        payload: payload.clone(),
    };
    let updated = swarm.ask(update.clone()).unwrap().resource.unwrap().value;
    assert_eq!(updated.payload, payload);
    assert_eq!(updated.annotations.as_ref().unwrap().name, "monday");
    let stale = swarm.ask(update.clone()).unwrap_err();
    assert_eq!((stale.code, stale.message.as_str()), (Code::InvalidArgument, "update out of sequence"));
    let renamed = m::UpdateResourceRequest { annotations: annotations("tuesday"), ..update };
    assert_eq!(swarm.ask(renamed).unwrap_err().message, "cannot change resource name");

    let filters = m::list_resources_request::Filters { kind: "plan".to_owned(), ..Default::default() };
    assert_eq!(swarm.ask(m::ListResourcesRequest { filters: Some(filters) }).unwrap().resources.len(), 1);
    let filters = m::list_resources_request::Filters { kind: "other".to_owned(), ..Default::default() };
    assert!(swarm.ask(m::ListResourcesRequest { filters: Some(filters) }).unwrap().resources.is_empty());
    swarm.ask(m::RemoveResourceRequest { resource_id: id }).unwrap();
    swarm.ask(m::RemoveExtensionRequest { extension_id }).unwrap();
    assert!(swarm.ledger.committed().extensions().is_empty());
}

#[test]
fn extensions_are_not_named_like_built_in_kinds() {
    let mut swarm = Swarm::new();
    let built_in = swarm.ask(extension("service")).unwrap_err();
    assert_eq!((built_in.code, built_in.message.as_str()), (Code::AlreadyExists, "extension service already exists"));
    assert_eq!(swarm.ask(extension("")).unwrap_err().message, "extension name must be provided");
    let unknown = swarm.ask(m::GetExtensionRequest { extension_id: id("x") }).unwrap_err();
    assert_eq!(unknown.message, format!("extension {} not found", id("x")));
}

#[test]
fn volumes_are_not_available_but_may_be_asked_for() {
    let mut swarm = Swarm::new();
    assert_eq!(swarm.ask(m::CreateVolumeRequest::default()).unwrap_err().code, Code::Unimplemented);
    assert_eq!(swarm.ask(m::RemoveVolumeRequest::default()).unwrap_err().code, Code::Unimplemented);
    assert!(swarm.ask(m::ListVolumesRequest::default()).unwrap().volumes.is_empty());
    let unknown = swarm.ask(m::GetVolumeRequest { volume_id: id("v") }).unwrap_err();
    assert_eq!(unknown.message, format!("volume {} not found", id("v")));
}

#[test]
fn a_question_may_be_asked_inside_a_transaction() {
    let mut swarm = Swarm::new();
    let expiry = |_: &[u8]| None;
    let mut rng: rand_chacha::ChaCha8Rng = rand_chacha::rand_core::SeedableRng::seed_from_u64(0);
    let mut context = crate::commands::CommandContext {
        now: NOW,
        rng: &mut rng,
        members: &[],
        certificate_expiry: &expiry,
        root_under: &|cluster, _| Ok(cluster.root_ca.clone()),
        extended_constraints: false,
        skep_nodes: &Default::default(),
    };
    let answer = swarm
        .transact(|tx| crate::commands::execute(tx, &mut context, ControlRequest::ListServices(Default::default())));
    assert_eq!(answer.unwrap(), m::ListServicesResponse::default().into());
}
