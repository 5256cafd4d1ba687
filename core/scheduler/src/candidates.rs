//! The nodes for a group without spread preferences, best first: the ones on which the service has fewest tasks, among
//! them the emptiest. Nodes without a task of the service are drawn lazily from the order of load, so that a task on a
//! thousand nodes looks at a few.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::filter;
use crate::loads::LoadedNode;
use crate::node::NodeNumber;
use crate::picture::Picture;
use crate::requirements::Requirements;
use crate::spread::Rank;

/// The nodes that may still be taken.
pub(crate) struct Candidates {
    /// Nodes that fail too often.
    failing: BTreeMap<NodeNumber, u32>,
    /// Nodes with a task of the service, and the failing ones.
    known: BinaryHeap<Reverse<Rank>>,
    /// The kind of ask.
    class: usize,
    /// How far the nodes without one are drawn.
    drawn: Option<LoadedNode>,
    exhausted: bool,
}

impl Candidates {
    pub(crate) fn new(picture: &mut Picture, wanted: &Requirements, failing: BTreeMap<NodeNumber, u32>) -> Self {
        let class = picture.class_of(wanted);
        let is_new = failing.is_empty() && wanted.service.is_none_or(|service| picture.nodes_of(service).is_empty());
        let mut candidates = Self { failing, known: BinaryHeap::new(), class, drawn: None, exhausted: false };
        if is_new {
            return candidates;
        }
        let with_tasks = wanted.service.into_iter().flat_map(|service| picture.nodes_of(service).nodes());
        let mut numbers: Vec<NodeNumber> = with_tasks.chain(candidates.failing.keys().copied()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            candidates.put(picture, wanted, number);
        }
        candidates
    }

    /// The best node that suits; it is not offered again until [`Self::put`] back.
    pub(crate) fn take(&mut self, picture: &Picture, wanted: &Requirements) -> Option<NodeNumber> {
        if let Some(fresh) = self.draw(picture, wanted) {
            return Some(fresh);
        }
        while let Some(Reverse((.., number))) = self.known.pop() {
            if filter::refuses(picture, wanted, number).is_none() {
                return Some(number);
            }
        }
        None
    }

    /// The emptiest node without a task of the service.
    fn draw(&mut self, picture: &Picture, wanted: &Requirements) -> Option<NodeNumber> {
        while !self.exhausted {
            let Some(next) = picture.emptiest_after(self.class, self.drawn) else {
                self.exhausted = true;
                return None;
            };
            self.drawn = Some(next);
            let (_, number) = next;
            let known = self.failing.contains_key(&number) || picture.count(wanted.service, number) > 0;
            if !known && filter::refuses_of_class(picture, wanted, number).is_none() {
                return Some(number);
            }
        }
        None
    }

    /// Offers a node as it is now.
    pub(crate) fn put(&mut self, picture: &Picture, wanted: &Requirements, number: NodeNumber) {
        let Some(state) = picture.node(number) else { return };
        let failures = self.failing.get(&number).copied().unwrap_or(0);
        self.known.push(Reverse((failures, picture.count(wanted.service, number), state.total, number)));
    }
}
