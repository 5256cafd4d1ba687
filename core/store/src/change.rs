//! What is proposed (`Change`) and what has come true (`Event`).

use crate::object::AnyObject;

/// What happens to an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Action {
    Create,
    Update,
    Remove,
}

/// One step of a transaction; carries the whole object, for a removal too.
#[derive(Clone, PartialEq, Debug)]
pub struct Change {
    /// What happens.
    pub action: Action,
    /// To what: the object as it will be, or the one that goes.
    pub object: AnyObject,
}

/// A committed change.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    /// What happened.
    pub action: Action,
    /// The object as it is now; for a removal the one that went.
    pub object: AnyObject,
    /// The object before an update.
    pub old: Option<AnyObject>,
}
