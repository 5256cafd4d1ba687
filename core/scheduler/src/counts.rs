//! Tasks of one service per node. Most services of a large swarm are on few nodes, and those need no tree.

use std::collections::BTreeMap;

use crate::node::NodeNumber;

/// How many tasks are on which node; nodes without one are left out.
#[derive(Clone, Debug, Default)]
pub(crate) enum Counts {
    #[default]
    None,
    /// All tasks are on one node.
    One(NodeNumber, u32),
    /// More than one node, or it was so.
    Many(BTreeMap<NodeNumber, u32>),
}

impl Counts {
    pub(crate) fn get(&self, node: NodeNumber) -> u32 {
        match self {
            Self::One(only, count) if *only == node => *count,
            Self::None | Self::One(..) => 0,
            Self::Many(counts) => counts.get(&node).copied().unwrap_or(0),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The nodes, by number.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeNumber> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(node, _) => (Some(*node), None),
            Self::Many(counts) => (None, Some(counts.keys().copied())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    pub(crate) fn add(&mut self, node: NodeNumber) {
        match self {
            Self::None => *self = Self::One(node, 1),
            Self::One(only, count) if *only == node => *count += 1,
            Self::One(only, count) => *self = Self::Many(BTreeMap::from([(*only, *count), (node, 1)])),
            Self::Many(counts) => *counts.entry(node).or_default() += 1,
        }
    }

    /// Takes back an [`Self::add`].
    pub(crate) fn subtract(&mut self, node: NodeNumber) {
        match self {
            Self::One(only, count) if *only == node => {
                *count -= 1;
                if *count == 0 {
                    *self = Self::None;
                }
            }
            Self::None | Self::One(..) => {}
            Self::Many(counts) => {
                if let Some(count) = counts.get_mut(&node) {
                    *count -= 1;
                    if *count == 0 {
                        counts.remove(&node);
                    }
                }
                if counts.is_empty() {
                    *self = Self::None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_as_a_map_does() {
        let mut counts = Counts::default();
        let mut expected: BTreeMap<NodeNumber, u32> = BTreeMap::new();
        let steps = [(3, 1), (3, 1), (3, -1), (5, 1), (3, -1), (3, -1), (7, 1), (5, -1), (7, -1), (7, -1), (2, 1)];
        for (node, step) in steps {
            if step > 0 {
                counts.add(node);
                *expected.entry(node).or_default() += 1;
            } else {
                counts.subtract(node);
                expected.entry(node).and_modify(|count| *count -= 1);
                expected.retain(|_, count| *count > 0);
            }
            assert!((0..9).all(|node| counts.get(node) == expected.get(&node).copied().unwrap_or(0)));
            assert!(counts.nodes().eq(expected.keys().copied()));
            assert_eq!(counts.is_empty(), expected.is_empty());
        }
    }
}
