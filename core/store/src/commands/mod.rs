//! What users ask of the swarm, with the rules that span several objects.
//!
//! It must never know who carries a request here (HTTP or gRPC) or how an entry gets committed. Flow: a
//! `ControlRequest` → checks → changes in one [`Tx`] → the answer, which holds once the transaction is committed.
//! One file per kind of object; start reading at `service`.

mod context;

pub use context::{CommandContext, MemberView};

use skep_model::{ControlRequest, ControlResponse, Refusal};

use crate::read::Find;
use crate::tx::Tx;

/// Carries out a request that changes something. The answer may be given once the transaction is committed.
pub fn execute(tx: &mut Tx, context: &mut CommandContext, request: ControlRequest) -> Result<ControlResponse, Refusal> {
    let _ = (tx, context, request);
    Err(Refusal::new(skep_model::Code::Unimplemented, "not a change"))
}

/// Answers a request that only reads.
pub fn query<F: Find>(
    facts: &F,
    context: &CommandContext,
    request: ControlRequest,
) -> Result<ControlResponse, Refusal> {
    let _ = (facts, context, request);
    Err(Refusal::new(skep_model::Code::Unimplemented, "not a question"))
}
