//! Earlier versions of secrets and configs: services that still have to leave one, and versions that nobody refers to.

use std::collections::BTreeSet;
use std::time::Duration;

use skep_model::{Config, Now, Refusal, Secret, TaskState, Time};
use skep_store::versions::{Dependency, earlier, repoint};
use skep_store::{Action, AnyObject, Event, Find, Read, Tx};

use crate::turn::REFUSALS_MAX;

/// Versions that nobody refers to are kept so many per secret or config, for people who want to go back further than
/// a rollback does.
pub(crate) const UNUSED_VERSIONS_MAX: usize = 2;
/// Changes are collected for so long before versions are counted.
const BATCH_DELAY: Duration = Duration::from_millis(250);

/// Keeps versions of secrets and configs in order. Part of the orchestrator.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    everything: bool,
    secrets: Known,
    configs: Known,
    /// Versions or what refers to them changed.
    dirty: bool,
    due: Option<Time>,
}

/// Objects of one kind that are worth a look, so that a swarm without versions costs nothing.
#[derive(Debug, Default)]
struct Known {
    /// Earlier versions.
    earlier: BTreeSet<String>,
    /// The newest ones that services do not all refer to yet.
    pending: BTreeSet<String>,
}

impl Known {
    fn note<T: Dependency>(&mut self, object: &T, action: Action) -> bool {
        let id = T::id_text(object.id());
        let gone = action == Action::Remove;
        let before = self.earlier.contains(id) || self.pending.contains(id);
        for (set, belongs) in [
            (&mut self.earlier, !gone && object.version_of().is_some()),
            (&mut self.pending, !gone && object.is_pending()),
        ] {
            if belongs {
                set.insert(id.to_owned());
            } else {
                set.remove(id);
            }
        }
        before || self.earlier.contains(id) || self.pending.contains(id)
    }

    fn read<T: Dependency>(&mut self, facts: &impl Find) {
        for object in facts.list::<T>() {
            self.note(&*object, Action::Create);
        }
    }
}

impl Versions {
    /// A new term: forgets everything, and will look at everything.
    pub(crate) fn lead(&mut self) {
        *self = Self { everything: true, ..Self::default() };
    }

    /// Notes what a change concerns.
    pub(crate) fn observe(&mut self, event: &Event) {
        self.dirty |= match &event.object {
            AnyObject::Secret(secret) => self.secrets.note(&**secret, event.action) || !self.secrets.earlier.is_empty(),
            AnyObject::Config(config) => self.configs.note(&**config, event.action) || !self.configs.earlier.is_empty(),
            AnyObject::Service(_) => !self.secrets.earlier.is_empty() || !self.configs.earlier.is_empty(),
            _ => false,
        };
    }

    /// Re-points what is left at once, and forgets versions a little later.
    pub(crate) fn turn(&mut self, now: Now, tx: &mut Tx, refusals: &mut Vec<Refusal>) {
        if std::mem::take(&mut self.everything) {
            self.secrets.read::<Secret>(tx);
            self.configs.read::<Config>(tx);
            self.dirty = !self.secrets.earlier.is_empty() || !self.configs.earlier.is_empty();
        }
        go_on::<Secret>(tx, &self.secrets, refusals);
        go_on::<Config>(tx, &self.configs, refusals);
        if !self.dirty {
            return;
        }
        let due = *self.due.get_or_insert(now.monotonic.after(BATCH_DELAY));
        if due > now.monotonic {
            return;
        }
        (self.dirty, self.due) = (false, None);
        forget::<Secret>(tx, &self.secrets, refusals);
        forget::<Config>(tx, &self.configs, refusals);
    }

    /// When the next turn is due though nothing happens.
    pub(crate) fn wake_at(&self) -> Option<Time> {
        self.due
    }
}

/// Services that the command's own entry had no room for. A turn is cut into entries anyway.
fn go_on<T: Dependency>(tx: &mut Tx, known: &Known, refusals: &mut Vec<Refusal>) {
    for id in &known.pending {
        let newest = T::parse_id(id).and_then(|id| tx.find::<T>(&id)).filter(|newest| newest.is_pending());
        let Some(newest) = newest else { continue };
        let before = earlier::<T>(tx, newest.unique_name());
        let from: BTreeSet<String> = before.iter().map(|version| T::id_text(version.id()).to_owned()).collect();
        let done = repoint::<T>(tx, &from, id, |_| true).and_then(|_| {
            let done = newest.with_annotations(|annotations| {
                annotations.labels.remove(skep_model::labels::VERSION_PENDING);
            });
            tx.update(done)
        });
        note(done, refusals);
    }
}

/// Takes out of the store what no service can go back to and no task needs, but for the newest few.
fn forget<T: Dependency>(tx: &mut Tx, known: &Known, refusals: &mut Vec<Refusal>) {
    if known.earlier.is_empty() {
        return;
    }
    let mut used: BTreeSet<String> = BTreeSet::new();
    for service in tx.services() {
        let specs = [Some(&service.spec), service.previous_spec.as_ref()];
        let tasks = specs.into_iter().flatten().filter_map(|spec| spec.task.as_ref());
        used.extend(tasks.flat_map(T::references).map(str::to_owned));
    }
    if known.earlier.iter().all(|id| used.contains(id)) {
        return;
    }
    for task in tx.tasks() {
        if !task.has_ended() && task.desired_state <= TaskState::Complete {
            used.extend(T::references(&task.spec).into_iter().map(str::to_owned));
        }
    }
    let mut names = BTreeSet::new();
    for id in &known.earlier {
        let version = T::parse_id(id).and_then(|id| tx.find::<T>(&id));
        names.extend(version.and_then(|version| version.version_of().map(str::to_owned)));
    }
    for name in names {
        // Without a newest version nobody could tell that the others are there.
        let kept = if tx.named::<T>(&name).is_some() { UNUSED_VERSIONS_MAX } else { 0 };
        let versions = earlier::<T>(tx, &name);
        let unused = versions.iter().filter(|version| !used.contains(T::id_text(version.id())));
        for version in unused.skip(kept) {
            note(tx.remove::<T>(version.id()), refusals);
        }
    }
}

fn note(result: Result<(), Refusal>, refusals: &mut Vec<Refusal>) {
    if let Err(refusal) = result
        && refusals.len() < REFUSALS_MAX
    {
        refusals.push(refusal);
    }
}
