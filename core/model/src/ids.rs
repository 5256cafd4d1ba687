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

/// The text of an id. Those of usual length lie in place: an id is compared, copied and hashed without a look elsewhere.
#[derive(Clone)]
enum IdText {
    /// Unused bytes are 0, which no id contains: byte order is the order of the texts.
    Short { length: u8, bytes: [u8; SHORT_LENGTH] },
    /// Longer than fits in place, never shorter.
    Long(Arc<str>),
}

/// Longest id that lies in place; makes an id four words.
const SHORT_LENGTH: usize = 30;

impl IdText {
    fn new(text: &str) -> Self {
        let mut bytes = [0; SHORT_LENGTH];
        match bytes.get_mut(..text.len()) {
            Some(place) => {
                place.copy_from_slice(text.as_bytes());
                Self::Short { length: text.len() as u8, bytes }
            }
            None => Self::Long(Arc::from(text)),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => &bytes[..usize::from(*length)],
            Self::Long(text) => text.as_bytes(),
        }
    }

    #[inline]
    fn len(&self) -> usize {
        match self {
            Self::Short { length, .. } => usize::from(*length),
            Self::Long(text) => text.len(),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            // Only whole texts are put in.
            Self::Short { .. } => std::str::from_utf8(self.as_bytes()).unwrap_or_default(),
            Self::Long(text) => text,
        }
    }

    /// The first bytes, padded with 0: ids in the order of their texts are in the order of their prefixes.
    fn prefix(&self) -> IdPrefix {
        let bytes = match self {
            Self::Short { bytes, .. } => bytes.as_slice(),
            Self::Long(text) => text.as_bytes(),
        };
        let mut prefix = [0; size_of::<IdPrefix>()];
        prefix.copy_from_slice(&bytes[..size_of::<IdPrefix>()]);
        prefix
    }

    /// Equal for equal ids, and well spread: for look-up tables that are never iterated.
    #[inline]
    fn fingerprint(&self) -> u32 {
        let mut padded = [0; 32];
        match self {
            Self::Short { bytes, .. } => padded[..SHORT_LENGTH].copy_from_slice(bytes),
            Self::Long(text) => {
                let length = text.len().min(padded.len());
                padded[..length].copy_from_slice(&text.as_bytes()[..length]);
            }
        }
        let (words, _) = padded.as_chunks::<8>();
        let mix = |sum: u64, word: &[u8; 8]| (sum.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(SPREAD);
        let mixed = words.iter().fold(0, mix);
        (mixed >> 32) as u32
    }
}

/// 2^64 divided by the golden ratio: multiplying by it carries every bit upwards.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The first bytes of an id.
pub type IdPrefix = [u8; 16];

impl PartialEq for IdText {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Short { bytes: left, .. }, Self::Short { bytes: right, .. }) => left == right,
            _ => self.as_bytes() == other.as_bytes(),
        }
    }
}

impl Eq for IdText {}

impl PartialOrd for IdText {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for IdText {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        match (self, other) {
            (Self::Short { bytes: left, .. }, Self::Short { bytes: right, .. }) => left.cmp(right),
            _ => self.as_bytes().cmp(other.as_bytes()),
        }
    }
}

/// As texts do, which ids can be looked up by.
impl std::hash::Hash for IdText {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
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

/// What tables need of every kind of id.
pub trait Identifier: Clone + Ord + fmt::Display + fmt::Debug {
    /// The first bytes, padded with 0; in the order of the ids.
    fn prefix(&self) -> IdPrefix;
    /// Equal for equal ids, and well spread: for look-up tables that are never iterated.
    fn fingerprint(&self) -> u32;
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(IdText);

        impl $name {
            /// Checks the form only; whether the object exists is the store's business.
            pub fn new(text: &str) -> Result<Self, InvalidId> {
                check(text)?;
                Ok(Self(IdText::new(text)))
            }

            /// A fresh random id.
            pub fn random(rng: &mut dyn RngCore) -> Self {
                Self(IdText::new(&random_id(rng)))
            }

            /// `None` for the empty string (protobuf's way of saying absent) and for text that cannot be an id.
            pub fn optional(text: &str) -> Option<Self> {
                Self::new(text).ok()
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// Bytes of the text.
            #[inline]
            pub fn text_len(&self) -> usize {
                self.0.len()
            }
        }

        impl Identifier for $name {
            #[inline]
            fn prefix(&self) -> IdPrefix {
                self.0.prefix()
            }

            #[inline]
            fn fingerprint(&self) -> u32 {
                self.0.fingerprint()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.as_str())
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_short_ids_are_ordered_as_texts() {
        let texts = ["a", "a.", "aa", "b", &"a".repeat(30), &"a".repeat(31), &"a".repeat(64), &"b".repeat(31)];
        for left in texts {
            for right in texts {
                let (one, other) = (TaskId::new(left).unwrap(), TaskId::new(right).unwrap());
                assert_eq!(one.cmp(&other), left.cmp(right), "{left} {right}");
                assert_eq!(one == other, left == right);
                assert_eq!(one.fingerprint() == other.fingerprint(), left == right);
                assert!(one.prefix() == other.prefix() || (one.prefix() < other.prefix()) == (left < right));
            }
            assert_eq!(TaskId::new(left).unwrap().as_str(), left);
        }
        assert_eq!(size_of::<Option<TaskId>>(), 32);
    }
}
