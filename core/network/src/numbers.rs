//! A space of numbers given out one after the other; released ones are used again after a wrap.

use std::collections::BTreeSet;

/// Numbers from `first` to `last`; `taken` may also hold some outside of it.
#[derive(Clone, Debug)]
pub struct Numbers {
    first: u32,
    last: u32,
    taken: BTreeSet<u32>,
    next: u32,
}

impl Numbers {
    /// All free.
    pub fn new(first: u32, last: u32) -> Self {
        Self { first, last, taken: BTreeSet::new(), next: first }
    }

    /// Takes this one; false when it is taken.
    pub fn take(&mut self, number: u32) -> bool {
        self.taken.insert(number)
    }

    /// Takes the next free one.
    pub fn take_any(&mut self) -> Option<u32> {
        let start = self.next;
        let found = self.free_in(start, self.last).or_else(|| self.free_in(self.first, start.saturating_sub(1)))?;
        self.taken.insert(found);
        self.next = if found == self.last { self.first } else { found + 1 };
        Some(found)
    }

    /// Gives one back.
    pub fn release(&mut self, number: u32) {
        self.taken.remove(&number);
    }

    fn free_in(&self, from: u32, to: u32) -> Option<u32> {
        if from > to {
            return None;
        }
        let mut candidate = from;
        for &taken in self.taken.range(from..=to) {
            if taken > candidate {
                break;
            }
            candidate = taken + 1;
        }
        (candidate <= to).then_some(candidate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_then_wraps_to_released() {
        let mut numbers = Numbers::new(3, 6);
        assert!(numbers.take(4));
        assert!(!numbers.take(4));
        assert_eq!([numbers.take_any(), numbers.take_any()], [Some(3), Some(5)]);
        numbers.release(3);
        assert_eq!(numbers.take_any(), Some(6), "next-fit goes on before it wraps");
        assert_eq!(numbers.take_any(), Some(3));
        assert_eq!(numbers.take_any(), None);
        numbers.release(5);
        assert_eq!(numbers.take_any(), Some(5));
    }
}
