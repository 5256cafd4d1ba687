//! Certificates as values: which root issued one, which other root vouches for that one, and so who accepts it. What
//! TLS would check of a chain, without X.509.

use std::fmt;

use bytes::Bytes;
use skep_manager::NewRoot;
use skep_pki::{Issuer, IssuerIdentity};

/// The word before a root's number, where a certificate would be.
const ROOT: &str = "root";
/// Stands between a root and the one that vouches for it.
const VOUCHED: &str = " vouched for by ";
/// Stands before a root in its key.
const SECRET: &str = "secret of ";
/// Roots that operators bring are counted from here.
const BROUGHT: u64 = 1_000_000;
/// After which the next pair follows.
const NEXT: &str = "; ";
/// Roots that may vouch for one another in a chain.
const VOUCHERS_MAX: usize = 4;

/// One root of the swarm.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct RootId(u64);

impl RootId {
    /// The root that the swarm begins with.
    pub const FIRST: Self = Self(0);

    /// The root that is made as so manieth.
    pub fn made(number: u64) -> Self {
        Self(number)
    }

    /// The root that operators bring as so manieth.
    pub fn brought(number: u64) -> Self {
        Self(BROUGHT + number)
    }

    /// Whether an operator has brought it.
    pub fn is_brought(self) -> bool {
        self.0 >= BROUGHT
    }

    /// Its key.
    pub fn key(self) -> Bytes {
        Bytes::from(format!("{SECRET}{self}"))
    }

    /// Its certificate.
    pub fn certificate(self) -> Bytes {
        Bytes::from(self.to_string())
    }

    /// The root of a certificate.
    pub fn read(certificate: &[u8]) -> Option<Self> {
        std::str::from_utf8(certificate).ok()?.strip_prefix(ROOT)?.parse().ok().map(Self)
    }

    /// What certificates of it carry.
    pub fn identity(self) -> IssuerIdentity {
        IssuerIdentity { subject: self.certificate(), public_key: Bytes::from(format!("key of {self}")) }
    }

    /// As the managers' shell makes it: the present root vouches for it.
    pub fn vouched_for(self, present: Self) -> NewRoot {
        let cross_signed = Bytes::from(format!("{self}{VOUCHED}{present}{NEXT}"));
        NewRoot { certificate: self.certificate(), key: self.key(), cross_signed }
    }
}

impl fmt::Display for RootId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{ROOT}{}", self.0)
    }
}

impl fmt::Debug for RootId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// What follows the first pair of a chain.
pub fn after_first(chain: &[u8]) -> Bytes {
    let chain = String::from_utf8_lossy(chain);
    chain.split_once(NEXT).map_or(Bytes::new(), |(_, rest)| Bytes::from(rest.to_owned()))
}

/// A node's certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// The root that issued it.
    pub issuer: RootId,
    /// The root that vouches for that one, by what follows the leaf, the one that vouches for it in turn, and so on.
    pub vouched_by: [Option<RootId>; VOUCHERS_MAX],
}

impl Certificate {
    /// Of a root alone.
    pub fn of(issuer: RootId) -> Self {
        Self { issuer, vouched_by: Default::default() }
    }

    /// The chain that a manager signs.
    pub fn chain(issuer: &Issuer) -> Bytes {
        let chain = if issuer.intermediates.is_empty() { &issuer.certificate } else { &issuer.intermediates };
        chain.clone()
    }

    /// From its chain.
    pub fn read(chain: &[u8]) -> Option<Self> {
        let chain = std::str::from_utf8(chain).ok()?;
        let mut pairs = chain.split(NEXT).filter(|pair| !pair.is_empty()).map(|pair| match pair.split_once(VOUCHED) {
            Some((issuer, other)) => (RootId::read(issuer.as_bytes()), RootId::read(other.as_bytes())),
            None => (RootId::read(pair.as_bytes()), None),
        });
        let (issuer, first) = pairs.next()?;
        let mut read = Self::of(issuer?);
        let others = pairs.map(|(_, other)| other);
        for (place, other) in read.vouched_by.iter_mut().zip(std::iter::once(first).chain(others)) {
            *place = other;
        }
        Some(read)
    }

    /// Whether somebody accepts it who trusts that root.
    pub fn stands_under(self, root: RootId) -> bool {
        self.issuer == root || self.vouched_by.contains(&Some(root))
    }
}
