//! The store against archives good and bad, a real registry, and crashes. What needs root or a registry says so when
//! it is skipped.

mod archives;
mod crash;
mod malicious;
mod registry;
mod support;
