//! Finding the objects that a request speaks of.

use std::collections::BTreeMap;
use std::sync::Arc;

use skep_model::pb::types::{Annotations, Version};
use skep_model::{Object, Refusal};

use crate::object::Stored;
use crate::read::Find;
use crate::tx::Tx;

/// SwarmKit's answer to a request that lacks a field.
pub(super) fn invalid_argument() -> Refusal {
    Refusal::invalid("invalid argument")
}

/// The object whose id the request names in full.
pub(super) fn required<T: Stored>(facts: &impl Find, id: &str) -> Result<Arc<T>, Refusal> {
    if id.is_empty() {
        return Err(invalid_argument());
    }
    T::parse_id(id).and_then(|id| facts.find::<T>(&id)).ok_or_else(|| Refusal::not_found(T::KIND, id))
}

/// The version that an update must quote.
pub(super) fn quoted(version: Option<&Version>) -> Result<u64, Refusal> {
    version.map(|version| version.index).ok_or_else(invalid_argument)
}

/// Refuses an update of a version that was overtaken.
pub(super) fn in_sequence(object: &impl Object, quoted: u64) -> Result<(), Refusal> {
    if object.meta().version == quoted { Ok(()) } else { Err(Refusal::out_of_sequence()) }
}

/// The object as this transaction left it.
pub(super) fn written<T: Stored>(tx: &Tx, id: &T::Id) -> Result<Arc<T>, Refusal> {
    tx.find::<T>(id).ok_or_else(|| Refusal::not_found(T::KIND, T::id_text(id)))
}

/// No candidates, or one of them is the value.
pub(super) fn any_of(value: &str, candidates: &[String]) -> bool {
    candidates.is_empty() || candidates.iter().any(|candidate| candidate == value)
}

/// No prefixes, or the value starts with one of them.
pub(super) fn any_prefix(value: &str, prefixes: &[String]) -> bool {
    prefixes.is_empty() || prefixes.iter().any(|prefix| value.starts_with(prefix.as_str()))
}

/// Every wanted label is there; an empty value asks for the key alone.
pub(super) fn has_labels(labels: Option<&BTreeMap<String, String>>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| {
        labels.and_then(|labels| labels.get(key)).is_some_and(|found| value.is_empty() || found == value)
    })
}

/// Labels of annotations that may be absent.
pub(super) fn labels(annotations: Option<&Annotations>) -> Option<&BTreeMap<String, String>> {
    annotations.map(|annotations| &annotations.labels)
}

/// Name of annotations that may be absent.
pub(super) fn name(annotations: Option<&Annotations>) -> &str {
    annotations.map_or("", |annotations| annotations.name.as_str())
}

/// Filters that every list of named objects has.
#[derive(Default)]
pub(super) struct Filters {
    pub names: Vec<String>,
    pub name_prefixes: Vec<String>,
    pub id_prefixes: Vec<String>,
    pub labels: BTreeMap<String, String>,
}

/// Takes the common filters out of a request's own type.
macro_rules! common_filters {
    ($filters:expr) => {
        $filters
            .map(|filters| crate::commands::lookup::Filters {
                names: filters.names,
                name_prefixes: filters.name_prefixes,
                id_prefixes: filters.id_prefixes,
                labels: filters.labels,
            })
            .unwrap_or_default()
    };
}
pub(super) use common_filters;

impl Filters {
    /// Objects that pass every filter (services, networks, clusters): names are exact.
    pub(super) fn all<T: Stored>(
        &self,
        facts: &impl Find,
        annotations: impl Fn(&T) -> Option<&Annotations>,
    ) -> Vec<Arc<T>> {
        let passes = |object: &Arc<T>| {
            let found = name(annotations(object));
            any_of(found, &self.names)
                && any_prefix(found, &self.name_prefixes)
                && any_prefix(T::id_text(object.id()), &self.id_prefixes)
                && has_labels(labels(annotations(object)), &self.labels)
        };
        let candidates = match self.names.as_slice() {
            [name] => facts.named::<T>(name).into_iter().collect(),
            _ => facts.list::<T>(),
        };
        candidates.into_iter().filter(passes).collect()
    }

    /// Objects that pass one filter of name and id, whatever the case of names, and all labels (secrets, configs,
    /// resources).
    pub(super) fn any<T: Stored>(
        &self,
        facts: &impl Find,
        annotations: impl Fn(&T) -> Option<&Annotations>,
    ) -> Vec<Arc<T>> {
        let lower = |texts: &[String]| texts.iter().map(|text| text.to_lowercase()).collect::<Vec<_>>();
        let (names, prefixes) = (lower(&self.names), lower(&self.name_prefixes));
        let unfiltered = names.is_empty() && prefixes.is_empty() && self.id_prefixes.is_empty();
        let identified = |object: &T| {
            let found = name(annotations(object)).to_lowercase();
            let id = T::id_text(object.id());
            names.contains(&found)
                || prefixes.iter().any(|prefix| found.starts_with(prefix.as_str()))
                || self.id_prefixes.iter().any(|prefix| id.starts_with(prefix.as_str()))
        };
        facts
            .list::<T>()
            .into_iter()
            .filter(|object| unfiltered || identified(object))
            .filter(|object| has_labels(labels(annotations(object)), &self.labels))
            .collect()
    }
}
