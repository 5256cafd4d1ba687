//! `/tasks`.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use skep_model::pb::objects as pb;
use skep_model::{Kept, Task};
use tokio::sync::mpsc;

use crate::api::Api;
use crate::control::{TaskList, TaskPart, Tasks};
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
    let mut parts = match tasks {
        Tasks::Stored { first, others } => Parts::new(Source::Stored(first.tasks.into_iter(), others), first.is_last),
        Tasks::Sent(tasks) => Parts::new(Source::Sent(tasks.into_iter()), true),
    };
    let reply = if parts.is_last && parts.len() <= TASKS_AT_ONCE {
        let mut bytes = Vec::with_capacity(parts.len() * BYTES_PER_TASK);
        parts.write(&mut bytes)?;
        reply::json_bytes(StatusCode::OK, bytes)
    } else {
        reply::json_parts(futures::stream::unfold(parts, |mut parts| async {
            // Others are served meanwhile.
            tokio::task::yield_now().await;
            Some((parts.part().await?, parts))
        }))
    };
    Ok(reply::stale(reply, stale))
}

/// A list of tasks, written part by part. What is written is let go of.
struct Parts {
    source: Source,
    /// The source has no more than it shows.
    is_last: bool,
    progress: Progress,
}

/// Tasks to be written.
enum Source {
    /// This manager's, and where others come.
    Stored(std::vec::IntoIter<Arc<Task>>, mpsc::Receiver<TaskPart>),
    /// Another's.
    Sent(std::vec::IntoIter<Kept<pb::Task>>),
}

/// How far the list is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Nothing,
    Opened,
    Some,
    Closed,
}

impl Parts {
    fn new(source: Source, is_last: bool) -> Self {
        Self { source, is_last, progress: Progress::Nothing }
    }

    fn len(&self) -> usize {
        match &self.source {
            Source::Stored(tasks, _) => tasks.len(),
            Source::Sent(tasks) => tasks.len(),
        }
    }

    async fn part(&mut self) -> Option<io::Result<Bytes>> {
        if self.progress == Progress::Closed {
            return None;
        }
        if let Err(error) = self.refill().await {
            self.progress = Progress::Closed;
            return Some(Err(error));
        }
        let mut bytes = Vec::with_capacity(TASKS_AT_ONCE * BYTES_PER_TASK);
        let written = self.write(&mut bytes).map_err(|failure| io::Error::other(failure.message));
        Some(written.map(|()| bytes.into()))
    }

    /// Waits for more, where there is more and nothing is at hand.
    async fn refill(&mut self) -> io::Result<()> {
        while self.len() == 0 && !self.is_last {
            let Source::Stored(tasks, others) = &mut self.source else { return Ok(()) };
            let part = others.recv().await.ok_or_else(|| io::Error::other("the manager broke the list off"))?;
            *tasks = part.tasks.into_iter();
            self.is_last = part.is_last;
        }
        Ok(())
    }

    /// Appends the next part: the first opens the list, the last closes it.
    fn write(&mut self, bytes: &mut Vec<u8>) -> Result<(), Failure> {
        if self.progress == Progress::Nothing {
            bytes.push(b'[');
            self.progress = Progress::Opened;
        }
        for _ in 0..TASKS_AT_ONCE.min(self.len()) {
            if self.progress == Progress::Some {
                bytes.push(b',');
            }
            self.progress = Progress::Some;
            match &mut self.source {
                Source::Stored(tasks, _) => {
                    let Some(task) = tasks.next() else { break };
                    reply::write_json(bytes, &convert::task::out(&Kept::from(&*task).value))?;
                }
                Source::Sent(tasks) => {
                    let Some(task) = tasks.next() else { break };
                    reply::write_json(bytes, &convert::task::out(&task.value))?;
                }
            }
        }
        if self.len() == 0 && self.is_last {
            bytes.extend_from_slice(b"]\n");
            self.progress = Progress::Closed;
        }
        Ok(())
    }
}

pub(crate) async fn inspect(api: &Api, id: &str) -> Answer {
    api.manager()?;
    let (task, stale) = lookup::task(api, id).await?;
    Ok(reply::stale(reply::ok(&convert::task::out(&task.value))?, stale))
}
