//! The one queue of everything that is going to happen, by time, then in the order it was put there.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use skep_model::Time;

struct Item<T> {
    at: Time,
    number: u64,
    what: T,
}

impl<T> PartialEq for Item<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}
impl<T> Eq for Item<T> {}
impl<T> PartialOrd for Item<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Item<T> {
    /// The heap gives the greatest first: the earliest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// What is going to happen.
pub struct Queue<T> {
    heap: BinaryHeap<Item<T>>,
    last: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), last: 0 }
    }
}

impl<T> Queue<T> {
    /// Something happens at `at`.
    pub fn put(&mut self, at: Time, what: T) {
        self.last += 1;
        self.heap.push(Item { at, number: self.last, what });
    }

    /// What happens next, and when.
    pub fn take(&mut self) -> Option<(Time, T)> {
        self.heap.pop().map(|item| (item.at, item.what))
    }
}
