//! A sorted set that is small most of the time: then it lies in one piece, which is quicker and smaller than a tree.

use std::collections::BTreeSet;

/// So many members lie in one piece.
const FEW_MAX: usize = 256;

/// A sorted set.
#[derive(Clone, Debug)]
pub(crate) enum Members<M> {
    /// Sorted.
    Few(Vec<M>),
    /// More, or there were more.
    Many(BTreeSet<M>),
}

impl<M> Default for Members<M> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<M: Ord + Copy> Members<M> {
    pub(crate) fn insert(&mut self, member: M) {
        match self {
            Self::Few(members) => {
                let Err(at) = members.binary_search(&member) else { return };
                if members.len() < FEW_MAX {
                    members.insert(at, member);
                } else {
                    let mut many: BTreeSet<M> = members.iter().copied().collect();
                    many.insert(member);
                    *self = Self::Many(many);
                }
            }
            Self::Many(members) => {
                members.insert(member);
            }
        }
    }

    pub(crate) fn remove(&mut self, member: &M) {
        match self {
            Self::Few(members) => {
                if let Ok(at) = members.binary_search(member) {
                    members.remove(at);
                }
            }
            Self::Many(members) => {
                members.remove(member);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Few(members) => members.is_empty(),
            Self::Many(members) => members.is_empty(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(members) => members.len(),
            Self::Many(members) => members.len(),
        }
    }

    pub(crate) fn first(&self) -> Option<&M> {
        match self {
            Self::Few(members) => members.first(),
            Self::Many(members) => members.first(),
        }
    }

    pub(crate) fn last(&self) -> Option<&M> {
        match self {
            Self::Few(members) => members.last(),
            Self::Many(members) => members.last(),
        }
    }

    /// In order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &M> {
        let (few, many) = match self {
            Self::Few(members) => (members.as_slice(), None),
            Self::Many(members) => ([].as_slice(), Some(members.iter())),
        };
        few.iter().chain(many.into_iter().flatten())
    }

    /// Those from `first` to `last`, both included, in order.
    pub(crate) fn range(&self, first: M, last: M) -> impl Iterator<Item = &M> {
        let (few, many) = match self {
            Self::Few(members) => {
                let start = members.partition_point(|member| *member < first);
                let end = members.partition_point(|member| *member <= last);
                (members.get(start..end).unwrap_or_default(), None)
            }
            Self::Many(members) => ([].as_slice(), Some(members.range(first..=last))),
        };
        few.iter().chain(many.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_sorted_set_however_many_there_are() {
        let mut members: Members<u32> = Members::default();
        let mut expected = BTreeSet::new();
        // A full cycle of residues: every number once, in no order.
        let mixed = |step: u32| step * 397 % 1009;
        for step in 0..1009 {
            members.insert(mixed(step));
            members.insert(mixed(step / 2));
            expected.extend([mixed(step), mixed(step / 2)]);
            assert!(members.iter().eq(&expected));
            assert_eq!(members.len(), expected.len());
            assert!(members.range(100, 200).eq(expected.range(100..=200)));
            assert_eq!((members.first(), members.last()), (expected.first(), expected.last()));
        }
        for step in 0..1009 {
            members.remove(&mixed(step));
            members.remove(&mixed(step / 3));
            expected.remove(&mixed(step));
            assert!(members.iter().eq(&expected));
            assert!(members.range(500, 5000).eq(expected.range(500..)));
            assert_eq!(members.is_empty(), expected.is_empty());
        }
    }
}
