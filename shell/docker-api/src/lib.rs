//! The Docker Engine HTTP API: JSON shapes, routes and streams for the stock `docker` client.
//!
//! It must never know the store, consensus or how containers are made: it asks the traits `Control` (the swarm's
//! control vocabulary), `Engine` (this node's images and containers) and `Swarm` (this node's membership), which
//! the wiring implements. Flow: connection (`server`) → request → `router` → `routes` → `convert` → trait → `convert`
//! → reply. Every refusal becomes an HTTP status in `status` alone. Start reading at `router`.

#![warn(missing_docs)]

mod api;
mod auth;
pub mod control;
mod convert;
pub mod engine;
mod filters;
mod frames;
mod half_close;
mod host_header;
mod json;
pub mod limits;
mod lookup;
mod reply;
mod request;
mod router;
mod routes;
mod server;
mod status;
pub mod swarm;
mod upgrade;
mod version;

pub use api::Api;
pub use control::{
    Answered, Control, SwarmAction, SwarmEvent, SwarmObject, TaskList, TaskPart, Tasks, call, tasks_by_message,
};
pub use engine::{
    ByteReader, Engine, ExecStreams, ImageChange, ImportRequest, LocalNetwork, ProcessList, PruneReport, PruneRequest,
};
pub use server::{Listener, Stream, serve, serve_connection};
pub use status::why_not_a_manager;
pub use swarm::{
    Availability, ClusterSettings, HostFacts, InitRequest, JoinRequest, LeaveRequest, LocalState, Standing, Swarm,
    SwarmInfo,
};
