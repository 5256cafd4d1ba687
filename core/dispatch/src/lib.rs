//! Both halves of the conversation between managers and workers: who is alive, what each node shall run, what became
//! of it.
//!
//! It must never know a socket, a certificate, a clock or a container. [`manager::Dispatcher`] lives on the leader:
//! calls of workers come in as methods, messages for their streams and writes for the store come out.
//! [`worker::Worker`] lives on every node: messages of managers and outcomes of container verbs come in, streams to
//! open and verbs to run come out. Both speak SwarmKit's dispatcher protocol (interop §4), so either end may be a
//! Docker Engine. Start reading at `manager/mod.rs` and `worker/mod.rs`.

#![warn(missing_docs)]

mod compare;
pub mod manager;
pub mod worker;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
