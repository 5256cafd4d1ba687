//! The shim: a small single-threaded process per container, forked from this same binary re-executed (`nursery`). It
//! creates the container, is its parent, holds its output, waits for its end and writes its status; the daemon may come and go.
//!
//! It must never need the daemon, never touch images or networks, never start a thread (it forks), and stay small:
//! whatever is heavy runs in children that end. Start reading at `serve`, then `protocol`.

mod cgroups;
pub(crate) mod client;
mod complaints;
pub(crate) mod compress;
mod confine;
mod connection;
mod create;
mod devices;
mod exec;
pub(crate) mod log;
pub(crate) mod nursery;
mod process;
pub(crate) mod program;
pub(crate) mod protocol;
mod serve;
mod wire;
mod workload;

pub(crate) use cgroups::{hierarchies as cgroup_hierarchies, remove as remove_cgroups};
pub(crate) use process::{boot_id, now_nanos, start_ticks};

use std::ffi::OsString;
use std::path::PathBuf;

/// First argument that makes the binary a shim.
pub const SHIM_ARGUMENT: &str = "shim";
/// What `ps` shows.
pub const PROCESS_NAME: &std::ffi::CStr = c"skep-shim";
/// Where the container's first process sends its terminal, inside the runtime directory.
const CONSOLE_FILE: &str = "console.sock";
/// The runtime library's own directory, inside the runtime directory.
const STATE_DIRECTORY: &str = "state";

/// Runs as a shim with the arguments that follow `SHIM_ARGUMENT`; returns the exit status. Call it at the very top of
/// `main`, before any thread exists. Descriptor 0 is the daemon's first connection.
pub fn shim_main(arguments: &[OsString]) -> i32 {
    let instructions = match arguments {
        [first, ..] if first == nursery::NURSERY_ARGUMENT => match nursery::serve() {
            Ok(Some(instructions)) => instructions,
            Ok(None) => return 0,
            Err(error) => {
                eprintln!("skep-shim: {error}");
                return 1;
            }
        },
        [instructions] => PathBuf::from(instructions),
        _ => {
            eprintln!("skep-shim is started by the daemon, with the path of its instructions");
            return 2;
        }
    };
    match serve::run(&instructions) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("skep-shim: {error}");
            1
        }
    }
}
