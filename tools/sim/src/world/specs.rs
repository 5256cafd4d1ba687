//! What clients ask for: specs with a bit of everything.

use std::time::Duration;

use bytes::Bytes;
use skep_model::labels;
use skep_model::pb::types::task_spec::Runtime;
use skep_model::pb::types::update_config::{FailureAction, UpdateOrder};
use skep_model::pb::types::{self, PortConfig, config_reference, secret_reference, service_spec::Mode};
use skep_model::time::proto_duration;

use crate::dice::Dice;

/// The label that carries the value which clients read back.
pub(crate) const VALUE_LABEL: &str = "value";
/// Images that services change between.
const IMAGES: [&str; 3] = ["busybox:1", "busybox:2", "busybox:3"];

/// Things that a service may refer to: (id, name).
#[derive(Default)]
pub(crate) struct Known {
    pub networks: Vec<(String, String)>,
    pub secrets: Vec<(String, String)>,
    pub configs: Vec<(String, String)>,
}

/// Annotations with a name and a value.
pub(crate) fn annotations(name: &str, value: u64) -> types::Annotations {
    let labels = [(VALUE_LABEL.to_owned(), value.to_string())].into();
    types::Annotations { name: name.to_owned(), labels, ..types::Annotations::default() }
}

/// Writes the value which clients read back.
pub(crate) fn set_value(annotations: &mut types::Annotations, value: u64) {
    annotations.labels.insert(VALUE_LABEL.to_owned(), value.to_string());
}

/// Data of a new version of a secret or config; as often none, which leaves the data as they are.
pub(crate) fn new_data(dice: &mut Dice, value: u64) -> Option<Bytes> {
    dice.permille(500).then(|| Bytes::from(format!("data{value}")))
}

/// The value in a label.
pub(crate) fn value_of(annotations: Option<&types::Annotations>) -> Option<u64> {
    annotations?.labels.get(VALUE_LABEL)?.parse().ok()
}

/// A job.
pub(crate) fn job(dice: &mut Dice, name: &str, number: u64, known: &Known) -> types::ServiceSpec {
    let mode = if dice.permille(300) {
        Mode::GlobalJob(types::GlobalJob {})
    } else {
        let total_completions = dice.between(1, 8);
        Mode::ReplicatedJob(types::ReplicatedJob { max_concurrent: dice.below(4), total_completions })
    };
    let mut task = task(dice, number, known);
    let restart = task.restart.get_or_insert_default();
    restart.set_condition(types::restart_policy::RestartCondition::OnFailure);
    types::ServiceSpec {
        annotations: Some(annotations(name, number)),
        task: Some(task),
        mode: Some(mode),
        ..types::ServiceSpec::default()
    }
}

/// A service of many tasks, each as small as can be.
pub(crate) fn plain(name: &str, number: u64, replicas: u64) -> types::ServiceSpec {
    let container = types::ContainerSpec { image: IMAGES[0].to_owned(), ..types::ContainerSpec::default() };
    let task = types::TaskSpec {
        runtime: Some(types::task_spec::Runtime::Container(container)),
        ..types::TaskSpec::default()
    };
    types::ServiceSpec {
        annotations: Some(annotations(name, number)),
        task: Some(task),
        mode: Some(Mode::Replicated(types::ReplicatedService { replicas })),
        ..types::ServiceSpec::default()
    }
}

/// A job, to be run once more.
pub(crate) fn again(spec: &types::ServiceSpec, value: u64) -> Option<types::ServiceSpec> {
    if !matches!(spec.mode, Some(Mode::ReplicatedJob(_) | Mode::GlobalJob(_))) {
        return None;
    }
    let mut spec = spec.clone();
    set_value(spec.annotations.get_or_insert_default(), value);
    spec.task.get_or_insert_default().force_update += 1;
    Some(spec)
}

/// A new service.
pub(crate) fn service(dice: &mut Dice, name: &str, number: u64, known: &Known) -> types::ServiceSpec {
    let global = dice.permille(200);
    let mode = if global {
        Mode::Global(types::GlobalService {})
    } else {
        Mode::Replicated(types::ReplicatedService { replicas: dice.between(0, 6) })
    };
    let mut ports = Vec::new();
    if dice.permille(250) {
        let published_port = if dice.permille(500) { 0 } else { 8000 + number as u32 };
        ports.push(PortConfig { target_port: 80, published_port, ..PortConfig::default() });
    }
    if global && dice.permille(300) {
        let mut port = PortConfig { target_port: 81, published_port: 9000 + number as u32, ..PortConfig::default() };
        port.set_publish_mode(types::port_config::PublishMode::Host);
        ports.push(port);
    }
    let mut annotations = annotations(name, number);
    if !global && dice.permille(200) {
        annotations.labels.insert(labels::REBALANCE.to_owned(), "true".to_owned());
    }
    types::ServiceSpec {
        annotations: Some(annotations),
        task: Some(task(dice, number, known)),
        mode: Some(mode),
        update: dice.permille(700).then(|| update(dice)),
        rollback: dice.permille(400).then(|| update(dice)),
        endpoint: (!ports.is_empty()).then(|| types::EndpointSpec { ports, ..types::EndpointSpec::default() }),
        ..types::ServiceSpec::default()
    }
}

fn task(dice: &mut Dice, number: u64, known: &Known) -> types::TaskSpec {
    let mut container = types::ContainerSpec {
        image: dice.pick(&IMAGES).unwrap_or("busybox:1").to_owned(),
        env: vec![format!("NUMBER={number}")],
        ..types::ContainerSpec::default()
    };
    if dice.permille(300) && !known.secrets.is_empty() {
        let (id, name) = &known.secrets[dice.below(known.secrets.len() as u64) as usize];
        container.secrets.push(secret(id, name));
    }
    if dice.permille(300) && !known.configs.is_empty() {
        let (id, name) = &known.configs[dice.below(known.configs.len() as u64) as usize];
        let target = config_reference::Target::File(file(name));
        container.configs.push(types::ConfigReference {
            config_id: id.clone(),
            config_name: name.clone(),
            target: Some(target),
        });
    }
    let mut networks = Vec::new();
    if dice.permille(500) && !known.networks.is_empty() {
        let (id, _) = &known.networks[dice.below(known.networks.len() as u64) as usize];
        networks.push(types::NetworkAttachmentConfig { target: id.clone(), ..Default::default() });
    }
    let reserved = dice.permille(400).then(|| types::Resources {
        nano_cpus: dice.pick(&[100_000_000, 400_000_000, 400_000_000, 3_000_000_000]).unwrap_or(0),
        memory_bytes: 64 << 20,
        ..types::Resources::default()
    });
    let delay = Duration::from_millis(dice.pick(&[200, 1_000, 5_000]).unwrap_or(1_000));
    let mut restart = types::RestartPolicy { delay: Some(proto_duration(delay)), ..types::RestartPolicy::default() };
    restart.set_condition(types::restart_policy::RestartCondition::Any);
    types::TaskSpec {
        runtime: Some(types::task_spec::Runtime::Container(container)),
        resources: reserved
            .map(|reserved| types::ResourceRequirements { reservations: Some(reserved), ..Default::default() }),
        restart: Some(restart),
        networks,
        ..types::TaskSpec::default()
    }
}

/// Where secrets have drivers, most services have all secrets there are, and some have more tasks.
pub(crate) fn drive(dice: &mut Dice, spec: &mut types::ServiceSpec, known: &Known) {
    if let Some(Mode::Replicated(replicated)) = &mut spec.mode
        && dice.permille(100)
    {
        replicated.replicas = dice.between(6, 12);
    }
    let Some(Runtime::Container(container)) = spec.task.as_mut().and_then(|task| task.runtime.as_mut()) else { return };
    if dice.permille(700) {
        container.secrets = known.secrets.iter().map(|(id, name)| secret(id, name)).collect();
    }
}

fn secret(id: &str, name: &str) -> types::SecretReference {
    let target = secret_reference::Target::File(file(name));
    types::SecretReference { secret_id: id.to_owned(), secret_name: name.to_owned(), target: Some(target) }
}

fn file(name: &str) -> types::FileTarget {
    types::FileTarget { name: name.to_owned(), uid: "0".into(), gid: "0".into(), mode: 0o444 }
}

fn update(dice: &mut Dice) -> types::UpdateConfig {
    let mut config = types::UpdateConfig {
        parallelism: dice.below(3),
        delay: Some(proto_duration(Duration::from_millis(dice.below(1_500)))),
        monitor: Some(proto_duration(Duration::from_millis(dice.between(500, 3_000)))),
        max_failure_ratio: 0.0,
        ..types::UpdateConfig::default()
    };
    let actions = [FailureAction::Pause, FailureAction::Continue, FailureAction::Rollback];
    config.set_failure_action(dice.pick(&actions).unwrap_or(FailureAction::Pause));
    let orders = [UpdateOrder::StopFirst, UpdateOrder::StopFirst, UpdateOrder::StartFirst];
    config.set_order(dice.pick(&orders).unwrap_or(UpdateOrder::StopFirst));
    config
}

/// Another version of a service: scaled, with another image, or forced.
pub(crate) fn changed(dice: &mut Dice, spec: &types::ServiceSpec, value: u64) -> types::ServiceSpec {
    let mut spec = spec.clone();
    set_value(spec.annotations.get_or_insert_default(), value);
    match (dice.below(4), &mut spec.mode) {
        (0 | 1, Some(Mode::Replicated(replicated))) => replicated.replicas = dice.between(0, 6),
        (0 | 1, Some(Mode::ReplicatedJob(job))) => job.total_completions = dice.between(0, 8),
        (2, _) => {
            if let Some(task) = &mut spec.task {
                task.force_update += 1;
            }
        }
        _ => {
            if let Some(types::task_spec::Runtime::Container(container)) =
                spec.task.as_mut().and_then(|task| task.runtime.as_mut())
            {
                container.image = dice.pick(&IMAGES).unwrap_or("busybox:1").to_owned();
            }
        }
    }
    spec
}
