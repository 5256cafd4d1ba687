//! Who may join and who is issued what.

#![warn(missing_docs)]

pub mod token;

pub use token::{ParsedToken, RootDigest, UnlockKey};
