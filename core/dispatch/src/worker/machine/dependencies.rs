//! Secrets and configs that the manager sent along; in memory only.

use std::collections::BTreeMap;
use std::sync::Arc;

use skep_model::pb::objects as pb;
use skep_model::pb::types::{ContainerSpec, task_spec::Runtime};
use skep_model::{Config, ConfigId, Kept, Secret, SecretId, Task};

use crate::worker::effect::Dependencies;

/// What the manager sent along.
#[derive(Debug, Default)]
pub struct Shelf {
    secrets: BTreeMap<SecretId, Arc<Secret>>,
    configs: BTreeMap<ConfigId, Arc<Config>>,
    /// A whole set came since the start; before, absence means nothing.
    complete: bool,
}

impl Shelf {
    /// A whole set follows.
    pub fn begin_whole(&mut self) {
        self.secrets.clear();
        self.configs.clear();
        self.complete = true;
    }

    /// Puts or takes away a secret; one without a usable id cannot be referred to.
    pub fn secret(&mut self, kept: Kept<pb::Secret>, removal: bool) {
        let Ok(secret) = Secret::try_from(kept) else { return };
        if removal {
            self.secrets.remove(&secret.id);
        } else {
            self.secrets.insert(secret.id.clone(), Arc::new(secret));
        }
    }

    /// Puts or takes away a config; one without a usable id cannot be referred to.
    pub fn config(&mut self, kept: Kept<pb::Config>, removal: bool) {
        let Ok(config) = Config::try_from(kept) else { return };
        if removal {
            self.configs.remove(&config.id);
        } else {
            self.configs.insert(config.id.clone(), Arc::new(config));
        }
    }

    /// Whether it is known if everything that the task needs is here: after a restart, the manager has to say first.
    pub fn knows_all(&self, task: &Task) -> bool {
        self.complete || container(task).is_none_or(|spec| spec.secrets.is_empty() && spec.configs.is_empty())
    }

    /// What the task refers to and the manager did not send, as a sentence.
    pub fn missing(&self, task: &Task) -> Option<String> {
        let spec = container(task)?;
        let secret = spec.secrets.iter().find(|reference| !self.secrets.contains_key(reference.secret_id.as_str()));
        if let Some(reference) = secret {
            return Some(format!("secret {} ({}) does not exist", reference.secret_name, reference.secret_id));
        }
        let config = spec.configs.iter().find(|reference| !self.configs.contains_key(reference.config_id.as_str()));
        config.map(|reference| format!("config {} ({}) does not exist", reference.config_name, reference.config_id))
    }

    /// What the task refers to, in the order of its spec.
    pub fn of(&self, task: &Task) -> Dependencies {
        let Some(spec) = container(task) else { return Dependencies::default() };
        let secrets = spec.secrets.iter().filter_map(|reference| self.secrets.get(reference.secret_id.as_str()));
        let configs = spec.configs.iter().filter_map(|reference| self.configs.get(reference.config_id.as_str()));
        Dependencies { secrets: secrets.cloned().collect(), configs: configs.cloned().collect() }
    }
}

fn container(task: &Task) -> Option<&ContainerSpec> {
    match &task.spec.runtime {
        Some(Runtime::Container(spec)) => Some(spec),
        _ => None,
    }
}
