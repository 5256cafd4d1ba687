//! Tests of one member, of small groups, and of groups under seeded faults.

mod faults;
mod group;
mod harness;
mod hostile;
mod learners;
mod log_window;
mod recovery;
mod removal;
