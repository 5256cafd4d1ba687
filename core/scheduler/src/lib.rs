//! Which node runs which task.
