//! The images of this node: content-addressed, pulled from registries or read from archives, mounted for containers.
//!
//! It must never know containers beyond their ids, nor the store, nor the HTTP API. Nothing that comes from outside
//! becomes a path before it was checked (`digest`, `reference`), and no archive is unpacked but by `unpack`.
//!
//! Below its root: `index.json` (names → images), `blobs/sha256` (configs, manifests), `layers/<diff id>/diff`
//! (lower directories of overlayfs, made once, shared), `links` (short names of those, since mount options must fit a
//! page), `rootfs/<container>` (upper directories), `tmp` (everything unfinished, emptied at start). A thing becomes
//! visible by one rename after it was synced, the index last: a crash at any point leaves whole images and leftovers.
//!
//! Start reading at `store` (state and sweeping), then `pull` and `archive` (how images come), `rootfs` (how they are
//! used), `remove` (how they go).

mod archive;
mod changes;
mod compression;
mod config;
mod digest;
mod error;
mod import;
mod index;
mod layers;
mod platform;
mod pull;
mod reference;
mod registry;
mod remove;
mod rootfs;
mod store;
mod tar_reader;
mod unpack;
mod upkeep;

#[cfg(test)]
mod tests;

pub use config::MAX_LAYERS;
pub use digest::ContentDigest;
pub use error::ImageError;
pub use import::{ImportRequest, MAX_UPLOAD_BYTES};
pub use pull::{MAX_CONFIG_BYTES, MAX_LAYER_BLOB_BYTES, MAX_MANIFEST_BYTES, MAX_PARALLEL_LAYER_DOWNLOADS};
pub use reference::ImageReference;
pub use remove::{ImageChange, ImageUse, PruneReport, PruneRequest};
pub use store::{ImageOptions, ImageStore};
pub use unpack::{MAX_ARCHIVE_BYTES, MAX_ARCHIVE_ENTRIES, UnpackError};
