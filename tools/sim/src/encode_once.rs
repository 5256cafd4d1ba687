//! Snapshots are encoded once for all managers of a run that take the same one at the same place. Each is compared with
//! the last one as a whole, so that managers that differ write what differs. A share of the seeds encodes every one.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use skep_manager::{SnapshotEncoder, SnapshotJob};

use crate::codec::Codec;

/// The last snapshot, with its bytes.
#[derive(Clone)]
pub(crate) struct EncodeOnce {
    codec: Codec,
    last: Arc<Mutex<Option<(SnapshotJob, Bytes)>>>,
}

impl EncodeOnce {
    pub fn new(codec: Codec) -> Self {
        Self { codec, last: Arc::default() }
    }

    /// For a manager.
    pub fn encoder(&self) -> SnapshotEncoder {
        let this = self.clone();
        match self.codec {
            Codec::Encoded => SnapshotEncoder::default(),
            Codec::Decoded => SnapshotEncoder::new(move |job| this.encode(job)),
        }
    }

    fn encode(&self, job: SnapshotJob) -> Bytes {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = last.as_ref().filter(|(known, _)| known.is_same(&job)) {
            return bytes.clone();
        }
        let bytes = job.encode();
        *last = Some((job, bytes.clone()));
        bytes
    }
}
