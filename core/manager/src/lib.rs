//! One manager, composed: consensus, the ledger and every decider as one synchronous machine.
//!
//! It must never know threads, disks, sockets or X.509: production and the simulator run exactly this. Inputs are
//! methods; [`Manager::turn`] gathers what follows and returns effects, to be performed in order. Flow: request →
//! ledger transaction → proposal → commit → events → deciders' turn → further proposals; replies wait for the commit.
//! Start reading at `state`, then `turn`, `control`, `membership`.

#![warn(missing_docs)]

mod apply;
mod authority;
mod certificates;
mod control;
mod effect;
mod genesis;
mod handover;
mod leading;
mod learners;
mod listing;
mod membership;
mod pace;
mod removal;
mod snapshot;
mod state;
mod turn;
mod waiting;
mod workers;

#[cfg(test)]
mod tests;

pub use effect::{Answer, Effect, RequestId};
pub use genesis::Genesis;
pub use skep_consensus as consensus;
pub use skep_dispatch::manager::{
    DriverFailure, Effect as DispatchEffect, FetchId, SecretRequest, SecretValue, StreamId,
};
pub use skep_pki::{Finding, Inquiry, NewRoot, RootReader, RootRequest, SignFailure, Signing};
pub use snapshot::{SnapshotEncoder, SnapshotError, SnapshotJob, decode_snapshot};
pub use state::{Config, Manager, Status};
