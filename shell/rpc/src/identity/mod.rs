//! Keys and certificates: making a root, asking for, signing and reading node certificates.
//!
//! It must never know a connection or the store. Flow: `PrivateKey::generate` → `csr` → `Signer::sign` on the leader →
//! `NodeIdentity::new`, which checks everything that came back. Start reading at `node`.

mod candidate;
mod der;
mod error;
mod key;
mod node;
mod read;
mod root;
mod signer;

pub use candidate::{after_first, normalized, read_root};
pub(crate) use candidate::{certificate_request, check_issued};
pub use error::IdentityError;
pub use key::PrivateKey;
pub use node::NodeIdentity;
pub use read::{Membership, certificate_expiry, read_issuer, read_membership};
pub(crate) use read::{certificates, read_role, read_unit};
pub use root::{TrustRoot, create_next_root, create_root, vouch};
pub(crate) use signer::check_voucher;
pub use signer::{Signer, Subject, check_csr};

/// ServerName and OU of managers.
pub const MANAGER: &str = "swarm-manager";
/// OU of workers.
pub const WORKER: &str = "swarm-worker";
/// ServerName under which a manager is asked for certificates, and the CN of roots.
pub const CA: &str = "swarm-ca";

/// How far a node certificate's life starts before it is signed.
pub const BACKDATE_SECONDS: i64 = 3600;

#[cfg(test)]
mod tests;
