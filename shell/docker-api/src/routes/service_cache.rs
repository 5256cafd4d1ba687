//! The JSON of each service as it was last listed, so that a list of unchanged services costs a comparison each.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use skep_model::Kept;
use skep_model::pb::objects as pb;

use crate::convert;
use crate::json::ServiceStatus;
use crate::reply::write_json;
use crate::status::Failure;

/// Most services remembered.
const MAX_CACHED_SERVICES: usize = 4096;

/// Room for the JSON of an ordinary service.
const SERVICE_CAPACITY: usize = 1024;

/// Remembers by id; an entry counts only while the whole service is equal to the one it was made from.
#[derive(Default)]
pub(crate) struct ServiceCache(Mutex<HashMap<String, Entry>>);

struct Entry {
    service: Kept<pb::Service>,
    /// Without the closing brace, so that the status can be appended.
    open: Bytes,
}

impl ServiceCache {
    /// Appends a JSON array of services with their statuses.
    pub(crate) fn write_list<'a>(
        &self,
        out: &mut Vec<u8>,
        services: impl Iterator<Item = (&'a Kept<pb::Service>, Option<ServiceStatus>)>,
    ) -> Result<(), Failure> {
        // A panic while the lock was held leaves whole entries behind.
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        out.push(b'[');
        for (index, (service, status)) in services.enumerate() {
            if index > 0 {
                out.push(b',');
            }
            match entries.get(&service.value.id) {
                Some(entry) if entry.service == *service => out.extend_from_slice(&entry.open),
                _ => {
                    let open = open_json(service)?;
                    out.extend_from_slice(&open);
                    if entries.len() >= MAX_CACHED_SERVICES {
                        entries.clear();
                    }
                    entries.insert(service.value.id.clone(), Entry { service: service.clone(), open });
                }
            }
            if let Some(status) = status {
                out.extend_from_slice(b",\"ServiceStatus\":");
                write_json(out, &status)?;
            }
            out.push(b'}');
        }
        out.extend_from_slice(b"]\n");
        Ok(())
    }
}

fn open_json(service: &Kept<pb::Service>) -> Result<Bytes, Failure> {
    let mut json = Vec::with_capacity(SERVICE_CAPACITY);
    write_json(&mut json, &convert::service::out(&service.value, None))?;
    json.pop();
    Ok(json.into())
}
