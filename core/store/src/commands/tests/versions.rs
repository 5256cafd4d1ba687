//! New data of secrets and configs.

use bytes::Bytes;
use skep_model::objects::version;
use skep_model::pb::messages as m;
use skep_model::pb::types as t;
use skep_model::pb::types::task_spec::Runtime;
use skep_model::pb::types::update_status::UpdateState;
use skep_model::{Code, Config, Refusal, Secret, Service, Verbatim};

use crate::fixture::{Swarm, service, service_spec};
use crate::versions::{Dependency, earlier};
use crate::{Find, Read, Tx};

fn spec(name: &str, data: &str, labels: &[(&str, &str)]) -> t::SecretSpec {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let annotations = Some(t::Annotations { name: name.to_owned(), labels, ..Default::default() });
    t::SecretSpec { annotations, data: Bytes::copy_from_slice(data.as_bytes()), ..Default::default() }
}

fn current(swarm: &Swarm) -> std::sync::Arc<Secret> {
    swarm.ledger.committed().secret_by_name("key").expect("the newest version has the name")
}

/// A swarm with the secret `key` that these services use.
fn swarm(services: &[&str]) -> Swarm {
    let mut swarm = Swarm::new();
    let create = m::CreateSecretRequest { spec: Some(Verbatim::new(spec("key", "one", &[]))) };
    swarm.ask(create).expect("created");
    for name in services {
        let using = using(name, current(&swarm).id.as_str());
        swarm = swarm.with(Service { spec: Verbatim::new(using), spec_version: Some(3), ..service(name) });
    }
    swarm
}

fn using(service: &str, id: &str) -> t::ServiceSpec {
    let mut spec = service_spec(service);
    if let Some(Runtime::Container(container)) = &mut spec.task.get_or_insert_default().runtime {
        let file = t::FileTarget { name: "key".to_owned(), ..Default::default() };
        container.secrets.push(t::SecretReference {
            secret_id: id.to_owned(),
            secret_name: "key".to_owned(),
            target: Some(t::secret_reference::Target::File(file)),
        });
    }
    spec
}

fn update(swarm: &mut Swarm, spec: t::SecretSpec) -> Result<m::UpdateSecretResponse, Refusal> {
    let stored = current(swarm);
    swarm.ask(m::UpdateSecretRequest {
        secret_id: stored.id.to_string(),
        secret_version: Some(version(stored.meta.version)),
        spec: Some(Verbatim::new(spec)),
    })
}

fn change(swarm: &mut Swarm, name: &str, change: impl FnOnce(&mut Service)) {
    let mut service = (*swarm.ledger.committed().service_by_name(name).expect("it is there")).clone();
    change(&mut service);
    swarm.transact(|tx| tx.update(service)).expect("the change fits");
}

fn used(spec: &t::ServiceSpec) -> String {
    match spec.task.as_ref().and_then(|task| task.runtime.as_ref()) {
        Some(Runtime::Container(container)) => container.secrets[0].secret_id.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn new_data_is_a_version_of_its_own_and_rolls_its_services() {
    let mut swarm = swarm(&["web", "api"]);
    swarm = swarm.with(service("other"));
    let (first, other) = (current(&swarm), swarm.ledger.committed().service_by_name("other"));
    let answer = update(&mut swarm, spec("key", "two", &[("team", "a")])).expect("accepted");
    let second = current(&swarm);
    assert_eq!(answer.secret.expect("told").value.id, second.id.as_str());
    assert_ne!(first.id, second.id);
    assert_eq!((&second.spec.data[..], second.given_name()), (&b"two"[..], "key"));
    assert_eq!(second.spec.annotations.as_ref().expect("some").labels.len(), 1, "no label of ours is on the newest");
    let old = swarm.ledger.committed().secret(&first.id).expect("the earlier version stays");
    assert_eq!((old.given_name(), &old.spec.data), ("key", &first.spec.data));
    assert!(old.spec.annotations.as_ref().expect("some").name.len() <= 64);
    for name in ["web", "api"] {
        let service = swarm.ledger.committed().service_by_name(name).expect("it is there");
        assert_eq!(used(&service.spec), second.id.as_str());
        assert_eq!(used(service.previous_spec.as_ref().expect("a way back")), first.id.as_str());
        assert_eq!((service.previous_spec_version, service.spec_version > Some(3)), (Some(3), true));
        assert_eq!(service.update_status, None, "an update that its own config rolls out");
    }
    assert_eq!(swarm.ledger.committed().service_by_name("other"), other, "nobody else is touched");

    // One of them is listed, unless earlier versions are asked for.
    let mut listed = |filters: m::list_secrets_request::Filters| {
        swarm.ask(m::ListSecretsRequest { filters: Some(filters) }).expect("a list").secrets
    };
    let all = listed(Default::default());
    assert_eq!((all.len(), all[0].value.id.as_str()), (1, second.id.as_str()));
    assert_eq!(
        listed(m::list_secrets_request::Filters { id_prefixes: vec![first.id.to_string()], ..Default::default() }),
        []
    );
    let labels = [("skep.version.of".to_owned(), "key".to_owned())].into();
    let before = listed(m::list_secrets_request::Filters { labels, ..Default::default() });
    assert_eq!((before.len(), before[0].value.id.as_str()), (1, first.id.as_str()));
}

#[test]
fn names_of_any_length_have_room_for_versions() {
    let long = "n".repeat(64);
    let mut swarm = Swarm::new();
    swarm.ask(m::CreateSecretRequest { spec: Some(Verbatim::new(spec(&long, "0", &[]))) }).expect("created");
    for data in ["1", "2", "3"] {
        let stored = swarm.ledger.committed().secret_by_name(&long).expect("it is there");
        swarm
            .ask(m::UpdateSecretRequest {
                secret_id: stored.id.to_string(),
                secret_version: Some(version(stored.meta.version)),
                spec: Some(Verbatim::new(spec(&long, data, &[]))),
            })
            .expect("accepted");
    }
    let before = earlier::<Secret>(swarm.ledger.committed(), &long);
    assert_eq!(before.len(), 3);
    assert!(before.iter().all(|version| version.spec.annotations.as_ref().expect("some").name.len() == 64));
}

#[test]
fn the_same_data_changes_labels_alone() {
    let mut swarm = swarm(&["web"]);
    let before = (current(&swarm).id.clone(), swarm.ledger.committed().service_by_name("web"));
    for data in ["one", ""] {
        update(&mut swarm, spec("key", data, &[("team", "a")])).expect("accepted");
        assert_eq!((current(&swarm).id.clone(), swarm.ledger.committed().service_by_name("web")), before);
        assert_eq!(current(&swarm).spec.data, "one");
    }
    // The same text as a template is something else.
    let driver = Some(t::Driver { name: "golang".to_owned(), ..Default::default() });
    update(&mut swarm, t::SecretSpec { templating: driver, ..spec("key", "one", &[]) }).expect("accepted");
    assert_ne!(current(&swarm).id, before.0);
}

#[test]
fn wrong_updates_are_refused_and_change_nothing() {
    let mut swarm = swarm(&["web"]);
    let refused = |swarm: &mut Swarm, spec: t::SecretSpec| {
        let refusal = update(swarm, spec).expect_err("refused");
        (refusal.code, refusal.message)
    };
    let renamed = refused(&mut swarm, spec("other", "two", &[]));
    assert_eq!(renamed, (Code::InvalidArgument, "only updates to Labels are allowed".to_owned()));
    let (_, message) = refused(&mut swarm, spec("key", &"x".repeat(512_000), &[]));
    assert_eq!(message, "secret data must be larger than 0 and less than 512000 bytes");
    let (_, message) = refused(&mut swarm, spec("key", "two", &[("skep.version.of", "key")]));
    assert_eq!(message, "label skep.version.of is set by Skep itself: leave it out");
    let (_, message) = refused(&mut swarm, spec("key", "two", &[("skep.reload", "now")]));
    assert!(message.starts_with("label skep.reload=now is not known"), "{message}");
    let stored = current(&swarm);
    let request = m::UpdateSecretRequest {
        secret_id: stored.id.to_string(),
        secret_version: Some(version(stored.meta.version)),
        spec: Some(Verbatim::new(spec("key", "two", &[]))),
    };
    swarm.ask(request.clone()).expect("accepted");
    // Whoever comes second is told: the object was replaced under it.
    let refusal = swarm.ask(request).expect_err("refused");
    assert_eq!(refusal.code, Code::FailedPrecondition);
    let newest = current(&swarm).id.clone();
    assert!(refusal.message.ends_with(&format!(": update key ({newest})")), "{}", refusal.message);
    assert_eq!(current(&swarm).spec.data, "two");
}

#[test]
fn two_large_versions_do_not_fit_one_entry_and_are_told_so() {
    let mut swarm = Swarm::new();
    let config = |length: usize| t::ConfigSpec {
        annotations: Some(t::Annotations { name: "page".to_owned(), ..Default::default() }),
        data: Bytes::from(vec![b'x'; length]),
        ..Default::default()
    };
    swarm.ask(m::CreateConfigRequest { spec: Some(Verbatim::new(config(1_000_000))) }).expect("created");
    let stored = swarm.ledger.committed().config_by_name("page").expect("it is there");
    let mut update = |length: usize| {
        swarm.ask(m::UpdateConfigRequest {
            config_id: stored.id.to_string(),
            config_version: Some(version(stored.meta.version)),
            spec: Some(Verbatim::new(config(length))),
        })
    };
    let refusal = update(310_721).expect_err("refused");
    assert!(refusal.message.contains("1310721 bytes together") && refusal.message.contains("another name"));
    update(310_720).expect("accepted");
    assert_eq!(earlier::<Config>(swarm.ledger.committed(), "page").len(), 1);
}

#[test]
fn a_service_goes_back_to_its_version_and_on_with_it() {
    let mut swarm = swarm(&["web"]);
    let first = current(&swarm).id.clone();
    update(&mut swarm, spec("key", "two", &[])).expect("accepted");
    let request = |swarm: &Swarm, spec: t::ServiceSpec, rollback: i32| m::UpdateServiceRequest {
        service_id: swarm.ledger.committed().service_by_name("web").expect("it is there").id.to_string(),
        service_version: swarm.version_of_service("web"),
        spec: Some(Verbatim::new(spec)),
        rollback,
    };
    let newest = current(&swarm).id.to_string();
    swarm.ask(request(&swarm, using("web", &newest), 1)).expect("rolled back");
    let service = swarm.ledger.committed().service_by_name("web").expect("it is there");
    assert_eq!(used(&service.spec), first.as_str());
    // A client sends back what it read: the earlier version under its name.
    let mut changed = using("web", first.as_str());
    changed.task.get_or_insert_default().force_update = 1;
    swarm.ask(request(&swarm, changed, 0)).expect("accepted");
    // The next data reaches it all the same, and it counts as a user meanwhile.
    let refusal = swarm.ask(m::RemoveSecretRequest { secret_id: newest }).expect_err("in use");
    assert_eq!(refusal.message, "secret 'key' is in use by the following service: web");
    update(&mut swarm, spec("key", "three", &[])).expect("accepted");
    let service = swarm.ledger.committed().service_by_name("web").expect("it is there");
    assert_eq!(used(&service.spec), current(&swarm).id.as_str());
    // With the service all versions may go.
    swarm.ask(m::RemoveServiceRequest { service_id: service.id.to_string() }).expect("removed");
    swarm.ask(m::RemoveSecretRequest { secret_id: current(&swarm).id.to_string() }).expect("removed");
    assert_eq!(swarm.ledger.committed().secrets(), []);
}

#[test]
fn a_rollback_to_what_is_gone_is_refused() {
    let mut swarm = swarm(&["web"]);
    let first = current(&swarm).id.clone();
    update(&mut swarm, spec("key", "two", &[])).expect("accepted");
    swarm.ask(m::RemoveSecretRequest { secret_id: first.to_string() }).expect("nobody's spec refers to it");
    let service = swarm.ledger.committed().service_by_name("web").expect("it is there");
    let refusal = swarm.ask(m::UpdateServiceRequest {
        service_id: service.id.to_string(),
        service_version: swarm.version_of_service("web"),
        spec: Some(service.spec.clone()),
        rollback: 1,
    });
    assert_eq!(refusal.expect_err("refused").message, "secret not found: key");
}

#[test]
fn what_a_stack_deploys_in_two_steps_is_taken_back_in_one() {
    let mut swarm = swarm(&["web"]);
    let first = current(&swarm).id.clone();
    update(&mut swarm, spec("key", "two", &[])).expect("accepted");
    let deploy = |swarm: &mut Swarm, force: u64| {
        let mut spec = using("web", current(swarm).id.as_str());
        spec.task.get_or_insert_default().force_update = force;
        let service = swarm.ledger.committed().service_by_name("web").expect("it is there");
        swarm
            .ask(m::UpdateServiceRequest {
                service_id: service.id.to_string(),
                service_version: swarm.version_of_service("web"),
                spec: Some(Verbatim::new(spec)),
                rollback: 0,
            })
            .expect("accepted");
        swarm.ledger.committed().service_by_name("web").expect("it is there")
    };
    let service = deploy(&mut swarm, 1);
    assert_eq!(used(service.previous_spec.as_ref().expect("some")), first.as_str());
    assert_eq!(service.previous_spec_version, Some(3));
    // Once the new version was reached it is what a later update goes back to.
    update(&mut swarm, spec("key", "three", &[])).expect("accepted");
    let third = current(&swarm).id.clone();
    change(&mut swarm, "web", |service| {
        service.update_status = Some(t::UpdateStatus { state: UpdateState::Completed.into(), ..Default::default() });
    });
    let service = deploy(&mut swarm, 2);
    assert_eq!(used(service.previous_spec.as_ref().expect("some")), third.as_str());
}

#[test]
fn live_data_changes_in_place() {
    let mut swarm = swarm(&["web"]);
    let (first, service) = (current(&swarm), swarm.ledger.committed().service_by_name("web"));
    update(&mut swarm, spec("key", "two", &[("skep.reload", "live"), ("skep.reload.signal", "SIGHUP")]))
        .expect("accepted");
    let second = current(&swarm);
    assert_eq!((&second.id, &second.spec.data[..]), (&first.id, &b"two"[..]));
    assert_eq!(swarm.ledger.committed().secrets().len(), 1);
    assert_eq!(swarm.ledger.committed().service_by_name("web"), service);
}

#[test]
fn what_does_not_fit_one_entry_is_left_for_later() {
    let names: Vec<String> = (0..1200).map(|number| format!("s{number:04}")).collect();
    let mut swarm = swarm(&[]);
    let id = current(&swarm).id.to_string();
    for names in names.chunks(400) {
        let create = |tx: &mut Tx| {
            names.iter().try_for_each(|name| {
                let mut spec = using(name, &id);
                spec.annotations.get_or_insert_default().labels.insert("large".to_owned(), "x".repeat(1000));
                tx.create(Service { spec: Verbatim::new(spec), ..service(name) })
            })
        };
        swarm.transact(create).expect("created");
    }
    update(&mut swarm, spec("key", "two", &[])).expect("accepted");
    let newest = current(&swarm);
    assert!(newest.is_pending());
    let services = swarm.ledger.committed().list::<Service>();
    let done = services.iter().filter(|service| used(&service.spec) == newest.id.as_str()).count();
    assert!((100..1200).contains(&done), "{done}");
    update(&mut swarm, spec("key", "two", &[("a", "b")])).expect("accepted");
    assert!(current(&swarm).is_pending(), "labels of clients leave ours alone");
}
