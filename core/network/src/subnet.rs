//! The addresses of one subnet, given out one after the other (source: libnetwork's serial allocation).

use std::collections::BTreeMap;

use crate::prefix::{Family, Prefix};

/// One subnet of a network.
#[derive(Clone, Debug)]
pub struct Subnet {
    pub prefix: Prefix,
    /// Where addresses are given out; the whole subnet unless the user says otherwise.
    range: Prefix,
    /// By how many an address is held; more than one only when the objects say so.
    held: BTreeMap<u128, u32>,
    next: u128,
    /// Nothing was free when it was last looked for, and nothing was given back since: thousands may wait for it.
    is_full: bool,
}

impl Subnet {
    /// Network and broadcast address of IPv4 are nobody's (RFC 3021: a link between two has neither), nor is the
    /// first one of IPv6, which is any router's (RFC 4291 §2.6.1).
    pub fn new(prefix: Prefix, range: Option<Prefix>) -> Self {
        let range = range.unwrap_or(prefix);
        let mut held = BTreeMap::new();
        match prefix.family {
            Family::V4 if prefix.length < 31 => held.extend([(prefix.first, 1), (prefix.last(), 1)]),
            Family::V4 => {}
            Family::V6 => held.extend([(prefix.first, 1)]),
        }
        Self { prefix, range, held, next: range.first, is_full: false }
    }

    /// Takes this address; false when it is held or lies elsewhere.
    pub fn take(&mut self, address: u128) -> bool {
        if !self.prefix.contains(address) || self.held.contains_key(&address) {
            return false;
        }
        self.held.insert(address, 1);
        true
    }

    /// Notes an address that an object holds already.
    pub fn hold(&mut self, address: u128) {
        *self.held.entry(address).or_insert(0) += 1;
    }

    /// Takes the next free one.
    pub fn take_any(&mut self) -> Option<u128> {
        if self.is_full {
            return None;
        }
        let (first, last) = (self.range.first, self.range.last());
        let wrapped = self.next.checked_sub(1).filter(|before| *before >= first);
        let found = self.free_in(self.next, last).or_else(|| wrapped.and_then(|before| self.free_in(first, before)));
        self.is_full = found.is_none();
        let found = found?;
        self.held.insert(found, 1);
        self.next = if found == last { first } else { found + 1 };
        Some(found)
    }

    /// Gives one back.
    pub fn release(&mut self, address: u128) {
        if let Some(count) = self.held.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.held.remove(&address);
                self.is_full = false;
            }
        }
    }

    fn free_in(&self, from: u128, to: u128) -> Option<u128> {
        let mut candidate = from;
        for &held in self.held.range(from..=to).map(|(address, _)| address) {
            if held > candidate {
                break;
            }
            candidate = held.checked_add(1)?;
        }
        (candidate <= to).then_some(candidate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(prefix: &str, range: Option<&str>) -> Subnet {
        let parse = |text: &str| Prefix::parse(text).expect("a subnet");
        Subnet::new(parse(prefix), range.map(parse))
    }

    fn take(subnet: &mut Subnet) -> Option<String> {
        subnet.take_any().map(|address| subnet.prefix.cidr(address))
    }

    #[test]
    fn small_subnet_runs_out_and_wraps() {
        let mut small = subnet("10.0.0.0/29", None);
        let all: Vec<String> = std::iter::from_fn(|| take(&mut small)).collect();
        assert_eq!(all.first().map(String::as_str), Some("10.0.0.1/29"));
        assert_eq!(all.len(), 6, "network and broadcast address are nobody's");
        assert_eq!(take(&mut small), None);
        small.release(small.prefix.first + 3);
        assert_eq!(take(&mut small).as_deref(), Some("10.0.0.3/29"));
    }

    #[test]
    fn a_range_limits_what_is_given_but_not_what_is_asked_for() {
        let mut ranged = subnet("10.0.0.0/24", Some("10.0.0.64/30"));
        let all: Vec<String> = std::iter::from_fn(|| take(&mut ranged)).collect();
        assert_eq!(all, ["10.0.0.64/24", "10.0.0.65/24", "10.0.0.66/24", "10.0.0.67/24"]);
        assert!(ranged.take(ranged.prefix.first + 200));
        assert!(!ranged.take(ranged.prefix.first + 200));
        assert!(!ranged.take(ranged.prefix.first + 256));
    }

    #[test]
    fn an_address_held_twice_is_free_after_two_releases() {
        let mut twice = subnet("10.0.0.0/30", None);
        let address = twice.prefix.first + 1;
        twice.hold(address);
        twice.hold(address);
        twice.release(address);
        assert!(!twice.take(address));
        twice.release(address);
        assert!(twice.take(address));
    }

    #[test]
    fn reserved_addresses_are_those_of_the_family() {
        for (prefix, addresses) in [
            ("10.0.0.0/31", vec!["10.0.0.0/31", "10.0.0.1/31"]),
            ("10.0.0.7/32", vec!["10.0.0.7/32"]),
            ("10.0.0.0/30", vec!["10.0.0.1/30", "10.0.0.2/30"]),
            ("fd00::/126", vec!["fd00::1/126", "fd00::2/126", "fd00::3/126"]),
        ] {
            let mut small = subnet(prefix, None);
            let all: Vec<String> = std::iter::from_fn(|| take(&mut small)).collect();
            assert_eq!(all, addresses);
        }
    }
}
