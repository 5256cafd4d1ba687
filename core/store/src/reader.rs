//! How the log's payloads are read.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::codec::CodecError;
use crate::entry::Entry;
use crate::store::Store;

type Read = dyn Fn(&Store, u64, Bytes) -> Result<Entry, CodecError> + Send + Sync;

/// Reads payloads that are not one's own. Whoever runs several managers in one process may read each entry once for
/// all of them; what is read must be what [`Store::decode`] makes of the payload.
#[derive(Clone, Default)]
pub struct Reader(Option<Arc<Read>>);

impl Reader {
    /// Reads by this function: it gets the facts so far, the entry's id and the payload.
    pub fn new(read: impl Fn(&Store, u64, Bytes) -> Result<Entry, CodecError> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(read)))
    }

    pub(crate) fn read(&self, facts: &Store, id: u64, payload: Bytes) -> Result<Entry, CodecError> {
        match &self.0 {
            Some(read) => read(facts, id, payload),
            None => facts.decode(payload),
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_some() { "Reader(shared)" } else { "Reader" })
    }
}
