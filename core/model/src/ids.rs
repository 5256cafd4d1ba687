//! Typed identifiers. An id is 25 characters of `[0-9a-z]` (source: SwarmKit's identity format, interop §1.1);
//! ids of FIPS clusters carry the prefix `FIPS.`.

use std::fmt;
use std::sync::Arc;

use rand_core::RngCore;

/// Characters in a generated id.
pub const ID_LENGTH: usize = 25;

/// Longest text accepted as an id: a secret's id joined with a task's.
const ID_MAX_LENGTH: usize = 64;

/// Text that cannot be an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid id: 1 to 64 characters of a-z, A-Z, 0-9, '.', '-' and '_'")]
pub struct InvalidId {
    /// What was given, shortened to the longest id.
    pub text: String,
}

/// A fresh random identifier: 17 bytes with the top bit set, base 36, the last 25 digits.
pub fn random_id(rng: &mut dyn RngCore) -> String {
    let mut bytes = [0u8; 17];
    rng.fill_bytes(&mut bytes);
    bytes[0] |= 0x80;
    let digits = base36(&bytes);
    digits[1..=ID_LENGTH].to_owned()
}

/// Big-endian bytes as lower-case base 36, without leading zeros (but at least one digit).
pub fn base36(bytes: &[u8]) -> String {
    let mut number: Vec<u8> = bytes.to_vec();
    let mut digits = Vec::new();
    while number.iter().any(|&byte| byte != 0) {
        let mut remainder = 0u32;
        for byte in &mut number {
            let value = remainder << 8 | u32::from(*byte);
            *byte = (value / 36) as u8;
            remainder = value % 36;
        }
        digits.push(char::from_digit(remainder, 36).unwrap_or('0'));
    }
    if digits.is_empty() {
        digits.push('0');
    }
    digits.iter().rev().collect()
}

fn check(text: &str) -> Result<(), InvalidId> {
    let fits = !text.is_empty() && text.len() <= ID_MAX_LENGTH;
    let clean = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    if fits && clean && !text.starts_with('.') {
        Ok(())
    } else {
        Err(InvalidId { text: text.chars().take(ID_MAX_LENGTH).collect() })
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the form only; whether the object exists is the store's business.
            pub fn new(text: &str) -> Result<Self, InvalidId> {
                check(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// A fresh random id.
            pub fn random(rng: &mut dyn RngCore) -> Self {
                Self(Arc::from(random_id(rng).as_str()))
            }

            /// `None` for the empty string (protobuf's way of saying absent) and for text that cannot be an id.
            pub fn optional(text: &str) -> Option<Self> {
                Self::new(text).ok()
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }
    };
}

id!(
    /// A member host of the swarm; the CN of its certificate.
    NodeId
);
id!(
    /// A service.
    ServiceId
);
id!(
    /// One placement of a service (or one attachment) on a node.
    TaskId
);
id!(
    /// A network.
    NetworkId
);
id!(
    /// The cluster; the O of every certificate.
    ClusterId
);
id!(
    /// A secret.
    SecretId
);
id!(
    /// A config.
    ConfigId
);
id!(
    /// An extension (a user-defined kind of resource).
    ExtensionId
);
id!(
    /// An object of a user-defined kind.
    ResourceId
);
id!(
    /// A cluster volume.
    VolumeId
);
id!(
    /// One registration of a worker with a dispatcher.
    SessionId
);

/// A Raft member's number: random, 63 bits, never 0, never used again (interop §5.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RaftId(pub u64);

impl RaftId {
    /// A fresh random member number.
    pub fn random(rng: &mut dyn RngCore) -> Self {
        loop {
            let value = rng.next_u64() >> 1;
            if value != 0 {
                return Self(value);
            }
        }
    }
}

impl fmt::Display for RaftId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:x}", self.0)
    }
}
