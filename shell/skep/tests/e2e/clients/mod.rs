//! Clients that nobody here wrote judge the daemon: a real Docker manager's answers, other libraries' own tests,
//! Prometheus, and the stock CLI.

mod aiodocker;
mod bollard;
mod differential;
pub mod events;
mod http;
mod inside;
mod lives;
mod logs;
mod peers;
mod prometheus;
mod stock;
mod verdict;
