//! Versions of secrets and configs. Each is an object of its own: the newest has the name, earlier ones are renamed and
//! carry it in a label, so that a service may go back to what it had. Everything is in plain objects, which managers
//! of any kind replicate.
//!
//! A service refers to a version by id and to the secret by name; new data re-points it ([`repoint`]), which its own
//! update config then rolls out.

use std::collections::BTreeSet;
use std::sync::Arc;

use skep_model::pb::types::privileges::credential_spec::Source;
use skep_model::pb::types::task_spec::Runtime;
use skep_model::pb::types::update_status::UpdateState;
use skep_model::pb::types::{Annotations, ContainerSpec, ResourceType, ServiceSpec, TaskSpec};
use skep_model::{Config, Refusal, Secret, Service, labels};

use crate::object::Stored;
use crate::read::Read;
use crate::tx::Tx;

/// Longest name of a secret or config.
const NAME_LENGTH_MAX: usize = 64;

/// A secret or config.
pub trait Dependency: Stored + Clone {
    /// Name and labels.
    fn annotations(&self) -> Option<&Annotations>;
    /// The same with other name or labels.
    fn with_annotations(&self, change: impl FnOnce(&mut Annotations)) -> Self;
    /// Bytes of its data.
    fn data_len(&self) -> usize;
    /// Ids of its kind that a task refers to.
    fn references(task: &TaskSpec) -> Vec<&str>;
    /// Calls `visit` with each of them.
    fn visit(task: &mut TaskSpec, visit: &mut dyn FnMut(&mut String));

    /// The name that it was created under, though a newer version may have taken it over.
    fn given_name(&self) -> &str {
        self.version_of().unwrap_or_else(|| self.unique_name())
    }

    /// For an earlier version: what it is a version of.
    fn version_of(&self) -> Option<&str> {
        self.annotations()?.labels.get(labels::VERSION_OF).map(String::as_str)
    }

    /// Whether services may still refer to earlier versions though they shall not.
    fn is_pending(&self) -> bool {
        self.annotations().is_some_and(|annotations| annotations.labels.contains_key(labels::VERSION_PENDING))
    }

    /// As it is kept once a newer version takes over its name.
    fn superseded(&self) -> Self {
        let (name, id) = (self.given_name().to_owned(), Self::id_text(self.id()).to_owned());
        self.with_annotations(|annotations| {
            // Names are ASCII; what another manager let through is cut all the same.
            let room = NAME_LENGTH_MAX - 1 - id.len();
            let head: String = name.chars().take(room).collect();
            annotations.name = format!("{head}.{id}");
            annotations.labels.insert(labels::VERSION_OF.to_owned(), name);
            annotations.labels.remove(labels::VERSION_PENDING);
        })
    }
}

macro_rules! dependency {
    ($kind:ident, $resource:ident, |$spec:ident, $ids:ident| $read:block, |$container:ident, $visit:ident| $own:block) => {
        impl Dependency for $kind {
            fn annotations(&self) -> Option<&Annotations> {
                self.spec.annotations.as_ref()
            }

            fn with_annotations(&self, change: impl FnOnce(&mut Annotations)) -> Self {
                let spec = self.spec.edit(|spec| change(spec.annotations.get_or_insert_default()));
                Self { spec, ..self.clone() }
            }

            fn data_len(&self) -> usize {
                self.spec.data.len()
            }

            fn references(task: &TaskSpec) -> Vec<&str> {
                let own = task.resource_references.iter();
                let own = own.filter(|reference| reference.resource_type() == ResourceType::$resource);
                let mut $ids: Vec<&str> = own.map(|reference| reference.resource_id.as_str()).collect();
                if let Some(Runtime::Container($spec)) = &task.runtime {
                    $read
                }
                $ids
            }

            fn visit(task: &mut TaskSpec, $visit: &mut dyn FnMut(&mut String)) {
                for reference in &mut task.resource_references {
                    if reference.resource_type() == ResourceType::$resource {
                        $visit(&mut reference.resource_id);
                    }
                }
                if let Some(Runtime::Container($container)) = &mut task.runtime {
                    $own
                }
            }
        }
    };
}

dependency!(
    Secret,
    Secret,
    |spec, ids| {
        ids.extend(spec.secrets.iter().map(|reference| reference.secret_id.as_str()));
    },
    |container, visit| {
        container.secrets.iter_mut().for_each(|reference| visit(&mut reference.secret_id));
    }
);
dependency!(
    Config,
    Config,
    |spec, ids| {
        ids.extend(spec.configs.iter().map(|reference| reference.config_id.as_str()));
        let credentials = spec.privileges.as_ref().and_then(|privileges| privileges.credential_spec.as_ref());
        if let Some(Source::Config(config)) = credentials.and_then(|credentials| credentials.source.as_ref()) {
            ids.push(config);
        }
    },
    |container, visit| {
        container.configs.iter_mut().for_each(|reference| visit(&mut reference.config_id));
        if let Some(config) = credential_config(container) {
            visit(config);
        }
    }
);

fn credential_config(container: &mut ContainerSpec) -> Option<&mut String> {
    match container.privileges.as_mut()?.credential_spec.as_mut()?.source.as_mut()? {
        Source::Config(config) => Some(config),
        _ => None,
    }
}

/// Earlier versions of the secret or config of this name, newest first.
pub fn earlier<T: Dependency>(facts: &impl crate::Find, name: &str) -> Vec<Arc<T>> {
    let mut found: Vec<Arc<T>> = facts.list::<T>();
    found.retain(|object| object.version_of().is_some_and(|of| of.eq_ignore_ascii_case(name)));
    found.sort_by_key(|object| std::cmp::Reverse((object.meta().created_at, Arc::clone(object).id().clone())));
    found
}

/// Whether the spec refers to one of these.
pub fn refers<T: Dependency>(spec: &ServiceSpec, ids: &BTreeSet<String>) -> bool {
    spec.task.as_ref().is_some_and(|task| T::references(task).into_iter().any(|id| ids.contains(id)))
}

/// Lets services that refer to one of `from` refer to `to`, as an update of each that they roll out by their own
/// config; jobs use it from their next task on. Stops when `room` says that the transaction is full; says whether
/// all were done.
pub fn repoint<T: Dependency>(
    tx: &mut Tx,
    from: &BTreeSet<String>,
    to: &str,
    mut room: impl FnMut(&Tx) -> bool,
) -> Result<bool, Refusal> {
    for service in tx.services() {
        if !refers::<T>(&service.spec, from) {
            continue;
        }
        if !room(tx) {
            return Ok(false);
        }
        let spec = service.spec.edit(|spec| {
            if let Some(task) = &mut spec.task {
                T::visit(task, &mut |id| {
                    if from.contains(id) {
                        to.clone_into(id);
                    }
                });
            }
        });
        let mut changed = (*service).clone();
        if !goes_back_further(&service) {
            changed.previous_spec = Some(service.spec.clone());
            changed.previous_spec_version = service.spec_version;
        }
        changed.spec = spec;
        changed.spec_version = Some(service.meta.version);
        changed.update_status = None;
        tx.update(changed)?;
    }
    Ok(true)
}

/// Whether the present spec came of new versions alone and has not been reached yet. What ran before it then stays the
/// one to go back to: a stack's deployment that changes a secret and a service is one step to its user.
pub fn goes_back_further(service: &Service) -> bool {
    let state = service.update_status.as_ref().map(|status| status.state());
    let Some(previous) = &service.previous_spec else { return false };
    matches!(state, None | Some(UpdateState::Updating))
        && *previous != service.spec
        && without_versions(previous) == without_versions(&service.spec)
}

fn without_versions(spec: &ServiceSpec) -> ServiceSpec {
    let mut spec = spec.clone();
    if let Some(task) = &mut spec.task {
        Secret::visit(task, &mut String::clear);
        Config::visit(task, &mut String::clear);
    }
    spec
}
