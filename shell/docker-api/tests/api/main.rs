//! The server on a real socket, over pretended worlds, driven with raw HTTP and with the stock `docker` client.

mod bad_input;
mod cli;
mod client;
mod engine;
mod fake_control;
mod fake_engine;
mod fake_swarm;
mod protocol;
mod services;
mod speed;
mod streams;
mod swarm;
mod tasks;
mod world;
