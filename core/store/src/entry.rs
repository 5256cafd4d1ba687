//! One transaction, as it stands in the log.

use std::sync::Arc;

use bytes::Bytes;

use crate::change::Change;
use crate::codec::{self, CodecError};

/// Most changes that one turn of the deciders puts into one entry (SwarmKit's batch, interop §5.1).
pub const TURN_CHANGES_MAX: usize = 200;
/// Most bytes that one turn puts into one entry: three quarters of `ENTRY_BYTES_MAX` (interop §5.1).
pub const TURN_BYTES_MAX: usize = ENTRY_BYTES_MAX / 4 * 3;
/// Most bytes of one entry: another engine refuses to propose more (interop §5.1).
pub const ENTRY_BYTES_MAX: usize = 3 * 1024 * 1024 / 2;

/// One transaction: all of its changes come true, or none.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// Unique among the entries in flight of all managers: random 64 bits.
    pub id: u64,
    /// In the order in which they are carried out. Shared, for an entry is kept while it is in flight.
    pub changes: Arc<[Change]>,
}

impl Entry {
    /// The log's payload: an `InternalRaftRequest`.
    pub fn encode(&self) -> Bytes {
        codec::encode(self)
    }

    /// Reads a log's payload. An error consumes the entry without any effect, as on every other manager.
    pub fn decode(payload: Bytes) -> Result<Self, CodecError> {
        codec::decode(payload)
    }

    /// The id alone, without decoding the changes.
    pub fn peek_id(payload: &Bytes) -> Result<u64, CodecError> {
        codec::peek_id(payload)
    }
}
