//! Lists of tasks, given out part by part: the first at once, one more with each turn. Whatever happens meanwhile, a list
//! shows the facts of the moment at which it began.

use std::collections::VecDeque;

use skep_model::pb::messages::list_tasks_request::Filters;
use skep_store::Event;
use skep_store::commands::TaskList;

use crate::effect::{Answer, Effect, RequestId};
use crate::state::Manager;

/// Lists under way at the same time, each of which remembers what changes meanwhile; further ones begin when one is over.
const LISTS_MAX: usize = 16;
/// Tasks looked at for the first part of a list: who asked soon has something to read.
const FIRST_LOOKS: usize = 256;
/// Tasks looked at for each further part: others wait for so long.
const LOOKS_MAX: usize = 8192;

/// A list that has begun.
#[derive(Debug)]
struct OpenList {
    request: RequestId,
    list: TaskList,
}

/// A list that is known to be current, or stale, and has not begun.
#[derive(Debug)]
struct QueuedList {
    request: RequestId,
    filters: Filters,
    stale: bool,
}

/// All lists that are not over.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    open: VecDeque<OpenList>,
    queued: VecDeque<QueuedList>,
}

impl Lists {
    /// Whether nobody waits for anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.queued.is_empty()
    }

    /// How many wait for their turn.
    pub(crate) fn queued(&self) -> usize {
        self.queued.len()
    }

    /// Notes what was just committed.
    pub(crate) fn observe(&mut self, events: &[Event]) {
        for open in &mut self.open {
            events.iter().for_each(|event| open.list.observe(event));
        }
    }
}

impl Manager {
    /// Begins a list, or has it wait for one to end.
    pub(crate) fn begin_list(&mut self, request: RequestId, filters: Filters, stale: bool) {
        self.lists.queued.push_back(QueuedList { request, filters, stale });
        self.begin_lists();
    }

    fn begin_lists(&mut self) {
        while self.lists.open.len() < LISTS_MAX
            && let Some(QueuedList { request, filters, stale }) = self.lists.queued.pop_front()
        {
            let facts = self.ledger.committed();
            let mut list = TaskList::begin(facts, filters);
            let tasks = list.part(facts, FIRST_LOOKS);
            let is_last = list.is_over();
            self.reply(request, Ok(Answer::Tasks { tasks, stale, is_last }));
            if !is_last {
                self.lists.open.push_back(OpenList { request, list });
            }
        }
    }

    /// Gives out one more part: of each list in turn.
    pub(crate) fn list_more(&mut self) {
        let Some(OpenList { request, mut list }) = self.lists.open.pop_front() else { return };
        let tasks = list.part(self.ledger.committed(), LOOKS_MAX);
        let is_last = list.is_over();
        // Nothing that passes the filters was among them: there is no news, but that it goes on.
        if is_last || !tasks.is_empty() {
            self.effects.push(Effect::MoreTasks { request, tasks, is_last });
        }
        if !is_last {
            self.lists.open.push_back(OpenList { request, list });
        }
        self.begin_lists();
    }

    /// Gives out all that was begun: the facts that it is of are about to be replaced.
    pub(crate) fn finish_lists(&mut self) {
        let mut open = std::mem::take(&mut self.lists.open);
        for OpenList { request, list } in &mut open {
            let tasks = list.part(self.ledger.committed(), usize::MAX);
            self.effects.push(Effect::MoreTasks { request: *request, tasks, is_last: true });
        }
    }

    /// Who asked for a list has gone.
    pub fn end_list(&mut self, request: RequestId) {
        self.lists.open.retain(|open| open.request != request);
        self.lists.queued.retain(|queued| queued.request != request);
        self.begin_lists();
    }
}
