//! Nodes in the order of their load: for each load that occurs, which nodes have it. A node that gets a task moves from
//! one set to the next, at the cost of two bits.

use std::collections::BTreeMap;

use crate::node::NodeNumber;

/// A node's load and its number: in this order, emptiest first.
pub(crate) type LoadedNode = (u32, NodeNumber);

/// See the file's head.
#[derive(Clone, Default, Debug)]
pub(crate) struct Loads(BTreeMap<u32, Numbers>);

impl Loads {
    pub(crate) fn insert(&mut self, (load, number): LoadedNode) {
        self.0.entry(load).or_default().insert(number);
    }

    /// Tells whether it was there.
    pub(crate) fn remove(&mut self, (load, number): LoadedNode) -> bool {
        let Some(numbers) = self.0.get_mut(&load) else { return false };
        let was_there = numbers.remove(number);
        if numbers.is_empty() {
            self.0.remove(&load);
        }
        was_there
    }

    #[cfg(test)]
    pub(crate) fn contains(&self, (load, number): LoadedNode) -> bool {
        self.0.get(&load).is_some_and(|numbers| numbers.first_from(number) == Some(number))
    }

    /// The first one behind `after`.
    pub(crate) fn first_after(&self, after: Option<LoadedNode>) -> Option<LoadedNode> {
        let from = after.map_or((0, 0), |(load, number)| (load, number.saturating_add(1)));
        let found = |(load, numbers): (&u32, &Numbers)| {
            let number = numbers.first_from(if *load == from.0 { from.1 } else { 0 })?;
            Some((*load, number))
        };
        self.0.range(from.0..).find_map(found)
    }
}

impl FromIterator<LoadedNode> for Loads {
    fn from_iter<I: IntoIterator<Item = LoadedNode>>(nodes: I) -> Self {
        let mut loads = Self::default();
        nodes.into_iter().for_each(|node| loads.insert(node));
        loads
    }
}

/// So many numbers are kept as they are; of more, each has its bit.
const FEW_MAX: usize = 64;

/// A set of small numbers. A load that few nodes have takes room for those alone, however many nodes there are.
#[derive(Clone, Debug)]
enum Numbers {
    /// Sorted.
    Few(Vec<NodeNumber>),
    Many(Bits),
}

impl Default for Numbers {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Numbers {
    fn is_empty(&self) -> bool {
        match self {
            Self::Few(numbers) => numbers.is_empty(),
            Self::Many(bits) => bits.count == 0,
        }
    }

    fn insert(&mut self, number: NodeNumber) {
        match self {
            Self::Few(numbers) => {
                let Err(at) = numbers.binary_search(&number) else { return };
                numbers.insert(at, number);
                if numbers.len() > FEW_MAX {
                    let mut bits = Bits::default();
                    numbers.iter().for_each(|number| bits.insert(*number));
                    *self = Self::Many(bits);
                }
            }
            Self::Many(bits) => bits.insert(number),
        }
    }

    fn remove(&mut self, number: NodeNumber) -> bool {
        match self {
            Self::Few(numbers) => match numbers.binary_search(&number) {
                Ok(at) => {
                    numbers.remove(at);
                    true
                }
                Err(_) => false,
            },
            Self::Many(bits) => bits.remove(number),
        }
    }

    /// The least one that is not less.
    fn first_from(&self, number: NodeNumber) -> Option<NodeNumber> {
        match self {
            Self::Few(numbers) => numbers.get(numbers.partition_point(|known| *known < number)).copied(),
            Self::Many(bits) => bits.first_from(number),
        }
    }
}

/// A bit for each number, and a bit for each word of those that is not 0.
#[derive(Clone, Default, Debug)]
struct Bits {
    words: Vec<u64>,
    filled: Vec<u64>,
    count: usize,
}

/// The word that a number's bit is in, and the bit.
fn place(number: usize) -> (usize, u64) {
    (number / u64::BITS as usize, 1 << (number % u64::BITS as usize))
}

/// The number of the lowest bit of a word that is not 0.
fn bit_number(word: usize, bits: u64) -> usize {
    word * u64::BITS as usize + bits.trailing_zeros() as usize
}

fn lowest(word: usize, bits: u64) -> Option<usize> {
    (bits != 0).then(|| bit_number(word, bits))
}

impl Bits {
    fn insert(&mut self, number: NodeNumber) {
        let (word, bit) = place(number as usize);
        let (over, mark) = place(word);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
            self.filled.resize(over + 1, 0);
        }
        self.count += usize::from(self.words[word] & bit == 0);
        self.words[word] |= bit;
        self.filled[over] |= mark;
    }

    fn remove(&mut self, number: NodeNumber) -> bool {
        let (word, bit) = place(number as usize);
        let Some(bits) = self.words.get_mut(word).filter(|bits| **bits & bit != 0) else { return false };
        *bits &= !bit;
        if *bits == 0 {
            let (over, mark) = place(word);
            self.filled[over] &= !mark;
        }
        self.count -= 1;
        true
    }

    fn first_from(&self, number: NodeNumber) -> Option<NodeNumber> {
        let (word, bit) = place(number as usize);
        let here = self.words.get(word)? & bit.wrapping_neg();
        if here != 0 {
            return Some(bit_number(word, here) as NodeNumber);
        }
        let (over, mark) = place(word + 1);
        let next = self.filled.get(over)? & mark.wrapping_neg();
        let word = match next {
            0 => (over + 1..self.filled.len()).find_map(|over| lowest(over, self.filled[over]))?,
            next => bit_number(over, next),
        };
        lowest(word, self.words[word]).map(|number| number as NodeNumber)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn orders_as_a_tree_does() {
        let (mut loads, mut expected) = (Loads::default(), BTreeSet::new());
        let mut state = 7_u64;
        for step in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // At first they become many, then few.
            let fills = step < 8_000 || step % 3 == 0;
            let node = ((state >> 60) as u32 & 3, (state >> 40) as NodeNumber % 9_000);
            if fills {
                loads.insert(node);
                expected.insert(node);
            } else {
                let from = expected.range(node..).next().copied().unwrap_or(node);
                assert_eq!(loads.remove(from), expected.remove(&from));
            }
            let after = (node.0, node.1.saturating_sub(3));
            let next = expected.range((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded)).next().copied();
            assert_eq!(loads.first_after(Some(after)), next);
            assert_eq!(loads.first_after(None), expected.first().copied());
            assert_eq!(loads.contains(node), expected.contains(&node));
        }
        let mut listed = Vec::new();
        while let Some(next) = loads.first_after(listed.last().copied()) {
            listed.push(next);
        }
        assert!(listed.len() > 300 && listed.into_iter().eq(expected));
    }
}
