//! Real Docker Engines in a Skep swarm: as workers and as managers.

mod manager;
mod mixed;
mod worker;
