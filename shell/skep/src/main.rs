//! The `skep` binary: daemon, client and tools in one.
fn main() {}
