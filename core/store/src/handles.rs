//! A table from the fingerprints of ids to handles: only ever asked, never iterated, so that its order shows nowhere.

use hashbrown::HashTable;

/// Number of a row in its table, or of any other thing that is kept in a vector.
pub type Handle = u32;

/// Carries every bit of a fingerprint to where the table looks.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// From fingerprints to handles; the caller says which of those with the same fingerprint is meant.
#[derive(Clone, Default, Debug)]
pub struct Handles(HashTable<(u32, Handle)>);

impl Handles {
    /// The handle with this fingerprint that `is` the one.
    pub fn find(&self, fingerprint: u32, is: impl Fn(Handle) -> bool) -> Option<Handle> {
        let found = self.0.find(spread(fingerprint), |entry| entry.0 == fingerprint && is(entry.1));
        found.map(|entry| entry.1)
    }

    /// Adds a handle that is not there yet.
    pub fn insert(&mut self, fingerprint: u32, handle: Handle) {
        self.0.insert_unique(spread(fingerprint), (fingerprint, handle), |entry| spread(entry.0));
    }

    /// Takes a handle out.
    pub fn remove(&mut self, fingerprint: u32, handle: Handle) {
        if let Ok(entry) = self.0.find_entry(spread(fingerprint), |entry| *entry == (fingerprint, handle)) {
            entry.remove();
        }
    }

    /// Makes room for so many more.
    pub fn reserve(&mut self, more: usize) {
        self.0.reserve(more, |entry| spread(entry.0));
    }
}

fn spread(fingerprint: u32) -> u64 {
    u64::from(fingerprint).wrapping_mul(SPREAD)
}
