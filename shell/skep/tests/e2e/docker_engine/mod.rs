//! Real Docker Engines in a Skep swarm: as workers and as managers.

mod manager;
mod mesh;
mod mixed;
mod worker;
