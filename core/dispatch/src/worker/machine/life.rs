//! The life of one task on its node, as a pure function: where it stands and what is wanted → what comes next
//! (source: interop §4.10).

use skep_model::{Task, TaskState};

use crate::worker::effect::Verb;

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Into this state at once, with this message.
    Move(TaskState, &'static str),
    /// This verb decides.
    Run(Verb),
    /// Nothing, until something else is wanted.
    Rest,
}

/// What comes next for `task`.
pub fn next(task: &Task) -> Next {
    use TaskState as S;
    let (state, desired) = (task.state(), task.desired_state);
    if state > S::Running {
        return Next::Rest;
    }
    if desired >= S::Shutdown {
        // Before PREPARING nothing was made that would have to be ended.
        return if state < S::Preparing { Next::Move(S::Shutdown, "shutdown") } else { Next::Run(Verb::Shutdown) };
    }
    match state {
        // READY is the farthest that some are wanted; those on their way may go on until their next rest.
        _ if state > desired => Next::Rest,
        S::Preparing => Next::Run(Verb::Prepare),
        S::Starting => Next::Run(Verb::Start),
        S::Running => Next::Run(Verb::Wait),
        _ if state >= desired => Next::Rest,
        S::New | S::Pending | S::Assigned => Next::Move(S::Accepted, "accepted"),
        S::Accepted => Next::Move(S::Preparing, "preparing"),
        S::Ready => Next::Move(S::Starting, "starting"),
        S::Complete | S::Shutdown | S::Failed | S::Rejected | S::Remove | S::Orphaned => Next::Rest,
    }
}

/// Where the task is once `verb` went well, with the message.
pub fn achieved(verb: Verb) -> Option<(TaskState, &'static str)> {
    match verb {
        Verb::Prepare => Some((TaskState::Ready, "prepared")),
        Verb::Start => Some((TaskState::Running, "started")),
        Verb::Wait => Some((TaskState::Complete, "finished")),
        Verb::Shutdown => Some((TaskState::Shutdown, "shutdown")),
        Verb::Update | Verb::Terminate | Verb::Remove => None,
    }
}

/// Where a final failure leads.
pub fn failure(state: TaskState) -> TaskState {
    if state < TaskState::Starting { TaskState::Rejected } else { TaskState::Failed }
}
