//! This node's membership of a swarm: making one, joining, renewing certificates, changing roles, leaving.
//!
//! It must never decide what a manager decides; it carries out what users and managers say of this node. Flow: a
//! command takes the lifecycle lock → files are written → a `Member` runs (agent, and manager where the certificate
//! says so) → `follow` watches the member's news. Start reading at `node`, then `member`, `begin`.

mod begin;
mod files;
mod follow;
mod keys;
mod leave;
mod member;
mod node;
mod renew;

pub use member::Member;
pub use node::{Deps, Shared, SwarmNode};
