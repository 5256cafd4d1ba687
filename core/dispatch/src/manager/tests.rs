//! The dispatcher's rules, one test each.

mod liveness;
mod sessions;
mod statuses;
mod values;
