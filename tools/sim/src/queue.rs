//! The one queue of everything that is going to happen, by time, then in the order it was put there.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use skep_model::Time;

/// What is going to happen. The heap moves its items around a lot, and so holds only where the things themselves lie.
pub struct Queue<T> {
    heap: BinaryHeap<Reverse<(Time, u64, usize)>>,
    things: Vec<Option<T>>,
    free: Vec<usize>,
    last: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), things: Vec::new(), free: Vec::new(), last: 0 }
    }
}

impl<T> Queue<T> {
    /// Something happens at `at`.
    pub fn put(&mut self, at: Time, what: T) {
        self.last += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.things.push(None);
            self.things.len() - 1
        });
        self.things[place] = Some(what);
        self.heap.push(Reverse((at, self.last, place)));
    }

    /// What happens next, and when.
    pub fn take(&mut self) -> Option<(Time, T)> {
        let Reverse((at, _, place)) = self.heap.pop()?;
        self.free.push(place);
        self.things[place].take().map(|what| (at, what))
    }
}
