//! Who may join, who is issued what, who is a manager, and the keys that the whole swarm shares.
//!
//! It must never know X.509, TLS or a connection: requests and chains are bytes that the shell signs and checks.
//! Flow of a join: token → [`issue`] (a node object, certificate pending) → [`to_sign`] → the shell signs → [`signed`] →
//! [`certificate_status`] answers. A change of root: [`RootChange`]; to which one:
//! [`root_under`]. Start reading at `issue`, then `roles`.

#![warn(missing_docs)]

mod authority;
mod genesis;
mod issue;
mod network_keys;
mod newcomers;
mod removed;
mod roles;
mod root_change;
mod root_waits;
mod signing;
pub mod token;

pub use authority::{
    ExternalIssuer, FINDINGS_MAX, Finding, Findings, Inquiry, Next, Obstacle, Present, ReadRoot, RootFacts, RootReader,
    root_under,
};
pub use genesis::{
    ClusterSettings, PREDEFINED_LABEL, create_missing_networks, default_cluster, default_cluster_spec, first_node,
};
pub use issue::{certificate_status, issue, take_back};
pub use network_keys::{NetworkKeys, ROTATION_PERIOD};
pub use newcomers::{NEWCOMER_PATIENCE, Newcomers};
pub use removed::{is_removed, stored_role};
pub use roles::{RaftFacts, RaftMemberFacts, RoleAction, RoleManager};
pub use root_change::{IssuerIdentity, NewRoot, RootChange, RootRequest};
pub use root_waits::{HoldUp, RootHeldUp, root_held_up};
pub use signing::{
    Issuance, Issuer, SignFailure, Signatory, Signing, certificate_life, issuing_root, sign_delayed, sign_failed,
    signatory, signed, to_sign,
};
pub use token::{InvalidToken, ParsedToken, RootDigest, UnlockKey};

#[cfg(test)]
mod tests;
