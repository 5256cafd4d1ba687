//! Generic resources of a node: named ones (a set) and discrete ones (a count), given out as Docker does (interop §7.7).

use std::collections::BTreeMap;

use skep_model::pb::types::generic_resource::Resource;
use skep_model::pb::types::{DiscreteGenericResource, GenericResource, NamedGenericResource, Resources};

/// What a node has of one kind.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Stock {
    Discrete {
        total: i64,
        used: i64,
    },
    /// In the order in which the node names them.
    Named(Vec<Item>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Item {
    name: String,
    used: bool,
}

/// What a node has, and what of it is in use.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Pool(BTreeMap<String, Stock>);

impl Pool {
    /// Everything that the node describes, unused.
    pub(crate) fn new(resources: Option<&Resources>) -> Self {
        let mut pool = Self::default();
        let described = resources.map(|resources| resources.generic.as_slice()).unwrap_or_default();
        for resource in described.iter().filter_map(|generic| generic.resource.as_ref()) {
            match resource {
                Resource::DiscreteResourceSpec(discrete) => {
                    let stock = Stock::Discrete { total: discrete.value, used: 0 };
                    pool.0.entry(discrete.kind.clone()).or_insert(stock);
                }
                Resource::NamedResourceSpec(named) => {
                    let item = Item { name: named.value.clone(), used: false };
                    if let Stock::Named(items) =
                        pool.0.entry(named.kind.clone()).or_insert_with(|| Stock::Named(Vec::new()))
                    {
                        items.push(item);
                    }
                }
            }
        }
        pool
    }

    /// What the node describes now, with what is in use as before.
    pub(crate) fn redescribed(&self, resources: Option<&Resources>) -> Self {
        let mut pool = Self::new(resources);
        for (kind, stock) in &mut pool.0 {
            match (stock, self.0.get(kind)) {
                (Stock::Discrete { used, .. }, Some(Stock::Discrete { used: before, .. })) => *used = *before,
                (Stock::Named(items), Some(Stock::Named(before))) => {
                    for item in items {
                        item.used = before.iter().any(|before| before.used && before.name == item.name);
                    }
                }
                _ => {}
            }
        }
        pool
    }

    /// Whether there is enough for the reservations; those are always counts.
    pub(crate) fn has(&self, wanted: &[DiscreteGenericResource]) -> bool {
        wanted.iter().all(|wanted| match self.0.get(&wanted.kind) {
            Some(Stock::Discrete { total, used }) => total - used >= wanted.value,
            Some(Stock::Named(items)) => {
                let free = items.iter().filter(|item| !item.used).count();
                i64::try_from(free).unwrap_or(i64::MAX) >= wanted.value
            }
            None => false,
        })
    }

    /// Takes what is reserved, and tells what exactly was given.
    pub(crate) fn claim(&mut self, wanted: &[DiscreteGenericResource]) -> Vec<GenericResource> {
        let mut given = Vec::new();
        for wanted in wanted {
            let count = usize::try_from(wanted.value).unwrap_or(0);
            match self.0.get_mut(&wanted.kind) {
                Some(Stock::Discrete { used, .. }) if wanted.value > 0 => {
                    *used += wanted.value;
                    given.push(discrete(&wanted.kind, wanted.value));
                }
                Some(Stock::Named(items)) => {
                    for item in items.iter_mut().filter(|item| !item.used).take(count) {
                        item.used = true;
                        given.push(named(&wanted.kind, &item.name));
                    }
                }
                _ => {}
            }
        }
        given
    }

    /// Marks what a task was given as in use, or as free again. What the node no longer has is passed over.
    pub(crate) fn mark(&mut self, given: &[GenericResource], in_use: bool) {
        for resource in given.iter().filter_map(|generic| generic.resource.as_ref()) {
            match resource {
                Resource::DiscreteResourceSpec(discrete) => {
                    if let Some(Stock::Discrete { used, .. }) = self.0.get_mut(&discrete.kind) {
                        *used += if in_use { discrete.value } else { -discrete.value };
                    }
                }
                Resource::NamedResourceSpec(named) => {
                    if let Some(Stock::Named(items)) = self.0.get_mut(&named.kind) {
                        for item in items.iter_mut().filter(|item| item.name == named.value) {
                            item.used = in_use;
                        }
                    }
                }
            }
        }
    }
}

fn discrete(kind: &str, value: i64) -> GenericResource {
    let discrete = DiscreteGenericResource { kind: kind.to_owned(), value };
    GenericResource { resource: Some(Resource::DiscreteResourceSpec(discrete)) }
}

fn named(kind: &str, value: &str) -> GenericResource {
    let named = NamedGenericResource { kind: kind.to_owned(), value: value.to_owned() };
    GenericResource { resource: Some(Resource::NamedResourceSpec(named)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(kind: &str, value: i64) -> DiscreteGenericResource {
        DiscreteGenericResource { kind: kind.to_owned(), value }
    }

    #[test]
    fn gives_out_names_and_counts() {
        let described = vec![named("gpu", "b"), named("gpu", "a"), discrete("ssd", 3), named("gpu", "c")];
        let mut pool = Pool::new(Some(&Resources { generic: described, ..Default::default() }));
        assert!(pool.has(&[want("gpu", 3), want("ssd", 3)]));
        assert!(!pool.has(&[want("gpu", 4)]) && !pool.has(&[want("fpga", 1)]));
        let given = pool.claim(&[want("gpu", 2), want("ssd", 2)]);
        assert_eq!(given, [named("gpu", "b"), named("gpu", "a"), discrete("ssd", 2)]);
        assert!(pool.has(&[want("gpu", 1), want("ssd", 1)]) && !pool.has(&[want("ssd", 2)]));
        pool.mark(&given, false);
        assert!(pool.has(&[want("gpu", 3), want("ssd", 3)]));
        pool.mark(&[named("gpu", "c"), named("gpu", "gone"), discrete("gone", 1)], true);
        assert_eq!(pool.claim(&[want("gpu", 1)]), [named("gpu", "b")]);
    }
}
