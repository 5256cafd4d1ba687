//! The one queue of everything that is going to happen, by time, then in the order it was put there.
//!
//! Most things happen within a millisecond or two, and so lie in slots of about a millisecond; what comes later waits in
//! a heap until its slot is near. Only the slot at hand is kept in order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use skep_model::Time;

/// A slot is so many microseconds long, as a power of two.
const SLOT_BITS: u32 = 10;
/// Slots that are near: a quarter of a second, so that ticks are.
const SLOTS: usize = 256;
/// The furthest of them, counted from the one at hand.
const NEAR_LAST: u64 = SLOTS as u64 - 1;
const WORDS: usize = SLOTS / u64::BITS as usize;

/// Bits of an item that say where the thing lies.
const PLACE_BITS: u32 = 24;
const PLACE_MASK: u128 = (1 << PLACE_BITS) - 1;

/// The time, the order, and where the thing itself lies, in one number: items are moved and compared a lot.
type Item = Reverse<u128>;

/// What is going to happen.
pub struct Queue<T> {
    /// The number of the slot at hand.
    base: u64,
    /// That slot, and what was put before it.
    current: BinaryHeap<Item>,
    /// The slots after it, each by its number modulo `SLOTS`.
    near: Vec<Vec<Item>>,
    /// Which of them have items.
    occupied: [u64; WORDS],
    /// Everything after them.
    far: BinaryHeap<Item>,
    things: Vec<Option<T>>,
    free: Vec<usize>,
    last: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            base: 0,
            current: BinaryHeap::new(),
            near: vec![Vec::new(); SLOTS],
            occupied: [0; WORDS],
            far: BinaryHeap::new(),
            things: Vec::new(),
            free: Vec::new(),
            last: 0,
        }
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
        self.sort_in(Reverse(u128::from(at.0) << u64::BITS | order));
    }

    /// What happens next, and when.
    pub fn take(&mut self) -> Option<(Time, T)> {
        loop {
            let Some(item) = self.current.pop() else {
                if self.advance() {
                    continue;
                }
                return None;
            };
            let place = (item.0 & PLACE_MASK) as usize;
            self.free.push(place);
            return self.things[place].take().map(|what| (time_of(item), what));
        }
    }

    fn sort_in(&mut self, item: Item) {
        match slot_of(item).saturating_sub(self.base) {
            0 => self.current.push(item),
            1..=NEAR_LAST => {
                let index = slot_of(item) as usize % SLOTS;
                self.near[index].push(item);
                self.occupied[index / 64] |= 1 << (index % 64);
            }
            _ => self.far.push(item),
        }
    }

    /// Goes to the next slot that has items, if there is one.
    fn advance(&mut self) -> bool {
        let Some(base) = self.next_near().or_else(|| self.far.peek().map(|item| slot_of(*item))) else { return false };
        self.base = base;
        let index = base as usize % SLOTS;
        self.occupied[index / 64] &= !(1 << (index % 64));
        // The emptied slot's room is used again.
        let emptied = std::mem::take(&mut self.current).into_vec();
        self.current = BinaryHeap::from(std::mem::replace(&mut self.near[index], emptied));
        while self.far.peek().is_some_and(|item| slot_of(*item) - base <= NEAR_LAST) {
            if let Some(item) = self.far.pop() {
                self.sort_in(item);
            }
        }
        true
    }

    /// The number of the first slot after the one at hand that has items.
    fn next_near(&self) -> Option<u64> {
        let start = (self.base as usize + 1) % SLOTS;
        let from_start = u64::MAX << (start % 64);
        for step in 0..=WORDS {
            let word = (start / 64 + step) % WORDS;
            // The word that the search begins in is looked at twice: its end first, its beginning last.
            let part = match step {
                0 => from_start,
                WORDS => !from_start,
                _ => u64::MAX,
            };
            let found = self.occupied[word] & part;
            if found != 0 {
                let index = word * 64 + found.trailing_zeros() as usize;
                return Some(self.base + 1 + ((index + SLOTS - start) % SLOTS) as u64);
            }
        }
        None
    }
}

fn time_of(item: Item) -> Time {
    Time((item.0 >> u64::BITS) as u64)
}

fn slot_of(item: Item) -> u64 {
    time_of(item).0 >> SLOT_BITS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::{Dice, Purpose};

    #[test]
    fn things_happen_by_time_and_then_in_order() {
        for seed in 0..200 {
            let mut dice = Dice::new(seed, Purpose::Plan);
            let (mut queue, mut plain) = (Queue::default(), Vec::new());
            let mut now = 0;
            for number in 0..2_000u64 {
                let spread = dice.pick(&[0, 50, 1_000, 5_000, 300_000, 40_000_000]).unwrap_or(0);
                // Now and then something is put where the queue has been already.
                let at = (now + dice.between(0, spread)).saturating_sub(dice.pick(&[0, 0, 0, 3_000]).unwrap_or(0));
                queue.put(Time(at), number);
                plain.push((at, number));
                while dice.permille(480) {
                    let expected = plain.iter().copied().min();
                    plain.retain(|thing| Some(*thing) != expected);
                    assert_eq!(queue.take(), expected.map(|(at, number)| (Time(at), number)), "seed {seed}");
                    now = expected.map_or(now, |(at, _)| at);
                }
            }
            plain.sort_unstable();
            let rest: Vec<_> = std::iter::from_fn(|| queue.take()).map(|(at, number)| (at.0, number)).collect();
            assert_eq!(rest, plain, "seed {seed}");
        }
    }
}
