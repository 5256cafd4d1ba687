//! Secrets and configs that the manager sent along; in memory only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skep_model::pb::objects as pb;
use skep_model::pb::types::{Annotations, ContainerSpec, task_spec::Runtime};
use skep_model::{Config, ConfigId, Kept, Secret, SecretId, Task, labels};

use crate::worker::effect::Dependencies;

/// What the manager sent along.
#[derive(Debug, Default)]
pub struct Shelf {
    secrets: BTreeMap<SecretId, Arc<Secret>>,
    configs: BTreeMap<ConfigId, Arc<Config>>,
    /// What was here before a whole set came.
    before: (BTreeMap<SecretId, Arc<Secret>>, BTreeMap<ConfigId, Arc<Config>>),
    /// What came with other data and is to be written into tasks that run.
    renewed: (BTreeSet<SecretId>, BTreeSet<ConfigId>),
    /// A whole set came since the start; before, absence means nothing.
    complete: bool,
}

impl Shelf {
    /// A whole set follows.
    pub fn begin_whole(&mut self) {
        self.before = (std::mem::take(&mut self.secrets), std::mem::take(&mut self.configs));
        self.complete = true;
    }

    /// Whether the task refers to something that came with other data since this was last settled.
    pub fn is_renewed_for(&self, task: &Task) -> bool {
        let (secrets, configs) = &self.renewed;
        let renewed = |spec: &ContainerSpec| {
            spec.secrets.iter().any(|reference| secrets.contains(reference.secret_id.as_str()))
                || spec.configs.iter().any(|reference| configs.contains(reference.config_id.as_str()))
        };
        container(task).is_some_and(renewed)
    }

    /// Whether anything came with other data since this was last settled.
    pub fn has_renewed(&self) -> bool {
        !(self.renewed.0.is_empty() && self.renewed.1.is_empty())
    }

    /// Everything that came was looked at.
    pub fn settle(&mut self) {
        self.before = Default::default();
        self.renewed = Default::default();
    }

    /// Puts or takes away a secret; one without a usable id cannot be referred to.
    pub fn secret(&mut self, kept: Kept<pb::Secret>, removal: bool) {
        let Ok(secret) = Secret::try_from(kept) else { return };
        if removal {
            self.secrets.remove(&secret.id);
        } else {
            let known = self.secrets.get(&secret.id).or_else(|| self.before.0.get(&secret.id));
            // After a restart nobody knows what tasks got: the runtime compares.
            let changed = known.is_none_or(|known| known.spec.data != secret.spec.data);
            if changed && is_live(secret.spec.annotations.as_ref()) {
                self.renewed.0.insert(secret.id.clone());
            }
            self.secrets.insert(secret.id.clone(), Arc::new(secret));
        }
    }

    /// Puts or takes away a config; one without a usable id cannot be referred to.
    pub fn config(&mut self, kept: Kept<pb::Config>, removal: bool) {
        let Ok(config) = Config::try_from(kept) else { return };
        if removal {
            self.configs.remove(&config.id);
        } else {
            let known = self.configs.get(&config.id).or_else(|| self.before.1.get(&config.id));
            // After a restart nobody knows what tasks got: the runtime compares.
            let changed = known.is_none_or(|known| known.spec.data != config.spec.data);
            if changed && is_live(config.spec.annotations.as_ref()) {
                self.renewed.1.insert(config.id.clone());
            }
            self.configs.insert(config.id.clone(), Arc::new(config));
        }
    }

    /// The secret as it is for this task: what a driver gave for it alone goes first.
    fn secret_for(&self, task: &Task, id: &str) -> Option<Arc<Secret>> {
        let known = self.secrets.get(id);
        let own = self.secrets.get(format!("{id}.{}", task.id).as_str());
        let Some(own) = own else { return known.cloned() };
        // The task's spec calls it by its usual id.
        Some(SecretId::optional(id).map_or_else(|| Arc::clone(own), |id| Arc::new(Secret { id, ..(**own).clone() })))
    }

    /// Whether it is known if everything that the task needs is here: after a restart, the manager has to say first.
    pub fn knows_all(&self, task: &Task) -> bool {
        self.complete || container(task).is_none_or(|spec| spec.secrets.is_empty() && spec.configs.is_empty())
    }

    /// What the task refers to and the manager did not send, as a sentence.
    pub fn missing(&self, task: &Task) -> Option<String> {
        let spec = container(task)?;
        let secret = spec.secrets.iter().find(|reference| self.secret_for(task, &reference.secret_id).is_none());
        if let Some(reference) = secret {
            return Some(format!("secret {} ({}) does not exist", reference.secret_name, reference.secret_id));
        }
        let config = spec.configs.iter().find(|reference| !self.configs.contains_key(reference.config_id.as_str()));
        config.map(|reference| format!("config {} ({}) does not exist", reference.config_name, reference.config_id))
    }

    /// What the task refers to, in the order of its spec.
    pub fn of(&self, task: &Task) -> Dependencies {
        let Some(spec) = container(task) else { return Dependencies::default() };
        let secrets = spec.secrets.iter().filter_map(|reference| self.secret_for(task, &reference.secret_id));
        let configs = spec.configs.iter().filter_map(|reference| self.configs.get(reference.config_id.as_str()));
        Dependencies { secrets: secrets.collect(), configs: configs.cloned().collect() }
    }
}

fn is_live(annotations: Option<&Annotations>) -> bool {
    annotations.is_some_and(|annotations| labels::reloads_live(&annotations.labels))
}

fn container(task: &Task) -> Option<&ContainerSpec> {
    match &task.spec.runtime {
        Some(Runtime::Container(spec)) => Some(spec),
        _ => None,
    }
}
