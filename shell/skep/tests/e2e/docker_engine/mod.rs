//! Real Docker Engines in a Skep swarm: as workers and as managers.

mod engine;
mod manager;
mod mixed;
mod worker;
