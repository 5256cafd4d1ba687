//! The OCI document of a container, from its task's spec, its image and what was allocated for it.
//!
//! Pure but for reading the image's account files: what it asks for is carried out elsewhere. What this host or this
//! runtime cannot do is refused by name, never left out. Start reading at `document`; `check` says what is refused.

mod capabilities;
mod devices;
mod document;
mod local_volume;
mod mounts;
mod refuse;
mod seccomp;
mod sysctl;
mod users;

#[cfg(test)]
mod tests;

pub use capabilities::Held as HeldCapabilities;
pub use devices::rules as device_rules;
pub use document::{BoundFile, Facts, command, confinement, document, environment};
pub use local_volume::{LocalVolume, parse as volume_options};
pub use mounts::{PlannedMount, outside_proc, plan};
pub use refuse::{check, container};
pub use seccomp::{Filters, Kernel};
pub use users::{Accounts, User, open_inside};
