//! The JSON of services as they were last listed: a list of unchanged services costs a comparison each, and one that is
//! the same as the last costs nothing more.

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

/// Bytes of JSON expected of a service, to make room for a list once.
const LIST_BYTES_PER_SERVICE: usize = 900;

/// What a list says of the tasks of services, by their ids.
pub(crate) type Statuses = HashMap<String, ServiceStatus>;

/// Remembers; what is remembered counts only while the whole services are equal to those it was made from.
#[derive(Default)]
pub(crate) struct ServiceCache(Mutex<Cached>);

#[derive(Default)]
struct Cached {
    entries: HashMap<String, Entry>,
    /// The last list without statuses.
    list: Option<(Vec<Kept<pb::Service>>, Bytes)>,
}

struct Entry {
    service: Kept<pb::Service>,
    /// Without the closing brace, so that the status can be appended.
    open: Bytes,
}

impl ServiceCache {
    /// A JSON array of services, with their statuses where there are any.
    pub(crate) fn list(&self, services: Vec<Kept<pb::Service>>, statuses: &Statuses) -> Result<Bytes, Failure> {
        // A panic while the lock was held leaves whole entries behind.
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !statuses.is_empty() {
            return cached.write(&services, statuses);
        }
        if let Some((_, json)) = cached.list.as_ref().filter(|(listed, _)| *listed == services) {
            return Ok(json.clone());
        }
        let json = cached.write(&services, statuses)?;
        cached.list = (services.len() <= MAX_CACHED_SERVICES).then(|| (services, json.clone()));
        Ok(json)
    }
}

impl Cached {
    fn write(&mut self, services: &[Kept<pb::Service>], statuses: &Statuses) -> Result<Bytes, Failure> {
        let mut out = Vec::with_capacity(services.len() * LIST_BYTES_PER_SERVICE);
        out.push(b'[');
        for (index, service) in services.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            match self.entries.get(&service.value.id) {
                Some(entry) if entry.service == *service => out.extend_from_slice(&entry.open),
                _ => {
                    let open = open_json(service)?;
                    out.extend_from_slice(&open);
                    if self.entries.len() >= MAX_CACHED_SERVICES {
                        self.entries.clear();
                    }
                    self.entries.insert(service.value.id.clone(), Entry { service: service.clone(), open });
                }
            }
            if let Some(status) = statuses.get(&service.value.id) {
                out.extend_from_slice(b",\"ServiceStatus\":");
                write_json(&mut out, status)?;
            }
            out.push(b'}');
        }
        out.extend_from_slice(b"]\n");
        Ok(out.into())
    }
}

fn open_json(service: &Kept<pb::Service>) -> Result<Bytes, Failure> {
    let mut json = Vec::with_capacity(SERVICE_CAPACITY);
    write_json(&mut json, &convert::service::out(&service.value, None))?;
    json.pop();
    Ok(json.into())
}
