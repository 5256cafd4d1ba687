use bytes::Bytes;
use skep_model::objects::version;
use skep_model::pb::messages as m;
use skep_model::pb::types as t;
use skep_model::pb::types::task_spec::Runtime;
use skep_model::{Code, Object, Service, Verbatim};

use crate::Read;
use crate::fixture::{Swarm, annotations, service, service_spec};

const DATA: &str = "opened by nobody";

fn secret(name: &str) -> t::SecretSpec {
    t::SecretSpec { annotations: annotations(name), data: DATA.into(), ..Default::default() }
}

fn config(name: &str) -> t::ConfigSpec {
    t::ConfigSpec { annotations: annotations(name), data: DATA.into(), ..Default::default() }
}

fn create_secret(spec: t::SecretSpec) -> m::CreateSecretRequest {
    m::CreateSecretRequest { spec: Some(Verbatim::new(spec)) }
}

fn create_config(spec: t::ConfigSpec) -> m::CreateConfigRequest {
    m::CreateConfigRequest { spec: Some(Verbatim::new(spec)) }
}

fn carries_data(message: &impl prost::Message) -> bool {
    message.encode_to_vec().windows(DATA.len()).any(|window| window == DATA.as_bytes())
}

#[test]
fn a_secrets_data_goes_in_and_never_comes_out() {
    let mut swarm = Swarm::new();
    let made = swarm.ask(create_secret(secret("key"))).unwrap();
    assert!(!carries_data(&made));
    let id = made.secret.unwrap().value.id;
    assert!(!carries_data(&swarm.ask(m::GetSecretRequest { secret_id: id.clone() }).unwrap()));
    let listed = swarm.ask(m::ListSecretsRequest { filters: None }).unwrap();
    assert_eq!(listed.secrets.len(), 1);
    assert!(!carries_data(&listed));
    let stored = swarm.ledger.committed().secret_by_name("KEY").unwrap();
    assert_eq!(stored.spec.data, DATA);
    let labels = [("team".to_owned(), "a".to_owned())].into();
    let spec = t::SecretSpec {
        annotations: Some(t::Annotations { name: "key".to_owned(), labels, ..Default::default() }),
        ..Default::default()
    };
    let update = m::UpdateSecretRequest {
        secret_id: id,
        secret_version: Some(version(stored.meta.version)),
        spec: Some(Verbatim::new(spec)),
    };
    assert!(!carries_data(&swarm.ask(update.clone()).unwrap()));
    let stored = swarm.ledger.committed().secret_by_name("key").unwrap();
    assert_eq!(stored.spec.data, DATA, "labels change, data stays");
    assert_eq!(stored.spec.annotations.as_ref().unwrap().labels["team"], "a");
    assert_eq!(swarm.ask(update).unwrap_err().message, "update out of sequence");
}

#[test]
fn sizes_names_and_drivers_are_checked() {
    let mut swarm = Swarm::new();
    let mut secret_refused = |spec: t::SecretSpec| swarm.ask(create_secret(spec)).unwrap_err();
    let large = |length: usize| Bytes::from(vec![b'x'; length]);
    let size = "secret data must be larger than 0 and less than 512000 bytes";
    assert_eq!(secret_refused(t::SecretSpec { data: Bytes::new(), ..secret("a") }).message, size);
    assert_eq!(secret_refused(t::SecretSpec { data: large(512_000), ..secret("a") }).message, size);
    assert_eq!(secret_refused(secret("")).message, "name must be provided");
    assert!(secret_refused(secret(".a")).message.starts_with("invalid name, only 64 [a-zA-Z0-9-_.]"));
    let driver = |name: &str| Some(t::Driver { name: name.to_owned(), ..Default::default() });
    let nameless = secret_refused(t::SecretSpec { driver: driver(""), ..secret("a") });
    assert_eq!(nameless.message, "secret driver must have a name");
    swarm.ask(create_secret(t::SecretSpec { data: large(511_999), ..secret("a") })).unwrap();

    let size = "config data must be larger than 0 and less than 1024000 bytes";
    let refusal = swarm.ask(create_config(t::ConfigSpec { data: large(1_024_000), ..config("a") })).unwrap_err();
    assert_eq!(refusal.message, size);
    swarm.ask(create_config(t::ConfigSpec { data: large(1_023_999), ..config("a") })).unwrap();
}

#[test]
fn a_secret_with_a_driver_has_no_data_of_its_own() {
    let mut swarm = Swarm::new();
    let driver = |name: &str| Some(t::Driver { name: name.to_owned(), ..Default::default() });
    let driven = t::SecretSpec { driver: driver("vault"), data: Bytes::new(), ..secret("key") };
    let template = t::SecretSpec { templating: driver("jinja"), ..driven.clone() };
    assert!(swarm.ask(create_secret(template)).unwrap_err().message.starts_with("secret: template driver"));
    swarm.ask(create_secret(t::SecretSpec { templating: driver("golang"), ..driven })).unwrap();
    let stored = swarm.ledger.committed().secret_by_name("key").unwrap();
    assert_eq!(stored.spec.driver.as_ref().unwrap().name, "vault");
    let mut update = |data: &'static str| {
        let stored = swarm.ledger.committed().secret_by_name("key").unwrap();
        let labels = [("team".to_owned(), "a".to_owned())].into();
        let spec = t::SecretSpec {
            annotations: Some(t::Annotations { name: "key".to_owned(), labels, ..Default::default() }),
            data: data.into(),
            ..Default::default()
        };
        swarm.ask(m::UpdateSecretRequest {
            secret_id: stored.id.to_string(),
            secret_version: Some(version(stored.meta.version)),
            spec: Some(Verbatim::new(spec)),
        })
    };
    let refused = update("given").unwrap_err().message;
    assert_eq!(refused, "only updates to Labels are allowed: the data of secret key comes from driver vault");
    let updated = update("").unwrap().secret.unwrap().value.spec.unwrap();
    assert_eq!(updated.driver.as_ref().unwrap().name, "vault");
    assert_eq!(updated.annotations.as_ref().unwrap().labels["team"], "a");
}

#[test]
fn templates_are_checked_before_they_are_stored() {
    let mut swarm = Swarm::new();
    let driver = |name: &str| Some(t::Driver { name: name.to_owned(), ..Default::default() });
    let templated = |name: &str, text: &'static str| t::ConfigSpec {
        data: Bytes::from_static(text.as_bytes()),
        templating: driver(name),
        ..config("a")
    };
    let mut refused = |spec: t::ConfigSpec| swarm.ask(create_config(spec)).unwrap_err().message;
    assert_eq!(refused(templated("golang", "{{secret")), "config: template: unclosed action");
    assert_eq!(refused(templated("jinja", "x")), "config: template driver \"jinja\" is not known: use golang");
    swarm.ask(create_config(templated("golang", "{{secret \"later\"}}"))).unwrap();
    let text = Bytes::from_static(b"{{nope}}");
    let refusal = swarm.ask(create_secret(t::SecretSpec { data: text, templating: driver("golang"), ..secret("a") }));
    assert_eq!(refusal.unwrap_err().message, "secret: template: function \"nope\" not defined");
}

#[test]
fn names_are_taken_once() {
    let mut swarm = Swarm::new();
    swarm.ask(create_secret(secret("key"))).unwrap();
    swarm.ask(create_config(config("conf"))).unwrap();
    let secret = swarm.ask(create_secret(secret("Key"))).unwrap_err();
    assert_eq!((secret.code, secret.message.as_str()), (Code::AlreadyExists, "secret Key already exists"));
    let config = swarm.ask(create_config(config("Conf"))).unwrap_err();
    assert_eq!((config.code, config.message.as_str()), (Code::AlreadyExists, "config Conf already exists"));
}

#[test]
fn what_is_in_use_stays() {
    let mut swarm = Swarm::new();
    let secret_id = swarm.ask(create_secret(secret("key"))).unwrap().secret.unwrap().value.id;
    let config_id = swarm.ask(create_config(config("conf"))).unwrap().config.unwrap().value.id;
    for name in ["api", "web"] {
        let mut spec = service_spec(name);
        if let Some(Runtime::Container(container)) = &mut spec.task.as_mut().unwrap().runtime {
            let secret = t::SecretReference { secret_id: secret_id.clone(), ..Default::default() };
            container.secrets.push(secret);
            if name == "web" {
                container.configs.push(t::ConfigReference { config_id: config_id.clone(), ..Default::default() });
            }
        }
        swarm = swarm.with(Service { spec: Verbatim::new(spec), ..service(name) });
    }
    let secret = swarm.ask(m::RemoveSecretRequest { secret_id: secret_id.clone() }).unwrap_err();
    assert_eq!(secret.code, Code::InvalidArgument);
    assert_eq!(secret.message, "secret 'key' is in use by the following services: api, web");
    let config = swarm.ask(m::RemoveConfigRequest { config_id: config_id.clone() }).unwrap_err();
    assert_eq!(config.message, "config 'conf' is in use by the following service: web");
    for name in ["api", "web"] {
        let service = swarm.ledger.committed().service_by_name(name).unwrap();
        swarm.ask(m::RemoveServiceRequest { service_id: service.id().to_string() }).unwrap();
    }
    swarm.ask(m::RemoveSecretRequest { secret_id: secret_id.clone() }).unwrap();
    swarm.ask(m::RemoveConfigRequest { config_id }).unwrap();
    let gone = swarm.ask(m::GetSecretRequest { secret_id: secret_id.clone() }).unwrap_err();
    assert_eq!((gone.code, gone.message), (Code::NotFound, format!("secret {secret_id} not found")));
    let nameless = swarm.ask(m::GetSecretRequest::default()).unwrap_err();
    assert_eq!(nameless.message, "secret ID must be provided");
}

#[test]
fn one_filter_of_name_or_id_is_enough_and_labels_must_all_fit() {
    let mut swarm = Swarm::new();
    let mut ids = Vec::new();
    for (name, zone) in [("db-key", "a"), ("db-cert", "b"), ("web-key", "a")] {
        let labels = [("zone".to_owned(), zone.to_owned())].into();
        let annotations = t::Annotations { name: name.to_owned(), labels, ..Default::default() };
        let spec = t::SecretSpec { annotations: Some(annotations), ..secret(name) };
        ids.push(swarm.ask(create_secret(spec)).unwrap().secret.unwrap().value.id);
    }
    let mut found = |filters: m::list_secrets_request::Filters| {
        let secrets = swarm.ask(m::ListSecretsRequest { filters: Some(filters) }).unwrap().secrets;
        let name = |spec: &t::SecretSpec| spec.annotations.as_ref().unwrap().name.clone();
        let mut names: Vec<String> = secrets.iter().map(|kept| name(kept.value.spec.as_ref().unwrap())).collect();
        names.sort();
        names
    };
    type Filters = m::list_secrets_request::Filters;
    let text = |text: &str| vec![text.to_owned()];
    let either = Filters { names: text("WEB-key"), name_prefixes: text("db-c"), ..Default::default() };
    assert_eq!(found(either), ["db-cert", "web-key"]);
    assert_eq!(found(Filters { id_prefixes: text(&ids[0]), ..Default::default() }), ["db-key"]);
    let labelled = Filters {
        name_prefixes: text("db"),
        labels: [("zone".to_owned(), "b".to_owned())].into(),
        ..Default::default()
    };
    assert_eq!(found(labelled), ["db-cert"]);
    assert_eq!(found(Filters::default()).len(), 3);
}
