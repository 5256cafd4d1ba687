//! What secrets and configs have in common: versions, labels of ours, removal.

use std::collections::BTreeSet;

use skep_model::pb::types::{Annotations, ContainerSpec};
use skep_model::{Code, Refusal, labels};

use super::references::check_unused;
use crate::entry::TURN_BYTES_MAX;
use crate::read::Find;
use crate::tx::Tx;
use crate::versions::{Dependency, earlier, repoint};

/// Most bytes of an old and a new version together: both travel in one log entry, with services that refer to them.
pub(crate) const VERSION_PAIR_BYTES_MAX: usize = 1_310_720;

/// Refuses to change what a newer version took over from, and names other than the stored one.
pub(super) fn check_updatable<T: Dependency>(
    facts: &impl Find,
    stored: &T,
    annotations: Option<&Annotations>,
) -> Result<(), Refusal> {
    if let Some(name) = stored.version_of() {
        let newest = facts.named::<T>(name).map(|newest| format!(" ({})", T::id_text(newest.id()))).unwrap_or_default();
        let message = format!(
            "{kind} {id} is an earlier version of {kind} {name} and cannot be changed: update {name}{newest}",
            kind = T::KIND,
            id = T::id_text(stored.id())
        );
        return Err(Refusal::new(Code::FailedPrecondition, message));
    }
    if annotations.map_or("", |annotations| annotations.name.as_str()) != stored.unique_name() {
        return Err(Refusal::invalid("only updates to Labels are allowed"));
    }
    annotations.map_or(Ok(()), |annotations| labels::check_dependency(&annotations.labels))
}

/// Other labels for the same data.
pub(super) fn relabelled<T: Dependency>(stored: &T, annotations: Option<&Annotations>) -> T {
    let given = annotations.map(|annotations| annotations.labels.clone()).unwrap_or_default();
    let pending = stored.annotations().and_then(|stored| stored.labels.get(labels::VERSION_PENDING)).cloned();
    stored.with_annotations(|own| {
        own.labels = given;
        own.labels.extend(pending.map(|value| (labels::VERSION_PENDING.to_owned(), value)));
    })
}

/// New data: a version of its own (`fresh`, with another id) that services are re-pointed to, or, when the label asks
/// for it, the same object with other data, which workers write into running tasks.
pub(super) fn replace<T: Dependency>(tx: &mut Tx, stored: &T, fresh: T) -> Result<T::Id, Refusal> {
    let name = stored.unique_name().to_owned();
    let before = earlier::<T>(tx, &name);
    let mut from: BTreeSet<String> = before.iter().map(|version| T::id_text(version.id()).to_owned()).collect();
    let live = fresh.annotations().is_some_and(|annotations| labels::reloads_live(&annotations.labels));
    let id = fresh.id().clone();
    if live {
        tx.update(fresh.clone())?;
    } else {
        let both = stored.data_len() + fresh.data_len();
        if both > VERSION_PAIR_BYTES_MAX {
            return Err(Refusal::invalid(format!(
                "{kind} {name}: its data and the new data are {both} bytes together, and one log entry holds \
                 {VERSION_PAIR_BYTES_MAX} of them: create a {kind} of another name",
                kind = T::KIND
            )));
        }
        from.insert(T::id_text(stored.id()).to_owned());
        tx.update(stored.superseded())?;
        tx.create(fresh.clone())?;
    }
    let all =
        repoint::<T>(tx, &from, T::id_text(&id), |tx| tx.encoded_len() < TURN_BYTES_MAX.max(VERSION_PAIR_BYTES_MAX))?;
    if !all {
        // The orchestrator goes on with the others.
        let pending = fresh.with_annotations(|annotations| {
            annotations.labels.insert(labels::VERSION_PENDING.to_owned(), "true".to_owned());
        });
        tx.update(pending)?;
    }
    Ok(id)
}

/// Removes all versions of a secret or config, or the one earlier version that is meant. None may be in use.
pub(super) fn remove<T: Dependency>(
    tx: &mut Tx,
    stored: &T,
    uses: impl Fn(&ContainerSpec, &str) -> bool,
) -> Result<(), Refusal> {
    let mut doomed = vec![stored.id().clone()];
    if stored.version_of().is_none() {
        doomed.extend(earlier::<T>(tx, stored.unique_name()).iter().map(|version| version.id().clone()));
    }
    check_unused(tx, T::KIND, stored.given_name(), |container| {
        doomed.iter().any(|id| uses(container, T::id_text(id)))
    })?;
    doomed.iter().try_for_each(|id| tx.remove::<T>(id))
}
