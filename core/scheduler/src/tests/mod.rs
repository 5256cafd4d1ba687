//! The scheduler over a real ledger: objects go in, the commits' events come back.

mod batches;
mod filters;
mod flow;
mod world;
