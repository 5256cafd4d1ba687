//! The parameter `filters`: which keys a list understands, and Docker's words when one is wrong (interop §9.4).

use std::collections::BTreeMap;

use serde_json::Value;
use skep_model::pb::messages as m;
use skep_model::pb::types::NodeRole;
use skep_model::pb::types::node_spec::Membership;
use skep_model::{Code, Refusal, TaskState};

use crate::convert::words;
use crate::request::Query;
use crate::status::Failure;

/// Keys and their values, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Reads `{"key":{"value":true}}` or `{"key":["value"]}`; refuses keys outside `accepted`.
    pub(crate) fn parse(query: &Query, accepted: &[&str]) -> Result<Self, Failure> {
        let text = query.get("filters");
        if text.is_empty() {
            return Ok(Self::default());
        }
        let invalid = || Failure::bad_request(format!("invalid filter: {text:?} is not a JSON object of values"));
        let parsed: Option<BTreeMap<String, Value>> = serde_json::from_str(text).map_err(|_| invalid())?;
        let mut filters = BTreeMap::new();
        for (key, value) in parsed.unwrap_or_default() {
            if !accepted.contains(&key.as_str()) {
                return Err(Failure::bad_request(format!("invalid filter '{key}'")));
            }
            let values = match value {
                Value::Null => Vec::new(),
                // Docker looks at the keys alone, too, but wants to see truth values.
                Value::Object(values) => values
                    .into_iter()
                    .map(|(value, truth)| (truth.is_boolean() || truth.is_null()).then_some(value).ok_or_else(invalid))
                    .collect::<Result<_, _>>()?,
                Value::Array(values) => values
                    .into_iter()
                    .map(|value| value.as_str().map(str::to_owned).ok_or_else(invalid))
                    .collect::<Result<_, _>>()?,
                _ => return Err(invalid()),
            };
            filters.insert(key, values);
        }
        Ok(Self(filters))
    }

    /// The values of a key; none when absent.
    pub(crate) fn get(&self, key: &str) -> &[String] {
        self.0.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        !self.get(key).is_empty()
    }

    fn values(&self, key: &str) -> Vec<String> {
        self.get(key).to_vec()
    }

    /// `key=value` and `key` as SwarmKit's map.
    fn labels(&self, key: &str) -> BTreeMap<String, String> {
        self.get(key)
            .iter()
            .map(|label| {
                let (key, value) = label.split_once('=').unwrap_or((label, ""));
                (key.to_owned(), value.to_owned())
            })
            .collect()
    }

    /// Whether `value` passes: the key is absent or lists it.
    pub(crate) fn admits(&self, key: &str, value: &str) -> bool {
        !self.has(key) || self.get(key).iter().any(|wanted| wanted == value)
    }

    /// Whether labels pass: all that are asked for are there.
    pub(crate) fn admits_labels(&self, key: &str, labels: &BTreeMap<String, String>) -> bool {
        self.get(key).iter().all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        })
    }

    /// Words into values; Docker answers 500 for a wrong one.
    fn parsed<T>(&self, key: &str, parse: fn(&str) -> Option<T>) -> Result<Vec<T>, Failure> {
        self.get(key)
            .iter()
            .filter(|word| !word.is_empty())
            .map(|word| {
                parse(word).ok_or_else(|| {
                    Failure::from(Refusal::new(Code::Unknown, format!("Invalid {key} filter: '{word}'")))
                })
            })
            .collect()
    }
}

/// Filters of `/nodes`.
pub(crate) fn nodes(query: &Query) -> Result<m::list_nodes_request::Filters, Failure> {
    let filters = Filters::parse(query, &["name", "id", "label", "role", "membership", "node.label"])?;
    Ok(m::list_nodes_request::Filters {
        name_prefixes: filters.values("name"),
        id_prefixes: filters.values("id"),
        labels: filters.labels("label"),
        node_labels: filters.labels("node.label"),
        roles: filters.parsed("role", words::parse::<NodeRole>)?.into_iter().map(i32::from).collect(),
        memberships: filters.parsed("membership", words::parse::<Membership>)?.into_iter().map(i32::from).collect(),
        ..Default::default()
    })
}

/// Filters of `/services`; `mode` is applied by the route.
pub(crate) fn services(query: &Query) -> Result<(m::list_services_request::Filters, Filters), Failure> {
    let filters = Filters::parse(query, &["name", "id", "label", "mode", "runtime"])?;
    let runtimes = if filters.has("runtime") { filters.values("runtime") } else { vec!["container".to_owned()] };
    let wire = m::list_services_request::Filters {
        name_prefixes: filters.values("name"),
        id_prefixes: filters.values("id"),
        labels: filters.labels("label"),
        runtimes,
        ..Default::default()
    };
    Ok((wire, filters))
}

/// Filters of `/tasks`; `service` and `node` still hold what the user wrote.
pub(crate) fn tasks(query: &Query) -> Result<m::list_tasks_request::Filters, Failure> {
    let accepted = ["name", "id", "label", "service", "node", "desired-state", "_up-to-date", "runtime"];
    let filters = Filters::parse(query, &accepted)?;
    let runtimes =
        if filters.has("runtime") { filters.values("runtime") } else { vec!["container".to_owned(), String::new()] };
    Ok(m::list_tasks_request::Filters {
        name_prefixes: filters.values("name"),
        id_prefixes: filters.values("id"),
        labels: filters.labels("label"),
        service_ids: filters.values("service"),
        node_ids: filters.values("node"),
        desired_states: filters
            .parsed("desired-state", words::parse::<TaskState>)?
            .into_iter()
            .map(i32::from)
            .collect(),
        up_to_date: filters.has("_up-to-date"),
        runtimes,
        ..Default::default()
    })
}

/// Filters of `/secrets`.
pub(crate) fn secrets(query: &Query) -> Result<m::list_secrets_request::Filters, Failure> {
    let filters = Filters::parse(query, &["names", "name", "id", "label"])?;
    Ok(m::list_secrets_request::Filters {
        names: filters.values("names"),
        name_prefixes: filters.values("name"),
        id_prefixes: filters.values("id"),
        labels: filters.labels("label"),
    })
}

/// Filters of `/configs`.
pub(crate) fn configs(query: &Query) -> Result<m::list_configs_request::Filters, Failure> {
    let filters = Filters::parse(query, &["name", "id", "label"])?;
    Ok(m::list_configs_request::Filters {
        name_prefixes: filters.values("name"),
        id_prefixes: filters.values("id"),
        labels: filters.labels("label"),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(json: &str) -> Query {
        let encoded: String = json.bytes().map(|byte| format!("%{byte:02x}")).collect();
        Query::parse(&format!("filters={encoded}"))
    }

    #[test]
    fn both_forms_are_read() {
        let one = services(&query(r#"{"name":{"web":false},"label":{"a=b":true,"c":true}}"#)).unwrap().0;
        let two = services(&query(r#"{"name":["web"],"label":["a=b","c"]}"#)).unwrap().0;
        assert_eq!(one, two);
        assert_eq!(one.name_prefixes, ["web"]);
        assert_eq!(one.labels["a"], "b");
        assert_eq!(one.labels["c"], "");
        assert_eq!(one.runtimes, ["container"]);
    }

    #[test]
    fn wrong_filters_are_refused_in_dockers_words() {
        let failure = configs(&query(r#"{"names":["x"]}"#)).unwrap_err();
        assert_eq!((failure.status.as_u16(), failure.message.as_str()), (400, "invalid filter 'names'"));
        let failure = nodes(&query(r#"{"role":["king"]}"#)).unwrap_err();
        assert_eq!((failure.status.as_u16(), failure.message.as_str()), (500, "Invalid role filter: 'king'"));
        assert_eq!(nodes(&query("null")).unwrap(), nodes(&query("{}")).unwrap());
        assert_eq!(nodes(&query("[]")).unwrap_err().status.as_u16(), 400);
        assert_eq!(nodes(&query(r#"{"name":"x"}"#)).unwrap_err().status.as_u16(), 400);
    }
}
