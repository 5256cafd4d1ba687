//! `filters=` of list calls: `{"key":{"value":true}}`.

use std::collections::{BTreeMap, BTreeSet};

use crate::arguments::Filter;
use crate::value::Value;

/// Values by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

impl Filters {
    /// From `--filter`.
    pub fn from_arguments(arguments: &[Filter]) -> Self {
        let mut filters = Self::default();
        for filter in arguments {
            filters.add(&filter.key, &filter.value);
        }
        filters
    }

    /// One more value.
    pub fn add(&mut self, key: &str, value: &str) {
        self.0.entry(key.to_owned()).or_default().insert(value.to_owned());
    }

    /// The values of a key, which are taken out.
    pub fn take(&mut self, key: &str) -> Vec<String> {
        self.0.remove(key).unwrap_or_default().into_iter().collect()
    }

    /// For a query; none when there is nothing to filter.
    pub fn query(&self) -> Vec<(&'static str, String)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let members = self.0.iter().map(|(key, values)| {
            let values = values.iter().map(|value| (value.clone(), Value::Bool(true))).collect();
            (key.clone(), Value::Map(values))
        });
        vec![("filters", Value::Map(members.collect()).to_json())]
    }
}
