//! Addresses of the bridge's subnet, handed out in turn so that a freed one rests as long as possible.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::config::BridgeConfig;

/// The bridge's own address is the subnet's first.
const GATEWAY_OFFSET: u32 = 1;

/// Which addresses are taken.
pub struct Addresses {
    first: u32,
    last: u32,
    next: u32,
    taken: BTreeSet<u32>,
    gateway: Ipv4Addr,
}

impl Addresses {
    /// All free.
    pub fn new(config: &BridgeConfig) -> Self {
        let base = base(config);
        let size = 1u32 << (32 - u32::from(config.prefix_length.clamp(8, 30)));
        let first = base + GATEWAY_OFFSET + 1;
        let gateway = Ipv4Addr::from(base + GATEWAY_OFFSET);
        Self { first, last: base + size - 2, next: first, taken: BTreeSet::new(), gateway }
    }

    /// The bridge's address.
    pub fn gateway(&self) -> Ipv4Addr {
        self.gateway
    }

    /// Takes over one that a live container has.
    pub fn keep(&mut self, address: Ipv4Addr) {
        self.taken.insert(u32::from(address));
    }

    /// A free one.
    pub fn take(&mut self) -> Option<Ipv4Addr> {
        let count = self.last - self.first + 1;
        for step in 0..count {
            let candidate = self.first + (self.next - self.first + step) % count;
            if self.taken.insert(candidate) {
                self.next = if candidate == self.last { self.first } else { candidate + 1 };
                return Some(Ipv4Addr::from(candidate));
            }
        }
        None
    }

    /// Gives one back.
    pub fn free(&mut self, address: Ipv4Addr) {
        self.taken.remove(&u32::from(address));
    }
}

/// First address of the subnet.
pub fn base(config: &BridgeConfig) -> u32 {
    let mask = u32::MAX << (32 - u32::from(config.prefix_length.clamp(8, 30)));
    u32::from(config.subnet) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Addresses {
        Addresses::new(&BridgeConfig { name: "b".to_owned(), subnet: Ipv4Addr::new(172, 30, 9, 0), prefix_length: 29 })
    }

    #[test]
    fn each_address_is_given_once_and_freed_ones_last() {
        let mut addresses = small();
        assert_eq!(addresses.gateway(), Ipv4Addr::new(172, 30, 9, 1));
        let first = addresses.take().expect("free");
        assert_eq!(first, Ipv4Addr::new(172, 30, 9, 2));
        addresses.free(first);
        let others: Vec<_> = std::iter::from_fn(|| addresses.take()).collect();
        assert_eq!(others.len(), 5);
        assert_eq!(others.last(), Some(&first));
        assert_eq!(addresses.take(), None);
    }

    #[test]
    fn kept_addresses_are_not_given() {
        let mut addresses = small();
        addresses.keep(Ipv4Addr::new(172, 30, 9, 2));
        assert_eq!(addresses.take(), Some(Ipv4Addr::new(172, 30, 9, 3)));
    }
}
