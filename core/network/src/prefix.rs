//! Subnets of both families, as numbers.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;

use crate::error::AllocateError;

/// A family of addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The address with this number.
    pub fn address(self, number: u128) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX))),
            Self::V6 => IpAddr::V6(Ipv6Addr::from(number)),
        }
    }
}

/// A family and the number of an address in it.
pub fn number(address: IpAddr) -> (Family, u128) {
    match address {
        IpAddr::V4(address) => (Family::V4, u128::from(u32::from(address))),
        IpAddr::V6(address) => (Family::V6, u128::from(address)),
    }
}

/// A subnet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Prefix {
    pub family: Family,
    /// Number of its first address.
    pub first: u128,
    /// Length in bits.
    pub length: u8,
}

impl Prefix {
    /// The subnet of this length in which `address` lies.
    pub fn around(family: Family, address: u128, length: u8) -> Self {
        let length = length.min(family.bits());
        let host = Self::host_mask(family, length);
        Self { family, first: address & !host, length }
    }

    /// `10.0.0.0/24`; bits beyond the length are cut.
    pub fn parse(text: &str) -> Result<Self, AllocateError> {
        let wrong = || AllocateError::Address { text: text.to_owned() };
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let (family, address) = number(address.parse().map_err(|_| wrong())?);
        let length: u8 = length.parse().map_err(|_| wrong())?;
        if length > family.bits() {
            return Err(wrong());
        }
        Ok(Self::around(family, address, length))
    }

    fn host_mask(family: Family, length: u8) -> u128 {
        let free = family.bits() - length;
        if free == 128 { u128::MAX } else { (1u128 << free) - 1 }
    }

    /// Number of its last address.
    pub fn last(self) -> u128 {
        self.first | Self::host_mask(self.family, self.length)
    }

    /// Whether the address lies in it.
    pub fn contains(self, address: u128) -> bool {
        (self.first..=self.last()).contains(&address)
    }

    /// Whether they share an address.
    pub fn overlaps(self, other: Self) -> bool {
        self.family == other.family && self.first <= other.last() && other.first <= self.last()
    }

    /// An address of this subnet with the subnet's length, e.g. `10.0.0.5/24`.
    pub fn cidr(self, address: u128) -> String {
        format!("{}/{}", self.family.address(address), self.length)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.cidr(self.first))
    }
}

/// The number of an address written plainly or with a length.
pub fn parse_address(text: &str) -> Result<(Family, u128), AllocateError> {
    let plain = text.split_once('/').map_or(text, |(address, _)| address);
    plain.parse().map(number).map_err(|_| AllocateError::Address { text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_cuts_and_prints() {
        for (text, printed, last) in [
            ("10.0.0.0/24", "10.0.0.0/24", "10.0.0.255"),
            ("10.1.2.3/8", "10.0.0.0/8", "10.255.255.255"),
            ("0.0.0.0/0", "0.0.0.0/0", "255.255.255.255"),
            ("fd00::1/64", "fd00::/64", "fd00::ffff:ffff:ffff:ffff"),
        ] {
            let prefix = Prefix::parse(text).expect(text);
            assert_eq!(prefix.to_string(), printed);
            assert_eq!(prefix.family.address(prefix.last()).to_string(), last);
        }
        for text in ["", "10.0.0.0", "10.0.0.0/33", "ten/8", "10.0.0.0/-1"] {
            assert!(Prefix::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn overlap_is_symmetric_and_family_bound() {
        let wide = Prefix::parse("10.0.0.0/8").expect("a subnet");
        let narrow = Prefix::parse("10.3.0.0/16").expect("a subnet");
        let other = Prefix::parse("11.0.0.0/8").expect("a subnet");
        let sixth = Prefix::parse("::/0").expect("a subnet");
        assert!(wide.overlaps(narrow) && narrow.overlaps(wide));
        assert!(!wide.overlaps(other) && !wide.overlaps(sixth));
    }
}
