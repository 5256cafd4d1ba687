//! The one queue of everything that is going to happen, by time, then in the order it was put there.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use skep_model::Time;

/// Bits of an item that say where the thing lies.
const PLACE_BITS: u32 = 24;
const PLACE_MASK: u128 = (1 << PLACE_BITS) - 1;

/// What is going to happen. The heap moves and compares its items a lot, and so they are one number each: the time, the
/// order, and where the thing itself lies.
pub struct Queue<T> {
    heap: BinaryHeap<Reverse<u128>>,
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
    ///
    /// # Panics
    /// With more things in it, or more ever put there, than the numbers can tell apart.
    pub fn put(&mut self, at: Time, what: T) {
        self.last += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.things.push(None);
            self.things.len() - 1
        });
        assert!(place as u128 <= PLACE_MASK && self.last >> (u64::BITS - PLACE_BITS) == 0, "the queue is full");
        self.things[place] = Some(what);
        let order = u128::from(self.last) << PLACE_BITS | place as u128;
        self.heap.push(Reverse(u128::from(at.0) << u64::BITS | order));
    }

    /// What happens next, and when.
    pub fn take(&mut self) -> Option<(Time, T)> {
        let Reverse(item) = self.heap.pop()?;
        let place = (item & PLACE_MASK) as usize;
        self.free.push(place);
        self.things[place].take().map(|what| (Time((item >> u64::BITS) as u64), what))
    }
}
