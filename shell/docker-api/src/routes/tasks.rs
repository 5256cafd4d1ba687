//! `/tasks`.

use bytes::Bytes;
use http::StatusCode;
use skep_model::Kept;

use crate::api::Api;
use crate::control::{TaskList, Tasks};
use crate::limits::TASKS_AT_ONCE;
use crate::reply::{self, Answer};
use crate::request::Request;
use crate::status::Failure;
use crate::{convert, filters, lookup};

/// Room for the JSON of an ordinary task.
const BYTES_PER_TASK: usize = 1200;

pub(crate) async fn list(api: &Api, request: Request) -> Answer {
    api.manager()?;
    let mut filters = filters::tasks(&request.query)?;
    for input in &mut filters.service_ids {
        *input = lookup::service(api, input).await?.0.value.id;
    }
    for input in &mut filters.node_ids {
        *input = lookup::node(api, input).await?.0.value.id;
    }
    let TaskList { tasks, stale } = api.control.tasks(filters).await?;
    let mut parts = Parts { tasks, next: 0 };
    let reply = if parts.len() <= TASKS_AT_ONCE {
        let mut bytes = Vec::with_capacity(parts.len() * BYTES_PER_TASK);
        parts.write(&mut bytes)?;
        reply::json_bytes(StatusCode::OK, bytes)
    } else {
        reply::json_parts(futures::stream::unfold(parts, |mut parts| async {
            // Others are served meanwhile.
            tokio::task::yield_now().await;
            Some((parts.part()?, parts))
        }))
    };
    Ok(reply::stale(reply, stale))
}

/// A list of tasks, written part by part.
struct Parts {
    tasks: Tasks,
    next: usize,
}

impl Parts {
    fn len(&self) -> usize {
        match &self.tasks {
            Tasks::Stored(tasks) => tasks.len(),
            Tasks::Sent(tasks) => tasks.len(),
        }
    }

    fn part(&mut self) -> Option<std::io::Result<Bytes>> {
        if self.next > 0 && self.next >= self.len() {
            return None;
        }
        let mut bytes = Vec::with_capacity(TASKS_AT_ONCE * BYTES_PER_TASK);
        let written = self.write(&mut bytes).map_err(|failure| std::io::Error::other(failure.message));
        Some(written.map(|()| bytes.into()))
    }

    /// Appends the next part: the first opens the list, the last closes it.
    fn write(&mut self, bytes: &mut Vec<u8>) -> Result<(), Failure> {
        let begin = self.next;
        let end = self.len().min(begin + TASKS_AT_ONCE);
        if begin == 0 {
            bytes.push(b'[');
        }
        for index in begin..end {
            if index > 0 {
                bytes.push(b',');
            }
            match &self.tasks {
                Tasks::Stored(tasks) => {
                    reply::write_json(bytes, &convert::task::out(&Kept::from(&*tasks[index]).value))?;
                }
                Tasks::Sent(tasks) => reply::write_json(bytes, &convert::task::out(&tasks[index].value))?,
            }
        }
        if end == self.len() {
            bytes.extend_from_slice(b"]\n");
        }
        self.next = end;
        Ok(())
    }
}

pub(crate) async fn inspect(api: &Api, id: &str) -> Answer {
    api.manager()?;
    let (task, stale) = lookup::task(api, id).await?;
    Ok(reply::stale(reply::ok(&convert::task::out(&task.value))?, stale))
}
